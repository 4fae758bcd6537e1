//! `ShardMap`: which shard of the operator looks after which namespaces. It began with the hub, so it has this version alone.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, conditions};

/// Which shard of the operator looks after which namespaces. The operator makes the one object, `gastown` in its own
/// namespace; `kubectl gt shards` changes it.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "ShardMap")]
#[kube(namespaced, plural = "shardmaps", derive = "PartialEq", category = "gastown")]
#[kube(doc = "Which shard of the operator looks after which namespaces.")]
#[kube(status = "ShardMapStatus")]
#[kube(validation = Rule::new("self.metadata.name == 'gastown'").message("there is one ShardMap, and its name is gastown"))]
#[kube(printcolumn(name = "Version", type_ = "integer", json_path = ".spec.version"))]
#[kube(printcolumn(
    name = "Owned",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"AllOwned\")].status"
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[x_kube(validation = (
    "self == oldSelf || self.version == oldSelf.version + 1",
    "version must be one more than before, so that nobody's change is written over: read the map again, or use kubectl gt shards"
))]
#[serde(rename_all = "camelCase")]
pub struct ShardMapSpec {
    /// Number of this version of the map: 1, and one more with each change.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// The shards, 1 to 1024. Every bucket is in exactly one.
    #[schemars(length(min = 1, max = 1024))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub shards: Vec<Shard>,
    /// Namespaces that are in another shard than their bucket says, or stay in theirs when their bucket moves; at most 50,
    /// since each costs a watch of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"]))]
    pub pins: Vec<Pin>,
    /// What this version took from one shard and gave to another: who owns the second begins when the owner of the first has
    /// acknowledged this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub moves: Vec<ShardMove>,
}

/// What the operator's housekeeper has found out: advice, on which no ownership rests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardMapStatus {
    /// The last version of the map that every shard has acknowledged from which something was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_version: Option<i64>,
    /// What the shards weigh in the balance, by their Polecats: 4 where a shard has as many as the mean, 1 at the least. Empty:
    /// all weigh the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    pub weights: Vec<ShardWeight>,
    /// Namespaces whose annotation `gastown.io/shard` can't be followed, at most 50 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"]))]
    pub refused: Vec<RefusedPin>,
    /// Observations; at most one of each type. `AllOwned` is False where a shard has had no owner for 15 s: nothing happens in
    /// its namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// What one shard weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardWeight {
    /// Number of the shard.
    #[schemars(range(min = 0, max = 1023))]
    pub shard: i32,
    /// 1 to 255; a shard that has as many Polecats as the mean weighs 4.
    #[schemars(range(min = 1, max = 255))]
    pub weight: i32,
}

/// A namespace that wishes to be in a shard and is not pinned to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedPin {
    /// Name of the namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Why, and how to mend it.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// One part of the namespaces, owned by one replica at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Shard {
    /// Number of the shard, 0 to 1023. The Lease of its owner is `gastown-shard-` and this number, with at least two digits.
    #[schemars(range(min = 0, max = 1023))]
    pub id: i32,
    /// Its buckets, each 0 to 1023, one by one or as ranges: `["0-15", "20"]`. A namespace is in the bucket that the label
    /// `gastown.io/bucket` of its Polecats says, for good. Empty: the shard is retired, and its number may be used again.
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "atomic"))]
    pub buckets: Vec<Range>,
}

/// One bucket, or the first and the last of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Range(
    #[schemars(length(max = 9), regex(pattern = "^(0|[1-9][0-9]{0,3})(-(0|[1-9][0-9]{0,3}))?$"))]
    pub String,
);

/// A namespace and the shard that it is in, whatever its bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Pin {
    /// Name of the namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Number of a shard that has buckets.
    #[schemars(range(min = 0, max = 1023))]
    pub shard: i32,
}

/// What went from one shard to another: buckets with all their namespaces that are not pinned, or one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.buckets) != has(self.namespace)", "say either buckets or namespace"))]
pub struct ShardMove {
    /// The buckets, as in shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "atomic"))]
    pub buckets: Option<Vec<Range>>,
    /// Name of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Number of the shard that it was in.
    #[schemars(range(min = 0, max = 1023))]
    pub from: i32,
    /// Number of the shard that it is in now.
    #[schemars(range(min = 0, max = 1023))]
    pub to: i32,
}
