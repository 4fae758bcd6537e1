//! Containers that never start, and those that wait for them.

use super::*;

const NO_RUNNER: &str =
    "exec: \"/usr/local/bin/gt-runner\": stat /usr/local/bin/gt-runner: no such file or directory";

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
        (PodBrief { telemetry: unstartable(NO_RUNNER), ..busy() }, "RunnerMissing", "RunnerMissing", "what the agent commits nobody would push"),
        (PodBrief { claude: unstartable("error setting cgroup config"), telemetry: Container::Running, ..busy() }, "ContainerStartFailed", "NothingToPush", "the node is to blame, and the image is not"),
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
    let done = PodBrief { claude: over(0, ""), telemetry: unstartable(NO_RUNNER), ..busy() };
    let plan = running().decide(&Seen { pod: Some(done), ..seen() });
    assert_eq!(condition(&plan.status, "Ready"), "True/PodSucceeded", "exit 0 is done");
    assert_eq!(condition(&plan.status, "Pushed"), "False/RunnerMissing");
    assert_eq!(plan.notices.len(), 1, "commits in danger are announced");
}

#[test]
fn an_image_whose_loader_fails_is_blamed_at_once_and_its_pod_goes() {
    let error = Container::Ended {
        exit_code: 127,
        reason: "Error".into(),
        message: "".into(),
        at: Some(at(60)),
    };
    let mute = PodBrief { claude: error, telemetry: Container::Running, ..pod(PodPhase::Running) };
    let mut it = running();
    let end = it.decide(&Seen { pod: Some(mute.clone()), now: at(60), ..seen() });
    assert_eq!(condition(&end.status, "Ready"), "False/AgentImageIncompatible");
    assert_eq!(condition(&end.status, "Pushed"), "Unknown/NoVerdict", "telemetry may know better");
    assert_eq!(end.next, Next::After(Duration::ZERO), "nothing is left to wait for");
    it.status = end.status;
    let gone = it.decide(&Seen { pod: Some(mute.clone()), now: at(60), ..seen() });
    assert_eq!((gone.children.len(), &gone.status), (0, &it.status), "told to end");
    let said = r#"{"v":1,"pushed":false,"reason":"NotBegun","message":"nothing was run"}"#;
    let told = PodBrief { telemetry: over(0, said), phase: PodPhase::Failed, ..mute.clone() };
    let last = it.decide(&Seen { departed: Some(told), now: at(62), ..seen() });
    assert_eq!(condition(&last.status, "Ready"), "False/AgentImageIncompatible");
    assert_eq!(condition(&last.status, "Pushed"), "False/NotBegun");
    assert_eq!(last.notices.len(), 0, "nothing that was not said");
    let wrote = r#"{"v":1,"base":"a","commit":"b","pushed":true,"reason":"Pushed"}"#;
    let told = PodBrief { telemetry: over(0, wrote), phase: PodPhase::Failed, ..mute };
    let other = it.decide(&Seen { departed: Some(told), now: at(62), ..seen() });
    assert_eq!(condition(&other.status, "Ready"), "False/PodFailed", "it had run after all");
    assert_eq!(condition(&other.status, "Pushed"), "True/Pushed");
    it.status = last.status;
    assert_eq!(it.decide(&Seen { now: at(300), ..seen() }).status, it.status, "once");
}

#[test]
fn a_telemetry_that_comes_to_no_end_is_ended_after_its_reserve() {
    let hung =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let mut it = running();
    let end = it.decide(&Seen { pod: Some(hung.clone()), ..seen() });
    assert_eq!(end.next, Next::After(Duration::from_secs(80)), "its push reserve from the end");
    it.status = end.status;
    let kept = it.decide(&Seen { pod: Some(hung.clone()), now: at(179), ..seen() });
    assert_eq!((kept.children.len(), kept.next), (1, Next::After(Duration::from_secs(1))));
    let gone = it.decide(&Seen { pod: Some(hung), now: at(180), ..seen() });
    assert_eq!((gone.children.len(), &gone.status), (0, &it.status), "told to end");
}

#[test]
fn an_agent_whose_commits_nobody_would_push_is_ended_and_said() {
    let died = |code, reason: &str, message: &str| Container::Ended {
        exit_code: code,
        reason: reason.into(),
        message: message.into(),
        at: Some(at(60)),
    };
    let busy =
        |telemetry| PodBrief { claude: Container::Running, telemetry, ..pod(PodPhase::Running) };
    let setting =
        r#"{"v":1,"pushed":false,"reason":"SettingInvalid","message":"GT_RIG is not set"}"#;
    let misused = r#"{"v":1,"reason":"SettingInvalid","message":"unexpected argument --x"}"#;
    let waits = Container::Waiting { reason: "ImagePullBackOff".into(), message: "".into() };
    #[rustfmt::skip]
    let table = [
        (busy(died(137, "OOMKilled", "")), "TelemetryFailed", "OOMKilled", "killed by the node"),
        (busy(died(0, "Completed", setting)), "SettingInvalid", "GT_RIG is not set", "it said why"),
        (busy(died(2, "Error", misused)), "TelemetryFailed", "unexpected argument --x", "it could not read its command line"),
        (PodBrief { claude: waits, ..busy(died(101, "Error", "")) }, "NothingToPush", "code 101", "the agent had not begun"),
    ];
    for (pod, pushed, part, because) in table {
        let mut it = running();
        let early = it.decide(&Seen { pod: Some(pod.clone()), now: at(74), ..seen() });
        assert_eq!(early.status.phase, Phase::Working, "{because}");
        assert_eq!(early.next, Next::After(Duration::from_secs(1)), "{because}: a late end counts");
        let end = it.decide(&Seen { pod: Some(pod.clone()), now: at(75), ..seen() });
        assert_eq!(condition(&end.status, "Ready"), "False/TelemetryFailed", "{because}");
        assert_eq!(condition(&end.status, "Pushed"), format!("False/{pushed}"), "{because}");
        let said = &end.notices[0].message;
        assert!(said.contains(part) && said.contains("nobody would push"), "{because}: {said}");
        it.status = end.status;
        let then = it.decide(&Seen { pod: Some(pod.clone()), now: at(75), ..seen() });
        assert_eq!((&then.status, then.children.len()), (&it.status, 0), "{because}: the pod goes");
        let killed = died(143, "Error", r#"{"v":1,"reason":"Terminated","message":"told to end"}"#);
        let gone = PodBrief { claude: killed, phase: PodPhase::Failed, ..pod };
        let last = it.decide(&Seen { departed: Some(gone), now: at(90), ..seen() });
        assert_eq!(last.status, it.status, "{because}: how its pod ended is no news");
    }
    let pushed = r#"{"v":1,"base":"a","commit":"b","pushed":true,"reason":"Pushed"}"#;
    let told = PodBrief { deleting: true, ..busy(died(1, "Error", "")) };
    for (pod, because) in [
        (busy(died(0, "Completed", pushed)), "it is done, and the agent's container ends next"),
        (told, "the pod was told to end"),
    ] {
        let plan = running().decide(&Seen { pod: Some(pod), now: at(600), ..seen() });
        assert_eq!(condition(&plan.status, "Ready"), "True/PodRunning", "{because}");
    }
}
