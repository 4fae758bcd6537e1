//! The audit log as judge: what the API server accepted, from whom, under which epoch, and when.

use std::collections::BTreeMap;

use gastown_testbed::audit::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::town::Town;
use crate::shards::{Stamp, flaw};

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Pods by namespace and name, and how often each was made.
    pub pods: BTreeMap<(String, String), usize>,
    /// Objects that were written under an older epoch after a younger one, or by two owners in turns: also where a map moved
    /// them from one shard to another.
    pub undone: Vec<String>,
    /// For each change of a shard's owner under which both wrote: from the answer to the last write of the one before to the
    /// arrival of the first of the next. Negative: they overlap.
    pub margins: Vec<SignedDuration>,
    /// Writes that were refused as too late, by code.
    pub refused: usize,
}

/// One accepted write.
struct Write {
    epoch: i32,
    came: Timestamp,
    answered: Timestamp,
}

pub async fn judge(town: &Town) -> Verdict {
    let events = town.bed.audit_events().await.unwrap();
    let prefix = town.user("");
    let ours = events
        .iter()
        .filter(|it| it.is_write() && it.user.starts_with(&prefix) && town.is_ours(&it.namespace));
    weigh(ours)
}

fn weigh<'a>(events: impl Iterator<Item = &'a Event>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut shards: BTreeMap<u16, Vec<Write>> = BTreeMap::new();
    let mut objects: BTreeMap<String, Vec<Stamp>> = BTreeMap::new();
    for event in events {
        verdict.refused += usize::from(event.code == 409);
        let (Some(stamp), true) = (Stamp::of(event), event.code < 300) else { continue };
        let object = format!("{} {}/{}", event.resource, event.namespace, event.name);
        if event.resource == "pods" && event.verb == "create" {
            let pod = (event.namespace.clone(), event.name.clone());
            *verdict.pods.entry(pod).or_default() += 1;
        }
        objects.entry(object).or_default().push(stamp);
        let (Stamp { shard, epoch, .. }, came, answered) = (stamp, event.time, event.done);
        shards.entry(shard).or_default().push(Write { epoch, came, answered });
    }
    let flaws = objects.iter().filter_map(|(object, writes)| {
        let flaw = flaw(writes)?;
        Some(format!("{object}: {flaw}: {writes:?}"))
    });
    verdict.undone.extend(flaws);
    for writes in shards.values() {
        let mut epochs: BTreeMap<i32, (Timestamp, Timestamp)> = BTreeMap::new();
        for it in writes {
            let span = epochs.entry(it.epoch).or_insert((it.came, it.answered));
            *span = (span.0.min(it.came), span.1.max(it.answered));
        }
        let spans: Vec<_> = epochs.values().collect();
        verdict.margins.extend(spans.windows(2).map(|it| it[1].0.duration_since(it[0].1)));
    }
    verdict.margins.sort();
    verdict
}

impl Verdict {
    /// The smallest margin.
    pub fn smallest(&self) -> Option<SignedDuration> {
        self.margins.first().copied()
    }

    /// Fails unless there was never more than one; prints how close it came. A pod of which the answer came too late is logged as
    /// refused, so pods that are there are counted elsewhere.
    pub fn holds(&self, name: &str, polecats: usize) {
        self.undoes_nothing(name, polecats);
        assert!(
            self.smallest().is_none_or(|it| it.is_positive()),
            "{name}: two owners wrote in turns: {self:?}"
        );
    }

    /// The same where what an owner had sent may arrive long after: it counts by object.
    pub fn undoes_nothing(&self, name: &str, polecats: usize) {
        let smallest = self
            .smallest()
            .map_or("no owner changed".into(), |it| format!("smallest margin {it:?}"));
        println!(
            "{name}: {} changes of owner under load, {smallest}; {} writes refused",
            self.margins.len(),
            self.refused
        );
        let twice: Vec<_> = self.pods.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{name}: made twice: {twice:?}");
        assert!(self.pods.len() <= polecats, "{name}: no more pods than Polecats");
        assert!(self.undone.is_empty(), "{name}: {:#?}", self.undone);
    }
}

#[test]
fn the_judge_sees_overlaps_and_second_pods() {
    let event = |name: &str, epoch: i32, came: i64, answered: i64| Event {
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
        annotations: std::collections::BTreeMap::new(),
    };
    let fine = weigh([event("p", 1, 0, 10), event("q", 2, 30, 40)].iter());
    assert_eq!(fine.smallest(), Some(SignedDuration::from_millis(20)));
    fine.holds("fine", 2);
    let late = weigh([event("p", 1, 0, 10), event("q", 2, 30, 40), event("r", 1, 35, 36)].iter());
    assert_eq!(late.smallest(), Some(SignedDuration::from_millis(-6)), "the first came back");
    let undone = weigh([event("p", 2, 0, 10), event("p", 1, 30, 40)].iter());
    assert_eq!((undone.undone.len(), undone.pods.values().max()), (1, Some(&2)));
    let moved = |shard: u16, map: i64, came: i64| {
        let user_agent = format!("gastown/1 (a; shard={shard:02}; epoch=1; map={map})");
        let verb = "patch".into();
        Event { verb, user_agent, ..event("p", 1, came, came + 5) }
    };
    let pinned = weigh([moved(3, 1, 0), moved(4, 2, 10), moved(3, 3, 20)].iter());
    assert_eq!(pinned.undone, [""; 0], "each by a newer map");
    let both = weigh([moved(3, 1, 0), moved(4, 2, 10), moved(3, 2, 20)].iter());
    assert_eq!(both.undone.len(), 1, "by the same map, two owners of one namespace");
}
