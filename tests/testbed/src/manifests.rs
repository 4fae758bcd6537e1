//! Applies the project's generated manifests to a testbed: CRDs, and webhook configurations that point at
//! operators outside the cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        coordination::v1::Lease,
        core::v1::Namespace,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, TypeMeta},
    discovery,
    runtime::wait::conditions::is_crd_established,
};
use serde_json::{Value, json};

use crate::{kubeconfig::base64, launch, watch::await_condition};

/// Where the API server finds webhooks.
pub enum Webhooks {
    /// A Service, by namespace and name.
    Service { namespace: String, name: String },
    /// `https://ADDRESS:PORT`.
    Url(String),
}

/// The folder that holds `crds/` and `webhooks/`: the one asked for, the working directory, or the checkout
/// that this program was built from.
pub fn project(asked: Option<&PathBuf>) -> Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = match asked {
        Some(path) => vec![crate::absolute(path)?],
        None => vec![std::env::current_dir().context("no working directory")?, built_from],
    };
    candidates.retain(|it| it.join("crds").is_dir());
    candidates.into_iter().next().context(
        "no folder `crds` in the working directory or the checkout: run this in the checkout, or name it (--manifests)",
    )
}

/// Applies every CRD of a folder and waits until they are served.
pub async fn apply_crds(
    client: &Client,
    folder: &Path,
    webhooks: Option<(&Webhooks, &str)>,
) -> Result<()> {
    for mut document in documents(folder)? {
        if let Some((webhooks, authority)) = webhooks
            && let Some(config) = document.pointer_mut("/spec/conversion/webhook/clientConfig")
        {
            point(config, webhooks, authority)?;
        }
        apply(client, &document).await?;
    }
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for document in documents(folder)? {
        let name = name_of(&document)?;
        let served = await_condition(api.clone(), name, is_crd_established());
        let served = tokio::time::timeout(Duration::from_secs(120), served).await;
        served
            .with_context(|| format!("waited 120 s for CRD {name}"))?
            .with_context(|| format!("watching {name}"))?;
    }
    Ok(())
}

/// Whether any CRD of a folder is converted by a webhook.
pub fn ask_for_conversion(folder: &Path) -> Result<bool> {
    let asks = |it: &Value| it.pointer("/spec/conversion/webhook").is_some();
    Ok(documents(folder)?.iter().any(asks))
}

/// Which of the configurations apply where: a suffix for their names, and a label that a namespace has to
/// have.
pub struct Scope<'a> {
    pub suffix: &'a str,
    pub label: (&'a str, &'a str),
}

/// Applies every webhook configuration of a folder, pointed at these webhooks; returns their names.
/// Anything else in the folder, such as the Service that a cluster would use, is left out.
pub async fn apply_webhooks(
    client: &Client,
    folder: &Path,
    webhooks: &Webhooks,
    authority: &str,
    scope: Option<Scope<'_>>,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for mut document in documents(folder)? {
        if !document
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|it| it.ends_with("WebhookConfiguration"))
        {
            continue;
        }
        let hooks = document.pointer_mut("/webhooks").and_then(Value::as_array_mut);
        for hook in hooks.into_iter().flatten() {
            let config = hook.get_mut("clientConfig").context("a webhook without clientConfig")?;
            point(config, webhooks, authority)?;
            if let Some(Scope { label: (key, value), .. }) = &scope {
                limit(hook, key, value)?;
            }
        }
        if let Some(Scope { suffix, .. }) = &scope {
            let name = format!("{}-{suffix}", name_of(&document)?);
            *document.pointer_mut("/metadata/name").context("no name")? = name.into();
        }
        apply(client, &document).await?;
        names.push(name_of(&document)?.to_owned());
    }
    Ok(names)
}

/// Points one clientConfig at the webhooks, keeping its path.
fn point(config: &mut Value, webhooks: &Webhooks, authority: &str) -> Result<()> {
    let path = config
        .pointer("/service/path")
        .and_then(Value::as_str)
        .context("a webhook without a service path")?;
    let authority = base64(authority.as_bytes());
    *config = match webhooks {
        Webhooks::Url(url) => json!({ "url": format!("{url}{path}"), "caBundle": authority }),
        Webhooks::Service { namespace, name } => json!({
            "service": { "namespace": namespace, "name": name, "path": path, "port": 443 },
            "caBundle": authority,
        }),
    };
    Ok(())
}

/// Takes configurations away that [`apply_webhooks`] applied, where they are there.
pub async fn delete_webhooks(client: &Client, names: &[String]) -> Result<()> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    let params = DeleteParams::default();
    for name in names {
        let deleted = if name.contains("-validating-") {
            validating.delete(name, &params).await.map(drop)
        } else {
            mutating.delete(name, &params).await.map(drop)
        };
        match deleted {
            Err(kube::Error::Api(it)) if it.is_not_found() => {}
            it => it.with_context(|| format!("failed to delete {name}"))?,
        }
    }
    Ok(())
}

/// Adds a label to those that a namespace has to have. No selector holds for what belongs to the whole cluster, so others'
/// writes of that must not wait for these webhooks.
fn limit(hook: &mut Value, key: &str, value: &str) -> Result<()> {
    let cluster_wide = hook.pointer("/rules/0/scope").is_some_and(|it| it == "Cluster");
    let hook = hook.as_object_mut().context("a webhook that is no object")?;
    if cluster_wide {
        hook.insert("failurePolicy".to_owned(), "Ignore".into());
    }
    let selector = hook.entry("namespaceSelector").or_insert_with(|| json!({}));
    let selector = selector.as_object_mut().context("a namespaceSelector that is no object")?;
    let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
    labels
        .as_object_mut()
        .context("matchLabels that are no object")?
        .insert(key.to_owned(), value.into());
    Ok(())
}

/// Makes a namespace, if it is not there.
pub async fn ensure_namespace(client: &Client, name: &str) -> Result<()> {
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let api = Api::<Namespace>::all(client.clone());
    let applied = api.patch(name, &manager(), &Patch::Apply(&namespace)).await;
    applied.map(drop).with_context(|| format!("failed to make namespace {name}"))
}

/// What an operator finds where it was installed: its namespace, the generated roles bound to the operators' group, and
/// its Lease, which stays as it is where it is there.
pub async fn install(client: &Client, project: &Path, namespace: &str) -> Result<()> {
    ensure_namespace(client, namespace).await?;
    for mut role in documents(&project.join("deploy/rbac"))? {
        let whole = role.get("kind").is_some_and(|it| it == "ClusterRole");
        if !whole {
            set_namespace(&mut role, namespace)?;
        }
        apply(client, &role).await?;
        apply(client, &binding(&role, namespace, whole)?).await?;
    }
    for mut schema in documents(&project.join("deploy/priority"))? {
        everywhere(&mut schema);
        apply(client, &schema).await?;
    }
    let mut objects = documents(&project.join("deploy/base"))?.into_iter();
    let lease = objects.find(|it| it.get("kind").is_some_and(|it| it == "Lease"));
    let lease = lease.context("deploy/base has no Lease")?;
    let mut lease: Lease = serde_json::from_value(lease).context("deploy/base: the Lease")?;
    lease.metadata.namespace = Some(namespace.to_owned());
    let api = Api::<Lease>::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(it)) if it.is_already_exists() => Ok(()),
        made => made.map(drop).with_context(|| format!("failed to make the Lease in {namespace}")),
    }
}

/// Says of the operators' group, in whatever namespace, what a flow schema says of the operator's account.
fn everywhere(schema: &mut Value) {
    let rules = schema.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        rule["subjects"] = json!([{ "kind": "Group", "group": { "name": launch::GROUP } }]);
        let of = rule.pointer_mut("/resourceRules").and_then(Value::as_array_mut);
        for it in of.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(namespaces) = it.get_mut("namespaces") {
                *namespaces = json!(["*"]);
            }
        }
    }
}

/// Binds a role to the operators' group.
fn binding(role: &Value, namespace: &str, whole: bool) -> Result<Value> {
    let name = name_of(role)?;
    let (kind, of) =
        if whole { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": launch::GROUP }],
    });
    if !whole {
        set_namespace(&mut binding, namespace)?;
    }
    Ok(binding)
}

fn set_namespace(object: &mut Value, namespace: &str) -> Result<()> {
    let metadata = object.pointer_mut("/metadata").and_then(Value::as_object_mut);
    metadata
        .context("a manifest without metadata")?
        .insert("namespace".to_owned(), namespace.into());
    Ok(())
}

pub fn manager() -> PatchParams {
    PatchParams::apply("gastown-testbed").force()
}

/// Server-side apply of one object of any kind.
pub async fn apply(client: &Client, document: &Value) -> Result<()> {
    let name = name_of(document)?;
    let types: TypeMeta =
        serde_json::from_value(document.clone()).with_context(|| format!("{name} has no kind"))?;
    let kind = GroupVersionKind::try_from(&types).with_context(|| format!("kind of {name}"))?;
    let (resource, _) = discovery::pinned_kind(client, &kind).await.with_context(|| {
        format!("the API server does not serve {} {}", types.api_version, types.kind)
    })?;
    let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let applied = api.patch(name, &manager(), &Patch::Apply(document)).await;
    applied.map(drop).with_context(|| format!("failed to apply {} {name}", types.kind))
}

fn name_of(document: &Value) -> Result<&str> {
    document.pointer("/metadata/name").and_then(Value::as_str).context("a manifest without a name")
}

/// The documents of all YAML files of a folder, by file name.
fn documents(folder: &Path) -> Result<Vec<Value>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|it| it.path()).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "yaml"));
    paths.sort();
    if paths.is_empty() {
        bail!("{} holds no *.yaml", folder.display());
    }
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("{} is no YAML", path.display()))?;
        all.extend(documents.into_iter().filter(Value::is_object));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_pointed_and_limited() {
        let mut hook = json!({
            "clientConfig": { "service": { "name": "x", "namespace": "y", "path": "/mutate" } },
            "namespaceSelector": { "matchExpressions": [{ "key": "a", "operator": "Exists" }] },
        });
        point(&mut hook["clientConfig"], &Webhooks::Url("https://10.64.0.1:4711".to_owned()), "CA")
            .unwrap();
        limit(&mut hook, "test", "one").unwrap();
        assert_eq!(
            hook,
            json!({
                "clientConfig": { "url": "https://10.64.0.1:4711/mutate", "caBundle": "Q0E=" },
                "namespaceSelector": {
                    "matchExpressions": [{ "key": "a", "operator": "Exists" }],
                    "matchLabels": { "test": "one" },
                },
            })
        );
    }

    #[test]
    fn a_webhook_without_a_path_is_refused() {
        let mut config = json!({ "url": "https://elsewhere/" });
        assert!(point(&mut config, &Webhooks::Url("https://a".to_owned()), "CA").is_err());
    }
}
