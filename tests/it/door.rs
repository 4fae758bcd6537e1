//! Writes as a person makes them, with an operator's webhooks in front: what the API server answers, and warns of.

use gastown::manifests::pods;
use gastown_testbed::Operator;
use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    client::Body,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    kubectl::Kubectl,
    world::{World, polecat},
};

/// What the API server said to one request.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Value,
}

impl Answer {
    /// Its words, where it refused.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// A world whose operator's webhooks are asked about its namespace.
pub struct Door {
    pub world: World,
    configurations: Vec<String>,
}

impl Door {
    pub async fn open(name: &str, script: &[(&str, &str)]) -> Self {
        Self::before(World::new(name, script).await).await
    }

    /// Before a world that is there.
    pub async fn before(world: World) -> Self {
        let name = world.namespace.clone();
        let configurations = register(&world, &world.operator, &name).await;
        let door = Self { world, configurations };
        // A configuration takes effect a moment after it is stored, each by itself, and nothing tells when.
        let mut bad = polecat("asks");
        bad["spec"]["kubernetes"]["gitBranch"] = json!("-d");
        comes_true("both webhooks to be called", async || {
            let told = door.dry_run(&bad).await;
            told.code == 422 && !told.message().contains("gastown.io/requested-by")
        })
        .await;
        door
    }

    /// Creates it, or what it would be.
    pub async fn dry_run(&self, object: &Value) -> Answer {
        self.post(object, "dryRun=All&fieldValidation=Warn").await
    }

    pub async fn create(&self, object: &Value) -> Answer {
        self.post(object, "fieldValidation=Warn").await
    }

    async fn post(&self, object: &Value, query: &str) -> Answer {
        let (version, kind) =
            (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let kind = gastown::kinds::KINDS.iter().find(|it| it.kind == kind).unwrap();
        let cluster_wide = (kind.crd)().spec.scope == "Cluster";
        let namespace = if cluster_wide {
            String::new()
        } else {
            format!("namespaces/{}/", self.world.namespace)
        };
        let path = format!("/apis/{version}/{namespace}{}?{query}", kind.plural);
        send(&self.world.client, Method::POST, &path, object).await
    }

    /// Takes the configuration away whose webhooks stamp.
    pub async fn take_stamping_away(&self) {
        let stamps = self.configurations.iter().filter(|it| it.contains("-mutating-"));
        let stamps: Vec<_> = stamps.cloned().collect();
        self.world.operator.unregister_webhooks(self.world.bed, &stamps).await.unwrap();
    }

    /// Takes the webhook configurations away; the world goes on.
    pub async fn close(self) -> World {
        let Self { world, configurations } = self;
        world.operator.unregister_webhooks(world.bed, &configurations).await.unwrap();
        world
    }
}

async fn register(world: &World, operator: &Operator, name: &str) -> Vec<String> {
    let label = ("testbed.gastown.io/webhook", name);
    let names = operator.register_webhooks(world.bed, name, label).await.unwrap();
    let api: Api<Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {label.0: label.1}}}));
    api.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
    names
}

/// Applies the policies about a Polecat's pods, for a world's operator and these namespaces alone; how they are called here.
pub async fn own_policies(world: &World, namespaces: &[&str]) -> Vec<String> {
    let user = &world.operator.name;
    let here = json!({"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}]}});
    let mut names = Vec::new();
    for mut object in pods::owned(user).into_iter().chain(pods::marked(user)) {
        let name = format!("{}-{}", object["metadata"]["name"].as_str().unwrap(), world.namespace);
        object["metadata"]["name"] = json!(name);
        let kind = object["kind"].as_str().unwrap().to_owned();
        if kind == "ValidatingAdmissionPolicyBinding" {
            let bound = json!({"spec": {"policyName": name, "matchResources": here}});
            json_patch::merge(&mut object, &bound);
            names.push(name);
        }
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &kind);
        let api: Api<DynamicObject> =
            Api::all_with(world.client.clone(), &ApiResource::from_gvk(&kind));
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    names
}

/// Takes them away.
pub async fn without_policies(world: &World, names: &[String]) {
    let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    let names = names.iter().map(String::as_str);
    let arguments: Vec<_> = ["delete", kinds].into_iter().chain(names).collect();
    Kubectl::admin(world.bed).said(&arguments).await;
}

/// One request, with the warnings that come in the answer's head.
pub async fn send(client: &Client, method: Method, path: &str, object: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(object).unwrap()))
        .unwrap();
    let answer = client.send(request).await.unwrap();
    let warnings = answer.headers().get_all("warning").into_iter();
    // As in RFC 7234: `299 - "text"`.
    let warnings = warnings
        .map(|it| {
            let text = String::from_utf8_lossy(it.as_bytes());
            let quoted = text.trim_start_matches("299 - ").trim().trim_matches('"');
            quoted.replace("\\\"", "\"")
        })
        .collect();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    Answer { code, warnings, body: serde_json::from_slice(&bytes).unwrap() }
}
