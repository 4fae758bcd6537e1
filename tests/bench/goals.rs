//! What is said of goals, and that one that was missed is an error.

use anyhow::{Result, ensure};

const MISSED: &str = "MISSED";

/// Whether it was met, in a word.
pub const fn word(met: bool) -> &'static str {
    if met { "met" } else { MISSED }
}

/// An error where what was printed says that a goal was missed.
pub fn hold(printed: &str) -> Result<()> {
    ensure!(!printed.contains(MISSED), "a goal was missed: see above");
    Ok(())
}
