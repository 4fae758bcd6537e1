//! What `make undeploy` leaves in the operator's namespace, and with it the namespace: whatever is not the operator's.

use std::{collections::BTreeSet, fs};

use gastown::manifests::NAMESPACE;
use gastown_testbed::Testbed;
use serde_json::{Value, json};

use super::{make_on, words};
use crate::kubectl::Kubectl;

/// A certificate's Secret, as OpenShift makes one for a Service: it goes with that.
const SERVED: &str = "served-by-the-cluster";

/// What people have there because a page says so, or the rules of their platform.
fn theirs() -> Vec<Value> {
    let all = [
        ("v1", "Secret", "pull", json!({"type": "Opaque"})),
        ("v1", "ConfigMap", "settings", json!({"data": {"a": "b"}})),
        ("v1", "ServiceAccount", "reader", json!({})),
        ("v1", "ResourceQuota", "bounds", json!({"spec": {"hard": {"pods": "9"}}})),
        ("coordination.k8s.io/v1", "Lease", "theirs", json!({"spec": {"holderIdentity": "x"}})),
        ("rbac.authorization.k8s.io/v1", "Role", "readers", json!({"rules": []})),
        ("networking.k8s.io/v1", "NetworkPolicy", "proxy", json!({"spec": {"podSelector": {}}})),
    ];
    let object = |(version, kind, name, mut it): (&str, &str, &str, Value)| {
        it["apiVersion"] = json!(version);
        it["kind"] = json!(kind);
        it["metadata"] = json!({"name": name, "namespace": NAMESPACE});
        it
    };
    all.map(object).into()
}

/// Creates objects; the file that they are in.
async fn created(bed: &Testbed, kubectl: &Kubectl, items: &[Value]) -> String {
    let file = bed.kubeconfig.with_extension("kept.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    fs::write(&file, list.to_string()).unwrap();
    let file = file.to_string_lossy().into_owned();
    kubectl.said(&["create", "-f", &file]).await;
    file
}

/// Takes the operator away; what is said of the namespace, which stays.
async fn undeploys(bed: &Testbed, kubectl: &Kubectl, arguments: &[&str]) -> String {
    let output = make_on(bed, &[&["undeploy"], arguments].concat()).await;
    let said = words(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!(" delete namespace {NAMESPACE}\n")), "how it goes: {said}");
    kubectl.said(&["get", "namespace", NAMESPACE]).await;
    said
}

/// Beside the Secret `mine`, which is there from what came before; at the end it is gone as well.
pub async fn keeps_the_namespace(bed: &Testbed, kubectl: &Kubectl) {
    let made = theirs();
    let file = created(bed, kubectl, &made).await;
    let said = undeploys(bed, kubectl, &[]).await;
    let begins = format!("Namespace {NAMESPACE} stays, because of what is in it: ");
    let line = said.lines().find_map(|it| it.strip_prefix(&*begins));
    let named: BTreeSet<_> =
        line.unwrap_or_else(|| panic!("{said}")).split(' ').map(ToOwned::to_owned).collect();
    let name = |it: &Value| {
        format!("{}/{}", it["kind"].as_str().unwrap(), it["metadata"]["name"].as_str().unwrap())
    };
    let mut want: BTreeSet<_> = made.iter().map(name).collect();
    want.insert("Secret/mine".to_owned());
    assert_eq!(named, want, "and nothing of the operator's or of every namespace");
    kubectl.said(&["get", "-f", &file]).await;
    kubectl.said(&["delete", "-f", &file]).await;

    let said = undeploys(bed, kubectl, &[]).await;
    assert!(said.lines().any(|it| it == format!("{begins}Secret/mine")), "one is enough: {said}");
    kubectl.said(&["-n", NAMESPACE, "delete", "secret", "mine"]).await;
    with_what_nobody_can_see(bed, kubectl).await;
    owned_by_what_goes(bed, kubectl).await;
}

/// As where an API service does not answer, whose objects may be there.
async fn with_what_nobody_can_see(bed: &Testbed, kubectl: &Kubectl) {
    let blind = bed.kubeconfig.with_extension("blind");
    let program = bed.kubectl.display();
    let text = format!(
        "#!/bin/sh\n{program} \"$@\" || exit\ncase \"$*\" in 'api-resources --verbs=list '*) exit 1 ;; esac\n"
    );
    gastown_testbed::program::write(&blind, text).unwrap();
    let said = undeploys(bed, kubectl, &[&format!("KUBECTL={}", blind.display())]).await;
    assert!(said.contains("not all that may be in it could be listed"), "{said}");
    assert!(!said.contains("because of what is in it"), "nothing is left that can be seen: {said}");
}

/// The garbage collector is waited for, so the next `make undeploy` finds nothing left.
async fn owned_by_what_goes(bed: &Testbed, kubectl: &Kubectl) {
    let service = "webhooks/service.yaml";
    kubectl.said(&["apply", "-f", service]).await;
    let read = async |what: &str| {
        let path = format!("-o=jsonpath={{.metadata.{what}}}");
        kubectl.said(&["get", "-f", service, &path]).await
    };
    let (name, uid) = (read("name").await, read("uid").await);
    let owner = json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid});
    let metadata = json!({"name": SERVED, "namespace": NAMESPACE, "ownerReferences": [owner]});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
    created(bed, kubectl, &[secret]).await;
}
