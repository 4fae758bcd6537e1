//! Definitions of our kinds: whether they are there and as this release has them, whose they are, who converts, and in which
//! versions objects lie.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    facts::{Definition, Facts, each, text, texts},
    road::Road,
    rows::{Finding, Row},
};
use crate::{
    cluster::examining::{Look, Tried},
    domain::{certificates::consumers::is_unconverted, storage::CONDITION},
};

const LABEL: &str = "/metadata/labels/app.kubernetes.io~1name";
const VERSION: &str = "/metadata/labels/app.kubernetes.io~1version";
/// By what made its definition the Go original is known.
const GENERATOR: &str = "/metadata/annotations/controller-gen.kubebuilder.io~1version";

/// What brings this release's definitions back.
fn again(facts: &Facts) -> String {
    Road::of(&facts.deployment).again("definitions", "crds/")
}

/// All of them are there, and serve what this release needs.
pub fn present(facts: &Facts) -> Row {
    let one = |it: &Definition| {
        let found = match &it.found {
            Look::There(found) => found,
            Look::Missing => {
                return Some(Finding::failed(it.place(), "is not there", again(facts)));
            }
            Look::Untold(why) => return Some(Finding::unknown(it.place(), why)),
        };
        let served: Vec<_> = each(found, "/spec/versions")
            .filter(|it| it.get("served").is_some_and(|it| it == true))
            .map(|it| text(it, "/name"))
            .collect();
        let missing: Vec<_> =
            it.kind.versions().into_iter().filter(|it| !served.contains(&&**it)).collect();
        if !missing.is_empty() {
            let words = format!("does not serve {}", missing.join(", "));
            return Some(Finding::failed(it.place(), words, again(facts)));
        }
        let established = condition(found, "Established").unwrap_or(&Value::Null);
        let is = text(established, "/status") == "True";
        let words = format!("is not served yet: {}", text(established, "/message"));
        let fix = "see its conditions (kubectl describe crd); NamesAccepted says whether another definition has its names";
        (!is).then(|| Finding::failed(it.place(), words, fix))
    };
    Row {
        id: "definitions.present",
        what: "are all definitions there, and do they serve this release's versions?",
        well: format!("{} definitions", facts.definitions.len()),
        findings: facts.definitions.iter().filter_map(one).collect(),
    }
}

/// Nobody else writes them, by a server-side dry run of ours.
pub fn owner(facts: &Facts) -> Row {
    Row {
        id: "definitions.owner",
        what: "would this release's definitions apply, and does nobody else write them?",
        well: "a dry run of this release's definitions changes nothing of anybody else's".into(),
        findings: facts.definitions.iter().filter_map(|it| owned(it, facts)).collect(),
    }
}

fn owned(it: &Definition, facts: &Facts) -> Option<Finding> {
    let before = facts.before;
    let found = match (&it.found, before) {
        (Look::There(found), _) => found,
        (Look::Missing, true) => &Value::Null,
        // Another row says so.
        (Look::Missing | Look::Untold(_), _) => return None,
    };
    if is_originals(found) {
        let fix = "ours takes its place and works with its objects: docs/upgrade.md";
        let words = "is the Go original's";
        return Some(if before {
            Finding::advice(it.place(), words, fix)
        } else {
            Finding::failed(it.place(), words, fix)
        });
    }
    match it.tried.as_ref()? {
        Tried::Denied(why) => Some(Finding::unknown(it.place(), why)),
        Tried::Refused { causes, message, .. } => {
            let others = managers(causes);
            let road = Road::of(&facts.deployment);
            if others.is_empty() {
                let words = format!("is refused: {message}");
                return Some(Finding::failed(
                    it.place(),
                    words,
                    "mend what it names, then ask again",
                ));
            }
            let fields: Vec<_> = causes.iter().take(3).map(|(field, _)| &**field).collect();
            let words = format!("{} writes {}", others.join(", "), fields.join(", "));
            // Who installed it writes it again, and nobody is in the way of that.
            if others.iter().all(|it| road.is_written_by(it)) {
                return if before {
                    by_its_road(road, it, words)
                } else {
                    Some(differs(it, facts))
                };
            }
            let fix = "upgrade by what writes it (a Helm release, OLM, a GitOps controller), or stop that and take the \
                       fields over: kubectl apply --server-side --force-conflicts -f crds/";
            Some(Finding::failed(it.place(), words, fix))
        }
        Tried::Taken(ours) => {
            let generation = |it: &Value| it.pointer("/metadata/generation").cloned();
            (!before && generation(found) != generation(ours)).then(|| differs(it, facts))
        }
    }
}

/// Before an upgrade, of fields that its own road writes anew: `make deploy` does that unasked.
fn by_its_road(road: Road, it: &Definition, words: String) -> Option<Finding> {
    let fix = "upgrade by the same road, which writes over its own (docs/upgrade.md); to change the road: docs/roads.md";
    (road != Road::Files).then(|| Finding::advice(it.place(), words, fix))
}

/// It is not as this release has it.
fn differs(it: &Definition, facts: &Facts) -> Finding {
    let theirs = it.found.there().map(|it| text(it, VERSION)).unwrap_or_default();
    let own = env!("CARGO_PKG_VERSION");
    if theirs == own {
        let words = format!("says that it is of release {own}, and differs from it");
        return Finding::failed(it.place(), words, again(facts));
    }
    let words = format!("is of release {theirs:?}, and this program of {own}");
    Finding::advice(it.place(), words, "take the plugin of the operator's release")
}

/// Who else writes, out of words such as `conflict with "helm" using apiextensions.k8s.io/v1`.
fn managers(causes: &[(String, String)]) -> Vec<String> {
    let name =
        |words: &str| Some(words.strip_prefix("conflict with ")?.split('"').nth(1)?.to_owned());
    let all: BTreeSet<_> = causes.iter().filter_map(|(_, words)| name(words)).collect();
    all.into_iter().collect()
}

fn is_originals(found: &Value) -> bool {
    !text(found, GENERATOR).is_empty() && text(found, LABEL) != "gastown-operator"
}

/// Somebody converts, and it is us.
pub fn conversion(facts: &Facts) -> Row {
    let one = |it: &Definition| {
        let found = it.found.there()?;
        let fix = format!("{}; a running operator puts it right by itself", again(facts));
        if is_unconverted(found) {
            let words =
                "has two versions and no conversion: what is written in one is cut in the other";
            return Some(if facts.before {
                Finding::advice(it.place(), words, fix)
            } else {
                Finding::failed(it.place(), words, fix)
            });
        }
        let at = "/spec/conversion/webhook/clientConfig/service/namespace";
        let theirs = text(found, at);
        (!theirs.is_empty() && theirs != facts.namespace).then(|| {
            let words = format!("is converted by a Service in namespace {theirs}, not {}", facts.namespace);
            let fix = "a cluster has one operator: name its namespace with -n, or remove the other one first (make undeploy)";
            Finding::failed(it.place(), words, fix)
        })
    };
    Row {
        id: "definitions.conversion",
        what: "do definitions with two versions ask this operator to convert?",
        well: "every definition with two versions asks for conversion".into(),
        findings: facts.definitions.iter().filter_map(one).collect(),
    }
}

/// Objects lie in versions that this release knows, and in how many.
pub fn storage(facts: &Facts) -> Row {
    let one = |it: &Definition| {
        let found = it.found.there()?;
        let (stored, ours) = (texts(found, "/status/storedVersions"), it.kind.versions());
        let foreign: Vec<_> =
            stored.iter().filter(|it| !ours.iter().any(|ours| ours == *it)).copied().collect();
        if !foreign.is_empty() {
            let words =
                format!("has objects in {}, which this release does not know", foreign.join(", "));
            let fix = "migrate them with the release that knows it, before this one is installed: kubectl gt storage migrate";
            return Some(Finding::failed(it.place(), words, fix));
        }
        let refused = condition(found, CONDITION)
            .filter(|it| text(it, "/reason") == "WritesRefused")
            .map(|it| text(it, "/message"));
        if let Some(words) = refused {
            let fix = "mend or delete the objects that it names, then kubectl gt storage migrate";
            return Some(Finding::failed(it.place(), words, fix));
        }
        let storage =
            each(found, "/spec/versions").find(|it| it.get("storage").is_some_and(|it| it == true));
        let storage = storage.map(|it| text(it, "/name")).unwrap_or_default();
        let behind: Vec<_> = stored.into_iter().filter(|it| *it != storage).collect();
        (!behind.is_empty()).then(|| {
            let words = format!("may have objects in {}, and stores {storage}", behind.join(", "));
            Finding::advice(it.place(), words, "when there is time: kubectl gt storage migrate")
        })
    };
    Row {
        id: "storage.migration",
        what: "do all objects lie in their storage version?",
        well: "all objects lie in their storage version".into(),
        findings: facts.definitions.iter().filter_map(one).collect(),
    }
}

fn condition<'a>(found: &'a Value, name: &str) -> Option<&'a Value> {
    each(found, "/status/conditions").find(|it| text(it, "/type") == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::doctor::{facts::definitions, rows::State};

    fn healthy() -> Value {
        json!({
            "metadata": {"generation": 3, "labels": {
                "app.kubernetes.io/name": "gastown-operator", "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
            }},
            "spec": {
                "versions": [{"name": "v1beta1", "served": true, "storage": true}, {"name": "v1alpha1", "served": true, "storage": false}],
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"namespace": "town"}}}},
            },
            "status": {"storedVersions": ["v1beta1"], "conditions": [{"type": "Established", "status": "True"}]},
        })
    }

    /// Of Polecats this definition and answer to a dry run; the others are as they should be.
    fn facts(found: Look, tried: Option<Tried>) -> Facts {
        let polecats = (found, tried);
        let others = |name: &str| (sound(name), None);
        let of = |name: &str| {
            if name.starts_with("polecats.") { polecats.clone() } else { others(name) }
        };
        Facts { namespace: "town".into(), definitions: definitions(of), ..Facts::default() }
    }

    fn sound(name: &str) -> Look {
        let mut it = healthy();
        let kind =
            crate::kinds::KINDS.iter().find(|it| name == format!("{}.{}", it.plural, it.group));
        let versions = kind.unwrap().versions();
        let all = versions
            .iter()
            .enumerate()
            .map(|(at, it)| json!({"name": it, "served": true, "storage": at == 0}));
        it["spec"]["versions"] = all.collect();
        it["status"]["storedVersions"] = json!([versions[0]]);
        Look::There(it)
    }

    fn changed(at: &str, to: Value) -> Look {
        let mut it = healthy();
        let (parent, key) = at.rsplit_once('/').unwrap();
        it.pointer_mut(parent).unwrap()[key.replace("~1", "/")] = to;
        Look::There(it)
    }

    fn only(row: &Row) -> (State, String) {
        let [it] = &*row.findings else { panic!("{row:?}") };
        assert!(it.place.contains("polecats") && !it.fix.is_empty(), "{it:?}");
        (it.state, it.found.clone())
    }

    #[test]
    fn what_is_missing_or_not_served_is_told() {
        let row = present(&facts(Look::There(healthy()), None));
        assert_eq!((row.state(), &*row.well), (State::Ok, "8 definitions"));
        let one = json!([{"name": "v1alpha1", "served": true}]);
        let waits = json!([{"type": "Established", "status": "False", "message": "not all names are accepted"}]);
        for (found, state, words) in [
            (Look::Missing, State::Failed, "not there"),
            (Look::Untold("cannot get".into()), State::Unknown, "cannot get"),
            (changed("/spec/versions", one), State::Failed, "v1beta1"),
            (changed("/status/conditions", waits), State::Failed, "not all names"),
        ] {
            let (is, found) = only(&present(&facts(found, None)));
            assert!(is == state && found.contains(words), "{words}: {is:?} {found}");
        }
    }

    #[test]
    fn who_else_writes_is_told_by_name() {
        let taken =
            |generation| Some(Tried::Taken(json!({"metadata": {"generation": generation}})));
        assert_eq!(owner(&facts(Look::There(healthy()), taken(3))).state(), State::Ok);
        let conflict = (
            "f:spec".to_owned(),
            "conflict with \"argocd\" using apiextensions.k8s.io/v1".to_owned(),
        );
        let refused =
            |causes| Some(Tried::Refused { code: 409, message: "must appear".into(), causes });
        let older = changed("/metadata/labels/app.kubernetes.io~1version", json!("0.4.0"));
        let original = changed("/metadata/labels", json!({}));
        let Look::There(mut original) = original else { panic!() };
        original["metadata"]["annotations"] =
            json!({"controller-gen.kubebuilder.io/version": "v0.17.1"});
        let there = Look::There(healthy());
        for (found, tried, state, words) in [
            (there.clone(), refused(vec![conflict.clone()]), State::Failed, "argocd writes f:spec"),
            (there.clone(), refused(vec![]), State::Failed, "must appear"),
            (
                there.clone(),
                Some(Tried::Denied("cannot patch".into())),
                State::Unknown,
                "cannot patch",
            ),
            (there, taken(4), State::Failed, "differs"),
            (older, taken(4), State::Advice, "0.4.0"),
            (
                Look::There(original.clone()),
                refused(vec![conflict.clone()]),
                State::Failed,
                "Go original",
            ),
        ] {
            let (is, found) = only(&owner(&facts(found, tried)));
            assert!(is == state && found.contains(words), "{words}: {is:?} {found}");
        }
        let before =
            Facts { before: true, ..facts(Look::There(original), refused(vec![conflict])) };
        assert_eq!(only(&owner(&before)).0, State::Advice, "its place is what ours takes");
        let upgrade = Facts { before: true, ..facts(Look::There(healthy()), taken(4)) };
        assert_eq!(owner(&upgrade).state(), State::Ok, "an upgrade changes it");
        let fresh = Facts { before: true, ..facts(Look::Missing, refused(vec![])) };
        assert_eq!(only(&owner(&fresh)).0, State::Failed, "what is not there yet is tried too");
    }

    #[test]
    fn who_installed_them_is_in_nobodys_way() {
        let words = "conflict with \"helm\" using apiextensions.k8s.io/v1".to_owned();
        let causes = vec![(".spec.versions".to_owned(), words)];
        let tried = Some(Tried::Refused { code: 409, message: "must appear".into(), causes });
        let by_helm = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
        let older = changed("/metadata/labels/app.kubernetes.io~1version", json!("0.4.0"));
        let of = |deployment: &Look, before: bool| {
            let deployment = deployment.clone();
            only(&owner(&Facts { before, deployment, ..facts(older.clone(), tried.clone()) })).0
        };
        let helm = Look::There(by_helm);
        assert_eq!(of(&helm, true), State::Advice, "helm upgrade writes over its own");
        assert_eq!(of(&helm, false), State::Advice, "it is of another release");
        assert_eq!(of(&Look::Missing, true), State::Failed, "where no release of Helm's is ours");
    }

    #[test]
    fn who_converts_is_looked_at() {
        assert_eq!(conversion(&facts(Look::There(healthy()), None)).state(), State::Ok);
        let none = changed("/spec/conversion", json!({"strategy": "None"}));
        let (state, words) = only(&conversion(&facts(none.clone(), None)));
        assert!(state == State::Failed && words.contains("no conversion"), "{words}");
        let before = Facts { before: true, ..facts(none, None) };
        assert_eq!(only(&conversion(&before)).0, State::Advice, "an installation mends it");
        let elsewhere = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"namespace": "other"}}}});
        let (state, words) =
            only(&conversion(&facts(changed("/spec/conversion", elsewhere), None)));
        assert!(state == State::Failed && words.contains("namespace other"), "{words}");
    }

    #[test]
    fn where_objects_lie_is_told() {
        assert_eq!(storage(&facts(Look::There(healthy()), None)).state(), State::Ok);
        let both = changed("/status/storedVersions", json!(["v1alpha1", "v1beta1"]));
        let (state, words) = only(&storage(&facts(both, None)));
        assert!(state == State::Advice && words.contains("v1alpha1"), "{words}");
        let foreign = changed("/status/storedVersions", json!(["v2", "v1beta1"]));
        let (state, words) = only(&storage(&facts(foreign, None)));
        assert!(state == State::Failed && words.contains("v2"), "{words}");
        let refused = json!([{"type": CONDITION, "status": "False", "reason": "WritesRefused", "message": "1 object"}]);
        let (state, words) = only(&storage(&facts(changed("/status/conditions", refused), None)));
        assert!(state == State::Failed && words.contains("1 object"), "{words}");
    }
}
