#![doc = include_str!("ARCHITECTURE.md")]

/// For tests of the library that share a file with those beside it.
#[cfg(test)]
extern crate self as gastown;

pub mod admission;
pub mod api;
pub mod cluster;
pub mod config;
pub mod conversion;
pub mod domain;
pub mod kinds;
pub mod manifests;
pub mod otlp;
pub mod plugin;
pub mod runner;
pub mod tasks;
pub mod telemetry;
pub mod tls;
