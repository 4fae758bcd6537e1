//! The runner's parts as ordinary processes: three roots that stand for three containers share folders
//! that stand for volumes, exactly as the pod mounts them. Needs git; what else it needs is skipped by
//! name where it is missing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod approved;
mod beside;
mod clone;
mod forged;
mod hello;
mod hostile;
mod https;
mod memory;
mod namespace;
mod pod;
mod sign;
mod ssh;
mod telling;
mod time;
mod whole;
