//! Reads and tries what an examination goes by. What one may not know is kept as such; only an API server that can't be asked
//! at all is an error.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    facts::{Definition, Facts, Holders, Homes, Right, each, text, texts},
    hooks, rights,
    road::Road,
};
use crate::{
    api::{
        GROUP,
        shared::{SecretKeyRef, SecretRef},
        v1beta1::{Polecat, Provider, Repository},
    },
    cluster::{
        examining::{Look, Tried},
        reading::Reader,
        shard_reading::Shards,
    },
    domain::{
        names, original,
        pod::{PodSettings, agent_pod},
    },
    kinds::KINDS,
    manifests::{self, operator::DEPLOYMENT},
};

/// Who applies, as docs/install.md has it.
const MANAGER: &str = "kubectl";
/// Questions that are asked at the same time.
const ABREAST: usize = 8;
/// Namespaces with Polecats in which a pod is tried.
const TRIED: usize = 20;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// Everything; `installed` is what this release installs.
pub async fn all(
    reader: &Reader,
    namespace: &str,
    before: bool,
    installed: &[Value],
) -> anyhow::Result<Facts> {
    let in_namespace = |rest: &str| format!("{rest}/namespaces/{namespace}");
    let deployments = in_namespace("/apis/apps/v1");
    let leases = in_namespace("/apis/coordination.k8s.io/v1");
    let mut facts = Facts {
        namespace: namespace.to_owned(),
        before,
        now: reader.now().as_second(),
        version: reader.look("/version").await?,
        definitions: definitions(reader, installed).await?,
        mutating: reader.look_all(&format!("{HOOKS}/mutatingwebhookconfigurations")).await?,
        validating: reader.look_all(&format!("{HOOKS}/validatingwebhookconfigurations")).await?,
        namespaces: reader.look_all("/api/v1/namespaces").await?,
        deployment: reader.look(&format!("{deployments}/deployments/{DEPLOYMENT}")).await?,
        original: reader.look(&format!("{leases}/leases/{}", original::LEASE)).await?,
        homes: homes(reader).await,
        ..Facts::default()
    };
    let openshift = reader.look("/apis/security.openshift.io/v1").await?.there().is_some();
    facts.services = services(reader, &facts).await?;
    facts.rights = asked(reader, &facts, installed).await?;
    if before {
        facts.installing = installing(reader, &facts, installed).await?;
    } else {
        facts.certificate = certificate(reader, &facts).await?;
        facts.calls = calls(reader, namespace).await?;
        facts.shards = shards(reader, namespace).await;
        facts.pods = pods(reader, &facts, !openshift).await?;
    }
    if openshift {
        facts.constraints = Some(constraints(reader, &facts, installed).await?);
    }
    Ok(facts)
}

async fn definitions(reader: &Reader, installed: &[Value]) -> anyhow::Result<Vec<Definition>> {
    let mut all = Vec::new();
    for kind in KINDS {
        let name = format!("{}.{}", kind.plural, kind.group);
        let path = format!("{DEFINITIONS}/{name}");
        let found = reader.look(&path).await?;
        let mut tried = None;
        if let Some(ours) = installed.iter().find(|it| text(it, "/metadata/name") == name) {
            let ours = over(ours, &found);
            tried = Some(reader.try_apply(&path, &ours, (MANAGER, false)).await?);
        }
        all.push(Definition { kind, found, tried });
    }
    Ok(all)
}

/// A definition of ours as it is tried over the one that is there, with the conversion that it has: whoever brings the certificates
/// writes there, and another row looks at it. Left out, it would be taken away from who applied it, as far as nobody else owns it,
/// and the rest of a conversion is refused.
fn over(ours: &Value, found: &Look) -> Value {
    let mut ours = ours.clone();
    let there = found.there().and_then(|it| it.pointer("/spec/conversion"));
    if let (Some(spec), Some(there)) = (ours.get_mut("spec").and_then(Value::as_object_mut), there)
    {
        spec.insert("conversion".into(), there.clone());
    }
    ours
}

async fn homes(reader: &Reader) -> Homes {
    match reader.polecats_by_namespace().await {
        Ok(counts) => Homes::Known(counts.into_keys().collect()),
        Err(error) => match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(it)) if it.code == 404 => Homes::default(),
            _ => Homes::Untold(format!("{error:#}")),
        },
    }
}

/// The Services that webhooks of others lead to.
async fn services(
    reader: &Reader,
    facts: &Facts,
) -> anyhow::Result<BTreeMap<(String, String), Look>> {
    let others = hooks::all(facts).filter(|it| !it.is_ours(&facts.namespace));
    let names: BTreeSet<_> = others.filter_map(|it| it.service()).collect();
    let mut all = BTreeMap::new();
    for (namespace, name) in names {
        let found = reader.look(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await?;
        all.insert((namespace.to_owned(), name.to_owned()), found);
    }
    Ok(all)
}

/// Before an installation what it takes of who asks, else what this release takes of the operator's account by its road.
async fn asked(reader: &Reader, facts: &Facts, installed: &[Value]) -> anyhow::Result<Vec<Right>> {
    let namespace = &facts.namespace;
    let account = text(
        facts.deployment.there().unwrap_or(&Value::Null),
        "/spec/template/spec/serviceAccountName",
    );
    let account = if account.is_empty() { manifests::SERVICE_ACCOUNT } else { account };
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    let who = (!facts.before).then_some((&*user, &groups[..]));
    let questions = if facts.before {
        rights::to_install(installed)
    } else {
        let [everywhere, own] = Road::of(&facts.deployment).rights();
        let rules = |role: &Value, of: &str| -> Vec<Value> {
            each(role, "/rules").flat_map(|it| rights::asked(it, of)).collect()
        };
        [rules(&everywhere, ""), rules(&own, namespace)].concat()
    };
    let ask = |attributes: Value| async move {
        let allowed = reader.may(who, &attributes).await?;
        anyhow::Ok(Right { attributes, allowed })
    };
    stream::iter(questions.into_iter().map(ask)).buffered(ABREAST).try_collect().await
}

/// Tries all that is installed but the definitions, as the road makes it by which somebody came; what is in a namespace only where
/// that is there.
async fn installing(
    reader: &Reader,
    facts: &Facts,
    installed: &[Value],
) -> anyhow::Result<Vec<(String, Tried)>> {
    let here = |it: &&Value| text(it, "/metadata/name") == facts.namespace;
    let home = facts.namespaces.items().iter().any(|it| here(&it));
    let road = Road::of(&facts.deployment);
    let mut all = Vec::new();
    for it in installed {
        let (kind, name) = (text(it, "/kind"), text(it, "/metadata/name"));
        let namespace = text(it, "/metadata/namespace");
        if kind == "CustomResourceDefinition" || !namespace.is_empty() && !home {
            continue;
        }
        let path = path(text(it, "/apiVersion"), namespace, &rights::plural(kind));
        let made = road.made(it, &facts.deployment);
        let tried = reader.try_apply(&format!("{path}/{name}"), &made, (MANAGER, true)).await?;
        all.push((format!("{kind} {name}"), tried));
    }
    Ok(all)
}

fn path(version: &str, namespace: &str, plural: &str) -> String {
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let within =
        if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    format!("{root}/{version}{within}/{plural}")
}

/// Chain and authorities of the certificate that is served: ours, or the one that is mounted. Its key is dropped at once.
async fn certificate(reader: &Reader, facts: &Facts) -> anyhow::Result<Look> {
    let none = Value::Null;
    let pod =
        facts.deployment.there().and_then(|it| it.pointer("/spec/template/spec")).unwrap_or(&none);
    let mounted =
        each(pod, "/volumes").map(|it| text(it, "/secret/secretName")).find(|it| !it.is_empty());
    let own = texts(pod, "/containers/0/args").contains(&"--webhook-cert-source=own");
    let name = mounted.filter(|_| !own).unwrap_or(manifests::CERTIFICATES);
    let path = path("v1", &facts.namespace, "secrets");
    let decoded = |it: &Value, key: &str| {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let bytes = BASE64_STANDARD.decode(text(it, &format!("/data/{key}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(match reader.look(&format!("{path}/{name}")).await? {
        Look::There(it) => Look::There(json!({
            "name": name, "tls.crt": decoded(&it, "tls.crt"), "ca.crt": decoded(&it, "ca.crt"),
        })),
        other => other,
    })
}

/// A Polecat of each version: admitted by us, and converted for storage.
async fn calls(reader: &Reader, namespace: &str) -> anyhow::Result<Vec<(String, Tried)>> {
    let mut all = Vec::new();
    for version in ["v1beta1", "v1alpha1"] {
        let version = format!("{GROUP}/{version}");
        let probe = json!({
            "apiVersion": version, "kind": "Polecat",
            "metadata": {"name": "gastown-doctor", "namespace": namespace},
            "spec": {"rig": "doctor", "desiredState": "Idle"},
        });
        let tried = reader.try_create(&path(&version, namespace, "polecats"), &probe).await?;
        all.push((version, tried));
    }
    Ok(all)
}

async fn shards(reader: &Reader, namespace: &str) -> Holders {
    match reader.shards_if_any(namespace).await {
        Ok(None) => Holders::NoMap,
        Ok(Some(it)) => holders(&it),
        Err(error) => Holders::Untold(format!("{error:#}")),
    }
}

pub(super) fn holders(of: &Shards) -> Holders {
    Holders::Known {
        replicas: of.sessions,
        unowned: of.unowned().iter().map(ToString::to_string).collect(),
        shards: of.map.active().count(),
        degraded: of.degraded.clone(),
        silent: of.silent.clone(),
    }
}

/// A Polecat's pod in namespaces that have some.
async fn pods(
    reader: &Reader,
    facts: &Facts,
    fixed_users: bool,
) -> anyhow::Result<Vec<(String, Tried)>> {
    let Homes::Known(homes) = &facts.homes else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for namespace in homes.iter().take(TRIED) {
        let Some(pod) = sample(namespace, fixed_users) else { continue };
        let tried = reader.try_create(&path("v1", namespace, "pods"), &pod).await?;
        all.push((namespace.clone(), tried));
    }
    Ok(all)
}

/// A pod as the operator makes it, of nobody.
fn sample(namespace: &str, fixed_users: bool) -> Option<Value> {
    let mut polecat = Polecat::default();
    polecat.metadata.name = Some("gastown-doctor".into());
    polecat.metadata.namespace = Some(namespace.to_owned());
    polecat.metadata.uid = Some("00000000-0000-4000-8000-000000000000".into());
    polecat.spec.task = Some("Nothing".into());
    polecat.spec.rig = "doctor".into();
    polecat.spec.limits.active_deadline_seconds = 60;
    polecat.spec.agent.provider = Provider::Anthropic;
    polecat.spec.agent.anthropic_key_secret_ref =
        Some(SecretKeyRef { name: "doctor-llm".into(), key: "key".into() });
    polecat.spec.repository = Some(Repository {
        url: "https://git.invalid/doctor.git".into(),
        base_branch: "main".into(),
        secret_ref: SecretRef { name: "doctor".into() },
        ..Repository::default()
    });
    let image = Some("gastown-doctor".to_owned());
    let settings = PodSettings {
        git_image: image.clone(),
        agent_image: image.clone(),
        telemetry_image: image,
        fixed_users,
        ..PodSettings::default()
    };
    let mut pod = serde_json::to_value(agent_pod(&polecat, 1, &settings).ok()?).ok()?;
    // Nobody owns it, since nobody is there; and admission lets nobody but the operator call a pod a Polecat's.
    let metadata = pod.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("ownerReferences");
    metadata.get_mut("labels")?.as_object_mut()?.remove(names::POLECAT_LABEL);
    Some(pod)
}

/// OpenShift's own review of the operator's pod and of Polecats'.
async fn constraints(
    reader: &Reader,
    facts: &Facts,
    installed: &[Value],
) -> anyhow::Result<Vec<(String, Look)>> {
    let new = installed.iter().find(|it| text(it, "/kind") == "Deployment");
    let deployment = facts.deployment.there().or(new);
    let template = deployment.and_then(|it| it.pointer("/spec/template")).cloned();
    let mut pods: Vec<_> = template.map(|it| (facts.namespace.clone(), it)).into_iter().collect();
    if let Homes::Known(homes) = &facts.homes {
        pods.extend(
            homes.iter().take(TRIED).filter_map(|it| Some((it.clone(), sample(it, false)?))),
        );
    }
    let mut all = Vec::new();
    for (namespace, mut template) in pods {
        let whose =
            if namespace == facts.namespace { "the operator's pod" } else { "a Polecat's pod" };
        if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
            // Else the rights of who asks would count.
            spec.entry("serviceAccountName").or_insert_with(|| "default".into());
        }
        let version = "security.openshift.io/v1";
        let review = json!({
            "apiVersion": version, "kind": "PodSecurityPolicySubjectReview", "spec": {"template": template},
        });
        let path = path(version, &namespace, "podsecuritypolicysubjectreviews");
        all.push((
            format!("{whose} in namespace {namespace}"),
            reader.review(&path, &review).await?,
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::plugin::doctor::namespaces;

    #[test]
    fn the_pod_that_is_tried_is_one_of_ours() {
        let pod = sample("town", true).unwrap();
        assert_eq!(text(&pod, "/metadata/namespace"), "town");
        assert_eq!(pod.pointer("/metadata/ownerReferences"), None);
        assert_eq!(pod["metadata"]["labels"].get(names::POLECAT_LABEL), None, "{pod}");
        assert_eq!(each(&pod, "/spec/containers").count(), 2, "{pod}");
    }

    #[test]
    fn a_definition_is_tried_with_the_conversion_that_is_there() {
        let ours = json!({"spec": {"conversion": {"strategy": "Webhook"}, "scope": "Cluster"}});
        assert_eq!(over(&ours, &Look::Missing), ours);
        let there =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "QQ=="}}});
        let found = Look::There(json!({"spec": {"conversion": there, "scope": "Namespaced"}}));
        let want = json!({"spec": {"conversion": there, "scope": "Cluster"}});
        assert_eq!(over(&ours, &found), want);
    }

    /// Reviews that were sent, with their paths.
    type Sent = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server of OpenShift, by its answer to a review of a pod in that namespace.
    fn openshift(answer: fn(&str) -> Value) -> (Reader, Sent) {
        let reviews = Sent::default();
        let sent = reviews.clone();
        let reader = Reader::played(move |request| {
            let sent = sent.clone();
            async move {
                let path = request.uri().path().to_owned();
                assert_eq!(request.method(), http::Method::POST, "{path}");
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let namespace = path.split('/').nth(5).unwrap().to_owned();
                sent.lock().unwrap().push((path, review.clone()));
                review["status"] = answer(&namespace);
                http::Response::new(review.to_string().into())
            }
        });
        (reader, reviews)
    }

    #[tokio::test]
    async fn openshift_is_asked_about_each_pod_as_it_would_be_made() {
        let (reader, reviews) = openshift(|namespace| match namespace {
            "town" => {
                json!({"allowedBy": {"kind": "SecurityContextConstraints", "name": "restricted-v2"}})
            }
            _ => json!({"reason": "CantAssignSecurityContextConstraintProvider"}),
        });
        let facts = Facts {
            namespace: "town".into(),
            homes: Homes::Known(["rigs".to_owned()].into()),
            ..Facts::default()
        };
        let installed = manifests::installed("town").unwrap();
        let constraints = constraints(&reader, &facts, &installed).await.unwrap();
        let row = namespaces::constraints(&Facts { constraints: Some(constraints), ..facts });
        let [it] = &*row.findings else { panic!("{row:?}") };
        assert_eq!(it.place, "a Polecat's pod in namespace rigs", "the operator's is let in");
        assert!(it.found.contains("CantAssign"), "{it:?}");

        let reviews = reviews.lock().unwrap();
        let at = |of: &str| {
            format!(
                "/apis/security.openshift.io/v1/namespaces/{of}/podsecuritypolicysubjectreviews"
            )
        };
        let [(first, operator), (second, polecat)] = &**reviews else { panic!("{reviews:?}") };
        assert_eq!([first, second], [&at("town"), &at("rigs")]);
        let user = "/spec/template/spec/serviceAccountName";
        assert_eq!(text(operator, user), manifests::SERVICE_ACCOUNT, "{operator}");
        assert_eq!(text(polecat, user), "default", "{polecat}");
        for (review, containers) in [(operator, 1), (polecat, 2)] {
            assert_eq!(text(review, "/kind"), "PodSecurityPolicySubjectReview");
            assert_eq!(each(review, "/spec/template/spec/containers").count(), containers);
        }
        let fixed = "/spec/template/spec/securityContext/runAsUser";
        assert_eq!(polecat.pointer(fixed), None, "users are for OpenShift to choose: {polecat}");
    }

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(path("v1", "town", "pods"), "/api/v1/namespaces/town/pods");
        assert_eq!(path("apps/v1", "", "deployments"), "/apis/apps/v1/deployments");
    }
}
