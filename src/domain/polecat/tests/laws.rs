//! What holds for any Polecat beside any pod.

use super::*;

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

    /// What came late goes at once, and changes nothing that was said of its attempt.
    #[test]
    fn a_second_pod_of_an_attempt_that_is_over_goes(it in any_polecat(), pod in any_pod()) {
        let Some(pod) = pod.filter(|pod| it.desired == DesiredState::Working && it.outlived_by(pod)) else { return Ok(()) };
        let plan = it.decide(&Seen { pod: Some(pod), ..seen() });
        prop_assert_eq!((plan.children.len(), &plan.status), (0, &it.status));
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
