//! One run as one trace: ids, contexts, and which trace a run belongs to. Ids follow from what every replica can see, so
//! that two that tell of the same thing tell it under the same id.

pub mod attributes;
mod sampler;
mod span;

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::digest::{Context as Digest, SHA256};

use crate::{
    api::v1beta1::{Polecat, PolecatStatus},
    domain::names,
};

pub use sampler::Sampler;
pub use span::{Kind, Source, Span, Value};

/// The version of W3C's `traceparent` that is read and written.
const VERSION: &str = "00";
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The id of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Whose run a trace is stamped for: what both admission calls are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub namespace: &'a str,
    /// The name, or what a name is to be generated from.
    pub name: &'a str,
    pub user: &'a str,
}

/// What a new trace is made of: the second since 1970 in which work was asked for, and chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    pub second: u32,
    pub chance: [u8; 4],
}

impl TraceId {
    /// A new one: when, chance, and a digest that ties it to whose run it is. So nobody can name a trace that somebody
    /// else has, and any replica can tell without a secret.
    pub fn stamped(seed: Seed, whose: &Whose<'_>) -> Self {
        let mut id = [0; 16];
        let head = [seed.second.to_be_bytes(), seed.chance].concat();
        let tail = tie(&head, whose);
        id.iter_mut().zip(head.iter().chain(&tail)).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// Whether it was stamped for this run.
    pub fn is_of(&self, whose: &Whose<'_>) -> bool {
        let (head, tail) = self.0.split_at(8);
        tail == tie(head, whose)
    }

    /// The second in which work was asked for, of one that was stamped.
    pub const fn second(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Of a run that came past the stamping.
    fn of_attempt(uid: &str, attempt: i32) -> Self {
        Self(hash(&[b"trace", uid.as_bytes(), &attempt.to_be_bytes()]))
    }

    /// Of what is told of a Convoy.
    pub fn of_convoy(uid: &str) -> Self {
        Self(hash(&[b"convoy", uid.as_bytes()]))
    }

    /// The root of a trace that begins with the run.
    fn own_root(&self) -> SpanId {
        SpanId(hash(&[b"run", &self.0]))
    }
}

fn tie(head: &[u8], whose: &Whose<'_>) -> [u8; 8] {
    let Whose { namespace, name, user } = whose;
    hash(&[b"stamp", head, namespace.as_bytes(), name.as_bytes(), user.as_bytes()])
}

/// The first bytes of a digest that no two lists of parts share.
fn hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut digest = Digest::new(&SHA256);
    for part in parts {
        digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    let mut out = [0; N];
    out.iter_mut().zip(digest.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

impl SpanId {
    /// The span of this name in a run's attempt.
    pub fn of_stage(trace: TraceId, uid: &str, attempt: i32, stage: &str) -> Self {
        let parts = [&trace.0[..], uid.as_bytes(), &attempt.to_be_bytes(), stage.as_bytes()];
        Self(hash(&parts))
    }

    /// One of many beneath something that has an id, by their number.
    pub fn numbered(of: &[u8], number: u64) -> Self {
        Self(hash(&[b"one of", of, &number.to_be_bytes()]))
    }
}

/// A place in a trace, as W3C's `traceparent` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
}

impl Context {
    /// Reads exactly `00-<trace>-<span>-<flags>`, in lower case; anything else names no trace.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != VERSION || parts.next().is_some() {
            return None;
        }
        let (trace, span, flags) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let there = |it: &[u8]| it.iter().any(|it| *it != 0);
        (there(&trace) && there(&span)).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags.iter().any(|it| it & SAMPLED != 0),
        })
    }

    /// What an object's annotations say.
    pub fn of_annotations(all: Option<&BTreeMap<String, String>>) -> Option<Self> {
        Self::parse(all?.get(names::TRACEPARENT)?)
    }

    /// Whether it names the root of a trace that was stamped for this run, whoever shows it.
    pub fn is_stamped_for(&self, whose: &Whose<'_>) -> bool {
        self.is_own() && self.trace.is_of(whose)
    }

    /// A trace that begins with the run.
    pub fn own(trace: TraceId, sampled: bool) -> Self {
        Self { trace, span: trace.own_root(), sampled }
    }

    /// Whether it names the root of a trace that begins with the run.
    pub fn is_own(&self) -> bool {
        self.span == self.trace.own_root()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The trace of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub trace: TraceId,
    /// What everything of the run hangs on.
    pub root: SpanId,
    /// What the root hangs on, where a caller's trace is continued.
    pub parent: Option<SpanId>,
    /// What who began the trace decided; none: nobody has yet.
    pub sampled: Option<bool>,
    /// When work was asked for, in seconds since 1970, where the trace tells.
    pub second: Option<u32>,
}

/// What an object says of a run.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// The annotation.
    pub context: Option<Context>,
    /// What the status says of an attempt: its number, and the trace that it had.
    pub recorded: (Option<i32>, Option<TraceId>),
}

impl Run {
    /// The run of an attempt: in the trace that the status has for it; else in that of the annotation, unless an earlier
    /// attempt was; else in one of its own.
    pub fn of(said: &Said<'_>, attempt: i32) -> Self {
        let (recorded, trace) = said.recorded;
        let begun = recorded == Some(attempt) && trace.is_some();
        match said.context {
            Some(it) if (trace == Some(it.trace)) == begun => Self::within(it, said),
            _ => {
                let own = TraceId::of_attempt(said.uid, attempt);
                let trace = trace.filter(|_| begun).unwrap_or(own);
                Self { trace, root: trace.own_root(), parent: None, sampled: None, second: None }
            }
        }
    }

    /// The same of a whole object.
    pub fn of_whole(polecat: &Polecat, attempt: i32) -> Self {
        let meta = &polecat.metadata;
        let said = Said {
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            context: Context::of_annotations(meta.annotations.as_ref()),
            recorded: recorded(&polecat.status),
        };
        Self::of(&said, attempt)
    }

    fn within(context: Context, said: &Said<'_>) -> Self {
        let (trace, sampled) = (context.trace, Some(context.sampled));
        if context.is_own() {
            let second = Some(trace.second());
            return Self { trace, root: context.span, parent: None, sampled, second };
        }
        // One that is made anew under the same name, in the same caller's trace, is another run.
        let whose = [said.namespace, said.name, said.uid].map(str::as_bytes);
        let parts = [&[&trace.0[..], &context.span.0][..], &whose].concat();
        Self {
            trace,
            root: SpanId(hash(&parts)),
            parent: Some(context.span),
            sampled,
            second: None,
        }
    }

    /// A place in it.
    pub fn at(&self, span: SpanId) -> Context {
        Context { trace: self.trace, span, sampled: self.sampled.unwrap_or(true) }
    }
}

/// What a status says of an attempt and its trace.
pub fn recorded(status: &PolecatStatus) -> (Option<i32>, Option<TraceId>) {
    let trace = status.trace.as_ref().and_then(|it| it.trace_id.parse().ok());
    (status.attempt, trace)
}

/// The page of a trace.
pub fn page(template: &str, trace: TraceId) -> String {
    template.replace(PLACE, &trace.to_string())
}

/// Where the id goes in the template of such pages.
pub const PLACE: &str = "{traceId}";

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let lower = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 2 * N || !hex.bytes().all(lower) {
        return None;
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

impl std::str::FromStr for TraceId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        bytes(text).map(Self).ok_or(())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
