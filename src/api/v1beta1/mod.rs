//! The hub: the one shape that domain, pod builder and status speak. Every served version converts to it.

pub mod polecat;

pub use polecat::*;
