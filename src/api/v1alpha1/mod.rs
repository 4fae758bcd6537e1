//! The version that the Go original serves: same fields, defaults, validation and columns; additions are optional.

pub mod bead_store;
pub mod convoy;
pub mod polecat;
pub mod refinery;
pub mod rig;
pub mod witness;

pub use bead_store::{BeadStore, BeadStoreSpec};
pub use convoy::{Convoy, ConvoySpec};
pub use polecat::{Polecat, PolecatSpec};
pub use refinery::{Refinery, RefinerySpec};
pub use rig::{Rig, RigSpec};
pub use witness::{Witness, WitnessSpec};
