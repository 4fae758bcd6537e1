//! The pod as YAML, and everything that keeps one from being built.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceClaim;

use super::*;
use crate::api::{
    shared::{Resources, SecretKeyRef, SecretRef},
    v1beta1::{ConfigMapRef, Provider},
};

pub(super) fn polecat() -> Polecat {
    let mut it = Polecat::default();
    it.metadata.name = Some("furiosa".into());
    it.metadata.namespace = Some("town".into());
    it.metadata.uid = Some("0c5c0f8e-0000-4000-8000-000000000001".into());
    it.spec.rig = "greeter".into();
    it.spec.bead_id = Some("gt-abc12".into());
    it.spec.task = Some("Say $(HOME) in greeting.txt".into());
    it.spec.limits.active_deadline_seconds = 3600;
    it.spec.agent.provider = Provider::Anthropic;
    it.spec.agent.anthropic_key_secret_ref =
        Some(SecretKeyRef { name: "llm".into(), key: "key".into() });
    it.spec.repository = Some(Repository {
        url: "git@git.example.com:town/greeter.git".into(),
        base_branch: "main".into(),
        secret_ref: SecretRef { name: "git-key".into() },
        known_hosts_config_map_ref: Some(ConfigMapRef { name: "hosts".into() }),
        ..Repository::default()
    });
    it
}

pub(super) fn settings() -> PodSettings {
    PodSettings {
        git_image: Some("gt-runner:1".into()),
        agent_image: Some("agent:1".into()),
        telemetry_image: Some("gt-runner:1".into()),
        ..PodSettings::default()
    }
}

#[test]
fn the_pod_reads_like_its_yaml() {
    let pod = agent_pod(&polecat(), 1, &settings()).unwrap();
    let value = serde_json::to_value(&pod).unwrap();
    insta::assert_snapshot!(serde_saphyr::to_string(&value).unwrap());
}

#[test]
fn on_openshift_users_and_groups_are_the_platforms_to_choose() {
    let settings = PodSettings { fixed_users: false, ..settings() };
    let pod = serde_json::to_string(&agent_pod(&polecat(), 1, &settings).unwrap()).unwrap();
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(!pod.contains(field), "{field}");
    }
    assert_eq!(pod.matches("runAsNonRoot").count(), 4, "nobody is root all the same");
}

#[test]
fn the_git_credential_is_mounted_where_it_is_used_and_nowhere_else() {
    let spec = agent_pod(&polecat(), 1, &settings()).unwrap().spec.unwrap();
    let mounts = |it: &Container| -> Vec<String> {
        it.volume_mounts.iter().flatten().map(|it| it.name.clone()).collect()
    };
    let claude = mounts(&spec.containers[0]);
    for volume in ["git-creds", "ssh-known-hosts", "delivery", "metrics", "init-home"] {
        assert!(!claude.contains(&volume.to_owned()), "claude must not mount {volume}");
    }
    assert!(mounts(&spec.containers[1]).contains(&"git-creds".to_owned()));
    assert!(
        !mounts(&spec.containers[1]).contains(&"workspace".to_owned()),
        "telemetry never opens the workspace"
    );
    let writable =
        spec.containers[0].volume_mounts.iter().flatten().filter(|it| it.read_only != Some(true));
    assert!(writable.into_iter().all(|it| it.name != "lock" && it.name != "tools"));
}

#[test]
fn the_task_is_in_the_pod_once_and_beside_it_is_its_hash() {
    let mut it = polecat();
    it.spec.task = Some("abc".into());
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of FIPS 180-2
    let given = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| {
        let value = |text: &str| {
            let all = container.env.iter().flatten();
            all.filter(|it| it.value.as_deref() == Some(text)).map(|it| it.name.as_str()).collect()
        };
        (container.name.as_str(), value("abc"), value(hash))
    });
    let want: [(&str, Vec<&str>, Vec<&str>); 3] = [
        ("git-init", vec![], vec![]),
        ("claude", vec!["GT_TASK_DESCRIPTION"], vec![]),
        ("telemetry", vec![], vec!["GT_TASK_SHA256"]),
    ];
    assert_eq!(given.collect::<Vec<_>>(), want);
}

#[test]
fn the_runner_knows_the_limit_of_every_volume_that_the_agent_can_fill() {
    let spec = agent_pod(&polecat(), 1, &settings()).unwrap().spec.unwrap();
    let claude = &spec.containers[0];
    let words = claude.command.as_ref().unwrap();
    let at = words.iter().position(|it| it == "--volume-limits").unwrap();
    let told: BTreeMap<&str, u64> = words[at + 1]
        .split(',')
        .map(|it| it.split_once('=').unwrap())
        .map(|(path, bytes)| (path, bytes.parse().unwrap()))
        .collect();
    let writable = claude.volume_mounts.iter().flatten().filter(|it| it.read_only != Some(true));
    for mount in writable {
        let volume = spec.volumes.iter().flatten().find(|it| it.name == mount.name).unwrap();
        let limit = volume.empty_dir.as_ref().unwrap().size_limit.as_ref().unwrap();
        let gibibytes: u64 = limit.0.strip_suffix("Gi").unwrap().parse().unwrap();
        assert_eq!(told.get(mount.mount_path.as_str()), Some(&(gibibytes << 30)), "{}", mount.name);
    }
}

#[test]
fn what_cannot_become_a_pod_names_its_field() {
    type Edit = fn(&mut Polecat);
    let table: [(Edit, &str); 9] = [
        (
            |it| it.spec.repository.as_mut().unwrap().url = "--upload-pack=touch /tmp/x".into(),
            "spec.kubernetes.gitRepository",
        ),
        (
            |it| it.spec.repository.as_mut().unwrap().base_branch = "../up".into(),
            "spec.kubernetes.gitBranch",
        ),
        (
            |it| it.spec.repository.as_mut().unwrap().work_branch = Some("-x".into()),
            "spec.kubernetes.workBranch",
        ),
        (|it| it.spec.bead_id = Some("a b\n".into()), "spec.beadID"),
        (|it| it.spec.limits.active_deadline_seconds = 0, "spec.kubernetes.activeDeadlineSeconds"),
        (|it| it.spec.task = Some("x".repeat(200_000)), "spec.taskDescription"),
        (
            |it| it.spec.agent.credentials_secret_ref = Some(SecretRef { name: "git-key".into() }),
            "claudeCredsSecretRef",
        ),
        (|it| it.spec.agent.env = Some(vec![env::value("LD_PRELOAD", "x")]), "LD_PRELOAD"),
        (
            |it| {
                let claims = Some(vec![ResourceClaim { name: "gpu".into(), request: None }]);
                it.spec.agent.resources = Some(Resources { claims, ..Resources::default() });
            },
            "resources.claims",
        ),
    ];
    for (edit, field) in table {
        let mut it = polecat();
        edit(&mut it);
        let cause = agent_pod(&it, 1, &settings()).unwrap_err();
        assert_eq!(cause.reason, "PodBuildFailed", "{field}");
        assert!(cause.message.contains(field), "{field}: {}", cause.message);
    }
}

#[test]
fn images_come_from_the_polecat_then_from_the_operator() {
    let mut it = polecat();
    let bare = PodSettings { agent_image: None, ..settings() };
    let waits = agent_pod(&it, 1, &bare).unwrap_err();
    assert_eq!(waits.reason, "AgentImageNotSet");
    assert!(waits.message.contains("`make agent-image AGENT_NPM="), "{}", waits.message);
    it.spec.agent.image = Some("mine:1".into());
    let image = |settings: &PodSettings| {
        agent_pod(&it, 1, settings).unwrap().spec.unwrap().containers[0].image.clone().unwrap()
    };
    assert_eq!(image(&settings()), "mine:1");
    assert_eq!(
        image(&PodSettings { agent_image_override: Some("always:1".into()), ..settings() }),
        "always:1"
    );
    let none = PodSettings { git_image: None, ..settings() };
    assert_eq!(agent_pod(&it, 1, &none).unwrap_err().reason, "RunnerImageNotSet");
}

#[test]
fn a_later_attempt_has_a_pod_of_its_own() {
    let pod = agent_pod(&polecat(), 2, &settings()).unwrap();
    assert_eq!(pod.metadata.name.as_deref(), Some("polecat-furiosa-2"));
    assert_eq!(pod.metadata.annotations.unwrap()[names::ATTEMPT_ANNOTATION], "2");
}

#[test]
fn arguments_without_a_command_go_to_the_default_agent() {
    let tail = |command: &[&str], args: &[&str]| {
        let mut it = polecat();
        it.spec.agent.command = Some(command.iter().map(|it| (*it).to_owned()).collect());
        it.spec.agent.args = Some(args.iter().map(|it| (*it).to_owned()).collect());
        let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
        spec.containers[0].command.clone().unwrap()[6..].join(" ")
    };
    assert_eq!(tail(&[], &[]), "--");
    assert_eq!(tail(&[], &["--fast"]), "--default-agent -- --fast");
    assert_eq!(tail(&["run"], &["--fast"]), "-- run --fast");
}

#[test]
fn an_idle_limit_becomes_a_probe_that_only_reads() {
    let probe = |limit| {
        let mut it = polecat();
        it.spec.limits.max_idle_seconds = limit;
        agent_pod(&it, 1, &settings()).unwrap().spec.unwrap().containers[0].readiness_probe.clone()
    };
    for none in [None, Some(0), Some(-1)] {
        assert_eq!(probe(none), None, "{none:?}: no limit, no probe");
    }
    let value = serde_json::to_value(probe(Some(600)).unwrap()).unwrap();
    insta::assert_snapshot!(serde_saphyr::to_string(&value).unwrap(), @r#"
    exec:
      command:
      - /gastown/tools/gt-runner
      - probe
      - --max-idle-seconds
      - "600"
    failureThreshold: 1
    periodSeconds: 5
    timeoutSeconds: 5
    "#);
}

/// v1alpha1 bounds neither, and the runner takes a year at most.
#[test]
fn times_that_are_meant_for_ever_are_what_the_runner_takes() {
    let mut it = polecat();
    it.spec.limits.max_idle_seconds = Some(i32::MAX);
    it.spec.limits.active_deadline_seconds = i64::MAX;
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    assert_eq!(
        spec.active_deadline_seconds,
        Some(31_536_000 + 120),
        "the API server takes 32 bits"
    );
    let command = spec.containers[0].command.clone().unwrap();
    assert_eq!(command[2..6], ["--deadline-seconds", "31536000", "--max-idle-seconds", "31536000"]);
    let probe = spec.containers[0].readiness_probe.clone().unwrap().exec.unwrap().command.unwrap();
    assert_eq!(probe.last().unwrap(), "31536000");
}

#[test]
fn commits_are_by_whom_and_for_whom_the_annotations_say() {
    let mut it = polecat();
    let pairs = [
        (names::COMMIT_AUTHOR, "Ada <ada@example.com>"),
        (names::REQUESTED_BY, "grace"),
        (names::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let all = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    it.metadata.annotations = Some(all.into());
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    let init = spec.init_containers.as_ref().unwrap()[0].env.clone().unwrap();
    let told = |name: &str| {
        init.iter().find(|it| it.name == name).and_then(|it| it.value.clone()).unwrap_or_default()
    };
    assert_eq!(
        (told("GT_AUTHOR_NAME"), told("GT_AUTHOR_EMAIL")),
        ("Ada".into(), "ada@example.com".into())
    );
    assert_eq!(told("GT_REQUESTED_BY"), "grace");
    assert_eq!(told("GT_TRACE"), "0af7651916cd43dd8448eb211c80319c");
    it.metadata.annotations = Some([(names::COMMIT_AUTHOR.to_owned(), "nobody".to_owned())].into());
    let cause = agent_pod(&it, 1, &settings()).unwrap_err();
    assert!(
        cause.message.contains("metadata.annotations[gastown.io/commit-author]"),
        "{}",
        cause.message
    );
}

/// Row by row: what `agentConfig` becomes in the agent's container.
#[test]
fn the_table_of_agent_settings_holds_row_by_row() {
    use Provider::{Anthropic, Litellm, Ollama, Openai};
    #[rustfmt::skip]
    let table: [(Provider, &str, &[&str]); 12] = [
        (Anthropic, "endpoint", &["ANTHROPIC_BASE_URL"]),
        (Anthropic, "key", &["ANTHROPIC_API_KEY"]),
        (Anthropic, "model", &["ANTHROPIC_MODEL"]),
        (Openai, "endpoint", &["OPENAI_BASE_URL"]),
        (Openai, "key", &["OPENAI_API_KEY"]),
        (Openai, "model", &["OPENAI_MODEL"]),
        (Ollama, "endpoint", &["OLLAMA_HOST"]),
        (Ollama, "key", &["OLLAMA_API_KEY"]),
        (Ollama, "model", &["OLLAMA_MODEL"]),
        (Litellm, "endpoint", &["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"]),
        (Litellm, "key", &["ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY"]),
        (Litellm, "model", &["ANTHROPIC_MODEL", "OPENAI_MODEL"]),
    ];
    let env = |it: &Polecat| {
        agent_pod(it, 1, &settings()).unwrap().spec.unwrap().containers[0].env.clone().unwrap()
    };
    let mut bare = polecat();
    bare.spec.agent.anthropic_key_secret_ref = None;
    let before: Vec<_> = env(&bare).into_iter().map(|it| it.name).collect();
    for (provider, what, want) in table {
        let mut it = bare.clone();
        it.spec.agent.provider = provider;
        match what {
            "endpoint" => it.spec.agent.endpoint = Some("https://llm.example.com".into()),
            "model" => it.spec.agent.model = Some("m-1".into()),
            _ => {
                it.spec.agent.api_key_secret_ref =
                    Some(SecretKeyRef { name: "llm".into(), key: "k".into() });
            }
        }
        let added: Vec<_> = env(&it).into_iter().filter(|it| !before.contains(&it.name)).collect();
        let names: Vec<_> = added.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, want, "{provider:?} {what}");
        for variable in &added {
            let secret = variable.value_from.as_ref().and_then(|it| it.secret_key_ref.as_ref());
            let have = match what {
                "endpoint" => variable.value.as_deref() == Some("https://llm.example.com"),
                "model" => variable.value.as_deref() == Some("m-1"),
                _ => secret.is_some_and(|it| (it.name.as_str(), it.key.as_str()) == ("llm", "k")),
            };
            assert!(have, "{provider:?} {what}: {variable:?}");
        }
    }
}

#[test]
fn a_service_account_is_the_pods_and_its_token_is_not() {
    let mut it = polecat();
    it.spec.agent.service_account_name = Some("agent".into());
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    assert_eq!(spec.service_account_name.as_deref(), Some("agent"));
    assert_eq!(spec.automount_service_account_token, Some(false));
}

#[test]
fn a_config_map_of_the_agents_is_mounted_read_only_and_named() {
    let mut it = polecat();
    it.spec.agent.config_map_ref = Some(ConfigMapRef { name: "settings".into() });
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    let claude = &spec.containers[0];
    let mount = claude.volume_mounts.iter().flatten().find(|it| it.name == "agent-config").unwrap();
    assert_eq!(mount.read_only, Some(true));
    let named = claude.env.iter().flatten().find(|it| it.name == "GT_AGENT_CONFIG").unwrap();
    assert_eq!(named.value.as_deref(), Some(mount.mount_path.as_str()), "it says where");
    let volume = spec.volumes.iter().flatten().find(|it| it.name == "agent-config").unwrap();
    assert_eq!(volume.config_map.as_ref().unwrap().name, "settings");
    let others = spec.containers[1..].iter().chain(spec.init_containers.iter().flatten());
    let mounts = others.flat_map(|it| it.volume_mounts.iter().flatten());
    assert!(mounts.into_iter().all(|it| it.name != "agent-config"), "the agent's alone");
}

#[test]
fn variables_of_the_agents_reach_no_other_container() {
    let mut it = polecat();
    it.spec.agent.endpoint = Some("https://llm.example.com".into());
    it.spec.agent.env = Some(
        [("GIT_SSH", "/workspace/x"), ("PATH", "/workspace")].map(|(n, v)| env::value(n, v)).into(),
    );
    let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
    let names = |it: &Container| -> Vec<String> {
        it.env.iter().flatten().map(|it| it.name.clone()).collect()
    };
    let agents = ["GIT_SSH", "PATH", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"];
    let claude = names(&spec.containers[0]);
    assert!(agents.iter().all(|it| claude.contains(&(*it).to_owned())), "{claude:?}");
    for other in [&spec.init_containers.as_ref().unwrap()[0], &spec.containers[1]] {
        let strays: Vec<_> =
            names(other).into_iter().filter(|it| agents.contains(&&**it)).collect();
        assert!(strays.is_empty(), "{}: {strays:?}", other.name);
    }
}

#[test]
fn the_autoscaler_is_asked_to_leave_the_node_unless_that_is_switched_off() {
    let asks = |settings: &PodSettings| {
        let pod = agent_pod(&polecat(), 1, settings).unwrap();
        pod.metadata.annotations.unwrap().get(names::SAFE_TO_EVICT).cloned()
    };
    assert_eq!(asks(&settings()).as_deref(), Some("false"));
    let off = PodSettings { hold_node: false, ..settings() };
    assert_eq!(asks(&off), None, "--safe-to-evict");
}
