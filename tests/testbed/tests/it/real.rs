//! A real kubelet runs real pods, and the git server serves them.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use gastown_testbed::{Git, Node, Testbed};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api,
    api::{LogParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{allow, real};

async fn testbed() -> &'static Testbed {
    static REAL: OnceCell<Testbed> = OnceCell::const_new();
    REAL.get_or_init(|| async { Testbed::start(real()).await.unwrap() }).await
}

/// A pod as strict as the restricted Pod Security Standard.
fn pod(name: &str, script: &str, more: &Value) -> Pod {
    let security = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    let mut pod = json!({
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "claude", "image": "localhost/agent:dev", "command": ["/bin/sh", "-ec", script],
                "securityContext": security,
                "volumeMounts": [
                    { "name": "work", "mountPath": "/workspace" }, { "name": "git", "mountPath": "/git" },
                ],
                "workingDir": "/workspace",
                "env": [{ "name": "HOME", "value": "/workspace" }],
            }],
            "volumes": [{ "name": "work", "emptyDir": {} }, { "name": "git", "emptyDir": {} }],
        },
    });
    if let (Some(spec), Some(more)) = (pod["spec"].as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    serde_json::from_value(pod).unwrap()
}

async fn until_phase(api: &Api<Pod>, name: &str, phase: &'static str) -> Pod {
    let is = move |pod: Option<&Pod>| {
        pod.and_then(|it| it.status.as_ref()?.phase.as_deref()) == Some(phase)
    };
    let waited =
        tokio::time::timeout(Duration::from_secs(180), await_condition(api.clone(), name, is))
            .await;
    if let Ok(pod) = waited {
        return pod.unwrap().unwrap();
    }
    let log = api.logs(name, &LogParams::default()).await;
    panic!(
        "{name} is not {phase} within 180 s: {:?}\nlog: {log:?}",
        api.get(name).await.unwrap().status
    );
}

/// Starts a pod that runs until it is killed.
pub async fn run_endless_pod(testbed: &Testbed) -> Api<Pod> {
    let api: Api<Pod> = Api::namespaced(testbed.client("player").await.unwrap(), "default");
    let endless = pod("endless", "echo up; sleep 3600", &json!({}));
    api.create(&PostParams::default(), &endless).await.unwrap();
    until_phase(&api, "endless", "Running").await;
    api
}

#[tokio::test]
async fn a_restricted_pod_runs_to_its_end() {
    if !allow("a_restricted_pod_runs_to_its_end", Node::Real) {
        return;
    }
    let testbed = testbed().await;
    testbed.make_namespace("strict", &[]).await.unwrap();
    let api: Api<Pod> = Api::namespaced(testbed.client("player").await.unwrap(), "strict");
    let script = "id -u; git --version; test -w /workspace; test ! -e /usr/local/bin/gt-runner; \
         nc -w 5 $KUBERNETES_SERVICE_HOST 443 < /dev/null; echo last words > /dev/termination-log; exit 5";
    api.create(&PostParams::default(), &pod("p", script, &json!({}))).await.unwrap();
    let ended = until_phase(&api, "p", "Failed").await;
    let state = ended.status.unwrap().container_statuses.unwrap()[0]
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!((state.exit_code, state.message.as_deref()), (5, Some("last words\n")));
    let log = api.logs("p", &LogParams::default()).await.unwrap();
    assert!(log.starts_with("65532\ngit version "), "{log}");
}

#[tokio::test]
async fn the_runners_image_has_no_shell() {
    if !allow("the_runners_image_has_no_shell", Node::Real) {
        return;
    }
    let testbed = testbed().await;
    testbed.make_namespace("shell-less", &[]).await.unwrap();
    let api: Api<Pod> = Api::namespaced(testbed.client("player").await.unwrap(), "shell-less");
    // The image's entry point is the program that was given as the runner: here a busybox.
    let container = |name: &str, command: &[&str]| json!([{ "name": name, "image": "localhost/gt-runner:dev", "command": command }]);
    let git = json!({ "containers": container("git", &["/usr/bin/git", "--version"]) });
    api.create(&PostParams::default(), &pod("git", "", &git)).await.unwrap();
    let shell = json!({ "containers": container("sh", &["/bin/sh", "-c", "true"]) });
    api.create(&PostParams::default(), &pod("sh", "", &shell)).await.unwrap();
    until_phase(&api, "git", "Succeeded").await;
    let failed = until_phase(&api, "sh", "Failed").await;
    let state = failed.status.unwrap().container_statuses.unwrap()[0]
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(state.reason.as_deref(), Some("StartError"));
}

fn run(command: &mut Command) -> Output {
    let answer = command.output().unwrap();
    let words = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{command:?}: {words}");
    answer
}

/// A bare repository with one commit, under the git server's folder.
fn make_repository(git: &Git, name: &str) -> String {
    let bare = git.repositories.join(name);
    let work = git.repositories.with_file_name(format!("work-{name}"));
    run(Command::new("git")
        .args(["init", "--quiet", "--bare", "--initial-branch=main"])
        .arg(&bare));
    run(Command::new("git").args(["init", "--quiet", "--initial-branch=main"]).arg(&work));
    std::fs::write(work.join("README.md"), "hello\n").unwrap();
    let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    run(Command::new("git").arg("-C").arg(&work).args(["add", "."]));
    run(Command::new("git").arg("-C").arg(&work).args(identity).args([
        "commit",
        "--quiet",
        "--message=first",
    ]));
    run(Command::new("git").arg("-C").arg(&work).args(["push", "--quiet"]).arg(&bare).arg("main"));
    let head = run(Command::new("git").arg("-C").arg(&work).args(["rev-parse", "HEAD"]));
    std::fs::remove_dir_all(&work).unwrap();
    String::from_utf8(head.stdout).unwrap().trim().to_owned()
}

fn ssh(git: &Git) -> String {
    format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        git.ssh_key.display(),
        git.known_hosts.display()
    )
}

fn head_of(url: &str, configure: impl Fn(&mut Command) -> &mut Command) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(["ls-remote", url, "refs/heads/main"]).env("GIT_TERMINAL_PROMPT", "0");
    let answer = configure(&mut command).output().unwrap();
    if answer.status.success() {
        Ok(String::from_utf8_lossy(&answer.stdout)
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&answer.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_git_server_serves_ssh_and_https() {
    if !allow("the_git_server_serves_ssh_and_https", Node::Real) {
        return;
    }
    let git = testbed().await.git.clone().unwrap();
    let head = make_repository(&git, "served.git");
    for url in [&git.ssh, &git.ssh_url] {
        let served =
            head_of(&format!("{url}served.git"), |it| it.env("GIT_SSH_COMMAND", ssh(&git)));
        assert_eq!(served.as_ref(), Ok(&head), "{url}");
    }
    let stranger = git.ssh_key.with_file_name("stranger");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger));
    let other_key = ssh(&Git { ssh_key: stranger, ..git.clone() });
    let refused =
        head_of(&format!("{}served.git", git.ssh), |it| it.env("GIT_SSH_COMMAND", &other_key));
    assert!(refused.unwrap_err().contains("Permission denied"));

    let with_token =
        |it: &str, token: &str| it.replace("https://", &format!("https://{}:{token}@", git.user));
    let https = |url: &str| head_of(url, |it| it.env("GIT_SSL_CAINFO", &git.ca));
    assert_eq!(
        https(&format!("{}served.git", with_token(&git.https, &git.token))).as_ref(),
        Ok(&head)
    );
    https(&format!("{}served.git", with_token(&git.https, "wrong"))).unwrap_err();
    https(&format!("{}served.git", git.https)).unwrap_err();
    let distrusted =
        head_of(&format!("{}served.git", git.https), |it| it.env("GIT_SSL_CAINFO", "/dev/null"));
    distrusted.unwrap_err();
    let moved = format!("{}served.git", with_token(&git.https_moved, &git.token));
    let without_redirects = |it: &mut Command| {
        it.env("GIT_SSL_CAINFO", &git.ca).env("GIT_CONFIG_COUNT", "1");
        it.env("GIT_CONFIG_KEY_0", "http.followRedirects").env("GIT_CONFIG_VALUE_0", "false");
    };
    let refused = head_of(&moved, |it| {
        without_redirects(it);
        it
    });
    assert!(refused.unwrap_err().contains("308"));
    assert_eq!(https(&moved).as_ref(), Ok(&head), "one that follows arrives");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_a_pod_clones_works_and_pushes() {
    if !allow("an_agent_in_a_pod_clones_works_and_pushes", Node::Real) {
        return;
    }
    let testbed = testbed().await;
    let git = testbed.git.clone().unwrap();
    let head = make_repository(&git, "worked-on.git");
    testbed.make_namespace("agents", &[]).await.unwrap();
    let client = testbed.client("player").await.unwrap();
    let secret = json!({
        "metadata": { "name": "git" },
        "stringData": { "token": git.token, "ca.crt": std::fs::read_to_string(&git.ca).unwrap() },
    });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "agents");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let url = git.https.replace("https://", &format!("https://{}:$(cat /git/token)@", git.user));
    let script = format!(
        "export GIT_SSL_CAINFO=/git/ca.crt\ngit clone --quiet \"{url}worked-on.git\" repo\ncd repo\n\
         claude -p --output-format json 'Append \"from a pod\" to README.md; Print \"worked\"'\n\
         git push --quiet origin HEAD:work\n"
    );
    let volumes = json!({ "volumes": [
        { "name": "work", "emptyDir": {} }, { "name": "git", "secret": { "secretName": "git" } },
    ]});
    let api: Api<Pod> = Api::namespaced(client, "agents");
    api.create(&PostParams::default(), &pod("agent", &script, &volumes)).await.unwrap();
    until_phase(&api, "agent", "Succeeded").await;
    let log = api.logs("agent", &LogParams::default()).await.unwrap();
    assert!(
        log.contains("Committed: Append \"from a pod\" to README.md") && log.contains("worked"),
        "{log}"
    );
    let bare = git.repositories.join("worked-on.git");
    assert_eq!(show(&bare, &["show", "work:README.md"]), "hello\nfrom a pod");
    assert_eq!(show(&bare, &["rev-parse", "work~1"]), head, "the commit stands on what was there");
}

fn show(bare: &Path, arguments: &[&str]) -> String {
    let answer = run(Command::new("git").arg("-C").arg(bare).args(arguments));
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}
