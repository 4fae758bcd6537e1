//! Keeps this replica's part in the protocol of `domain::shard::protocol`: its session, the shards that it owns, and the map.
//! One task holds all of it and never waits for a request; what has to be done about caches and queues it says to `tasks`.

mod act;
mod door;
mod found;
mod hear;
mod keeper;
mod parts;
mod session;
#[cfg(test)]
mod tests;
mod told;
pub(super) mod wire;

pub use keeper::Keeper;
pub use parts::{Change, Ends, Opened, Settings, Town, Wanted};
pub use told::Report;
pub use wire::pod_of;
