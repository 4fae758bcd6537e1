//! The map of shards on a real API server: what its schema holds it to, also while nobody stands at the door.

use gastown::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    domain::shard::{Map, ShardId},
};
use gastown_testbed::{Node, Testbed};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

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
