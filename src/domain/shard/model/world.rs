//! Replicas with clocks of their own, requests and answers on their way, and what must never be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    replica::{Bugs, For, Replica},
    storage::{Answer, Kept, Name, Object, Op, Storage},
};
use crate::domain::{
    lease::{Memory, Times},
    shard::{
        Map,
        protocol::Own,
        seen::{Says, View},
    },
};

/// A clock that runs so many parts in a thousand as fast as time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub rate: u32,
    at: Duration,
    shows: Duration,
}

impl Clock {
    pub fn new(shows: Duration, rate: u32) -> Self {
        Self { rate, at: Duration::ZERO, shows }
    }

    pub fn shows(&self, now: Duration) -> Duration {
        self.shows + now.saturating_sub(self.at) * self.rate / 1000
    }

    /// From now on it runs faster or slower.
    pub fn turns(&mut self, now: Duration, rate: u32) {
        *self = Self { rate, at: now, shows: self.shows(now) };
    }
}

#[derive(Clone, Debug)]
pub struct Seat {
    pub replica: Replica,
    pub clock: Clock,
    pub alive: bool,
    /// Which process of this seat it is: answers to another are nobody's.
    pub life: u32,
    pub heard: usize,
    pub maps_heard: usize,
}

/// A request, until its answer was delivered or given up.
#[derive(Clone, Debug)]
pub struct Sent {
    pub seat: usize,
    pub life: u32,
    pub op: Op,
    pub what: Option<For>,
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub now: Duration,
    pub storage: Storage,
    pub seats: Vec<Seat>,
    pub maps: Vec<Arc<Map>>,
    pub wire: BTreeMap<u64, Sent>,
    pub namespaces: Arc<Vec<String>>,
    sent: u64,
    pods: u32,
}

impl World {
    /// Nobody is there yet. Clocks show something different each, and run at these rates.
    pub fn new(
        shards: u16,
        namespaces: usize,
        rates: &[u32],
        bugs: Bugs,
        times: [Times; 3],
    ) -> Self {
        let names: Arc<Vec<String>> =
            Arc::new((0..namespaces).map(|it| format!("rig-{it}")).collect());
        let storage =
            Storage { objects: vec![Object::default(); namespaces], ..Storage::default() };
        let seat = |(at, (rate, times)): (usize, (&u32, Times))| Seat {
            replica: replica(&format!("p{at}_0_"), 0, times, bugs, &names),
            clock: Clock::new(Duration::from_secs(1000 * (at as u64 + 1)), *rate),
            alive: true,
            life: 0,
            heard: 0,
            maps_heard: 0,
        };
        let mut seats: Vec<_> = rates.iter().zip(times).enumerate().map(seat).collect();
        seats[0].replica.own.founder = true;
        let maps = vec![Arc::new(Map::first(shards))];
        let (now, wire) = (Duration::ZERO, BTreeMap::new());
        Self { now, storage, seats, maps, wire, namespaces: names, sent: 0, pods: 0 }
    }

    /// Lets a replica decide; returns the requests that it sends, and when it looks again.
    pub fn wake(&mut self, at: usize) -> (Vec<u64>, Duration) {
        let seat = &mut self.seats[at];
        if !seat.alive {
            return (Vec::new(), Duration::MAX);
        }
        let now = seat.clock.shows(self.now);
        let again = seat.replica.turn(now);
        let (out, life) = (std::mem::take(&mut seat.replica.out), seat.life);
        let wait = again.saturating_sub(now).max(Duration::from_millis(1)) * 1000 / seat.clock.rate;
        let first = self.sent;
        for (op, what) in out {
            let sent = Sent { seat: at, life, op, what: Some(what), answer: None };
            self.wire.insert(self.sent, sent);
            self.sent += 1;
        }
        if self.seats[at].replica.ended && !self.wire.values().any(|it| it.seat == at) {
            self.seats[at].alive = false;
        }
        self.judge();
        ((first..self.sent).collect(), wait)
    }

    /// The API server takes a request in.
    pub fn serve(&mut self, id: u64) {
        let Some(sent) = self.wire.get_mut(&id).filter(|it| it.answer.is_none()) else { return };
        let answer = self.storage.serve(&sent.op);
        sent.answer = Some(answer);
        if sent.what.is_none() {
            self.wire.remove(&id);
        }
    }

    /// A replica gets its answer, or has waited for it long enough.
    pub fn answer(&mut self, id: u64, late: bool) {
        let Some(sent) = self.wire.get_mut(&id) else { return };
        let (Some(what), at, life) = (sent.what.take(), sent.seat, sent.life) else { return };
        let answer = sent.answer.clone();
        if answer.is_some() {
            self.wire.remove(&id);
        }
        let answer = answer.filter(|_| !late).unwrap_or(Answer::Unknown);
        let seat = &mut self.seats[at];
        if seat.life == life && seat.alive {
            seat.replica.answered(what, answer, seat.clock.shows(self.now));
        }
    }

    /// A replica hears what its watches have for it.
    pub fn hear(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let now = seat.clock.shows(self.now);
        for (name, kept) in &self.storage.log[seat.heard..] {
            match kept {
                Some(it) => seat.replica.see(name, it.clone(), now),
                None => seat.replica.miss(name, now),
            }
        }
        seat.heard = self.storage.log.len();
    }

    /// Its watch begins anew, with a list of what there is.
    pub fn relist(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let all: Vec<(Name, Kept)> =
            self.storage.leases.iter().map(|(name, it)| (name.clone(), it.clone())).collect();
        seat.replica.hear_all(all, seat.clock.shows(self.now));
        seat.heard = self.storage.log.len();
    }

    pub fn hear_map(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let now = seat.clock.shows(self.now);
        if let Some(map) = self.maps.last() {
            seat.replica.hear_map(map, now);
            seat.maps_heard = self.maps.len();
        }
    }

    /// The process of a seat ends at once; another begins, in the same pod or in a new one.
    pub fn restart(&mut self, at: usize, same_pod: bool) {
        let seat = &mut self.seats[at];
        let old = &seat.replica;
        let (times, bugs, process) = (old.times, old.bugs, old.process + 1);
        self.pods += u32::from(!same_pod);
        let pod = if same_pod { old.pod.to_string() } else { format!("p{at}_{}_", self.pods) };
        seat.replica = replica(&pod, process, times, bugs, &self.namespaces);
        (seat.alive, seat.life, seat.maps_heard) = (true, seat.life + 1, 0);
    }

    /// The next map, if the last one was acknowledged.
    pub fn publish(&mut self, change: impl FnOnce(&Map) -> Result<Map, String>) -> bool {
        let Some(map) = self.maps.last() else { return false };
        let behind = |it| self.storage.shard(it).is_none_or(|it| it.map < map.version());
        if map.givers().into_iter().any(behind) {
            return false;
        }
        let Ok(next) = change(map) else { return false };
        self.maps.push(Arc::new(next));
        true
    }

    /// Who believes to own a namespace now.
    pub fn owners(&self, namespace: usize) -> Vec<usize> {
        let owns = |seat: &Seat| {
            let now = seat.clock.shows(self.now);
            seat.alive && seat.replica.may_work(namespace, now).is_some()
        };
        let all = self.seats.iter().enumerate().filter(|(_, it)| owns(it));
        all.map(|(at, _)| at).collect()
    }

    fn judge(&mut self) {
        for namespace in 0..self.namespaces.len() {
            let owners = self.owners(namespace);
            if owners.len() > 1 {
                let named: Vec<_> =
                    owners.iter().map(|it| self.seats[*it].replica.holder()).collect();
                self.storage.broken.push(format!("namespace {namespace} is owned by {named:?}"));
            }
        }
    }
}

fn replica(
    pod: &str,
    process: u32,
    times: Times,
    bugs: Bugs,
    namespaces: &Arc<Vec<String>>,
) -> Replica {
    Replica {
        pod: pod.into(),
        process,
        lease: format!("session-{pod}").into(),
        times,
        bugs,
        view: View::default(),
        own: Own::default(),
        memory: Memory::default(),
        session: 1,
        writes: 0,
        said: Vec::new(),
        published: Says::default(),
        renewing: false,
        next: Duration::ZERO,
        accepted: None,
        map: None,
        listed: false,
        mourning: false,
        until: None,
        open: BTreeMap::new(),
        opening: BTreeMap::new(),
        unsaid: BTreeMap::new(),
        taking: BTreeSet::new(),
        pending: BTreeMap::new(),
        closing: BTreeMap::new(),
        passes: Vec::new(),
        held_back: Vec::new(),
        warm: BTreeSet::new(),
        fencing: BTreeSet::new(),
        out: Vec::new(),
        ended: false,
        namespaces: namespaces.clone(),
    }
}
