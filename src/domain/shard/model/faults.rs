//! What goes wrong in a schedule, and what people do.

use super::{
    random::{Event, Schedule},
    storage::{Kept, Name},
};
use crate::domain::shard::ShardId;
use std::time::Duration;

impl Schedule {
    pub fn fault(&mut self) {
        let at = self.dice.index(3);
        let now = self.world.now;
        let long = Duration::from_secs(1 + self.dice.roll(25));
        let kind = self.dice.roll(12);
        match kind {
            0 => {
                let same = self.dice.one_in(2);
                self.restart(at, same);
            }
            1 => self.paused[at] = now + long,
            2 => self.deaf[at] = now + long,
            3 => self.blind[at] = now + long,
            4 => self.away = now + long,
            5 => {
                self.world.seats[at].replica.own.draining = {
                    let seat = &self.world.seats[at];
                    Some(seat.clock.shows(now))
                }
            }
            6 => {
                let (low, high) = self.setting.rates;
                let rate = if self.dice.one_in(2) { low } else { high };
                self.world.seats[at].clock.turns(now, rate);
            }
            7 => self.world.relist(at),
            8 | 9 => self.edit(),
            _ => self.change(),
        }
        self.told.push(format!("{now:?}: fault {kind} of {at} for {long:?}"));
        self.restart_ended();
        let pause = self.dice.millis(6000);
        if self.world.now + pause < self.setting.faults {
            self.later(pause, Event::Fault);
        }
    }

    fn restart(&mut self, at: usize, same_pod: bool) {
        self.world.restart(at, same_pod);
        self.paused[at] = Duration::ZERO;
        self.world.relist(at);
        self.world.hear_map(at);
        self.turns[at] += 1;
        let wait = self.dice.millis(2000);
        self.later(wait, Event::Wake(at, self.turns[at]));
    }

    fn restart_ended(&mut self) {
        for at in 0..3 {
            if !self.world.seats[at].alive {
                self.restart(at, false);
            }
        }
    }

    /// Somebody deletes or edits a Lease by hand.
    fn edit(&mut self) {
        let names: Vec<Name> = self.world.storage.leases.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.dice.index(names.len())].clone();
        let session = self.world.seats[self.dice.index(3)].replica.holder();
        let kind = self.dice.roll(7);
        self.told.push(format!("{:?}: edit {kind} of {name}", self.world.now));
        let mut kept = self.world.storage.leases[&name].clone();
        match kind {
            0 | 1 => return self.world.storage.loses(&name),
            6 => {
                // With the session of its owner.
                if let Kept::Shard(_, it) = &kept {
                    self.world.storage.loses(&it.session);
                }
                return self.world.storage.loses(&name);
            }
            2 => kept.record_mut().holder = None,
            3 => kept.record_mut().holder = Some("somebody".into()),
            4 => kept.record_mut().holder = Some(session.to_string()),
            _ => {
                let log = self.world.storage.log.iter().rev().filter(|it| it.0 == name);
                let older = log.filter_map(|it| it.1.clone()).nth(1).unwrap_or(kept);
                return self.world.storage.puts_back(&name, older);
            }
        }
        if let (Kept::Shard(_, it), 2..=4) = (&mut kept, kind) {
            (it.edited, it.released) = (true, false);
        }
        self.world.storage.keep(&name, kept);
    }

    /// Somebody changes the map.
    fn change(&mut self) {
        let shards: Vec<ShardId> = self.world.maps.last().unwrap().active().collect();
        let (a, b) = (self.dice.index(shards.len()), self.dice.index(shards.len()));
        let (a, b) = (shards[a], shards[b]);
        let name = self.world.namespaces[self.dice.index(self.world.namespaces.len())].clone();
        let kind = self.dice.roll(4);
        let done = self.world.publish(|map| match kind {
            0 if shards.len() < 6 => map.split(a),
            1 => map.merge(a, b),
            2 => map.pin(&name, b),
            _ => map.unpin(&name).or_else(|_| map.pin(&name, a)),
        });
        let map = self.world.maps.last().unwrap();
        if done {
            let moves: Vec<_> = map.moves().iter().map(|it| (it.from, it.to)).collect();
            self.told.push(format!("{:?}: map {} {moves:?}", self.world.now, map.version()));
        }
    }

    /// From now on nothing fails any more.
    pub fn heal(&mut self) {
        let now = self.world.now;
        self.told.push(format!("{now:?}: peace"));
        let lost: Vec<u64> =
            self.world.wire.iter().filter(|(_, it)| it.what.is_none()).map(|it| *it.0).collect();
        for id in lost {
            self.world.wire.remove(&id);
        }
        for at in 0..3 {
            if self.world.seats[at].replica.own.draining.is_some() {
                self.restart(at, false);
            }
            (self.paused[at], self.deaf[at], self.blind[at]) = (now, now, now);
            self.world.relist(at);
            self.world.hear_map(at);
            self.wake(at);
        }
    }
}
