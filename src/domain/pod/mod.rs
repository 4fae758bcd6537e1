//! The agent pod, as one literal that reads like its YAML. `git-init` clones, `claude` works, `telemetry` pushes; only
//! the first and the last hold the git credential, and none holds a cluster credential.

mod checks;
mod fragments;
mod outside;
mod telling;

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, Pod, PodSpec, ResourceRequirements, Volume, VolumeMount,
};
use kube::core::ObjectMeta;

use crate::{
    api::v1beta1::{Polecat, Repository},
    domain::{
        env,
        failure::Cause,
        fields,
        layout::{self, env as var},
        names,
        provenance::Provenance,
        tenancy::House,
        trace::Sampler,
    },
};
pub use checks::{BUILD_AGENT, capped, flaws};
use checks::{check, images};
use fragments::{
    AGENTS, Identity, amounts, annotations, approved, bounded, from_config_map, from_secret,
    idle_limit, idle_probe, labels, locked_down, owner, pod_security, provenance, ro, rw, scratch,
    seconds, storage_limit, storage_words, told,
};
pub use outside::Outside;
pub use telling::Telling;

/// How long a pod may take to end once it is told to.
pub const GRACE: Duration = Duration::from_secs(60);

/// What the operator's settings say about pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSettings {
    /// Image of `git-init`; holds `gt-runner`, git and ssh.
    pub git_image: Option<String>,
    /// Image of `claude` where the Polecat names none.
    pub agent_image: Option<String>,
    /// Image of `claude` whatever the Polecat names.
    pub agent_image_override: Option<String>,
    /// Image of `telemetry`; holds `gt-runner`, git and ssh.
    pub telemetry_image: Option<String>,
    /// Time after the agent's deadline for handing over and pushing.
    pub push_reserve: Duration,
    /// How long a finished pod is kept; `None`: as long as its Polecat.
    pub finished_pod_ttl: Option<Duration>,
    /// How long after the agent's end a run that is complete with it waits for the verdict.
    pub verdict_wait: Duration,
    /// How long a pod may stay unready beyond its agent's idle limit.
    pub idle_grace: Duration,
    /// Whether working pods ask the cluster autoscaler to leave their node alone.
    pub hold_node: bool,
    /// How long a pod may be pending until its Events are read.
    pub pending_patience: Duration,
    /// Most seconds that a Polecat may ask for its agent.
    pub max_active_deadline: Option<i64>,
    /// Make no pods.
    pub paused: bool,
    /// Most Polecats of one namespace that may run.
    pub max_running_per_namespace: Option<u32>,
    /// What holds where a Rig does not say it.
    pub house: House,
    /// Containers run as users that we choose; on OpenShift the platform does.
    pub fixed_users: bool,
    /// How their programs reach the world.
    pub outside: Outside,
    /// The address of a trace's page, with [`crate::domain::trace::PLACE`] for its id.
    pub trace_url: Option<String>,
    /// Which runs are told of; `None`: this operator tells of none.
    pub recorded: Option<Sampler>,
    /// The collector that they tell of a run by themselves.
    pub telling: Option<Telling>,
}

impl Default for PodSettings {
    fn default() -> Self {
        Self {
            git_image: None,
            agent_image: None,
            agent_image_override: None,
            telemetry_image: None,
            push_reserve: Duration::from_secs(120),
            finished_pod_ttl: None,
            verdict_wait: Duration::from_secs(10),
            idle_grace: Duration::from_secs(30),
            hold_node: true,
            pending_patience: Duration::from_secs(10),
            max_active_deadline: None,
            paused: false,
            max_running_per_namespace: None,
            house: House::default(),
            fixed_users: true,
            outside: Outside::default(),
            trace_url: None,
            recorded: None,
            telling: None,
        }
    }
}

/// The pod of one attempt, or why there can be none: every name and text in it is checked by the very parsers that the
/// runner uses.
pub fn agent_pod(polecat: &Polecat, attempt: i32, settings: &PodSettings) -> Result<Pod, Cause> {
    let parts = Parts::new(polecat, attempt, settings)?;
    let meta = &polecat.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let (rig, bead) = (polecat.spec.rig.as_str(), polecat.spec.bead_id.as_deref());
    let deadline = parts.deadline.saturating_add(seconds(settings.push_reserve));
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(names::pod(name, attempt)),
            namespace: meta.namespace.clone(),
            labels: Some(labels(name, meta.namespace.as_deref(), rig, bead)),
            annotations: Some(annotations(name, rig, bead, attempt, settings.hold_node)),
            owner_references: Some(vec![owner(meta)]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            restart_policy: Some("Never".into()),
            active_deadline_seconds: Some(deadline),
            termination_grace_period_seconds: Some(seconds(GRACE)),
            service_account_name: polecat.spec.agent.service_account_name.clone(),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            init_containers: Some(vec![parts.git_init()]),
            containers: vec![parts.claude(), parts.telemetry()],
            volumes: Some(parts.volumes()),
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    let pod = if settings.house.tls_policy.is_fips() { approved(pod) } else { pod };
    let pod = telling::told(pod, polecat, attempt, settings.telling.as_ref());
    let pod = telling::placed(pod, polecat, attempt, settings.recorded);
    let pod = outside::reaching(pod, &settings.outside);
    Ok(fragments::users(settings.fixed_users, pod))
}

/// What the containers are made of, checked.
struct Parts<'a> {
    polecat: &'a Polecat,
    repository: &'a Repository,
    attempt: String,
    agent_env: Vec<EnvVar>,
    provenance: Provenance,
    /// Where in the trace the agent is.
    traceparent: String,
    work_branch: String,
    deadline: i64,
    /// What `telemetry` may take: the reserve, less ten seconds for the verdict to be written and read.
    push_seconds: String,
    git_image: String,
    agent_image: String,
    telemetry_image: String,
}

impl<'a> Parts<'a> {
    fn new(polecat: &'a Polecat, attempt: i32, settings: &PodSettings) -> Result<Self, Cause> {
        let spec = &polecat.spec;
        let missing =
            || Cause::new("MissingKubernetesSpec", format!("{} is missing", fields::REPOSITORY));
        let repository = spec.repository.as_ref().ok_or_else(missing)?;
        let name = polecat.metadata.name.as_deref().unwrap_or_default();
        let asked = repository.work_branch.as_deref();
        let work_branch = names::work_branch(asked, spec.bead_id.as_deref(), name);
        check(polecat, settings.max_active_deadline)?;
        let (git_image, agent_image, telemetry_image) = images(polecat, settings)?;
        let (provenance, traceparent) = provenance(polecat, attempt, settings.recorded)?;
        Ok(Self {
            polecat,
            repository,
            attempt: attempt.to_string(),
            agent_env: env::agent(&spec.agent),
            provenance,
            traceparent,
            work_branch,
            deadline: bounded(spec.limits.active_deadline_seconds),
            push_seconds: settings.push_reserve.as_secs().saturating_sub(10).to_string(),
            git_image,
            agent_image,
            telemetry_image,
        })
    }

    fn git_init(&self) -> Container {
        Container {
            name: layout::GIT_INIT.into(),
            image: Some(self.git_image.clone()),
            command: Some(vec![layout::RUNNER_IN_IMAGE.into(), "git-init".into()]),
            env: Some(self.init_env()),
            volume_mounts: Some(self.git_mounts(&[
                rw(&layout::WORKSPACE),
                rw(&layout::INIT_HOME),
                rw(&layout::TOOLS),
                rw(&layout::LOCK),
                rw(&layout::DELIVERY),
            ])),
            resources: Some(amounts(("100m", "128Mi"), ("1", "1Gi"))),
            security_context: Some(locked_down()),
            ..Container::default()
        }
    }

    fn claude(&self) -> Container {
        let agent = &self.polecat.spec.agent;
        let Identity { name, uid, namespace, rig, bead, task } = Identity::of(self.polecat);
        let mut variables = told(&[
            (var::POLECAT, name),
            (var::POLECAT_UID, uid),
            (var::NAMESPACE, namespace),
            (var::RIG, rig),
            (var::ISSUE, bead),
            (var::ATTEMPT, &self.attempt),
            (var::TASK_DESCRIPTION, task),
            (var::WORK_BRANCH, &self.work_branch),
            ("HOME", layout::HOME.path),
        ]);
        variables.push(storage_limit());
        let mut mounts = vec![
            rw(&layout::WORKSPACE),
            rw(&layout::TMP),
            rw(&layout::HOME),
            ro(&layout::TOOLS),
            ro(&layout::LOCK),
            rw(&layout::HANDOVER),
        ];
        if agent.credentials_secret_ref.is_some() {
            mounts.push(ro(&layout::CLAUDE_CREDS));
        }
        if agent.config_map_ref.is_some() {
            mounts.push(ro(&layout::AGENT_CONFIG));
            variables.push(env::value(var::AGENT_CONFIG, layout::AGENT_CONFIG.path));
        }
        // Its own instrumentation hangs on the run's trace, unless its settings say otherwise.
        if !self.agent_env.iter().any(|it| it.name == var::TRACEPARENT) {
            variables.push(env::value(var::TRACEPARENT, &self.traceparent));
        }
        variables.extend(self.agent_env.iter().cloned());
        Container {
            name: layout::CLAUDE.into(),
            image: Some(self.agent_image.clone()),
            command: Some(self.agent_command()),
            working_dir: Some(layout::REPOSITORY.into()),
            env: Some(variables),
            volume_mounts: Some(mounts),
            resources: Some(agent.resources.as_ref().map_or_else(
                || amounts(("500m", "1Gi"), ("2", "4Gi")),
                |it| ResourceRequirements {
                    limits: it.limits.clone(),
                    requests: it.requests.clone(),
                    claims: None,
                },
            )),
            security_context: Some(locked_down()),
            readiness_probe: idle_limit(self.polecat).map(idle_probe),
            ..Container::default()
        }
    }

    /// The runner, and behind it the agent.
    fn agent_command(&self) -> Vec<String> {
        let agent = &self.polecat.spec.agent;
        let mut command = vec![layout::RUNNER.into(), "claude".into()];
        command.extend(["--deadline-seconds".into(), self.deadline.to_string()]);
        if let Some(idle) = idle_limit(self.polecat) {
            command.extend(["--max-idle-seconds".into(), idle.to_string()]);
        }
        command.extend(storage_words());
        let program = agent.command.as_deref().unwrap_or_default();
        let args = agent.args.as_deref().unwrap_or_default();
        if program.is_empty() && !args.is_empty() {
            command.push("--default-agent".into());
        }
        command.push("--".into());
        command.extend(program.iter().chain(args).cloned());
        command
    }

    fn telemetry(&self) -> Container {
        let Identity { name, uid, rig, bead, task, .. } = Identity::of(self.polecat);
        let variables = told(&[
            (var::POLECAT, name),
            (var::POLECAT_UID, uid),
            (var::RIG, rig),
            (var::ISSUE, bead),
            (var::ATTEMPT, &self.attempt),
            // For the verdict. The task itself would be there twice, in each of the many changes of a pod.
            (var::TASK_SHA256, &names::sha256(task)),
            (var::GIT_REPOSITORY, &self.repository.url),
            (var::WORK_BRANCH, &self.work_branch),
            (var::PUSH_SECONDS, &self.push_seconds),
            ("HOME", layout::TELEMETRY_HOME.path),
            ("TMPDIR", layout::TELEMETRY_HOME.path),
            // The original's names, for what reads the environments of its pods.
            ("POLECAT_NAME", name),
            ("POLECAT_RIG", rig),
            ("POLECAT_BEAD", bead),
        ]);
        Container {
            name: layout::TELEMETRY.into(),
            image: Some(self.telemetry_image.clone()),
            command: Some(vec![layout::RUNNER_IN_IMAGE.into(), "telemetry".into()]),
            env: Some(variables),
            ports: Some(vec![ContainerPort {
                name: Some("metrics".into()),
                container_port: layout::METRICS_PORT.into(),
                ..ContainerPort::default()
            }]),
            volume_mounts: Some(self.git_mounts(&[
                rw(&layout::TELEMETRY_HOME),
                ro(&layout::LOCK),
                ro(&layout::HANDOVER),
                rw(&layout::DELIVERY),
            ])),
            resources: Some(amounts(("100m", "128Mi"), ("200m", "256Mi"))),
            security_context: Some(locked_down()),
            ..Container::default()
        }
    }

    /// What `git-init` lays out says whose commits they are, and for whom.
    fn init_env(&self) -> Vec<EnvVar> {
        let Provenance { author, requested_by, trace } = &self.provenance;
        let Identity { name, uid, bead, .. } = Identity::of(self.polecat);
        let mut list = told(&[
            (var::POLECAT, name),
            (var::POLECAT_UID, uid),
            (var::ISSUE, bead),
            (var::GIT_REPOSITORY, &self.repository.url),
            (var::GIT_BRANCH, &self.repository.base_branch),
            (var::WORK_BRANCH, &self.work_branch),
            ("HOME", layout::INIT_HOME.path),
            ("TMPDIR", layout::INIT_HOME.path),
        ]);
        let lines = [
            (var::AUTHOR_NAME, author.as_ref().map(|it| it.name.as_str())),
            (var::AUTHOR_EMAIL, author.as_ref().map(|it| it.address.as_str())),
            (var::REQUESTED_BY, requested_by.as_deref()),
            (var::TRACE, trace.as_deref()),
        ];
        list.extend(lines.into_iter().filter_map(|(name, text)| Some(env::value(name, text?))));
        list
    }

    fn git_mounts(&self, own: &[VolumeMount]) -> Vec<VolumeMount> {
        let mut mounts = own.to_vec();
        mounts.push(ro(&layout::GIT_CREDS));
        if self.repository.known_hosts_config_map_ref.is_some() {
            mounts.push(ro(&layout::KNOWN_HOSTS));
        }
        mounts
    }

    fn volumes(&self) -> Vec<Volume> {
        let agent = &self.polecat.spec.agent;
        let mut volumes = vec![
            scratch(&layout::TELEMETRY_HOME, "1Gi"),
            scratch(&layout::INIT_HOME, "256Mi"),
            scratch(&layout::TOOLS, "128Mi"),
            scratch(&layout::LOCK, "1Mi"),
            scratch(&layout::DELIVERY, "10Gi"),
            from_secret(&layout::GIT_CREDS, &self.repository.secret_ref.name),
        ];
        volumes.extend(AGENTS.iter().map(|(mount, gibi)| scratch(mount, &format!("{gibi}Gi"))));
        if let Some(it) = &agent.credentials_secret_ref {
            volumes.push(from_secret(&layout::CLAUDE_CREDS, &it.name));
        }
        let maps = [
            (&layout::KNOWN_HOSTS, &self.repository.known_hosts_config_map_ref),
            (&layout::AGENT_CONFIG, &agent.config_map_ref),
        ];
        for (mount, map) in maps {
            volumes.extend(map.iter().map(|it| from_config_map(mount, &it.name)));
        }
        volumes
    }
}

#[cfg(test)]
mod tests;
