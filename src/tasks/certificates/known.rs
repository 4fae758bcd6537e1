//! What the keeper of certificates knows at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cluster::certificates::{Consumer, Kept, News},
    domain::certificates::{Book, Canary},
};

/// Writes of the same bundle into the same consumer within [`FIGHT`] until it counts as a fight with somebody else.
const ROUNDS: usize = 3;
const FIGHT: Duration = Duration::from_secs(60);

/// What is known at a time.
#[derive(Default)]
pub struct Known {
    pub kept: Option<Kept>,
    pub consumers: BTreeMap<Consumer, Heard>,
    /// The last book that could be used, and what of it is served.
    pub good: Option<Book>,
    pub served: String,
    /// How many callers had not trusted what was served before that.
    pub alerts: u64,
    pub canary: Canary,
    fights: BTreeMap<Consumer, (String, VecDeque<Instant>)>,
    /// What is wrong, as of this look.
    pub problem: Option<(&'static str, String)>,
}

/// What is known of a consumer.
pub enum Heard {
    Nothing,
    Gone,
    There(Value),
}

impl Known {
    /// Nothing yet, of anybody who is to be told.
    pub fn nothing(consumers: &[Consumer]) -> Self {
        let consumers = consumers.iter().map(|it| (it.clone(), Heard::Nothing)).collect();
        Self { consumers, ..Self::default() }
    }

    pub fn hear(&mut self, news: News) {
        match news {
            News::Kept(kept) => {
                // A canary tells of the book that it was sent under.
                if self.kept.as_ref().is_none_or(|it| it.book != kept.book) {
                    self.canary = Canary::Untold;
                }
                self.kept = Some(*kept);
            }
            News::Consumer(consumer, object) => {
                let heard = object.map_or(Heard::Gone, Heard::There);
                self.consumers.insert(consumer, heard);
            }
        }
    }

    pub fn problem(&mut self, reason: &'static str, text: &str) {
        self.problem = Some((reason, text.to_owned()));
    }

    /// Whether this very bundle was written there again and again. Only what was written counts: replicas that come second
    /// fight nobody.
    pub fn fight(&mut self, consumer: &Consumer, bundle: &str) -> bool {
        let (last, rounds) = self.fights.entry(consumer.clone()).or_default();
        if last != bundle {
            bundle.clone_into(last);
            rounds.clear();
        }
        while rounds.front().is_some_and(|it| it.elapsed() > FIGHT) {
            rounds.pop_front();
        }
        rounds.len() >= ROUNDS
    }

    pub fn won(&mut self, consumer: &Consumer) {
        self.fights.entry(consumer.clone()).or_default().1.push_back(Instant::now());
    }
}
