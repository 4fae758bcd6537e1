//! A run that is over, as spans.

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::v1beta1::Trace,
    domain::{
        pod_brief::Moments,
        polecat::{
            InPod, Pulled, may_have_pulled,
            stages::{RUN, STAGES},
        },
        trace::{Sampler, Span, attributes},
        verdict::{Ended, Times, Verdict},
    },
};

pub(super) const BEGIN: u32 = 1_800_000_000;

pub(super) fn moments() -> Moments {
    let of = |it: [u32; 3]| it.map(|it| BEGIN + it);
    Moments { goes: 0, scheduled: BEGIN + 3, began: of([10, 20, 20]), ended: of([15, 40, 45]) }
}

/// Milliseconds after the begin.
pub(super) fn ms(after: u64) -> u64 {
    u64::from(BEGIN) * 1000 + after
}

pub(super) fn verdict(times: Option<Times>, agent: Option<(u64, u64)>) -> String {
    let agent = Some(Ended { span: agent, tokens: Some(7), ..Ended::default() });
    let (reason, message) = ("Pushed".to_owned(), "a secret that somebody said".to_owned());
    Verdict { v: 1, pushed: true, reason, message, agent, times, ..Verdict::default() }
        .to_json()
        .unwrap()
}

pub(super) fn pod_that_said(message: &str) -> PodBrief {
    let (claude, telemetry) = (over(0, ""), over(0, message));
    let (created_at, moments) = (Some(at(2)), moments());
    PodBrief { created_at, claude, telemetry, moments, ..pod(PodPhase::Succeeded) }
}

/// The Polecat whose run ended with this pod.
fn ended(pod: &PodBrief) -> Brief {
    let mut it = running();
    it.created_at = Some(at(0));
    let plan = it.decide(&Seen { now: at(62), pod: Some(pod.clone()), ..seen() });
    it.status = plan.status;
    it
}

pub(super) fn seconds(spans: &[Span]) -> Vec<(&str, f64, f64)> {
    let begin = u64::from(BEGIN) * 1_000_000_000;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let since = |it: u64| (it - begin) as f64 / 1e9;
    spans.iter().map(|it| (&*it.name, since(it.from), since(it.to))).collect()
}

#[test]
fn stages_follow_each_other_by_the_finest_clock_that_can_be_believed() {
    let times = Times {
        clone: Some((ms(10_250), ms(15_500))),
        handed_over: Some(ms(41_000)),
        pushed: Some(ms(45_100)),
    };
    let pod = pod_that_said(&verdict(Some(times), Some((ms(21_000), ms(40_750)))));
    let spans = ended(&pod).spans(Some(&pod));
    let want = [
        (RUN, 0.0, 62.999_999_999),
        ("queue", 0.0, 2.0),
        ("schedule pod", 2.0, 3.0),
        ("start pod", 3.0, 10.25),
        ("clone", 10.25, 15.5),
        ("start agent", 15.5, 21.0),
        ("agent", 21.0, 40.75),
        ("hand over", 40.75, 41.0),
        ("push", 41.0, 45.1),
        ("conclude", 45.1, 62.999_999_999),
    ];
    let found = seconds(&spans);
    assert_eq!(found.len(), want.len(), "{found:?}");
    for (found, want) in found.iter().zip(want) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(found.0 == want.0 && near(found.1, want.1) && near(found.2, want.2), "{found:?}");
    }
    assert!(spans.iter().skip(1).all(|it| it.parent == Some(spans[0].id)));
}

/// The runner tells of its part by itself, and the operator of all: an id that is there twice means the same.
#[test]
fn what_the_runner_tells_by_itself_the_operator_tells_again() {
    let clone = Some((ms(10_250), ms(15_500)));
    let handed_over = Some(ms(40_900));
    let times = |pushed| Times { clone, handed_over, pushed };
    // The last agent ends in the very millisecond in which that is seen, and there is nothing to push.
    for (agent, pushed) in [(40_750, Some(ms(45_100))), (40_750, None), (40_900, handed_over)] {
        let said = verdict(Some(times(pushed)), Some((ms(21_000), ms(agent))));
        let pod = PodBrief { claude: over(7, ""), ..pod_that_said(&said) };
        let mut brief = ended(&pod);
        brief.status.agent_model = Some("opus".into());
        let (spans, run) = (brief.spans(Some(&pod)), brief.run(1));
        let place = InPod {
            trace: run.trace,
            root: run.root,
            namespace: &brief.namespace,
            name: &brief.name,
            uid: &brief.uid,
            attempt: 1,
            pod: &pod.name,
            pod_uid: &pod.uid,
            model: Some("opus"),
        };
        let told = place.told(&serde_json::from_str(&said).unwrap());
        let names: Vec<_> = told.iter().map(|it| &*it.name).collect();
        let all = ["clone", "agent", "hand over", "push"];
        assert_eq!(names, all[..if pushed.is_some() { 4 } else { 3 }]);
        for it in &told {
            assert!(spans.contains(it), "{it:#?} is not among {spans:#?}");
        }
    }
    // What can't be is left to who can hold it against the node's word.
    for lie in [(ms(1), ms(30_000)), (ms(21_000), ms(900_000)), (ms(30_000), ms(21_000))] {
        let said = verdict(Some(times(None)), Some(lie));
        let (pod, run) = (pod_that_said(&said), running().run(1));
        let (trace, root) = (run.trace, run.root);
        let (namespace, name, uid) = ("n", "max", "u");
        let (pod_name, pod_uid, model) = (&*pod.name, &*pod.uid, None);
        let place =
            InPod { trace, root, namespace, name, uid, attempt: 1, pod: pod_name, pod_uid, model };
        let told = place.told(&serde_json::from_str(&said).unwrap());
        assert_eq!(told.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["clone"], "{lie:?}");
    }
}

#[test]
fn what_an_agent_says_of_its_time_counts_only_within_the_nodes_word() {
    let lies = Some((ms(1), ms(900_000_000)));
    let pod = pod_that_said(&verdict(None, lies));
    let spans = ended(&pod).spans(Some(&pod));
    let found = seconds(&spans);
    assert!(found.contains(&("agent", 20.0, 40.0)), "{found:?}");
    let text = format!("{spans:?}");
    assert!(!text.contains("secret"), "nothing that was said is in it: {text}");
    assert!(text.contains(attributes::TOKENS), "but what was counted");
}

#[test]
fn what_did_not_come_is_no_stage_and_the_last_one_lasts_to_the_end() {
    let unscheduled =
        PodBrief { created_at: Some(at(2)), moments: Moments::default(), ..pod(PodPhase::Failed) };
    let names = |spans: &[Span]| spans.iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
    let found = ended(&unscheduled).spans(Some(&unscheduled));
    assert_eq!(names(&found), [RUN, "queue", "schedule pod"]);
    assert_eq!(found[2].to, found[0].to);
    let all = ended(&pod_that_said("")).spans(None);
    assert_eq!(names(&all), [RUN], "of a pod that nobody has seen nothing is told");
}

#[test]
fn a_run_is_told_once_its_pod_is_silent_and_always_the_same() {
    let pod = pod_that_said(&verdict(None, None));
    let brief = ended(&pod);
    assert_eq!(brief.told_whole(Some(&pod)), Some(at(62)));
    let pushes =
        PodBrief { telemetry: Container::Running, phase: PodPhase::Running, ..pod.clone() };
    assert_eq!(brief.told_whole(Some(&pushes)), None, "its last words are still to come");
    assert_eq!(running().told_whole(None), None, "it runs");
    let ids: std::collections::HashSet<_> =
        brief.spans(Some(&pod)).iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), STAGES.len() + 1 - 1, "no hand-over was told, and no id is there twice");
    let mut again = brief.clone();
    again.status.attempt = Some(2);
    assert!(again.spans(Some(&pod)).iter().skip(1).all(|it| !ids.contains(&it.id)));
}

#[test]
fn what_is_put_aside_after_its_end_is_not_told_again_and_what_was_stopped_always_in_one_way() {
    let pod = pod_that_said(&verdict(None, None));
    let put_aside = |brief: &Brief, wish: DesiredState| {
        let mut it = Brief { desired: wish, ..brief.clone() };
        let mut plan = it.decide(&Seen { now: at(70), ..seen() });
        if plan.status.phase == brief.status.phase {
            plan = it.decide(&Seen { now: at(71), ..seen() });
        }
        it.status = plan.status;
        it
    };
    let over = ended(&pod);
    assert!(over.end_said().is_some());
    for wish in [DesiredState::Idle, DesiredState::Terminated] {
        let aside = put_aside(&over, wish);
        assert_ne!(aside.status.phase, over.status.phase);
        assert!(
            aside.end_said().is_none(),
            "as Done it was told, and {wish:?} is not how it ended"
        );
    }
    let stopped = put_aside(&running(), DesiredState::Idle);
    let told = stopped.spans(None);
    assert!(
        stopped.end_said().is_some() && stopped.told_whole(None).is_some(),
        "nobody told of it before"
    );
    assert_eq!(put_aside(&stopped, DesiredState::Terminated).spans(None), told);
}

#[test]
fn a_run_whose_polecat_was_deleted_has_a_root_that_says_so() {
    let now = u64::from(BEGIN) * 1_000_000_000 + 5;
    let root = running().cut_short(now).unwrap();
    let run = running().current_run();
    assert_eq!((root.id, root.trace, root.to), (run.root, run.trace, now));
    assert!(
        root.failed.is_some() && root.attributes.contains(&(attributes::ERROR, "Deleted".into()))
    );
    assert_eq!(ended(&pod_that_said("")).cut_short(now), None, "it has told of its end itself");
}

#[test]
fn a_run_that_is_not_recorded_has_a_trace_and_no_page() {
    let url = |recorded| {
        let it = polecat(DesiredState::Working);
        let trace_url = Some("https://traces.example.com/trace/{traceId}".into());
        let settings = PodSettings { trace_url, recorded, ..(*seen().settings).clone() };
        let whole = Some(Arc::new(whole()));
        let trace = it.decide(&Seen { whole, settings: Arc::new(settings), ..seen() }).status.trace;
        let Trace { trace_id, url } = trace.unwrap();
        assert_eq!(trace_id.len(), 32);
        url.map(|it| it.replace(&trace_id, "ID"))
    };
    let sampler = |name| Some(Sampler::named(name, None).unwrap());
    assert_eq!(url(sampler("always_on")).as_deref(), Some("https://traces.example.com/trace/ID"));
    assert_eq!(url(sampler("always_off")), None);
    assert_eq!(url(None), None, "there is no collector");
}

#[test]
fn an_event_of_an_attempt_says_where_its_trace_is() {
    let mut it = running();
    let url = "https://traces.example.com/trace/1";
    it.status.trace = Some(Trace { trace_id: "1".into(), url: Some(url.into()) });
    let failed = PodBrief { claude: over(3, ""), ..pod(PodPhase::Failed) };
    let plan = it.decide(&Seen { pod: Some(failed.clone()), ..seen() });
    let said = &plan.notices.first().unwrap().message;
    assert!(said.contains("code 3") && said.ends_with(&format!("; trace: {url}")), "{said}");
    let ready = plan.status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert!(!ready.message.contains(url), "the status has it in a field of its own");
    it.status.trace =
        Some(Trace { trace_id: "1".into(), url: Some(format!("{url}{}", "x".repeat(1000))) });
    let long = it.decide(&Seen { pod: Some(failed), ..seen() });
    assert!(long.notices.iter().all(|it| it.message.len() <= 1024), "as long as an Event may be");
}

#[test]
fn a_run_under_way_hears_that_its_shard_changed_hands_and_no_other_does() {
    let about = HandOver {
        shard: "07".into(),
        epoch: 4,
        from: Some("op-a".into()),
        to: "op-b".into(),
        left: "stopped",
        gap_ms: 9_120,
        time: (ms(1_000) * 1_000_000, ms(10_120) * 1_000_000),
    };
    let brief = running();
    let run = brief.run_under_way().unwrap();
    let span = about.span(&run, &brief);
    assert_eq!((span.trace, span.parent), (run.trace, Some(run.root)));
    assert_eq!(seconds(std::slice::from_ref(&span)), [("hand over shard", 1.0, 10.12)]);
    let said = |key| span.attributes.iter().find(|it| it.0 == key).map(|it| it.1.clone());
    assert_eq!(said(attributes::FROM), Some("op-a".to_owned().into()));
    assert_eq!(said(attributes::TO), Some("op-b".to_owned().into()));
    assert_eq!(said(attributes::GAP), Some(9_120_i64.into()));
    assert_eq!(about.span(&run, &brief), span, "sent twice, it is the same");
    let later = HandOver { epoch: 5, ..about };
    assert_ne!(later.span(&run, &brief).id, span.id, "another change is another span");

    assert!(polecat(DesiredState::Working).run_under_way().is_some(), "it waits to begin");
    assert!(polecat(DesiredState::Idle).run_under_way().is_none(), "nothing is asked of it");
    assert!(ended(&pod_that_said("")).run_under_way().is_none(), "it is over");
}

/// What the node says of an image, so many seconds after the begin.
fn pulled(field: &str, second: i64, message: &str) -> Event {
    let field_path = Some(field.to_owned());
    Event {
        involved_object: ObjectReference { field_path, ..ObjectReference::default() },
        last_timestamp: Some(Time(at(second))),
        message: Some(message.to_owned()),
        ..Event::default()
    }
}

#[test]
fn a_pull_hangs_beneath_the_stage_that_waited_for_it_and_stays_within_it() {
    let pod = pod_that_said("");
    let polecat = ended(&pod);
    let stages = polecat.spans(Some(&pod));
    assert!(may_have_pulled(&stages), "seven seconds until the clone began");
    let long = r#"Successfully pulled image "agent:1" in 1.5s (1m2.25s including waiting). Image size: 7 bytes."#;
    let of = [
        pulled("spec.initContainers{git-init}", 9, r#"Successfully pulled image "r" in 850ms"#),
        pulled("spec.containers{claude}", 19, long),
        pulled("spec.containers{claude}", 30, long),
        pulled(
            "spec.containers{telemetry}",
            19,
            r#"Container image "r" already present on machine"#,
        ),
        pulled("spec.containers{stranger}", 9, r#"Successfully pulled image "r" in 1s"#),
        pulled("", 9, r#"Successfully pulled image "r" in 1s"#),
        pulled("spec.containers{telemetry}", 19, r#"Successfully pulled image "r" in a moment"#),
        pulled("spec.containers{telemetry}", 19, r#"Successfully pulled image "r" in -5s"#),
    ];
    let said: Vec<_> = of.iter().filter_map(Pulled::read).collect();
    let pulls = polecat.pulls(&stages, &pod, &said);
    assert_eq!(
        seconds(&pulls),
        [("pull image", 8.15, 9.0), ("pull image", 15.0, 19.0)],
        "none begins before its stage, and the first of each container counts"
    );
    let parents: Vec<_> = pulls
        .iter()
        .map(|it| &*stages.iter().find(|stage| Some(stage.id) == it.parent).unwrap().name)
        .collect();
    assert_eq!(parents, ["start pod", "start agent"]);
    assert_eq!(pulls, polecat.pulls(&stages, &pod, &said), "whoever tells of it tells the same");
    let quick = PodBrief {
        moments: Moments {
            scheduled: BEGIN + 9,
            began: [10, 16, 16].map(|it| BEGIN + it),
            ..moments()
        },
        ..pod
    };
    assert!(!may_have_pulled(&polecat.spans(Some(&quick))), "nobody is asked about a quick start");
}
