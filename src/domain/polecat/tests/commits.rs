//! What became of the commits, and of whom nobody heard.

use super::*;
use crate::domain::digest::Digest;

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

#[test]
fn a_polecat_whose_time_is_up_does_not_take_the_push_along() {
    let mut it = running();
    it.ttl_after_finished = Some(5);
    let pushing =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let looks = |it: &Brief, second, pod: &PodBrief| {
        it.decide(&Seen { now: at(second), pod: Some(pod.clone()), ..seen() })
    };
    it.status = looks(&it, 100, &pushing).status; // its agent ended at 60
    assert_eq!(condition(&it.status, "Ready"), "True/PodSucceeded", "done by its exit code");
    let waits = looks(&it, 101, &pushing);
    assert_eq!((waits.retire, waits.children.len()), (Retire::Keep, 1), "it pushes still");
    let said = over(0, r#"{"v":1,"commit":"abc","pushed":true,"reason":"Pushed","message":"m"}"#);
    let spoken = looks(&it, 110, &PodBrief { telemetry: said, ..pushing.clone() });
    assert_eq!(spoken.retire, Retire::Delete, "it has spoken");
    assert_eq!(condition(&spoken.status, "Pushed"), "True/Pushed", "and is heard before");
    let never = looks(&it, 60 + 120 + 60, &pushing);
    assert_eq!(never.retire, Retire::Delete, "it can push no more");
    let theirs = PodBrief { by_original: true, ..pushing };
    assert_eq!(looks(&it, 101, &theirs).retire, Retire::Delete, "that one never ends");
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
    let digest = format!("sha256:{}", "a".repeat(64));
    let gone = PodBrief {
        claude: over(0, ""),
        telemetry: over(0, verdict),
        digests: [None, Digest::of_image(&digest), None],
        ..pod(PodPhase::Succeeded)
    };
    let plan = running().decide(&Seen { departed: Some(gone.clone()), ..seen() });
    assert_eq!((plan.status.phase, plan.children.len()), (Phase::Done, 0), "it was done");
    assert_eq!(condition(&plan.status, "Pushed"), "True/Pushed");
    let images = plan.status.image_digests.unwrap();
    assert_eq!((images.claude, images.telemetry), (Some(digest.into()), None));
    let foreign = PodBrief { owner: None, ..gone };
    let plan = running().decide(&Seen { departed: Some(foreign), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "False/PodLost", "somebody else's end");
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
