//! A testbed as tests hold it.
pub struct Testbed;
