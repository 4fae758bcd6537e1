//! The contract between deciding and carrying out: the whole desired outcome as one value.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

/// The whole desired outcome. Pods that the object owns and that `children` omits are deleted.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a plan does nothing until it is carried out"]
pub struct Plan<S> {
    pub children: Vec<Child>,
    pub status: S,
    pub notices: Vec<Notice>,
    pub finalizer: Finalizer,
    pub retire: Retire,
    pub next: Next,
}

impl<S> Plan<S> {
    /// Nothing but this status, and waiting for a change.
    pub const fn only(status: S) -> Self {
        Self {
            children: Vec::new(),
            status,
            notices: Vec::new(),
            finalizer: Finalizer::Leave,
            retire: Retire::Keep,
            next: Next::OnChange,
        }
    }
}

/// What an object owns.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// To be created, if it is not there.
    Pod(Box<Pod>),
    /// There already, and to be left alone.
    Existing { pod: String },
}

/// Longest message of an Event that the API takes, in bytes.
pub const MOST_OF_A_NOTICE: usize = 1024;

/// An Event on the object; written only when something went wrong or a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub reason: String,
    pub message: String,
}

/// What becomes of finalizers. Ours needs none: children are owned, so the garbage collector removes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalizer {
    Leave,
    /// Takes the given one away.
    Release(&'static str),
}

/// Whether the object itself is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retire {
    Keep,
    Delete,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    OnChange,
    After(Duration),
    /// After a pause that grows with every time in a row.
    Retry,
}

impl Next {
    /// The earlier of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
            (Self::After(a), Self::OnChange) | (Self::OnChange, Self::After(a)) => Self::After(a),
            (Self::Retry, _) | (_, Self::Retry) => Self::Retry,
            (Self::OnChange, Self::OnChange) => Self::OnChange,
        }
    }
}
