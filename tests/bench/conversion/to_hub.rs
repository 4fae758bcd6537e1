//! A v1alpha1 Polecat as the hub says it, by hand and by types: beside the table that the operator goes by, which has to agree.

use gastown::api::{
    shared, v1alpha1,
    v1beta1::{Agent, Completion, ConfigMapRef, Limits, Polecat, PolecatSpec, Repository},
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
    let mut limits = Limits { max_idle_seconds, ttl_seconds_after_finished, ..Limits::default() };
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
    agent.provider = provider;
    agent.model = model;
    if let Some(v1alpha1::polecat::ModelProvider { endpoint, api_key_secret_ref }) = model_provider
    {
        (agent.endpoint, agent.api_key_secret_ref) = (endpoint, api_key_secret_ref);
    }
    agent.image = filled(image);
    agent.command = command;
    agent.args = args;
    agent.config_map_ref = named(config_map_ref);
    agent.env = env;
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
    agent.image = filled(image).or(agent.image.take());
    agent.resources = resources.or(agent.resources.take());
    Repository {
        url: git_repository,
        base_branch: git_branch,
        work_branch,
        secret_ref: git_secret_ref,
        known_hosts_config_map_ref: named(ssh_known_hosts_config_map_ref),
    }
}

fn filled(old: Option<String>) -> Option<String> {
    old.filter(|it| !it.is_empty())
}

/// A reference without a name refers to nothing.
fn named(old: Option<shared::ConfigMapRef>) -> Option<ConfigMapRef> {
    old.filter(|it| !it.name.is_empty()).map(|shared::ConfigMapRef { name }| ConfigMapRef { name })
}
