//! The operator's own pods, and what stands around them: Namespace, service account and its bindings, Deployment,
//! `PodDisruptionBudget`. Pure functions, of which every road of installation is made: kustomize, `install.yaml`, the chart and
//! the bundle.

use serde_json::{Map, Value, json};

use super::{LEADER_ROLE, MANAGER_ROLE, NAMESPACE, PRIORITY, SERVICE_ACCOUNT};

/// The original's name for it.
pub const DEPLOYMENT: &str = "gastown-operator-controller-manager";
/// The original's name for its only container.
pub const CONTAINER: &str = "manager";
/// The original's name for the budget.
const BUDGET: &str = "gastown-operator-controller-manager-pdb";
/// Where the admission server and the health endpoints listen.
pub const WEBHOOK_PORT: u16 = 9443;
pub const HEALTH_PORT: u16 = 8081;
/// Where metrics are served over HTTPS, as in the original; Service and policy call it by its name.
pub const METRICS_PORT: u16 = 8443;
pub const METRICS: &str = "metrics";
/// Seconds that work under way gets after SIGTERM, and those that the node adds: a replica hands its shards over first.
pub const DRAIN: u64 = 20;
pub const GRACE: u64 = HEARD + DRAIN + 10;
/// Seconds until every node has taken a pod that goes out of the webhooks' Service. An API server that reached a closed port would
/// refuse what nobody stamped or judged.
pub const HEARD: u64 = 5;

/// What is built for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Small images without a distribution's packages.
    Community,
    /// Images on UBI 9 with the FIPS build of the cryptography.
    Enterprise,
}

/// Both.
pub const EDITIONS: [Edition; 2] = [Edition::Community, Edition::Enterprise];

impl Edition {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Community => "community",
            Self::Enterprise => "enterprise",
        }
    }

    /// What the tags of its images end in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Community => "",
            Self::Enterprise => "-ubi9",
        }
    }

    /// Flags of its own, beside those of both.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Community => &[],
            // There a Polecat is no way to a Secret that one may not have oneself.
            Self::Enterprise => &["--reference-access=enforce"],
        }
    }

    fn image(self, name: &str) -> String {
        format!("{name}:{}{}", env!("CARGO_PKG_VERSION"), self.suffix())
    }

    /// What the operator's image is called before a registry is put in front of it (`make deploy IMG=…`).
    pub fn operator_image(self) -> String {
        self.image("gastown-operator")
    }

    /// The same of the runner's, which every agent pod needs.
    pub fn runner_image(self) -> String {
        self.image("gastown-runner")
    }
}

/// How one installation differs from another. What is not in it is the same on every road.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub edition: Edition,
    /// `--webhook-cert-source`: `own`, or `files` where somebody mounts them.
    pub certificates: &'static str,
}

impl Shape {
    /// An edition with an authority of its own.
    pub const fn of(edition: Edition) -> Self {
        Self { edition, certificates: "own" }
    }
}

/// Labels by which Deployment, Service and budget find the pods; the original's by its kustomize, since a Deployment's selector
/// can't be changed.
pub fn selector() -> Value {
    json!({"control-plane": "controller-manager", "app.kubernetes.io/name": "gastown-operator"})
}

/// Labels of what is installed.
pub fn labels() -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert("app.kubernetes.io/name".into(), json!("gastown-operator"));
    labels.insert("app.kubernetes.io/version".into(), json!(env!("CARGO_PKG_VERSION")));
    labels.insert("control-plane".into(), json!("controller-manager"));
    labels
}

/// Everything around the pods but the definitions, roles and webhooks, in the order in which it is applied.
pub fn objects(shape: Shape) -> Vec<Value> {
    let mut all = vec![namespace(), service_account(), cluster_binding(), binding(), lease()];
    all.extend([budget(), deployment(shape)]);
    all
}

/// An object that is told by its labels, beside those that it has.
pub(super) fn labelled(mut object: Value) -> Value {
    let mut all = labels();
    if let Some(own) = object.pointer("/metadata/labels").and_then(Value::as_object) {
        all.extend(own.clone());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".into(), all.into());
    }
    object
}

/// The operator's namespace, under restricted Pod Security.
pub fn namespace() -> Value {
    let level = |of: &str| (format!("pod-security.kubernetes.io/{of}"), json!("restricted"));
    let labels: Map<String, Value> = ["enforce", "audit", "warn"].map(level).into_iter().collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
}

pub fn service_account() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE},
    })
}

fn subject() -> Value {
    json!([{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}])
}

fn role(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

pub fn cluster_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "gastown-operator-manager-rolebinding"},
        "roleRef": role("ClusterRole", MANAGER_ROLE),
        "subjects": subject(),
    })
}

pub fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "gastown-operator-leader-election-rolebinding", "namespace": NAMESPACE},
        "roleRef": role("Role", LEADER_ROLE),
        "subjects": subject(),
    })
}

/// Free as long as no replica was ever here: a Lease that is missing counts as held for ten seconds, since somebody may
/// have deleted it under its holder. While this one is free, nobody was ever here, and the first replica begins at once.
pub fn lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "gastown-operator", "namespace": NAMESPACE},
        // Nothing in it is ours to apply again: it would read as free.
        "spec": {},
    })
}

/// One replica at a time: the others take its shards over while it drains.
pub fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": BUDGET, "namespace": NAMESPACE},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector()}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    })
}

/// The Deployment.
pub fn deployment(shape: Shape) -> Value {
    let labels = labels();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "spec": {
            "replicas": 3,
            // Ready comes before its session is known to the others: to whom the old ones hand over.
            "minReadySeconds": 5,
            "selector": {"matchLabels": selector()},
            // All new replicas come before an old one goes: each shard moves once, to a replica that stays.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER}},
                "spec": pod(shape),
            },
        },
    })
}

fn pod(shape: Shape) -> Value {
    let spread = |key: &str| {
        json!({
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector()}, "matchLabelKeys": ["pod-template-hash"],
        })
    };
    json!({
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "priorityClassName": PRIORITY,
        "terminationGracePeriodSeconds": GRACE,
        // No user id: OpenShift chooses one, and the image names a number that is not root.
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
        "containers": [container(shape)],
    })
}

fn container(shape: Shape) -> Value {
    let probe = |path: &str, period: u64, failures: u64| json!({"httpGet": {"path": path, "port": "health"}, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 2});
    json!({
        "name": CONTAINER,
        "image": shape.edition.operator_image(),
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(shape),
        "env": environment(shape.edition),
        "ports": [
            {"name": "webhooks", "containerPort": WEBHOOK_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
            {"name": METRICS, "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": probe("/livez", 1, 60),
        "livenessProbe": probe("/livez", 10, 3),
        "readinessProbe": probe("/readyz", 2, 2),
        // A pod that goes is asked until every node has heard of it: it serves and works on meanwhile.
        "lifecycle": {"preStop": {"sleep": {"seconds": HEARD}}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    })
}

/// What its edition has alone comes last.
fn arguments(shape: Shape) -> Vec<String> {
    let mut all = vec![
        format!("--drain-seconds={DRAIN}"),
        cert_source(shape.certificates),
        format!("--metrics-bind-address=:{METRICS_PORT}"),
    ];
    all.extend(shape.edition.flags().iter().map(|it| (*it).to_owned()));
    all
}

/// The argument that says where certificates come from.
pub fn cert_source(certificates: &str) -> String {
    format!("--webhook-cert-source={certificates}")
}

fn environment(edition: Edition) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    json!([
        field("GASTOWN_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
        field("POD_UID", "metadata.uid"),
        field("POD_TEMPLATE_HASH", "metadata.labels['pod-template-hash']"),
        // On the pod where the cluster puts its node's there (Kubernetes 1.35); else empty, and zones play no part.
        field("ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
        {"name": "RELATED_IMAGE_RUNNER", "value": edition.runner_image()},
    ])
}
