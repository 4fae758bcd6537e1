//! What an agent is never given: the git credential, and variables that steer the runner, git or the dynamic linker. One
//! function, asked at admission and again before every pod.

use k8s_openapi::api::core::v1::EnvVar;

use crate::{
    api::v1beta1::{Agent, PolecatSpec},
    domain::{env, fields, untrusted},
};

/// A field that asks for what is never given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Path of the field in the served object.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

/// Every field of a spec that would give the agent what it is never given.
pub fn exposures(spec: &PolecatSpec) -> Vec<Exposure> {
    let secret = spec.repository.as_ref().map(|it| it.secret_ref.name.as_str());
    let secret = secret.filter(|it| !it.is_empty());
    let credential = secret.into_iter().flat_map(|secret| credential(&spec.agent, secret));
    credential.chain(spec.agent.env.iter().flatten().enumerate().filter_map(variable)).collect()
}

/// The first field that would give the agent a Secret that another Polecat of its namespace clones with; `of` says which
/// Polecat that is.
pub fn borrowed(spec: &PolecatSpec, of: impl Fn(&str) -> Option<String>) -> Option<Exposure> {
    handed(&spec.agent).into_iter().find_map(|(field, secret)| {
        let message = format!(
            "names Secret {secret}, the git credential of Polecat {}; no agent gets one: use another Secret",
            of(secret)?
        );
        Some(Exposure { field, message })
    })
}

/// References of the agent's that name the Secret with the git credential.
fn credential(agent: &Agent, secret: &str) -> Vec<Exposure> {
    let message = format!(
        "names Secret {secret}, which holds the git credential; the agent never gets that: use another Secret"
    );
    let all = handed(agent).into_iter().filter(|(_, name)| *name == secret);
    all.map(|(field, _)| Exposure { field, message: message.clone() }).collect()
}

/// Every Secret that would reach the agent, with the field that names it.
fn handed(agent: &Agent) -> Vec<(String, &str)> {
    // No `..`: a new way for a Secret to reach the agent must be looked at here before it compiles.
    let Agent {
        api_key_secret_ref,
        anthropic_key_secret_ref,
        credentials_secret_ref,
        env,
        config_map_ref: _, // names a ConfigMap, which is another kind
        kind: _,
        provider: _,
        model: _,
        endpoint: _,
        image: _,
        command: _,
        args: _,
        resources: _,
        service_account_name: _, // of which no token is in the pod
    } = agent;
    let named = [
        (fields::ANTHROPIC_KEY, anthropic_key_secret_ref.as_ref().map(|it| it.name.as_str())),
        (fields::API_KEY, api_key_secret_ref.as_ref().map(|it| it.name.as_str())),
        (fields::CREDENTIALS, credentials_secret_ref.as_ref().map(|it| it.name.as_str())),
    ];
    let named = named.into_iter().map(|(field, name)| (field.to_owned(), name));
    let from_env = env.iter().flatten().enumerate().map(|(at, it)| {
        let from = it.value_from.as_ref().and_then(|it| it.secret_key_ref.as_ref());
        (fields::env(at, ".valueFrom.secretKeyRef"), from.map(|it| it.name.as_str()))
    });
    named.chain(from_env).filter_map(|(field, name)| Some((field, name?))).collect()
}

/// What is wrong with a variable of the agent's.
fn variable((at, it): (usize, &EnvVar)) -> Option<Exposure> {
    if let Some(start) = env::OURS.into_iter().find(|start| it.name.starts_with(start)) {
        let message = format!(
            "sets {}; names that start with {start} are the operator's: rename it",
            untrusted::fit(&it.name, 64)
        );
        return Some(Exposure { field: fields::env(at, ".name"), message });
    }
    if it.value_from.as_ref().is_some_and(|it| it.file_key_ref.is_some()) {
        // Among the pod's volumes is the one with the git credential.
        let message = "reads a file of the pod's volumes, which are the operator's; take the value from a Secret or a \
                       ConfigMap";
        return Some(Exposure {
            field: fields::env(at, ".valueFrom.fileKeyRef"),
            message: message.into(),
        });
    }
    let message = env::misfit(it.value.as_deref().unwrap_or_default())?;
    Some(Exposure { field: fields::env(at, ".value"), message })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{EnvVarSource, FileKeySelector, SecretKeySelector};

    use super::*;
    use crate::api::{
        shared::{SecretKeyRef, SecretRef},
        v1beta1::{ConfigMapRef, Repository},
    };

    fn spec(agent: Agent) -> PolecatSpec {
        let secret_ref = SecretRef { name: "git".into() };
        let repository = Some(Repository { secret_ref, ..Repository::default() });
        PolecatSpec { repository, agent, ..PolecatSpec::default() }
    }

    fn from_secret(name: &str) -> EnvVar {
        let key = SecretKeySelector { name: name.into(), key: "token".into(), optional: None };
        let from = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
        EnvVar { name: "TOKEN".into(), value_from: Some(from), value: None }
    }

    fn from_file(volume: &str) -> EnvVar {
        let file = FileKeySelector {
            volume_name: volume.into(),
            path: "token".into(),
            key: "TOKEN".into(),
            optional: None,
        };
        let from = EnvVarSource { file_key_ref: Some(file), ..EnvVarSource::default() };
        EnvVar { name: "TOKEN".into(), value_from: Some(from), value: None }
    }

    #[test]
    fn every_way_to_the_git_secret_is_named() {
        let key = |name: &str| Some(SecretKeyRef { name: name.into(), key: "k".into() });
        let table = [
            (
                Agent { anthropic_key_secret_ref: key("git"), ..Agent::default() },
                Some(fields::ANTHROPIC_KEY.to_owned()),
                "the Anthropic key",
            ),
            (
                Agent { api_key_secret_ref: key("git"), ..Agent::default() },
                Some(fields::API_KEY.to_owned()),
                "the provider's key",
            ),
            (
                Agent {
                    credentials_secret_ref: Some(SecretRef { name: "git".into() }),
                    ..Agent::default()
                },
                Some(fields::CREDENTIALS.to_owned()),
                "a mounted subscription",
            ),
            (
                Agent {
                    env: Some(vec![from_secret("other"), from_secret("git")]),
                    ..Agent::default()
                },
                Some(fields::env(1, ".valueFrom.secretKeyRef")),
                "a variable, by its place",
            ),
            (
                Agent { env: Some(vec![from_file("git-creds")]), ..Agent::default() },
                Some(fields::env(0, ".valueFrom.fileKeyRef")),
                "a file of the very volume",
            ),
            (
                Agent {
                    config_map_ref: Some(ConfigMapRef { name: "git".into() }),
                    anthropic_key_secret_ref: key("llm"),
                    env: Some(vec![from_secret("other")]),
                    ..Agent::default()
                },
                None,
                "other Secrets, and a ConfigMap of the same name",
            ),
        ];
        for (agent, want, because) in table {
            let found = exposures(&spec(agent));
            let named: Vec<_> = found.iter().map(|it| it.field.clone()).collect();
            assert_eq!(named, want.into_iter().collect::<Vec<_>>(), "{because}");
        }
        let none = PolecatSpec { repository: None, ..spec(Agent::default()) };
        assert_eq!(exposures(&none), [], "no repository, no credential");
    }

    #[test]
    fn the_credential_of_another_is_named_with_its_polecat() {
        let env = Some(vec![from_secret("llm"), from_secret("theirs")]);
        let spec = spec(Agent { env, ..Agent::default() });
        let of = |secret: &str| (secret == "theirs").then(|| "nux".to_owned());
        let found = borrowed(&spec, of).unwrap();
        assert_eq!(found.field, fields::env(1, ".valueFrom.secretKeyRef"));
        assert!(found.message.contains("theirs") && found.message.contains("Polecat nux"));
        assert_eq!(borrowed(&spec, |_| None), None, "nobody clones with them");
    }

    #[test]
    fn variables_of_the_runner_of_git_and_of_the_linker_are_refused() {
        let table = [
            ("GT_RIG", Some("GT_")),
            ("GIT_CONFIG_COUNT", Some("GIT_CONFIG_")),
            ("LD_PRELOAD", Some("LD_")),
            ("GIT_AUTHOR_NAME", None),
            ("gt_rig", None),
        ];
        for (name, want) in table {
            let agent = Agent { env: Some(vec![env::value(name, "x")]), ..Agent::default() };
            let found = exposures(&spec(agent));
            assert_eq!(found.len(), usize::from(want.is_some()), "{name}: {found:?}");
            if let (Some(it), Some(start)) = (found.first(), want) {
                assert_eq!(it.field, fields::env(0, ".name"));
                assert!(it.message.contains(name) && it.message.contains(start), "{}", it.message);
            }
        }
        let long =
            Agent { env: Some(vec![env::value("A", &"x".repeat(200_000))]), ..Agent::default() };
        assert_eq!(exposures(&spec(long))[0].field, fields::env(0, ".value"));
    }
}
