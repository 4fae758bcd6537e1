//! The audit log as judge: what the API server accepted, from whom, under which epoch, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use gastown_testbed::audit::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{town::Town, trail::Trail};
use crate::shards::{Stamp, flaw};

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Pods by namespace and name, and how often each was made.
    pub pods: BTreeMap<(String, String), usize>,
    /// Pods that nobody is known to have made: the API server answered too late to say.
    pub unsure: BTreeSet<(String, String)>,
    /// Objects that were written under an older epoch after a younger one, or by two owners in turns: also where a map moved
    /// them from one shard to another. And those that were written without leave, or under an epoch that no Lease gave.
    pub undone: Vec<String>,
    /// Writes that came when the Lease of their shard had been given to the next already.
    pub late: Vec<String>,
    /// For each change of a shard's owner under which both wrote: from the answer to the last write of the one before to the
    /// arrival of the first of the next. Negative: they overlap.
    pub margins: Vec<SignedDuration>,
    /// Writes that were refused as too late, by code.
    pub refused: usize,
    /// Pods of which the log may know nothing: their makers asked when the API server was killed.
    unlogged: usize,
}

/// One accepted write.
struct Write {
    epoch: i32,
    came: Timestamp,
    answered: Timestamp,
}

/// By its code: it may have been done all the same.
pub fn is_unsure(code: u16) -> bool {
    code == 0 || code >= 499
}

pub async fn judge(town: &Town) -> Verdict {
    let events = town.bed.audit_events().await.unwrap();
    let prefix = town.user("");
    let ours = events.iter().filter(|it| it.is_write() && it.user.starts_with(&prefix));
    weigh(ours.filter(|it| town.is_ours(&it.namespace) || it.resource == "leases"))
}

fn weigh<'a>(events: impl Iterator<Item = &'a Event>) -> Verdict {
    let mut verdict = Verdict::default();
    let (leases, writes): (Vec<_>, Vec<_>) = events.partition(|it| it.resource == "leases");
    let trail = Trail::of(leases);
    let mut shards: BTreeMap<u16, Vec<Write>> = BTreeMap::new();
    let mut objects: BTreeMap<String, Vec<Stamp>> = BTreeMap::new();
    for event in writes {
        let object = format!("{} {}/{}", event.resource, event.namespace, event.name);
        if !verdict.counts(event) {
            continue;
        }
        let Some(stamp) = Stamp::of(event) else {
            verdict.undone.extend(without_leave(event).map(|why| format!("{object}: {why}")));
            continue;
        };
        verdict.undone.extend(trail.early(event, stamp).map(|why| format!("{object}: {why}")));
        verdict.late.extend(trail.late(event, stamp).map(|why| format!("{object}: {why}")));
        objects.entry(object).or_default().push(stamp);
        let (Stamp { shard, epoch, .. }, came, answered) = (stamp, event.time, event.done);
        shards.entry(shard).or_default().push(Write { epoch, came, answered });
    }
    verdict.unsure.retain(|it| !verdict.pods.contains_key(it));
    let flaws = objects.iter().filter_map(|(object, writes)| {
        let flaw = flaw(writes)?;
        Some(format!("{object}: {flaw}: {writes:?}"))
    });
    verdict.undone.extend(flaws);
    verdict.margins = shards.values().flat_map(|it| margins(it)).collect();
    verdict.margins.sort();
    verdict
}

/// Of the changes of one shard's owner.
fn margins(writes: &[Write]) -> Vec<SignedDuration> {
    let mut epochs: BTreeMap<i32, (Timestamp, Timestamp)> = BTreeMap::new();
    for it in writes {
        let span = epochs.entry(it.epoch).or_insert((it.came, it.answered));
        *span = (span.0.min(it.came), span.1.max(it.answered));
    }
    let spans: Vec<_> = epochs.values().collect();
    spans.windows(2).map(|it| it[1].0.duration_since(it[0].1)).collect()
}

/// What is wrong with a write that names no shard: of a Polecat or a pod nobody makes one but to correct a label.
fn without_leave(event: &Event) -> Option<String> {
    let of_work = matches!(event.resource.as_str(), "polecats" | "pods");
    let corrects = event.user_agent.contains("; label-of-shard=");
    (of_work && !corrects)
        .then(|| format!("{} without leave, by {:?}", event.verb, event.user_agent))
}

impl Verdict {
    /// Notes what came of a write; whether it was accepted.
    fn counts(&mut self, event: &Event) -> bool {
        self.refused += usize::from(event.code == 409);
        let makes = (event.resource.as_str(), event.subresource.as_str(), event.verb.as_str());
        if makes == ("pods", "", "create") {
            let pod = (event.namespace.clone(), event.name.clone());
            if event.code < 300 && event.code > 0 {
                *self.pods.entry(pod).or_default() += 1;
            } else if is_unsure(event.code) {
                self.unsure.insert(pod);
            }
        }
        (1..300).contains(&event.code)
    }

    /// The API server was killed: so many of its last answers may be in no log.
    pub fn unlogged(self, unlogged: usize) -> Self {
        Self { unlogged, ..self }
    }

    /// Fails unless both owners were seen to write under so many changes of a shard's owner: else nothing was tried.
    pub fn changed(self, least: usize) -> Self {
        let seen = self.margins.len();
        assert!(seen >= least, "{seen} changes of owner under load, and not {least}");
        self
    }

    /// The smallest margin.
    pub fn smallest(&self) -> Option<SignedDuration> {
        self.margins.first().copied()
    }

    /// Fails unless there was never more than one; prints how close it came. A pod of which the answer came too late is logged as
    /// refused, so pods that are there are counted elsewhere.
    pub fn holds(&self, name: &str, polecats: usize) {
        self.tell(name, self.smallest());
        self.stands(name, polecats);
    }

    fn stands(&self, name: &str, polecats: usize) {
        self.undoes_nothing(name, polecats);
        assert!(
            self.smallest().is_none_or(|it| it.is_positive()),
            "{name}: two owners wrote in turns: {:?}",
            self.margins
        );
        assert!(self.late.is_empty(), "{name}: {:#?}", self.late);
    }

    /// The same where what an owner had sent may arrive long after: it counts by object.
    pub fn undoes_nothing(&self, name: &str, polecats: usize) {
        let twice: Vec<_> = self.pods.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{name}: made twice: {twice:?}");
        assert!(self.pods.len() <= polecats, "{name}: no more pods than Polecats");
        let known = self.pods.len() + self.unsure.len() + self.unlogged;
        assert!(known >= polecats, "{name}: {known} pods are known by the log, of {polecats}");
        assert!(self.undone.is_empty(), "{name}: {:#?}", self.undone);
    }

    /// Says how close it came where also a test that passes is heard.
    pub fn tell(&self, name: &str, smallest: Option<SignedDuration>) {
        let smallest = smallest.map_or("none".into(), |it| format!("{:.3} s", it.as_secs_f64()));
        let (changes, refused) = (self.margins.len(), self.refused);
        let line = format!(
            "MARGIN {name}: {smallest}, of {changes} changes of owner; {refused} writes refused\n"
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use gastown_testbed::audit::Held;

    use super::*;

    fn event(name: &str, epoch: i32, came: i64, answered: i64) -> Event {
        Event {
            verb: "create".into(),
            user: "a".into(),
            resource: "pods".into(),
            subresource: String::new(),
            namespace: "n".into(),
            name: name.into(),
            code: 201,
            user_agent: format!("gastown/1 (a; shard=03; epoch={epoch}; map=1)"),
            uri: String::new(),
            time: Timestamp::from_millisecond(came).unwrap(),
            done: Timestamp::from_millisecond(answered).unwrap(),
            annotations: BTreeMap::new(),
            lease: None,
        }
    }

    /// Somebody takes shard 03.
    fn takes(user: &str, transitions: i32, came: i64) -> Event {
        Event {
            verb: "update".into(),
            user: user.into(),
            resource: "leases".into(),
            code: 200,
            lease: Some(Held { holder: user.into(), transitions }),
            ..event("gastown-shard-03", transitions, came, came + 5)
        }
    }

    fn weighed(writes: &[Event]) -> Verdict {
        let leases = [takes("a", 1, -100), takes("a", 2, 15)];
        weigh(leases.iter().chain(writes))
    }

    #[test]
    fn the_judge_sees_overlaps_and_second_pods() {
        let fine = weighed(&[event("p", 1, 0, 10), event("q", 2, 30, 40)]);
        assert_eq!(fine.smallest(), Some(SignedDuration::from_millis(20)));
        fine.changed(1).stands("fine", 2);
        let late = weighed(&[event("p", 1, 0, 10), event("q", 2, 30, 40), event("r", 1, 35, 36)]);
        assert_eq!(late.smallest(), Some(SignedDuration::from_millis(-6)), "the first came back");
        let undone = weighed(&[event("p", 2, 0, 10), event("p", 1, 30, 40)]);
        assert_eq!(undone.pods.values().max(), Some(&2));
        assert!(undone.undone.iter().any(|it| it.contains("went back")), "{undone:?}");
        let moved = |shard: u16, map: i64, came: i64| {
            let user_agent = format!("gastown/1 (a; shard={shard:02}; epoch=1; map={map})");
            let verb = "patch".into();
            Event { verb, user_agent, ..event("p", 1, came, came + 5) }
        };
        let leases = [3, 4]
            .map(|it| Event { name: format!("gastown-shard-{it:02}"), ..takes("a", 1, -100) });
        let weighed = |writes: &[Event]| weigh(leases.iter().chain(writes));
        let pinned = weighed(&[moved(3, 1, 0), moved(4, 2, 10), moved(3, 3, 20)]);
        assert_eq!(pinned.undone, [""; 0], "each by a newer map");
        let both = weighed(&[moved(3, 1, 0), moved(4, 2, 10), moved(3, 2, 20)]);
        assert_eq!(both.undone.len(), 1, "by the same map, two owners of one namespace");
    }

    #[test]
    fn the_judge_sees_who_wrote_without_leave() {
        let by = |agent: &str| Event {
            user_agent: format!("gastown/1 (a; {agent})"),
            ..event("p", 1, 0, 10)
        };
        let table = [
            (by("work"), 1, "past the function that asks for leave"),
            (Event { user_agent: "kube".into(), ..by("") }, 1, "by a client of its own"),
            (by("label-of-shard=03; epoch=1; map=1"), 0, "a label is corrected by whose it names"),
            (Event { resource: "events".into(), ..by("Events") }, 0, "what is told is no work"),
            (Event { code: 403, ..by("work") }, 0, "it was refused"),
            (event("p", 2, 0, 10), 1, "its Lease was asked for later"),
            (event("p", 3, 0, 10), 1, "nobody ever had that epoch"),
            (Event { user: "b".into(), ..event("p", 1, 0, 10) }, 1, "that epoch was another's"),
        ];
        for (write, undone, because) in table {
            let verdict = weighed(&[write]);
            assert_eq!(verdict.undone.len(), undone, "{because}: {verdict:?}");
        }
        let late = weighed(&[event("p", 1, 21, 30)]);
        assert_eq!((late.undone.len(), late.late.len()), (0, 1), "the next had its Lease");
        let under_way = weighed(&[event("p", 1, 19, 30)]);
        assert_eq!(under_way.late, [""; 0], "that was not answered yet");
    }

    #[test]
    fn a_pod_that_may_have_been_made_is_not_missed() {
        let late = Event { code: 504, ..event("q", 1, 0, 10) };
        weighed(&[event("p", 1, 0, 10), late]).stands("may be", 2);
        weighed(&[event("p", 1, 0, 10)]).unlogged(1).stands("unlogged", 2);
    }

    #[test]
    #[should_panic = "1 pods are known by the log, of 2"]
    fn the_judge_misses_a_pod() {
        weighed(&[event("p", 1, 0, 10)]).stands("a pod is missing", 2);
    }

    #[test]
    #[should_panic = "0 changes of owner under load, and not 1"]
    fn the_judge_misses_an_owner_who_did_not_change() {
        let _ = weighed(&[event("p", 1, 0, 10)]).changed(1);
    }
}
