//! Who may reach the operator's pods, and whom they reach. Agents' pods are none of its business: they live in namespaces of
//! others, and reach what their work needs.

use serde_json::{Value, json};

use super::{
    NAMESPACE,
    operator::{HEALTH_PORT, METRICS, WEBHOOK_PORT, selector},
};

/// Where API servers listen: behind the Service, as kubeadm and kind have it, as minikube has it.
const API_SERVERS: [u16; 3] = [443, 6443, 8443];
/// Where names are answered; the second is OpenShift's.
const NAMES: [u16; 2] = [53, 5353];
/// Where collectors of traces, metrics and logs listen: OTLP over gRPC and over HTTP.
pub const COLLECTORS: [u16; 2] = [4317, 4318];

/// One for what comes in, one for what goes out.
pub fn policies() -> [Value; 2] {
    let tcp = |port: u16| json!({"port": port, "protocol": "TCP"});
    let udp = |port: u16| json!({"port": port, "protocol": "UDP"});
    let names: Vec<Value> = NAMES.into_iter().flat_map(|port| [udp(port), tcp(port)]).collect();
    // API servers and kubelets call from addresses of the hosts, which no selector names.
    let comes_in = json!([{"ports": [tcp(WEBHOOK_PORT), tcp(HEALTH_PORT)]}]);
    let goes_out = json!([
        {"ports": names},
        {"ports": API_SERVERS.map(tcp)},
        {"ports": COLLECTORS.map(tcp)},
    ]);
    [
        policy("gastown-operator-controller-manager-ingress", "Ingress", "ingress", &comes_in),
        policy("gastown-operator-controller-manager-egress", "Egress", "egress", &goes_out),
    ]
}

/// Who may ask for metrics: namespaces with the original's label, and those of OpenShift's monitoring, which nobody labels.
pub fn metrics() -> Value {
    let theirs = ["openshift-monitoring", "openshift-user-workload-monitoring"];
    let from = json!([
        {"namespaceSelector": {"matchLabels": {"metrics": "enabled"}}},
        {"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": theirs},
        ]}},
    ]);
    let comes_in = json!([{"from": from, "ports": [{"port": METRICS, "protocol": "TCP"}]}]);
    policy("gastown-operator-controller-manager-metrics", "Ingress", "ingress", &comes_in)
}

fn policy(name: &str, sort: &str, field: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": selector()}, "policyTypes": [sort], field: rules},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who follows docs/tracing.md is not stopped by our own policy.
    #[test]
    fn the_collector_of_the_page_is_reached() {
        let page = include_str!("../../docs/tracing.md");
        let endpoint = page.split("OTEL_EXPORTER_OTLP_ENDPOINT=http://").nth(1).unwrap();
        let host = endpoint.split_whitespace().next().unwrap();
        let (_, documented) = host.split_once(':').unwrap();
        let documented: u16 = documented.parse().unwrap();
        let [_, egress] = policies();
        let rules = egress["spec"]["egress"].as_array().unwrap();
        let ports = rules.iter().flat_map(|it| it["ports"].as_array().unwrap());
        let open: Vec<_> =
            ports.filter(|it| it["protocol"] == "TCP").map(|it| &it["port"]).collect();
        for port in [documented, 4317, 4318] {
            assert!(open.iter().any(|it| **it == port), "{port} is closed: {open:?}");
        }
        assert!(page.contains("networkPolicy.egressPorts"), "and it says how others are reached");
    }
}
