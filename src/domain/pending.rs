//! Why a pod does not start: by its own status, and where that says nothing, by its Events. What is missing is named: the
//! node says it, so that nobody here has to read a user's Secret.

use crate::domain::{
    failure::{Cause, quote},
    pod_brief::{Container, PodBrief},
};

/// A Warning of the node, the scheduler or a controller about a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub reason: String,
    pub message: String,
}

/// Causes that one reading of Events tells of.
const TOLD: usize = 4;

/// Reasons that only Events can tell. Until the first container starts, no look at the pod's status takes them back. Images
/// and nodes are not among them: of those the status tells.
pub const BY_EVENTS: [&str; 4] =
    ["SecretMissing", "ConfigMapMissing", "VolumeMountFailed", "SandboxFailed"];

/// What keeps a pod from running, by its status, where it is more than the usual wait.
pub fn waiting(pod: &PodBrief) -> Option<Cause> {
    if let Some(message) = &pod.unschedulable {
        return Some(Cause::known(
            "Unschedulable",
            format!("no node takes the pod: {}", quote(message)),
        ));
    }
    [("git-init", &pod.git_init), ("claude", &pod.claude), ("telemetry", &pod.telemetry)]
        .into_iter()
        .find_map(|(name, it)| stalled(name, it))
}

/// The same by its Events. All that is missing is told at once, since Events that have spoken are not read again; where
/// something is, the node's words about volumes that wait for it say nothing more.
pub fn explained(reports: &[Report]) -> Option<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for cause in reports.iter().filter_map(explains) {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let names_it = |it: &Cause| matches!(&*it.reason, "SecretMissing" | "ConfigMapMissing");
    if causes.iter().any(names_it) {
        causes.retain(names_it);
    }
    let first = causes.first()?.reason.clone();
    let said: Vec<String> = causes.into_iter().take(TOLD).map(|it| it.message).collect();
    Some(Cause { reason: first, message: said.join("; also: ") })
}

fn explains(Report { reason, message }: &Report) -> Option<Cause> {
    let said = quote(message);
    Some(match reason.as_str() {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => {
            missing(&said).or_else(|| lacking(&said)).unwrap_or_else(|| {
                Cause::known("VolumeMountFailed", format!("a volume can't be mounted: {said}"))
            })
        }
        "FailedCreatePodSandBox" => {
            Cause::known("SandboxFailed", format!("the node can't set the pod up: {said}"))
        }
        "Failed" => missing(&said)?,
        _ => return None,
    })
}

/// A container that waits for something a person has to mend.
fn stalled(name: &str, container: &Container) -> Option<Cause> {
    let Container::Waiting { reason, message } = container else { return None };
    let said = quote(message);
    Some(match &**reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => Cause::known(
            "ImagePullFailed",
            format!("the image of container {name} can't be pulled: {said}"),
        ),
        "InvalidImageName" => Cause::known(
            "ImageNameInvalid",
            format!("the image of container {name} has no valid name: {said}"),
        ),
        "CreateContainerConfigError" => missing(&said).unwrap_or_else(|| {
            let text = format!("container {name} can't be configured: {said}");
            Cause::known("ContainerConfigMissing", text)
        }),
        "CreateContainerError" | "RunContainerError" => Cause::known(
            "ContainerNotStarted",
            format!("container {name} can't be started: {said}"),
        ),
        _ => return None,
    })
}

/// The Secret or ConfigMap that the node misses, by name and key, from its own words.
fn missing(said: &str) -> Option<Cause> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let bare = |it: &str| it.trim_matches(['"', '\'', ':', ',', '.', ';', '(', ')']).to_owned();
    let after = |word: &str| {
        let at = words.iter().position(|it| it.eq_ignore_ascii_case(word))?;
        words.get(at + 1).map(|it| bare(it))
    };
    // `couldn't find key token in Secret town/llm`, `secret "git-key" not found`
    let key = after("key").filter(|_| said.contains("find key") || said.contains("non-existent"));
    let (reason, kind, found) = match (after("secret"), after("configmap")) {
        (Some(name), _) => ("SecretMissing", "Secret", name),
        (None, Some(name)) => ("ConfigMapMissing", "ConfigMap", name),
        (None, None) => return None,
    };
    if key.is_none() && !said.contains("not found") {
        return None;
    }
    let name = found.rsplit('/').next().unwrap_or(&found).to_owned();
    let text = match key {
        Some(key) => format!("{kind} {name} has no key {key}"),
        None => format!("{kind} {name} is not there"),
    };
    Some(Cause::known(reason, format!("{text}: {said}")))
}

/// The key that a volume wants of its Secret or ConfigMap and that this has not: the node then names the volume alone.
fn lacking(said: &str) -> Option<Cause> {
    let (before, key) = said.rsplit_once(" key: ")?;
    let (before, kind) = before.rsplit_once("references non-existent ")?;
    let (reason, noun) = match kind {
        "secret" => ("SecretMissing", "Secret"),
        "config" => ("ConfigMapMissing", "ConfigMap"),
        _ => return None,
    };
    let volume = before.split('"').nth(1).unwrap_or_default();
    Some(Cause::known(reason, format!("the {noun} of volume {volume} has no key {key}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of kubelet 1.36.
    #[test]
    fn what_is_missing_is_named() {
        let table = [
            (
                "FailedMount",
                r#"MountVolume.SetUp failed for volume "git-creds" : secret "git-key" not found"#,
                "SecretMissing",
                "Secret git-key is not there",
            ),
            (
                "FailedMount",
                r#"MountVolume.SetUp failed for volume "known-hosts" : configmap "hosts" not found"#,
                "ConfigMapMissing",
                "ConfigMap hosts is not there",
            ),
            (
                "FailedMount",
                r#"MountVolume.SetUp failed for volume "data" : rpc error: code = Internal"#,
                "VolumeMountFailed",
                "rpc error",
            ),
            (
                "Failed",
                "Error: secret \"llm\" not found",
                "SecretMissing",
                "Secret llm is not there",
            ),
            (
                "Failed",
                "Error: couldn't find key token in Secret town/llm",
                "SecretMissing",
                "Secret llm has no key token",
            ),
            (
                "Failed",
                "Error: couldn't find key k in ConfigMap town/settings",
                "ConfigMapMissing",
                "ConfigMap settings has no key k",
            ),
            (
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: plugin type=\"bridge\" failed",
                "SandboxFailed",
                "bridge",
            ),
        ];
        for (reason, message, want, part) in table {
            let report = Report { reason: reason.into(), message: message.into() };
            let cause = explained(&[report]).unwrap();
            assert_eq!(cause.reason, want, "{message}");
            assert!(cause.message.contains(part), "{message}: {}", cause.message);
        }
        let idle = Report { reason: "Pulled".into(), message: "image was there".into() };
        assert_eq!(explained(&[idle]), None, "nothing that keeps it");
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let report =
            |message: &str| Report { reason: "FailedMount".into(), message: message.into() };
        let waits = "Unable to attach or mount volumes: unmounted volumes=[git-creds known-hosts]: timed out";
        let secret =
            r#"MountVolume.SetUp failed for volume "git-creds" : secret "git-key" not found"#;
        let hosts =
            r#"MountVolume.SetUp failed for volume "known-hosts" : configmap "hosts" not found"#;
        let cause = explained(&[waits, secret, hosts, secret].map(report)).unwrap();
        assert_eq!(cause.reason, "SecretMissing");
        for part in ["Secret git-key is not there", "ConfigMap hosts is not there"] {
            assert_eq!(cause.message.matches(part).count(), 1, "{part}: {}", cause.message);
        }
        assert!(!cause.message.contains("timed out"), "{}", cause.message);
        let cause = explained(&[report(waits)]).unwrap();
        assert_eq!(cause.reason, "VolumeMountFailed", "where nothing better is known");
    }

    #[test]
    fn a_key_that_a_volume_lacks_is_named_with_it() {
        let table = [
            (
                r#"MountVolume.SetUp failed for volume "trusted-ca" : configmap references non-existent config key: ca-bundle.crt"#,
                "ConfigMapMissing",
                "the ConfigMap of volume trusted-ca has no key ca-bundle.crt",
            ),
            (
                r#"MountVolume.SetUp failed for volume "git-creds" : references non-existent secret key: token"#,
                "SecretMissing",
                "the Secret of volume git-creds has no key token",
            ),
        ];
        for (message, want, part) in table {
            let report = Report { reason: "FailedMount".into(), message: message.into() };
            let cause = explained(&[report]).unwrap();
            assert_eq!(cause.reason, want, "{message}");
            assert!(cause.message.contains(part), "{message}: {}", cause.message);
        }
    }
}
