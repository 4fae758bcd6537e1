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
/// After how long a step is taken where no canary tells whether calls come through, in seconds.
const UNTOLD: i64 = 60;
/// How long nothing is switched after a switch was taken back, in seconds.
const HOLD: i64 = 600;
/// How long a switch is watched until it is confirmed, in seconds: on any replica, a caller that does not take the new
/// certificate has it taken back until then.
pub const SETTLE: i64 = 30;
/// So many switches of one authority are taken back on a caller's word alone: callers are anybody.
const BELIEVED: u32 = 3;
/// By how many seconds the clocks of replicas may differ. A certificate that begins later than that is of no use; one that
/// begins sooner was made by a clock that is ahead of this one, and API servers go by theirs.
const SKEW: i64 = 24 * 3600;

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
    /// Switches that were taken back since the last one that was not.
    #[serde(default)]
    pub backs: u32,
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

/// Whether a call came through the API server to our webhook, under what the Secret holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// None was sent, or it says nothing about certificates.
    #[default]
    Untold,
    Passed,
    /// The API server did not accept our certificate.
    Refused,
}

impl Canary {
    /// By the API server's words on a call that did not end well. Others have webhooks too, with certificates of their own:
    /// what becomes of theirs says nothing of ours.
    pub fn told(words: &str) -> Self {
        let webhook = ["mpolecat.kb.io", "vpolecat.kb.io"].iter().find(|it| words.contains(**it));
        let ours =
            webhook.is_some() || words.contains("conversion webhook for gastown.gastown.io/");
        if ours && words.contains("x509:") {
            Self::Refused
        } else if ours && words.contains(" denied the request") {
            // By us: the call came through.
            Self::Passed
        } else {
            Self::Untold
        }
    }
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
    /// Seconds that a switch is watched; [`SETTLE`].
    pub settle: i64,
}

impl Book {
    /// A first authority, or one after all was lost.
    pub fn new<M: Mint>(mint: &M, generation: u64, now: i64) -> Result<Self, M::Error> {
        let authority = mint.authority(generation, now)?;
        Ok(Self {
            phase: Phase::Steady,
            since: now,
            hold: 0,
            backs: 0,
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

    /// When what is kept is judged: now, or by a clock that is a little behind as soon as it is valid.
    pub fn judged_at(&self, now: i64) -> i64 {
        let from = self.authority.life.from.max(self.leaf.life.from);
        if now < from && from - now <= SKEW { from } else { now }
    }

    /// Whether a caller's word is enough to take a switch back.
    pub const fn believes_callers(&self) -> bool {
        self.backs < BELIEVED
    }

    /// Until when, at the least, another authority that somebody wishes waits for one of those before it to retire.
    pub fn has_no_room_until(&self, seen: &Seen<'_>) -> Option<i64> {
        let full = self.retired.len() >= MOST_RETIRED && self.is_wished(seen);
        self.retired.iter().map(|it| it.until).min().filter(|_| full)
    }

    fn is_wished(&self, seen: &Seen<'_>) -> bool {
        !seen.wish.is_empty() && seen.wish != self.granted
    }

    /// Whether a switch has been watched for long enough, but for a last call that comes through.
    pub fn has_settled(&self, seen: &Seen<'_>) -> bool {
        self.phase == Phase::Switched && seen.now >= self.since + seen.settle
    }

    /// The next step, if one is due.
    pub fn due(&self, seen: &Seen<'_>) -> Option<Step> {
        let now = self.judged_at(seen.now);
        if self.authority.life.is_over_or_to_come(now) {
            return Some(Step::Anew);
        }
        if self.phase == Phase::Switched && seen.canary == Canary::Refused {
            return Some(Step::Back);
        }
        if now < self.leaf.life.from || now >= self.leaf.life.renewal() {
            return Some(Step::Leaf);
        }
        self.following(seen).filter(|step| self.comes_through(*step, seen))
    }

    /// Whether all that the next step waits for is a canary that comes through.
    pub fn awaits_canary(&self, seen: &Seen<'_>) -> bool {
        let passed = Seen { canary: Canary::Passed, ..*seen };
        let gated = self.due(&passed).is_some_and(|it| self.following(&passed) == Some(it));
        // After a switch one goes at once as well, so that it is soon taken back where it has to be.
        (gated || self.phase == Phase::Switched)
            && match seen.canary {
                Canary::Untold => true,
                // After a switch one word is enough, and it is taken back.
                Canary::Refused => self.phase != Phase::Switched,
                Canary::Passed => false,
            }
    }

    /// The step of a transition that comes next, if its time has come.
    fn following(&self, seen: &Seen<'_>) -> Option<Step> {
        let now = seen.now;
        if self.retired.iter().any(|it| it.until <= now) && self.phase != Phase::Switched {
            return Some(Step::Retire);
        }
        let old = now >= self.authority.life.renewal();
        let room = self.retired.len() < MOST_RETIRED;
        match self.phase {
            Phase::Steady => ((self.is_wished(seen) || old) && room).then_some(Step::Prepare),
            Phase::Prepared => Some(Step::Publish),
            Phase::Published => (seen.published && now >= self.hold).then_some(Step::Switch),
            Phase::Switched => self.has_settled(seen).then_some(Step::Confirm),
        }
    }

    /// Whether calls come through as things are: nothing is begun, and nothing taken away, where an API server is known not to
    /// take what is served.
    fn comes_through(&self, step: Step, seen: &Seen<'_>) -> bool {
        let over = self.retired.iter().map(|it| it.until).filter(|it| *it <= seen.now).min();
        let since = over.filter(|_| step == Step::Retire).unwrap_or(self.since);
        match seen.canary {
            Canary::Passed => true,
            Canary::Refused => false,
            Canary::Untold => seen.now >= since + UNTOLD,
        }
    }

    /// When time alone makes something due, at the earliest, where switches are watched for so many seconds.
    pub fn wakes(&self, settle: i64) -> i64 {
        let retired = self.retired.iter().map(|it| it.until);
        let leaf = self.leaf.life.renewal();
        let authority = self.authority.life.renewal();
        let phase = match self.phase {
            Phase::Published => self.hold.max(self.since + UNTOLD),
            Phase::Prepared => self.since + UNTOLD,
            Phase::Switched => self.since + settle,
            Phase::Steady => i64::MAX,
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
                book.backs = 0;
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
        self.backs += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{model::Numbers, *};

    const DAY: i64 = 24 * 3600;

    fn seen(now: i64) -> Seen<'static> {
        let (canary, wish) = (Canary::Untold, "");
        Seen { now, published: true, canary, wish, retire_after: None, settle: SETTLE }
    }

    #[test]
    fn a_step_is_due_when_it_may_be_taken() {
        let steady = Book::new(&Numbers, 1, 0).unwrap();
        let wish = |now| Seen { wish: "now", canary: Canary::Passed, ..seen(now) };
        let go = |book: &Book, step, seen: &Seen<'_>| book.after(step, seen, &Numbers).unwrap();
        let prepared = go(&steady, Step::Prepare, &wish(1));
        let published = go(&prepared, Step::Publish, &wish(2));
        let switched = go(&published, Step::Switch, &wish(3));
        let back = go(&switched, Step::Back, &wish(4));
        let confirmed = go(&switched, Step::Confirm, &wish(3 + SETTLE));
        let renewed = go(&confirmed, Step::Leaf, &seen(6 * DAY));
        let unread = Seen { published: false, ..wish(3) };
        let told = |canary, now| Seen { canary, ..wish(now) };
        let (passed, refused, untold) = (Canary::Passed, Canary::Refused, Canary::Untold);
        let later = 3 + 7 * DAY;
        #[rustfmt::skip]
        let table = [
            (&steady, seen(1), None, "all is well"),
            (&steady, wish(1), Some(Step::Prepare), "somebody wishes it"),
            (&steady, told(refused, 1), None, "but calls do not come through"),
            (&steady, seen(4 * DAY), None, "the leaf is good for two thirds of a week"),
            (&steady, seen(5 * DAY), Some(Step::Leaf), "and is renewed then"),
            (&steady, seen(-1), None, "the clock is behind that of who made it"),
            (&steady, seen(-DAY), None, "by a day at most"),
            (&steady, seen(-DAY - 1), Some(Step::Anew), "it was put back"),
            (&steady, seen(366 * DAY), Some(Step::Anew), "it went forward by a year"),
            (&prepared, told(untold, 2), None, "whether calls come through is not known"),
            (&prepared, wish(2), Some(Step::Publish), "they do"),
            (&prepared, told(untold, 1 + UNTOLD), Some(Step::Publish), "no canary can be sent"),
            (&prepared, told(refused, 1 + UNTOLD), None, "they do not"),
            (&published, unread, None, "somebody does not trust it yet"),
            (&published, told(untold, 3), None, "everybody does, but no call tells"),
            (&published, wish(3), Some(Step::Switch), "a call comes through"),
            (&published, told(untold, 2 + UNTOLD), Some(Step::Switch), "no canary can be sent"),
            (&published, told(refused, 2 + UNTOLD), None, "what is served now is not taken"),
            (&switched, told(untold, 4), None, "whether it works is not known"),
            (&switched, told(passed, 2 + SETTLE), None, "it seems to work"),
            (&switched, told(refused, 2 + SETTLE), Some(Step::Back), "but it does not everywhere"),
            (&switched, told(untold, 3 + SETTLE), None, "whether it works still is not known"),
            (&switched, told(passed, 3 + SETTLE), Some(Step::Confirm), "it works"),
            (&switched, told(refused, 4), Some(Step::Back), "it does not"),
            (&switched, seen(3 + UNTOLD), Some(Step::Confirm), "no canary can be sent"),
            (&back, wish(5), None, "not at once again"),
            (&back, wish(4 + HOLD), Some(Step::Switch), "but once more"),
            (&confirmed, wish(5), None, "the wish was granted"),
            (&renewed, told(untold, later), None, "it may go, but no call tells"),
            (&renewed, told(passed, later), Some(Step::Retire), "nobody misses it"),
            (&renewed, told(untold, later + UNTOLD), Some(Step::Retire), "no canary can be sent"),
            (&renewed, told(refused, later + UNTOLD), None, "it may be what somebody goes by"),
            (&confirmed, seen(2 * DAY), None, "the old leaf may still be served"),
        ];
        for (book, seen, want, because) in table {
            assert_eq!(book.due(&seen), want, "{because}");
        }
        assert_eq!(renewed.due(&seen(8 * DAY)), Some(Step::Retire), "nothing of it is valid");
        assert_eq!(back.chain(), steady.chain(), "what was served is served again");
        let wakes = |it: &Book| it.wakes(SETTLE);
        assert!(wakes(&back) > 4 && wakes(&steady) > 4 * DAY && wakes(&steady) < 5 * DAY);
        assert_eq!(wakes(&switched), 3 + SETTLE, "when it has been watched for long enough");
        assert_eq!(steady.judged_at(-5), 0, "as soon as it is valid");
        assert_eq!((steady.judged_at(7), steady.judged_at(-2 * DAY)), (7, -2 * DAY));
    }

    #[test]
    fn callers_alone_do_not_take_switches_back_without_end() {
        let wish = |now| Seen { wish: "now", canary: Canary::Passed, ..seen(now) };
        let go = |book: &Book, step, seen: &Seen<'_>| book.after(step, seen, &Numbers).unwrap();
        let steady = Book::new(&Numbers, 1, 0).unwrap();
        let published = go(&go(&steady, Step::Prepare, &wish(1)), Step::Publish, &wish(2));
        let again = |it: &Book| go(&go(it, Step::Switch, &wish(9)), Step::Back, &wish(9));
        let twice = again(&again(&published));
        let thrice = again(&twice);
        assert!(twice.believes_callers() && !thrice.believes_callers(), "callers are anybody");
        let confirmed = go(&go(&thrice, Step::Switch, &wish(9)), Step::Confirm, &wish(9 + SETTLE));
        assert!(confirmed.believes_callers(), "until one is not taken back");
    }

    #[test]
    fn what_an_api_server_says_tells_whether_it_takes_what_we_serve() {
        let x509 =
            "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        let failed = |name: &str| format!("failed calling webhook \"{name}\": {x509}");
        let denied = |name: &str| format!("admission webhook \"{name}\" denied the request: no");
        let converted = format!(
            "conversion webhook for gastown.gastown.io/v1alpha1, Kind=Polecat failed: {x509}"
        );
        let table = [
            (failed("vpolecat.kb.io"), Canary::Refused),
            (converted, Canary::Refused),
            (denied("vpolecat.kb.io"), Canary::Passed),
            (failed("theirs.example.com"), Canary::Untold),
            (denied("theirs.example.com"), Canary::Untold),
            (
                "failed calling webhook \"vpolecat.kb.io\": connection refused".into(),
                Canary::Untold,
            ),
        ];
        for (words, want) in table {
            assert_eq!(Canary::told(&words), want, "{words}");
        }
    }

    #[test]
    fn a_canary_is_sent_for_every_step_of_a_transition_and_for_nothing_else() {
        let mut book = Book::new(&Numbers, 1, 0).unwrap();
        let at = |now, canary, wish| Seen { canary, wish, ..seen(now) };
        let mut gated = Vec::new();
        assert!(!book.awaits_canary(&at(1, Canary::Untold, "")), "nothing is to be done");
        for time in [2, 3, 4, 4 + SETTLE, 6 * DAY, 8 * DAY] {
            let (untold, passed) = (at(time, Canary::Untold, "a"), at(time, Canary::Passed, "a"));
            let step = book.due(&passed).unwrap();
            if book.awaits_canary(&untold) {
                assert!(!book.awaits_canary(&passed), "it is known");
                gated.push(step);
            }
            book = book.after(step, &passed, &Numbers).unwrap();
        }
        let all = [Step::Prepare, Step::Publish, Step::Switch, Step::Confirm, Step::Retire];
        assert_eq!(gated, all, "another leaf waits for nobody");
        assert!(book.retired.is_empty());
    }

    #[test]
    fn no_more_than_five_wait_for_their_retirement() {
        let mut book = Book::new(&Numbers, 1, 0).unwrap();
        for round in 1..=8 {
            let wish = round.to_string();
            let seen = Seen { wish: &wish, canary: Canary::Passed, ..seen(round) };
            let seen = Seen { settle: 0, ..seen };
            while let Some(step) = book.due(&seen) {
                book = book.after(step, &seen, &Numbers).unwrap();
            }
            let first = book.retired.first().map(|it| it.until);
            assert_eq!(book.has_no_room_until(&seen), first.filter(|_| round > 5), "{round}");
        }
        assert_eq!((book.retired.len(), book.authority.generation), (5, 6));
        let more = |now| Seen { wish: "more", canary: Canary::Passed, ..seen(now) };
        assert_eq!(book.due(&more(9)), None);
        assert_eq!(book.has_no_room_until(&Seen { wish: "", ..seen(9) }), None, "nobody waits");
        assert_eq!(book.has_no_room_until(&Seen { wish: "5", ..seen(9) }), None, "it was granted");
        let until = book.has_no_room_until(&more(9)).unwrap();
        book = book.after(Step::Leaf, &more(until - 1), &Numbers).unwrap();
        assert_eq!(book.due(&more(until)), Some(Step::Retire), "there is room, as was said");
        book = book.after(Step::Retire, &more(until), &Numbers).unwrap();
        assert_eq!(book.has_no_room_until(&more(until)), None);
        assert_eq!(book.due(&more(until)), Some(Step::Prepare));
    }
}
