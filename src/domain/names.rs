//! Every derived name, label and annotation: one function each, so that no two places can disagree.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};

/// Label with the Polecat's name; every agent pod has it.
pub const POLECAT_LABEL: &str = "gastown.io/polecat";
/// Label with the Rig's name.
pub const RIG_LABEL: &str = "gastown.io/rig";
/// Label with the bead's id; empty without a bead.
pub const BEAD_LABEL: &str = "gastown.io/bead";
/// Annotation of an agent pod: the number of its attempt.
pub const ATTEMPT_ANNOTATION: &str = "gastown.io/attempt";
/// Annotation of a Namespace or a Rig: `"true"` keeps its Polecats from beginning.
pub const PAUSED: &str = "gastown.io/paused";
/// Annotation of the `ShardMap`: what all replicas log, such as `info,gastown::tasks=debug`.
pub const LOG_LEVEL: &str = "gastown.io/log-level";
/// Finalizer that the Go original puts on Polecats; ours needs none and releases it.
pub const ORIGINAL_FINALIZER: &str = "gastown.io/polecat-cleanup";
/// Annotation that tells the cluster autoscaler to leave a node with a working agent alone.
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// Annotations of a Polecat: who asked for the current run. Stamped at admission from the API server's word; nobody
/// else can set them. The groups are hashed.
pub const REQUESTED_BY: &str = "gastown.io/requested-by";
pub const REQUESTED_BY_UID: &str = "gastown.io/requested-by-uid";
pub const REQUESTED_BY_GROUPS: &str = "gastown.io/requested-by-groups";
/// Annotation of a Polecat: who its commits are by, as `Name <address>`.
pub const COMMIT_AUTHOR: &str = "gastown.io/commit-author";
/// Annotation of a Polecat: the trace that its run belongs to, in the form of W3C's `traceparent`.
pub const TRACEPARENT: &str = "gastown.io/traceparent";
/// Annotation of a Polecat that came with the status of an earlier one, which the API server drops. Stamped at admission.
pub const RESTORED_FROM: &str = "gastown.io/restored-from";
/// Annotation of a Polecat: `"true"` lets a restored one run.
pub const RESUME: &str = "gastown.io/resume";
/// Velero's label on what it restored.
pub const VELERO_RESTORE: &str = "velero.io/restore-name";
/// Velero's annotation that has it restore an object's status too.
pub const VELERO_RESTORE_STATUS: &str = "velero.io/restore-status";
/// Velero's label that keeps an object out of backups.
pub const VELERO_EXCLUDE: &str = "velero.io/exclude-from-backup";

/// Longest label value.
const MAX_LABEL: usize = 63;
/// Longest pod name.
const MAX_NAME: usize = 253;
/// Hex digits of the hash that makes a cut name unique.
const HASH: usize = 10;

/// The pod of one attempt: `polecat-<name>`, from the second attempt on `polecat-<name>-<attempt>`. Two Polecats can
/// ask for the same name (`a` in attempt 2, `a-2` in attempt 1): whose pod it is, its owner's uid tells.
pub fn pod(polecat: &str, attempt: i32) -> String {
    let suffix = if attempt > 1 { format!("-{attempt}") } else { String::new() };
    let full = format!("polecat-{polecat}{suffix}");
    if full.len() <= MAX_NAME {
        return full;
    }
    let keep = MAX_NAME - HASH - 1 - suffix.len();
    let cut = full.get(..keep).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{cut}-{}{suffix}", hash(polecat))
}

/// The branch that is pushed: as asked, else `feature/<bead>`, else `polecat/<name>`.
pub fn work_branch(asked: Option<&str>, bead: Option<&str>, polecat: &str) -> String {
    match (asked.filter(|it| !it.is_empty()), bead.filter(|it| !it.is_empty())) {
        (Some(branch), _) => branch.to_owned(),
        (None, Some(bead)) => format!("feature/{bead}"),
        (None, None) => format!("polecat/{polecat}"),
    }
}

/// A label value for any text: itself where it is one, else a readable prefix and a hash of the whole. The truth
/// then stands in an annotation (see [`truths`]).
pub fn label_value(text: &str) -> String {
    if is_label_value(text) {
        return text.to_owned();
    }
    let fine = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let plain: String =
        text.chars().map(|it| if fine(it) { it } else { '_' }).take(MAX_LABEL - HASH - 1).collect();
    let plain = plain.trim_matches(['-', '_', '.']);
    let dash = if plain.is_empty() { "" } else { "-" };
    format!("{plain}{dash}{}", hash(text))
}

/// Labels of a Polecat and of its pods.
pub fn labels(polecat: &str, rig: &str, bead: Option<&str>) -> BTreeMap<String, String> {
    [(POLECAT_LABEL, polecat), (RIG_LABEL, rig), (BEAD_LABEL, bead.unwrap_or_default())]
        .map(|(key, value)| (key.to_owned(), label_value(value)))
        .into()
}

/// Annotations with the full text of every label value that had to be cut or altered: same keys as the labels.
pub fn truths(polecat: &str, rig: &str, bead: Option<&str>) -> BTreeMap<String, String> {
    [(POLECAT_LABEL, polecat), (RIG_LABEL, rig), (BEAD_LABEL, bead.unwrap_or_default())]
        .into_iter()
        .filter(|(_, value)| !is_label_value(value))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Whether an object can have this name; any other text is another path of the API, or none.
pub fn is_name(text: &str) -> bool {
    let edge = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let inner = |it: char| edge(it) || matches!(it, '-' | '.');
    text.len() <= MAX_NAME
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(inner)
}

/// Whether Kubernetes takes this text as a label value.
fn is_label_value(text: &str) -> bool {
    let edge = |it: Option<char>| it.is_none_or(|it| it.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.'))
}

/// SHA-256 of a text, as lower-case hex.
pub fn sha256(text: &str) -> String {
    use std::fmt::Write as _;
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn hash(text: &str) -> String {
    let mut hex = sha256(text);
    hex.truncate(HASH);
    hex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pods_are_named_as_in_the_original() {
        let long = "a".repeat(250);
        let table = [
            ("furiosa", 1, "polecat-furiosa".to_owned(), "the first attempt has the plain name"),
            ("furiosa", 2, "polecat-furiosa-2".to_owned(), "later ones carry their number"),
        ];
        for (name, attempt, want, because) in table {
            assert_eq!(pod(name, attempt), want, "{because}");
        }
        assert!(
            pod(&long, 12).len() <= MAX_NAME && pod(&long, 12).ends_with("-12"),
            "{}",
            pod(&long, 12)
        );
        assert_ne!(pod(&long, 1), pod(&format!("{}b", &long[..249]), 1), "cut names stay apart");
    }

    #[test]
    fn work_branches_follow_the_bead() {
        assert_eq!(work_branch(Some("mine"), Some("gt-1"), "max"), "mine");
        assert_eq!(work_branch(None, Some("gt-1"), "max"), "feature/gt-1");
        assert_eq!(work_branch(None, None, "max"), "polecat/max");
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["a", "git-key", "a.b-c.1", &"a".repeat(MAX_NAME)] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", "A", "a/b", "..", ".a", "a-", "a b", "a%2fb", &"a".repeat(MAX_NAME + 1)] {
            assert!(!is_name(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_label_value(text in ".{0,100}") {
            let value = label_value(&text);
            prop_assert!(is_label_value(&value), "{value:?}");
            prop_assert_eq!(value == text, is_label_value(&text));
        }
    }
}
