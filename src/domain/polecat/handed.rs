//! That the shard of a run changed hands while the run was under way, as a span in the run's own trace: as long as nobody
//! worked in the shard.

use super::{Brief, Stage};
use crate::domain::trace::{Kind, Run, Source, Span, SpanId, attributes as name};

/// A shard that changed hands.
#[derive(Clone, Debug)]
pub struct HandOver {
    pub shard: String,
    /// Of the new owner.
    pub epoch: i32,
    /// The replica that had it, where that is known.
    pub from: Option<String>,
    pub to: String,
    /// How it lost its owner: `handed-over`, `stopped` or `lost`.
    pub left: &'static str,
    pub gap_ms: i64,
    /// From when to when nobody worked in it, in nanoseconds since 1970.
    pub time: (u64, u64),
}

impl Brief {
    /// The run that is under way, or that waits to begin.
    pub fn run_under_way(&self) -> Option<Run> {
        let under_way = match self.stage() {
            Stage::Fresh { .. } => self.begins(),
            Stage::Begun { .. } => true,
            Stage::Over => false,
        };
        under_way.then(|| self.current_run())
    }
}

impl HandOver {
    /// The span in this run of this Polecat. Its id is derived, so that it is told once, however often it is sent.
    pub fn span(&self, run: &Run, of: &Brief) -> Span {
        let stage = format!("hand over shard {} {}", self.shard, self.epoch);
        let attempt = of.attempt_now();
        let mut attributes = of.identity(attempt);
        attributes.push((name::SHARD, self.shard.clone().into()));
        attributes.push((name::EPOCH, self.epoch.into()));
        attributes.extend(self.from.clone().map(|it| (name::FROM, it.into())));
        attributes.push((name::TO, self.to.clone().into()));
        attributes.push((name::LEFT, self.left.into()));
        attributes.push((name::GAP, self.gap_ms.into()));
        let (from, to) = self.time;
        Span {
            trace: run.trace,
            id: SpanId::of_stage(run.trace, &of.uid, attempt, &stage),
            parent: Some(run.root),
            name: "hand over shard".into(),
            kind: Kind::Internal,
            source: Source::Operator,
            from,
            // Jaeger takes a length of nothing for a mistake.
            to: to.max(from + 1),
            attributes,
            links: Vec::new(),
            failed: None,
        }
    }
}
