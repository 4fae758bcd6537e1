//! What this process tells of itself: logs, and traces to a collector. Names of attributes stand in [`attributes`]. Secrets,
//! prompts and keys are in none of it.

mod bridge;
mod export;
pub mod http;
mod logs;
mod otlp;

pub use crate::domain::trace::attributes;
pub use export::{Exporting, begin};
pub use logs::{follow, start};
