//! By which road an installation came, as its Deployment tells, and what is otherwise by it: what its account may do, which
//! webhooks it has, who writes its objects again, and what brings back one that is not as it was.

use serde_json::Value;

use super::facts::{text, texts};
use crate::{
    cluster::examining::Look,
    manifests::{self, olm},
};

/// Whose an object is, by Helm's convention; for a label selector, the label that only charts have.
const MANAGED_BY: &str = "/metadata/labels/app.kubernetes.io~1managed-by";
const RELEASE: &str = "/metadata/annotations/meta.helm.sh~1release-name";
const INSTANCE: &str = "app.kubernetes.io/instance";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// By kustomize, `make deploy` or one file; also where there is no Deployment yet.
    Files,
    Helm,
    Olm,
}

impl Road {
    /// Of the Deployment that was found, ours or the Go original's.
    pub fn of(deployment: &Look) -> Self {
        let Some(it) = deployment.there() else { return Self::Files };
        let arguments = texts(it, "/spec/template/spec/containers/0/args");
        if text(it, MANAGED_BY) == "Helm" {
            Self::Helm
        } else if arguments
            .iter()
            .any(|it| ["--apply-policies", "--apply-policies=true"].contains(it))
        {
            Self::Olm
        } else {
            Self::Files
        }
    }

    /// What the operator's account may do: everywhere, and in its own namespace.
    pub fn rights(self) -> [Value; 2] {
        match self {
            Self::Files | Self::Helm => manifests::rights(),
            Self::Olm => olm::rights(),
        }
    }

    /// The webhook configurations, of what this release installs by the other roads.
    pub fn hooks(self, namespace: &str, installed: &[Value]) -> Vec<Value> {
        let is_hooks = |it: &&Value| text(it, "/kind").ends_with("WebhookConfiguration");
        match self {
            Self::Files | Self::Helm => installed.iter().filter(is_hooks).cloned().collect(),
            Self::Olm => olm::hooks(namespace),
        }
    }

    /// Whether a field manager is who writes the objects of this road.
    pub fn is_written_by(self, manager: &str) -> bool {
        match self {
            // The last where a `make deploy` that never gave it up took the place of the Go original.
            Self::Files => ["kubectl", "kubectl-client-side-apply", "gastown-operator-first"]
                .contains(&manager),
            // Helm's own, or that of a controller that calls it.
            Self::Helm => manager.starts_with("helm"),
            Self::Olm => ["catalog", "olm"].contains(&manager),
        }
    }

    /// What is installed as this road makes it over the Deployment that was found: a chart's Deployment selects by its release, too,
    /// and what a Deployment selects can't be changed.
    pub fn made(self, object: &Value, deployment: &Look) -> Value {
        let mut made = object.clone();
        let release = deployment.there().map(|it| text(it, RELEASE)).unwrap_or_default();
        if self == Self::Helm && text(object, "/kind") == "Deployment" && !release.is_empty() {
            for at in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
                if let Some(labels) = made.pointer_mut(at).and_then(Value::as_object_mut) {
                    labels.insert(INSTANCE.into(), release.into());
                }
            }
        }
        made
    }

    /// How objects of this release are brought back; `what` they are, and the folder that has them.
    pub fn again(self, what: &str, folder: &str) -> String {
        match self {
            Self::Files => format!(
                "apply this release's {what} again: kubectl apply --server-side --force-conflicts -f {folder}, or upgrade by the \
                 road that installed it (docs/install.md)"
            ),
            Self::Helm => format!(
                "Helm brings this release's {what} back: helm upgrade, with the chart of the release (docs/install.md#helm)"
            ),
            Self::Olm => format!(
                "OLM, or the operator that it installed, brings this release's {what} back; why it does not, the CSV says: kubectl \
                 describe clusterserviceversions.operators.coreos.com, in the operator's namespace (docs/openshift.md)"
            ),
        }
    }
}

/// The CSV of a bundle.
#[cfg(test)]
pub fn csv() -> Value {
    use crate::manifests::{images::Images, operator::Edition::Community};
    let files = olm::bundle(Community, &Images::of(Community)).unwrap();
    let csv = files.into_iter().find(|it| it.0.contains("clusterserviceversion")).unwrap();
    serde_saphyr::from_str(&csv.1).unwrap()
}

/// A Deployment as OLM makes it of that, as far as it matters here.
#[cfg(test)]
pub fn deployment_by_olm() -> Look {
    Look::There(csv()["spec"]["install"]["spec"]["deployments"][0].clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifests::operator::{self, Edition, Shape};

    fn deployment(change: &Value) -> Look {
        let mut it = operator::deployment(Shape::of(Edition::Community));
        json_patch::merge(&mut it, change);
        Look::There(it)
    }

    fn by_helm() -> Look {
        deployment(&json!({"metadata": {
            "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "town"},
        }}))
    }

    #[test]
    fn each_road_is_known_by_its_deployment() {
        for (found, want) in [
            (Look::Missing, Road::Files),
            (Look::Untold("cannot get".into()), Road::Files),
            (deployment(&json!({})), Road::Files),
            (by_helm(), Road::Helm),
            (deployment_by_olm(), Road::Olm),
        ] {
            assert_eq!(Road::of(&found), want, "{found:?}");
        }
    }

    #[test]
    fn a_chart_selects_by_its_release_and_nobody_else_does() {
        let Look::There(ours) = deployment(&json!({})) else { panic!() };
        assert_eq!(Road::Files.made(&ours, &deployment(&json!({}))), ours);
        let made = Road::Helm.made(&ours, &by_helm());
        for at in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            assert_eq!(made.pointer(at).unwrap()[INSTANCE], "town", "{at}: {made}");
        }
        let service = json!({"kind": "Service", "spec": {"selector": {"a": "b"}}});
        assert_eq!(Road::Helm.made(&service, &by_helm()), service);
    }

    #[test]
    fn olm_brings_certificates_so_its_account_writes_no_secret() {
        let asks =
            |road: Road| road.rights().iter().any(|it| it.to_string().contains("\"secrets\""));
        assert!(asks(Road::Files) && asks(Road::Helm) && !asks(Road::Olm));
    }
}
