//! When a run that is over began and ended, and who is the last to know.

use super::{
    stages::{BEGIN, moments, ms, pod_that_said, seconds, verdict},
    *,
};
use crate::domain::{
    pod_brief::{Moments, Unready},
    trace::{Context, Span},
    verdict::Times,
};

/// The stages follow each other from the begin of the root, which comes first, to its end.
fn is_tiled(spans: &[Span]) {
    let (root, stages) = spans.split_first().unwrap();
    let mut at = root.from;
    for stage in stages {
        assert!(stage.from == at && stage.to > at, "{:#?}", seconds(spans));
        at = stage.to;
    }
    assert_eq!(at, root.to, "{:#?}", seconds(spans));
}

/// Telemetry pushes for a minute beyond the ten seconds that it is waited for, or an idle agent takes its time to go.
#[test]
fn a_run_that_was_called_over_while_its_pod_went_on_ends_with_what_that_said_last() {
    let times = Times {
        clone: Some((ms(10_250), ms(15_500))),
        handed_over: Some(ms(60_500)),
        pushed: Some(ms(129_200)),
    };
    let said = verdict(Some(times), Some((ms(21_000), ms(60_100))));
    let at_work = |ended: [u32; 3]| PodBrief {
        created_at: Some(at(2)),
        moments: Moments {
            ended: ended.map(|it| if it > 0 { BEGIN + it } else { 0 }),
            ..moments()
        },
        ..pod(PodPhase::Running)
    };
    let running = || Brief { created_at: Some(at(0)), max_idle: Some(20), ..running() };
    let unready = Some(Unready { since: at(22), began: at(20) });
    let pushes = PodBrief { claude: over(0, ""), ..at_work([15, 60, 0]) };
    let idles = PodBrief { unready, claude: Container::Running, ..at_work([15, 0, 0]) };
    for (pod, phase) in [(pushes, Phase::Done), (idles, Phase::Stuck)] {
        let mut over_so_far = running();
        over_so_far.status =
            over_so_far.decide(&Seen { now: at(71), pod: Some(pod.clone()), ..seen() }).status;
        assert_eq!(over_so_far.status.phase, phase);
        is_tiled(&over_so_far.spans(Some(&pod)));
        for (message, end) in [(&*said, 131), ("", 71)] {
            let mut brief = over_so_far.clone();
            let (claude, telemetry) = (over(0, ""), over(0, message));
            let moments = at_work([15, 60, 129]).moments;
            let silent = PodBrief { claude, telemetry, moments, ..pod.clone() };
            let plan = brief.decide(&Seen { now: at(131), pod: Some(silent.clone()), ..seen() });
            brief.status = plan.status;
            let spans = brief.spans(Some(&silent));
            is_tiled(&spans);
            assert_eq!(brief.told_whole(Some(&silent)), Some(at(end)), "{phase:?}");
            assert_eq!(brief.spans(None).first(), spans.first(), "also once the pod is gone");
        }
    }
}

#[test]
fn one_that_was_idle_at_first_was_waited_for_by_nobody() {
    let pod = pod_that_said("");
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let caller = Context::parse(caller).unwrap();
    for context in [None, Some(caller)] {
        let made = |generation| {
            let mut whole = whole();
            whole.metadata.generation = Some(generation);
            let first = polecat(DesiredState::Working);
            let mut it = Brief {
                generation: Some(generation),
                created_at: Some(at(-345_600)),
                context,
                ..first
            };
            let waits = it.cut_short(u64::MAX).unwrap().from;
            let at_once = Seen { now: at(1), whole: Some(Arc::new(whole)), ..seen() };
            it.status = it.decide(&at_once).status;
            let begun = it.cut_short(u64::MAX).unwrap().from;
            it.status = it.decide(&Seen { now: at(62), pod: Some(pod.clone()), ..seen() }).status;
            let ended = it.spans(Some(&pod));
            is_tiled(&ended);
            [waits, begun, ended[0].from].map(|it| it / 1_000_000_000)
        };
        let second = |after: i64| u64::try_from(i64::from(BEGIN) + after).unwrap();
        assert_eq!(made(1), [second(-345_600); 3], "it was to work from the first");
        let edited = made(2);
        assert_eq!(edited[1..], [second(1), second(10)], "with the intent, then with its pod");
        assert!(edited[0] > second(62), "before that, nobody knows");
    }
}

/// Whoever writes over it tells of it then, since nobody can later.
#[test]
fn an_end_is_said_for_the_last_time_before_it_is_put_aside_or_another_attempt_begins() {
    let with = |it: &Brief, desired: DesiredState, seen: Seen| {
        let it = Brief { desired, ..it.clone() };
        let plan = it.decide(&seen);
        Brief { status: plan.status, ..it }
    };
    let idle = || Seen { now: at(70), ..seen() };
    let anew = || Seen { now: at(80), whole: Some(Arc::new(whole())), ..seen() };
    let pushes =
        PodBrief { claude: over(0, ""), telemetry: Container::Running, ..pod(PodPhase::Running) };
    let late = Seen { now: at(71), pod: Some(pushes.clone()), ..seen() };
    let done = with(&running(), DesiredState::Working, late);
    let told = Seen { pod: Some(pod_that_said(&verdict(None, None))), ..seen() };
    let corrected = with(&done, DesiredState::Working, told);
    let aside = with(&done, DesiredState::Idle, idle());
    let stopped = with(&running(), DesiredState::Idle, Seen { pod: Some(pushes), ..idle() });
    let terminated = with(&stopped, DesiredState::Terminated, idle());
    let again = with(&stopped, DesiredState::Working, anew());
    let fresh = with(&polecat(DesiredState::Idle), DesiredState::Idle, idle());
    assert_eq!(again.status.attempt, Some(2));
    assert_ne!(corrected.status, done.status, "its late words");
    #[rustfmt::skip]
    let table = [
        (&done, &aside, true, "put aside, it says it no more"),
        (&done, &corrected, false, "its late words are the rest of it"),
        (&stopped, &again, true, "the next is about another attempt"),
        (&stopped, &terminated, false, "stopped in another way is told in one way"),
        (&aside, &again, false, "it was said before"),
        (&running(), &done, false, "it has yet to end"),
        (&fresh, &again, false, "nothing ran"),
    ];
    for (before, next, last, because) in table {
        assert_eq!(before.says_it_last(&next.status), last, "{because}");
    }
}
