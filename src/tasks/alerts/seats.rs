//! Places for connections: so many in all, and from one address no more than leave others theirs. Who comes beyond that is
//! turned away before the handshake, and so costs next to nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections at a time, in all and from one address: several API servers' worth, and what they hold fits in what a replica has.
const MOST: usize = 2048;
const MOST_OF_ONE: usize = 1024;

/// Who is here.
#[derive(Clone, Debug)]
pub struct Seats {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Default for Seats {
    fn default() -> Self {
        Self::new(MOST, MOST_OF_ONE)
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    of: IpAddr,
}

impl Seats {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Arc::default() }
    }

    /// A place for one more from there, if there is one.
    pub fn take(&self, of: IpAddr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&of).copied().unwrap_or_default();
        if own >= self.most_of_one || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(of, own + 1);
        drop(taken);
        Some(Seat { seats: self.clone(), of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.of).map_or(0, |it| it.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.of);
        } else {
            taken.insert(self.of, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_the_places_and_each_is_given_back() {
        let seats = Seats::new(3, 2);
        let [one, other, third] = [1, 2, 3].map(|it| IpAddr::from([192, 0, 2, it]));
        let first = [seats.take(one), seats.take(one)];
        assert!(first.iter().all(Option::is_some) && seats.take(one).is_none(), "two of one");
        let second = seats.take(other);
        assert!(second.is_some(), "another one's place is left");
        assert!(seats.take(third).is_none(), "three in all");
        drop(second);
        assert!(seats.take(third).is_some(), "as soon as somebody is gone");
        drop(first);
        assert!(seats.taken.lock().unwrap().is_empty(), "who has none is not remembered");
    }
}
