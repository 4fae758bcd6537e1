//! Polecats that are to begin, whole, as their watch showed them. The pod of an attempt is built from the whole object; what
//! the watch has just brought need not be read again. A copy that has meanwhile gone stale can't begin anything: the intent
//! is written on exactly the version that it was read from.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::api::v1beta1;

/// Bytes of JSON that are kept at most; in memory it is about as much. What doesn't fit is read when it is wanted.
const MOST: usize = 2 << 20;
/// Bytes of one object: a larger one is read when it is wanted, so that a few of them don't crowd out all others.
const LONGEST: usize = 32 << 10;

/// A whole Polecat, and the length of its JSON in bytes.
#[derive(Clone, Debug)]
pub struct Whole {
    pub polecat: Arc<v1beta1::Polecat>,
    pub bytes: usize,
}

/// Those that came last.
#[derive(Debug, Default)]
pub struct Beginning(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_uid: HashMap<Arc<str>, Whole>,
    /// In the order in which they came, also of those that were taken since.
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Beginning {
    /// Keeps one, in place of an earlier version of it; the oldest go where there is no room.
    pub fn keep(&self, whole: Whole) {
        let Some(uid) = whole.polecat.metadata.uid.as_deref().map(Arc::<str>::from) else { return };
        let mut inner = self.lock();
        inner.remove(&uid);
        if whole.bytes > LONGEST {
            return;
        }
        inner.bytes += whole.bytes;
        inner.by_uid.insert(uid.clone(), whole);
        inner.order.push_back(uid);
        while inner.bytes > MOST {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.remove(&oldest);
        }
    }

    /// Hands over that very version of an object, once.
    pub fn take(&self, uid: &str, version: &str) -> Option<Arc<v1beta1::Polecat>> {
        let whole = self.lock().remove(uid)?;
        let same = whole.polecat.metadata.resource_version.as_deref() == Some(version);
        same.then_some(whole.polecat)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, uid: &str) -> Option<Whole> {
        let whole = self.by_uid.remove(uid)?;
        self.bytes -= whole.bytes;
        // They are taken in about the order in which they came, so this is short.
        if let Some(at) = self.order.iter().position(|it| **it == *uid) {
            self.order.remove(at);
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;

    use super::*;

    fn whole(uid: &str, version: &str, bytes: usize) -> Whole {
        let metadata = ObjectMeta {
            uid: Some(uid.into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        let polecat = v1beta1::Polecat { metadata, ..v1beta1::Polecat::default() };
        Whole { polecat: Arc::new(polecat), bytes }
    }

    #[test]
    fn one_is_handed_over_once_and_in_that_version_alone() {
        let kept = Beginning::default();
        kept.keep(whole("max", "1", 100));
        kept.keep(whole("max", "2", 100));
        assert!(kept.take("max", "1").is_none(), "an earlier version");
        assert!(kept.take("max", "2").is_none(), "it changed since it was judged, so it is read");
        kept.keep(whole("max", "2", 100));
        assert!(kept.take("max", "2").is_some());
        assert!(kept.take("max", "2").is_none());
        kept.keep(whole("nux", "3", 100));
        kept.forget("nux");
        assert!(kept.take("nux", "3").is_none());
        let left = kept.lock();
        assert_eq!((left.bytes, left.order.len()), (0, 0), "and nothing is left of it");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_go_first() {
        let kept = Beginning::default();
        for number in 0..MOST / 1024 + 3 {
            kept.keep(whole(&number.to_string(), "1", 1024));
        }
        assert_eq!(kept.lock().bytes, MOST);
        assert!(kept.take("2", "1").is_none() && kept.take("3", "1").is_some());
        kept.keep(whole("long", "1", LONGEST + 1));
        assert!(kept.take("long", "1").is_none(), "one alone does not crowd out the others");
    }
}
