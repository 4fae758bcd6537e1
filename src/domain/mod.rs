//! What should happen: pure functions over plain data. Nothing here waits, reads a clock or holds a client.

pub mod brake;
pub mod causes;
pub mod conditions;
pub mod env;
pub mod exposure;
pub mod failure;
pub mod layout;
pub mod lease;
pub mod names;
pub mod original;
pub mod pending;
pub mod plan;
pub mod pod;
pub mod pod_brief;
pub mod polecat;
pub mod provenance;
pub mod quota;
pub mod refusal;
pub mod repository;
pub mod rig;
pub mod shard;
pub mod slots;
pub mod stored;
pub mod tenancy;
pub mod untrusted;
pub mod verdict;
