//! What a Polecat takes from its namespace by name. The operator reads none of it for anybody: it asks whether who wants the
//! Polecat may have it, since a pod would hand it over without asking.

use crate::{
    api::v1beta1::PolecatSpec,
    domain::{exposure::Exposure, fields, names, untrusted},
};

/// What is named, and what one has to be allowed to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Secret,
    ConfigMap,
    ServiceAccount,
}

impl Sort {
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::ServiceAccount => "serviceaccounts",
        }
    }

    /// What people call one.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "service account",
        }
    }

    /// Who runs a pod as an account is it; the cluster's own `edit` allows that by this verb.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Secret | Self::ConfigMap => "get",
            Self::ServiceAccount => "impersonate",
        }
    }
}

/// One name, and the field that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub field: String,
    pub sort: Sort,
    pub name: String,
}

/// Every name in a spec, the first field of each.
pub fn of(spec: &PolecatSpec) -> Vec<Reference> {
    let mut all = named(spec);
    all.extend(in_env(spec));
    let mut seen = Vec::new();
    all.retain(|it| {
        let key = (it.sort, it.name.clone());
        let new = !it.name.is_empty() && !seen.contains(&key);
        seen.push(key);
        new
    });
    all
}

/// Those that name nothing: a name is of this namespace, and no name leads out of it.
pub fn misnamed(spec: &PolecatSpec) -> Vec<Exposure> {
    let wrong = of(spec).into_iter().filter(|it| !names::is_name(&it.name));
    let flaw = |it: Reference| {
        let message = format!(
            "names {:?}, and no {} can be called so; write the name of one in this namespace: lower-case letters, digits, dashes \
             and dots",
            untrusted::fit(&it.name, 64),
            it.sort.noun()
        );
        Exposure { field: it.field, message }
    };
    wrong.map(flaw).collect()
}

fn named(spec: &PolecatSpec) -> Vec<Reference> {
    use Sort::{ConfigMap, Secret, ServiceAccount};
    let (repository, agent) = (spec.repository.as_ref(), &spec.agent);
    let key = |it: &Option<crate::api::shared::SecretKeyRef>| it.as_ref().map(|it| it.name.clone());
    let all = [
        (fields::GIT_SECRET, Secret, repository.map(|it| it.secret_ref.name.clone())),
        (
            fields::KNOWN_HOSTS,
            ConfigMap,
            repository.and_then(|it| Some(it.known_hosts_config_map_ref.as_ref()?.name.clone())),
        ),
        (fields::ANTHROPIC_KEY, Secret, key(&agent.anthropic_key_secret_ref)),
        (fields::API_KEY, Secret, key(&agent.api_key_secret_ref)),
        (
            fields::CREDENTIALS,
            Secret,
            agent.credentials_secret_ref.as_ref().map(|it| it.name.clone()),
        ),
        (
            "spec.agent.configMapRef (v1alpha1: spec.agentConfig.configMapRef)",
            ConfigMap,
            agent.config_map_ref.as_ref().map(|it| it.name.clone()),
        ),
        ("spec.agent.serviceAccountName", ServiceAccount, agent.service_account_name.clone()),
    ];
    let reference = |(field, sort, name): (&str, Sort, Option<String>)| {
        Some(Reference { field: field.into(), sort, name: name? })
    };
    all.into_iter().filter_map(reference).collect()
}

fn in_env(spec: &PolecatSpec) -> Vec<Reference> {
    let mut all = Vec::new();
    for (at, it) in spec.agent.env.iter().flatten().enumerate() {
        let Some(from) = &it.value_from else { continue };
        let field = |of: &str| fields::env(at, &format!(".valueFrom.{of}"));
        if let Some(it) = &from.secret_key_ref {
            let field = field("secretKeyRef");
            all.push(Reference { field, sort: Sort::Secret, name: it.name.clone() });
        }
        if let Some(it) = &from.config_map_key_ref {
            let field = field("configMapKeyRef");
            all.push(Reference { field, sort: Sort::ConfigMap, name: it.name.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

    use super::*;
    use crate::api::{
        shared::{SecretKeyRef, SecretRef},
        v1beta1::{Agent, ConfigMapRef, Repository},
    };

    #[test]
    fn every_name_is_found_once() {
        let from = |name: &str| {
            let key = SecretKeySelector { name: name.into(), key: "k".into(), optional: None };
            let value_from = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
            EnvVar { name: "A".into(), value_from: Some(value_from), ..EnvVar::default() }
        };
        let key = |name: &str| Some(SecretKeyRef { name: name.into(), key: "k".into() });
        let spec = PolecatSpec {
            repository: Some(Repository {
                secret_ref: SecretRef { name: "git".into() },
                known_hosts_config_map_ref: Some(ConfigMapRef { name: "hosts".into() }),
                ..Repository::default()
            }),
            agent: Agent {
                api_key_secret_ref: key("llm"),
                anthropic_key_secret_ref: key("llm"),
                credentials_secret_ref: Some(SecretRef { name: "creds".into() }),
                config_map_ref: Some(ConfigMapRef { name: String::new() }),
                service_account_name: Some("agent".into()),
                env: Some(vec![from("git"), from("other")]),
                ..Agent::default()
            },
            ..PolecatSpec::default()
        };
        let names: Vec<_> = of(&spec).into_iter().map(|it| (it.sort.resource(), it.name)).collect();
        let want = [
            ("secrets", "git"),
            ("configmaps", "hosts"),
            ("secrets", "llm"),
            ("secrets", "creds"),
            ("serviceaccounts", "agent"),
            ("secrets", "other"),
        ];
        assert_eq!(names, want.map(|(sort, name)| (sort, name.to_owned())));
        assert_eq!(misnamed(&spec), []);
    }

    #[test]
    fn a_name_that_nothing_can_have_is_told_by_its_field() {
        let agent = Agent {
            service_account_name: Some("other:builder".into()),
            credentials_secret_ref: Some(SecretRef { name: "town/creds".into() }),
            ..Agent::default()
        };
        let found = misnamed(&PolecatSpec { agent, ..PolecatSpec::default() });
        let fields: Vec<_> = found.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, [fields::CREDENTIALS, "spec.agent.serviceAccountName"]);
        assert!(found[0].message.contains("\"town/creds\", and no Secret"), "{found:?}");
    }
}
