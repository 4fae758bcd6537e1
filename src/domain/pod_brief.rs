//! What is kept of a pod: the few facts a decision needs, under 400 bytes where nothing went wrong, instead of the
//! 39 kB of a whole one.

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
    jiff::Timestamp,
};

use crate::{
    api::{
        GROUP,
        text::{Text, Texts},
    },
    domain::{conditions::cut, digest::Digest, layout, names, shard::bucket},
};

/// Our kind, as an owner.
const POLECAT: &str = "Polecat";

/// Longest text that is kept of a message, in bytes; a verdict is at most 3,072.
const MAX_TEXT: usize = 4096;

/// The facts about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodBrief {
    pub namespace: Text,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Its controller, if it has one.
    pub owner: Option<Owner>,
    pub attempt: i32,
    /// The bucket that its label names.
    pub bucket: Option<u16>,
    /// The Go original made it: its attempt has no number, and nobody in it reports a verdict.
    pub by_original: bool,
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
    pub image: Option<Text>,
    /// Digests of the images as run, such as `sha256:9f86d0…`: of `git-init`, `claude` and `telemetry`.
    pub digests: [Option<Digest>; 3],
    /// The agent's probe fails.
    pub unready: Option<Unready>,
    pub moments: Moments,
}

/// When things happened to a pod, in seconds since 1970 as the kubelet counts them; 0: not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    pub scheduled: u32,
    /// By when it is to be gone, once it was told to end.
    pub goes: u32,
    /// Of `git-init`, `claude` and `telemetry`.
    pub began: [u32; 3],
    pub ended: [u32; 3],
}

/// A running agent whose probe fails, while `telemetry` is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Since when the pod has not been ready.
    pub since: Timestamp,
    /// When the agent's container began.
    pub began: Timestamp,
}

/// A pod's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// With its group where another one has a kind that is called like ours.
    pub kind: Text,
    pub name: Box<str>,
    pub uid: Box<str>,
}

impl Owner {
    /// Whether it is one of ours. Under another kind anybody may name our uid.
    pub fn is_polecat(&self) -> bool {
        *self.kind == *POLECAT
    }
}

impl From<&OwnerReference> for Owner {
    fn from(it: &OwnerReference) -> Self {
        let group = it.api_version.split_once('/').map_or("", |(group, _)| group);
        let foreign = it.kind == POLECAT && group != GROUP;
        let kind =
            if foreign { format!("{} of {}", it.kind, it.api_version) } else { it.kind.clone() };
        Self { kind: kind.into(), name: it.name.as_str().into(), uid: it.uid.as_str().into() }
    }
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
        reason: Text,
        message: Box<str>,
    },
    Running,
    Ended {
        exit_code: i32,
        reason: Text,
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

    /// The node's words where it can't start the container's program, which then never ran and never will. Where the
    /// runtime looks for the program before it makes the container, the node tries again for ever and calls it waiting.
    pub fn unstartable(&self) -> Option<&str> {
        match self {
            Self::Ended { reason, message, .. } => {
                matches!(&**reason, "StartError" | "ContainerCannotRun").then_some(message)
            }
            Self::Waiting { reason, message } => {
                let refused = matches!(&**reason, "CreateContainerError" | "RunContainerError");
                (refused && names_the_runner(message)).then_some(message)
            }
            _ => None,
        }
    }
}

/// Whether the words of runc or crun are about our program, and not about the node.
pub fn names_the_runner(message: &str) -> bool {
    const WORDS: [&str; 3] = ["no such file or directory", "not found", "permission denied"];
    let said = message.to_lowercase();
    let ours = said.contains("gt-runner") && WORDS.iter().any(|it| said.contains(it));
    ours || said.contains("exec format error") // said of nothing but programs
}

impl PodBrief {
    /// Has what many have in common but once.
    pub fn share(&mut self, texts: &mut Texts) {
        let Self { namespace, owner, image, git_init, claude, telemetry, .. } = self;
        texts.share(namespace);
        texts.share_all(owner.iter_mut().map(|it| &mut it.kind));
        texts.share_all(image);
        for it in [git_init, claude, telemetry] {
            if let Container::Waiting { reason, .. } | Container::Ended { reason, .. } = it {
                texts.share(reason);
            }
        }
    }

    /// Whether it is over for good.
    pub const fn over(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Whether one of its containers can't start: nothing more comes of it.
    pub fn futile(&self) -> bool {
        let all = [&self.git_init, &self.claude, &self.telemetry];
        all.iter().any(|it| it.unstartable().is_some()) || (self.mute() && !self.telemetry.ended())
    }

    /// Whether the agent's container failed without a word. Its runner has words from its first step on, so it had none: the
    /// image's loader did not take it. What was killed proves nothing, and the original's containers have no words.
    pub fn mute(&self) -> bool {
        const KILLED: [i32; 2] = [137, 143];
        let Container::Ended { exit_code, reason, message, .. } = &self.claude else {
            return false;
        };
        let failed = &**reason == "Error" && *exit_code != 0 && !KILLED.contains(exit_code);
        failed && message.is_empty() && !self.by_original
    }

    /// Whether the container that pushes has ended, although the agent's has not, and nobody has told the pod to end.
    pub fn deserted(&self) -> bool {
        let busy = !self.claude.ended() && self.claude.unstartable().is_none();
        let told = self.deleting || self.over() || self.disruption.is_some();
        self.telemetry.ended() && busy && !told && !self.by_original
    }

    /// Whether its agent can have done nothing. What a lost node said last of a container that it was about to start
    /// proves nothing.
    pub fn never_began(&self) -> bool {
        let gone = matches!(
            self.disruption.as_deref(),
            Some("DeletionByPodGC" | "DeletionByTaintManager")
        );
        let no_clone = self.git_init.exit_code().is_some_and(|it| it != 0)
            || self.git_init.unstartable().is_some();
        let waits = matches!(self.claude, Container::Waiting { .. });
        let lost = gone || &*self.reason == "NodeLost";
        no_clone || self.claude.unstartable().is_some() || (waits && !lost)
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
            namespace: text(meta.namespace.as_deref()),
            name: boxed(meta.name.as_deref()),
            uid: boxed(meta.uid.as_deref()),
            resource_version: boxed(meta.resource_version.as_deref()),
            owner: owner.map(Owner::from),
            attempt: attempt(pod).unwrap_or(1),
            bucket: bucket::of_labels(meta.labels.as_ref()),
            by_original: owner.is_some_and(|it| Owner::from(it).is_polecat())
                && attempt(pod).is_none(),
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
            digests: [layout::GIT_INIT, layout::CLAUDE, layout::TELEMETRY].map(|name| {
                containers(&status)
                    .find(|it| it.name == name)
                    .and_then(|it| Digest::of_image(&it.image_id))
            }),
            unready: unready(&status),
            moments: moments(meta.deletion_timestamp.as_ref(), &status),
        }
    }
}

fn attempt(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(names::ATTEMPT_ANNOTATION)?.parse().ok()
}

fn image(pod: &Pod) -> Option<Text> {
    let mut containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers
        .find(|it| it.name == layout::CLAUDE)
        .and_then(|it| it.image.as_deref())
        .map(Into::into)
}

/// 0: it has not come.
fn second(at: Option<&Time>) -> u32 {
    at.and_then(|it| u32::try_from(it.0.as_second()).ok()).unwrap_or(0)
}

fn moments(goes: Option<&Time>, status: &PodStatus) -> Moments {
    let scheduled = status.conditions.iter().flatten();
    let scheduled =
        scheduled.into_iter().find(|it| it.type_ == "PodScheduled" && it.status == "True");
    let state = |name| containers(status).find(|it| it.name == name)?.state.as_ref();
    let began = |it: &ContainerState| match (&it.terminated, &it.running) {
        (Some(it), _) => second(it.started_at.as_ref()),
        (None, Some(it)) => second(it.started_at.as_ref()),
        (None, None) => 0,
    };
    let ended =
        |it: &ContainerState| second(it.terminated.as_ref().and_then(|it| it.finished_at.as_ref()));
    let all = [layout::GIT_INIT, layout::CLAUDE, layout::TELEMETRY];
    Moments {
        scheduled: second(scheduled.and_then(|it| it.last_transition_time.as_ref())),
        goes: second(goes),
        began: all.map(|it| state(it).map_or(0, began)),
        ended: all.map(|it| state(it).map_or(0, ended)),
    }
}

fn unready(status: &PodStatus) -> Option<Unready> {
    let of = |name| containers(status).find(|it| it.name == name);
    let (claude, telemetry) = (of(layout::CLAUDE)?, of(layout::TELEMETRY)?);
    let since = |it: &ContainerStatus| {
        let running = it.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0)
    };
    // An agent does not begin before `telemetry` does.
    let began = since(claude)?.max(since(telemetry)?);
    if claude.ready || !telemetry.ready {
        return None;
    }
    let ready = status.conditions.iter().flatten().find(|it| it.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref().map_or(began, |it| it.0.max(began));
    (ready.status == "False").then_some(Unready { since, began })
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
            reason: text(it.reason.as_deref()),
            message: boxed(it.message.as_deref()),
            at: it.finished_at.as_ref().map(|it| it.0),
        },
        Some(ContainerState { running: Some(_), .. }) => Container::Running,
        Some(ContainerState { waiting: Some(it), .. }) => Container::Waiting {
            reason: text(it.reason.as_deref()),
            message: boxed(it.message.as_deref()),
        },
        _ => Container::Unseen,
    }
}

fn condition(status: &PodStatus, type_: &str, is: &str) -> Option<(Box<str>, Box<str>)> {
    let it = status.conditions.iter().flatten().find(|it| it.type_ == type_ && it.status == is)?;
    Some((boxed(it.reason.as_deref()), boxed(it.message.as_deref())))
}

fn text(it: Option<&str>) -> Text {
    cut(it.unwrap_or_default(), MAX_TEXT).into()
}

fn boxed(text: Option<&str>) -> Box<str> {
    cut(text.unwrap_or_default(), MAX_TEXT).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const IMAGE: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    /// A pod as the kubelet writes it.
    fn pod(claude_ready: bool, telemetry_ready: bool, ready: &str) -> Value {
        let running = json!({"running": {"startedAt": "2026-11-24T12:00:30Z"}});
        let container = |name: &str, ready: bool| {
            json!({"name": name, "image": "i", "imageID": format!("registry.example.com/i@{IMAGE}"),
                "ready": ready, "restartCount": 0, "state": running})
        };
        json!({"metadata": {"name": "polecat-max"}, "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-24T12:10:00Z"}],
            "containerStatuses": [container("claude", claude_ready), container("telemetry", telemetry_ready)],
        }})
    }

    fn brief(pod: Value) -> PodBrief {
        PodBrief::from(&serde_json::from_value::<Pod>(pod).unwrap())
    }

    #[test]
    fn only_the_agents_failing_probe_makes_it_unready() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (since, began) = (at("2026-11-24T12:10:00Z"), at("2026-11-24T12:00:30Z"));
        let table = [
            (pod(false, true, "False"), Some(Unready { since, began }), "its probe fails"),
            (pod(true, true, "True"), None, "all is well"),
            (pod(true, true, "False"), None, "the node is not ready, the agent is"),
            (pod(false, false, "False"), None, "telemetry is not up yet"),
        ];
        for (pod, want, because) in table {
            assert_eq!(brief(pod).unready, want, "{because}");
        }
        let mut early = pod(false, true, "False");
        early["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-11-24T11:59:00Z");
        let unready = brief(early).unready.unwrap();
        assert_eq!(unready.since, began, "before it ran it was not idle");
        let mut late = pod(false, true, "False");
        late["status"]["containerStatuses"][1]["state"]["running"]["startedAt"] =
            json!("2026-11-24T12:30:00Z");
        let unready = brief(late).unready.unwrap();
        let began = at("2026-11-24T12:30:00Z");
        assert_eq!((unready.since, unready.began), (began, began), "it waited for telemetry");
        let mut over = pod(false, true, "False");
        over["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 0}});
        assert_eq!(brief(over).unready, None, "it has ended");
    }

    #[test]
    fn a_pod_of_ours_without_an_attempt_is_the_originals() {
        let owned = |annotations: Value| {
            brief(
                json!({"metadata": {"name": "polecat-max", "annotations": annotations, "ownerReferences": [{
                "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "name": "max", "uid": "1",
                "controller": true}]}}),
            )
        };
        assert!(owned(json!({})).by_original);
        assert!(!owned(json!({"gastown.io/attempt": "1"})).by_original);
        assert!(owned(json!({})).owner.unwrap().is_polecat());
        assert!(!brief(pod(true, true, "True")).by_original, "it is nobody's");
    }

    #[test]
    fn what_runs_in_it_is_known_by_digest() {
        let image = Digest::of_image(IMAGE);
        assert!(image.is_some());
        assert_eq!(brief(pod(true, true, "True")).digests, [None, image, image]);
    }

    #[test]
    fn an_owner_of_another_kind_is_no_polecat_whatever_its_name() {
        for (version, kind, told) in [
            ("gastown.gastown.io/v1beta1", "Rig", "Rig"),
            ("evil.example.com/v1", "Polecat", "Polecat of evil.example.com/v1"),
            ("v1", "Polecat", "Polecat of v1"),
            ("v1", "ConfigMap", "ConfigMap"),
        ] {
            let pod = brief(json!({"metadata": {"name": "polecat-max", "ownerReferences": [{
                "apiVersion": version, "kind": kind, "name": "max", "uid": "1", "controller": true}]}}));
            assert!(!pod.by_original, "{told}");
            let owner = pod.owner.unwrap();
            assert_eq!((owner.is_polecat(), &*owner.kind), (false, told));
        }
    }
}
