//! A model of replicas that rotate certificates with views that are late, writes that are lost, two writers at a time and API
//! servers that lag: what is served must verify under what is trusted, always. Planted faults show that it can fail.

use std::{collections::BTreeSet, convert::Infallible};

use super::{Authority, Book, Canary, Key, Leaf, Life, Mint, Seen};

/// Seconds that an API server may go on with a bundle that it was told to replace.
const LAG: i64 = 60;
/// Seconds that a replica may go on without hearing of the Secret.
const STALE: i64 = 30;

/// Material that says who signed it.
pub struct Numbers;

const YEAR: i64 = 365 * 24 * 3600;

impl Mint for Numbers {
    type Error = Infallible;

    fn authority(&self, generation: u64, now: i64) -> Result<Authority, Infallible> {
        let life = Life { from: now, until: now + YEAR };
        let (certificate, key) = (format!("ca {generation};"), Key::default());
        Ok(Authority { generation, certificate, key, life })
    }

    fn cross(&self, of: &Authority, by: &Authority) -> Result<String, Infallible> {
        Ok(format!("cross {} by {};", of.generation, by.generation))
    }

    fn leaf(&self, by: &Authority, now: i64) -> Result<Leaf, Infallible> {
        let life = Life { from: now, until: now + 7 * 24 * 3600 };
        Ok(Leaf { certificate: format!("leaf by {};", by.generation), key: Key::default(), life })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The chain holds the leaf alone.
    NoCross,
    /// The bundle holds who signs alone.
    NoOverlap,
    /// Who signed before is forgotten at once.
    RetiresAtOnce,
}

/// Whether a chain leads to something that is trusted.
fn verifies(chain: &str, bundle: &str) -> bool {
    let trusts = |generation: &str| bundle.split(';').any(|it| it == format!("ca {generation}"));
    let mut reached = BTreeSet::new();
    for it in chain.split(';') {
        match it.split(' ').collect::<Vec<_>>()[..] {
            ["leaf", "by", by] => drop(reached.insert(by)),
            ["cross", of, "by", by] if reached.contains(of) => drop(reached.insert(by)),
            _ => {}
        }
    }
    reached.iter().any(|it| trusts(it))
}

struct Replica {
    seen: (u64, Book),
    heard: i64,
}

struct World {
    now: i64,
    secret: (u64, Book),
    replicas: Vec<Replica>,
    /// What each consumer says, then what API servers may still go by, and until when.
    consumers: Vec<(String, Vec<(String, i64)>)>,
    wishes: u64,
    fault: Fault,
    dice: u64,
}

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        let secret = (1, Book::new(&Numbers, 1, 0).unwrap());
        let replica = || Replica { seen: secret.clone(), heard: 0 };
        let consumers = (0..3).map(|_| (secret.1.bundle(), Vec::new())).collect();
        let replicas = (0..3).map(|_| replica()).collect();
        let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { now: 0, secret: secret.clone(), replicas, consumers, wishes: 0, fault, dice }
    }

    fn throw(&mut self, sides: u64) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from(self.dice % sides).unwrap()
    }

    fn bundle(&self, book: &Book) -> String {
        if self.fault == Fault::NoOverlap {
            return book.authority.certificate.clone();
        }
        book.bundle()
    }

    fn chain(&self, book: &Book) -> String {
        if self.fault == Fault::NoCross { book.leaf.certificate.clone() } else { book.chain() }
    }

    fn step(&mut self) {
        let at = self.throw(3);
        match self.throw(8) {
            0 => self.now += i64::try_from(self.throw(10)).unwrap(),
            1 => self.wishes += 1,
            2 | 3 => self.hear(at),
            4 | 5 => self.publish(at),
            _ => self.act(at),
        }
        for at in 0..3 {
            if self.now - self.replicas[at].heard > STALE {
                self.hear(at);
            }
        }
    }

    fn hear(&mut self, at: usize) {
        self.replicas[at] = Replica { seen: self.secret.clone(), heard: self.now };
    }

    /// A replica puts one consumer right, by what it believes.
    fn publish(&mut self, at: usize) {
        let want = self.bundle(&self.replicas[at].seen.1);
        let (consumer, until) = (self.throw(3), self.now + LAG);
        let (says, held) = &mut self.consumers[consumer];
        if *says != want {
            held.push((std::mem::replace(says, want), until));
        }
    }

    /// A replica takes a step by what it believes, and may die before the write.
    fn act(&mut self, at: usize) {
        let (version, book) = self.replicas[at].seen.clone();
        let wish = self.wishes.to_string();
        let canary = [Canary::Untold, Canary::Passed, Canary::Passed, Canary::Refused];
        let want = self.bundle(&book);
        let seen = Seen {
            now: self.now,
            published: self.consumers.iter().all(|it| it.0 == want),
            canary: canary[self.throw(4)],
            wish: &wish,
            retire_after: Some(if self.fault == Fault::RetiresAtOnce {
                0
            } else {
                LAG + 2 * STALE
            }),
            settle: 5,
        };
        let Some(step) = book.due(&seen) else { return };
        let after = book.after(step, &seen, &Numbers).unwrap();
        let dies = self.throw(8) == 0;
        if !dies && self.secret.0 == version {
            self.secret = (version + 1, after);
            // It hears of its own write at once, or later.
            if self.throw(2) == 0 {
                self.hear(at);
            }
        }
    }

    /// A chain that is served, and a bundle under which it does not verify.
    fn broken(&mut self) -> Option<(String, String)> {
        let now = self.now;
        self.consumers.iter_mut().for_each(|it| it.1.retain(|(_, until)| *until > now));
        let chains: Vec<_> = self.replicas.iter().map(|it| self.chain(&it.seen.1)).collect();
        let held = |it: &(String, Vec<(String, i64)>)| {
            std::iter::once(it.0.clone())
                .chain(it.1.iter().map(|it| it.0.clone()))
                .collect::<Vec<_>>()
        };
        let bundles: Vec<_> = self.consumers.iter().flat_map(held).collect();
        chains.iter().find_map(|chain| {
            let bundle = bundles.iter().find(|bundle| !verifies(chain, bundle))?;
            Some((chain.clone(), bundle.clone()))
        })
    }
}

/// The first thing that goes wrong, and how many authorities there were.
fn run(seed: u64, fault: Fault, steps: u32) -> (Option<(String, String)>, u64) {
    let mut world = World::new(seed, fault);
    for _ in 0..steps {
        world.step();
        if let Some(broken) = world.broken() {
            return (Some(broken), world.secret.1.authority.generation);
        }
    }
    (None, world.secret.1.authority.generation)
}

#[test]
fn what_is_served_verifies_under_whatever_is_trusted() {
    let mut rotations = 0;
    for seed in 1..=30 {
        let (broken, generation) = run(seed, Fault::None, 2000);
        assert_eq!(broken, None, "seed {seed}");
        rotations += generation - 1;
    }
    assert!(rotations > 30, "there were rotations: {rotations}");
}

#[test]
fn each_planted_fault_is_found() {
    for fault in [Fault::NoCross, Fault::NoOverlap, Fault::RetiresAtOnce] {
        let found = (1..=100).find_map(|seed| run(seed, fault, 3000).0);
        assert!(found.is_some(), "{fault:?}");
    }
}
