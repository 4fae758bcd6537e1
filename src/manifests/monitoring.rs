//! What stands between the metrics and who reads them: the Service, and for the Prometheus operator a monitor with an account
//! of its own. No key of a monitor names a file: user-workload monitoring of OpenShift refuses such.

use serde_json::{Value, json};

use super::{
    CERTIFICATES, METRICS_READER, METRICS_SERVICE, NAMESPACE, WEBHOOK_SERVICE,
    operator::{METRICS, METRICS_PORT, selector},
};

/// Who scrapes, and the Secret with its token.
const SCRAPER: &str = "gastown-operator-metrics-scraper";
const TOKEN: &str = "gastown-operator-metrics-scraper-token";
/// Seconds between scrapes: an alert about a shard that nobody owns speaks of 15.
const INTERVAL: &str = "15s";

/// In front of every replica's metrics.
pub fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": METRICS_SERVICE, "namespace": NAMESPACE, "labels": told()},
        "spec": {
            "selector": selector(),
            "ports": [{"name": METRICS, "port": METRICS_PORT, "protocol": "TCP", "targetPort": METRICS}],
        },
    })
}

/// What tells it from the other Services.
fn told() -> Value {
    json!({"gastown.io/metrics": "operator"})
}

/// An account that may read metrics and nothing else, and a token of it that stays: monitors take one from a Secret alone.
pub fn access() -> [Value; 3] {
    [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": SCRAPER, "namespace": NAMESPACE},
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": TOKEN, "namespace": NAMESPACE,
                "annotations": {"kubernetes.io/service-account.name": SCRAPER},
            },
            "type": "kubernetes.io/service-account-token",
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": SCRAPER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": METRICS_READER},
            "subjects": [{"kind": "ServiceAccount", "name": SCRAPER, "namespace": NAMESPACE}],
        }),
    ]
}

/// For the Prometheus operator. Metrics present the certificate of the webhooks, which names their Service.
pub fn monitor() -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
        "metadata": {"name": METRICS_SERVICE, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": told()},
            "endpoints": [{
                "port": METRICS, "path": "/metrics", "scheme": "https", "interval": INTERVAL,
                "authorization": {"type": "Bearer", "credentials": {"name": TOKEN, "key": "token"}},
                "tlsConfig": {
                    "serverName": format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc"),
                    "ca": {"secret": {"key": "ca.crt", "name": CERTIFICATES}},
                },
            }],
        },
    })
}
