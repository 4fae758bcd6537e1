//! What a Convoy's trace has: a root, and beneath it a span for each run that worked on one of its beads, linked with the root of
//! that run. All of it follows from objects that are over and done with, so whoever tells of it again tells the same.

use super::Brief;
use crate::{
    api::v1beta1::Convoy,
    domain::trace::{Context, Kind, Source, Span, SpanId, TraceId, attributes as name},
};

/// The root of a Convoy's trace: the moment in which it was made. Its end would be another one each time.
pub const CONVOY: &str = "convoy";
/// A run that worked on one of its beads.
pub const FOLLOWED: &str = "convoy bead";

/// Whether a Convoy follows what is done about a bead, for a Rig: any, where it names none.
pub fn follows(convoy: &Convoy, bead: &str, rig: &str) -> bool {
    let of_its_rig = convoy.spec.rig_ref.as_ref().is_none_or(|it| it.name == rig);
    of_its_rig && convoy.spec.beads.iter().any(|it| it.id == bead)
}

/// The trace of a Convoy.
pub fn trace_of(convoy: &Convoy) -> TraceId {
    TraceId::of_convoy(convoy.metadata.uid.as_deref().unwrap_or_default())
}

impl Brief {
    /// What a Convoy's trace has of the run with this root: nothing, where it follows another bead.
    pub fn followed_by(&self, convoy: &Convoy, root: &Span) -> Vec<Span> {
        let bead = self.status.assigned_bead.as_deref();
        let (Some(_), Some(attempt)) =
            (bead.filter(|it| follows(convoy, it, &self.rig)), self.status.attempt)
        else {
            return Vec::new();
        };
        let meta = &convoy.metadata;
        let created = meta.creation_timestamp.as_ref().map(|it| it.0.as_nanosecond());
        let from = created.and_then(|it| u64::try_from(it).ok()).unwrap_or(root.from);
        let said = |it: &Option<String>| it.clone().unwrap_or_default().into();
        let own = Context::own(trace_of(convoy), true);
        let convoy = Span {
            trace: own.trace,
            id: own.span,
            parent: None,
            name: CONVOY.into(),
            kind: Kind::Internal,
            source: Source::Objects,
            from,
            to: from + 1,
            attributes: vec![
                (name::KIND, "Convoy".into()),
                (name::NAMESPACE, said(&meta.namespace)),
                (name::NAME, said(&meta.name)),
                (name::UID, said(&meta.uid)),
            ],
            links: Vec::new(),
            failed: None,
        };
        let ends = |(key, _): &&(&'static str, _)| *key == name::PHASE || *key == name::ERROR;
        let mut attributes = self.identity(attempt);
        attributes.extend(root.attributes.iter().filter(ends).cloned());
        let run = Span {
            trace: own.trace,
            id: SpanId::of_stage(own.trace, &self.uid, attempt, FOLLOWED),
            parent: Some(own.span),
            name: FOLLOWED.into(),
            attributes,
            links: vec![Context { trace: root.trace, span: root.id, sampled: true }],
            ..root.clone()
        };
        vec![convoy, run]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1beta1::{ConvoySpec, FollowedBead, Phase, PolecatStatus, RigRef};

    fn convoy(beads: &[&str]) -> Convoy {
        let mut it = Convoy::new("release", ConvoySpec::default());
        it.metadata.namespace = Some("town".into());
        it.metadata.uid = Some("uid-of-release".into());
        it.spec.beads = beads.iter().map(|id| FollowedBead { id: (*id).into() }).collect();
        it
    }

    fn ended(attempt: i32) -> Brief {
        let status = PolecatStatus {
            phase: Phase::Done,
            attempt: Some(attempt),
            assigned_bead: Some("gt-1".into()),
            finished_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                "2026-11-30T12:00:00Z".parse().unwrap(),
            )),
            ..PolecatStatus::default()
        };
        let (namespace, name, uid) = ("town".into(), "max".into(), "uid-of-max".into());
        Brief { namespace, name, uid, rig: "greeter".into(), status, ..Brief::default() }
    }

    #[test]
    fn a_convoy_has_a_trace_in_which_each_run_of_its_beads_is_a_span_linked_with_it() {
        let (max, release) = (ended(1), convoy(&["gt-2", "gt-1"]));
        let run = max.spans(None).remove(0);
        let told = max.followed_by(&release, &run);
        let [root, bead] = &told[..] else { panic!("{told:?}") };
        assert_eq!((root.name.as_ref(), root.parent), (CONVOY, None));
        assert_eq!((bead.trace, bead.parent), (root.trace, Some(root.id)));
        assert_ne!(root.trace, run.trace, "it is nobody's run");
        assert_eq!(bead.links, [Context { trace: run.trace, span: run.id, sampled: true }]);
        assert_eq!((bead.from, bead.to), (run.from, run.to));
        assert_eq!(told, max.followed_by(&release, &run), "told again, it is the same");
        let again = ended(2);
        let second = again.followed_by(&release, &again.spans(None)[0]);
        assert_eq!(second[0], *root, "one root for all of its runs");
        assert_ne!(second[1].id, bead.id, "and a span for each");
    }

    #[test]
    fn what_follows_another_bead_or_another_rigs_has_nothing_of_it() {
        let max = ended(1);
        let run = max.spans(None).remove(0);
        let mut release = convoy(&["gt-1"]);
        for (rig, beads, want) in [
            (None, &["gt-1"][..], 2),
            (Some("greeter"), &["gt-1"], 2),
            (Some("other"), &["gt-1"], 0),
            (None, &["gt-11", "gt-2"], 0),
            (None, &[], 0),
        ] {
            release.spec.rig_ref = rig.map(|it| RigRef { name: it.into() });
            release.spec.beads = convoy(beads).spec.beads;
            assert_eq!(max.followed_by(&release, &run).len(), want, "{rig:?} {beads:?}");
        }
        let mut idle = ended(1);
        idle.status.assigned_bead = None;
        assert_eq!(idle.followed_by(&convoy(&["gt-1"]), &run), [], "it worked on no bead");
    }
}
