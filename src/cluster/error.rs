//! What can go wrong between us and the API server: the attempt in the message, the cause in the chain, the retry in
//! the class.

use crate::cluster::guard::Lapsed;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {attempt}")]
    Api { attempt: String, source: Box<kube::Error> },
    #[error("failed to {attempt}: no answer in {seconds} s")]
    Timeout { attempt: String, seconds: f64 },
    #[error("did not {attempt}")]
    Fenced { attempt: String, source: Lapsed },
    #[error("failed to {attempt}: the request can't be built")]
    Build { attempt: String, source: Box<dyn std::error::Error + Send + Sync> },
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody else wrote first: look again at once.
    Conflict,
    /// The API server will not have it.
    Refused,
    /// It is gone.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Not ours to write at the moment.
    Fenced,
    /// Try again later.
    Transient,
}

impl Error {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Fenced { .. } => Class::Fenced,
            Self::Timeout { .. } => Class::Transient,
            Self::Build { .. } => Class::Refused,
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(it) if it.is_already_exists() => Class::AlreadyExists,
                kube::Error::Api(it) if it.code == 409 => Class::Conflict,
                kube::Error::Api(it) if it.code == 404 => Class::NotFound,
                kube::Error::Api(it) if matches!(it.code, 400 | 403 | 405 | 413 | 415 | 422) => {
                    Class::Refused
                }
                _ => Class::Transient,
            },
        }
    }

    /// The API server's code and words, where it answered.
    pub fn answer(&self) -> Option<(u16, &str)> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(it) => Some((it.code, it.message.as_str())),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object is not there, by the word of an API server that serves its kind: where it does not, it answers 404 as well,
    /// but no more than that.
    pub fn is_absence(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        matches!(&**source, kube::Error::Api(it) if it.code == 404 && it.reason == "NotFound")
    }

    /// A page of a list can't be had any more: the snapshot that its token speaks of is gone.
    pub fn has_expired(&self) -> bool {
        self.answer().is_some_and(|(code, _)| code == 410)
    }

    /// The token by which an expired list goes on without its snapshot.
    pub fn continuation(&self) -> Option<&str> {
        let Self::Api { source, .. } = self else { return None };
        let kube::Error::Api(it) = &**source else { return None };
        it.metadata.as_ref()?.continue_.as_deref().filter(|it| !it.is_empty())
    }

    /// All that [`Self::kind`] says.
    pub const KINDS: [&str; 5] =
        ["ResourceConflict", "PermanentError", "ResourceNotFound", "Fenced", "TransientError"];

    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self.class() {
            Class::Conflict | Class::AlreadyExists => "ResourceConflict",
            Class::Refused => "PermanentError",
            Class::NotFound => "ResourceNotFound",
            Class::Fenced => "Fenced",
            Class::Transient => "TransientError",
        }
    }
}
