//! Clients for watches: where the API server speaks HTTP/2, many watches share a connection, and each has a part of its
//! window of its own, so that none waits for another one that is slow. Where it does not, each watch has a connection.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;

use super::{
    clients::{self, Use},
    counted::Counting,
    meters::Meters,
    watch_faults::{Failures, Fares},
};

/// Watches on one connection at most: an API server takes 100 streams of each (`--http2-max-streams-per-connection`), and
/// one more than it takes would wait for ever.
const STREAMS: usize = 48;
const _: () = assert!(STREAMS <= clients::STREAMS_AT_MOST);

/// Hands out clients, as many as it takes.
#[derive(Clone)]
pub struct Watches(Arc<Pool>);

struct Pool {
    make: Box<dyn Fn() -> anyhow::Result<kube::Client> + Send + Sync>,
    failures: Failures,
    first: Seat,
    more: Mutex<Vec<Seat>>,
}

/// A client for one watch, for as long as it is held.
#[derive(Clone)]
pub struct Seat {
    pub client: kube::Client,
    failures: Failures,
    /// Counts who sits here, and the pool.
    taken: Arc<()>,
}

impl Seat {
    fn new(client: kube::Client, failures: Failures) -> Self {
        Self { client, failures, taken: Arc::default() }
    }

    /// How a watch of this resource will fare.
    pub fn fares(&self, resource: &'static str) -> Fares {
        Fares::of(&self.failures, resource)
    }

    fn is_free(&self) -> bool {
        Arc::strong_count(&self.taken) <= STREAMS
    }
}

impl Watches {
    /// Clients with this configuration, which ask under this name. An error is one that no waiting mends.
    pub fn new(config: kube::Config, agent: HeaderValue, meters: &Meters) -> anyhow::Result<Self> {
        let (failures, counting) = (meters.watch_faults.clone(), Counting::by(meters));
        let make = Box::new(move || clients::make(&config, agent.clone(), &counting, Use::Watches));
        let first = Seat::new(make()?, failures.clone());
        Ok(Self(Arc::new(Pool { make, failures, first, more: Mutex::default() })))
    }

    /// All watches by one client, which makes connections as it likes.
    pub fn all_by(client: kube::Client, failures: Failures) -> Self {
        let of = client.clone();
        let make = Box::new(move || Ok(of.clone()));
        let first = Seat::new(client, failures.clone());
        Self(Arc::new(Pool { make, failures, first, more: Mutex::default() }))
    }

    /// A place for one more watch.
    pub fn seat(&self) -> Seat {
        let mut more = self.0.more.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = [&self.0.first].into_iter().chain(more.iter()).find(|it| it.is_free()) {
            return it.clone();
        }
        match (self.0.make)() {
            Ok(client) => {
                let seat = Seat::new(client, self.0.failures.clone());
                more.push(seat.clone());
                seat
            }
            // The same configuration made the first: what fails now is of the machine, and may pass.
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(why, "No client for more watches");
                self.0.first.clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_as_many_watches_as_an_api_server_takes_and_a_place_is_free_again() {
        let config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        crate::tls::install_provider().unwrap();
        let watches =
            Watches::new(config, HeaderValue::from_static("gastown"), &Meters::default()).unwrap();
        let clients = || 1 + watches.0.more.lock().unwrap().len();
        let mut seats: Vec<_> = (0..STREAMS).map(|_| watches.seat()).collect();
        assert_eq!(clients(), 1);
        let one_more = watches.seat();
        assert_eq!(clients(), 2, "the first is full");
        drop(one_more);
        seats.pop();
        drop(watches.seat());
        let _again: Vec<_> = (0..STREAMS).map(|_| watches.seat()).collect();
        assert_eq!(clients(), 2, "places that were left are taken again");
    }
}
