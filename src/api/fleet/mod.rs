//! `gptme.ai/v1`: the kinds of the GPTME Fleet Operator.

pub mod client_pod;

pub use client_pod::{ClientPod, ClientPodSpec, ClientPodStatus};

/// API group of the fleet's kinds.
pub const GROUP: &str = "gptme.ai";
