//! The served v1alpha1 Polecat as the hub. The more specific place wins: `kubernetes.*`, then `agentConfig.*`, then the
//! top level. An old object keeps its old meaning: it is done when its agent exits with 0.

use crate::api::{
    v1alpha1,
    v1beta1::{Agent, Completion, Limits, Polecat, PolecatSpec, Repository},
};

/// The hub's shape of a served object.
pub fn to_hub(old: v1alpha1::Polecat) -> Polecat {
    let v1alpha1::Polecat { metadata, spec, status } = old;
    Polecat { metadata, spec: spec_to_hub(spec), status: status.unwrap_or_default() }
}

fn spec_to_hub(old: v1alpha1::PolecatSpec) -> PolecatSpec {
    // No `..`: a new field must be dealt with here before it compiles.
    let v1alpha1::PolecatSpec {
        rig,
        desired_state,
        bead_id,
        task_description,
        execution_mode: v1alpha1::polecat::ExecutionMode::Kubernetes,
        agent: kind,
        agent_config,
        resources,
        ttl_seconds_after_finished,
        max_idle_seconds,
        kubernetes,
    } = old;
    let mut agent = Agent { kind, resources, ..Agent::default() };
    if let Some(it) = agent_config {
        configure(&mut agent, it);
    }
    let mut limits =
        Limits { active_deadline_seconds: 3600, max_idle_seconds, ttl_seconds_after_finished };
    let repository = kubernetes.map(|it| in_pod(&mut agent, &mut limits, it));
    PolecatSpec {
        rig,
        desired_state,
        bead_id,
        task: task_description,
        repository,
        agent,
        limits,
        completion: Completion::ExitCode,
    }
}

fn configure(agent: &mut Agent, old: v1alpha1::polecat::AgentConfig) {
    let v1alpha1::polecat::AgentConfig {
        provider,
        model,
        model_provider,
        image,
        command,
        args,
        config_map_ref,
        env,
    } = old;
    agent.provider = Some(provider);
    agent.model = model;
    if let Some(v1alpha1::polecat::ModelProvider { endpoint, api_key_secret_ref }) = model_provider
    {
        (agent.endpoint, agent.api_key_secret_ref) = (endpoint, api_key_secret_ref);
    }
    agent.image = image;
    agent.command = command.unwrap_or_default();
    agent.args = args.unwrap_or_default();
    agent.config_map_ref = config_map_ref.filter(|it| !it.name.is_empty());
    agent.env = env.unwrap_or_default();
}

fn in_pod(
    agent: &mut Agent,
    limits: &mut Limits,
    old: v1alpha1::polecat::KubernetesSpec,
) -> Repository {
    let v1alpha1::polecat::KubernetesSpec {
        git_repository,
        git_branch,
        work_branch,
        git_secret_ref,
        claude_creds_secret_ref,
        api_key_secret_ref,
        image,
        resources,
        active_deadline_seconds,
        ssh_known_hosts_config_map_ref,
        ssh_strict_host_key_checking: v1alpha1::polecat::StrictHostKeyChecking::Yes,
    } = old;
    limits.active_deadline_seconds = active_deadline_seconds;
    agent.credentials_secret_ref = claude_creds_secret_ref;
    agent.anthropic_key_secret_ref = api_key_secret_ref;
    agent.image = image.filter(|it| !it.is_empty()).or(agent.image.take());
    agent.resources = resources.or(agent.resources.take());
    Repository {
        url: git_repository,
        base_branch: git_branch,
        work_branch,
        secret_ref: git_secret_ref,
        known_hosts_config_map_ref: ssh_known_hosts_config_map_ref.filter(|it| !it.name.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(yaml: &str) -> Polecat {
        to_hub(serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn the_more_specific_place_wins() {
        let polecat = hub(r#"
apiVersion: gastown.gastown.io/v1alpha1
kind: Polecat
metadata: {name: max, namespace: town}
spec:
  rig: greeter
  desiredState: Working
  resources: {limits: {cpu: 1}}
  agentConfig: {image: "agent:config", command: [run], provider: anthropic}
  kubernetes:
    gitRepository: git@git.example.com:town/greeter.git
    gitSecretRef: {name: key}
    image: "agent:kubernetes"
    resources: {limits: {cpu: "2"}}
"#);
        assert_eq!(polecat.spec.agent.image.as_deref(), Some("agent:kubernetes"));
        assert_eq!(polecat.spec.agent.resources.unwrap().limits.unwrap()["cpu"].0, "2");
        assert_eq!(polecat.spec.agent.command, ["run"]);
        assert_eq!(polecat.spec.limits.active_deadline_seconds, 3600);
        assert_eq!(polecat.spec.repository.unwrap().base_branch, "main");
    }

    #[test]
    fn the_least_object_converts() {
        let polecat = hub(
            "{apiVersion: gastown.gastown.io/v1alpha1, kind: Polecat, metadata: {name: max}, spec: {rig: greeter}}",
        );
        assert_eq!(polecat.spec.repository, None);
        assert_eq!(polecat.spec.agent.provider, None);
    }
}
