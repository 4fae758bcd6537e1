//! What people are told of a Polecat's fields: by the name that v1beta1 has, which is what `kubectl` shows, and where
//! v1alpha1 has another, by that too, since many files are written in it. At the door, where the version is known, only that
//! one is said.

pub const TASK: &str = "spec.task (v1alpha1: spec.taskDescription)";
pub const REPOSITORY: &str = "spec.repository (v1alpha1: spec.kubernetes)";
pub const URL: &str = "spec.repository.url (v1alpha1: spec.kubernetes.gitRepository)";
pub const BASE_BRANCH: &str = "spec.repository.baseBranch (v1alpha1: spec.kubernetes.gitBranch)";
pub const WORK_BRANCH: &str = "spec.repository.workBranch (v1alpha1: spec.kubernetes.workBranch)";
pub const GIT_SECRET: &str = "spec.repository.secretRef (v1alpha1: spec.kubernetes.gitSecretRef)";
pub const KNOWN_HOSTS: &str =
    "spec.repository.knownHostsConfigMapRef (v1alpha1: spec.kubernetes.sshKnownHostsConfigMapRef)";
pub const IMAGE: &str = "spec.agent.image (v1alpha1: spec.kubernetes.image)";
pub const COMMAND: &str = "spec.agent.command (v1alpha1: spec.agentConfig.command)";
pub const MODEL: &str = "spec.agent.model (v1alpha1: spec.agentConfig.model)";
pub const ENDPOINT: &str =
    "spec.agent.endpoint (v1alpha1: spec.agentConfig.modelProvider.endpoint)";
pub const API_KEY: &str =
    "spec.agent.apiKeySecretRef (v1alpha1: spec.agentConfig.modelProvider.apiKeySecretRef)";
pub const ANTHROPIC_KEY: &str =
    "spec.agent.anthropicKeySecretRef (v1alpha1: spec.kubernetes.apiKeySecretRef)";
pub const CREDENTIALS: &str =
    "spec.agent.credentialsSecretRef (v1alpha1: spec.kubernetes.claudeCredsSecretRef)";
pub const CLAIMS: &str = "spec.agent.resources.claims (v1alpha1: spec.kubernetes.resources.claims)";
pub const DEADLINE: &str =
    "spec.limits.activeDeadlineSeconds (v1alpha1: spec.kubernetes.activeDeadlineSeconds)";
pub const MAX_IDLE: &str = "spec.limits.maxIdleSeconds (v1alpha1: spec.maxIdleSeconds)";
pub const TTL: &str =
    "spec.limits.ttlSecondsAfterFinished (v1alpha1: spec.ttlSecondsAfterFinished)";

/// A variable of the agent's, or what is below it.
pub fn env(at: usize, below: &str) -> String {
    format!("spec.agent.env[{at}]{below} (v1alpha1: spec.agentConfig.env[{at}]{below})")
}

const OPEN: &str = " (v1alpha1: ";

/// What a text says of fields, in the words of v1beta1 or of v1alpha1 alone.
pub fn in_words_of(hub: bool, text: &str) -> String {
    let mut said = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((alpha, behind)) = after.split_once(')') else { break };
        let of_path = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '[' | ']');
        let kept = if hub { before } else { before.trim_end_matches(of_path) };
        said.push_str(kept);
        said.push_str(if hub { "" } else { alpha });
        rest = behind;
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_told_its_own_words() {
        let text = format!("set {URL}, or ({IMAGE}) and {}; spec.rig is one", env(3, ".name"));
        assert_eq!(
            in_words_of(true, &text),
            "set spec.repository.url, or (spec.agent.image) and spec.agent.env[3].name; spec.rig is one"
        );
        assert_eq!(
            in_words_of(false, &text),
            "set spec.kubernetes.gitRepository, or (spec.kubernetes.image) and spec.agentConfig.env[3].name; spec.rig is one"
        );
        for odd in ["", "spec.rig", "cut off (v1alpha1: spec.", "(v1alpha1: x)"] {
            assert_eq!(in_words_of(true, odd), odd, "nothing to choose from");
        }
    }
}
