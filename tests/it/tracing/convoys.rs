//! A Convoy's own trace leads to the runs that worked on its beads, whoever tells of them.

use gastown::{
    api::v1beta1::Convoy,
    domain::{
        polecat::{CONVOY, FOLLOWED, RUN, trace_of},
        trace::attributes,
    },
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{Collector, QUICK, Span, ended, root_came, trace_id, world};
use crate::asking::comes_true;

#[tokio::test]
async fn a_convoy_has_a_trace_that_links_the_runs_of_its_beads() {
    let collector = Collector::start().await;
    let world = world("convoys", &QUICK, &collector).await;
    let api: Api<Convoy> = Api::namespaced(world.client.clone(), &world.namespace);
    let asked = json!({"metadata": {"name": "release"}, "spec": {"description": "both",
        "beads": [{"id": "gt-abc12"}, {"id": "gt-none"}]}});
    let asked = serde_json::from_value(asked).unwrap();
    let convoy = api.create(&PostParams::default(), &asked).await.unwrap();
    // Its condition is the word of who has it in its cache.
    comes_true("a condition of the Convoy", async || {
        let it = serde_json::to_value(api.get("release").await.unwrap()).unwrap();
        it.pointer("/status/conditions/0").is_some_and(|it: &Value| it.is_object())
    })
    .await;
    world.create("max", |_| {}).await;
    world.create("nux", |it| it["spec"]["beadID"] = json!("gt-other")).await;
    let done = world.phase("max", "Done").await;
    let other = world.phase("nux", "Done").await;
    root_came(&collector, &done).await;
    root_came(&collector, &other).await;
    let followed = |it: &Span| it.name == FOLLOWED;
    collector.until("span in the Convoy's trace", |all| all.iter().any(followed)).await;
    let second = world.another("second").await;
    ended(&world.operator).await;
    let twice = |all: &[Span]| all.iter().filter(|it| followed(it)).count() == 2;
    collector.until("second telling", twice).await;
    ended(&second).await;

    let all = collector.spans();
    let own = trace_of(&convoy).to_string();
    let mut its: Vec<_> = all.iter().filter(|it| it.trace == own).collect();
    its.sort_by_key(|it| (it.name.clone(), it.id.clone()));
    its.dedup(); // told twice, it is the same
    let [root, bead] = its[..] else { panic!("{its:#?}") };
    assert_eq!((&*root.name, &*root.parent, &*bead.parent), (CONVOY, "", &*root.id));
    assert_eq!(bead.says(attributes::NAME), "max", "nobody else works on a bead of it");
    let run = all.iter().find(|it| it.trace == trace_id(&done) && it.name == RUN).unwrap();
    assert_eq!(bead.links, [format!("{}/{}", run.trace, run.id)]);
    assert_eq!((bead.from, bead.to), (run.from, run.to));
}
