//! How an own certificate authority goes over to the next one without one failed call: what is kept in the Secret, and which
//! step is next, by pure functions. Any replica may take a step; whoever writes first over the version that he saw has it.
//!
//! **At every instant every chain that a replica may serve verifies under every bundle that an API server may still hold.**
//! The next authority is also signed by the one before (`cross`), so a chain under it verifies under the old bundle, under
//! both and under the new one; and the old authority stays in the bundle until nobody serves or expects anything of it.

pub mod consumers;
#[cfg(test)]
mod model;

use serde::{Deserialize, Serialize};

/// Authorities that may wait for their retirement at a time: callers follow six certificates of a chain at most.
const MOST_RETIRED: usize = 5;
/// How long a switch is watched until it counts as confirmed where no canary could be sent, in seconds.
const UNTOLD: i64 = 60;
/// How long nothing is switched after a switch was taken back, in seconds.
const HOLD: i64 = 600;

/// Where a transition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// One authority signs.
    #[default]
    Steady,
    /// The next one is there, and nobody was told.
    Prepared,
    /// It is in the bundle.
    Published,
    /// It signs what is served; whether that works is being found out.
    Switched,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing of what is there can be used any more.
    Anew,
    /// Another leaf by the same authority.
    Leaf,
    Prepare,
    Publish,
    Switch,
    Confirm,
    /// The switch did not work: back to what was served before.
    Back,
    /// Takes out of the bundle what nobody needs any more.
    Retire,
}

/// A private key, PEM. It is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub generation: u64,
    pub certificate: String,
    pub key: Key,
    pub life: Life,
}

/// What a server presents, without the certificates between it and an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    pub certificate: String,
    pub key: Key,
    pub life: Life,
}

/// When something is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    pub from: i64,
    pub until: i64,
}

impl Life {
    pub const fn is_over_or_to_come(self, now: i64) -> bool {
        now < self.from || now >= self.until
    }

    /// After two thirds of it.
    pub const fn renewal(self) -> i64 {
        self.from + (self.until - self.from) / 3 * 2
    }
}

/// An authority that signs no more, but may still be expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub certificate: String,
    /// Its successor's key, signed by it.
    pub cross: String,
    pub until: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub authority: Authority,
    /// The same key, signed by the authority before.
    pub cross: String,
}

/// What the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pub phase: Phase,
    /// When this phase began.
    pub since: i64,
    /// Nothing is switched before.
    #[serde(default)]
    pub hold: i64,
    /// The last wish for another authority that was granted.
    #[serde(default)]
    pub granted: String,
    pub authority: Authority,
    pub leaf: Leaf,
    pub next: Option<Next>,
    /// What signed and was served before the switch that is being watched.
    pub before: Option<(Authority, Leaf)>,
    /// The newest last.
    pub retired: Vec<Retired>,
}

/// Makes the material.
pub trait Mint {
    type Error;
    fn authority(&self, generation: u64, now: i64) -> Result<Authority, Self::Error>;
    fn cross(&self, of: &Authority, by: &Authority) -> Result<String, Self::Error>;
    fn leaf(&self, by: &Authority, now: i64) -> Result<Leaf, Self::Error>;
}

/// Whether a call came through the API server to our webhook, since the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// None was sent, or it says nothing about certificates.
    #[default]
    Untold,
    Passed,
    /// The API server did not accept our certificate.
    Refused,
}

/// What a step is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub now: i64,
    /// Every consumer was read, and holds this very bundle.
    pub published: bool,
    pub canary: Canary,
    /// A person's wish for another authority; one that was granted is none.
    pub wish: &'a str,
    /// Least time that an authority stays in the bundle after it has signed last; `None`: a day, and until the last leaf of
    /// it is over.
    pub retire_after: Option<i64>,
}

impl Book {
    /// A first authority, or one after all was lost.
    pub fn new<M: Mint>(mint: &M, generation: u64, now: i64) -> Result<Self, M::Error> {
        let authority = mint.authority(generation, now)?;
        Ok(Self {
            phase: Phase::Steady,
            since: now,
            hold: 0,
            granted: String::new(),
            leaf: mint.leaf(&authority, now)?,
            authority,
            next: None,
            before: None,
            retired: Vec::new(),
        })
    }

    /// What servers present: the leaf, then what leads from its authority to those before.
    pub fn chain(&self) -> String {
        let crosses = self.retired.iter().rev().map(|it| it.cross.as_str());
        std::iter::once(self.leaf.certificate.as_str()).chain(crosses).collect()
    }

    /// What callers are to trust.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().filter(|_| self.phase == Phase::Published);
        let retired = self.retired.iter().map(|it| it.certificate.as_str());
        let next = next.map(|it| it.authority.certificate.as_str());
        std::iter::once(self.authority.certificate.as_str()).chain(next).chain(retired).collect()
    }

    /// The next step, if one is due.
    pub fn due(&self, seen: &Seen<'_>) -> Option<Step> {
        let now = seen.now;
        if self.authority.life.is_over_or_to_come(now) {
            return Some(Step::Anew);
        }
        if self.phase == Phase::Switched && seen.canary == Canary::Refused {
            return Some(Step::Back);
        }
        if now < self.leaf.life.from || now >= self.leaf.life.renewal() {
            return Some(Step::Leaf);
        }
        if self.retired.iter().any(|it| it.until <= now) && self.phase != Phase::Switched {
            return Some(Step::Retire);
        }
        let wished = !seen.wish.is_empty() && seen.wish != self.granted;
        let old = now >= self.authority.life.renewal();
        let room = self.retired.len() < MOST_RETIRED;
        match self.phase {
            Phase::Steady => ((wished || old) && room).then_some(Step::Prepare),
            Phase::Prepared => Some(Step::Publish),
            Phase::Published => (seen.published && now >= self.hold).then_some(Step::Switch),
            Phase::Switched => {
                let told = seen.canary == Canary::Passed || now >= self.since + UNTOLD;
                told.then_some(Step::Confirm)
            }
        }
    }

    /// When time alone makes something due, at the earliest.
    pub fn wakes(&self) -> i64 {
        let retired = self.retired.iter().map(|it| it.until);
        let leaf = self.leaf.life.renewal();
        let authority = self.authority.life.renewal();
        let phase = match self.phase {
            Phase::Published => self.hold,
            Phase::Switched => self.since + UNTOLD,
            Phase::Steady | Phase::Prepared => i64::MAX,
        };
        let beyond = |it: &i64| *it > self.since;
        retired.chain([leaf, authority, phase]).filter(beyond).min().unwrap_or(leaf)
    }

    /// The Secret after a step.
    pub fn after<M: Mint>(&self, step: Step, seen: &Seen<'_>, mint: &M) -> Result<Self, M::Error> {
        let now = seen.now;
        let mut book = Self { since: now, ..self.clone() };
        match step {
            Step::Anew => {
                let last = self
                    .next
                    .as_ref()
                    .map_or(self.authority.generation, |it| it.authority.generation);
                book = Self { granted: seen.wish.into(), ..Self::new(mint, last + 1, now)? };
            }
            Step::Leaf => {
                book.since = self.since;
                book.leaf = mint.leaf(&self.authority, now)?;
            }
            Step::Prepare => {
                let authority = mint.authority(self.authority.generation + 1, now)?;
                let cross = mint.cross(&authority, &self.authority)?;
                book.next = Some(Next { authority, cross });
                book.granted = seen.wish.into();
                book.phase = Phase::Prepared;
            }
            Step::Publish => book.phase = Phase::Published,
            Step::Switch => book.switch(seen, mint)?,
            Step::Confirm => {
                book.before = None;
                book.phase = Phase::Steady;
            }
            Step::Back => book.back(now),
            Step::Retire => {
                book.since = self.since;
                book.retired.retain(|it| it.until > now);
            }
        }
        Ok(book)
    }

    fn switch<M: Mint>(&mut self, seen: &Seen<'_>, mint: &M) -> Result<(), M::Error> {
        let Some(Next { authority, cross }) = self.next.take() else { return Ok(()) };
        let leaf = mint.leaf(&authority, seen.now)?;
        let over = self.leaf.life.until.max(seen.now + 24 * 3600);
        let until = seen.retire_after.map_or(over, |it| seen.now + it);
        self.retired.push(Retired {
            certificate: self.authority.certificate.clone(),
            cross,
            until,
        });
        let before = std::mem::replace(&mut self.authority, authority);
        self.before = Some((before, std::mem::replace(&mut self.leaf, leaf)));
        self.phase = Phase::Switched;
        Ok(())
    }

    fn back(&mut self, now: i64) {
        if let (Some((authority, leaf)), Some(retired)) = (self.before.take(), self.retired.pop()) {
            let authority = std::mem::replace(&mut self.authority, authority);
            self.leaf = leaf;
            self.next = Some(Next { authority, cross: retired.cross });
        }
        self.phase = Phase::Published;
        self.hold = now + HOLD;
    }
}

#[cfg(test)]
mod tests {
    use super::{model::Numbers, *};

    const DAY: i64 = 24 * 3600;

    fn seen(now: i64) -> Seen<'static> {
        Seen { now, published: true, canary: Canary::Untold, wish: "", retire_after: None }
    }

    #[test]
    fn a_step_is_due_when_it_may_be_taken() {
        let steady = Book::new(&Numbers, 1, 0).unwrap();
        let wish = |now| Seen { wish: "now", ..seen(now) };
        let go = |book: &Book, step, seen: &Seen<'_>| book.after(step, seen, &Numbers).unwrap();
        let prepared = go(&steady, Step::Prepare, &wish(1));
        let published = go(&prepared, Step::Publish, &wish(2));
        let switched = go(&published, Step::Switch, &wish(3));
        let back = go(&switched, Step::Back, &wish(4));
        let confirmed = go(&switched, Step::Confirm, &wish(4));
        let unread = Seen { published: false, ..wish(3) };
        let canary = |canary| Seen { canary, ..wish(4) };
        #[rustfmt::skip]
        let table = [
            (&steady, seen(1), None, "all is well"),
            (&steady, wish(1), Some(Step::Prepare), "somebody wishes it"),
            (&steady, seen(4 * DAY), None, "the leaf is good for two thirds of a week"),
            (&steady, seen(5 * DAY), Some(Step::Leaf), "and is renewed then"),
            (&steady, seen(-1), Some(Step::Anew), "the clock was put back"),
            (&steady, seen(366 * DAY), Some(Step::Anew), "it went forward by a year"),
            (&prepared, wish(2), Some(Step::Publish), "nobody is asked"),
            (&published, unread, None, "somebody does not trust it yet"),
            (&published, wish(3), Some(Step::Switch), "everybody trusts it"),
            (&switched, canary(Canary::Untold), None, "whether it works is not known"),
            (&switched, canary(Canary::Passed), Some(Step::Confirm), "it works"),
            (&switched, canary(Canary::Refused), Some(Step::Back), "it does not"),
            (&switched, seen(3 + UNTOLD), Some(Step::Confirm), "no canary can be sent"),
            (&back, wish(5), None, "not at once again"),
            (&back, wish(4 + HOLD), Some(Step::Switch), "but once more"),
            (&confirmed, wish(5), None, "the wish was granted"),
            (&confirmed, seen(2 * DAY), None, "the old leaf may still be served"),
        ];
        for (book, seen, want, because) in table {
            assert_eq!(book.due(&seen), want, "{because}");
        }
        let renewed = go(&confirmed, Step::Leaf, &seen(6 * DAY));
        assert_eq!(renewed.due(&seen(8 * DAY)), Some(Step::Retire), "nothing of it is valid");
        assert_eq!(back.chain(), steady.chain(), "what was served is served again");
        assert!(back.wakes() > 4 && steady.wakes() > 4 * DAY && steady.wakes() < 5 * DAY);
    }

    #[test]
    fn no_more_than_five_wait_for_their_retirement() {
        let mut book = Book::new(&Numbers, 1, 0).unwrap();
        for round in 1..=8 {
            let wish = round.to_string();
            let seen = Seen { wish: &wish, canary: Canary::Passed, ..seen(round) };
            while let Some(step) = book.due(&seen) {
                book = book.after(step, &seen, &Numbers).unwrap();
            }
        }
        assert_eq!((book.retired.len(), book.authority.generation), (5, 6));
        assert_eq!(book.due(&Seen { wish: "more", ..seen(9) }), None);
    }
}
