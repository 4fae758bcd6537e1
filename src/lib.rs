//! Runs AI coding agents as disposable pods on Kubernetes, and proves what they did.

pub mod domain;
pub mod runner;
