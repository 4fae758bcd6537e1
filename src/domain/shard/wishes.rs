//! Namespaces that wish to be in a certain shard, by an annotation. A wish takes effect by the next version of the map, and
//! so when the owner of the shard that the namespace leaves has ended all work in it.

use std::collections::BTreeMap;

use super::{
    ShardId,
    map::{Map, PINS},
};

/// Annotation of a Namespace: the number of the shard that it wishes to be in.
pub const ANNOTATION: &str = "gastown.io/shard";

/// Most pins that one version changes.
const STEP: usize = 32;

/// What becomes of the wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The next version, where something is granted or taken back.
    pub next: Option<Map>,
    /// Wishes that can't be granted, and why, by namespace.
    pub refused: BTreeMap<Box<str>, String>,
}

/// Answers all wishes that there are. A namespace without one is pinned no more; one whose wish can't be granted stays where
/// it is.
pub fn answer(map: &Map, wishes: &BTreeMap<Box<str>, Box<str>>) -> Answer {
    let mut refused = BTreeMap::new();
    let mut pins = map.pins().clone();
    pins.retain(|it, _| wishes.contains_key(it));
    // Those who are pinned already keep their places among the few.
    let pinned = wishes.iter().filter(|(it, _)| map.pins().contains_key(*it));
    let others = wishes.iter().filter(|(it, _)| !map.pins().contains_key(*it));
    for (namespace, wish) in pinned.chain(others) {
        match wished(map, wish) {
            Err(why) => drop(refused.insert(namespace.clone(), why)),
            Ok(_) if pins.len() >= PINS && !pins.contains_key(namespace) => {
                let why = format!(
                    "{PINS} namespaces are pinned, and no more may be, since each costs a watch of its own: take the annotation \
                     {ANNOTATION} from another namespace first"
                );
                refused.insert(namespace.clone(), why);
            }
            Ok(shard) => drop(pins.insert(namespace.clone(), shard)),
        }
    }
    let next = step(map, &pins);
    let next = (next != *map.pins()).then(|| map.with_pins(next).ok()).flatten();
    Answer { next, refused }
}

/// The shard that a wish names.
fn wished(map: &Map, wish: &str) -> Result<ShardId, String> {
    let shard = wish.trim().parse().map(ShardId).map_err(|_| {
        format!("{wish:?} is no number of a shard: write one that kubectl gt shards shows, such as \"7\"")
    })?;
    if map.active().any(|it| it == shard) {
        return Ok(shard);
    }
    Err(format!("there is no shard {shard} in use: write one that kubectl gt shards shows"))
}

/// The pins after at most so many changes of those that lead to the ones that are wanted; what goes comes first.
fn step(map: &Map, wanted: &BTreeMap<Box<str>, ShardId>) -> BTreeMap<Box<str>, ShardId> {
    let mut pins = map.pins().clone();
    let gone = map.pins().keys().filter(|it| !wanted.contains_key(*it)).map(|it| (it, None));
    let new = wanted.iter().filter(|(it, shard)| map.pins().get(*it) != Some(*shard));
    for (namespace, shard) in gone.chain(new.map(|(it, shard)| (it, Some(*shard)))).take(STEP) {
        match shard {
            Some(shard) => pins.insert(namespace.clone(), shard),
            None => pins.remove(namespace),
        };
    }
    pins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(all: &[(&str, &str)]) -> BTreeMap<Box<str>, Box<str>> {
        all.iter().map(|(name, shard)| ((*name).into(), (*shard).into())).collect()
    }

    fn pins(answer: &Answer) -> Vec<(&str, u16)> {
        let map = answer.next.as_ref().unwrap();
        map.pins().iter().map(|(name, shard)| (&**name, shard.0)).collect()
    }

    #[test]
    fn a_wish_is_granted_and_taken_back_by_the_next_version() {
        let map = Map::first(4);
        let granted = answer(&map, &wishes(&[("a", "2"), ("b", " 03 ")]));
        assert_eq!((pins(&granted), granted.refused.len()), (vec![("a", 2), ("b", 3)], 0));
        let map = granted.next.unwrap();
        assert_eq!(map.version(), 2);
        let same = answer(&map, &wishes(&[("a", "2"), ("b", "3")]));
        assert_eq!(same, Answer::default(), "nothing is left to do");
        let changed = answer(&map, &wishes(&[("b", "1")]));
        assert_eq!(pins(&changed), [("b", 1)], "one wish is gone, one is another");
    }

    #[test]
    fn what_can_not_be_granted_is_told_and_moves_nothing() {
        let map = Map::first(4).pin("a", ShardId(2)).unwrap();
        let map = map.merge(ShardId(3), ShardId(1)).unwrap();
        let table = [
            ("x", "is no number"),
            ("-1", "is no number"),
            ("9", "no shard 09"),
            ("3", "no shard 03"),
        ];
        for (wish, want) in table {
            let told = answer(&map, &wishes(&[("a", wish), ("b", wish)]));
            assert_eq!(told.next, None, "{wish}: a stays where it is, b is not pinned");
            for namespace in ["a", "b"] {
                assert!(told.refused[namespace].contains(want), "{wish}: {:?}", told.refused);
            }
        }
    }

    #[test]
    fn only_so_many_are_pinned_and_those_who_are_stay() {
        let name = |it: usize| Box::<str>::from(format!("n{it:03}"));
        let all: BTreeMap<_, Box<str>> = (0..70).map(|it| (name(it), "1".into())).collect();
        let mut map = Map::first(4).pin("n069", ShardId(1)).unwrap();
        let mut versions = 0;
        let refused = loop {
            let told = answer(&map, &all);
            let Some(next) = told.next else { break told.refused };
            next.follows(&map).unwrap();
            (map, versions) = (next, versions + 1);
        };
        assert_eq!((map.pins().len(), versions), (PINS, 2), "few enough moves in each version");
        assert!(map.pins().contains_key("n069"), "it was first");
        assert_eq!(refused.len(), 70 - PINS);
        assert!(refused["n068"].contains("50 namespaces are pinned"), "{refused:?}");
    }
}
