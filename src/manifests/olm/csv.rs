//! The `ClusterServiceVersion`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{descriptors, examples, graph, webhooks};
use crate::{
    kinds::KINDS,
    manifests::{
        SERVICE_ACCOUNT,
        images::Images,
        operator::{self, DEPLOYMENT, Edition, Shape},
    },
};

/// The oldest Kubernetes that serves all that is installed: selectable fields of definitions.
pub const MIN_KUBERNETES: &str = "1.31.0";
/// The oldest OpenShift of that Kubernetes, and all after it.
pub const OPENSHIFT: &str = "v4.18";
/// When this version was made, as catalogs show it.
const CREATED: &str = "2026-11-28T00:00:00Z";
pub const ICON: &[u8] = include_bytes!("icon.svg");

/// The whole of it. `project` is where people read its sources and tell of faults, which a release says.
pub fn csv(edition: Edition, images: &Images, project: Option<&str>) -> anyhow::Result<Value> {
    let update = graph::entries(graph::RELEASES).pop().unwrap_or_default();
    let mut csv = json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": update.get("name"),
            "annotations": annotations(images, project)?,
            "labels": {
                "operatorframework.io/arch.amd64": "supported",
                "operatorframework.io/os.linux": "supported",
            },
        },
        "spec": {
            "displayName": match edition {
                Edition::Community => "Gas Town Operator",
                Edition::Enterprise => "Gas Town Operator, Enterprise",
            },
            "description": description(edition),
            "version": env!("CARGO_PKG_VERSION"),
            "maturity": "alpha",
            "minKubeVersion": MIN_KUBERNETES,
            "provider": {"name": "Gas Town"},
            "maintainers": [{"name": "Gas Town operator maintainers", "email": "maintainers@gastown.example"}],
            "links": [
                {"name": "Gas Town", "url": "https://github.com/steveyegge/gastown"},
                {"name": "The Go original, whose place it takes", "url": "https://github.com/boshu2/gastown-operator"},
            ],
            "keywords": ["agents", "ai", "coding", "gastown", "git", "polecat"],
            "icon": [{"base64data": BASE64_STANDARD.encode(ICON), "mediatype": "image/svg+xml"}],
            "installModes": install_modes(),
            "install": {"strategy": "deployment", "spec": install(edition, images)},
            "customresourcedefinitions": {"owned": descriptors::owned()?},
            "webhookdefinitions": webhooks::definitions(),
            "relatedImages": images.related(),
        },
    });
    let spec = csv.get_mut("spec").and_then(Value::as_object_mut);
    if let (Some(spec), Some(replaced)) = (spec, update.get("replaces")) {
        spec.insert("replaces".into(), replaced.clone());
    }
    Ok(csv)
}

/// A conversion webhook leaves no other mode.
fn install_modes() -> Value {
    let modes = ["OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces"];
    modes.iter().map(|it| json!({"type": it, "supported": *it == "AllNamespaces"})).collect()
}

fn annotations(images: &Images, project: Option<&str>) -> anyhow::Result<Value> {
    let mut annotations = features(images);
    let namespace = operator::namespace().to_string();
    let inner: Vec<String> = KINDS
        .iter()
        .filter(|it| it.inner)
        .map(|it| format!("{}.{}", it.plural, it.group))
        .collect();
    let inner = serde_json::to_string(&inner)?;
    let examples = serde_json::to_string_pretty(&examples::all()?)?;
    for (key, value) in [
        ("alm-examples", examples.as_str()),
        ("capabilities", "Basic Install"),
        ("categories", "AI/Machine Learning, Developer Tools"),
        ("containerImage", images.operator.as_str()),
        ("createdAt", CREATED),
        ("description", "Runs AI coding agents as disposable workers, and proves what they did."),
        ("operatorframework.io/suggested-namespace-template", namespace.as_str()),
        ("operators.openshift.io/must-gather-image", images.runner.as_str()),
        ("operators.openshift.io/valid-subscription", "[]"),
        ("operators.operatorframework.io/internal-objects", inner.as_str()),
        ("support", "Gas Town operator maintainers"),
    ] {
        annotations.insert(key.into(), value.into());
    }
    annotations.extend(project.map(|it| ("repository".to_owned(), it.into())));
    Ok(annotations.into())
}

/// What is promised on OpenShift. Nothing is "true" that a test does not hold; `docs/openshift.md` says why the others are
/// not.
fn features(images: &Images) -> Map<String, Value> {
    let features = [
        ("disconnected", images.are_pinned()),
        ("fips-compliant", false),
        ("proxy-aware", true),
        ("tls-profiles", true),
        ("token-auth-aws", false),
        ("token-auth-azure", false),
        ("token-auth-gcp", false),
        ("cnf", false),
        ("cni", false),
        ("csi", false),
    ];
    let key = |it: &str| format!("features.operators.openshift.io/{it}");
    features.iter().map(|(it, yes)| (key(it), yes.to_string().into())).collect()
}

/// Deployment and rights: certificates are files, and the operator applies policies itself.
fn install(edition: Edition, images: &Images) -> Value {
    let mut deployment = operator::deployment(Shape { edition, certificates: "files" });
    let mut spec = deployment.get_mut("spec").map(Value::take).unwrap_or_default();
    if let Some(container) = spec.pointer_mut("/template/spec/containers/0") {
        images.put_into(container);
        if let Some(args) = container.get_mut("args").and_then(Value::as_array_mut) {
            args.push("--apply-policies".into());
        }
    }
    let [everywhere, own] = super::rights()
        .map(|role| json!([{"serviceAccountName": SERVICE_ACCOUNT, "rules": role.get("rules")}]));
    json!({
        "clusterPermissions": everywhere,
        "permissions": own,
        "deployments": [{"name": DEPLOYMENT, "label": operator::labels(), "spec": spec}],
    })
}

fn description(edition: Edition) -> String {
    let mut text = "You write a `Polecat`: a repository, a task, an agent. The operator makes a pod in which a runner clones the \
        repository, an agent works on it without ever seeing your git credential, and a second container pushes the work branch \
        and reports a verdict: which commit, on which branch, pushed or not, and why.\n\n"
        .to_owned();
    let kinds = |reconciled: bool| {
        let names = KINDS.iter().filter(|it| it.reconciled == reconciled && !it.inner);
        names
            .map(|it| format!("* `{}` ({}): {}\n", it.kind, it.group, it.doc))
            .collect::<Vec<_>>()
            .concat()
    };
    text += "## Kinds at work in this release\n\n";
    text += &kinds(true);
    text += "\n## Kinds that are stored, whose controllers are not in this release\n\n";
    text += &kinds(false);
    text += "\n## Before it works\n\n\
        No agent's image is shipped: agents are other people's programs. Build one (`make agent-image \
        AGENT_NPM=package@version`) and name it in `spec.agent.image`, or in the Subscription's `spec.config.env` as \
        `RELATED_IMAGE_AGENT`. Until then a Polecat waits as `AgentImageNotSet`.\n\n\
        Install it in one namespace, `gastown-operator-system` where the Go original is to be followed; it serves all \
        namespaces. Certificates and webhooks are OLM's; the rest is set by flags, see `docs/openshift.md`.\n";
    if edition == Edition::Enterprise {
        text += "\n## This edition\n\n\
            Its images stand on UBI 9. Its programs link AWS-LC's FIPS module, which is on NIST's Modules In Process list. The \
            operator does not start unless that runs in FIPS mode, and the runner makes no TLS connection of its own without that. A \
            Polecat that names a Secret, a ConfigMap or a service account which who asks for it may not have is refused \
            (`--reference-access=enforce`).\n";
    }
    text
}
