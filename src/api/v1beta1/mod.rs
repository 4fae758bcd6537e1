//! The hub: the one shape that domain, pod builder and status speak. Every served version converts to it.

pub mod bead_store;
pub mod convoy;
pub mod polecat;
pub mod polecat_spec;
pub mod references;
pub mod refinery;
pub mod rig;
pub mod rig_spec;
pub mod shard_map;
pub mod witness;

pub use bead_store::*;
pub use convoy::*;
pub use polecat::*;
pub use polecat_spec::*;
pub use references::*;
pub use refinery::*;
pub use rig::*;
pub use rig_spec::*;
pub use shard_map::*;
pub use witness::*;
