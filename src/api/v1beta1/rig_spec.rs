//! What is wanted of a `Rig`.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RigStatus;

/// A project: its repository, its bead prefix, its settings.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "Rig", plural = "rigs")]
#[kube(status = "RigStatus", derive = "PartialEq", shortname = "rg", category = "gastown")]
// More than in v1alpha1: what is the same in all versions the API server takes for set once for all of them, and refuses
// beside schemas that differ.
#[kube(selectable = ".status.phase", selectable = ".spec.beadsPrefix")]
#[kube(doc = "A project: its repository, its bead prefix, its settings.")]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Polecats", type_ = "integer", json_path = ".status.polecatCount"))]
#[kube(printcolumn(name = "Convoys", type_ = "integer", json_path = ".status.activeConvoys"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct RigSpec {
    /// Repository of the project.
    pub repository: RigRepository,
    /// Prefix of the project's bead ids, such as `ap` for `ap-1x2y3`: 2 to 10 letters a to z. It stays what it was.
    #[schemars(length(min = 2, max = 10))]
    #[x_kube(validation = ("self.matches('^[a-z]+$')", "use 2 to 10 letters a to z, such as ap"))]
    #[x_kube(validation = ("!(self in ['hq', 'system', 'default'])", "hq, system and default are reserved; use another prefix"))]
    #[x_kube(validation = ("self == oldSelf", "the ids of beads begin with it, so it stays what it was; create another Rig for another prefix"))]
    pub beads_prefix: String,
    /// Settings of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<RigSettings>,
    /// Namespaces whose Polecats may use this Rig; `*`: all; empty: none. Unset: any, or none where the operator runs
    /// with `--tenancy=strict`. Asked at admission and before every pod; what runs already goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = ("self.all(it, it == '*' || it.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))", "use names of namespaces, such as town, or * for all"))]
    pub allowed_namespaces: Option<Vec<String>>,
    /// Images that Polecats of this Rig may name for their agent: the very image, such as `registry.example.com/agent:1`,
    /// or all that begin alike, such as `registry.example.com/agents/*`. Unset: any. One that names
    /// none gets the operator's own `--agent-image`, whatever is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 1024)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = ("self.all(it, it.matches('^[^*]+([/:@][*])?$') || it == '*')", "use a whole image, or one with * after a / : or @ at its end, such as registry.example.com/agents/*"))]
    pub allowed_images: Option<Vec<String>>,
    /// Service accounts that Polecats of this Rig may name for their pods; `*`: all. Unset: any. One that names none
    /// gets the namespace's default account, whatever is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = ("self.all(it, it == '*' || it.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))", "use names of service accounts, such as agent, or * for all"))]
    pub service_accounts: Option<Vec<String>>,
    /// What the TLS of agent pods is held to: `default`, nothing but what their programs do by themselves; `fips`,
    /// variables and files that put git, curl, OpenSSL, `GnuTLS`, Go and Node.js into approved versions, suites and groups. What
    /// brings cryptography of its own is not reached. The operator's `--tls-policy=fips` holds for every Rig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_policy: Option<TlsPolicy>,
}

/// What the TLS of agent pods is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    Default,
    Fips,
}

/// Repository of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RigRepository {
    /// Address of the repository: `git@host:path`, `ssh://git@host:port/path` or `https://host/path`.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = (
        r"self.matches('^(git@[a-zA-Z0-9._-]+:|https?://[a-zA-Z0-9._-]+(:[0-9]+)?/|ssh://([a-zA-Z0-9._-]+@)?[a-zA-Z0-9._-]+(:[0-9]+)?/)[a-zA-Z0-9._~/-]+$')",
        "use git@host:path, ssh://git@host:port/path or https://host/path, without a user name, password or token for https"
    ))]
    pub url: String,
}

/// Settings of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RigSettings {
    /// Theme of the worker names: `mad-max`, `minerals` or `wasteland`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("self in ['mad-max', 'minerals', 'wasteland']", "use mad-max, minerals or wasteland, or leave it out"))]
    pub namepool_theme: Option<String>,
    /// Most Polecats of this Rig, 1 to 100.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 100))]
    pub max_polecats: i32,
}

const fn eight() -> i32 {
    8
}
