//! The Secrets that a Polecat's pod waits for, and the line that makes each: what it is for says which keys it has.

use crate::{
    api::{shared::SecretKeyRef, v1beta1::PolecatSpec},
    domain::{
        fields,
        layout::keys,
        repository::{RepositoryUrl, Transport},
    },
};

/// A Secret without which the pod does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    pub name: String,
    /// The first field that names it.
    pub field: String,
    /// What gives it its keys, as `kubectl create secret generic` takes it; `FILE` is for people to put in.
    keys: Vec<String>,
}

impl Needed {
    /// The line that makes it in a namespace.
    pub fn line(&self, namespace: &str) -> String {
        let line = format!("kubectl -n {namespace} create secret generic {}", self.name);
        [&[line], &self.keys[..]].concat().join(" ")
    }

    /// What is said where it is missing.
    pub fn missing(&self, namespace: &str) -> String {
        let line = self.line(namespace);
        format!(
            "Secret {} is missing, and the pod waits for it: {line} ({})",
            self.name, self.field
        )
    }
}

/// Every Secret that a spec names and that has to be there.
pub fn needed(spec: &PolecatSpec) -> Vec<Needed> {
    let agent = &spec.agent;
    let mut all = Vec::new();
    if let Some(it) = &spec.repository
        && let Some(keys) = of_git(&it.url)
    {
        put(&mut all, &it.secret_ref.name, fields::GIT_SECRET, keys);
    }
    for (field, key) in [
        (fields::ANTHROPIC_KEY, &agent.anthropic_key_secret_ref),
        (fields::API_KEY, &agent.api_key_secret_ref),
    ] {
        if let Some(SecretKeyRef { name, key }) = key {
            put(&mut all, name, field, vec![from_file(key)]);
        }
    }
    if let Some(it) = &agent.credentials_secret_ref {
        put(&mut all, &it.name, fields::CREDENTIALS, vec![from_file(".credentials.json")]);
    }
    for (at, it) in agent.env.iter().flatten().enumerate() {
        let from = it.value_from.as_ref().and_then(|it| it.secret_key_ref.as_ref());
        if let Some(it) = from.filter(|it| it.optional != Some(true)) {
            let field = fields::env(at, ".valueFrom.secretKeyRef");
            put(&mut all, &it.name, &field, vec![from_file(&it.key)]);
        }
    }
    all
}

/// What the repository's address asks for: a private key, or a token and the one host that it is sent to; `None`: it is no
/// address.
fn of_git(url: &str) -> Option<Vec<String>> {
    let repository = url.parse::<RepositoryUrl>().ok()?;
    Some(match repository.transport() {
        Transport::Ssh => vec![from_file(keys::SSH_PRIVATE_KEY)],
        Transport::Https => vec![
            from_file(keys::TOKEN),
            format!("--from-literal={}={}", keys::HOST, repository.authority()),
        ],
        // It is mounted, and nothing in it is sent.
        Transport::Http | Transport::File => Vec::new(),
    })
}

/// Never a literal: what is secret does not belong into a shell's history.
fn from_file(key: &str) -> String {
    format!("--from-file={key}=FILE")
}

fn put(all: &mut Vec<Needed>, name: &str, field: &str, keys: Vec<String>) {
    match all.iter_mut().find(|it| it.name == name) {
        _ if name.is_empty() => {}
        Some(it) => {
            let new: Vec<_> = keys.into_iter().filter(|key| !it.keys.contains(key)).collect();
            it.keys.extend(new);
        }
        None => all.push(Needed { name: name.into(), field: field.into(), keys }),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

    use super::*;
    use crate::api::{
        shared::SecretRef,
        v1beta1::{Agent, Repository},
    };

    fn lines(spec: &PolecatSpec) -> Vec<String> {
        needed(spec).iter().map(|it| it.line("town")).collect()
    }

    #[test]
    fn an_address_says_what_its_secret_holds() {
        #[rustfmt::skip]
        let table = [
            ("git@git.example.com:town/greeter.git", Some("--from-file=ssh-privatekey=FILE")),
            ("ssh://git@git.example.com:2222/greeter.git", Some("--from-file=ssh-privatekey=FILE")),
            ("https://git.example.com:8443/greeter.git",
                Some("--from-file=token=FILE --from-literal=host=git.example.com:8443")),
            ("http://git.example.com/greeter.git", Some("")),
            ("no address", None),
        ];
        for (url, keys) in table {
            let secret_ref = SecretRef { name: "git".into() };
            let repository = Repository { url: url.into(), secret_ref, ..Repository::default() };
            let spec = PolecatSpec { repository: Some(repository), ..PolecatSpec::default() };
            let want = keys.map(|it| format!("kubectl -n town create secret generic git {it}"));
            let want: Vec<_> = want.iter().map(|it| it.trim()).collect();
            assert_eq!(lines(&spec), want, "{url}");
        }
    }

    #[test]
    fn one_secret_is_made_by_one_line_with_all_its_keys() {
        let key = |name: &str, key: &str| Some(SecretKeyRef { name: name.into(), key: key.into() });
        let variable = |name: &str, optional| {
            let key = SecretKeySelector { name: name.into(), key: "extra".into(), optional };
            let from = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
            EnvVar { name: "A".into(), value_from: Some(from), ..EnvVar::default() }
        };
        let agent = Agent {
            api_key_secret_ref: key("llm", "key"),
            anthropic_key_secret_ref: key("llm", "key"),
            credentials_secret_ref: Some(SecretRef { name: "creds".into() }),
            env: Some(vec![variable("llm", None), variable("maybe", Some(true))]),
            ..Agent::default()
        };
        let spec = PolecatSpec { agent, ..PolecatSpec::default() };
        let want = [
            "kubectl -n town create secret generic llm --from-file=key=FILE --from-file=extra=FILE",
            "kubectl -n town create secret generic creds --from-file=.credentials.json=FILE",
        ];
        assert_eq!(lines(&spec), want);
        let said = needed(&spec)[0].missing("town");
        assert!(said.starts_with("Secret llm is missing") && said.contains(want[0]), "{said}");
    }
}
