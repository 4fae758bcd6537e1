//! What the Operator Lifecycle Manager installs: one bundle an edition, of the very Deployment, roles and webhooks that the
//! other roads install, and the templates of catalogs. It brings certificates, Services and webhook configurations by
//! itself, in whatever namespace, so what we have of that stays out.

mod csv;
mod descriptors;
mod examples;
pub mod graph;
mod metadata;
mod webhooks;

pub use csv::MIN_KUBERNETES;
pub use metadata::{SCORECARD, catalog};
use serde_json::Value;

use super::{
    alerts, certificates, cluster_role, dashboards, document,
    images::Images,
    monitoring,
    operator::{self, EDITIONS, Edition},
    own_role, people, policies, priority,
};
use crate::kinds::KINDS;

/// The package, in every catalog.
pub const PACKAGE: &str = "gastown-operator";

/// The one channel, as long as APIs may change.
pub const CHANNEL: &str = "alpha";

/// The Service that it makes in front of the webhooks, as it names one after its Deployment.
pub fn webhook_service() -> String {
    format!("{}-service", operator::DEPLOYMENT)
}

/// What the operator's account may do by this road, everywhere and in its own namespace. Certificates are OLM's to bring, so the
/// rights that an authority of our own needs are left out, but for the one to give a definition its conversion back. Policies are
/// nobody's: the operator applies them itself.
pub fn rights() -> [Value; 2] {
    let without = |mut role: Value, left_out: &[Value], more: &[Value]| {
        if let Some(rules) = role.get_mut("rules").and_then(Value::as_array_mut) {
            rules.retain(|it| !left_out.contains(it));
            rules.extend(more.iter().cloned());
        }
        role
    };
    [
        without(cluster_role(), &certificates::bundles(), &policies::rules()),
        without(own_role(), &certificates::own_rules(), &[]),
    ]
}

/// The webhooks by this road for an operator in this namespace: OLM's, as far as their names and what becomes of a call that
/// fails, and those that the operator applies itself.
pub fn hooks(namespace: &str) -> Vec<Value> {
    webhooks::configurations().into_iter().chain(policies::hooks(namespace)).collect()
}

/// The image of the bundle of a version and edition.
pub fn bundle_image(version: &str, edition: Edition) -> String {
    format!("{PACKAGE}-bundle:v{version}-{}", edition.name())
}

/// The image of the catalog with it.
pub fn catalog_image(edition: Edition) -> String {
    format!("{PACKAGE}-catalog:v{}-{}", env!("CARGO_PKG_VERSION"), edition.name())
}

/// The bundles of both editions, and the templates of their catalogs.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for edition in EDITIONS {
        files.extend(bundle(edition, &Images::of(edition))?);
        files.push(catalog(edition, graph::RELEASES)?);
    }
    Ok(files)
}

/// One bundle with these images.
pub fn bundle(edition: Edition, images: &Images) -> anyhow::Result<Vec<(String, String)>> {
    released(edition, images, None)
}

/// The same as a release has it, which also says where the project is.
///
/// # Why no monitor is in it
/// One has to name the namespace (`serverName`), which OLM chooses, and the authority, which differs between its versions.
pub fn released(
    edition: Edition,
    images: &Images,
    project: Option<&str>,
) -> anyhow::Result<Vec<(String, String)>> {
    let folder = format!("bundle/{}", edition.name());
    let manifests = format!("{folder}/manifests");
    let csv = csv::csv(edition, images, project)?;
    let mut files =
        vec![(format!("{manifests}/{PACKAGE}.clusterserviceversion.yaml"), document(&csv)?)];
    for kind in KINDS {
        let path = format!("{manifests}/{}_{}.yaml", kind.group, kind.plural);
        files.push((path, document(&kind.definition())?));
    }
    for role in people::roles() {
        let name = role.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        files.push((format!("{manifests}/{name}.clusterrole.yaml"), document(&role)?));
    }
    for (name, object) in [
        ("poddisruptionbudget", operator::labelled(operator::budget())),
        ("priorityclass", operator::labelled(priority::class())),
        ("metrics.service", operator::labelled(monitoring::service())),
    ] {
        files.push((format!("{manifests}/{PACKAGE}.{name}.yaml"), document(&anywhere(object))?));
    }
    files.extend(watched(edition, &manifests)?);
    files.push((format!("{folder}/metadata/annotations.yaml"), metadata::annotations()?));
    files.push((format!("{folder}/tests/scorecard/config.yaml"), metadata::scorecard()?));
    Ok(files)
}

/// What shows and judges the metrics. OLM installs nothing of a bundle with a kind that the cluster lacks, and only OpenShift, for
/// which the enterprise edition is, has rules of alerts everywhere.
fn watched(edition: Edition, manifests: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut objects: Vec<_> =
        dashboards::objects()?.into_iter().map(|it| ("configmap", it)).collect();
    if edition == Edition::Enterprise {
        objects.push(("prometheusrule", alerts::rules_of_scrapes()));
    }
    let file = |(kind, object): (&str, Value)| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{manifests}/{name}.{kind}.yaml");
        Ok((path, document(&anywhere(operator::labelled(object)))?))
    };
    objects.into_iter().map(file).collect()
}

/// An object without the namespace, which OLM chooses.
fn anywhere(mut object: Value) -> Value {
    if let Some(it) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        it.remove("namespace");
    }
    object
}
