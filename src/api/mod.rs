//! What users write: plain data with its schema. No logic, no defaults that need a cluster.

pub mod fleet;
pub mod schema;
pub mod shared;
pub mod text;
pub mod v1alpha1;
pub mod v1beta1;

/// API group of all Gas Town kinds.
pub const GROUP: &str = "gastown.gastown.io";
