//! Rigs at the door: accepted as they are, with a word on what this release does not do yet.

use serde_json::Value;

use super::{Verdict, annotation, stored, warning};
use crate::{api::v1beta1::Rig, domain::names};

/// Warns that the Rig's own controller is not in this release, and of a pause that is none.
pub fn admit(sent: &Value) -> Verdict {
    let mut verdict = stored::admit::<Rig>();
    let value = annotation(sent, names::PAUSED).filter(|it| !matches!(*it, "true" | "false" | ""));
    let fips = sent.pointer("/spec/tlsPolicy").is_some_and(|it| it == "fips");
    verdict.warnings.extend(fips.then(|| {
        warning("spec.tlsPolicy: this release can't hold agent pods to fips, so no Polecat of this Rig begins; use default")
    }));
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
    fn a_policy_that_nobody_holds_is_said() {
        for (policy, said) in [("default", false), ("fips", true)] {
            let sent = json!({"metadata": {}, "spec": {"tlsPolicy": policy}});
            let warned = admit(&sent).warnings.iter().any(|it| it.contains("no Polecat of this"));
            assert_eq!(warned, said, "{policy}");
        }
    }

    #[test]
    fn a_pause_that_is_none_is_said() {
        for (value, said) in [("true", false), ("false", false), ("True", true), ("yes", true)] {
            let sent = json!({"metadata": {"annotations": {names::PAUSED: value}}});
            let warned = admit(&sent).warnings.iter().any(|it| it.contains("pauses nothing"));
            assert_eq!(warned, said, "{value}");
        }
    }
}
