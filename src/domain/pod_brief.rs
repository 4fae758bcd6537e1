//! What is kept of a pod: the few facts a decision needs, under 400 bytes where nothing went wrong, instead of the
//! 39 kB of a whole one.

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus},
    jiff::Timestamp,
};

use crate::domain::{conditions::cut, layout, names};

/// Longest text that is kept of a message, in bytes; a verdict is at most 3,072.
const MAX_TEXT: usize = 4096;

/// The facts about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodBrief {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Its controller, if it has one.
    pub owner: Option<Owner>,
    pub attempt: i32,
    pub deleting: bool,
    pub phase: PodPhase,
    /// The kubelet's own word for a failed pod, such as `DeadlineExceeded` or `Evicted`.
    pub reason: Box<str>,
    pub message: Box<str>,
    /// A node was found for it: from then on its agent may have run.
    pub scheduled: bool,
    /// The scheduler's words when it found none.
    pub unschedulable: Option<Box<str>>,
    /// Reason of the condition `DisruptionTarget`: preempted, evicted, node lost.
    pub disruption: Option<Box<str>>,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub git_init: Container,
    pub claude: Container,
    pub telemetry: Container,
    /// Image of `claude` as asked for.
    pub image: Option<Box<str>>,
}

/// A pod's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
}

/// The pod's phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PodPhase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Container {
    /// The kubelet has said nothing of it.
    #[default]
    Unseen,
    Waiting {
        reason: Box<str>,
        message: Box<str>,
    },
    Running,
    Ended {
        exit_code: i32,
        reason: Box<str>,
        message: Box<str>,
        at: Option<Timestamp>,
    },
}

impl Container {
    /// Its exit code, once it has ended.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Ended { exit_code, .. } => Some(*exit_code),
            _ => None,
        }
    }

    /// Whether it has ended.
    pub const fn ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

impl From<&Pod> for PodBrief {
    fn from(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let status = pod.status.clone().unwrap_or_default();
        let owner = meta.owner_references.iter().flatten().find(|it| it.controller == Some(true));
        let container =
            |name| containers(&status).find(|it| it.name == name).map(seen).unwrap_or_default();
        Self {
            namespace: boxed(meta.namespace.as_deref()),
            name: boxed(meta.name.as_deref()),
            uid: boxed(meta.uid.as_deref()),
            resource_version: boxed(meta.resource_version.as_deref()),
            owner: owner.map(|it| Owner {
                kind: it.kind.as_str().into(),
                name: it.name.as_str().into(),
                uid: it.uid.as_str().into(),
            }),
            attempt: attempt(pod),
            deleting: meta.deletion_timestamp.is_some(),
            phase: phase(&status),
            reason: boxed(status.reason.as_deref()),
            message: boxed(status.message.as_deref()),
            scheduled: pod.spec.as_ref().is_some_and(|it| it.node_name.is_some()),
            unschedulable: condition(&status, "PodScheduled", "False").map(|(_, message)| message),
            disruption: condition(&status, "DisruptionTarget", "True").map(|(reason, _)| reason),
            created_at: meta.creation_timestamp.as_ref().map(|it| it.0),
            started_at: status.start_time.as_ref().map(|it| it.0),
            git_init: container(layout::GIT_INIT),
            claude: container(layout::CLAUDE),
            telemetry: container(layout::TELEMETRY),
            image: image(pod),
        }
    }
}

fn attempt(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|it| it.get(names::ATTEMPT_ANNOTATION))
        .and_then(|it| it.parse().ok())
        .unwrap_or(1)
}

fn image(pod: &Pod) -> Option<Box<str>> {
    let mut containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers
        .find(|it| it.name == layout::CLAUDE)
        .and_then(|it| it.image.as_deref())
        .map(Into::into)
}

fn phase(status: &PodStatus) -> PodPhase {
    match status.phase.as_deref() {
        None | Some("Pending" | "") => PodPhase::Pending,
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some(_) => PodPhase::Unknown,
    }
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
}

fn seen(status: &ContainerStatus) -> Container {
    match &status.state {
        Some(ContainerState { terminated: Some(it), .. }) => Container::Ended {
            exit_code: it.exit_code,
            reason: boxed(it.reason.as_deref()),
            message: boxed(it.message.as_deref()),
            at: it.finished_at.as_ref().map(|it| it.0),
        },
        Some(ContainerState { running: Some(_), .. }) => Container::Running,
        Some(ContainerState { waiting: Some(it), .. }) => Container::Waiting {
            reason: boxed(it.reason.as_deref()),
            message: boxed(it.message.as_deref()),
        },
        _ => Container::Unseen,
    }
}

fn condition(status: &PodStatus, type_: &str, is: &str) -> Option<(Box<str>, Box<str>)> {
    let it = status.conditions.iter().flatten().find(|it| it.type_ == type_ && it.status == is)?;
    Some((boxed(it.reason.as_deref()), boxed(it.message.as_deref())))
}

fn boxed(text: Option<&str>) -> Box<str> {
    cut(text.unwrap_or_default(), MAX_TEXT).into()
}
