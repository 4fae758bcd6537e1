//! Somebody lays hands on Leases while there is work.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{judge::judge, rate, town::Town};
use crate::asking::comes_true;

#[tokio::test]
async fn leases_that_are_deleted_or_edited_by_hand_under_load_make_no_second_owner() {
    let town = Town::new("hands", &[]).await;
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.is_everywhere().await;
    let (before, busy, leases) = (town.epochs().await, town.busy().await, town.leases());
    // Shards of two replicas in which there is work, and the session of the third.
    let of = async |replica| {
        let all = town.shards_of(replica).await;
        *all.intersection(&busy).next().expect("each replica has work")
    };
    let [deleted, edited] = [of("a").await, of("b").await].map(|it| format!("gastown-shard-{it}"));
    let of_session = town.shards_of("c").await;
    let nobody = json!({"spec": {"holderIdentity": "nobody", "leaseTransitions": 0}});
    leases.delete(&deleted, &DeleteParams::default()).await.unwrap();
    leases.patch(&edited, &PatchParams::default(), &Patch::Merge(nobody)).await.unwrap();
    leases
        .delete(&session_of(&leases, &town.user("c")).await, &DeleteParams::default())
        .await
        .unwrap();
    let by_hand = [deleted, edited].into_iter();
    let touched: Vec<_> =
        by_hand.chain(of_session.iter().map(|it| format!("gastown-shard-{it}"))).collect();
    comes_true("what was touched to have an owner under a higher epoch", async || {
        let now = town.epochs().await;
        touched.iter().all(|it| now.get(it) > before.get(it))
    })
    .await;
    town.settled(&[&a, &b, &c]).await;
    load.goes_round().await;
    let count = town.all_done(load).await;
    let after = town.epochs().await;
    for (name, epoch) in before.iter().filter(|(name, _)| !touched.contains(name)) {
        assert_eq!(after.get(name), Some(epoch), "{name}, on which nobody laid hands");
    }
    let worked_in = 2 + of_session.intersection(&busy).count();
    judge(&town).await.changed(worked_in).holds("hands", count);
}

/// The name of the Lease of a replica's session.
async fn session_of(leases: &Api<Lease>, user: &str) -> String {
    let all = leases.list(&ListParams::default().labels("gastown.io/lease=session")).await.unwrap();
    let holder = |it: &Lease| it.spec.as_ref().and_then(|it| it.holder_identity.clone());
    let of = |it: &Lease| holder(it).is_some_and(|it| it.starts_with(&format!("{user}_")));
    all.into_iter().find(of).and_then(|it| it.metadata.name).expect("it has a session")
}
