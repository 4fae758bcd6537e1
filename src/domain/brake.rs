//! Brakes: what keeps a Polecat from beginning although nothing is wrong with it. Running pods are never touched by one.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::domain::{failure::Cause, names};

/// Whether annotations pause what they stand on. Only `"true"` does; any other value, such as `"false"`, `"True"` or an
/// empty one, does not, and neither does a missing one.
pub fn pauses(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.and_then(|it| it.get(names::PAUSED)).is_some_and(|it| it == "true")
}

/// What is kept of a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub paused: bool,
    /// The shard that it wishes to be in, as it says it.
    pub shard: Option<Box<str>>,
}

/// Why a Polecat may not begin now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The operator was started with `--paused`.
    Operator,
    Namespace(String),
    Rig(String),
    /// Its Rig does not let it.
    Forbidden(Cause),
    /// The namespace has as many running as it may have.
    Full {
        namespace: String,
        limit: u32,
    },
}

impl Hold {
    /// The condition `Paused` and its reason; `None` where this is no pause.
    pub const fn pause(&self) -> Option<&'static str> {
        match self {
            Self::Operator => Some("OperatorPaused"),
            Self::Namespace(_) => Some("NamespacePaused"),
            Self::Rig(_) => Some("RigPaused"),
            Self::Forbidden(_) | Self::Full { .. } => None,
        }
    }

    /// The word and the sentence for it: the same every time, so that waiting writes nothing twice.
    pub fn cause(&self) -> Cause {
        let paused = names::PAUSED;
        let (reason, text) = match self {
            Self::Operator => (
                PAUSED,
                "the operator was started with --paused and makes no pods; running ones go on"
                    .into(),
            ),
            Self::Namespace(name) => (
                PAUSED,
                format!(
                    "annotation {paused}=true of Namespace {name} holds it; it begins after: kubectl gt resume namespace {name}"
                ),
            ),
            Self::Rig(name) => (
                PAUSED,
                format!(
                    "annotation {paused}=true of Rig {name} holds it; it begins after: kubectl gt resume rig {name}"
                ),
            ),
            Self::Forbidden(cause) => return cause.clone(),
            Self::Full { namespace, limit } => (
                NAMESPACE_LIMIT,
                format!(
                    "namespace {namespace} has {limit} running, and --max-running-per-namespace={limit} allows no more; the \
                     oldest that waits begins when one ends"
                ),
            ),
        };
        Cause::new(reason, text)
    }
}

/// Reason of `Ready` while a pause holds a Polecat.
pub const PAUSED: &str = "Paused";
/// Reason of `Ready` while a Polecat waits for one of its namespace to end.
pub const NAMESPACE_LIMIT: &str = "NamespaceLimit";

/// The place of a waiting Polecat in its namespace: by creation, then by name.
pub type Place = (Option<Timestamp>, Box<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_pauses() {
        let table = [
            (Some("true"), true, "the one value that pauses"),
            (Some("false"), false, "says so"),
            (Some("True"), false, "Kubernetes' booleans are lower-case"),
            (Some(""), false, "an empty annotation asks for nothing"),
            (None, false, "no annotation"),
        ];
        for (value, want, because) in table {
            let all: BTreeMap<_, _> =
                value.map(|it| (names::PAUSED.to_owned(), it.to_owned())).into_iter().collect();
            assert_eq!(pauses(Some(&all)), want, "{because}");
        }
        assert!(!pauses(None), "no annotations at all");
    }
}
