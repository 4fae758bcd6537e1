//! Sessions and one shard: who may act.
//!
//! Versions of Leases are not counted, which would make the world endless: what a compare-and-swap asks is whether anybody
//! wrote since, so each write under way and each view only knows that. Spans are tenths of a tick of true time.

mod world;

use stateright::{Model, Property};

/// For how long a session allows its replica to act, and for how long it has others wait until it counts as still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub valid: u8,
    pub wait: u8,
}

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// Validity counts from when the answer to a renewal was received.
    ValidFromReceipt,
    /// A shard is given back while passes in it are still under way.
    ReleaseBeforeDrain,
    /// Whoever sees a session stand still takes its shard without fencing it first.
    TakeWithoutFence,
    /// Each waits for as long as its own session has others wait.
    OwnWait,
}

pub struct Protocol {
    /// How far each clock moves in a tick, which is 10 of true time.
    pub rates: [u8; 2],
    pub times: [Times; 2],
    pub planted: Planted,
    pub budget: Budget,
}

/// Whom a shard's Lease names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Nobody,
    /// The session that this replica has now.
    Session(usize),
    /// A session that was fenced and has been left since.
    Left,
}

/// A renewal of one's own session, at the age that it has by its sender's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    None,
    Sent(u8),
    Accepted(u8),
    Refused,
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Take,
    Release,
    Fence,
}

/// A write of another Lease than one's own session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    None,
    /// `current`: nobody wrote that Lease since what this write was made from.
    Sent {
        what: What,
        current: bool,
    },
    Answered {
        what: What,
        accepted: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or not by itself")]
pub struct Replica {
    /// How old its last accepted renewal is, at most `valid`.
    age: u8,
    renewal: Renewal,
    /// For how long it has seen the other's session unchanged, at most `wait`; whether there is news that it has not seen.
    still: u8,
    news: bool,
    /// The other's session was fenced, as far as it has seen.
    other_fenced: bool,
    owner: Owner,
    owner_news: bool,
    /// It may begin passes; a pass is under way.
    holds: bool,
    busy: bool,
    write: Write,
    /// One that it waits for no more, and that may arrive all the same.
    late: Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    replicas: [Replica; 2],
    /// Whether each session was fenced.
    fenced: [bool; 2],
    owner: Owner,
    /// What may still happen: answers that are lost or waited for no more, shards given back, sessions begun anew.
    left: Budget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub losses: u8,
    pub releases: u8,
    pub sessions: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Tick,
    SendRenewal(usize),
    StoreRenewal(usize),
    HearRenewal(usize),
    LoseRenewal(usize),
    /// The watch tells of the other's session, or of the shard.
    SeeSession(usize),
    SeeShard(usize),
    Send(usize, What),
    Store(usize),
    Hear(usize),
    /// The answer is lost, or the write before it was stored.
    Lose(usize),
    /// It waits no longer for an answer, and the write is stored later.
    GiveUp(usize),
    StoreLate(usize),
    Begin(usize),
    End(usize),
    /// Its session is lost and its work ended: another session begins.
    Anew(usize),
}

impl Protocol {
    fn is_valid(&self, world: &World, i: usize) -> bool {
        world.replicas[i].age < self.times[i].valid
    }

    /// Whether a replica believes that it may write.
    fn acts(&self, world: &World, i: usize) -> bool {
        let it = &world.replicas[i];
        (it.holds || it.busy) && self.is_valid(world, i)
    }

    /// For how long a replica must have seen the other's session unchanged.
    fn wait(&self, i: usize) -> u8 {
        let [own, other] = [i, 1 - i].map(|it| self.times[it].wait);
        if self.planted == Planted::OwnWait { own } else { own.max(other) }
    }

    fn may_send(&self, world: &World, i: usize, what: What) -> bool {
        let it = &world.replicas[i];
        let dead = it.other_fenced
            || (self.planted == Planted::TakeWithoutFence && it.still >= self.wait(i));
        let so = match what {
            What::Take => match it.owner {
                _ if it.holds => false,
                Owner::Nobody | Owner::Left => true,
                Owner::Session(whose) => whose == i || dead,
            },
            What::Release => {
                it.holds
                    && world.left.releases > 0
                    && (!it.busy || self.planted == Planted::ReleaseBeforeDrain)
            }
            What::Fence => !it.other_fenced && it.still >= self.wait(i),
        };
        so && it.write == Write::None && self.is_valid(world, i)
    }

    fn may(&self, world: &World, event: Event) -> bool {
        let of = |i: usize| &world.replicas[i];
        match event {
            Event::Tick => true,
            Event::SendRenewal(i) => of(i).renewal == Renewal::None && of(i).age > 0,
            Event::StoreRenewal(i) => matches!(of(i).renewal, Renewal::Sent(_)),
            Event::HearRenewal(i) => matches!(of(i).renewal, Renewal::Accepted(_)),
            Event::LoseRenewal(i) => {
                matches!(of(i).renewal, Renewal::Sent(_) | Renewal::Accepted(_))
                    && world.left.losses > 0
            }
            Event::SeeSession(i) => of(i).news,
            Event::SeeShard(i) => of(i).owner_news,
            Event::Send(i, what) => self.may_send(world, i, what),
            Event::Store(i) => matches!(of(i).write, Write::Sent { .. }),
            Event::Hear(i) => matches!(of(i).write, Write::Answered { .. }),
            Event::Lose(i) => {
                matches!(of(i).write, Write::Answered { .. }) && world.left.losses > 0
            }
            Event::GiveUp(i) => matches!(of(i).write, Write::Sent { .. }) && world.left.losses > 0,
            Event::StoreLate(i) => of(i).late != Write::None,
            Event::Begin(i) => of(i).holds && !of(i).busy && self.is_valid(world, i),
            Event::End(i) => of(i).busy,
            Event::Anew(i) => {
                of(i).renewal == Renewal::Refused
                    && of(i).write == Write::None
                    && world.left.sessions > 0
            }
        }
    }

    fn tick(&self, world: &mut World) {
        for (i, it) in world.replicas.iter_mut().enumerate() {
            let (rate, valid) = (self.rates[i], self.times[i].valid);
            it.age = (it.age + rate).min(valid);
            it.still = (it.still + rate).min(self.wait(i));
            if let Renewal::Sent(age) | Renewal::Accepted(age) = &mut it.renewal {
                *age = (*age + rate).min(valid);
            }
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let replica = |holds| Replica {
            age: 0,
            renewal: Renewal::None,
            still: 0,
            news: false,
            other_fenced: false,
            owner: Owner::Session(0),
            owner_news: false,
            holds,
            busy: false,
            write: Write::None,
            late: Write::None,
        };
        let replicas = [replica(true), replica(false)];
        vec![World { replicas, fenced: [false; 2], owner: Owner::Session(0), left: self.budget }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        events.push(Event::Tick);
        for i in 0..2 {
            events.extend([
                Event::SendRenewal(i),
                Event::StoreRenewal(i),
                Event::HearRenewal(i),
                Event::LoseRenewal(i),
                Event::SeeSession(i),
                Event::SeeShard(i),
                Event::Send(i, What::Take),
                Event::Send(i, What::Release),
                Event::Send(i, What::Fence),
                Event::Store(i),
                Event::Hear(i),
                Event::Lose(i),
                Event::GiveUp(i),
                Event::StoreLate(i),
                Event::Begin(i),
                Event::End(i),
                Event::Anew(i),
            ]);
        }
        events.retain(|it| self.may(world, *it));
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = *last;
        match event {
            Event::LoseRenewal(_) | Event::Lose(_) | Event::GiveUp(_) => world.left.losses -= 1,
            Event::Send(_, What::Release) => world.left.releases -= 1,
            Event::Anew(_) => world.left.sessions -= 1,
            _ => {}
        }
        match event {
            Event::Tick => self.tick(&mut world),
            Event::SendRenewal(i) => world.replicas[i].renewal = Renewal::Sent(0),
            Event::StoreRenewal(i) => world.store_renewal(i),
            Event::HearRenewal(i) => {
                let it = &mut world.replicas[i];
                if let Renewal::Accepted(age) = it.renewal {
                    it.age =
                        if self.planted == Planted::ValidFromReceipt { 0 } else { age.min(it.age) };
                }
                it.renewal = Renewal::None;
            }
            Event::LoseRenewal(i) => world.replicas[i].renewal = Renewal::None,
            Event::SeeSession(i) => world.see_session(i),
            Event::SeeShard(i) => world.see_shard(i),
            Event::Send(i, what) => world.send(i, what),
            Event::Store(i) => {
                let Write::Sent { what, current } = world.replicas[i].write else { return None };
                let accepted = world.store(i, what, current);
                world.replicas[i].write = Write::Answered { what, accepted };
            }
            Event::Hear(i) => world.hear(i),
            Event::Lose(i) => {
                if let Write::Answered { what, .. } = world.replicas[i].write {
                    world.unheard(i, what);
                }
                world.replicas[i].write = Write::None;
            }
            Event::GiveUp(i) => {
                let it = &mut world.replicas[i];
                (it.late, it.write) = (it.write, Write::None);
            }
            Event::StoreLate(i) => {
                let Write::Sent { what, current } = world.replicas[i].late else { return None };
                if world.store(i, what, current) {
                    world.unheard(i, what);
                }
                world.replicas[i].late = Write::None;
            }
            Event::Begin(i) => world.replicas[i].busy = true,
            Event::End(i) => world.replicas[i].busy = false,
            Event::Anew(i) => world.anew(i),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two", |it: &Self, world: &World| {
                !(0..2).all(|i| it.acts(world, i))
            }),
            Property::sometimes("taken over after a fence", |it: &Self, world: &World| {
                it.acts(world, 1) && world.fenced[0]
            }),
        ]
    }
}
