//! What plays the node, once the control plane is up.

pub mod kwok;

/// The one node's name.
pub const NAME: &str = "testbed";
