//! A `ShardMap` that somebody puts in the place of the one that the replicas act by.

use gastown::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    domain::shard::{Map, ShardId},
};
use gastown_testbed::http_get;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    shards::{QUICK, SHARDS, all_done, create, owns},
    world::{World, own, until},
};

#[tokio::test]
async fn a_map_that_is_put_back_stops_who_acts_by_a_newer_one_until_it_is_deleted() {
    let world = World::with_flags("put-back", &QUICK, &["--shards=12"]).await;
    owns(&world.operator, SHARDS).await;
    let maps: Api<ShardMap> = Api::namespaced(world.client.clone(), &own(&world.namespace));
    let deletes = async || maps.delete("gastown", &DeleteParams::default()).await.is_ok();
    let first = until(&maps, "gastown", "first map", |it: &ShardMap| it.spec.version == 1).await;
    let copy = ShardMap::new("gastown", first.spec.clone());
    comes_true("the split", async || {
        let it = maps.get("gastown").await.unwrap();
        let split = Map::try_from(&it.spec).unwrap().split(ShardId(3)).unwrap();
        let split = ShardMap { spec: ShardMapSpec::from(&split), ..it };
        maps.replace("gastown", &PostParams::default(), &split).await.is_ok()
    })
    .await;
    owns(&world.operator, SHARDS + 1).await;
    comes_true("the copy to be there before the replica makes its own again", async || {
        deletes().await;
        maps.create(&PostParams::default(), &copy).await.is_ok()
    })
    .await;
    let says = async |valid: bool| {
        let url = format!("{}/shardz", world.operator.health);
        let Ok((code, body)) = http_get(&url).await else { return false };
        let report: Value = serde_json::from_str(&body).unwrap();
        (code == 200) == valid && report["sessionValid"] == json!(valid)
    };
    comes_true("it to stop", async || says(false).await).await;
    assert!(deletes().await);
    until(&maps, "gastown", "its own map", |it: &ShardMap| it.spec.version == 2).await;
    comes_true("it to go on", async || says(true).await).await;
    all_done(&world, &create(&world, "after", 1).await).await;
}
