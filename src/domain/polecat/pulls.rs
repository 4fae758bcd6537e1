//! What the node said of pulling a pod's images, as spans beneath the stage that waited for it. Anybody who may write Events may
//! say such things: a span takes a container's name from our own list, and no time outside of its stage.

use k8s_openapi::{
    api::core::v1::Event,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    Brief,
    stages::{START_AGENT, START_POD},
};
use crate::domain::{
    layout,
    pod_brief::PodBrief,
    trace::{Kind, Source, Span, SpanId, attributes as name},
};

/// The span's name.
const PULL: &str = "pull image";
/// The reason of such Events, by which they are asked for.
pub const PULLED: &str = "Pulled";
/// A stage of at most so many nanoseconds waited for no pull that is worth a request.
const QUICK: u64 = 2_000_000_000;
/// The containers that wait for their images, and the stage in which each does.
const WAITING: [(&str, &str); 3] = [
    (layout::GIT_INIT, START_POD),
    (layout::CLAUDE, START_AGENT),
    (layout::TELEMETRY, START_AGENT),
];

/// An image that was pulled for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    container: &'static str,
    stage: &'static str,
    /// Known to the second.
    at: Timestamp,
    took: SignedDuration,
}

impl Pulled {
    /// What an Event says of it; nothing where the image was there.
    pub fn read(event: &Event) -> Option<Self> {
        let field = event.involved_object.field_path.as_deref()?;
        let called = field.split_once('{')?.1.strip_suffix('}')?;
        let (container, stage) = WAITING.into_iter().find(|it| it.0 == called)?;
        let at = event.last_timestamp.as_ref().or(event.first_timestamp.as_ref())?.0;
        Some(Self { container, stage, at, took: took(event.message.as_deref()?)? })
    }
}

/// How long it took as the kubelet says it, with the wait for other pulls.
fn took(message: &str) -> Option<SignedDuration> {
    let (_, said) = message.strip_prefix("Successfully pulled image ")?.split_once(" in ")?;
    let (alone, rest) = said.split_once(' ').unwrap_or((said, ""));
    let whole = rest.strip_prefix('(').and_then(|it| it.split_once(" including waiting)"));
    whole.map_or(alone, |it| it.0).parse().ok().filter(|it: &SignedDuration| it.is_positive())
}

/// Whether a run waited so long for its containers that images may have been pulled for them.
pub fn may_have_pulled(spans: &[Span]) -> bool {
    let slow = |it: &Span| it.to.saturating_sub(it.from) > QUICK;
    spans.iter().any(|it| (it.name == START_POD || it.name == START_AGENT) && slow(it))
}

impl Brief {
    /// Spans of the pulls, beneath those of the run's stages; one for each container.
    pub fn pulls(&self, spans: &[Span], pod: &PodBrief, said: &[Pulled]) -> Vec<Span> {
        let attempt = self.status.attempt.unwrap_or(1);
        let first = |(container, _)| {
            let of = said.iter().filter(|it| it.container == container);
            let pulled = of.min_by_key(|it| it.at)?;
            let stage = spans.iter().find(|it| it.name == pulled.stage)?;
            Some(self.pull(pulled, stage, pod, attempt))
        };
        WAITING.into_iter().filter_map(first).collect()
    }

    fn pull(&self, pulled: &Pulled, stage: &Span, pod: &PodBrief, attempt: i32) -> Span {
        let nanoseconds = |it: i128| u64::try_from(it).unwrap_or(0);
        let at = pulled.at.as_nanosecond();
        let to = nanoseconds(at).clamp(stage.from, stage.to);
        let from = nanoseconds(at - pulled.took.as_nanos()).clamp(stage.from, to);
        let mut attributes = self.identity(attempt);
        attributes.push((name::POD, pod.name.to_string().into()));
        attributes.push((name::POD_UID, pod.uid.to_string().into()));
        attributes.push((name::CONTAINER, pulled.container.into()));
        let called = format!("{PULL} {}", pulled.container);
        Span {
            id: SpanId::of_stage(stage.trace, &self.uid, attempt, &called),
            parent: Some(stage.id),
            name: PULL.into(),
            kind: Kind::Internal,
            source: Source::Objects,
            from,
            to: to.max(from + 1),
            attributes,
            links: Vec::new(),
            failed: None,
            trace: stage.trace,
        }
    }
}
