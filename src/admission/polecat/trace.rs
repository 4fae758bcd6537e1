//! The trace of a run: begun or continued where work is asked for, kept from then on. The annotation names no trace but the
//! run's own, unless its caller may name another.

use serde_json::Value;

use super::begins;
use crate::{
    admission::{Request, annotation, stamp, unstamp, warning},
    api::v1beta1::PolecatSpec,
    domain::{
        names::TRACEPARENT,
        trace::{Context, TraceId, Whose},
    },
};

/// Writes the annotation as it is to be. What a client wrote there and may not is taken away, and warned of.
pub fn keep(request: &Request<'_, PolecatSpec>, changed: &mut Value) -> Option<String> {
    let asked = &request.asked;
    let sent = annotation(asked.sent, TRACEPARENT);
    let want = wanted(request, sent);
    unstamp(changed, TRACEPARENT);
    if let Some(want) = &want {
        stamp(changed, "annotations", [(TRACEPARENT.to_owned(), want.clone())]);
    }
    let stored = asked.stored.and_then(|it| annotation(it, TRACEPARENT));
    let other = sent.is_some() && sent != stored && sent != want.as_deref();
    (other && asked.policy.tracing.seed.is_some()).then(|| {
        warning(
            "annotation gastown.io/traceparent was replaced: the operator writes it; members of the groups in its setting \
             --trace-callers may have it continue a trace of theirs, in the form 00-<trace>-<span>-01",
        )
    })
}

fn wanted(request: &Request<'_, PolecatSpec>, sent: Option<&str>) -> Option<String> {
    let asked = &request.asked;
    let stored = asked.stored.and_then(|it| annotation(it, TRACEPARENT));
    let named = sent.filter(|it| *it != stored.unwrap_or_default()).and_then(Context::parse);
    let tracing = &asked.policy.tracing;
    let may_name = (asked.stored.is_none() || begins(request)) && tracing.trusts(&asked.user);
    // The root of another run is no caller's own: it came along with a copy of that run's object.
    if let Some(named) = named.filter(|it| may_name && !it.is_own()) {
        return Some(named.to_string());
    }
    if !begins(request) {
        return stored.map(ToOwned::to_owned);
    }
    let whose = whose(request);
    if let Some(seed) = tracing.seed {
        let trace = TraceId::stamped(seed, &whose);
        let sampled = tracing.sampler.samples(trace, None);
        return Some(Context::own(trace, sampled).to_string());
    }
    // Judged: what was stamped for this very run, and what was there before, may be there.
    let ours = |it: &Context| it.is_own() && it.trace.is_of(&whose);
    let kept = || stored.filter(|it| sent == Some(*it)).map(ToOwned::to_owned);
    named.filter(ours).map(|it| it.to_string()).or_else(kept)
}

/// The name is made from `generateName` after the stamping.
fn whose<'a>(request: &'a Request<'_, PolecatSpec>) -> Whose<'a> {
    let asked = &request.asked;
    let text = |path| asked.sent.pointer(path).and_then(Value::as_str).filter(|it| !it.is_empty());
    Whose {
        namespace: text("/metadata/namespace").unwrap_or_default(),
        name: text("/metadata/generateName").unwrap_or(asked.name),
        user: asked.user.name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::{Asked, Policy, Rig, Tracing, User, polecat::admit, unstamped},
        api::v1beta1::DesiredState,
        domain::trace::{Sampler, Seed},
    };

    const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const SEED: Seed = Seed { second: 1_780_000_000, chance: [1, 2, 3, 4] };

    struct Case<'a> {
        sent: Value,
        stored: Option<&'a Value>,
        groups: &'a [String],
        user: &'a str,
        from: Option<DesiredState>,
        to: DesiredState,
    }

    impl Case<'_> {
        fn asked(&self, seed: Option<Seed>) -> Asked<'_> {
            let callers: &[String] = Box::leak(Box::new(["tracers".to_owned()]));
            let tracing = Tracing { seed, sampler: Sampler::default(), callers };
            let policy = Policy { tracing, ..Policy::default() };
            let user = User { name: self.user, uid: "u", groups: self.groups };
            let (sent, stored) = (&self.sent, self.stored);
            let name = sent.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            Asked { name, user, policy, sent, stored, rig: Rig::Unasked }
        }

        fn admitted(&self, seed: Option<Seed>) -> (Value, Vec<String>, usize) {
            let asked = self.asked(seed);
            let state = |it| PolecatSpec { desired_state: it, ..PolecatSpec::default() };
            let request = Request { asked, new: state(self.to), old: self.from.map(state) };
            let verdict = admit(&request);
            let refused = unstamped(&asked, verdict.changed.as_ref());
            let refused = refused.iter().filter(|it| it.field.contains("traceparent")).count();
            let after = verdict.changed.unwrap_or_else(|| self.sent.clone());
            (after, verdict.warnings, refused)
        }
    }

    fn object(traceparent: Option<&str>) -> Value {
        let mut object = json!({"metadata": {"name": "max", "namespace": "town"}});
        if let Some(it) = traceparent {
            object["metadata"]["annotations"] = json!({ TRACEPARENT: it });
        }
        object
    }

    fn create(sent: Value) -> Case<'static> {
        Case { sent, stored: None, groups: &[], user: "ada", from: None, to: DesiredState::Working }
    }

    fn traced(object: &Value) -> Option<Context> {
        annotation(object, TRACEPARENT).and_then(Context::parse)
    }

    #[test]
    fn what_is_stamped_passes_and_what_is_forged_does_not() {
        let (stamped, warnings, _) = create(object(None)).admitted(Some(SEED));
        let own = traced(&stamped).unwrap();
        assert!(own.is_own() && own.sampled && own.trace.second() == SEED.second);
        assert!(!warnings.iter().any(|it| it.contains("traceparent")), "{warnings:?}");
        assert_eq!(create(stamped.clone()).admitted(None).2, 0, "the second call knows it");
        let (again, warnings, _) = create(object(Some(THEIRS))).admitted(Some(SEED));
        assert_eq!(traced(&again), Some(own), "a trace of their own is not continued");
        assert!(warnings.iter().any(|it| it.contains("--trace-callers")), "{warnings:?}");
        assert_eq!(create(object(Some(THEIRS))).admitted(None).2, 1, "past the stamping");
        let other = Case { user: "eve", ..create(stamped) };
        assert_eq!(other.admitted(None).2, 1, "another's trace can't be named");
        let idle = Case { to: DesiredState::Idle, ..create(object(None)) };
        assert_eq!(traced(&idle.admitted(Some(SEED)).0), None, "no work is asked for");
    }

    #[test]
    fn who_may_name_a_trace_has_it_continued() {
        let groups = ["tracers".to_owned()];
        let trusted = Case { groups: &groups, ..create(object(Some(THEIRS))) };
        assert_eq!(traced(&trusted.admitted(Some(SEED)).0), Context::parse(THEIRS));
        assert_eq!(trusted.admitted(None).2, 0);
        let bad = Case { groups: &groups, ..create(object(Some("00-x"))) };
        assert!(traced(&bad.admitted(Some(SEED)).0).unwrap().is_own(), "what is none is replaced");
        assert_eq!(bad.admitted(None).2, 1);
    }

    #[test]
    fn a_copy_of_a_stamped_object_is_no_caller_who_names_a_trace() {
        let groups = ["tracers".to_owned()];
        let (stamped, ..) = create(object(None)).admitted(Some(SEED));
        let later = Seed { second: SEED.second + 9, ..SEED };
        for name in ["max", "nux"] {
            let mut copy = stamped.clone();
            copy["metadata"]["name"] = json!(name);
            let trusted = Case { groups: &groups, ..create(copy) };
            let (anew, warnings, _) = trusted.admitted(Some(later));
            let own = traced(&anew).unwrap();
            assert!(own.is_own() && own.trace.second() == later.second, "{name}: a run of its own");
            assert!(warnings.iter().any(|it| it.contains("was replaced")), "{name}: {warnings:?}");
            let judged = Case { groups: &groups, ..create(anew) };
            assert_eq!(judged.admitted(None).2, 0, "{name}: what was stamped passes");
        }
    }

    #[test]
    fn an_update_keeps_it_until_work_is_asked_for_anew() {
        let (stamped, ..) = create(object(None)).admitted(Some(SEED));
        let (idle, working) = (DesiredState::Idle, DesiredState::Working);
        let update = |sent: Value, from, to| Case {
            sent,
            stored: Some(&stamped),
            from: Some(from),
            to,
            ..create(Value::Null)
        };
        let later = Seed { second: SEED.second + 9, ..SEED };
        for sent in [object(None), object(Some(THEIRS)), stamped.clone()] {
            let same = update(sent, working, working).admitted(Some(later)).0;
            assert_eq!(traced(&same), traced(&stamped), "nothing begins");
        }
        assert_eq!(update(object(Some(THEIRS)), working, working).admitted(None).2, 1);
        let anew = update(stamped.clone(), idle, working).admitted(Some(later)).0;
        assert_eq!(traced(&anew).unwrap().trace.second(), later.second, "a run of its own");
        assert_eq!(update(anew, idle, working).admitted(None).2, 0);
        assert_eq!(update(stamped.clone(), idle, working).admitted(None).2, 0, "nobody stamped it");
    }

    #[test]
    fn a_generated_name_is_tied_by_what_it_is_made_from() {
        let mut sent = object(None);
        sent["metadata"]["generateName"] = json!("max-");
        let (mut stamped, ..) = create(sent).admitted(Some(SEED));
        stamped["metadata"]["name"] = json!("max-x7k2p");
        assert_eq!(create(stamped).admitted(None).2, 0);
    }
}
