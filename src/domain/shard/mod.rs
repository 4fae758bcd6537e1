//! Who looks after which namespaces: the one function behind admission, watches and reconcile. A namespace falls into one
//! of 1,024 buckets for good; the map says which shard has a bucket; a replica owns a shard.

pub mod bucket;
pub mod map;
#[cfg(test)]
mod model;
pub mod plan;
pub mod protocol;
pub mod seen;
pub mod vacant;
pub mod weights;
pub mod wishes;
mod written;

use std::fmt;

pub use bucket::BUCKETS;
pub use map::Map;
pub use plan::plan;

/// One part of the namespaces: what is owned, handed over and watched as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}
