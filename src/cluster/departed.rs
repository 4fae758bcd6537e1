//! Pods as they were when they went. The watch tells of a deletion with the object's last state, and what its containers
//! said in it is said nowhere else.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use crate::domain::pod_brief::PodBrief;

/// More are forgotten, oldest first. Each is read within the next pass over its Polecat.
const REMEMBERED: usize = 1024;

/// The last of them.
#[derive(Debug, Default)]
pub struct Departed(Mutex<VecDeque<PodBrief>>);

impl Departed {
    /// Keeps a pod that is gone, if one of its containers had ended.
    pub fn keep(&self, pod: &PodBrief) {
        if !pod.claude.ended() && !pod.telemetry.ended() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|it| it.uid != pod.uid);
        if all.len() >= REMEMBERED {
            all.pop_front();
        }
        all.push_back(pod.clone());
    }

    /// The latest of that name.
    pub fn of(&self, namespace: &str, name: &str) -> Option<PodBrief> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find(|it| *it.namespace == *namespace && *it.name == *name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_brief::Container;

    #[test]
    fn only_one_that_has_spoken_is_kept_and_the_latest_of_a_name_is_found() {
        let departed = Departed::default();
        let over = |code| Container::Ended {
            exit_code: code,
            reason: "".into(),
            message: "".into(),
            at: None,
        };
        let pod = |uid: &str, claude| PodBrief {
            namespace: "town".into(),
            name: "polecat-max".into(),
            uid: uid.into(),
            claude,
            ..PodBrief::default()
        };
        departed.keep(&pod("1", Container::Running));
        assert_eq!(departed.of("town", "polecat-max"), None, "it had nothing to say");
        departed.keep(&pod("2", over(0)));
        departed.keep(&pod("3", over(1)));
        assert_eq!(departed.of("town", "polecat-max").map(|it| it.uid), Some("3".into()));
        assert_eq!(departed.of("other", "polecat-max"), None);
    }
}
