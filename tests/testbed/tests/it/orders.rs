//! Programs of a testbed, stopped and started again while it stays.

use gastown_testbed::{Options, Testbed};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

#[tokio::test]
async fn one_program_goes_and_comes_back_and_the_testbed_stays() {
    let testbed = Testbed::start(Options::default()).await.unwrap();
    testbed.make_namespace("kept", &[]).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(testbed.client("reader").await.unwrap());
    testbed.stop_program("kube-apiserver").await.unwrap();
    assert!(namespaces.get("kept").await.is_err(), "nobody answers");
    let again = testbed.stop_program("kube-apiserver").await.unwrap_err();
    assert!(format!("{again:#}").contains("stopped already"), "{again:#}");
    testbed.start_program("kube-apiserver").await.unwrap();
    namespaces.get("kept").await.unwrap();
    let again = testbed.start_program("kube-apiserver").await.unwrap_err();
    assert!(format!("{again:#}").contains("running already"), "{again:#}");
    let unknown = testbed.stop_program("nobody").await.unwrap_err();
    assert!(format!("{unknown:#}").contains("only etcd, kube-apiserver"), "{unknown:#}");
    let before = testbed.audit_events().await.unwrap();
    assert!(
        before.iter().any(|it| it.user == "admin" && it.uri.contains("namespaces")),
        "the audit log goes on where it was"
    );
    testbed.stop().await.unwrap();
}
