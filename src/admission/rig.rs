//! Rigs at the door: accepted as they are, with a word on what this release does not do yet.

use serde_json::Value;

use super::{Verdict, annotation, stored, warning};
use crate::{api::v1beta1::Rig, domain::names};

/// Warns that the Rig's own controller is not in this release, and of a pause that is none.
pub fn admit(sent: &Value) -> Verdict {
    let mut verdict = stored::admit::<Rig>();
    let value = annotation(sent, names::PAUSED).filter(|it| !matches!(*it, "true" | "false" | ""));
    verdict.warnings.extend(value.map(|it| {
        warning(&format!("annotation {}: {it:?} pauses nothing; only \"true\" does", names::PAUSED))
    }));
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pause_that_is_none_is_said() {
        for (value, said) in [("true", false), ("false", false), ("True", true), ("yes", true)] {
            let sent = json!({"metadata": {"annotations": {names::PAUSED: value}}});
            let warned = admit(&sent).warnings.iter().any(|it| it.contains("pauses nothing"));
            assert_eq!(warned, said, "{value}");
        }
    }
}
