//! Scenarios read as prose: what is seen of a Polecat and its pod, and what must be planned. One YAML file each.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use gastown::{
    api::{v1alpha1, v1beta1},
    domain::{
        plan::{Child, Plan},
        pod::PodSettings,
        pod_brief::PodBrief,
        polecat::{Brief, Past, Reports, Seen},
    },
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    because: String,
    polecat: v1alpha1::Polecat,
    pod: Option<Pod>,
    /// An Event says that a node took a pod that is gone.
    #[serde(default)]
    scheduled: bool,
    want: Want,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    phase: v1beta1::Phase,
    attempt: Option<i32>,
    branch: Option<String>,
    commit: Option<String>,
    started: Option<bool>,
    /// `made NAME`, `kept NAME` or `none`.
    pod: String,
    #[serde(default)]
    conditions: BTreeMap<String, String>,
    events: Vec<String>,
}

#[test]
fn every_scenario_is_planned_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/polecat");
    let mut count = 0;
    for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        let scenario: Scenario =
            serde_saphyr::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        check(&scenario, &path.display().to_string());
        count += 1;
    }
    assert!(count >= 8, "{count} scenarios");
}

fn check(scenario: &Scenario, file: &str) {
    let whole = crate::to_hub::to_hub(scenario.polecat.clone());
    let brief = Brief::from(&whole);
    let image = || Some("image:1".to_owned());
    let settings = PodSettings {
        git_image: image(),
        agent_image: image(),
        telemetry_image: image(),
        ..PodSettings::default()
    };
    let seen = Seen {
        now: "2026-11-24T13:00:00Z".parse::<Timestamp>().unwrap(),
        pod: scenario.pod.as_ref().map(PodBrief::from),
        past: if scenario.scheduled { Past::Scheduled } else { Past::NeverScheduled },
        unshown: false,
        departed: None,
        ending: None,
        whole: Some(Arc::new(whole)),
        reports: Reports::default(),
        hold: None,
        refusal: None,
        settings: Arc::new(settings),
    };
    compare(&brief.decide(&seen), scenario, file);
}

fn compare(plan: &Plan<v1beta1::PolecatStatus>, scenario: &Scenario, file: &str) {
    let (status, want) = (&plan.status, &scenario.want);
    let at = format!("{file}: {}", scenario.because);
    assert_eq!(status.phase, want.phase, "{at}");
    assert_eq!(status.attempt, want.attempt, "{at}");
    let pod = match &plan.children[..] {
        [] => "none".to_owned(),
        [Child::Pod(it)] => format!("made {}", it.metadata.name.as_deref().unwrap()),
        [Child::Existing { pod }] => format!("kept {pod}"),
        more => panic!("{at}: {more:?}"),
    };
    assert_eq!(pod, want.pod, "{at}");
    for (type_, want) in &want.conditions {
        let found = status.conditions.iter().find(|it| it.type_ == *type_);
        let found = found.map(|it| format!("{}/{}", it.status, it.reason)).unwrap_or_default();
        assert_eq!(found, *want, "{at}: {type_}");
    }
    let events: Vec<_> = plan.notices.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(events, want.events, "{at}");
    if want.branch.is_some() {
        assert_eq!(status.branch, want.branch, "{at}");
    }
    if want.commit.is_some() {
        assert_eq!(status.commit, want.commit, "{at}");
    }
    if let Some(started) = want.started {
        assert_eq!(status.started_at.is_some(), started, "{at}");
    }
}
