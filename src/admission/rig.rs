//! Rigs at the door: accepted as they are, with a word on what this release does not do yet.

use serde_json::Value;

use super::{Verdict, warning};

/// Warns that the Rig's own controller is not in this release.
pub fn admit(_: &Value) -> Verdict {
    let text = "Rig is stored and Polecats may name it; its Witness, Refinery, counts and settings (namepoolTheme, \
                maxPolecats) have no controller in this release";
    Verdict { warnings: vec![warning(text)], ..Verdict::default() }
}
