//! Webhooks: ours are there as they were installed and reach us; what others have in the way of our kinds and pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    facts::{Facts, Homes, each, text, texts},
    road::Road,
    rows::{Finding, Row},
    selector,
};
use crate::{
    cluster::examining::{Look, Tried},
    kinds::KINDS,
    manifests::{self, olm},
};

/// A webhook of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    pub sort: &'static str,
    pub configuration: &'a str,
    pub json: &'a Value,
}

impl<'a> Hook<'a> {
    pub fn name(&self) -> &'a str {
        text(self.json, "/name")
    }

    /// Namespace and name of the Service that it leads to; none for a URL.
    pub fn service(&self) -> Option<(&'a str, &'a str)> {
        let service = self.json.pointer("/clientConfig/service")?;
        Some((text(service, "/namespace"), text(service, "/name")))
    }

    /// Whether it is this operator's, by its Service: OLM makes names of its own for configurations, and other operators may have
    /// theirs in the same namespace.
    pub fn is_ours(&self, namespace: &str) -> bool {
        let names = [
            manifests::MUTATING,
            manifests::VALIDATING,
            manifests::PODS_MUTATING,
            manifests::PODS_VALIDATING,
        ];
        match self.service() {
            Some((of, name)) => {
                of == namespace
                    && (name == manifests::WEBHOOK_SERVICE || name == olm::webhook_service())
            }
            None => names.contains(&self.configuration),
        }
    }

    pub fn place(&self) -> String {
        format!("{} {}, webhook {}", self.sort, self.configuration, self.name())
    }
}

/// Every webhook of the cluster that could be read.
pub fn all(facts: &Facts) -> impl Iterator<Item = Hook<'_>> {
    [
        ("MutatingWebhookConfiguration", &facts.mutating),
        ("ValidatingWebhookConfiguration", &facts.validating),
    ]
    .into_iter()
    .flat_map(|(sort, list)| {
        list.items().iter().flat_map(move |it| {
            let configuration = text(it, "/metadata/name");
            each(it, "/webhooks").map(move |json| Hook { sort, configuration, json })
        })
    })
}

/// What can't be read of the webhooks, once for each sort.
fn untold(facts: &Facts) -> impl Iterator<Item = Finding> {
    let all = [
        ("MutatingWebhookConfigurations", &facts.mutating),
        ("ValidatingWebhookConfigurations", &facts.validating),
    ];
    all.into_iter().filter_map(|(place, it)| match it {
        Look::Untold(why) => Some(Finding::unknown(place, why)),
        Look::There(_) | Look::Missing => None,
    })
}

/// Ours are there, and fail as they were installed to by their road; `installed` is what others than OLM install.
pub fn ours(facts: &Facts, installed: &[Value]) -> Row {
    let there: Vec<_> = all(facts).filter(|it| it.is_ours(&facts.namespace)).collect();
    let road = Road::of(&facts.deployment);
    let fix = road.again("webhooks", "webhooks/");
    let mut findings: Vec<_> = untold(facts).collect();
    for configuration in road.hooks(&facts.namespace, installed) {
        let sort = text(&configuration, "/kind");
        let configured = match sort {
            "MutatingWebhookConfiguration" => &facts.mutating,
            "ValidatingWebhookConfiguration" => &facts.validating,
            _ => continue,
        };
        if matches!(configured, Look::Untold(_)) {
            continue;
        }
        for want in each(&configuration, "/webhooks") {
            let name = text(want, "/name");
            let place = format!("{sort}, webhook {name}");
            let Some(found) = there.iter().find(|it| it.sort == sort && it.name() == name) else {
                findings.push(Finding::failed(
                    place,
                    "is not there, so nothing asks the operator",
                    &*fix,
                ));
                continue;
            };
            let (is, wants) = (text(found.json, "/failurePolicy"), text(want, "/failurePolicy"));
            if is != wants {
                let words = format!("has failurePolicy {is}, and was installed with {wants}");
                findings.push(Finding::failed(found.place(), words, &*fix));
            }
        }
    }
    Row {
        id: "webhooks.ours",
        what: "are this release's webhooks there, and do they fail closed where they must?",
        well: format!("{} webhooks", there.len()),
        findings,
    }
}

/// What others have in the way of our kinds and of Polecats' pods.
pub fn foreign(facts: &Facts) -> Row {
    let mut findings: Vec<_> = untold(facts).collect();
    for it in all(facts).filter(|it| !it.is_ours(&facts.namespace)) {
        let met = met(&it, facts);
        if !met.is_empty() {
            findings.push(told(&it, &met, facts));
        }
    }
    Row {
        id: "webhooks.foreign",
        what: "do webhooks of others stand in the way of our kinds, or of Polecats' pods?",
        well: "no webhook of anybody else is asked about our kinds or Polecats' pods".into(),
        findings,
    }
}

fn told(it: &Hook<'_>, met: &BTreeSet<&str>, facts: &Facts) -> Finding {
    let what: Vec<_> = met.iter().copied().collect();
    let policy = text(it.json, "/failurePolicy");
    let to = it.service().map_or_else(
        || text(it.json, "/clientConfig/url").to_owned(),
        |(namespace, name)| format!("Service {namespace}/{name}"),
    );
    let words = format!("is asked about {} (failurePolicy {policy}), at {to}", what.join(", "));
    let key = it.service().map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    let gone = key.is_some_and(|it| facts.services.get(&it) == Some(&Look::Missing));
    if gone && policy != "Ignore" {
        let fix = "every such write is refused: bring that Service back, or delete the configuration if its owner is gone";
        return Finding::failed(it.place(), format!("{words}, which is not there"), fix);
    }
    let fix = "see that it lets them pass unchanged and answers fast; its namespaceSelector can leave their namespaces out";
    Finding::advice(it.place(), words, fix)
}

/// What of ours a webhook is asked about.
fn met(it: &Hook<'_>, facts: &Facts) -> BTreeSet<&'static str> {
    let namespaced = reaches(it, facts);
    let mut met = BTreeSet::new();
    for rule in each(it.json, "/rules") {
        let names =
            |at: &str, name: &str| texts(rule, at).iter().any(|it| *it == name || *it == "*");
        let writes = ["CREATE", "UPDATE"].iter().any(|it| names("/operations", it));
        for kind in KINDS.iter().filter(|_| writes) {
            let everywhere = (kind.crd)().spec.scope == "Cluster";
            let asked = names("/apiGroups", kind.group) && names("/resources", kind.plural);
            if asked && (everywhere || namespaced) {
                met.insert(kind.plural);
            }
        }
        let of_pods = names("/apiGroups", "")
            && names("/resources", "pods")
            && names("/operations", "CREATE");
        let none = Value::Null;
        let objects = it.json.get("objectSelector").unwrap_or(&none);
        if of_pods && namespaced && selector::may_match_polecats(objects) {
            met.insert("pods of Polecats");
        }
    }
    met
}

/// Whether it is asked about any namespace with Polecats; where there are none, about any namespace.
fn reaches(it: &Hook<'_>, facts: &Facts) -> bool {
    let homes = match &facts.homes {
        Homes::Known(it) => it.clone(),
        Homes::Untold(_) => BTreeSet::new(),
    };
    let none = Value::Null;
    let selector = it.json.get("namespaceSelector").unwrap_or(&none);
    let mut all = facts.namespaces.items().iter().peekable();
    all.peek().is_none()
        || all.any(|it| {
            let here = homes.is_empty() || homes.contains(text(it, "/metadata/name"));
            here && selector::matches(selector, it.pointer("/metadata/labels"))
        })
}

/// A call of the API server reaches us, and it trusts what we serve: a Polecat of each version is tried.
pub fn reached(facts: &Facts) -> Row {
    let one = |(version, tried): &(String, Tried)| {
        let place = format!("a Polecat of {version} in namespace {}", facts.namespace);
        let (code, message) = match tried {
            Tried::Taken(_) => return None,
            Tried::Denied(why) => return Some(Finding::unknown(place, why)),
            Tried::Refused { code, message, .. } => (*code, message),
        };
        // Refused by us: the call came through.
        if code == 422 && message.contains(" denied the request") {
            return None;
        }
        let fix = if message.contains("x509:") {
            "the API server does not trust what the operator serves: see certificates.bundles and docs/certificates.md"
        } else if message.contains("failed calling webhook")
            || message.contains("conversion webhook")
        {
            "the API server can't reach the operator: are its pods ready, and do firewall and NetworkPolicies let the API \
             server through to port 9443?"
        } else {
            "mend what it names, then ask again"
        };
        Some(Finding::failed(place, message, fix))
    };
    Row {
        id: "webhooks.reached",
        what: "do calls of the API server reach the operator, for admission and for conversion?",
        well: "a server-side dry run was admitted and converted".into(),
        findings: facts.calls.iter().filter_map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::doctor::{road, rows::State};

    fn facts(validating: Value) -> Facts {
        let namespaces = json!([
            {"metadata": {"name": "town", "labels": {"team": "a"}}},
            {"metadata": {"name": "other", "labels": {"team": "b"}}},
        ]);
        Facts {
            namespace: "operators".into(),
            mutating: Look::There(json!([])),
            validating: Look::There(validating),
            namespaces: Look::There(namespaces),
            homes: Homes::Known(["town".to_owned()].into()),
            ..Facts::default()
        }
    }

    fn configuration(rule: &Value, rest: &Value) -> Value {
        let mut hook = json!({
            "name": "v.example.com", "failurePolicy": "Fail", "rules": [rule],
            "clientConfig": {"service": {"namespace": "policies", "name": "guard"}},
        });
        json_patch::merge(&mut hook, rest);
        json!([{"metadata": {"name": "guard"}, "webhooks": [hook]}])
    }

    fn rule(group: &str, resource: &str) -> Value {
        json!({"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [resource]})
    }

    #[test]
    fn what_stands_in_the_way_is_told_and_nothing_else() {
        let ours = "gastown.gastown.io";
        let table = [
            (rule(ours, "polecats"), json!({}), Some("polecats"), "of our kind"),
            (rule("*", "*"), json!({}), Some("pods of Polecats"), "of everything"),
            (rule("", "pods"), json!({}), Some("pods of Polecats"), "of pods"),
            (rule("apps", "deployments"), json!({}), None, "of others"),
            (
                rule("", "pods"),
                json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}),
                None,
                "elsewhere",
            ),
            (
                rule("", "pods"),
                json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}),
                Some("pods"),
                "there",
            ),
            (
                rule("", "pods"),
                json!({"objectSelector": {"matchLabels": {"app": "x"}}}),
                None,
                "other pods",
            ),
            (
                rule(ours, "rigs"),
                json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}),
                Some("rigs"),
                "no namespace",
            ),
        ];
        for (rule, rest, want, because) in table {
            let row = foreign(&facts(configuration(&rule, &rest)));
            let words = format!("{:?}", row.findings);
            assert_eq!(row.state() == State::Advice, want.is_some(), "{because}: {row:?}");
            assert!(words.contains(want.unwrap_or_default()), "{because}: {words}");
        }
        let read = facts(json!([]));
        let denied = Facts { validating: Look::Untold("cannot list".into()), ..read };
        assert_eq!(foreign(&denied).state(), State::Unknown);
    }

    #[test]
    fn a_webhook_whose_service_is_gone_blocks() {
        let dead = |rest: &Value| {
            let mut it = facts(configuration(&rule("", "pods"), rest));
            it.services.insert(("policies".into(), "guard".into()), Look::Missing);
            foreign(&it).state()
        };
        assert_eq!(dead(&json!({})), State::Failed);
        assert_eq!(
            dead(&json!({"failurePolicy": "Ignore"})),
            State::Advice,
            "nothing waits for it"
        );
    }

    #[test]
    fn what_another_operator_has_in_our_namespace_is_not_ours() {
        let of = |name: &str| {
            let led =
                json!({"clientConfig": {"service": {"namespace": "operators", "name": name}}});
            foreign(&facts(configuration(&rule("", "pods"), &led)))
        };
        let row = of("their-service");
        assert!(row.findings[0].found.contains("operators/their-service"), "{row:?}");
        for ours in [manifests::WEBHOOK_SERVICE, &olm::webhook_service()] {
            assert_eq!(of(ours).findings, [], "{ours}");
        }
        let by_address =
            json!({"clientConfig": {"url": "https://192.0.2.7:9443/mutate", "service": null}});
        let mut ours = configuration(&rule("", "pods"), &by_address);
        assert_eq!(foreign(&facts(ours.clone())).state(), State::Advice, "whoever that is");
        ours[0]["metadata"]["name"] = json!(manifests::VALIDATING);
        assert_eq!(foreign(&facts(ours)).findings, [], "as for `make run`");
    }

    #[test]
    fn ours_are_there_and_fail_as_installed() {
        let installed = manifests::installed("operators").unwrap();
        let of = |sort: &str| {
            installed.iter().filter(|it| text(it, "/kind") == sort).cloned().collect::<Vec<_>>()
        };
        let mut whole = facts(of("ValidatingWebhookConfiguration").into());
        whole.mutating = Look::There(of("MutatingWebhookConfiguration").into());
        assert_eq!(ours(&whole, &installed).state(), State::Ok, "{:?}", ours(&whole, &installed));
        assert_eq!(foreign(&whole).findings, [], "and are not in their own way");

        let mut lax = whole.clone();
        let Look::There(it) = &mut lax.validating else { panic!() };
        it[0]["webhooks"][0]["failurePolicy"] = json!("Ignore");
        let row = ours(&lax, &installed);
        assert!(
            row.state() == State::Failed && row.findings[0].found.contains("Ignore"),
            "{row:?}"
        );
        let without = Facts { validating: Look::There(json!([])), ..whole.clone() };
        let row = ours(&without, &installed);
        assert!(row.findings.iter().any(|it| it.place.contains("vpolecat.kb.io")), "{row:?}");
        let denied = Look::Untold("cannot list".into());
        let unknown = Facts { mutating: denied.clone(), validating: denied, ..whole };
        assert_eq!(ours(&unknown, &installed).state(), State::Unknown);
    }

    /// Webhooks as OLM makes them of a CSV, and those that the operator applies beside them; all lead to OLM's Service.
    fn by_olm() -> Facts {
        let led = json!({"service": {"namespace": "operators", "name": olm::webhook_service()}});
        let definitions = road::csv()["spec"]["webhookdefinitions"].take();
        let own = manifests::policies::hooks("operators");
        let of = |sort: &str| {
            let made = each(&definitions, "").filter(|it| text(it, "/type").starts_with(sort));
            let made = made.map(|it| {
                let hook = json!({"name": it["generateName"], "failurePolicy": it["failurePolicy"], "clientConfig": led});
                json!({"metadata": {"name": "made-up"}, "webhooks": [hook]})
            });
            let own = own.iter().filter(|it| text(it, "/kind").starts_with(sort)).cloned();
            let mut all: Vec<_> = made.chain(own).collect();
            for it in all.iter_mut().flat_map(|it| it["webhooks"].as_array_mut().unwrap()) {
                it["clientConfig"] = led.clone();
            }
            Look::There(all.into())
        };
        let (mutating, validating) = (of("Mutating"), of("Validating"));
        Facts { mutating, validating, deployment: road::deployment_by_olm(), ..facts(json!([])) }
    }

    #[test]
    fn by_olm_ours_fail_as_its_bundle_says() {
        let installed = manifests::installed("operators").unwrap();
        let row = ours(&by_olm(), &installed);
        assert_eq!((row.state(), &*row.findings), (State::Ok, &[][..]));
        let elsewhere = Facts { deployment: Look::Missing, ..by_olm() };
        assert_eq!(
            ours(&elsewhere, &installed).state(),
            State::Failed,
            "by other roads they do not"
        );
        let mut lax = by_olm();
        let Look::There(it) = &mut lax.validating else { panic!() };
        let polecat = it
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .find(|it| text(it, "/webhooks/0/name") == "vpolecat.kb.io");
        polecat.unwrap()["webhooks"][0]["failurePolicy"] = json!("Ignore");
        let row = ours(&lax, &installed);
        let [it] = &*row.findings else { panic!("{row:?}") };
        assert!(it.found.contains("Ignore") && it.fix.contains("OLM"), "{it:?}");
    }

    #[test]
    fn a_call_that_fails_is_told_apart_from_one_that_is_answered() {
        let refused =
            |code, message: &str| Tried::Refused { code, message: message.into(), causes: vec![] };
        let table = [
            (Tried::Taken(Value::Null), State::Ok, ""),
            (refused(422, "admission webhook \"v\" denied the request: no"), State::Ok, ""),
            (Tried::Denied("cannot create".into()), State::Unknown, "somebody who may"),
            (
                refused(500, "failed calling webhook \"v\": x509: certificate signed by"),
                State::Failed,
                "certificates.bundles",
            ),
            (
                refused(500, "failed calling webhook \"v\": connection refused"),
                State::Failed,
                "9443",
            ),
            (refused(500, "conversion webhook for polecats failed"), State::Failed, "9443"),
            (refused(404, "namespaces \"x\" not found"), State::Failed, "mend"),
        ];
        for (tried, state, fix) in table {
            let because = format!("{tried:?}");
            let row =
                reached(&Facts { calls: vec![("v1beta1".into(), tried)], ..facts(json!([])) });
            assert_eq!(row.state(), state, "{because}");
            assert!(row.findings.iter().all(|it| it.fix.contains(fix)), "{row:?}");
        }
    }
}
