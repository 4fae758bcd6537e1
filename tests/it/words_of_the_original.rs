//! The Go original's environment and flags, and the words for logs, through the program itself: what a Deployment of the
//! original sets goes on meaning the same.

use gastown_testbed::Operator;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::world::{World, until};

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

/// The whole lines that it has logged, without colours.
fn lines(operator: &Operator) -> Vec<String> {
    let text = std::fs::read_to_string(&operator.log).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |it| it.0);
    whole.lines().map(ToOwned::to_owned).collect()
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|it| it.is_object())
}

/// Whether it logs so, and at a level below the usual one.
fn logs(operator: &Operator, json: bool, debug: bool) {
    let lines = lines(operator);
    assert!(!lines.is_empty(), "{} logs nothing", operator.name);
    for line in &lines {
        assert_eq!(is_json(line), json, "{}: {line}", operator.name);
    }
    let below = lines.iter().any(|it| it.contains("DEBUG"));
    assert_eq!(below, debug, "{}: {}", operator.name, lines.join("\n"));
}

#[tokio::test]
async fn its_images_win_and_its_words_for_logs_are_understood() {
    let images =
        ["git:1", "claude:2", "telemetry:3"].map(|it| format!("registry.example.com/{it}"));
    let variables = [
        ("GASTOWN_GIT_IMAGE", &*images[0]),
        ("GASTOWN_CLAUDE_IMAGE", &*images[1]),
        ("GASTOWN_TELEMETRY_IMAGE", &*images[2]),
    ];
    let flags = ["-zap-devel=true", "-zap-stacktrace-level=error", "-zap-time-encoding=rfc3339"];
    let world = World::with_variables("original-words", &FOREVER, &flags, &variables).await;
    let own = json!("registry.example.com/own:4");
    world.create("max", |it| it["spec"]["kubernetes"]["image"] = own).await;
    let pod = until(&world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let spec = pod.spec.unwrap();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let found: Vec<_> = all.map(|it| (it.name.clone(), it.image.clone().unwrap())).collect();
    for (name, image) in ["git-init", "claude", "telemetry"].into_iter().zip(images) {
        assert!(found.contains(&(name.to_owned(), image)), "{name}: {found:?}");
    }
    logs(&world.operator, false, true);
    let remark = "--zap-stacktrace-level changes nothing";
    assert!(
        lines(&world.operator).iter().any(|it| it.contains(remark)),
        "what it can't do is said"
    );
    let second = world.another_with("second", &["--zap-encoder=json", "--zap-log-level=1"]).await;
    logs(&second, true, true);
    let third =
        world.another_with("third", &["--zap-encoder=console", "--zap-log-level=info"]).await;
    logs(&third, false, false);
}

#[tokio::test]
async fn logs_are_json_or_text_as_flag_or_variable_says() {
    let variables = [("LOG_FORMAT", "text"), ("LOG_LEVEL", "debug")];
    let world = World::with_variables("log-format", &[], &[], &variables).await;
    logs(&world.operator, false, true);
    let second = world.another_with("second", &["--log-format=text", "--log-level=info"]).await;
    logs(&second, false, false);
    let third = world.another_with("third", &[]).await;
    logs(&third, true, false);
}
