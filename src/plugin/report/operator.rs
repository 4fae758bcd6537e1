//! What the operator is and how it stands: who owns which shard, whom the API server trusts, which cryptography is in use.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    archive::Archive,
    gather::{self, Gathering, text},
};
use crate::{
    cluster::gathering::{Part, Sort, Which},
    domain::redaction::Redaction,
    kinds::KINDS,
    plugin::{Output, shards},
    tls,
};

const DEPLOYMENT: Sort<'_> =
    Sort { group: "apps", version: "v1", kind: "Deployment", plural: "deployments" };
const LEASE: Sort<'_> =
    Sort { group: "coordination.k8s.io", version: "v1", kind: "Lease", plural: "leases" };
const DEFINITION: Sort<'_> = Sort {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
};
const WEBHOOKS: [Sort<'_>; 2] = [
    Sort {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
    },
    Sort {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
    },
];
/// What a replica logs at its start, and how much of a log's beginning is looked through for it.
const CRYPTO: &str = "Using cryptography";
const BEGINNING: i64 = 64 * 1024;

/// Writes all of it.
pub async fn write(
    it: &mut Gathering<'_>,
    replicas: &[Value],
    (archive, redaction): (&mut Archive, &Redaction),
) -> Result<()> {
    let which = Which { namespace: Some(it.operator.into()), ..Which::default() };
    for sort in [DEPLOYMENT, LEASE] {
        for object in it.gather(sort, &which).await {
            archive.yaml(&gather::path("operator", &object), &redaction.of(&object))?;
        }
    }
    let shown = shards::run(it.reader, it.operator, shards::Asked::of(Output::Yaml)).await;
    let shown = it.have("shards", shown);
    archive.text("operator/shards.yaml", &redaction.of_text(&shown))?;
    let trusted = trusted(it).await;
    archive.yaml("operator/trusted.yaml", &redaction.of(&trusted))?;
    let crypto = crypto(it, replicas).await;
    archive.yaml("operator/crypto.yaml", &redaction.of(&crypto))
}

/// Whom the API server believes, by fingerprints: in each webhook and in each definition that is converted.
async fn trusted(it: &mut Gathering<'_>) -> Value {
    let mut all = Vec::new();
    for sort in WEBHOOKS {
        for object in it.gather(sort, &Which::default()).await {
            let hooks = object.pointer("/webhooks").and_then(Value::as_array).cloned();
            for hook in hooks.unwrap_or_default() {
                if text(&hook, "/clientConfig/service/namespace") == it.operator {
                    let bundle = text(&hook, "/clientConfig/caBundle");
                    all.push(json!({
                        "kind": sort.kind,
                        "name": text(&object, "/metadata/name"),
                        "webhook": text(&hook, "/name"),
                        "failurePolicy": text(&hook, "/failurePolicy"),
                        "service": hook.pointer("/clientConfig/service"),
                        "authorities": fingerprints(bundle),
                    }));
                }
            }
        }
    }
    for kind in KINDS {
        let fields = format!("metadata.name={}.{}", kind.plural, kind.group);
        let which = Which { fields, ..Which::default() };
        for object in it.gather(DEFINITION, &which).await {
            all.push(definition(&object));
        }
    }
    Value::Array(all)
}

/// A definition without its schemas.
fn definition(object: &Value) -> Value {
    let versions = object.pointer("/spec/versions").and_then(Value::as_array);
    let version = |it: &Value| json!({"name": it.get("name"), "served": it.get("served"), "storage": it.get("storage")});
    let client = "/spec/conversion/webhook/clientConfig";
    json!({
        "kind": "CustomResourceDefinition",
        "name": text(object, "/metadata/name"),
        "versions": versions.map(|it| it.iter().map(version).collect::<Vec<_>>()),
        "storedVersions": object.pointer("/status/storedVersions"),
        "conditions": object.pointer("/status/conditions"),
        "conversion": text(object, "/spec/conversion/strategy"),
        "service": object.pointer(&format!("{client}/service")),
        "authorities": fingerprints(text(object, &format!("{client}/caBundle"))),
    })
}

/// SHA-256 of each certificate of a bundle, as `openssl x509 -fingerprint` has it, but in small letters and without colons.
fn fingerprints(bundle: &str) -> Value {
    if bundle.is_empty() {
        return json!("none: nobody is trusted");
    }
    let pem = STANDARD.decode(bundle).unwrap_or_default();
    match tls::check::certificates(&pem) {
        Ok(all) => all.iter().map(|it| tls::check::fingerprint(it)).collect(),
        Err(flaw) => json!(format!("unreadable: {flaw}")),
    }
}

/// Of this program, and what each replica said at its start.
async fn crypto(it: &mut Gathering<'_>, replicas: &[Value]) -> Value {
    let own = tls::report::Report::of_this_process();
    let own =
        it.have("cryptography of this program", own.and_then(|it| Ok(serde_json::to_value(it)?)));
    let mut said = serde_json::Map::new();
    for pod in replicas {
        let name = text(pod, "/metadata/name");
        let container = text(pod, "/spec/containers/0/name");
        let of = (text(pod, "/metadata/namespace"), name, container);
        let outcome = it.reader.log(of, Part::Beginning(BEGINNING)).await;
        let begun = it.have(&format!("cryptography of {name}"), outcome);
        match begun.lines().find(|it| it.contains(CRYPTO)) {
            Some(line) => {
                let it = serde_json::from_str(line).unwrap_or_else(|_| json!(line));
                said.insert(name.into(), it);
            }
            None => it.missing.push(format!("cryptography of {name}: its log begins later")),
        }
    }
    json!({"thisProgram": own, "replicas": said})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_its_fingerprints() {
        use crate::domain::certificates::Book;
        let _ = tls::install_provider();
        let mint = tls::mint::ForNames { names: vec!["x.y.svc".into()], leaf_life: None };
        let book = Book::new(&mint, 1, 1_800_000_000).unwrap();
        let found = fingerprints(&STANDARD.encode(book.bundle()));
        let [one] = &found.as_array().unwrap()[..] else { panic!("{found}") };
        assert_eq!(one.as_str().unwrap().len(), 64);
        assert_eq!(fingerprints(""), json!("none: nobody is trusted"));
        assert_eq!(fingerprints("####"), json!("unreadable: there is no certificate"));
    }
}
