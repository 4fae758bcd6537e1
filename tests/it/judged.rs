//! The webhook that judges: it stands last, waits for nobody's stamp, says everything at once, and refuses while it is down.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::{
    asking::comes_true,
    door::Door,
    world::{World, polecat},
};

#[tokio::test]
async fn everything_that_is_wrong_comes_in_one_answer_with_a_cause_each() {
    let door = Door::open("judged", &[]).await;
    let mut bad = polecat("bad");
    bad["spec"]["kubernetes"]["gitBranch"] = json!("-d");
    bad["spec"]["taskDescription"] = json!("a\0b");
    let told = door.create(&bad).await;
    assert_eq!((told.code, &told.body["reason"]), (422, &json!("Invalid")), "{}", told.body);
    let causes = told.body["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.kubernetes.gitBranch", "spec.taskDescription"], "{}", told.body);
    assert!(told.message().contains("vpolecat.kb.io"), "{}", told.message());
    door.close().await;
}

#[tokio::test]
async fn who_comes_past_the_stamping_webhook_cannot_forge_who_asked() {
    let door = Door::open("judged-past", &[]).await;
    let mut forged = polecat("forged");
    forged["metadata"]["annotations"] = json!({"gastown.io/requested-by": "root"});
    let made = door.dry_run(&forged).await;
    let stamped = &made.body["metadata"]["annotations"]["gastown.io/requested-by"];
    assert_eq!((made.code, stamped), (201, &json!("user-judged-past")), "{}", made.body);

    door.take_stamping_away().await;
    comes_true("the stamping webhook to be gone", async || {
        door.dry_run(&forged).await.message().contains("is \"root\"")
    })
    .await;
    let told = door.create(&forged).await;
    assert_eq!(told.code, 422, "{}", told.body);
    let words = told.message();
    for part in
        ["metadata.annotations[gastown.io/requested-by]", "\"user-judged-past\"", "leave it"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    let plain = door.create(&polecat("plain")).await;
    assert!(plain.message().contains("is missing"), "{}", plain.message());
    door.close().await;
}

#[tokio::test]
async fn while_nobody_judges_nothing_of_ours_is_stored_and_everything_else_is() {
    let door = Door::open("judged-down", &[]).await;
    assert_eq!(door.create(&polecat("early")).await.code, 201);
    let World { operator, client, .. } = &door.world;
    operator.kill9().await.unwrap();
    let told = door.create(&polecat("late")).await;
    assert_eq!(told.code, 500, "{}", told.body);
    assert!(
        told.message().contains("failed calling webhook \"vpolecat.kb.io\""),
        "{}",
        told.message()
    );

    door.world.polecats().delete("early", &DeleteParams::default()).await.expect("it may go");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &door.world.namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "foreign"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.expect("it is nobody's business");
    door.close().await;
}
