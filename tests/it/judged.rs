//! The webhook that judges: it stands last, waits for nobody's stamp, says everything at once, and refuses while it is down.

use gastown::api::v1alpha1::Polecat;
use gastown_testbed::audit::Event;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::{
    asking::comes_true,
    door::Door,
    kubectl::Kubectl,
    world::{World, polecat, until},
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
    let lines: Vec<_> = told.message().lines().map(|it| it.split(": ").next().unwrap()).collect();
    assert_eq!(lines[1..], fields, "a line each: {}", told.message());
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
        told.message().contains("failed calling webhook \"mpolecat.kb.io\""),
        "past the one that stamps, an export would look like new work: {}",
        told.message()
    );

    door.world.polecats().delete("early", &DeleteParams::default()).await.expect("it may go");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &door.world.namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "foreign"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.expect("it is nobody's business");
    door.close().await;
}

#[tokio::test]
async fn who_deletes_running_work_is_told_so_and_is_kept_from_nothing() {
    let door = Door::open("judged-deletes", &[("testbed.gastown.io/run-for", "never")]).await;
    let World { bed, operator, namespace, .. } = &door.world;
    for name in ["runs", "runs-on"] {
        assert_eq!(door.create(&polecat(name)).await.code, 201);
        let begun = |it: &Polecat| it.status.as_ref().is_some_and(|it| it.pod_name.is_some());
        until(&door.world.polecats(), name, "at work", begun).await;
    }
    let mut rests = polecat("rests");
    rests["spec"]["desiredState"] = json!("Idle");
    assert_eq!(door.create(&rests).await.code, 201);
    door.world.phase("rests", "Idle").await;
    let kubectl = Kubectl::admin(bed);
    let delete = async |name: &str| {
        let args = ["-n", namespace, "delete", "polecat", name, "--wait=false"];
        let output = kubectl.run(&args).await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{name} goes: {errors}");
        errors
    };
    let said = delete("runs").await;
    insta::assert_snapshot!(said.trim_end(), @r#"Warning: Polecat "runs" is at work, and pod polecat-runs ends with it: what its agent has committed is pushed while the pod ends, the rest is lost"#);
    assert_eq!(delete("rests").await, "", "nothing goes with it");
    let events = bed.audit_events().await.unwrap();
    let deletion =
        |it: &&Event| it.verb == "delete" && it.name == "runs" && it.namespace == *namespace;
    let noted = events.iter().find(deletion).and_then(|it| it.noted("policy"));
    assert_eq!(noted, Some("gastown.gastown.io/polecats"), "who was told is in the audit log");
    operator.kill9().await.unwrap();
    assert_eq!(delete("runs-on").await, "", "nobody answers, and nobody waits");
    door.close().await;
}
