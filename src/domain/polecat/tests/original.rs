//! Runs that the Go original began.

use super::*;

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
