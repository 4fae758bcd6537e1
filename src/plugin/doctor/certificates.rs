//! Certificates: who calls the operator trusts what it serves, and that does not end soon.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    facts::{Facts, text},
    hooks,
    rows::{Finding, Row},
};
use crate::{
    cluster::examining::Look,
    manifests::WEBHOOK_SERVICE,
    tls::check::{self, Flaw},
};

/// Seconds that a served certificate is to be good for still: ours is renewed more than two days before its end.
const AHEAD: i64 = 48 * 3600;
const FIX: &str = "a running operator with an authority of its own writes it within a second; with files, whoever brought \
                   them does (docs/certificates.md). Is a replica ready, and may it write there?";

/// Every caller is told an authority, and all of them the same.
pub fn bundles(facts: &Facts) -> Row {
    let all = published(facts);
    let want = wanted(facts, &all);
    let one = |(place, bundle): &(String, String)| {
        if bundle.is_empty() {
            return Some(Finding::failed(&**place, "has no caBundle, so no call is trusted", FIX));
        }
        if check::certificates(&decoded(bundle)).is_err() {
            return Some(Finding::failed(
                &**place,
                "has a caBundle that holds no certificate",
                FIX,
            ));
        }
        let same = decoded(bundle) == want;
        (!same).then(|| {
            Finding::failed(&**place, "has another caBundle than what is served leads to", FIX)
        })
    };
    Row {
        id: "certificates.bundles",
        what: "does everybody who calls the operator trust the authority that it serves under?",
        well: format!("{} places have the same authorities", all.len()),
        findings: all.iter().filter_map(one).collect(),
    }
}

/// What is served can be accepted by who trusts what is published, now and for a while.
pub fn served(facts: &Facts) -> Row {
    let (secret, well) =
        ("the Secret with the operator's certificate", "good for 48 hours at least");
    let findings = match &facts.certificate {
        Look::Untold(why) => vec![Finding::unknown(secret, why)],
        Look::Missing => {
            let fix = "a running operator makes it; with files, see that whoever brings them does (docs/certificates.md)";
            vec![Finding::failed(secret, "is not there", fix)]
        }
        Look::There(it) => {
            let place = format!("Secret {}", text(it, "/name"));
            judged(facts, it)
                .err()
                .map(|words| Finding::failed(place, words, FIX))
                .into_iter()
                .collect()
        }
    };
    Row {
        id: "certificates.served",
        what: "is the operator's certificate accepted under what is published, and for how long?",
        well: well.into(),
        findings,
    }
}

fn judged(facts: &Facts, secret: &Value) -> Result<(), String> {
    let chain =
        check::certificates(text(secret, "/tls.crt").as_bytes()).map_err(|it| it.to_string())?;
    let bundle = wanted(facts, &published(facts));
    let service =
        hooks::all(facts).filter(|it| it.is_ours(&facts.namespace)).find_map(|it| it.service());
    let (_, service) = service.unwrap_or(("", WEBHOOK_SERVICE));
    let name = format!("{service}.{}.svc", facts.namespace);
    let at = |now| check::accepted(&chain, &bundle, &name, now);
    at(facts.now).map_err(|it| it.to_string())?;
    at(facts.now + AHEAD).map_err(|it| match it {
        Flaw::Expired => "ends within 48 hours, and was to be renewed before".into(),
        other => other.to_string(),
    })
}

/// Place and caBundle, base64, of everything that calls the operator.
fn published(facts: &Facts) -> Vec<(String, String)> {
    let hooks = hooks::all(facts)
        .filter(|it| it.is_ours(&facts.namespace))
        .map(|it| (it.place(), text(it.json, "/clientConfig/caBundle").to_owned()));
    let definitions = facts.definitions.iter().filter_map(|it| {
        let config = it.found.there()?.pointer("/spec/conversion/webhook/clientConfig")?;
        Some((it.place(), text(config, "/caBundle").to_owned()))
    });
    hooks.chain(definitions).collect()
}

/// PEM of what everybody is to be told: what the Secret says, else what most are told.
fn wanted(facts: &Facts, all: &[(String, String)]) -> Vec<u8> {
    let kept = facts.certificate.there().map(|it| text(it, "/ca.crt")).unwrap_or_default();
    if !kept.is_empty() {
        return kept.as_bytes().to_vec();
    }
    let count = |bundle: &str| all.iter().filter(|(_, it)| it == bundle).count();
    let most = all.iter().filter(|(_, it)| !it.is_empty()).max_by_key(|(_, it)| count(it));
    most.map(|(_, it)| decoded(it)).unwrap_or_default()
}

fn decoded(bundle: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(bundle).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{domain::certificates::Book, plugin::doctor::rows::State, tls::mint::ForNames};

    const NOW: i64 = 1_800_000_000;

    fn book() -> Book {
        let _ = crate::tls::crypto::install(&crate::tls::crypto::Wanted::default());
        let names = vec![format!("{WEBHOOK_SERVICE}.town.svc")];
        Book::new(&ForNames { names, leaf_life: None }, 1, NOW).unwrap()
    }

    /// Two webhooks, with these bundles as PEM.
    fn facts(book: &Book, bundles: [&str; 2]) -> Facts {
        let hook = |bundle: &str| {
            json!({"name": "v", "clientConfig": {
                "service": {"namespace": "town", "name": WEBHOOK_SERVICE}, "caBundle": BASE64_STANDARD.encode(bundle),
            }})
        };
        let all = json!([{"metadata": {"name": "c"}, "webhooks": bundles.map(hook)}]);
        let secret =
            json!({"name": "certificates", "tls.crt": book.chain(), "ca.crt": book.bundle()});
        Facts {
            namespace: "town".into(),
            now: NOW,
            validating: Look::There(all),
            certificate: Look::There(secret),
            ..Facts::default()
        }
    }

    #[test]
    fn everybody_is_told_what_is_served() {
        let (ours, other) = (book(), book());
        let (right, wrong) = (ours.bundle(), other.bundle());
        assert_eq!(bundles(&facts(&ours, [&right, &right])).state(), State::Ok);
        for (second, words) in
            [("", "no caBundle"), ("no PEM", "no certificate"), (&*wrong, "another caBundle")]
        {
            let row = bundles(&facts(&ours, [&right, second]));
            let [it] = &*row.findings else { panic!("{row:?}") };
            assert!(it.state == State::Failed && it.found.contains(words), "{words}: {it:?}");
        }
        let unread = Facts {
            certificate: Look::Untold("cannot get".into()),
            ..facts(&ours, [&right, &right])
        };
        assert_eq!(
            bundles(&unread).state(),
            State::Ok,
            "they are the same, whoever may read the Secret"
        );
    }

    #[test]
    fn whom_another_operator_of_our_namespace_has_its_callers_trust_is_not_looked_at() {
        let (ours, theirs) = (book(), book());
        let right = ours.bundle();
        let mut shared = facts(&ours, [&right, &right]);
        let Look::There(all) = &mut shared.validating else { panic!() };
        let foreign = json!({"name": "v", "clientConfig": {
            "service": {"namespace": "town", "name": "their-service"}, "caBundle": BASE64_STANDARD.encode(theirs.bundle()),
        }});
        let list = all.as_array_mut().unwrap();
        // More than ours, and the first of all.
        let hooks = json!([foreign, foreign, foreign]);
        list.insert(0, json!({"metadata": {"name": "a"}, "webhooks": hooks}));
        // As OLM's Secret is.
        let without = json!({"name": "certificates", "tls.crt": ours.chain(), "ca.crt": ""});
        let by_olm = Facts { certificate: Look::There(without), ..shared.clone() };
        for it in [shared, by_olm] {
            let row = bundles(&it);
            assert_eq!((row.state(), &*row.findings), (State::Ok, &[][..]), "{:?}", it.certificate);
            assert_eq!(row.well, "2 places have the same authorities");
            assert_eq!(served(&it).findings, [], "{:?}", it.certificate);
        }
    }

    #[test]
    fn what_is_served_is_accepted_and_stays_so() {
        let (ours, other) = (book(), book());
        let right = ours.bundle();
        let good = facts(&ours, [&right, &right]);
        assert_eq!(served(&good).state(), State::Ok, "{:?}", served(&good));
        let day = 24 * 3600;
        let foreign = facts(&other, [&right, &right]);
        let foreign = Facts {
            certificate: Look::There(
                json!({"name": "x", "tls.crt": other.chain(), "ca.crt": right}),
            ),
            ..foreign
        };
        for (facts, state, words) in [
            (Facts { now: NOW + 6 * day, ..good.clone() }, State::Failed, "within 48 hours"),
            (Facts { now: NOW + 8 * day, ..good.clone() }, State::Failed, "expired"),
            (Facts { certificate: Look::Missing, ..good.clone() }, State::Failed, "not there"),
            (
                Facts { certificate: Look::Untold("cannot get".into()), ..good },
                State::Unknown,
                "cannot get",
            ),
            (foreign, State::Failed, "trust"),
        ] {
            let row = served(&facts);
            let [it] = &*row.findings else { panic!("{words}: {row:?}") };
            assert!(it.state == state && it.found.contains(words), "{words}: {it:?}");
        }
    }
}
