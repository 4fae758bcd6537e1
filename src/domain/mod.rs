//! What should happen: pure functions over plain data. Nothing here waits, reads a clock or holds a client.

pub mod layout;
pub mod repository;
pub mod untrusted;
pub mod verdict;
