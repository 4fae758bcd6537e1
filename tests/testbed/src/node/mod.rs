//! What plays the node, once the control plane is up.

pub mod cgroups;
pub mod images;
pub mod kwok;
pub mod real;

/// The one node's name.
pub const NAME: &str = "testbed";
