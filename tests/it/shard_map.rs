//! The map of shards on a real API server: what its schema holds it to, also while nobody stands at the door.

use std::process::{Command, Output};

use gastown::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    domain::shard::{Map, ShardId},
};
use gastown_testbed::{Node, Testbed};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_map_changes_by_one_version_at_a_time() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    bed.make_namespace("shard-map", &[]).await.unwrap();
    let maps: Api<ShardMap> = Api::namespaced(bed.client("shard-map").await.unwrap(), "shard-map");
    let create = async |name: &str, map: &Map| {
        maps.create(&PostParams::default(), &ShardMap::new(name, ShardMapSpec::from(map))).await
    };
    let first = Map::first(1024);
    let told = create("other", &first).await.unwrap_err().to_string();
    assert!(told.contains("its name is gastown"), "{told}");
    let stored = create("gastown", &first).await.unwrap();
    assert_eq!(Map::try_from(&stored.spec).as_ref(), Ok(&first), "it is read as it was written");

    let next = first.merge(ShardId(5), ShardId(6)).unwrap();
    let after = next.split(ShardId(6)).unwrap();
    let put = async |of: &ShardMap, map: &Map| {
        let new = ShardMap { spec: map.into(), ..of.clone() };
        maps.replace("gastown", &PostParams::default(), &new).await
    };
    let told = put(&stored, &after).await.unwrap_err().to_string();
    assert!(told.contains("version must be one more than before"), "a step is left out: {told}");
    let again = first.pin("town", ShardId(7)).unwrap();
    let stored = put(&stored, &next).await.unwrap();
    let told = put(&stored, &again).await.unwrap_err().to_string();
    assert!(told.contains("version must be one more than before"), "two with one number: {told}");
    let mut labelled = stored.clone();
    labelled.metadata.labels = Some([("team".into(), "platform".into())].into());
    let stored = maps.replace("gastown", &PostParams::default(), &labelled).await.unwrap();
    put(&stored, &after).await.unwrap();

    let broken = json!({"moves": [{"from": 0, "to": 1}]});
    let told = maps
        .patch("gastown", &PatchParams::default(), &Patch::Merge(json!({"spec": broken})))
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("say either buckets or namespace"), "{told}");
    maps.delete("gastown", &DeleteParams::default()).await.unwrap();
}

/// `kubectl gt shards …` as a platform admin would call it, in this namespace.
async fn gt(bed: &Testbed, args: &[&str]) -> Output {
    let kubeconfig = bed.kubeconfig_for("shard-person", Some("system:masters")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["-n", "gt-shards", "shards"]).args(args);
    command.env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(bed: &Testbed, args: &[&str]) -> String {
    let output = gt(bed, args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_person_sees_the_shards_and_splits_one_when_the_last_change_is_done() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    bed.make_namespace("gt-shards", &[]).await.unwrap();
    let client = bed.client("gt-shards").await.unwrap();
    let nothing = gt(bed, &[]).await;
    let told = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(!nothing.status.success() && told.contains("the operator makes it"), "{told}");

    let maps: Api<ShardMap> = Api::namespaced(client.clone(), "gt-shards");
    let map = ShardMap::new("gastown", ShardMapSpec::from(&Map::first(2)));
    maps.create(&PostParams::default(), &map).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client, "gt-shards");
    // Nobody is there any more whom the second one names.
    for (name, kind, holder) in [
        ("gastown-shard-00", "shard", "op-a_uid_7"),
        ("gastown-shard-01", "shard", "op-b_uid_8"),
        ("gastown-session-a", "session", "op-a_uid_7"),
    ] {
        let lease = json!({
            "metadata": {"name": name, "labels": {"gastown.io/lease": kind}, "annotations": {"gastown.io/map-version": "1", "gastown.io/gaps-ms": "0=131", "gastown.io/session": "gastown-session-a"}},
            "spec": {"holderIdentity": holder, "leaseTransitions": 4, "acquireTime": "2026-01-01T00:00:00.000000Z"},
        });
        leases
            .create(&PostParams::default(), &serde_json::from_value(lease).unwrap())
            .await
            .unwrap();
    }
    let list = said(bed, &["--objects"]).await;
    let line = list.lines().find(|it| it.starts_with("00")).unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells[1..3], ["op-a", "4"], "{list}");
    assert_eq!(cells[4..7], ["0.131s", "1", "0-511"], "{list}");
    assert!(list.contains("version 1 of the map, 2 shards, 1 replicas"), "{list}");
    assert!(list.contains("shards 01: owned by nobody"), "{list}");

    let split = said(bed, &["split", "0"]).await;
    assert!(split.contains("version 2") && split.contains("from shard 00 to 02"), "{split}");
    let early = gt(bed, &["merge", "2", "0"]).await;
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(!early.status.success() && told.contains("by the owners of shards 00"), "{told}");
    let json: Value = serde_json::from_str(&said(bed, &["-o", "json"]).await).unwrap();
    assert_eq!((&json["version"], &json["waitingFor"]), (&json!(2), &json!([0])), "{json}");
    assert_eq!(json["shards"][0]["owner"], "op-a_uid_7", "{json}");

    let done = json!({"metadata": {"annotations": {"gastown.io/map-version": "2"}}});
    leases.patch("gastown-shard-00", &PatchParams::default(), &Patch::Merge(done)).await.unwrap();
    let merged = said(bed, &["merge", "2", "0"]).await;
    assert!(merged.contains("version 3"), "{merged}");
    let stored = maps.get("gastown").await.unwrap();
    let map = Map::try_from(&stored.spec).unwrap();
    assert_eq!((map.version(), map.active().count()), (3, 2), "{map:?}");
    maps.delete("gastown", &DeleteParams::default()).await.unwrap();
}
