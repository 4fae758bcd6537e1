//! `kubectl gt doctor` as pipelines call it, on a control plane of its own: a healthy installation, several faults at once,
//! somebody without rights, and nobody to ask. It changes nothing, by the audit log.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use gastown::{
    kinds::KINDS,
    manifests::{self, NAMESPACE},
};
use gastown_testbed::{Node, Options, Testbed, audit, preconditions};
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true},
    kubectl::Kubectl,
    preconditions::skip,
    world::polecat,
};

const TOWN: &str = "town";

async fn doctor(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.arg("doctor").args(args).env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Exit code, and each check by its id.
async fn rows(kubeconfig: &Path, args: &[&str]) -> (i32, BTreeMap<String, Value>) {
    let output = doctor(kubeconfig, &[args, &["-o", "json"]].concat()).await;
    // Who reads of a failure sees why nothing could be asked, and what was said besides.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let by_id = lines.map(|it| (it["id"].as_str().unwrap().to_owned(), it)).collect();
    (output.status.code().unwrap(), by_id)
}

/// The same, once the API server could be asked: on a busy machine an answer may come too late.
pub async fn asked(kubeconfig: &Path, args: &[&str]) -> (i32, BTreeMap<String, Value>) {
    answered("an examination", async || {
        let found = rows(kubeconfig, args).await;
        (found.0 != 2).then_some(found)
    })
    .await
}

/// The checks in this state.
pub fn those(rows: &BTreeMap<String, Value>, state: &str) -> Vec<String> {
    rows.iter().filter(|(_, it)| it["state"] == state).map(|(id, _)| id.clone()).collect()
}

/// An operator with an authority of its own, installed as by `make deploy`; its Deployment's pods only play.
async fn installed(bed: &Testbed, kubectl: &Kubectl) {
    kubectl
        .said(&["apply", "--server-side", "--force-conflicts", "-f", "deploy/base/operator.yaml"])
        .await;
    let labels = ["label", "namespace", TOWN, "pod-security.kubernetes.io/enforce=restricted"];
    bed.make_namespace(TOWN, &[]).await.unwrap();
    kubectl.said(&labels).await;
    let mut idle = polecat("furiosa");
    idle["spec"]["desiredState"] = json!("Idle");
    apply(bed, kubectl, &idle, TOWN).await;
    let ready = "jsonpath={.status.readyReplicas}=3";
    let wait = format!("--for={ready}");
    let of = format!("deployment/{}", manifests::operator::DEPLOYMENT);
    kubectl.said(&["-n", NAMESPACE, "wait", &wait, "--timeout=120s", &of]).await;
    definitions_are_kubectls(bed, kubectl).await;
}

/// As by the pages' command: nobody but kubectl writes them, and the operator their authorities.
async fn definitions_are_kubectls(bed: &Testbed, kubectl: &Kubectl) {
    let apply = ["apply", "--server-side", "--force-conflicts"];
    kubectl.said(&[&apply[..], &["-k", "crds"]].concat()).await;
    // The testbed had applied them as well, and gives up what it applies no more.
    let bare = KINDS.iter().map(|it| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", it.plural, it.group)},
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": bare.collect::<Vec<_>>()});
    let file = bed.kubeconfig.with_extension("definitions.json");
    std::fs::write(&file, list.to_string()).unwrap();
    // kubectl would miss what they must have: it is there.
    let given_up =
        ["--validate=false", "--field-manager=gastown-testbed", "-f", file.to_str().unwrap()];
    kubectl.said(&[&apply[..], &given_up].concat()).await;
    let shown = ["get", "crd", "rigs.gastown.gastown.io", "--show-managed-fields", "-o", "json"];
    let shown: Value = serde_json::from_str(&kubectl.said(&shown).await).unwrap();
    let all = shown["metadata"]["managedFields"].as_array().unwrap().iter();
    let of = "/fieldsV1/f:spec/f:conversion/f:strategy";
    let owners: Vec<_> =
        all.filter(|it| it.pointer(of).is_some()).map(|it| &it["manager"]).collect();
    assert_eq!(owners, ["kubectl"], "{shown:#}");
}

async fn apply(bed: &Testbed, kubectl: &Kubectl, object: &Value, namespace: &str) {
    let file = bed.kubeconfig.with_extension("doctor.json");
    std::fs::write(&file, object.to_string()).unwrap();
    let file = file.to_string_lossy();
    // The first calls may come before the certificate is trusted everywhere.
    comes_true("an apply to be taken", async || {
        kubectl.run(&["-n", namespace, "apply", "-f", &file]).await.status.success()
    })
    .await;
}

async fn plant_faults(bed: &Testbed, kubectl: &Kubectl) {
    let dead = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "left-behind"},
        "webhooks": [{
            "name": "pods.left.behind", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "gone", "name": "guard"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TOWN}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    });
    apply(bed, kubectl, &dead, TOWN).await;
    let label =
        ["label", "--overwrite", "namespace", TOWN, "pod-security.kubernetes.io/enforce=baseline"];
    kubectl.said(&label).await;
    let short = r#"{"spec": {"names": {"shortNames": ["theirs"]}}}"#;
    let patch = [
        "patch",
        "crd",
        "rigs.gastown.gastown.io",
        "--type=merge",
        "--field-manager=argocd",
        "-p",
        short,
    ];
    kubectl.said(&patch).await;
    let lax = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    kubectl
        .said(&[
            "patch",
            "validatingwebhookconfiguration",
            manifests::VALIDATING,
            "--type=json",
            "-p",
            lax,
        ])
        .await;
    kubectl.said(&["delete", "clusterrolebinding", "gastown-operator-manager-rolebinding"]).await;
    let stored = r#"{"status": {"storedVersions": ["v1alpha1", "v1beta1"]}}"#;
    let of = [
        "patch",
        "crd",
        "convoys.gastown.gastown.io",
        "--subresource=status",
        "--type=merge",
        "-p",
        stored,
    ];
    kubectl.said(&of).await;
    kubectl.said(&["-n", NAMESPACE, "delete", "service", manifests::WEBHOOK_SERVICE]).await;
    // Calls go on over a connection that is open already, wherever its Service went: one that begins anew has none.
    bed.stop_program("kube-apiserver").await.unwrap();
    bed.start_program("kube-apiserver").await.unwrap();
    let lease = r#"{"spec": {"holderIdentity": "gastown_7", "leaseDurationSeconds": 3600}}"#;
    let of = ["patch", "lease", gastown::domain::original::LEASE, "--type=merge", "-p", lease];
    kubectl.said(&[&["-n", NAMESPACE], &of[..]].concat()).await;
}

/// The apply of `installed` took away what the operator writes beside it (authorities, conversions), and the last of them may
/// come back after the first call was taken.
async fn becomes_healthy(asker: &Path, args: &[&str]) -> BTreeMap<String, Value> {
    answered("an installation without a finding", async || {
        let (code, found) = rows(asker, args).await;
        let troubled: Vec<_> = found.values().filter(|it| it["state"] != "ok").collect();
        if !troubled.is_empty() {
            println!("{args:?} ends with {code}: {troubled:#?}");
        }
        (code == 0 && troubled.is_empty()).then_some(found)
    })
    .await
}

/// By who asked; reviews are answered and stored nowhere.
async fn nothing_was_written(bed: &Testbed) {
    let all = bed.audit_events().await.unwrap().into_iter().filter(|it| it.user == "doctor");
    let (tried, written): (Vec<_>, Vec<_>) =
        all.filter(audit::Event::is_write).partition(|it| it.uri.contains("dryRun=All"));
    assert!(!tried.is_empty() && written.is_empty(), "{written:#?}");
}

async fn all_faults_are_found(asker: &Path) {
    let want = [
        ("webhooks.foreign", "failed", "left-behind"),
        ("pods.polecats", "failed", "pods.left.behind"),
        ("podsecurity.polecats", "advice", "baseline"),
        ("definitions.owner", "failed", "argocd"),
        ("webhooks.ours", "failed", "Ignore"),
        ("rights.operator", "failed", "polecats"),
        ("storage.migration", "advice", "v1alpha1"),
        ("webhooks.reached", "failed", manifests::WEBHOOK_SERVICE),
        ("original.acts", "failed", "gastown_7"),
    ];
    // Webhooks, rights and policies change a moment after they are written, and nothing tells when.
    comes_true("all faults to be found", async || {
        let (code, found) = rows(asker, &[]).await;
        let is = |(id, state, words): &&(&str, &str, &str)| {
            let says =
                |it: &Value| it["state"] == *state && it["findings"].to_string().contains(words);
            found.get(*id).is_some_and(says)
        };
        let missing: Vec<_> = want.iter().filter(|it| !is(it)).collect();
        // Who reads of a failure sees what was not found, and what was.
        for (id, ..) in &missing {
            println!("{id}: {:?}", found.get(*id));
        }
        code == 1 && missing.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_healthy_installation_is_told_from_one_with_faults() {
    let name = "a_healthy_installation_is_told_from_one_with_faults";
    if !preconditions::allow(name, Node::Kwok).unwrap() {
        return;
    }
    let own = "--webhook-cert-source=own".to_owned();
    let options =
        Options { node: Node::Kwok, replicas: 1, operator_flags: vec![own], ..Options::default() };
    let bed = Testbed::start(options).await.unwrap();
    if !bed.enclosed {
        skip(name, "root", "without namespaces of its own a Service leads nowhere");
        return;
    }
    let kubectl = Kubectl::admin(&bed);
    installed(&bed, &kubectl).await;

    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    let found = becomes_healthy(&asker, &[]).await;
    assert_eq!(found.len(), 19, "{:?}", found.keys());
    becomes_healthy(&asker, &["--before-install"]).await;
    nothing_was_written(&bed).await;

    comes_true("an installation elsewhere to be told from ours", async || {
        let (code, found) = rows(&asker, &["-n", "elsewhere", "--before-install"]).await;
        let failed = those(&found, "failed");
        println!("elsewhere: {code}, {failed:?}");
        (code, failed) == (1, vec!["definitions.conversion".to_owned()])
    })
    .await;
    let nobody = bed.kubeconfig_for("nobody", None).unwrap();
    let (code, found) = asked(&nobody, &[]).await;
    assert_eq!((code, those(&found, "failed")), (0, vec![]), "what one may not know fails nothing");
    assert!(those(&found, "unknown").len() > 10, "{found:#?}");

    plant_faults(&bed, &kubectl).await;
    all_faults_are_found(&asker).await;
    let mended = ["--except", "rights.operator", "--except", "webhooks.ours"];
    let (code, found) = asked(&asker, &mended).await;
    assert_eq!((code, found.len()), (1, 17), "what is left out is not told");
    comes_true("all of it in words", async || {
        let text = String::from_utf8(doctor(&asker, &[]).await.stdout).unwrap();
        let words =
            ["CHECK", "definitions.owner", "argocd writes", "kubectl gt storage migrate", "failed"];
        println!("{text}");
        words.iter().all(|it| text.contains(it))
    })
    .await;
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_can_not_be_asked_is_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "users": [{"name": "x", "user": {}}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    for (kubeconfig, args) in [
        (file.as_path(), &[][..]),
        (Path::new("/nowhere"), &[]),
        (file.as_path(), &["--except", "no.such.check"]),
    ] {
        let output = doctor(kubeconfig, args).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(!output.stderr.is_empty(), "and says why");
    }
}
