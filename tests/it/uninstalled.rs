//! The way out where objects still lie in the Go original's version: refused while an operator is at work, whole once it is gone.

use gastown_testbed::Options;

use crate::{
    kubectl::Kubectl,
    make::{make_on, words},
    storage::{STORES, stored, upgraded},
};

#[tokio::test]
async fn what_lies_in_v1alpha1_goes_as_well_and_not_while_an_operator_is_at_work() {
    let (bed, client) = upgraded(Options::default(), 3).await;
    let kubectl = Kubectl::admin(&bed);
    let uninstall = async || make_on(&bed, &["uninstall", "CONFIRM=yes"]).await;
    assert!(stored(&client, STORES).await.contains(&"v1alpha1".to_owned()));

    // It runs outside of the cluster, so that no Deployment tells of it.
    let refused = uninstall().await;
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains("an operator is at work"), "{said}");
    let left = kubectl.said(&["get", "beadstores", "-A", "-o", "name"]).await;
    assert_eq!(left.lines().count(), 3, "nothing was deleted, and it is converted as before");

    bed.converter().unwrap().kill9().await.unwrap();
    kubectl.said(&["create", "deployment", "ours", "--image=x", "--replicas=0"]).await;
    let labels = ["app.kubernetes.io/name=gastown-operator", "control-plane=controller-manager"];
    kubectl.said(&[&["label", "--overwrite", "deployment", "ours"][..], &labels].concat()).await;
    let refused = uninstall().await;
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains("still runs (default/ours"), "{said}");
    kubectl.said(&["delete", "deployment", "ours"]).await;

    let gone = uninstall().await;
    assert!(gone.status.success(), "{}", words(&gone));
    let left = kubectl.said(&["get", "crds", "-o", "name", "--ignore-not-found"]).await;
    assert_eq!(left, "", "no definition is left, and with it no object");
    bed.stop().await.unwrap();
}
