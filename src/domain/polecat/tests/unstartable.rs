//! Containers that never start, and those that wait for them.

use super::*;

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
