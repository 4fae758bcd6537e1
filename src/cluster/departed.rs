//! Pods as they were when they went. The watch tells of a deletion with the object's last state, and what its containers
//! said in it is said nowhere else; and a pod that was there is never made again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use crate::domain::pod_brief::PodBrief;

/// Pods with something to say that are kept. Each is read within the next pass over its Polecat.
const TOLD: usize = 1024;
/// Pods that are remembered to have been there. Of an older one, the status or its Events tell.
const SEEN: usize = 4096;

/// The last of them.
#[derive(Debug, Default)]
pub struct Departed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    told: VecDeque<PodBrief>,
    seen: VecDeque<Place>,
}

/// Namespace and name of a pod, and its owner's uid.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    namespace: Box<str>,
    name: Box<str>,
    owner: Box<str>,
}

impl Departed {
    /// Takes in a pod that is gone.
    pub fn note(&self, pod: &PodBrief) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { told, seen } = &mut *inner;
        if let Some(owner) = &pod.owner {
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            let place = Place { namespace, name, owner: owner.uid.clone() };
            seen.retain(|it| *it != place);
            push(seen, place, SEEN);
        }
        if pod.claude.ended() || pod.telemetry.ended() {
            told.retain(|it| it.uid != pod.uid);
            push(told, pod.clone(), TOLD);
        }
    }

    /// The latest of that name, where one of its containers had ended.
    pub fn of(&self, namespace: &str, name: &str) -> Option<PodBrief> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = inner.told.iter().rev();
        latest.find(|it| *it.namespace == *namespace && *it.name == *name).cloned()
    }

    /// Whether this replica saw such a pod of this owner, and saw it go.
    pub fn saw(&self, namespace: &str, name: &str, owner: &str) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .seen
            .iter()
            .any(|it| *it.namespace == *namespace && *it.name == *name && *it.owner == *owner)
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_brief::{Container, Owner};

    fn pod(uid: &str, claude: Container) -> PodBrief {
        PodBrief {
            namespace: "town".into(),
            name: "polecat-max".into(),
            uid: uid.into(),
            owner: Some(Owner { kind: "Polecat".into(), name: "max".into(), uid: "p-1".into() }),
            claude,
            ..PodBrief::default()
        }
    }

    #[test]
    fn the_latest_of_a_name_that_had_something_to_say_is_found() {
        let over = |exit_code| Container::Ended {
            exit_code,
            reason: "".into(),
            message: "".into(),
            at: None,
        };
        let departed = Departed::default();
        departed.note(&pod("1", Container::Running));
        assert_eq!(departed.of("town", "polecat-max"), None, "it had nothing to say");
        departed.note(&pod("2", over(0)));
        departed.note(&pod("3", over(1)));
        assert_eq!(departed.of("town", "polecat-max").map(|it| it.uid), Some("3".into()));
        assert_eq!(departed.of("other", "polecat-max"), None);
    }

    #[test]
    fn a_pod_is_remembered_by_its_owner() {
        let departed = Departed::default();
        assert!(!departed.saw("town", "polecat-max", "p-1"));
        departed.note(&pod("1", Container::Unseen));
        assert!(departed.saw("town", "polecat-max", "p-1"), "although it never ran");
        assert!(
            !departed.saw("town", "polecat-max", "p-2"),
            "one of the same name that came later"
        );
    }
}
