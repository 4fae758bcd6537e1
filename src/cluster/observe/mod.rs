//! Looks: one file a kind. Reads only, from the caches where they have it.

mod polecat;
mod reports;
mod rig;
pub mod stored;
