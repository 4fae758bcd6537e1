//! Polecats at the door: our labels are stamped, and what will not take effect is said at once.

use serde_json::Value;

use super::{Verdict, stamp, warning};
use crate::domain::names;

/// Stamps the labels that controllers and people select by, and warns of what is accepted without effect. `object` is
/// the whole v1alpha1 object as sent; `name` is empty where `generateName` is still to make it: then that one label
/// waits for the next update.
pub fn admit(object: &Value, name: &str) -> Verdict {
    let spec = object.get("spec");
    let text = |field: &str| spec.and_then(|it| it.get(field)).and_then(Value::as_str);
    let (rig, bead) = (text("rig").unwrap_or_default(), text("beadID"));
    let mut changed = object.clone();
    let labels = names::labels(name, rig, bead)
        .into_iter()
        .filter(|(key, _)| !name.is_empty() || key != names::POLECAT_LABEL);
    stamp(&mut changed, "labels", labels);
    let truths = names::truths(name, rig, bead);
    if !truths.is_empty() {
        stamp(&mut changed, "annotations", truths);
    }
    let mut warnings = Vec::new();
    if text("desiredState") == Some("Working")
        && spec.is_some_and(|it| it.get("kubernetes").is_none_or(Value::is_null))
    {
        warnings.push(warning(
            "spec.kubernetes is missing: this Polecat will be Stuck (MissingKubernetesSpec); set gitRepository and gitSecretRef",
        ));
    }
    Verdict { changed: (changed != *object).then_some(changed), warnings }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_stamped_once() {
        let sent =
            json!({"metadata": {"name": "max"}, "spec": {"rig": "greeter", "beadID": "gt-1"}});
        let stored = admit(&sent, "max").changed.unwrap();
        let want = json!({"gastown.io/polecat": "max", "gastown.io/rig": "greeter", "gastown.io/bead": "gt-1"});
        assert_eq!(stored["metadata"]["labels"], want);
        assert_eq!(admit(&stored, "max").changed, None, "stamping again changes nothing");
    }

    #[test]
    fn a_text_that_is_no_label_keeps_its_truth() {
        let bead = "gt-ünïcode and more";
        let sent = json!({"metadata": {"name": "max", "labels": null}, "spec": {"rig": "r", "beadID": bead}});
        let stored = admit(&sent, "max").changed.unwrap();
        assert_eq!(stored["metadata"]["annotations"]["gastown.io/bead"], bead);
        assert_ne!(stored["metadata"]["labels"]["gastown.io/bead"], bead);
    }

    #[test]
    fn work_without_a_repository_is_warned_about() {
        let sent =
            json!({"metadata": {"name": "max"}, "spec": {"rig": "r", "desiredState": "Working"}});
        assert!(admit(&sent, "max").warnings[0].contains("MissingKubernetesSpec"));
    }
}
