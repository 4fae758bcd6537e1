//! Pieces of a pod that several containers share.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, ExecAction, Pod,
        PodSecurityContext, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
        SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::OwnerReference},
};
use kube::core::ObjectMeta;

use crate::{
    api::v1beta1::Polecat,
    domain::{
        env,
        failure::Cause,
        layout::{self, Mount},
        names,
        polecat::AGENT_STAGE,
        provenance::Provenance,
        shard::bucket,
        tls_policy::{self, TlsPolicy},
        trace::{Context, Run, Sampler, SpanId},
    },
};

/// Which Polecat it is, and what it is to do.
pub(super) struct Identity<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub namespace: &'a str,
    pub rig: &'a str,
    pub bead: &'a str,
    pub task: &'a str,
}

impl<'a> Identity<'a> {
    pub(super) fn of(Polecat { metadata, spec, .. }: &'a Polecat) -> Self {
        let text = |it: &'a Option<String>| it.as_deref().unwrap_or_default();
        Self {
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            namespace: text(&metadata.namespace),
            rig: &spec.rig,
            bead: text(&spec.bead_id),
            task: text(&spec.task),
        }
    }
}

/// What a container is told. `git-init` and `telemetry` are told what they read and no more, as the API server compares
/// every variable at each change of a pod; the agent is told all that it may want to know.
pub(super) fn told(words: &[(&str, &str)]) -> Vec<EnvVar> {
    words.iter().map(|(name, text)| env::value(name, text)).collect()
}

/// User and group of every container.
const NONROOT: i64 = 65532;

/// What the agent can fill, each with its size limit in GiB. The hand-over folder holds two bundles for a moment.
pub(super) const AGENTS: [(&Mount, u64); 4] =
    [(&layout::WORKSPACE, 10), (&layout::TMP, 2), (&layout::HOME, 2), (&layout::HANDOVER, 2)];

/// The same for the runner, which ends the agent before the node would end the pod.
pub(super) fn storage_words() -> [String; 2] {
    let limits = AGENTS.map(|(mount, gibi)| format!("{}={}", mount.path, gibi << 30));
    ["--volume-limits".to_owned(), limits.join(",")]
}

/// How much all of them may hold together: a limit of ephemeral storage on one container is taken by the node for the whole
/// pod's, volumes and all. Left to the node to say, since a `LimitRange` may set one; without any it says what it has.
pub(super) fn storage_limit() -> EnvVar {
    env::limit(layout::env::STORAGE_LIMIT, layout::CLAUDE, "ephemeral-storage")
}

/// Restricted Pod Security, for the pod.
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NONROOT),
        run_as_group: Some(NONROOT),
        fs_group: Some(NONROOT),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// Restricted Pod Security, for a container.
pub(super) fn locked_down() -> SecurityContext {
    SecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NONROOT),
        run_as_group: Some(NONROOT),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

/// Leaves users and groups of a pod to the platform, where they are not ours to choose.
pub(super) fn users(fixed: bool, mut pod: Pod) -> Pod {
    let Some(spec) = pod.spec.as_mut().filter(|_| !fixed) else { return pod };
    if let Some(it) = spec.security_context.as_mut() {
        (it.run_as_user, it.run_as_group, it.fs_group) = (None, None, None);
    }
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for it in containers.filter_map(|it| it.security_context.as_mut()) {
        (it.run_as_user, it.run_as_group) = (None, None);
    }
    pod
}

/// What puts the TLS of every program into approved settings, and what says that it has to be there.
pub(super) fn approved(mut pod: Pod) -> Pod {
    let says = (tls_policy::ANNOTATION.to_owned(), TlsPolicy::FIPS.to_owned());
    pod.metadata.annotations.get_or_insert_default().extend([says]);
    let Some(spec) = pod.spec.as_mut() else { return pod };
    for it in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let variables = it.env.get_or_insert_default();
        variables.extend(tls_policy::VARIABLES.map(|(name, text)| env::value(name, text)));
        let mounts = it.volume_mounts.get_or_insert_default();
        if mounts.iter().all(|it| it.name != tls_policy::MOUNT.volume) {
            mounts.push(ro(&tls_policy::MOUNT));
        }
    }
    pod
}

/// v1alpha1 has no bound for it, and what is none is no limit, as in the Go original.
pub(super) fn idle_limit(polecat: &Polecat) -> Option<i64> {
    polecat.spec.limits.max_idle_seconds.filter(|it| *it > 0).map(|it| bounded(it.into()))
}

/// A time as the runner takes it.
pub(super) fn bounded(seconds: i64) -> i64 {
    seconds.min(layout::MAX_SECONDS.into())
}

/// Ready while the agent was active lately: only reads the time stamp that the runner keeps.
pub(super) fn idle_probe(max_idle_seconds: i64) -> Probe {
    let words = [layout::RUNNER, "probe", "--max-idle-seconds"].map(ToOwned::to_owned);
    let command = words.into_iter().chain([max_idle_seconds.to_string()]).collect();
    Probe {
        exec: Some(ExecAction { command: Some(command) }),
        period_seconds: Some(5),
        timeout_seconds: Some(5),
        failure_threshold: Some(1),
        ..Probe::default()
    }
}

pub(super) fn amounts(requests: (&str, &str), limits: (&str, &str)) -> ResourceRequirements {
    let map = |(cpu, memory): (&str, &str)| {
        let pairs = [("cpu", cpu), ("memory", memory)];
        Some(pairs.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into())
    };
    ResourceRequirements { requests: map(requests), limits: map(limits), claims: None }
}

pub(super) fn scratch(mount: &Mount, limit: &str) -> Volume {
    let empty = EmptyDirVolumeSource { size_limit: Some(Quantity(limit.into())), medium: None };
    Volume { name: mount.volume.into(), empty_dir: Some(empty), ..Volume::default() }
}

pub(super) fn from_secret(mount: &Mount, secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.into()),
        default_mode: Some(0o400),
        ..SecretVolumeSource::default()
    };
    Volume { name: mount.volume.into(), secret: Some(source), ..Volume::default() }
}

pub(super) fn from_config_map(mount: &Mount, name: &str) -> Volume {
    let source = ConfigMapVolumeSource { name: name.into(), ..ConfigMapVolumeSource::default() };
    Volume { name: mount.volume.into(), config_map: Some(source), ..Volume::default() }
}

pub(super) fn rw(mount: &Mount) -> VolumeMount {
    VolumeMount {
        name: mount.volume.into(),
        mount_path: mount.path.into(),
        ..VolumeMount::default()
    }
}

pub(super) fn ro(mount: &Mount) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..rw(mount) }
}

pub(super) fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// Whose pod it is: it goes with its Polecat.
pub(super) fn owner(meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/v1beta1", crate::api::GROUP),
        kind: "Polecat".into(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// For whom the run is, and where in its trace the agent is. Its flag says what becomes of the run, so that what an agent tells
/// hangs on something; where this operator tells of none, what was decided before stands.
pub(super) fn provenance(
    polecat: &Polecat,
    attempt: i32,
    recorded: Option<Sampler>,
) -> Result<(Provenance, String), Cause> {
    let run = Run::of_whole(polecat, attempt);
    let uid = polecat.metadata.uid.as_deref().unwrap_or_default();
    let agent = SpanId::of_stage(run.trace, uid, attempt, AGENT_STAGE);
    let found = Provenance::of(&polecat.metadata);
    let found = found.map_err(|why| Cause::new("PodBuildFailed", why))?;
    let trace = Some(run.trace.to_string());
    let at = run.at(agent);
    let sampled = recorded.map_or(at.sampled, |it| it.samples(run.trace, run.sampled));
    Ok((Provenance { trace, ..found }, Context { sampled, ..at }.to_string()))
}

/// A backup that held the pod would run it again at its restore.
pub(super) fn labels(
    name: &str,
    namespace: Option<&str>,
    rig: &str,
    bead: Option<&str>,
) -> BTreeMap<String, String> {
    let mut all = names::labels(name, rig, bead);
    all.insert(names::VELERO_EXCLUDE.into(), "true".into());
    all.extend(namespace.map(|it| (bucket::LABEL.to_owned(), bucket::label(it))));
    all
}

pub(super) fn annotations(
    name: &str,
    rig: &str,
    bead: Option<&str>,
    attempt: i32,
    hold_node: bool,
) -> BTreeMap<String, String> {
    let mut all = names::truths(name, rig, bead);
    all.insert(names::ATTEMPT_ANNOTATION.into(), attempt.to_string());
    all.insert("kubectl.kubernetes.io/default-container".into(), layout::CLAUDE.into());
    if hold_node {
        all.insert(names::SAFE_TO_EVICT.into(), "false".into());
    }
    all
}
