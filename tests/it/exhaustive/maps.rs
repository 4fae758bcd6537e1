//! A namespace that a map gives from one shard to another and the next map gives back, while the shards themselves change
//! hands: who may begin a pass in it. Writes are whole here; what may be late is what each replica sees.

use stateright::{Model, Property};

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// Who gains the namespace begins when it sees the map, without waiting for who loses it.
    PinOnSight,
    /// A shard is taken by one whose map is older than what was acknowledged.
    TakenWithOldMap,
}

pub struct Maps(pub Planted);

/// The last map of this world.
const LAST: u8 = 3;

/// In which shard a map has the namespace.
const fn shard(map: u8) -> usize {
    (map as usize + 1) % 2
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The map that it has, and what each shard had acknowledged when it looked.
    map: u8,
    acknowledged: [u8; 2],
    /// A pass in the namespace is under way.
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    published: u8,
    /// What the Lease of each shard says: whose it is, and which map was acknowledged.
    owner: [Option<usize>; 2],
    acknowledged: [u8; 2],
    replicas: [Replica; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Publish,
    SeeMap(usize),
    SeeLease(usize, usize),
    Acknowledge(usize, usize),
    Release(usize, usize),
    Take(usize, usize),
    Begin(usize),
    End(usize),
}

impl Maps {
    /// Whoever lost the namespace by the map that a replica has is done with it, as far as that replica knows.
    fn let_go(&self, world: &World, i: usize) -> bool {
        let it = &world.replicas[i];
        let loser = 1 - shard(it.map);
        let known = if world.owner[loser] == Some(i) {
            world.acknowledged[loser]
        } else {
            it.acknowledged[loser]
        };
        it.map == 1 || known >= it.map || self.0 == Planted::PinOnSight
    }

    fn may(&self, world: &World, event: Event) -> bool {
        match event {
            Event::Publish => {
                let last = world.published;
                last < LAST && (last == 1 || world.acknowledged[1 - shard(last)] >= last)
            }
            Event::SeeMap(i) => world.replicas[i].map < world.published,
            Event::SeeLease(i, of) => world.replicas[i].acknowledged[of] < world.acknowledged[of],
            Event::Acknowledge(i, of) => {
                let it = &world.replicas[i];
                world.owner[of] == Some(i) && it.map > world.acknowledged[of] && !it.busy
            }
            Event::Release(i, of) => world.owner[of] == Some(i) && !world.replicas[i].busy,
            Event::Take(i, of) => {
                let fresh = world.replicas[i].map >= world.acknowledged[of];
                world.owner[of].is_none() && (fresh || self.0 == Planted::TakenWithOldMap)
            }
            Event::Begin(i) => {
                let it = &world.replicas[i];
                !it.busy && world.owner[shard(it.map)] == Some(i) && self.let_go(world, i)
            }
            Event::End(i) => world.replicas[i].busy,
        }
    }
}

impl Model for Maps {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let replica = Replica { map: 1, acknowledged: [1; 2], busy: false };
        vec![World {
            published: 1,
            owner: [Some(0), Some(1)],
            acknowledged: [1; 2],
            replicas: [replica; 2],
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        events.push(Event::Publish);
        for i in 0..2 {
            events.extend([Event::SeeMap(i), Event::Begin(i), Event::End(i)]);
            for of in 0..2 {
                events.extend([
                    Event::SeeLease(i, of),
                    Event::Acknowledge(i, of),
                    Event::Release(i, of),
                    Event::Take(i, of),
                ]);
            }
        }
        events.retain(|it| self.may(world, *it));
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = *last;
        match event {
            Event::Publish => world.published += 1,
            Event::SeeMap(i) => world.replicas[i].map = world.published,
            Event::SeeLease(i, of) => {
                world.replicas[i].acknowledged[of] = world.acknowledged[of];
            }
            Event::Acknowledge(i, of) => world.acknowledged[of] = world.replicas[i].map,
            Event::Release(_, of) => world.owner[of] = None,
            Event::Take(i, of) => world.owner[of] = Some(i),
            Event::Begin(i) => world.replicas[i].busy = true,
            Event::End(i) => world.replicas[i].busy = false,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two", |_: &Self, world: &World| {
                !world.replicas.iter().all(|it| it.busy)
            }),
            Property::sometimes("there and back", |_: &Self, world: &World| {
                world.replicas.iter().any(|it| it.busy && it.map == LAST)
            }),
        ]
    }
}
