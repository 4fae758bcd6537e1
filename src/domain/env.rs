//! The agent's environment: which variables a provider's settings become, and which names a user may not set.
//!
//! | provider | endpoint | key | model |
//! |---|---|---|---|
//! | `anthropic` | `ANTHROPIC_BASE_URL` | `ANTHROPIC_API_KEY` | `ANTHROPIC_MODEL` |
//! | `openai` | `OPENAI_BASE_URL` | `OPENAI_API_KEY` | `OPENAI_MODEL` |
//! | `ollama` | `OLLAMA_HOST` | `OLLAMA_API_KEY` | `OLLAMA_MODEL` |
//! | `litellm` | `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL` | `ANTHROPIC_AUTH_TOKEN`, `OPENAI_API_KEY` | `ANTHROPIC_MODEL`, `OPENAI_MODEL` |

use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector, SecretKeySelector,
};

use crate::{
    api::{
        shared::SecretKeyRef,
        v1beta1::{Agent, Provider},
    },
    domain::failure::Cause,
};

/// The variables that one provider reads.
struct Names {
    endpoint: &'static [&'static str],
    key: &'static [&'static str],
    model: &'static [&'static str],
}

/// Longest value of one variable, in bytes: Linux allows 128 KiB for `NAME=value` and its end.
const MAX_VALUE: usize = 128 * 1024 - 256;
/// Starts of names that belong to the runner, to git and to the dynamic linker.
pub const OURS: [&str; 3] = ["GT_", "GIT_CONFIG_", "LD_"];

const fn names(provider: Provider) -> Names {
    match provider {
        Provider::Anthropic => Names {
            endpoint: &["ANTHROPIC_BASE_URL"],
            key: &["ANTHROPIC_API_KEY"],
            model: &["ANTHROPIC_MODEL"],
        },
        Provider::Openai => Names {
            endpoint: &["OPENAI_BASE_URL"],
            key: &["OPENAI_API_KEY"],
            model: &["OPENAI_MODEL"],
        },
        Provider::Ollama => {
            Names { endpoint: &["OLLAMA_HOST"], key: &["OLLAMA_API_KEY"], model: &["OLLAMA_MODEL"] }
        }
        Provider::Litellm => Names {
            endpoint: &["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"],
            key: &["ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY"],
            model: &["ANTHROPIC_MODEL", "OPENAI_MODEL"],
        },
    }
}

/// The variables of the agent, least specific first: the provider's table, then `agentConfig.env`, then the key of
/// `kubernetes.apiKeySecretRef`. A later one of the same name replaces an earlier one.
pub fn agent(agent: &Agent) -> Vec<EnvVar> {
    let mut list = Vec::new();
    let table = names(agent.provider);
    let texts = [(table.endpoint, &agent.endpoint), (table.model, &agent.model)];
    for (names, text) in texts {
        let text = text.as_deref().filter(|it| !it.is_empty());
        names
            .iter()
            .filter_map(|name| text.map(|it| value(name, it)))
            .for_each(|it| put(&mut list, it));
    }
    if let Some(key) = &agent.api_key_secret_ref {
        // Both are credentials of one client: beside the more specific key, this one must not be found.
        let beside = agent.anthropic_key_secret_ref.is_some();
        let names = table.key.iter().filter(|it| !(beside && **it == "ANTHROPIC_AUTH_TOKEN"));
        names.for_each(|name| put(&mut list, secret(name, key)));
    }
    agent.env.iter().flatten().for_each(|it| put(&mut list, it.clone()));
    if let Some(key) = &agent.anthropic_key_secret_ref {
        put(&mut list, secret("ANTHROPIC_API_KEY", key));
    }
    list
}

/// A variable with a literal value: the kubelet's `$(NAME)` expansion is switched off, so that text stays text.
pub fn value(name: &str, text: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(text.replace("$(", "$$(")), value_from: None }
}

/// A field of the pod itself, such as `metadata.uid`.
pub fn field(name: &str, path: &str) -> EnvVar {
    let selector =
        ObjectFieldSelector { field_path: path.into(), ..ObjectFieldSelector::default() };
    let from = EnvVarSource { field_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value: None, value_from: Some(from) }
}

/// A limit of a container of the pod as it was admitted: a `LimitRange` may have set it.
pub fn limit(name: &str, container: &str, resource: &str) -> EnvVar {
    let selector = ResourceFieldSelector {
        container_name: Some(container.into()),
        resource: format!("limits.{resource}"),
        divisor: None,
    };
    let from = EnvVarSource { resource_field_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value: None, value_from: Some(from) }
}

/// Why no environment variable can hold a text.
pub fn misfit(text: &str) -> Option<String> {
    if text.len() > MAX_VALUE {
        return Some(format!(
            "has {} bytes; at most {MAX_VALUE} fit into the agent's environment",
            text.len()
        ));
    }
    text.contains('\0').then(|| "holds a NUL character; take it out".to_owned())
}

/// Refuses a text that no environment variable can hold.
pub fn fits(field: &str, text: &str) -> Result<(), Cause> {
    misfit(text).map_or(Ok(()), |why| Err(Cause::new("PodBuildFailed", format!("{field} {why}"))))
}

fn secret(name: &str, key: &SecretKeyRef) -> EnvVar {
    let selector =
        SecretKeySelector { name: key.name.clone(), key: key.key.clone(), optional: None };
    let from = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value: None, value_from: Some(from) }
}

fn put(list: &mut Vec<EnvVar>, variable: EnvVar) {
    list.retain(|it| it.name != variable.name);
    list.push(variable);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_gets_its_variables() {
        let table = [
            (
                Provider::Anthropic,
                vec!["ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "ANTHROPIC_API_KEY"],
            ),
            (Provider::Openai, vec!["OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY"]),
            (Provider::Ollama, vec!["OLLAMA_HOST", "OLLAMA_MODEL", "OLLAMA_API_KEY"]),
            (
                Provider::Litellm,
                vec![
                    "ANTHROPIC_BASE_URL",
                    "OPENAI_BASE_URL",
                    "ANTHROPIC_MODEL",
                    "OPENAI_MODEL",
                    "ANTHROPIC_AUTH_TOKEN",
                    "OPENAI_API_KEY",
                ],
            ),
        ];
        for (provider, want) in table {
            let key = SecretKeyRef { name: "llm".into(), key: "key".into() };
            let it = Agent {
                provider,
                endpoint: Some("https://llm.example.com".into()),
                model: Some("m".into()),
                api_key_secret_ref: Some(key),
                ..Agent::default()
            };
            let have: Vec<_> = agent(&it).into_iter().map(|it| it.name).collect();
            assert_eq!(have, want, "{provider:?}");
        }
    }

    #[test]
    fn the_more_specific_wins() {
        let key = |name: &str| SecretKeyRef { name: name.into(), key: "key".into() };
        let it = Agent {
            provider: Provider::Anthropic,
            api_key_secret_ref: Some(key("general")),
            anthropic_key_secret_ref: Some(key("special")),
            env: Some(vec![value("ANTHROPIC_MODEL", "mine")]),
            model: Some("theirs".into()),
            ..Agent::default()
        };
        let have = agent(&it);
        assert_eq!(have.len(), 2);
        assert_eq!(have[0].value.as_deref(), Some("mine"));
        let from = have[1].value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
        assert_eq!(from.name, "special");
        let names: Vec<_> = agent(&Agent { provider: Provider::Litellm, ..it })
            .into_iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(
            names,
            ["OPENAI_MODEL", "OPENAI_API_KEY", "ANTHROPIC_MODEL", "ANTHROPIC_API_KEY"],
            "and no token beside the key"
        );
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(value("A", "cost $(HOME) $5").value.unwrap(), "cost $$(HOME) $5");
        assert!(fits("spec.taskDescription", &"x".repeat(200_000)).is_err());
    }
}
