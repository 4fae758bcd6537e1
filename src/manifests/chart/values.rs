//! What a release may set. The comments are those of `values.yaml`, and the types its schema: what is not here is refused.

mod certificates;
mod metrics;

use std::{collections::BTreeMap, num::NonZeroU16};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use certificates::Certificates;
use metrics::Metrics;

/// Anything that the field of that name in the Kubernetes API takes.
type Raw = Map<String, Value>;
/// Labels, or annotations: what YAML reads as a number or a word of its own is refused here, and not by the API server half-way. By
/// null a release takes one back.
type Texts = BTreeMap<String, Option<String>>;

/// Values of the chart gastown-operator.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// Replicas. Any number works at the same time: namespaces are shared out among them.
    #[schemars(range(min = 1))]
    pub replica_count: u16,
    /// community, or enterprise: images on UBI 9 with the FIPS build of the cryptography, and --reference-access=enforce.
    pub edition: Edition,
    /// Whose cluster it is; auto looks for OpenShift's API.
    pub platform: Platform,
    /// What subcharts share.
    pub global: Global,
    /// The operator's image.
    pub image: Image,
    /// The image of git-init and telemetry in every agent pod: gt-runner, git and ssh.
    pub runner_image: Named,
    /// The image of agents whose Polecat names none, such as registry.example.com/claude:1. Without it such a Polecat waits, and
    /// says so.
    pub agent_image: String,
    /// Secrets to pull the operator's image with: a list of `name: SECRET`.
    pub image_pull_secrets: Vec<Raw>,
    /// The chart's objects have fixed names, since there is one operator in a cluster and it finds its own by name. Only empty,
    /// or gastown-operator, is taken.
    pub name_override: String,
    /// As `nameOverride`.
    pub fullname_override: String,
    /// Who the operator's pods are.
    pub service_account: ServiceAccount,
    /// Roles.
    pub rbac: Rbac,
    /// Annotations of the operator's pods.
    pub pod_annotations: Texts,
    /// Labels of the operator's pods, beside the chart's own, which are refused here.
    pub pod_labels: Texts,
    /// Security context of the operator's pods; the default meets restricted Pod Security, and OpenShift chooses the user.
    pub pod_security_context: Raw,
    /// Security context of its container.
    pub security_context: Raw,
    /// What a replica may use.
    pub resources: Raw,
    /// Labels that a node of the operator's pods must have.
    pub node_selector: Texts,
    /// Taints of nodes that the operator's pods bear.
    pub tolerations: Vec<Raw>,
    /// Where the operator's pods should run, beside that.
    pub affinity: Raw,
    /// How replicas are spread; empty: over zones and nodes, where that can be.
    pub topology_spread_constraints: Vec<Raw>,
    /// How important the operator's pods are.
    pub priority_class: PriorityClass,
    /// At most one replica is evicted at a time.
    pub pod_disruption_budget: Switch,
    /// Who may reach the operator, and whom it reaches: webhooks and health in; names, the API server and collectors out.
    pub network_policy: NetworkPolicy,
    /// The operator's own requests go before others' (API Priority and Fairness).
    pub flow_schemas: Switch,
    /// Policies that the API server runs by itself.
    pub policies: Policies,
    /// The definitions of our kinds. They are upgraded with the release, and stay when it goes.
    pub crds: Crds,
    /// What asks the operator about each write. Left out, with definitions, only on the way from the original until replicas are
    /// ready (docs/upgrade.md): without them nothing is checked and nothing filled in.
    pub webhooks: Switch,
    /// The certificate that the API server is served with.
    pub certificates: Certificates,
    /// Flags of the operator that are often set; others by `extraArgs`.
    pub operator: Operator,
    /// More arguments, such as --push-reserve=300 (gastown-operator --help lists all).
    pub extra_args: Vec<String>,
    /// More variables, as a container has them. One that the chart has as well is taken from here; those by which a replica knows
    /// itself are refused.
    pub extra_env: Vec<Raw>,
    /// More volumes of the operator's pods, such as a ConfigMap with the authority of a collector.
    pub extra_volumes: Vec<Raw>,
    /// Where its container has them.
    pub extra_volume_mounts: Vec<Raw>,
    /// Where the operator says that it is alive and ready.
    pub probes: Probes,
    /// The election among replicas; it always takes place, and this is here since the original had it.
    pub leader_election: Switch,
    /// Prometheus metrics: over HTTPS behind a Service, or plain within each pod alone.
    pub metrics: Metrics,
    /// More objects of the release; templates in them are evaluated.
    pub extra_objects: Vec<Raw>,
    /// Of the original, which read neither: only its defaults are taken.
    pub gt_config: GtConfig,
    /// Of the original, for whose operator a folder of the node was mounted: only its defaults are taken.
    pub volumes: Volumes,
    /// Of the original's values-fips.yaml: `runnerImage` and `agentImage` are their names now, and nothing else is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polecat_images: Option<Raw>,
}

/// What is built for whom.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Edition {
    Community,
    Enterprise,
}

/// Whose cluster it is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Platform {
    Auto,
    Kubernetes,
    Openshift,
}

/// Values that subcharts share.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Global {
    /// Registry that goes before the repositories of image and runnerImage where they name none, such as registry.example.com/mirror;
    /// agentImage is a whole reference, and taken as it is.
    pub image_registry: String,
}

/// An image.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    pub repository: String,
    /// Empty: the chart's version, with -ubi9 in the enterprise edition, where another tag is refused that tells of neither ubi9 nor
    /// enterprise.
    pub tag: String,
    /// sha256:…; goes before the tag.
    #[schemars(regex(pattern = r"^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
}

/// An image that others pull.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    pub repository: String,
    /// Empty: the chart's version, with -ubi9 in the enterprise edition, where another tag is refused that tells of neither ubi9 nor
    /// enterprise.
    pub tag: String,
    /// sha256:…; goes before the tag.
    #[schemars(regex(pattern = r"^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
}

/// When an image is pulled.
#[derive(Debug, Serialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// A service account.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// Make it; else it is there already.
    pub create: bool,
    pub annotations: Texts,
    /// Empty: gastown-operator-controller-manager.
    pub name: String,
}

/// Roles.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rbac {
    /// The operator's own, bound to its service account.
    pub create: bool,
    /// Those of people: our kinds become part of view, edit and admin.
    pub people: bool,
}

/// A priority class.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriorityClass {
    /// Make the class gastown-operator, where that is the name; false: whoever may make one has done so.
    pub create: bool,
    /// That of another one is taken as it is there; empty: none.
    pub name: String,
}

/// Something that may be left out.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Switch {
    pub enabled: bool,
}

/// Who may reach the operator, and whom it reaches.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    pub enabled: bool,
    /// More TCP ports that the operator may reach beside 443, 6443, 8443, 4317 and 4318, such as 3128 of a proxy before a
    /// collector, or where your API server listens.
    pub egress_ports: Vec<NonZeroU16>,
}

/// Policies that the API server runs by itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policies {
    /// Polecat pods, and pods of labelled namespaces, are held to restricted Pod Security below the webhook.
    pub pods: bool,
    /// While no operator converts, objects are not written in another version. It stays when the release goes.
    pub conversion: bool,
}

/// The definitions of our kinds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Crds {
    /// Install and upgrade them with the release.
    pub enabled: bool,
    /// Keep them, and with them all objects, when the release goes.
    pub keep: bool,
}

/// Flags of the operator that are often set. Empty, and 0: its own default.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// Level of logs, or directives such as info,gastown=debug.
    pub log_level: String,
    /// json or text.
    #[schemars(extend("enum" = ["", "json", "text"]))]
    pub log_format: String,
    /// Namespaces to look after; none: all.
    pub watch_namespaces: Vec<String>,
    /// Make no new pods, whatever is asked for.
    pub paused: bool,
    /// open or strict: who may use a Rig that does not say it.
    #[schemars(extend("enum" = ["", "open", "strict"]))]
    pub tenancy: String,
    /// Most Polecats of one namespace that may run.
    pub max_running_per_namespace: u32,
    /// Most seconds that a Polecat may ask for its agent.
    pub max_active_deadline: u32,
    /// normal or fast: how soon a crash is noticed.
    #[schemars(extend("enum" = ["", "normal", "fast"]))]
    pub failover: String,
    /// enforce, warn or off: what becomes of a Polecat that names a Secret which who asks for it may not have. Empty: enforce in
    /// the enterprise edition, else warn.
    #[schemars(extend("enum" = ["", "enforce", "warn", "off"]))]
    pub reference_access: String,
    /// Manual or Auto: who writes objects anew that lie in storage in an older version.
    #[schemars(extend("enum" = ["", "Manual", "Auto"]))]
    pub storage_migration: String,
    /// Protocol versions and suites of every connection, such as Intermediate.
    pub tls_profile: String,
}

/// Health.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probes {
    #[schemars(range(min = 1024))]
    pub health_port: u16,
}

/// Of the original.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GtConfig {
    pub town_root: String,
    pub gt_binary: String,
}

/// Of the original.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volumes {
    pub enabled: bool,
    pub host_path: String,
}

impl Default for Values {
    fn default() -> Self {
        let on = || Switch { enabled: true };
        Self {
            replica_count: 3,
            edition: Edition::Community,
            platform: Platform::Auto,
            global: Global { image_registry: String::new() },
            image: Image::of("gastown-operator"),
            runner_image: Named {
                repository: "gastown-runner".into(),
                tag: String::new(),
                digest: String::new(),
            },
            agent_image: String::new(),
            image_pull_secrets: Vec::new(),
            name_override: String::new(),
            fullname_override: String::new(),
            service_account: ServiceAccount {
                create: true,
                annotations: Texts::new(),
                name: String::new(),
            },
            rbac: Rbac { create: true, people: true },
            pod_annotations: Texts::new(),
            pod_labels: Texts::new(),
            pod_security_context: raw(&super::pod("/securityContext")),
            security_context: raw(&super::pod("/containers/0/securityContext")),
            resources: raw(&super::pod("/containers/0/resources")),
            node_selector: Texts::new(),
            tolerations: Vec::new(),
            affinity: Raw::new(),
            topology_spread_constraints: Vec::new(),
            priority_class: PriorityClass { create: true, name: crate::manifests::PRIORITY.into() },
            pod_disruption_budget: on(),
            network_policy: NetworkPolicy { enabled: true, egress_ports: Vec::new() },
            flow_schemas: on(),
            policies: Policies { pods: true, conversion: true },
            crds: Crds { enabled: true, keep: true },
            webhooks: on(),
            certificates: Certificates::default(),
            operator: Operator::default(),
            extra_args: Vec::new(),
            extra_env: Vec::new(),
            extra_volumes: Vec::new(),
            extra_volume_mounts: Vec::new(),
            probes: Probes { health_port: crate::manifests::operator::HEALTH_PORT },
            leader_election: on(),
            metrics: Metrics::default(),
            extra_objects: Vec::new(),
            gt_config: GtConfig { town_root: "/gt".into(), gt_binary: "/usr/local/bin/gt".into() },
            volumes: Volumes { enabled: false, host_path: "/home/core/gt".into() },
            polecat_images: None,
        }
    }
}

impl Image {
    fn of(repository: &str) -> Self {
        Self {
            repository: repository.into(),
            tag: String::new(),
            digest: String::new(),
            pull_policy: PullPolicy::IfNotPresent,
        }
    }
}

/// An object as it stands.
fn raw(value: &Value) -> Raw {
    value.as_object().cloned().unwrap_or_default()
}
