//! Git Secrets of the two types that Kubernetes knows, and every form of address, each in a whole run.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{
    real_node::{at, in_bare, repository, world},
    world::{condition, phase_of},
};

#[tokio::test]
async fn typed_secrets_and_every_form_of_address_push() {
    let test = "typed_secrets_and_every_form_of_address_push";
    let Some(world) = world(test, "real-secrets").await else { return };
    let git = world.bed.git.as_ref().unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    let host = git.https.trim_start_matches("https://").trim_end_matches('/');
    let hosts = read(&git.known_hosts);
    // The API server refuses one that lacks what its type asks for; keys of ours beside it are fine.
    let ssh = json!({"metadata": {"name": "typed-ssh"}, "type": "kubernetes.io/ssh-auth",
        "stringData": {"ssh-privatekey": read(&git.ssh_key), "known_hosts": hosts}});
    let basic = json!({"metadata": {"name": "typed-basic"}, "type": "kubernetes.io/basic-auth",
        "stringData": {"username": git.user, "password": git.token, "host": host, "ca.crt": read(&git.ca)}});
    let opaque = json!({"metadata": {"name": "plain-token"},
        "stringData": {"username": git.user, "token": git.token, "host": host, "ca.crt": read(&git.ca)}});
    let api: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    for it in [ssh, basic, opaque] {
        let secret = serde_json::from_value(it).unwrap();
        api.create(&PostParams::default(), &secret).await.unwrap();
    }
    #[rustfmt::skip]
    let table = [
        ("short-address", "typed-ssh", &git.ssh, "git@HOST:path, the host's key in the Secret"),
        ("ssh-url", "typed-ssh", &git.ssh_url, "ssh:// with a port and a path from the home"),
        ("basic-auth", "typed-basic", &git.https, "user name and password"),
        ("token", "plain-token", &git.https, "no type, and a token instead of a password"),
    ];
    for (name, secret, address, _) in table {
        repository(git, name);
        let edit = |it: &mut Value| {
            at(it, git, name, "Append \"Good bye.\" to greeting.txt");
            let it = it["spec"]["kubernetes"].as_object_mut().unwrap();
            it.remove("sshKnownHostsConfigMapRef");
            it.insert("gitSecretRef".into(), json!({"name": secret}));
            it.insert("gitRepository".into(), json!(format!("{address}{name}.git")));
        };
        world.create(name, edit).await;
    }
    for (name, _, _, because) in table {
        let done = world.condition(name, "Pushed", "True/Pushed").await;
        assert_eq!(phase_of(&done), "Done", "{because}");
        assert_eq!(condition(&done, "Ready"), "True/PodSucceeded", "{because}");
        let file = in_bare(git, name, &["show", "feature/gt-abc12:greeting.txt"]);
        assert_eq!(file, "Hello.\nGood bye.\n", "{because}");
    }
}
