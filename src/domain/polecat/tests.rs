//! Every step of a Polecat's life, as tables: what is there, what must be planned, and why.

mod commits;
mod ends;
mod held;
mod idle;
mod laws;
mod original;
mod pending;
mod returned;
mod stages;
mod unstartable;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::{
    api::{shared::SecretRef, v1beta1::Repository},
    domain::pod_brief::{Container, Owner, PodPhase},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn polecat(desired: DesiredState) -> Brief {
    Brief {
        namespace: "town".into(),
        name: "max".into(),
        uid: "uid-1".into(),
        resource_version: "1".into(),
        generation: Some(1),
        rig: "greeter".into(),
        desired,
        runnable: true,
        ..Brief::default()
    }
}

fn whole() -> v1beta1::Polecat {
    let mut it = v1beta1::Polecat::default();
    it.metadata.name = Some("max".into());
    it.metadata.namespace = Some("town".into());
    it.metadata.uid = Some("uid-1".into());
    it.spec.rig = "greeter".into();
    it.spec.desired_state = DesiredState::Working;
    it.spec.limits.active_deadline_seconds = 3600;
    it.spec.repository = Some(Repository {
        url: "git@git.example.com:town/greeter.git".into(),
        base_branch: "main".into(),
        secret_ref: SecretRef { name: "key".into() },
        ..Repository::default()
    });
    it
}

fn seen() -> Seen {
    let image = |it: &str| Some(it.to_owned());
    let settings = PodSettings {
        git_image: image("runner"),
        agent_image: image("agent"),
        telemetry_image: image("runner"),
        ..PodSettings::default()
    };
    Seen {
        now: at(100),
        pod: None,
        past: Past::Unasked,
        unshown: false,
        departed: None,
        ending: None,
        whole: None,
        reports: Reports::default(),
        hold: None,
        refusal: None,
        settings: Arc::new(settings),
    }
}

fn pod(phase: PodPhase) -> PodBrief {
    PodBrief {
        name: "polecat-max".into(),
        namespace: "town".into(),
        uid: "pod-1".into(),
        owner: Some(Owner { kind: "Polecat".into(), name: "max".into(), uid: "uid-1".into() }),
        attempt: 1,
        phase,
        started_at: Some(at(10)),
        ..PodBrief::default()
    }
}

fn over(exit_code: i32, message: &str) -> Container {
    Container::Ended { exit_code, reason: "".into(), message: message.into(), at: Some(at(60)) }
}

/// A Polecat whose first attempt was begun.
fn begun() -> Brief {
    let mut it = polecat(DesiredState::Working);
    let seen = Seen { whole: Some(Arc::new(whole())), ..seen() };
    it.status = it.decide(&seen).status;
    it
}

fn running() -> Brief {
    let mut it = begun();
    it.status = it.decide(&Seen { pod: Some(pod(PodPhase::Running)), ..seen() }).status;
    it
}

fn condition(status: &PolecatStatus, type_: &str) -> String {
    let found = status.conditions.iter().find(|it| it.type_ == type_);
    found.map(|it| format!("{}/{}", it.status, it.reason)).unwrap_or_default()
}

#[test]
fn what_its_rig_does_not_let_it_do_is_not_begun_and_begins_when_the_rig_changes() {
    let cause = Cause::new(crate::domain::tenancy::NOT_ALLOWED, "spec.rig names Rig greeter");
    let forbidden = || Seen {
        hold: Some(Hold::Forbidden(cause.clone())),
        whole: Some(Arc::new(whole())),
        ..seen()
    };
    let mut it = polecat(DesiredState::Working);
    let plan = it.decide(&forbidden());
    assert_eq!((plan.children.len(), plan.notices.len()), (0, 1), "no pod, and an Event");
    assert_eq!(plan.status.phase, Phase::Stuck);
    assert_eq!(condition(&plan.status, "Ready"), "False/NotAllowedByRig");
    it.status = plan.status;
    assert_eq!(it.decide(&forbidden()).status, it.status, "said once");
    assert!(it.minds_a_pause(), "a change of the Rig wakes it");
    let freed = it.decide(&Seen { whole: Some(Arc::new(whole())), ..seen() });
    assert_eq!((freed.status.phase, freed.children.len()), (Phase::Working, 1));

    let mut it = begun();
    it.status.pod_active = None;
    let lost = Seen { past: Past::NeverScheduled, ..forbidden() };
    let plan = it.decide(&lost);
    assert_eq!(plan.children, [], "asked again before a pod that was begun and never made");
    assert_eq!(condition(&plan.status, "Ready"), "False/NotAllowedByRig");
    let follow = Seen { pod: Some(pod(PodPhase::Running)), ..forbidden() };
    assert_eq!(running().decide(&follow).children.len(), 1, "what runs goes on");
}

#[test]
fn an_attempt_begins_with_its_intent_and_its_pod() {
    let seen = Seen { whole: Some(Arc::new(whole())), ..seen() };
    let plan = polecat(DesiredState::Working).decide(&seen);
    let status = &plan.status;
    assert_eq!((status.phase, status.attempt), (Phase::Working, Some(1)));
    assert_eq!(status.pod_name.as_deref(), Some("polecat-max"));
    assert_eq!(status.branch.as_deref(), Some("polecat/max"));
    assert_eq!(plan.children.len(), 1);
    assert!(plan.notices.is_empty(), "nothing is announced where all is well");
}

#[test]
fn the_pod_makes_the_phase() {
    let ended = |claude, telemetry| PodBrief { claude, telemetry, ..pod(PodPhase::Running) };
    let pushed = r#"{"v":1,"commit":"abc","pushed":true,"reason":"Pushed","message":"2 commits"}"#;
    #[rustfmt::skip]
    let table = [
        (pod(PodPhase::Pending), Phase::Working, "True/PodCreated", "", "a pod waits as pods do"),
        (pod(PodPhase::Running), Phase::Working, "True/PodRunning", "", "the agent is up"),
        (ended(over(0, ""), Container::Running), Phase::Done, "True/PodSucceeded", "Unknown/NoVerdict", "telemetry got its ten seconds"),
        (ended(over(0, ""), over(0, pushed)), Phase::Done, "True/PodSucceeded", "True/Pushed", "both have ended"),
        (ended(over(0, ""), over(0, "{cut")), Phase::Done, "True/PodSucceeded", "Unknown/VerdictUnreadable", "never taken for pushed"),
        (ended(over(0, ""), over(0, r#"{"v":1,"pushed":true,"reason":"Pushed","later":{}}"#)), Phase::Done, "True/PodSucceeded", "True/Pushed", "a later runner says more"),
        (ended(over(0, ""), over(0, r#"{"v":2,"pushed":true,"reason":"Pushed"}"#)), Phase::Done, "True/PodSucceeded", "Unknown/VerdictUnreadable", "another shape"),
        (ended(over(3, ""), over(0, pushed)), Phase::Stuck, "False/PodFailed", "True/Pushed", "the agent failed, its commits are safe"),
        (pod(PodPhase::Succeeded), Phase::Done, "True/PodSucceeded", "Unknown/NoVerdict", "no container state: the phase decides"),
        (PodBrief { unschedulable: Some("0/1 nodes".into()), ..pod(PodPhase::Pending) }, Phase::Working, "False/Unschedulable", "", "said, and waited for"),
    ];
    for (pod, phase, ready, pushed, because) in table {
        let plan = running().decide(&Seen { pod: Some(pod), ..seen() });
        assert_eq!(plan.status.phase, phase, "{because}");
        assert_eq!(condition(&plan.status, "Ready"), ready, "{because}");
        assert_eq!(condition(&plan.status, "Pushed"), pushed, "{because}");
        assert_eq!(plan.children, [Child::Existing { pod: "polecat-max".into() }], "{because}");
    }
}

#[test]
fn telemetry_gets_ten_seconds_after_the_agents_end() {
    let pod =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let early = running().decide(&Seen { now: at(63), pod: Some(pod), ..seen() });
    assert_eq!(early.next, Next::After(Duration::from_secs(7)));
    assert_eq!(early.status, running().status, "nothing is written meanwhile");
}

#[test]
fn no_attempt_runs_twice() {
    let given =
        |past, whole: Option<v1beta1::Polecat>| Seen { past, whole: whole.map(Arc::new), ..seen() };
    let lost = running().decide(&given(Past::NeverScheduled, Some(whole())));
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "the status says that it ran");
    assert!(lost.children.is_empty());
    let lost = begun().decide(&given(Past::Scheduled, Some(whole())));
    assert_eq!(
        condition(&lost.status, "Ready"),
        "False/PodLost",
        "an Event says that a node took it"
    );
    let lost = begun().decide(&given(Past::Seen, Some(whole())));
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "this replica saw it");
    let gone = PodBrief { telemetry: over(1, ""), ..pod(PodPhase::Running) };
    let lost = begun().decide(&Seen { departed: Some(gone), ..given(Past::Unasked, None) });
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "gone before its agent ended");
    let made = begun().decide(&given(Past::NeverScheduled, Some(whole())));
    assert_eq!(made.children.len(), 1, "asked for, never made: the same attempt's pod");
    assert_eq!(made.status.attempt, Some(1));
    let mut stuck = begun();
    stuck.status = lost.status;
    let again = stuck.decide(&given(Past::NeverScheduled, Some(whole())));
    assert!(again.children.is_empty(), "over is over");
    assert!(!stuck.wants_pod(&given(Past::NeverScheduled, None)));
}

#[test]
fn a_new_attempt_needs_idle_and_back() {
    let mut it = running();
    it.status = it.decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), ..seen() }).status;
    assert!(
        it.decide(&Seen { whole: Some(Arc::new(whole())), ..seen() }).children.is_empty(),
        "Done stays Done"
    );
    it.desired = DesiredState::Idle;
    let idle = it.decide(&seen());
    assert!(idle.children.is_empty(), "its pod goes");
    assert_eq!((idle.status.phase, idle.status.pod_name.clone()), (Phase::Idle, None));
    it.status = idle.status;
    it.desired = DesiredState::Working;
    let second = it.decide(&Seen { whole: Some(Arc::new(whole())), ..seen() });
    assert_eq!(second.status.attempt, Some(2));
    assert_eq!(second.status.pod_name.as_deref(), Some("polecat-max-2"));
    assert_eq!((second.status.finished_at, second.status.exit_code), (None, None), "a clean start");
}

#[test]
fn what_cannot_run_says_so() {
    let mut bare = polecat(DesiredState::Working);
    bare.runnable = false;
    let plan = bare.decide(&seen());
    assert_eq!(
        (plan.status.phase, condition(&plan.status, "Ready").as_str()),
        (Phase::Stuck, "False/MissingKubernetesSpec")
    );
    assert_eq!(plan.status.conditions.len(), 1, "only Ready: what others say stays");
    bare.status = plan.status;
    assert_eq!(bare.decide(&seen()).status, bare.status, "said once");
    assert!(bare.decide(&seen()).notices.is_empty());
    bare.runnable = true;
    let plan = bare.decide(&Seen { whole: Some(Arc::new(whole())), ..seen() });
    assert_eq!(plan.status.attempt, Some(1), "mended, it runs");
}

#[test]
fn what_could_not_begin_begins_when_it_is_mended() {
    let mut it = running();
    it.ttl_after_finished = Some(60);
    it.status = it.decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), ..seen() }).status;
    it.desired = DesiredState::Idle;
    it.status = it.decide(&seen()).status;
    it.desired = DesiredState::Working;
    let mut bad = whole();
    bad.spec.repository.as_mut().unwrap().base_branch = "../up".into();
    let stuck = it.decide(&Seen { whole: Some(Arc::new(bad)), ..seen() });
    assert_eq!(condition(&stuck.status, "Ready"), "False/PodBuildFailed");
    it.status = stuck.status;
    let mended = it.decide(&Seen { whole: Some(Arc::new(whole())), now: at(500), ..seen() });
    assert_eq!(
        (mended.status.attempt, mended.retire),
        (Some(2), Retire::Keep),
        "not taken for the last end"
    );
    let waits = it.decide(&Seen {
        whole: Some(Arc::new(whole())),
        ending: Some("polecat-max".into()),
        ..seen()
    });
    assert_eq!(condition(&waits.status, "Ready"), "False/WaitingForPreviousPod");
    assert!(waits.children.is_empty());
}

#[test]
fn a_spec_that_was_emptied_does_not_end_a_run() {
    let mut it = running();
    it.runnable = false;
    let plan = it.decide(&Seen { pod: Some(pod(PodPhase::Running)), ..seen() });
    assert_eq!(plan.children, [Child::Existing { pod: "polecat-max".into() }]);
}

#[test]
fn a_pod_of_somebody_else_is_left_alone() {
    let foreign = PodBrief { owner: None, ..pod(PodPhase::Running) };
    let plan = begun().decide(&Seen { pod: Some(foreign), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "False/PodNameTaken");
    assert!(plan.children.is_empty());
}

#[test]
fn the_status_says_of_which_spec_it_speaks_and_nothing_is_written_for_that_alone() {
    let table = [
        (None, true, Some(2), "along with what is written anyway"),
        (None, false, None, "a status of an older release, with nothing new to say"),
        (Some(1), false, Some(2), "the spec was edited since"),
        (Some(2), false, Some(2), "and is the same"),
    ];
    for (before, news, want, because) in table {
        let mut it = polecat(DesiredState::Idle);
        if !news {
            it.status = it.decide(&seen()).status;
        }
        (it.generation, it.status.observed_generation) = (Some(2), before);
        // Conditions speak of a generation as well, and are written before by this one.
        for condition in &mut it.status.conditions {
            condition.observed_generation = Some(2);
        }
        let told = it.decide(&seen()).status;
        assert_eq!(told.observed_generation, want, "{because}");
    }
}

#[test]
fn a_refused_pod_waits_or_is_stuck_and_is_tried_again() {
    let table = [
        (403, "exceeded quota: pods", Phase::Working, "False/QuotaExceeded"),
        (403, "failed quota: q: must specify cpu", Phase::Working, "False/QuotaUnmet"),
        (
            403,
            "violates PodSecurity \"restricted:latest\"",
            Phase::Stuck,
            "False/PodSecurityRefused",
        ),
        (422, "Pod is invalid", Phase::Stuck, "False/PodInvalid"),
    ];
    for (code, words, phase, ready) in table {
        let refusal = Some(crate::domain::refusal::refused(code, words));
        let plan = begun().decide(&Seen { refusal, ..seen() });
        assert_eq!(
            (plan.status.phase, condition(&plan.status, "Ready").as_str()),
            (phase, ready),
            "{words}"
        );
        assert_eq!(plan.next, Next::Retry);
        let again = Brief { status: plan.status, ..begun() };
        assert!(
            matches!(again.stage(), Stage::Begun { attempt: 1, .. }),
            "{words}: the same attempt"
        );
    }
}

#[test]
fn finished_things_go_when_their_time_is_up() {
    let mut it = running();
    it.ttl_after_finished = Some(60);
    let done = it.decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), now: at(100), ..seen() });
    it.status = done.status;
    assert_eq!(done.next, Next::After(Duration::from_secs(60)));
    let later = it.decide(&Seen { now: at(161), pod: Some(pod(PodPhase::Succeeded)), ..seen() });
    assert_eq!(later.retire, Retire::Delete);
    let settings = PodSettings {
        finished_pod_ttl: Some(Duration::from_secs(30)),
        ..(*seen().settings).clone()
    };
    let given = Seen { now: at(100), settings: Arc::new(settings.clone()), ..seen() };
    let done = running().decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), ..given });
    assert_eq!(done.next, Next::After(Duration::from_secs(30)), "nothing else will wake it then");
    let swept = it.decide(&Seen {
        now: at(131),
        pod: Some(pod(PodPhase::Succeeded)),
        settings: Arc::new(settings),
        ..seen()
    });
    assert!(swept.children.is_empty(), "the pod goes, the Polecat stays");
    assert_eq!(swept.retire, Retire::Keep);
}
