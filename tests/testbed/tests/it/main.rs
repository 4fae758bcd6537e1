//! The testbed, tested on itself: real control planes, real kills.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests talk to the API server"
)]

mod agent;
mod cleanup;
mod demo;
mod guard;
mod kwok;
mod operators;
mod orders;
mod real;
mod support;
mod tools;
mod up;
