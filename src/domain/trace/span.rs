//! A span as plain data, before it takes the exporter's shape.

use std::borrow::Cow;

use super::{Context, SpanId, TraceId};

/// One thing that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    /// No ids in it.
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub source: Source,
    /// Nanoseconds since 1970.
    pub from: u64,
    pub to: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Traces that have to do with it.
    pub links: Vec<Context>,
    /// What kind of failure it was, and a sentence without anything that an agent or a tenant wrote.
    pub failed: Option<&'static str>,
}

/// Which side of a call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    Client,
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One replica's, which tells of what it did.
    Operator,
    /// Whichever replica's: it follows from objects, under an id that does too, and may be told by more than one of them.
    Objects,
    /// The runner's, by itself or through whichever replica.
    Runner,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Flag(bool),
}

impl From<&'static str> for Value {
    fn from(it: &'static str) -> Self {
        Self::Text(it.into())
    }
}

impl From<String> for Value {
    fn from(it: String) -> Self {
        Self::Text(it.into())
    }
}

impl From<i64> for Value {
    fn from(it: i64) -> Self {
        Self::Number(it)
    }
}

impl From<i32> for Value {
    fn from(it: i32) -> Self {
        Self::Number(it.into())
    }
}

impl From<bool> for Value {
    fn from(it: bool) -> Self {
        Self::Flag(it)
    }
}
