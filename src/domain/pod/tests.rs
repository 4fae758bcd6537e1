//! The pod as YAML, and everything that keeps one from being built.

use super::*;
use crate::api::{
    shared::{ConfigMapRef, SecretKeyRef, SecretRef},
    v1beta1::Provider,
};

fn polecat() -> Polecat {
    let mut it = Polecat::default();
    it.metadata.name = Some("furiosa".into());
    it.metadata.namespace = Some("town".into());
    it.metadata.uid = Some("0c5c0f8e-0000-4000-8000-000000000001".into());
    it.spec.rig = "greeter".into();
    it.spec.bead_id = Some("gt-abc12".into());
    it.spec.task = Some("Say $(HOME) in greeting.txt".into());
    it.spec.limits.active_deadline_seconds = 3600;
    it.spec.agent.provider = Some(Provider::Anthropic);
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

fn settings() -> PodSettings {
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
        (|it| it.spec.limits.max_idle_seconds = Some(-1), "spec.maxIdleSeconds"),
        (|it| it.spec.task = Some("x".repeat(200_000)), "spec.taskDescription"),
        (
            |it| it.spec.agent.credentials_secret_ref = Some(SecretRef { name: "git-key".into() }),
            "claudeCredsSecretRef",
        ),
        (|it| it.spec.agent.env = vec![env::value("LD_PRELOAD", "x")], "LD_PRELOAD"),
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
    assert_eq!(agent_pod(&it, 1, &bare).unwrap_err().reason, "AgentImageNotSet");
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
        it.spec.agent.command = command.iter().map(|it| (*it).to_owned()).collect();
        it.spec.agent.args = args.iter().map(|it| (*it).to_owned()).collect();
        let spec = agent_pod(&it, 1, &settings()).unwrap().spec.unwrap();
        spec.containers[0].command.clone().unwrap()[4..].join(" ")
    };
    assert_eq!(tail(&[], &[]), "--");
    assert_eq!(tail(&[], &["--fast"]), "--default-agent -- --fast");
    assert_eq!(tail(&["run"], &["--fast"]), "-- run --fast");
}
