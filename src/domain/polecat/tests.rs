//! Every step of a Polecat's life, as tables: what is there, what must be planned, and why.

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
fn a_pod_that_says_nothing_has_its_events_read_after_ever_longer_waits_and_not_for_ever() {
    let settings = seen().settings;
    let silent = |age: i32| PodBrief {
        created_at: Some(at(100 - i64::from(age))),
        ..pod(PodPhase::Pending)
    };
    let due = |age, read| {
        let due = begun().reports_due(&silent(age), read, &settings, at(100));
        due.map(|it| it.as_secs())
    };
    assert_eq!([due(0, 0), due(4, 0), due(12, 0)], [Some(10), Some(6), Some(0)]);
    assert_eq!([due(12, 1), due(12, 2), due(12, 5)], [Some(8), Some(28), Some(308)]);
    assert_eq!(due(90, 6), None, "by then nobody will say anything");
    let running = begun().reports_due(&pod(PodPhase::Running), 0, &settings, at(100));
    assert_eq!(running, None, "a pod that runs is not asked about");
    let again = Some(Duration::from_secs(8));
    let waits =
        Seen { pod: Some(silent(12)), reports: Reports { said: Vec::new(), again }, ..seen() };
    assert_eq!(begun().decide(&waits).next, Next::After(Duration::from_secs(8)));
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
fn a_refused_pod_waits_or_is_stuck_and_is_tried_again() {
    let table = [
        (403, "exceeded quota: pods", Phase::Working, "False/QuotaExceeded"),
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
fn what_the_original_left_behind_is_judged_by_its_pod() {
    let mut it = polecat(DesiredState::Working);
    it.status.phase = Phase::Working;
    it.status.pod_name = Some("polecat-max".into());
    let plan = it.decide(&Seen { pod: Some(pod(PodPhase::Running)), ..seen() });
    assert_eq!(plan.children, [Child::Existing { pod: "polecat-max".into() }]);
    it.status.phase = Phase::Stuck;
    assert!(matches!(it.stage(), Stage::Over), "what it called Stuck with a pod had failed");
    it.deleting = true;
    it.original_finalizer = true;
    assert_eq!(it.decide(&seen()).finalizer, Finalizer::Release(names::ORIGINAL_FINALIZER));
}

/// A Polecat as the original writes it once its pod is made: no attempt, no end.
fn by_original() -> Brief {
    let mut it = polecat(DesiredState::Working);
    it.original_finalizer = true;
    it.status.phase = Phase::Working;
    it.status.pod_name = Some("polecat-max".into());
    it
}

/// A pod of the original: its telemetry runs for ever and says nothing.
fn originals_pod(claude: Container) -> PodBrief {
    let telemetry = Container::Running;
    PodBrief { by_original: true, claude, telemetry, ..pod(PodPhase::Running) }
}

#[test]
fn a_run_of_the_original_is_judged_by_its_agents_end_and_waits_for_no_verdict() {
    #[rustfmt::skip]
    let table = [
        (Container::Running, Phase::Working, "True/PodRunning", "", "it runs on"),
        (over(0, ""), Phase::Done, "True/PodSucceeded", "Unknown/MadeByOriginal", "although telemetry still runs"),
        (over(3, ""), Phase::Stuck, "False/PodFailed", "Unknown/MadeByOriginal", "its agent failed"),
    ];
    for begun in [by_original(), polecat(DesiredState::Working)] {
        for (claude, phase, ready, pushed, because) in &table {
            let pod = originals_pod(claude.clone());
            // At the very moment of its end.
            let seen = Seen { pod: Some(pod), now: at(60), ..seen() };
            assert!(!begun.wants_pod(&seen), "{because}: none is made");
            let plan = begun.decide(&seen);
            let status = &plan.status;
            assert_eq!((status.phase, status.attempt), (*phase, Some(1)), "{because}: numbered");
            assert_eq!(status.pod_name.as_deref(), Some("polecat-max"), "{because}");
            assert_eq!(condition(status, "Ready"), *ready, "{because}");
            assert_eq!(condition(status, "Pushed"), *pushed, "{because}");
            assert_eq!(plan.children, [Child::Existing { pod: "polecat-max".into() }], "{because}");
            let mut it = begun.clone();
            it.status = plan.status;
            assert_eq!(it.decide(&seen).status, it.status, "{because}: said once");
        }
    }
}

#[test]
fn a_run_of_the_original_whose_pod_is_gone_is_lost_and_not_run_again() {
    let given = Seen { past: Past::NeverScheduled, whole: Some(Arc::new(whole())), ..seen() };
    assert!(!by_original().wants_pod(&given), "its pod was there before its status");
    let lost = by_original().decide(&given);
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost");
    assert_eq!((lost.status.attempt, lost.children.len()), (Some(1), 0));
    let mut done = by_original();
    done.status.phase = Phase::Done;
    let again = done.decide(&given);
    assert_eq!((again.status, again.children.len()), (done.status.clone(), 0), "nor one it ended");
}

#[test]
fn a_pod_of_the_original_that_is_going_is_waited_for() {
    let going = PodBrief { deleting: true, ..originals_pod(Container::Running) };
    let mut idle = by_original();
    (idle.status.phase, idle.status.pod_name) = (Phase::Idle, None);
    let whole = Some(Arc::new(whole()));
    let waits = idle.decide(&Seen { pod: Some(going), whole: whole.clone(), ..seen() });
    assert_eq!(condition(&waits.status, "Ready"), "False/WaitingForPreviousPod");
    assert!(waits.children.is_empty());
    idle.status = waits.status;
    let begins = idle.decide(&Seen { whole, ..seen() });
    assert_eq!(begins.children.len(), 1, "it is gone: a new run was asked for");
}

#[test]
fn a_finished_pod_of_the_original_goes_in_its_time_although_telemetry_runs() {
    let settings = PodSettings {
        finished_pod_ttl: Some(Duration::from_secs(10)),
        ..(*seen().settings).clone()
    };
    let late =
        Seen { pod: Some(originals_pod(over(0, ""))), settings: Arc::new(settings), ..seen() };
    let mut it = by_original();
    it.status = it.decide(&late).status;
    assert_eq!(it.status.phase, Phase::Done);
    assert!(it.decide(&late).children.is_empty(), "40 s after its agent's end");
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

#[test]
fn a_late_verdict_corrects_once() {
    let mut it = running();
    let silent =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    it.status = it.decide(&Seen { pod: Some(silent.clone()), ..seen() }).status;
    assert_eq!(condition(&it.status, "Pushed"), "Unknown/NoVerdict");
    let said = over(0, r#"{"v":1,"commit":"abc","pushed":true,"reason":"Pushed","message":"m"}"#);
    let spoken = PodBrief { telemetry: said, ..silent };
    let plan = it.decide(&Seen { pod: Some(spoken.clone()), ..seen() });
    assert_eq!(
        (condition(&plan.status, "Pushed").as_str(), plan.status.phase),
        ("True/Pushed", Phase::Done)
    );
    it.status = plan.status;
    assert_eq!(
        it.decide(&Seen { pod: Some(spoken), now: at(500), ..seen() }).status,
        it.status,
        "once"
    );
}

fn any_container() -> impl Strategy<Value = Container> {
    prop_oneof![
        Just(Container::Unseen),
        Just(Container::Running),
        Just(Container::Waiting { reason: "ImagePullBackOff".into(), message: "m".into() }),
        (0..3, ".{0,20}").prop_map(|(code, text)| over(code, &text)),
    ]
}

fn any_pod() -> impl Strategy<Value = Option<PodBrief>> {
    let phases = [
        PodPhase::Pending,
        PodPhase::Running,
        PodPhase::Succeeded,
        PodPhase::Failed,
        PodPhase::Unknown,
    ];
    let any = (
        prop::sample::select(phases.to_vec()),
        any_container(),
        any_container(),
        any_container(),
        any::<bool>(),
    );
    prop::option::of(any.prop_map(|(phase, git_init, claude, telemetry, owned)| {
        let by_original = telemetry == Container::Unseen;
        let it = PodBrief { by_original, git_init, claude, telemetry, ..pod(phase) };
        if owned { it } else { PodBrief { owner: None, ..it } }
    }))
}

fn any_polecat() -> impl Strategy<Value = Brief> {
    let desired = prop::sample::select(vec![
        DesiredState::Idle,
        DesiredState::Working,
        DesiredState::Terminated,
    ]);
    let any = (
        desired,
        prop::sample::select(Phase::ALL.to_vec()),
        prop::option::of(1..4),
        any::<[bool; 4]>(),
    );
    any.prop_map(|(desired, phase, attempt, [named, started, finished, runnable])| {
        let mut it = polecat(desired);
        it.runnable = runnable;
        it.status.phase = phase;
        it.status.attempt = attempt;
        it.status.pod_name = named.then(|| names::pod("max", attempt.unwrap_or(1)));
        it.status.started_at = started.then(|| Time(at(10)));
        it.status.finished_at = finished.then(|| Time(at(20)));
        it
    })
}

proptest! {
    /// A plan carried out and looked at again gives the same plan: a reconcile that changes nothing writes nothing.
    #[test]
    fn deciding_again_changes_nothing(mut it in any_polecat(), pod in any_pod()) {
        let seen = Seen { pod, ..seen() };
        let first = it.decide(&seen);
        it.status = first.status.clone();
        let second = it.decide(&seen);
        prop_assert_eq!(&second.status, &first.status);
        prop_assert!(second.notices.is_empty(), "{:?}", second.notices);
    }

    /// Never two pods, and never one for an attempt that may have run.
    #[test]
    fn never_two_pods_and_never_one_twice(it in any_polecat(), pod in any_pod(), scheduled in any::<bool>()) {
        let past = if scheduled { Past::Scheduled } else { Past::NeverScheduled };
        let seen = Seen { pod: pod.clone(), past, whole: Some(Arc::new(whole())), ..seen() };
        let plan = it.decide(&seen);
        let made = plan.children.iter().filter(|it| matches!(it, Child::Pod(_))).count();
        prop_assert!(plan.children.len() <= 1);
        if made == 1 {
            prop_assert_eq!(it.desired, DesiredState::Working);
            match it.stage() {
                Stage::Fresh { .. } => prop_assert!(it.left_behind(&seen).is_none()),
                Stage::Begun { .. } => prop_assert!(!it.begun_by_original() && pod.is_none() && !scheduled && it.status.started_at.is_none()),
                Stage::Over => prop_assert!(false, "a finished attempt was run again"),
            }
        }
    }
}

/// A pod whose agent's probe has failed since second 40; it began at second 10.
fn unready() -> PodBrief {
    let unready = Some(crate::domain::pod_brief::Unready { since: at(40), began: at(10) });
    PodBrief { unready, claude: Container::Running, ..pod(PodPhase::Running) }
}

#[test]
fn an_idle_agents_pod_goes_half_a_minute_after_its_limit() {
    let limit = |max_idle| Brief { max_idle, ..running() };
    let late = PodBrief { deleting: true, ..unready() };
    #[rustfmt::skip]
    let table = [
        (limit(Some(20)), unready(), 69, Next::After(Duration::from_secs(1)), "True/PodRunning", "unready for 29 s"),
        (limit(Some(20)), unready(), 70, Next::OnChange, "False/IdleTimeout", "unready for 30 s"),
        (limit(Some(600)), unready(), 70, Next::After(Duration::from_secs(570)), "True/PodRunning", "never ready: not idle before it could be"),
        (limit(None), unready(), 5000, Next::OnChange, "True/PodRunning", "no limit"),
        (limit(Some(20)), pod(PodPhase::Running), 5000, Next::OnChange, "True/PodRunning", "it is active"),
        (limit(Some(20)), late, 5000, Next::OnChange, "True/PodRunning", "it is going already"),
    ];
    for (it, pod, second, next, ready, because) in table {
        let plan = it.decide(&Seen { now: at(second), pod: Some(pod), ..seen() });
        assert_eq!(condition(&plan.status, "Ready"), ready, "{because}");
        let goes = ready == "False/IdleTimeout";
        assert_eq!(plan.children.is_empty(), goes, "{because}");
        assert_eq!(plan.next, next, "{because}");
    }
}

#[test]
fn an_idle_agents_end_survives_a_crash_and_its_pods_last_words() {
    let mut it = Brief { max_idle: Some(20), ..running() };
    let idled = it.decide(&Seen { pod: Some(unready()), ..seen() });
    assert_eq!(idled.notices.len(), 1, "a person should know");
    it.status = idled.status;
    let again = it.decide(&Seen { pod: Some(unready()), now: at(101), ..seen() });
    assert!(again.children.is_empty(), "a crash before the delete: it is still to go");
    assert_eq!(again.status, it.status);
    let said = over(0, r#"{"v":1,"commit":"abc","pushed":true,"reason":"Pushed","message":"m"}"#);
    let gone = PodBrief { claude: over(143, ""), telemetry: said, ..pod(PodPhase::Failed) };
    let last = it.decide(&Seen { departed: Some(gone), now: at(130), ..seen() });
    assert_eq!(condition(&last.status, "Ready"), "False/IdleTimeout", "the end stands");
    assert_eq!(condition(&last.status, "Pushed"), "True/Pushed");
    assert_eq!(last.status.commit.as_deref(), Some("abc"));
}

#[test]
fn a_restored_polecat_waits_to_be_told() {
    let held = |origin| Brief { origin, created_at: Some(at(0)), ..polecat(DesiredState::Working) };
    let given = || Seen { whole: Some(Arc::new(whole())), ..seen() };
    for (origin, reason) in
        [(Origin::Backup, "True/RestoredFromBackup"), (Origin::Export, "True/RestoredFromExport")]
    {
        let mut it = held(origin);
        assert!(!it.begins() && !it.wants_pod(&seen()), "{reason}: nothing is read for it");
        let early = it.decide(&Seen { now: at(1), ..given() });
        assert_eq!(early.status, it.status, "{reason}: its status may still be on its way");
        assert_eq!(early.next, Next::After(Duration::from_secs(2)));
        let plan = it.decide(&given());
        assert_eq!(condition(&plan.status, "Restored"), reason);
        assert_eq!((plan.children.len(), plan.status.phase), (0, Phase::Idle), "{reason}");
        it.status = plan.status;
        assert_eq!(it.decide(&given()).status, it.status, "{reason}: said once");
        let told = Brief { origin: Origin::Resumed, ..it.clone() }.decide(&given());
        assert_eq!(condition(&told.status, "Restored"), "False/Released", "{reason}");
        assert_eq!((told.children.len(), told.status.attempt), (1, Some(1)), "{reason}");
        it.desired = DesiredState::Idle;
        it.status = it.decide(&given()).status;
        it.desired = DesiredState::Working;
        assert_eq!(it.decide(&given()).children.len(), 1, "{reason}: Idle and back");
    }
    let mut with_status = held(Origin::Backup);
    with_status.status = running().status;
    let lost = with_status.decide(&Seen { past: Past::NeverScheduled, ..given() });
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "its status says that it ran");
}

#[test]
fn marks_on_an_object_say_how_it_came_back() {
    let of = |label: Option<&str>, annotations: &[(&str, &str)]| {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let meta = kube::core::ObjectMeta {
            labels: label.map(|it| [pair((it, "x"))].into()),
            annotations: Some(annotations.iter().copied().map(pair).collect()),
            ..kube::core::ObjectMeta::default()
        };
        Origin::of(&meta)
    };
    let (from, resume) = ((names::RESTORED_FROM, "Done 1"), (names::RESUME, "true"));
    assert_eq!(of(None, &[resume]), Origin::New, "the word alone means nothing");
    assert_eq!(of(Some(names::VELERO_RESTORE), &[]), Origin::Backup);
    assert_eq!(of(None, &[from]), Origin::Export);
    assert_eq!(of(None, &[from, resume]), Origin::Resumed);
    assert_eq!(of(None, &[from, (names::RESUME, "yes")]), Origin::Export, "only true");
}

#[test]
fn an_edited_spec_is_said_of_the_attempt_under_way_alone() {
    type Edit = fn(&mut v1beta1::Polecat);
    let now = || Seen { pod: Some(pod(PodPhase::Running)), ..seen() };
    let edited = |edit: Edit| {
        let mut it = whole();
        it.metadata.generation = Some(3);
        it.status = running().status;
        it.status.attempt_generation = Some(1);
        edit(&mut it);
        Brief { name: "max".into(), ..Brief::from(&it) }
    };
    #[rustfmt::skip]
    let table: [(Edit, &str, &str); 6] = [
        (|it| it.spec.task = Some("another".into()), "True/SpecChanged", "another task"),
        (|it| it.spec.agent.model = Some("m".into()), "True/SpecChanged", "another model"),
        (|_| {}, "", "Idle and back between two looks"),
        (|it| it.spec.limits.ttl_seconds_after_finished = Some(5), "", "takes effect at once"),
        (|it| it.spec.desired_state = DesiredState::Idle, "", "no attempt is under way any more"),
        (|it| { it.spec.task = Some("another".into()); it.metadata.generation = Some(1); }, "", "made from this very generation"),
    ];
    for (edit, want, because) in table {
        let plan = edited(edit).decide(&now());
        assert_eq!(condition(&plan.status, "SpecChanged"), want, "{because}");
    }
    let mut it = edited(|it| it.spec.task = Some("another".into()));
    it.status = it.decide(&now()).status;
    let done = it.decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), ..seen() });
    assert_eq!(condition(&done.status, "SpecChanged"), "", "over: there is nothing to restart");
    it.status = done.status;
    assert_eq!(condition(&it.decide(&now()).status, "SpecChanged"), "", "nor later");
}

#[test]
fn a_run_that_needs_its_commits_waits_for_the_verdict_and_is_stuck_without() {
    use crate::api::v1beta1::Completion as C;
    let verdict = |commit: &str, pushed: bool, reason: &str| {
        let commit = if commit.is_empty() { "null".into() } else { format!("{commit:?}") };
        over(
            0,
            &format!(
                r#"{{"v":1,"commit":{commit},"pushed":{pushed},"reason":"{reason}","message":"m"}}"#
            ),
        )
    };
    #[rustfmt::skip]
    let table = [
        (C::ExitCode, verdict("", false, "NothingToPush"), Phase::Done, "True/PodSucceeded", "False/NothingToPush"),
        (C::Commit, verdict("", false, "NothingToPush"), Phase::Stuck, "False/NotCommitted", "False/NothingToPush"),
        (C::Commit, verdict("abc", false, "PushRejected"), Phase::Done, "True/PodSucceeded", "False/PushRejected"),
        (C::Push, verdict("abc", false, "PushRejected"), Phase::Stuck, "False/NotPushed", "False/PushRejected"),
        (C::Push, verdict("abc", true, "Pushed"), Phase::Done, "True/PodSucceeded", "True/Pushed"),
        (C::Push, over(0, "{cut"), Phase::Stuck, "False/VerdictUnreadable", "Unknown/VerdictUnreadable"),
        (C::Commit, over(1, ""), Phase::Stuck, "False/VerdictMissing", "Unknown/NoVerdict"),
    ];
    for (completion, telemetry, phase, ready, pushed) in table {
        let it = Brief { completion, ..running() };
        let pod = PodBrief { claude: over(0, ""), telemetry, ..pod(PodPhase::Running) };
        let status = it.decide(&Seen { pod: Some(pod), ..seen() }).status;
        assert_eq!(status.phase, phase, "{completion:?} {pushed}");
        assert_eq!(condition(&status, "Ready"), ready, "{completion:?} {pushed}");
        assert_eq!(condition(&status, "Pushed"), pushed, "{completion:?} {ready}");
    }
    let mut it = Brief { completion: C::Push, ..running() };
    let silent =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let early = it.decide(&Seen { now: at(100), pod: Some(silent.clone()), ..seen() });
    assert_eq!(
        early.next,
        Next::After(Duration::from_secs(80)),
        "the push reserve, not ten seconds"
    );
    it.status = it.decide(&Seen { now: at(180), pod: Some(silent.clone()), ..seen() }).status;
    assert_eq!(condition(&it.status, "Ready"), "False/VerdictMissing");
    let spoken = PodBrief { telemetry: verdict("abc", true, "Pushed"), ..silent };
    let late = it.decide(&Seen { now: at(190), pod: Some(spoken), ..seen() }).status;
    assert_eq!(
        (late.phase, condition(&late, "Ready").as_str()),
        (Phase::Done, "True/PodSucceeded")
    );
}

#[test]
fn the_last_words_of_a_pod_that_was_stopped_are_recorded_once() {
    for desired in [DesiredState::Idle, DesiredState::Terminated] {
        let mut it = Brief { desired, ..running() };
        let plan = it.decide(&Seen { pod: Some(pod(PodPhase::Running)), ..seen() });
        assert_eq!(condition(&plan.status, "Pushed"), "Unknown/NoVerdict", "{desired:?}: awaited");
        it.status = plan.status;
        let said = r#"{"v":1,"base":"000","commit":"abc","pushed":true,"reason":"Pushed","message":"m","taskSha256":"ff","pushSeconds":1.5}"#;
        let claude = over(143, "");
        let gone = PodBrief { claude, telemetry: over(0, said), ..pod(PodPhase::Failed) };
        let plan = it.decide(&Seen { departed: Some(gone.clone()), ..seen() });
        let status = &plan.status;
        assert_eq!(condition(status, "Pushed"), "True/Pushed", "{desired:?}");
        assert_eq!(
            (status.commit.as_deref(), status.base_commit.as_deref()),
            (Some("abc"), Some("000"))
        );
        assert_eq!((status.exit_code, status.task_sha256.as_deref()), (Some(143), Some("ff")));
        assert_eq!(status.usage.as_ref().unwrap().push_milliseconds, Some(1500));
        assert_eq!(status.phase, it.status.phase, "{desired:?}: the phase stands");
        it.status = plan.status;
        let later = Seen { departed: Some(gone), now: at(500), ..seen() };
        assert_eq!(it.decide(&later).status, it.status, "{desired:?}: once");
    }
    let mut never = Brief { desired: DesiredState::Idle, ..begun() };
    never.status = never.decide(&seen()).status;
    assert_eq!(condition(&never.status, "Pushed"), "", "no agent ran, no words are awaited");
}

#[test]
fn a_pod_that_was_seen_to_end_before_it_went_is_judged_by_its_end() {
    let verdict = r#"{"v":1,"commit":"abc","pushed":true,"reason":"Pushed","message":"m"}"#;
    let gone = PodBrief {
        claude: over(0, ""),
        telemetry: over(0, verdict),
        digests: [None, Some("sha256:aa".into()), None],
        ..pod(PodPhase::Succeeded)
    };
    let plan = running().decide(&Seen { departed: Some(gone.clone()), ..seen() });
    assert_eq!((plan.status.phase, plan.children.len()), (Phase::Done, 0), "it was done");
    assert_eq!(condition(&plan.status, "Pushed"), "True/Pushed");
    let images = plan.status.image_digests.unwrap();
    assert_eq!((images.claude.as_deref(), images.telemetry), (Some("sha256:aa"), None));
    let foreign = PodBrief { owner: None, ..gone };
    let plan = running().decide(&Seen { departed: Some(foreign), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "False/PodLost", "somebody else's end");
}

fn unstartable(words: &str) -> Container {
    let (reason, message, at) = ("StartError".into(), words.into(), Some(at(60)));
    Container::Ended { exit_code: 128, reason, message, at }
}

#[test]
fn a_container_that_can_never_start_ends_the_attempt_and_its_pod_goes() {
    let refused = |name: &str| Container::Waiting {
        reason: "CreateContainerError".into(),
        message: format!("exec: \"{name}\": stat {name}: no such file or directory").into(),
    };
    let busy = || PodBrief { claude: Container::Running, ..pod(PodPhase::Running) };
    let (tool, own) = ("/gastown/tools/gt-runner", "/usr/local/bin/gt-runner");
    #[rustfmt::skip]
    let table = [
        (PodBrief { claude: unstartable("exec format error"), telemetry: Container::Running, ..busy() }, "AgentImageIncompatible", "NothingToPush", "telemetry would wait until the pod's deadline"),
        (PodBrief { claude: refused(tool), telemetry: Container::Running, ..busy() }, "AgentImageIncompatible", "NothingToPush", "a runtime that looks before it makes the container is asked again for ever"),
        (PodBrief { telemetry: unstartable("no gt-runner"), ..busy() }, "RunnerMissing", "RunnerMissing", "what the agent commits nobody would push"),
        (PodBrief { telemetry: refused(own), ..busy() }, "RunnerMissing", "RunnerMissing", "the same"),
        (PodBrief { git_init: refused(own), ..pod(PodPhase::Pending) }, "RunnerMissing", "NothingToPush", "the clone can't begin"),
    ];
    for (pod, ready, pushed, because) in table {
        let mut it = running();
        let end = it.decide(&Seen { pod: Some(pod.clone()), ..seen() });
        assert_eq!(condition(&end.status, "Ready"), format!("False/{ready}"), "{because}");
        assert_eq!(condition(&end.status, "Pushed"), format!("False/{pushed}"), "{because}");
        assert_eq!((end.status.phase, end.children.len()), (Phase::Stuck, 1), "{because}");
        assert_eq!(end.next, Next::After(Duration::ZERO), "{because}: the end is written first");
        it.status = end.status;
        let then = it.decide(&Seen { pod: Some(pod), ..seen() });
        assert_eq!((&then.status, then.children.len()), (&it.status, 0), "{because}: the pod goes");
    }
    let no_space = Container::Waiting {
        reason: "CreateContainerError".into(),
        message: "failed to make /var/lib: no space left".into(),
    };
    let waits = PodBrief { claude: no_space, ..pod(PodPhase::Pending) };
    let plan = running().decide(&Seen { pod: Some(waits), ..seen() });
    assert_eq!(
        condition(&plan.status, "Ready"),
        "False/ContainerNotStarted",
        "the node may mend it"
    );
    let done = PodBrief { claude: over(0, ""), telemetry: unstartable("no gt-runner"), ..busy() };
    let plan = running().decide(&Seen { pod: Some(done), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "True/PodSucceeded", "exit 0 is done");
    assert_eq!(condition(&plan.status, "Pushed"), "False/RunnerMissing");
    assert_eq!(plan.notices.len(), 1, "commits in danger are announced");
}

#[test]
fn a_telemetry_that_waits_for_nothing_is_ended_after_its_reserve() {
    let error = Container::Ended {
        exit_code: 127,
        reason: "Error".into(),
        message: "".into(),
        at: Some(at(60)),
    };
    let mute = PodBrief { claude: error, telemetry: Container::Running, ..pod(PodPhase::Running) };
    let mut it = running();
    let end = it.decide(&Seen { pod: Some(mute.clone()), ..seen() });
    assert_eq!(condition(&end.status, "Ready"), "False/PodFailed", "as far as anybody knows");
    assert_eq!(end.next, Next::After(Duration::from_secs(80)), "its push reserve from the end");
    it.status = end.status;
    let kept = it.decide(&Seen { pod: Some(mute.clone()), now: at(179), ..seen() });
    assert_eq!((kept.children.len(), kept.next), (1, Next::After(Duration::from_secs(1))));
    let gone = it.decide(&Seen { pod: Some(mute.clone()), now: at(180), ..seen() });
    assert_eq!((gone.children.len(), &gone.status), (0, &it.status), "told to end");
    let said = r#"{"v":1,"pushed":false,"reason":"NotBegun","message":"nothing was run"}"#;
    let told = PodBrief { telemetry: over(0, said), phase: PodPhase::Failed, ..mute };
    let last = it.decide(&Seen { departed: Some(told), now: at(190), ..seen() });
    assert_eq!(condition(&last.status, "Ready"), "False/AgentImageIncompatible");
    assert_eq!(condition(&last.status, "Pushed"), "False/NotBegun");
    assert_eq!(last.notices.len(), 1, "the better word is announced");
    it.status = last.status;
    assert_eq!(it.decide(&Seen { now: at(300), ..seen() }).status, it.status, "once");
}

#[test]
fn a_verdict_that_never_comes_is_said_and_announced_once() {
    let mut it = running();
    let waits =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let done = it.decide(&Seen { pod: Some(waits), ..seen() });
    assert_eq!(condition(&done.status, "Pushed"), "Unknown/NoVerdict");
    assert!(done.notices.is_empty(), "it may still come");
    it.status = done.status;
    let gone = it.decide(&seen());
    let reasons: Vec<_> = gone.notices.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!((reasons, gone.status.phase), (vec!["NoVerdict"], Phase::Done));
    assert!(gone.notices[0].message.contains("may be lost"), "{:?}", gone.notices);
    it.status = gone.status;
    let again = it.decide(&seen());
    assert_eq!((again.notices.len(), &again.status), (0, &it.status), "once");

    let mut idle = Brief { desired: DesiredState::Idle, ..running() };
    idle.status = idle.decide(&Seen { pod: Some(pod(PodPhase::Running)), ..seen() }).status;
    let gone = idle.decide(&seen());
    assert_eq!(
        gone.notices.len(),
        1,
        "stopped by wish, and nobody said what became of its commits"
    );
    idle.status = gone.status;
    assert!(idle.decide(&seen()).notices.is_empty(), "once");
}

#[test]
fn a_pod_that_was_cut_off_and_said_nothing_may_have_lost_commits() {
    let cut = |disruption: &str, claude, telemetry| PodBrief {
        disruption: Some(disruption.into()),
        claude,
        telemetry,
        ..pod(PodPhase::Failed)
    };
    let said = |reason: &str, pushed| {
        let text = format!(r#"{{"v":1,"pushed":{pushed},"reason":"{reason}","message":"m"}}"#);
        over(0, &text)
    };
    let waits = || Container::Waiting { reason: "ContainerCreating".into(), message: "".into() };
    #[rustfmt::skip]
    let table = [
        (cut("PreemptionByScheduler", Container::Unseen, Container::Unseen), "Preempted", true, "NoVerdict", "nobody spoke"),
        (cut("EvictionByEvictionAPI", over(143, ""), over(0, "{cut")), "Drained", true, "VerdictUnreadable", "nobody can read it"),
        (cut("EvictionByEvictionAPI", over(143, ""), said("Pushed", true)), "Drained", false, "Pushed", "they are on the remote"),
        (cut("TerminationByKubelet", over(137, ""), said("PushFailed", false)), "Evicted", false, "PushFailed", "Pushed says so"),
        (cut("TerminationByKubelet", waits(), waits()), "Evicted", false, "NothingToPush", "there are none"),
        (cut("DeletionByPodGC", waits(), waits()), "NodeLost", true, "NoVerdict", "a lost node's last look proves nothing"),
    ];
    for (pod, ready, lost, pushed, because) in table {
        let plan = running().decide(&Seen { pod: Some(pod), ..seen() });
        let of = |type_| plan.status.conditions.iter().find(|it| it.type_ == type_).unwrap();
        assert_eq!((&*of("Ready").reason, &*of("Pushed").reason), (ready, pushed), "{because}");
        let text = &of("Ready").message;
        assert_eq!(text.contains("may be lost"), lost, "{because}: {text}");
    }
    let gone = PodBrief {
        phase: PodPhase::Running,
        ..cut("DeletionByTaintManager", Container::Running, Container::Running)
    };
    let lost = running().decide(&Seen { departed: Some(gone), ..seen() });
    assert_eq!(
        condition(&lost.status, "Ready"),
        "False/NodeLost",
        "deleted before its node could report"
    );
}
