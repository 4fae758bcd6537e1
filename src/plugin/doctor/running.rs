//! The cluster, and the operator in it: versions, replicas, who owns shards, and whether the Go original acts.

use serde_json::Value;

use super::{
    facts::{Facts, Holders, each, text},
    rows::{Finding, Row},
};
use crate::{
    cluster::{degraded::Matter, examining::Look},
    domain::original,
    manifests::operator::DEPLOYMENT,
    plugin::shards::silence,
};

/// The oldest minor version of Kubernetes 1 that serves all that is installed.
const OLDEST: u32 = 31;

/// The API server's version.
pub fn version(facts: &Facts) -> Row {
    let (mut well, place) = (String::new(), "the API server");
    let fix = format!("upgrade the cluster to Kubernetes 1.{OLDEST} (OpenShift 4.18) or later");
    let findings = match &facts.version {
        Look::Untold(why) => vec![Finding::unknown(place, why)],
        Look::Missing => vec![Finding::unknown(place, "does not say its version")],
        Look::There(it) => {
            well = format!("Kubernetes {}", text(it, "/gitVersion"));
            // Such as `31` or `31+`.
            let number = |at| text(it, at).trim_end_matches('+').parse::<u32>().unwrap_or_default();
            let is = (number("/major"), number("/minor"));
            let old = is < (1, OLDEST);
            old.then(|| Finding::failed(place, format!("is of {well}"), fix)).into_iter().collect()
        }
    };
    let what = "is Kubernetes recent enough?";
    Row { id: "kubernetes.version", what, well, findings }
}

/// All replicas of the Deployment are ready, and of one revision.
pub fn ready(facts: &Facts) -> Row {
    let place = format!("Deployment {DEPLOYMENT} in namespace {}", facts.namespace);
    let mut well = String::new();
    let findings = match &facts.deployment {
        Look::Untold(why) => vec![Finding::unknown(place, why)],
        Look::Missing => {
            let fix = "install the operator (docs/install.md), or name its namespace with -n";
            vec![Finding::failed(place, "is not there", fix)]
        }
        Look::There(it) => {
            let number = |at| it.pointer(at).and_then(Value::as_i64).unwrap_or_default();
            let wanted = it.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let (ready, updated) =
                (number("/status/readyReplicas"), number("/status/updatedReplicas"));
            well = format!("{ready} of {wanted} replicas are ready");
            let seen = number("/status/observedGeneration") >= number("/metadata/generation");
            let done = wanted > 0 && ready >= wanted && updated >= wanted && seen;
            (!done)
                .then(|| unready(place, it, &format!("{well}, {updated} of this revision")))
                .into_iter()
                .collect()
        }
    };
    Row { id: "operator.ready", what: "are all replicas of the operator ready?", well, findings }
}

fn unready(place: String, it: &Value, words: &str) -> Finding {
    let why = each(it, "/status/conditions")
        .filter(|it| text(it, "/status") == "False" || text(it, "/type") == "ReplicaFailure")
        .map(|it| format!("; {}: {}", text(it, "/reason"), text(it, "/message")));
    let fix =
        "see the pods (kubectl describe pod -l control-plane=controller-manager) and their log";
    Finding::failed(place, format!("{words}{}", why.collect::<String>()), fix)
}

/// Every active shard has an owner.
pub fn leases(facts: &Facts) -> Row {
    let place = format!("Leases in namespace {}", facts.namespace);
    let mut well = String::new();
    let fix = "a shard is taken within seconds where a replica is ready: see operator.ready and original.acts, and kubectl gt \
               shards (docs/shards.md)";
    let findings = match &facts.shards {
        Holders::Untold(why) => vec![Finding::unknown(place, why)],
        Holders::NoMap => {
            vec![Finding::failed(place, "there is no ShardMap: no replica has begun yet", fix)]
        }
        Holders::Known { replicas, unowned, shards, silent, .. } => {
            well = format!("{shards} shards are owned by {replicas} replicas");
            let nobody = format!(
                "shards {} are owned by nobody, so nothing happens in their namespaces",
                unowned.join(", ")
            );
            let nobody = (!unowned.is_empty()).then(|| Finding::failed(place.clone(), nobody, fix));
            let silent = silent.iter().map(|(pod, it)| {
                Finding::advice(place.clone(), silence(pod, *it), "see that pod, and its node")
            });
            nobody.into_iter().chain(silent).collect()
        }
    };
    Row { id: "operator.leases", what: "is every shard owned by a replica?", well, findings }
}

/// No replica goes by the last good state of something.
pub fn degraded(facts: &Facts) -> Row {
    let one = |pod: &str, line: &str| {
        let fix = if line.starts_with(Matter::TlsProfile.name()) {
            "give apiserver.config.openshift.io/cluster a tlsSecurityProfile with suites and groups that docs/certificates.md \
             names, or start the operator with a --tls-profile of its own"
        } else if line.starts_with(Matter::MetricsTls.name()) {
            "bring the metrics a certificate (--metrics-cert-path) whose key has a suite in what the cluster asks for, or leave \
             that out, so that they present the webhooks'"
        } else if line.starts_with(Matter::ShardMap.name()) {
            "delete the ShardMap gastown: the replicas put the one back that they act by (docs/shards.md)"
        } else {
            "docs/certificates.md says what the reason means, and the log of that pod has more"
        };
        Finding::failed(format!("pod {pod} in namespace {}", facts.namespace), line, fix)
    };
    let findings = match &facts.shards {
        Holders::Untold(why) => {
            vec![Finding::unknown(format!("Leases in namespace {}", facts.namespace), why)]
        }
        // Another check tells of that.
        Holders::NoMap => Vec::new(),
        Holders::Known { degraded, .. } => {
            let all =
                degraded.iter().flat_map(|(pod, lines)| lines.iter().map(move |it| (pod, it)));
            all.map(|(pod, line)| one(pod, line)).collect()
        }
    };
    Row {
        id: "operator.degraded",
        what: "can every replica use what it should go by?",
        well: "no replica says that it is degraded".into(),
        findings,
    }
}

/// The Go original does not act beside us.
pub fn original(facts: &Facts) -> Row {
    let place = format!("Lease {} in namespace {}", original::LEASE, facts.namespace);
    let findings = match &facts.original {
        Look::Untold(why) => vec![Finding::unknown(place, why)],
        Look::Missing => Vec::new(),
        Look::There(it) => {
            let holder = text(it, "/spec/holderIdentity");
            let acts = !holder.is_empty() && holder != original::HOLDER;
            acts.then(|| acting(facts, place, holder)).into_iter().collect()
        }
    };
    let what = "has the Go original stopped?";
    Row { id: "original.acts", what, well: "no Go original holds its Lease here".into(), findings }
}

fn acting(facts: &Facts, place: String, holder: &str) -> Finding {
    let namespace = &facts.namespace;
    let words =
        format!("is held by {holder}, the Go original: this operator waits until it has stopped");
    let fix = format!(
        "ours takes its Deployment's place where both have one name; else kubectl -n {namespace} scale deployment NAME \
         --replicas=0 (docs/upgrade.md)"
    );
    if facts.before {
        Finding::advice(place, words, fix)
    } else {
        Finding::failed(place, words, fix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        domain::shard::Map,
        plugin::{
            doctor::{read::holders, rows::State},
            shards::tests::read,
        },
    };

    fn facts() -> Facts {
        Facts { namespace: "town".into(), ..Facts::default() }
    }

    #[test]
    fn an_old_kubernetes_is_told() {
        let of = |major: &str, minor: &str| {
            let said = json!({"major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0")});
            version(&Facts { version: Look::There(said), ..facts() }).state()
        };
        for (minor, want) in [
            ("31", State::Ok),
            ("36", State::Ok),
            ("31+", State::Ok),
            ("30", State::Failed),
            ("", State::Failed),
        ] {
            assert_eq!(of("1", minor), want, "{minor}");
        }
        assert_eq!(of("2", "0"), State::Ok);
        let hidden = Facts { version: Look::Untold("cannot get".into()), ..facts() };
        assert_eq!(version(&hidden).state(), State::Unknown);
    }

    #[test]
    fn replicas_that_are_not_ready_are_told() {
        let of = |ready: i64, updated: i64, seen: i64| {
            let it = json!({
                "metadata": {"generation": 2}, "spec": {"replicas": 3},
                "status": {"readyReplicas": ready, "updatedReplicas": updated, "observedGeneration": seen,
                    "conditions": [{"type": "Available", "status": "False", "reason": "Minimum", "message": "too few"}]},
            });
            self::ready(&Facts { deployment: Look::There(it), ..facts() })
        };
        assert_eq!(of(3, 3, 2).state(), State::Ok);
        for (ready, updated, seen, because) in
            [(2, 3, 2, "one is not"), (3, 1, 2, "old ones"), (3, 3, 1, "not seen")]
        {
            let row = of(ready, updated, seen);
            assert!(
                row.state() == State::Failed && row.findings[0].found.contains("too few"),
                "{because}: {row:?}"
            );
        }
        assert_eq!(ready(&facts()).state(), State::Failed, "it is not there");
        let hidden = Facts { deployment: Look::Untold("cannot get".into()), ..facts() };
        assert_eq!(ready(&hidden).state(), State::Unknown);
    }

    #[test]
    fn shards_without_an_owner_are_told() {
        let of = |shards| leases(&Facts { shards, ..facts() });
        let known = |unowned: &[&str]| Holders::Known {
            replicas: 3,
            unowned: unowned.iter().map(|it| (*it).to_owned()).collect(),
            shards: 64,
            degraded: BTreeMap::new(),
            silent: BTreeMap::new(),
        };
        assert_eq!(of(known(&[])).state(), State::Ok);
        let row = of(known(&["07", "12"]));
        assert!(
            row.state() == State::Failed && row.findings[0].found.contains("07, 12"),
            "{row:?}"
        );
        let shards = read(&Map::first(4));
        let row = of(holders(&shards));
        let told: Vec<_> = row.findings.iter().map(|it| (it.state, &*it.found)).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].0 == State::Failed
                && told[0].1.contains("shards 01, 02, 03 are owned by nobody"),
            "{told:?}"
        );
        assert!(
            told[1].0 == State::Advice && told[1].1.starts_with("op-b has not renewed"),
            "{told:?}"
        );
        assert_eq!(of(Holders::NoMap).state(), State::Failed);
        assert_eq!(of(Holders::Untold("cannot list".into())).state(), State::Unknown);
    }

    #[test]
    fn replicas_that_are_degraded_are_told_with_the_reason() {
        let of = |lines: &[&str]| {
            let lines = lines.iter().map(|it| (*it).to_owned()).collect();
            let degraded: BTreeMap<_, Vec<_>> = [("op-a".to_owned(), lines)].into();
            let shards = Holders::Known {
                replicas: 1,
                unowned: vec![],
                shards: 1,
                degraded,
                silent: BTreeMap::new(),
            };
            super::degraded(&Facts { shards, ..facts() })
        };
        assert_eq!(of(&[]).state(), State::Ok);
        let row = of(&[
            "certificates Expired: a",
            "tls-profile NothingInCommon: b",
            "metrics-tls NothingForMetrics: c",
        ]);
        assert_eq!(row.state(), State::Failed);
        let told: Vec<_> = row.findings.iter().map(|it| (&*it.found, &*it.fix)).collect();
        assert!(told[0].0.contains("Expired") && told[0].1.contains("docs/certificates.md"));
        assert!(told[1].0.contains("NothingInCommon") && told[1].1.contains("tlsSecurityProfile"));
        assert!(told[2].1.contains("--metrics-cert-path"), "{told:?}");
        assert!(row.findings.iter().all(|it| it.place.contains("op-a")), "{row:?}");
    }

    #[test]
    fn an_original_that_acts_is_told() {
        let held = |holder: &str| {
            let lease = json!({"spec": {"holderIdentity": holder}});
            Facts { original: Look::There(lease), ..facts() }
        };
        for (holder, want) in
            [("", State::Ok), (original::HOLDER, State::Ok), ("gastown_7", State::Failed)]
        {
            assert_eq!(original(&held(holder)).state(), want, "{holder}");
        }
        let before = Facts { before: true, ..held("gastown_7") };
        assert_eq!(original(&before).state(), State::Advice, "an installation takes its place");
        assert_eq!(original(&facts()).state(), State::Ok, "there is none");
        let hidden = Facts { original: Look::Untold("cannot get".into()), ..facts() };
        assert_eq!(original(&hidden).state(), State::Unknown);
    }
}
