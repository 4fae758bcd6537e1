//! Schedules by a seed: delays, lost answers, crashes, pauses, drifting clocks, stalled watches, edits by hand and changes of
//! the map, at random; then peace, in which every shard must find its owner.

use std::{collections::BTreeMap, time::Duration};

use super::{replica::Bugs, world::World};
use crate::domain::lease::Times;

const LIMIT: Duration = Duration::from_millis(1500);

/// What a schedule is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub bugs: Bugs,
    /// Clocks run between so many parts in a thousand as fast as time.
    pub rates: (u32, u32),
    /// Those of each replica.
    pub times: [Times; 3],
    pub faults: Duration,
    /// How long at most until every shard has an owner again.
    pub peace: Duration,
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Wake(usize, u64),
    Serve(u64),
    Answer(u64),
    Timeout(u64),
    Hear(usize),
    Map(usize),
    Work,
    Fault,
}

/// A generator of numbers: the same seed, the same schedule.
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % below
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }

    pub fn millis(&mut self, below: u64) -> Duration {
        Duration::from_micros(self.roll(below * 1000))
    }

    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap()
    }
}

pub struct Schedule {
    pub world: World,
    pub dice: Dice,
    pub setting: Setting,
    queue: BTreeMap<(Duration, u64), Event>,
    number: u64,
    /// Until when a seat is paused, and its watches say nothing.
    pub paused: Vec<Duration>,
    pub deaf: Vec<Duration>,
    pub blind: Vec<Duration>,
    pub away: Duration,
    pub turns: Vec<u64>,
    pub told: Vec<String>,
}

/// Runs one schedule; an error is its story and what was broken.
pub fn run(seed: u64, setting: Setting) -> Result<(), String> {
    let mut dice = Dice(seed);
    let (low, high) = setting.rates;
    let rates: Vec<u32> = (0..3).map(|_| if dice.one_in(2) { low } else { high }).collect();
    let world = World::new(4, 8, &rates, setting.bugs, setting.times);
    let zero = vec![Duration::ZERO; 3];
    let mut it = Schedule {
        world,
        dice,
        setting,
        queue: BTreeMap::new(),
        number: 0,
        paused: zero.clone(),
        deaf: zero.clone(),
        blind: zero,
        away: Duration::ZERO,
        turns: vec![0; 3],
        told: vec![format!("clocks run at {rates:?}")],
    };
    for at in 0..3 {
        it.world.relist(at);
        it.world.hear_map(at);
        it.later(Duration::ZERO, Event::Wake(at, 0));
    }
    it.later(Duration::from_secs(5), Event::Fault);
    it.later(Duration::from_secs(1), Event::Work);
    it.play().map_err(|what| format!("seed {seed}: {what}\n{}", it.told.join("\n")))
}

impl Schedule {
    pub fn later(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.queue.insert((self.world.now + wait, self.number), event);
    }

    fn in_peace(&self) -> bool {
        self.world.now >= self.setting.faults
    }

    fn play(&mut self) -> Result<(), String> {
        let (mut heard, mut healed) = (0, false);
        let end = self.setting.faults + self.setting.peace;
        while let Some(((at, number), event)) = self.queue.pop_first() {
            if at >= self.setting.faults && !healed {
                self.world.now = self.setting.faults;
                healed = true;
                self.heal();
            }
            self.world.now = self.world.now.max(at);
            if self.world.now > end {
                break;
            }
            self.happens(event, number);
            let log = self.world.storage.log.len() + self.world.maps.len();
            if log > heard {
                heard = log;
                for seat in 0..3 {
                    let slow = if self.in_peace() { 20 } else { 60 };
                    let (hear, map) = (self.dice.millis(slow), self.dice.millis(slow));
                    self.later(hear, Event::Hear(seat));
                    self.later(map, Event::Map(seat));
                }
            }
            if let Some(what) = self.world.storage.broken.first() {
                return Err(format!("after {:?}: {what}", self.world.now));
            }
        }
        self.all_owned()
    }

    /// Whether every namespace has its owner.
    fn all_owned(&self) -> Result<(), String> {
        let Some(map) = self.world.maps.last() else { return Ok(()) };
        for namespace in 0..self.world.namespaces.len() {
            if self.world.owners(namespace).is_empty() {
                let shard = map.shard_of(&self.world.namespaces[namespace]).unwrap();
                let lease = self.world.storage.shard(shard);
                let peace = self.setting.peace;
                return Err(format!(
                    "namespace {namespace} of shard {shard} has no owner after {peace:?} of peace: {lease:?}"
                ));
            }
        }
        Ok(())
    }

    pub fn wake(&mut self, at: usize) {
        let (sent, again) = self.world.wake(at);
        self.turns[at] += 1;
        if again < Duration::MAX {
            self.later(again, Event::Wake(at, self.turns[at]));
        }
        for id in sent {
            self.sends(id);
        }
    }

    fn sends(&mut self, id: u64) {
        let away = self.world.now < self.away && !self.in_peace();
        let slow = if self.in_peace() || !self.dice.one_in(12) { 20 } else { 4000 };
        let there = self.dice.millis(slow);
        let back = there + self.dice.millis(slow);
        if !away && (self.in_peace() || !self.dice.one_in(40)) {
            self.later(there, Event::Serve(id));
            if self.in_peace() || !self.dice.one_in(40) {
                self.later(back, Event::Answer(id));
            }
        }
        let rate = self.world.seats[self.world.wire[&id].seat].clock.rate;
        self.later(LIMIT * 1000 / rate, Event::Timeout(id));
    }

    fn happens(&mut self, event: Event, number: u64) {
        let seat = match event {
            Event::Wake(at, _) | Event::Hear(at) | Event::Map(at) => Some(at),
            Event::Answer(id) | Event::Timeout(id) => self.world.wire.get(&id).map(|it| it.seat),
            _ => None,
        };
        // Who is paused does it when he goes on, in the same order.
        if let Some(until) = seat.map(|it| self.paused[it]).filter(|it| *it > self.world.now) {
            self.queue.insert((until, number), event);
            return;
        }
        match event {
            Event::Wake(at, turn) if turn == self.turns[at] => self.wake(at),
            Event::Wake(..) => {}
            Event::Serve(id) => self.world.serve(id),
            Event::Answer(id) | Event::Timeout(id) => {
                if seat.is_none() {
                    return;
                }
                self.world.answer(id, matches!(event, Event::Timeout(_)));
                seat.into_iter().for_each(|it| self.wake(it));
            }
            Event::Hear(at) => self.hear(at),
            Event::Map(at) => {
                let known = self.world.seats[at].maps_heard == self.world.maps.len();
                if self.world.now >= self.blind[at] && !known {
                    self.world.hear_map(at);
                    self.wake(at);
                }
            }
            Event::Work => self.work(),
            Event::Fault => self.fault(),
        }
    }

    fn hear(&mut self, at: usize) {
        let known = self.world.seats[at].heard == self.world.storage.log.len();
        if self.world.now < self.deaf[at] || known {
            return;
        }
        self.world.hear(at);
        self.wake(at);
    }

    /// Somebody looks at an object and begins to write it.
    fn work(&mut self) {
        let (at, namespace) = (self.dice.index(3), self.dice.index(self.world.namespaces.len()));
        let version = self.world.storage.objects[namespace].version;
        let seat = &mut self.world.seats[at];
        if seat.alive && self.paused[at] <= self.world.now {
            seat.replica.work(namespace, version, seat.clock.shows(self.world.now));
            self.wake(at);
        }
        let pause = Duration::from_millis(20) + self.dice.millis(200);
        self.later(pause, Event::Work);
    }
}
