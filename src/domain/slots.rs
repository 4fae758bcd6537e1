//! How many Polecats of a namespace run, and who is next: the book behind `--max-running-per-namespace`. Exact because a
//! slot is taken before an intent is written, under one lock, and given back only when neither intent nor pod is left.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::domain::brake::Place;

/// The book of one scope.
#[derive(Debug, Default)]
pub struct Slots {
    namespaces: HashMap<Arc<str>, Namespace>,
}

/// One namespace: who holds a slot, and who waits for one.
#[derive(Debug, Default)]
struct Namespace {
    holders: HashMap<Box<str>, Holder>,
    /// Live pods, and whose they are.
    pods: HashMap<Box<str>, Box<str>>,
    line: BTreeSet<Place>,
    places: HashMap<Box<str>, Place>,
}

/// Why a Polecat holds a slot.
#[derive(Debug, Default)]
struct Holder {
    /// A pass is about to write its intent, or did and never heard whether that was accepted.
    claimed: bool,
    /// Its status says that an attempt is under way.
    begun: bool,
    /// Pods of it that have not ended.
    pods: usize,
}

impl Holder {
    const fn holds(&self) -> bool {
        self.claimed || self.begun || self.pods > 0
    }
}

/// What the status of a Polecat says about slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// An attempt is under way.
    Begun,
    /// It would begin if there were room.
    InLine(Place),
    /// It asks for nothing, or waits for something else.
    #[default]
    Out,
}

impl Slots {
    /// Takes a slot, if one is left after those who stand before this Polecat. One that has a slot keeps it.
    pub fn claim(&mut self, namespace: &str, polecat: &str, place: &Place, limit: u32) -> bool {
        let it = self.of(namespace);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if !it.holders.get(polecat).is_some_and(Holder::holds) {
            let before = it.line.range(..place).take(limit).count();
            if it.holders.len() + before >= limit {
                it.stand(polecat, Some(place.clone()));
                return false;
            }
        }
        it.stand(polecat, None);
        it.holders.entry(polecat.into()).or_default().claimed = true;
        true
    }

    /// Takes in what a Polecat's status says. `passed`: a pass over it has ended and left nothing open, so that its claim
    /// is either visible by now or void. Returns who is to be looked at.
    pub fn note(
        &mut self,
        namespace: &str,
        polecat: &str,
        standing: Standing,
        passed: bool,
        limit: u32,
    ) -> Vec<Box<str>> {
        let it = self.of(namespace);
        let before = (it.holders.len(), it.line.len());
        let holder = it.holders.entry(polecat.into()).or_default();
        holder.begun = standing == Standing::Begun;
        holder.claimed &= !passed;
        let place = match standing {
            Standing::InLine(place) if !holder.holds() => Some(place),
            _ => None,
        };
        it.stand(polecat, place);
        it.tidy(polecat);
        let next = it.next(before, polecat, limit);
        self.forget(namespace);
        next
    }

    /// Takes in a pod: whose it is while it has not ended, `None` once it has or is gone. Returns who is to be looked at.
    pub fn note_pod(
        &mut self,
        namespace: &str,
        pod: &str,
        owner: Option<&str>,
        limit: u32,
    ) -> Vec<Box<str>> {
        let it = self.of(namespace);
        let before = (it.holders.len(), it.line.len());
        let old = it.pods.remove(pod);
        if let Some(owner) = owner {
            it.pods.insert(pod.into(), owner.into());
            it.holders.entry(owner.into()).or_default().pods += 1;
        }
        if let Some(old) = old {
            if let Some(holder) = it.holders.get_mut(&old) {
                holder.pods = holder.pods.saturating_sub(1);
            }
            it.tidy(&old);
        }
        let next = it.next(before, "", limit);
        self.forget(namespace);
        next
    }

    /// Forgets namespaces that are no longer looked at.
    pub fn forget_where(&mut self, is: impl Fn(&str) -> bool) {
        self.namespaces.retain(|namespace, _| !is(namespace));
    }

    fn of(&mut self, namespace: &str) -> &mut Namespace {
        self.namespaces.entry(namespace.into()).or_default()
    }

    fn forget(&mut self, namespace: &str) {
        let empty = |it: &Namespace| it.holders.is_empty() && it.line.is_empty();
        if self.namespaces.get(namespace).is_some_and(empty) {
            self.namespaces.remove(namespace);
        }
    }
}

impl Namespace {
    /// Puts a Polecat at its place in the line, or out of it.
    fn stand(&mut self, polecat: &str, place: Option<Place>) {
        if let Some(old) = self.places.remove(polecat) {
            self.line.remove(&old);
        }
        if let Some(place) = place {
            self.line.insert(place.clone());
            self.places.insert(polecat.into(), place);
        }
    }

    fn tidy(&mut self, polecat: &str) {
        if self.holders.get(polecat).is_some_and(|it| !it.holds()) {
            self.holders.remove(polecat);
        }
    }

    /// Who may begin now, where somebody made room; not the one that just had its pass.
    fn next(&self, before: (usize, usize), not: &str, limit: u32) -> Vec<Box<str>> {
        let made_room = self.holders.len() < before.0 || self.line.len() < before.1;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let free = if made_room { limit.saturating_sub(self.holders.len()) } else { 0 };
        let names = self.line.iter().map(|(_, name)| name);
        names.filter(|it| ***it != *not).take(free).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn place(second: i64, name: &str) -> Place {
        (Timestamp::from_second(second).ok(), name.into())
    }

    fn names(all: &[Box<str>]) -> Vec<&str> {
        all.iter().map(|it| &**it).collect()
    }

    #[test]
    fn the_last_slot_goes_to_one_and_the_next_to_the_oldest() {
        let mut slots = Slots::default();
        assert!(slots.claim("town", "a", &place(1, "a"), 1), "the first");
        assert!(!slots.claim("town", "c", &place(3, "c"), 1), "a claim counts at once");
        assert!(!slots.claim("town", "b", &place(2, "b"), 1), "no more for an older one");
        assert!(slots.claim("town", "a", &place(1, "a"), 1), "one that has a slot keeps it");
        assert!(slots.claim("mill", "c", &place(3, "c"), 1), "another namespace is another book");
        slots.note("town", "a", Standing::Begun, true, 1);
        slots.note_pod("town", "polecat-a", Some("a"), 1);
        let next = slots.note("town", "a", Standing::Out, true, 1);
        assert!(next.is_empty(), "its pod is still there");
        let next = slots.note_pod("town", "polecat-a", None, 1);
        assert_eq!(names(&next), ["b"], "the oldest is woken");
        assert!(!slots.claim("town", "c", &place(3, "c"), 1), "a younger one does not overtake");
        assert!(slots.claim("town", "b", &place(2, "b"), 1));
    }

    #[test]
    fn a_claim_whose_write_was_never_answered_stays_until_the_next_pass() {
        let mut slots = Slots::default();
        assert!(slots.claim("town", "a", &place(1, "a"), 1));
        assert!(!slots.claim("town", "b", &place(2, "b"), 1));
        let next = slots.note("town", "a", Standing::InLine(place(1, "a")), false, 1);
        assert!(next.is_empty(), "its intent may be there");
        assert!(!slots.claim("town", "b", &place(2, "b"), 1));
        let next = slots.note("town", "a", Standing::Out, true, 1);
        assert_eq!(names(&next), ["b"], "it did not begin: the next one is looked at");
    }

    #[test]
    fn who_leaves_the_line_lets_the_others_pass() {
        let mut slots = Slots::default();
        assert!(slots.claim("town", "z", &place(0, "z"), 2), "one slot is left");
        for (second, name) in [(1, "a"), (2, "b")] {
            slots.note("town", name, Standing::InLine(place(second, name)), false, 2);
        }
        assert!(!slots.claim("town", "b", &place(2, "b"), 2), "the older one comes first");
        let next = slots.note("town", "a", Standing::Out, true, 2);
        assert_eq!(names(&next), ["b"], "the older one was set to Idle");
        assert!(slots.claim("town", "b", &place(2, "b"), 2));
    }

    #[test]
    fn an_empty_namespace_is_forgotten() {
        let mut slots = Slots::default();
        slots.claim("town", "a", &place(1, "a"), 1);
        slots.note("town", "a", Standing::Out, true, 1);
        slots.note_pod("town", "other", None, 1);
        assert!(slots.namespaces.is_empty(), "{slots:?}");
    }

    proptest! {
        /// Whatever happens in whatever order, no more hold a slot than may.
        #[test]
        fn never_more_than_the_limit(steps in prop::collection::vec((0..6_u8, 0..5_u8), 0..200), limit in 1..4_u32) {
            let mut slots = Slots::default();
            let mut alive = [false; 6];
            for (who, what) in steps {
                let name = who.to_string();
                let at = place(i64::from(who), &name);
                let pod = format!("pod-{name}");
                match what {
                    0 | 1 => if slots.claim("town", &name, &at, limit) {
                        slots.note("town", &name, Standing::Begun, true, limit);
                        slots.note_pod("town", &pod, Some(&name), limit);
                        alive[usize::from(who)] = true;
                    },
                    2 => {
                        slots.note_pod("town", &pod, None, limit);
                        alive[usize::from(who)] = false;
                        slots.note("town", &name, Standing::Out, true, limit);
                    }
                    3 => drop(slots.note("town", &name, Standing::InLine(at), false, limit)),
                    _ => drop(slots.note("town", &name, Standing::Out, true, limit)),
                }
                let count = alive.iter().filter(|it| **it).count();
                prop_assert!(count <= limit as usize, "{count} of {limit}: {slots:?}");
            }
        }
    }
}
