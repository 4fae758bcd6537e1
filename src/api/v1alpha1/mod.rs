//! The version that the Go original serves: same fields, defaults, validation and columns; additions are optional.

pub mod polecat;
pub mod rig;

pub use polecat::{Polecat, PolecatSpec};
pub use rig::{Rig, RigSpec, RigStatus};
