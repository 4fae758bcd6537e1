//! Pods at the door: which of their violations refuse a request, and how that reads to the person who sent it. Everything is
//! said in one answer, since an API server passes on the first refusal alone.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::{Judgement, Question, Subject, Violation, feedback, judge_once_set};
use crate::{
    admission::warnings_of,
    domain::{names, shard::bucket, tls_policy, untrusted},
};

/// Longest message, in characters.
const MESSAGE: usize = 1_500;
/// Longest patch in it.
const MOST_OF_A_PATCH: usize = 1_050;
/// What stands there instead of a longer one.
const TOO_LONG: &str = "\nWhat one value mends is too long for this answer: kubectl gt check -f FILE prints it as a patch";
/// Longest name in the audit log, in bytes.
const NAMED: usize = 253;
/// Subresources of a pod that hold no pod. Any other is looked at, so that a new one does not slip through.
const NO_PODS: [&str; 8] =
    ["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"];

/// A request about a pod, or about something that makes pods.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub kind: &'a str,
    pub subresource: &'a str,
    pub user: &'a str,
    pub object: &'a Value,
    /// What an update replaces.
    pub old: Option<&'a Value>,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why it is refused, as a person reads it.
    pub refusal: Option<String>,
    pub warnings: Vec<String>,
    /// For the API server's audit log: key and value.
    pub audit: Vec<(&'static str, String)>,
}

/// Judges a create or an update. Of an update only what it makes wrong is refused; a pod that is being deleted never is.
/// `operators` are the users who may give a pod the label of a Polecat's, or take it away; `more` is what else is wrong with it.
pub fn answer(
    asked: &Asked<'_>,
    question: &Question<'_>,
    operators: &[String],
    more: Vec<Violation>,
) -> Answer {
    if is_going(asked) || NO_PODS.contains(&asked.subresource) {
        return Answer::default();
    }
    let mut audit = vec![
        ("policy", question.standard.to_string()),
        ("requested-by", untrusted::fit(asked.user, NAMED)),
    ];
    let subject = match Subject::of(asked.kind, asked.object) {
        Ok(Some(subject)) => subject,
        Err(why) if asked.kind == "Pod" => {
            audit.push(("violations", "shape".into()));
            return Answer { refusal: Some(why), audit, ..Answer::default() };
        }
        // What makes pods and can't be read is the API server's to refuse.
        Ok(None) | Err(_) => return Answer::default(),
    };
    let Judgement { mut violations, scc, .. } = judged(asked, asked.object, &subject, question);
    if let Some(old) = asked.old
        && let Ok(Some(before)) = Subject::of(asked.kind, old)
    {
        let before = judged(asked, old, &before, question).violations;
        let before: HashSet<_> = before.iter().map(|it| it.same.as_str()).collect();
        violations.retain(|it| !before.contains(it.same.as_str()));
    }
    if asked.kind == "Pod" {
        violations.extend(marks(asked, operators).into_iter().chain(more));
    }
    audit.extend(scc.map(|it| ("scc", it.to_owned())));
    audit.extend(polecat(asked).map(|it| ("polecat-uid", it.to_owned())));
    let checks: BTreeSet<_> = violations.iter().map(|it| it.check).collect();
    audit.push(("violations", checks.into_iter().collect::<Vec<_>>().join(",")));
    if violations.is_empty() {
        return Answer { audit, ..Answer::default() };
    }
    if asked.kind == "Pod" {
        let refusal = Some(refusal(subject.prefix, &violations));
        return Answer { refusal, audit, warnings: Vec::new() };
    }
    Answer { refusal: None, warnings: warnings(&violations), audit }
}

/// What makes pods is judged as they will be: what nobody set is set on them before they are judged themselves.
fn judged(
    asked: &Asked<'_>,
    object: &Value,
    subject: &Subject<'_>,
    question: &Question<'_>,
) -> Judgement {
    judge_once_set(asked.kind != "Pod", (asked.kind, object), subject, question)
}

/// It is on its way out. What is created can't be: an API server takes such a word off before it asks.
pub(super) fn is_going(asked: &Asked<'_>) -> bool {
    let going = asked.object.pointer("/metadata/deletionTimestamp");
    asked.old.is_some() && going.is_some_and(|it| !it.is_null())
}

/// Of which Polecat a pod is one of the runs, by its uid.
fn polecat<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    let owners = asked.object.pointer("/metadata/ownerReferences")?.as_array()?;
    let is = |it: &&Value| it.get("kind").is_some_and(|it| it == "Polecat");
    owners.iter().find(is)?.get("uid")?.as_str()
}

/// What is said of pods by the operator alone: the list, the key and what it says.
pub const MARKS: [(&str, &str, &str); 2] = [
    ("labels", names::POLECAT_LABEL, "that a pod is a Polecat's"),
    ("annotations", tls_policy::ANNOTATION, "that a pod is held to a TLS policy"),
];
/// The same of a Polecat's pods.
pub const MARKS_OF_POLECATS: [(&str, &str, &str); 3] = [
    ("labels", names::RIG_LABEL, "which Rig a Polecat's pod is of"),
    ("annotations", names::RIG_LABEL, "which Rig a Polecat's pod is of"),
    ("labels", bucket::LABEL, "which shard looks after a Polecat's pod"),
];

/// A Polecat's pod is looked at by every rule, by its Rig's lists, and some are held to more: nobody but the operator says so,
/// or says no more.
fn marks(asked: &Asked<'_>, operators: &[String]) -> Vec<Violation> {
    if operators.iter().any(|it| it == asked.user) {
        return Vec::new();
    }
    let said =
        |it: &Value, list: &str, key: &str| it.pointer("/metadata")?.get(list)?.get(key).cloned();
    let polecats = |it: &Value| said(it, "labels", names::POLECAT_LABEL).is_some();
    let is_polecats = polecats(asked.object) || asked.old.is_some_and(polecats);
    let held = MARKS.into_iter().chain(MARKS_OF_POLECATS.into_iter().filter(|_| is_polecats));
    let changed = held.filter(|(list, key, _)| {
        let of = |it: &Value| said(it, list, key);
        of(asked.object) != asked.old.and_then(of)
    });
    let violation = |(list, key, what): (&str, &str, &str)| Violation {
        check: "ours.label",
        path: format!("metadata.{list}[{key}]"),
        message: format!("only the operator says {what}, must be left as it was (ours)"),
        same: String::new(),
        fix: None,
    };
    changed.map(violation).collect()
}

/// The whole answer: as many lines as there is room for, then one patch.
fn refusal(prefix: &str, violations: &[Violation]) -> String {
    let head = format!(
        "{} not as this namespace's pods must be:",
        counted(violations.len(), "field is", "fields are")
    );
    let patch = feedback::patch(prefix, violations).map(|it| {
        format!("\nWhat one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):\n{it}")
    });
    let more = "\nand 1000 more; kubectl gt check lists them all";
    let length = |it: &str| it.chars().count();
    // A patch that leaves no room for what it is about helps nobody.
    let patch = patch.map(|it| if length(&it) < MOST_OF_A_PATCH { it } else { TOO_LONG.into() });
    let patch = patch.unwrap_or_default();
    let mut left = MESSAGE - length(&head) - length(&patch) - length(more);
    let mut lines = vec![head];
    for (at, it) in violations.iter().enumerate() {
        let line = format!("\n{}: {}", it.path, it.message);
        if length(&line) > left {
            let more = violations.len() - at;
            lines.push(format!("\nand {more} more; kubectl gt check lists them all"));
            break;
        }
        left -= length(&line);
        lines.push(line);
    }
    lines.push(patch);
    lines.concat()
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn warnings(violations: &[Violation]) -> Vec<String> {
    let line = |it: &Violation| format!("its pods will be refused: {}: {}", it.path, it.message);
    warnings_of(violations.iter().map(line).collect(), "; kubectl gt check lists them all")
}
