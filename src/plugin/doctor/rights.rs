//! Who may do what: the operator's account what this release does, and who installs what that takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    facts::{Facts, Right, text, texts},
    road::Road,
    rows::{Finding, Row},
};
use crate::cluster::examining::{Look, Tried};

/// What to ask of each rule of a role: every verb on every resource, by name where the rule has names. `namespace` is empty
/// for what holds everywhere.
pub fn asked(rule: &Value, namespace: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let names = texts(rule, "/resourceNames");
    let names = if names.is_empty() { vec![""] } else { names };
    for group in texts(rule, "/apiGroups") {
        for whole in texts(rule, "/resources") {
            let (resource, subresource) = whole.split_once('/').unwrap_or((whole, ""));
            for verb in texts(rule, "/verbs") {
                for name in &names {
                    let said = [
                        ("group", group),
                        ("resource", resource),
                        ("subresource", subresource),
                        ("verb", verb),
                        ("name", name),
                        ("namespace", namespace),
                    ];
                    let said = said.into_iter().filter(|(_, it)| !it.is_empty());
                    let map: Map<_, _> =
                        said.map(|(key, it)| (key.to_owned(), it.into())).collect();
                    all.push(map.into());
                }
            }
        }
    }
    all
}

/// What it takes to apply these objects: to look, to make and to change each sort of them.
pub fn to_install(objects: &[Value]) -> Vec<Value> {
    let mut all = BTreeMap::new();
    for it in objects {
        let (group, _) = text(it, "/apiVersion").split_once('/').unwrap_or_default();
        let (plural, namespace) = (plural(text(it, "/kind")), text(it, "/metadata/namespace"));
        for verb in ["get", "create", "patch"] {
            let asked =
                json!({"group": group, "resource": plural, "verb": verb, "namespace": namespace});
            all.insert((group, plural.clone(), verb, namespace), asked);
        }
    }
    all.into_values().collect()
}

/// The resource of a kind that is installed.
pub fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}

/// The rights of the operator's account, or before an installation those of who asks.
pub fn rights(facts: &Facts) -> Row {
    let (id, what, whose, fix) = if facts.before {
        let fix = "install as cluster-admin, or have these rights given to you first".to_owned();
        ("rights.installer", "may who asks install this release?", "who asks", fix)
    } else {
        let fix = Road::of(&facts.deployment).again("roles and bindings", "deploy/rbac/");
        (
            "rights.operator",
            "may the operator's account do what this release does?",
            "the operator's account",
            fix,
        )
    };
    let mut missing: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut findings = Vec::new();
    for Right { attributes, allowed } in &facts.rights {
        match allowed {
            Look::There(it) if it.get("allowed").is_some_and(|it| it == true) => {}
            Look::There(_) | Look::Missing => {
                missing.entry(named(attributes)).or_default().insert(text(attributes, "/verb"));
            }
            // One such answer stands for all.
            Look::Untold(why) if findings.is_empty() => findings.push(Finding::unknown(whose, why)),
            Look::Untold(_) => {}
        }
    }
    findings.extend(missing.into_iter().map(|(what, verbs)| {
        let verbs: Vec<_> = verbs.into_iter().collect();
        Finding::failed(whose, format!("may not {} {what}", verbs.join(", ")), &*fix)
    }));
    Row { id, what, well: format!("{} rights, all of them there", facts.rights.len()), findings }
}

fn named(attributes: &Value) -> String {
    let of = |key: &str| text(attributes, &format!("/{key}")).to_owned();
    let mut words = of("resource");
    for (part, before) in
        [("subresource", "/"), ("group", "."), ("name", " "), ("namespace", " in namespace ")]
    {
        let it = of(part);
        if !it.is_empty() {
            words += before;
            words += &it;
        }
    }
    words
}

/// Everything that is installed would be taken, by a dry run.
pub fn installing(facts: &Facts) -> Row {
    let one = |(place, tried): &(String, Tried)| match tried {
        Tried::Taken(_) => None,
        Tried::Denied(why) => Some(Finding::unknown(&**place, why)),
        // An older one says `minAvailable`, which can't be merged with what ours says.
        Tried::Refused { message, .. } if message.contains("minAvailable and maxUnavailable") => {
            let fix = format!(
                "make deploy and Helm see to it; before `kubectl apply`, delete it: kubectl -n {} delete {place} (docs/upgrade.md)",
                facts.namespace
            );
            Some(Finding::advice(&**place, message, fix))
        }
        Tried::Refused { message, .. } => {
            let fix =
                "mend what it names; what is immutable has to be deleted first (docs/upgrade.md)";
            Some(Finding::failed(&**place, message, fix))
        }
    };
    Row {
        id: "install.dryrun",
        what: "would the API server take what is installed?",
        well: format!("a dry run of {} objects was taken", facts.installing.len()),
        findings: facts.installing.iter().filter_map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifests, plugin::doctor::rows::State};

    fn right(allowed: Look) -> Right {
        let attributes = json!({"group": "gastown.gastown.io", "resource": "polecats", "subresource": "status", "verb": "patch"});
        Right { attributes, allowed }
    }

    #[test]
    fn a_missing_right_is_named() {
        let yes = right(Look::There(json!({"allowed": true})));
        let facts = |rights| Facts { rights, ..Facts::default() };
        assert_eq!(rights(&facts(vec![yes.clone()])).state(), State::Ok);
        for before in [false, true] {
            let no = vec![yes.clone(), right(Look::There(json!({"allowed": false})))];
            let row = rights(&Facts { before, ..facts(no) });
            let [it] = &*row.findings else { panic!("{row:?}") };
            assert_eq!(
                (it.state, &*it.found),
                (State::Failed, "may not patch polecats/status.gastown.gastown.io")
            );
            assert_eq!(row.id.ends_with("installer"), before);
        }
        let hidden = right(Look::Untold("cannot create subjectaccessreviews".into()));
        let row = rights(&facts(vec![hidden.clone(), hidden]));
        assert_eq!((row.state(), row.findings.len()), (State::Unknown, 1), "said once");
    }

    #[test]
    fn every_rule_becomes_questions() {
        let rule = json!({"apiGroups": ["g"], "resources": ["a", "b/status"], "verbs": ["get", "patch"], "resourceNames": ["n"]});
        let all = asked(&rule, "");
        assert_eq!(all.len(), 4);
        assert_eq!(
            all[3],
            json!({"group": "g", "resource": "b", "subresource": "status", "verb": "patch", "name": "n"})
        );
        let [everywhere, own] = manifests::rights();
        for role in [everywhere, own] {
            let rules = role["rules"].as_array().unwrap();
            assert!(rules.iter().all(|it| !asked(it, "town").is_empty()), "no rule goes unasked");
        }
    }

    #[test]
    fn kinds_that_are_installed_have_their_resources() {
        let all = manifests::installed("town").unwrap();
        let asked = to_install(&all);
        let plurals: BTreeSet<_> = asked.iter().map(|it| text(it, "/resource")).collect();
        for want in [
            "customresourcedefinitions",
            "networkpolicies",
            "priorityclasses",
            "validatingadmissionpolicies",
            "leases",
        ] {
            assert!(plurals.contains(want), "{want}: {plurals:?}");
        }
        let lease = asked.iter().find(|it| text(it, "/resource") == "leases").unwrap();
        assert_eq!(text(lease, "/namespace"), "town");
    }

    #[test]
    fn what_would_not_be_taken_is_told() {
        let row = |tried| {
            installing(&Facts {
                installing: vec![("Deployment x".into(), tried)],
                ..Facts::default()
            })
        };
        assert_eq!(row(Tried::Taken(Value::Null)).state(), State::Ok);
        assert_eq!(row(Tried::Denied("cannot patch".into())).state(), State::Unknown);
        let immutable =
            Tried::Refused { code: 422, message: "field is immutable".into(), causes: vec![] };
        let found = row(immutable);
        assert!(
            found.state() == State::Failed && found.findings[0].found.contains("immutable"),
            "{found:?}"
        );
        let message = "spec: Invalid value: minAvailable and maxUnavailable cannot be both set";
        let older = Tried::Refused { code: 422, message: message.into(), causes: vec![] };
        assert_eq!(row(older).state(), State::Advice, "most roads see to it themselves");
    }
}
