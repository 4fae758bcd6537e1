use super::*;

const WHOSE: Whose<'_> = Whose { namespace: "town", name: "max", user: "ada" };
const SEED: Seed = Seed { second: 1_780_000_000, chance: [1, 2, 3, 4] };

#[test]
fn a_traceparent_is_read_strictly_and_written_back() {
    let fine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(Context::parse(fine).unwrap().to_string(), fine);
    assert!(!Context::parse(&fine.replace("-01", "-00")).unwrap().sampled);
    assert!(Context::parse(&fine.replace("-01", "-03")).unwrap().sampled, "other flags are let be");
    let zeros = |digits: usize| "0".repeat(digits);
    for bad in [
        fine.to_uppercase(),
        fine.replacen("00", "01", 1),
        format!("{fine}-x"),
        format!("{fine} "),
        fine.replace("0af7651916cd43dd8448eb211c80319c", &zeros(32)),
        fine.replace("b7ad6b7169203331", &zeros(16)),
        fine[3..].to_owned(),
        String::new(),
        "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01".to_owned(),
    ] {
        assert_eq!(Context::parse(&bad), None, "{bad}");
    }
}

#[test]
fn a_stamped_trace_is_tied_to_whose_run_it_is() {
    let id = TraceId::stamped(SEED, &WHOSE);
    assert!(id.is_of(&WHOSE), "what was stamped is known again");
    assert_eq!(id.second(), SEED.second);
    for other in [
        Whose { namespace: "other", ..WHOSE },
        Whose { name: "nux", ..WHOSE },
        Whose { user: "eve", ..WHOSE },
        Whose { namespace: "tow", name: "nmax", ..WHOSE },
    ] {
        assert!(!id.is_of(&other), "{other:?} can't name it");
    }
    let mut forged = id;
    forged.0[7] ^= 1;
    assert!(!forged.is_of(&WHOSE), "an id of one's own choice isn't taken");
}

fn said(context: Option<Context>, recorded: (Option<i32>, Option<TraceId>)) -> Said<'static> {
    Said { namespace: "town", name: "max", uid: "u-1", context, recorded }
}

#[test]
fn a_run_is_in_one_trace_from_before_its_intent_to_its_end() {
    let stamped = Context::own(TraceId::stamped(SEED, &WHOSE), true);
    let before = Run::of(&said(Some(stamped), (None, None)), 1);
    assert_eq!((before.trace, before.root, before.parent), (stamped.trace, stamped.span, None));
    assert_eq!(before.second, Some(SEED.second));
    let begun = said(Some(stamped), (Some(1), Some(stamped.trace)));
    assert_eq!(Run::of(&begun, 1), before, "once the status has it");
    let again = Run::of(&begun, 2);
    assert_ne!(
        again.trace, before.trace,
        "a second attempt that nobody stamped has one of its own"
    );
    let recorded = said(Some(stamped), (Some(2), Some(again.trace)));
    assert_eq!(Run::of(&recorded, 2), again, "and keeps it");
    let lost = said(None, (Some(1), Some(stamped.trace)));
    assert_eq!(Run::of(&lost, 1).root, before.root, "the annotation is gone, the trace is not");
    let unstamped = Run::of(&said(None, (None, None)), 1);
    assert_eq!(Run::of(&said(None, (None, None)), 1), unstamped, "any replica finds the same");
    assert_ne!(Run::of(&said(None, (None, None)), 2).trace, unstamped.trace);
}

#[test]
fn runs_in_one_callers_trace_have_roots_of_their_own() {
    let caller = Context::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    let max = Run::of(&said(Some(caller), (None, None)), 1);
    let nux = Run::of(&Said { name: "nux", ..said(Some(caller), (None, None)) }, 1);
    assert_eq!((max.trace, max.parent), (caller.trace, Some(caller.span)));
    assert_ne!(max.root, nux.root);
    let anew = Run::of(&Said { uid: "u-2", ..said(Some(caller), (None, None)) }, 1);
    assert_ne!(max.root, anew.root, "deleted and made again, it is another run");
}

#[test]
fn names_of_attributes_are_told_once() {
    let mut names: Vec<_> = attributes::TABLE.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|it| it.contains('.')), "each has a namespace: {names:?}");
}
