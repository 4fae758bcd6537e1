//! Agents that do nothing.

use super::*;

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
fn a_node_that_does_not_say_that_a_pod_ended_is_told_of_and_nothing_runs_again() {
    // To be gone by second 60; the node may be half a minute late.
    let going = |phase| PodBrief {
        deleting: true,
        disruption: Some("DeletionByTaintManager".into()),
        moments: crate::domain::pod_brief::Moments { goes: 1_800_000_060, ..Default::default() },
        ..pod(phase)
    };
    for phase in [PodPhase::Running, PodPhase::Pending] {
        let early = running().decide(&Seen { now: at(80), pod: Some(going(phase)), ..seen() });
        assert_eq!(early.next, Next::After(Duration::from_secs(10)), "{phase:?}");
        assert_ne!(condition(&early.status, "Ready"), "False/NodeSilent", "{phase:?}");
        let late = || Seen { now: at(90), pod: Some(going(phase)), ..seen() };
        let mut it = running();
        let plan = it.decide(&late());
        assert_eq!(condition(&plan.status, "Ready"), "False/NodeSilent", "{phase:?}");
        assert_eq!((plan.status.phase, plan.status.finished_at.is_none()), (Phase::Working, true));
        assert_eq!(plan.notices.len(), 1, "{phase:?}: a person should know");
        assert_eq!(plan.children.len(), 1, "{phase:?}: it is left as it is");
        it.status = plan.status;
        let again = it.decide(&late());
        assert_eq!((again.status, again.notices), (it.status.clone(), vec![]), "{phase:?}: once");
        // By force it goes; then it counts as lost, with what it was lost for.
        let gone = it.decide(&Seen { departed: Some(going(phase)), now: at(900), ..seen() });
        assert_eq!(condition(&gone.status, "Ready"), "False/NodeLost", "{phase:?}");
        assert!(gone.children.is_empty(), "{phase:?}: nothing runs again");
    }
    let ended = PodBrief { claude: over(0, ""), ..going(PodPhase::Running) };
    let plan = running().decide(&Seen { now: at(900), pod: Some(ended), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "True/PodSucceeded", "its agent's end is known");
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
