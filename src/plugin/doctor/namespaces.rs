//! Namespaces: what Pod Security labels say of the operator's and of those with Polecats, whether pods would be let in, and on
//! OpenShift under which security context constraint.

use serde_json::Value;

use super::{
    facts::{Facts, Homes, text},
    rows::{Finding, Row},
};
use crate::{
    admission::pods::scc::{V2, V3},
    cluster::examining::{Look, Tried},
};

const ENFORCE: &str = "/metadata/labels/pod-security.kubernetes.io~1enforce";

/// Labels of the operator's namespace.
pub fn of_operator(facts: &Facts) -> Row {
    let name = &facts.namespace;
    let place = format!("Namespace {name}");
    let findings = match (&facts.namespaces, find(facts, name)) {
        (Look::Untold(why), _) => vec![Finding::unknown(place, why)],
        (_, None) if facts.before => Vec::new(),
        (_, None) => {
            let fix = "install the operator (docs/install.md), or name its namespace with -n";
            vec![Finding::failed(place, "is not there", fix)]
        }
        (_, Some(it)) => labels(it).into_iter().collect(),
    };
    Row {
        id: "podsecurity.operator",
        what: "is the operator's namespace held to restricted Pod Security?",
        well: format!("namespace {name} is held to it, or will be"),
        findings,
    }
}

/// Labels of namespaces with Polecats.
pub fn of_polecats(facts: &Facts) -> Row {
    let mut well = String::new();
    let findings = match (&facts.homes, &facts.namespaces) {
        (Homes::Untold(why), _) => vec![Finding::unknown("Polecats of all namespaces", why)],
        (_, Look::Untold(why)) => vec![Finding::unknown("Namespaces", why)],
        (Homes::Known(homes), _) => {
            well = format!("{} namespaces with Polecats are", homes.len());
            homes.iter().filter_map(|it| labels(find(facts, it)?)).collect()
        }
    };
    Row {
        id: "podsecurity.polecats",
        what: "are namespaces with Polecats held to restricted Pod Security?",
        well,
        findings,
    }
}

fn find<'a>(facts: &'a Facts, name: &str) -> Option<&'a Value> {
    facts.namespaces.items().iter().find(|it| text(it, "/metadata/name") == name)
}

fn labels(namespace: &Value) -> Option<Finding> {
    let (name, level) = (text(namespace, "/metadata/name"), text(namespace, ENFORCE));
    let place = format!("Namespace {name}");
    let fix = format!(
        "kubectl label --overwrite namespace {name} pod-security.kubernetes.io/enforce=restricted; the operator's pods and \
         those of Polecats are let in"
    );
    match level {
        "restricted" => None,
        "" => Some(Finding::advice(place, "has no label that enforces Pod Security", fix)),
        "baseline" | "privileged" => {
            Some(Finding::advice(place, format!("enforces {level} alone"), fix))
        }
        other => {
            Some(Finding::failed(place, format!("enforces {other:?}, which is no level"), fix))
        }
    }
}

/// Pods as the operator makes them are let in, by a dry run.
pub fn pods(facts: &Facts) -> Row {
    let one = |(namespace, tried): &(String, Tried)| {
        let place = format!("a Polecat's pod in namespace {namespace}");
        let fix = "mend what it names: a quota, a LimitRange, a policy, or a label of the namespace (see \
                   docs/failures.md)";
        match tried {
            Tried::Taken(_) => None,
            Tried::Denied(why) => Some(Finding::unknown(place, why)),
            Tried::Refused { message, .. } => Some(Finding::failed(place, message, fix)),
        }
    };
    let mut findings: Vec<_> = facts.pods.iter().filter_map(one).collect();
    if let Homes::Untold(why) = &facts.homes {
        findings.push(Finding::unknown("Polecats of all namespaces", why));
    }
    Row {
        id: "pods.polecats",
        what: "would a Polecat's pod be let in, where there are Polecats?",
        well: format!("a dry run was let in, in {} namespaces", facts.pods.len()),
        findings,
    }
}

/// OpenShift's choice for the operator's pods and Polecats'.
pub fn constraints(facts: &Facts) -> Row {
    let Some(reviews) = &facts.constraints else {
        return row("this is no OpenShift".into(), Vec::new());
    };
    let one = |(whose, review): &(String, Look)| {
        let status = match review {
            Look::There(it) => it,
            Look::Missing => return Some(Finding::unknown(whose, "the review is not served")),
            Look::Untold(why) => return Some(Finding::unknown(whose, why)),
        };
        let chosen = text(status, "/allowedBy/name");
        let fix = "give its service account the right to use restricted-v2 again (the authenticated users have it in a new \
                   cluster), or mend what keeps the pod from it: kubectl gt check --platform openshift names the field";
        match chosen {
            V2 | V3 => None,
            "" => Some(Finding::failed(
                whose,
                format!("no constraint lets it in: {}", text(status, "/reason")),
                fix,
            )),
            other => {
                let words = format!("would run under {other}");
                let fix = "restricted-v2 is enough: take the right to use that constraint from its service account";
                Some(Finding::advice(whose, words, fix))
            }
        }
    };
    let findings: Vec<_> = reviews.iter().filter_map(one).collect();
    row(format!("{} pods would run under {V2} or {V3}", reviews.len()), findings)
}

fn row(well: String, findings: Vec<Finding>) -> Row {
    let what = "on OpenShift: which security context constraint would pods run under?";
    Row { id: "openshift.scc", what, well, findings }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::doctor::rows::State;

    fn facts(level: Option<&str>) -> Facts {
        let labels = level.map(|it| json!({"pod-security.kubernetes.io/enforce": it}));
        Facts {
            namespace: "town".into(),
            namespaces: Look::There(json!([{"metadata": {"name": "town", "labels": labels}}])),
            homes: Homes::Known(["town".to_owned()].into()),
            ..Facts::default()
        }
    }

    #[test]
    fn labels_are_held_against_restricted() {
        for (level, want) in [
            (Some("restricted"), State::Ok),
            (Some("baseline"), State::Advice),
            (None, State::Advice),
            (Some("restrict"), State::Failed),
        ] {
            let facts = facts(level);
            assert_eq!(of_operator(&facts).state(), want, "{level:?}");
            assert_eq!(of_polecats(&facts).state(), want, "{level:?}");
        }
        let elsewhere = Facts { namespace: "other".into(), ..facts(None) };
        assert_eq!(of_operator(&elsewhere).state(), State::Failed, "it is not there");
        let before = Facts { before: true, ..elsewhere };
        assert_eq!(of_operator(&before).state(), State::Ok, "it will be made");
        let denied = Facts { namespaces: Look::Untold("cannot list".into()), ..facts(None) };
        assert_eq!(of_operator(&denied).state(), State::Unknown);
        assert_eq!(of_polecats(&denied).state(), State::Unknown);
        let hidden = Facts { homes: Homes::Untold("cannot list".into()), ..facts(None) };
        assert_eq!(of_polecats(&hidden).state(), State::Unknown);
    }

    #[test]
    fn a_pod_that_is_not_let_in_is_told_with_why() {
        let tried = |it| Facts { pods: vec![("town".into(), it)], ..facts(None) };
        assert_eq!(pods(&tried(Tried::Taken(Value::Null))).state(), State::Ok);
        assert_eq!(pods(&tried(Tried::Denied("cannot create".into()))).state(), State::Unknown);
        let quota = Tried::Refused { code: 403, message: "exceeded quota".into(), causes: vec![] };
        let row = pods(&tried(quota));
        assert!(
            row.state() == State::Failed && row.findings[0].found == "exceeded quota",
            "{row:?}"
        );
    }

    #[test]
    fn the_constraint_that_openshift_chooses_is_told() {
        assert_eq!(constraints(&facts(None)).state(), State::Ok, "no OpenShift");
        let chosen = |it: Look| {
            let reviews = vec![("the operator's pod".to_owned(), it)];
            constraints(&Facts { constraints: Some(reviews), ..facts(None) })
        };
        let by =
            |name: &str| Look::There(json!({"allowedBy": {"name": name}, "reason": "CantAssign"}));
        for (review, state, words) in [
            (by("restricted-v2"), State::Ok, ""),
            (by("restricted-v3"), State::Ok, ""),
            (by("anyuid"), State::Advice, "anyuid"),
            (by(""), State::Failed, "CantAssign"),
            (Look::Untold("cannot create".into()), State::Unknown, "cannot create"),
            (Look::Missing, State::Unknown, "not served"),
        ] {
            let row = chosen(review);
            assert_eq!(row.state(), state, "{row:?}");
            assert!(row.findings.iter().all(|it| it.found.contains(words)), "{row:?}");
        }
    }
}
