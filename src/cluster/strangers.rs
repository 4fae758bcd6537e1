//! Pods that had the name of a Polecat's pod and were somebody else's. Their Events say nothing of the Polecat, although
//! they name its pod and may be as young as it is: times in objects are whole seconds.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// More are forgotten, oldest first: then only the times of Events tell, and in doubt a pod counts as one that ran.
const REMEMBERED: usize = 4096;

/// Their uids.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<VecDeque<Box<str>>>);

impl Strangers {
    /// Remembers a pod of somebody else.
    pub fn note(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|it| **it == *uid) {
            return;
        }
        if all.len() >= REMEMBERED {
            all.pop_front();
        }
        all.push_back(uid.into());
    }

    /// Whether a pod is known to be somebody else's.
    pub fn has(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|it| **it == *uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let strangers = Strangers::default();
        for number in 0..=REMEMBERED {
            strangers.note(&number.to_string());
            strangers.note(&number.to_string());
        }
        assert!(
            !strangers.has("0") && strangers.has("1") && strangers.has(&REMEMBERED.to_string())
        );
    }
}
