//! How the programs of a pod reach the world: through the proxy that the operator was told of, and by whom they trust. A
//! variable that a Polecat sets itself stays what it is.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container, KeyToPath, Pod, Volume};

use super::fragments::ro;
use crate::domain::{env, layout};

/// What the operator was told of it. Proxies may have a password in them: nothing of this is logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outside {
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    /// Hosts that are reached without one, as `NO_PROXY` has them.
    pub no_proxy: Option<String>,
    /// `ConfigMap` in the Polecat's namespace whose key [`layout::TRUSTED_KEY`] holds, in PEM, every authority to trust.
    pub trusted_ca: Option<String>,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("trusted_ca", &self.trusted_ca).finish_non_exhaustive()
    }
}

/// Where programs look for the authorities that they trust. The runner finds the file by itself.
const TRUST: [&str; 5] = [
    "SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// The pod with both, in each of its containers.
pub(super) fn reaching(mut pod: Pod, outside: &Outside) -> Pod {
    let Some(spec) = pod.spec.as_mut() else { return pod };
    for it in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        proxied(it, outside);
        if outside.trusted_ca.is_some() {
            trusting(it);
        }
    }
    if let Some(name) = &outside.trusted_ca {
        spec.volumes.get_or_insert_default().push(bundle(name));
    }
    pod
}

/// In both spellings: programs differ in which they read.
fn proxied(container: &mut Container, outside: &Outside) {
    let Outside { http_proxy, https_proxy, no_proxy, trusted_ca: _ } = outside;
    let variables = container.env.get_or_insert_default();
    let told = [("HTTP_PROXY", http_proxy), ("HTTPS_PROXY", https_proxy), ("NO_PROXY", no_proxy)];
    for (name, text) in told {
        let Some(text) = text else { continue };
        if variables.iter().any(|it| it.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        variables.extend([name, &name.to_lowercase()].map(|it| env::value(it, text)));
    }
}

fn trusting(container: &mut Container) {
    container.volume_mounts.get_or_insert_default().push(ro(&layout::TRUSTED_CA));
    if container.name != layout::CLAUDE {
        return;
    }
    let variables = container.env.get_or_insert_default();
    let own: Vec<_> = variables.iter().map(|it| it.name.clone()).collect();
    let unset = TRUST.iter().filter(|name| !own.iter().any(|it| it == *name));
    variables.extend(unset.map(|name| env::value(name, layout::TRUSTED_BUNDLE)));
}

/// One without the key is told by the node, as one that is not there is.
fn bundle(name: &str) -> Volume {
    let key = layout::TRUSTED_KEY;
    let item = KeyToPath { key: key.into(), path: key.into(), mode: None };
    let source = ConfigMapVolumeSource {
        name: name.into(),
        items: Some(vec![item]),
        ..ConfigMapVolumeSource::default()
    };
    Volume { name: layout::TRUSTED_CA.volume.into(), config_map: Some(source), ..Volume::default() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    fn pod(own: &[(&str, &str)]) -> Pod {
        let container = |name: &str| Container { name: name.into(), ..Container::default() };
        let mut agent = container(layout::CLAUDE);
        agent.env = Some(own.iter().map(|(name, text)| env::value(name, text)).collect());
        let spec = PodSpec {
            init_containers: Some(vec![container(layout::GIT_INIT)]),
            containers: vec![agent, container(layout::TELEMETRY)],
            ..PodSpec::default()
        };
        Pod { spec: Some(spec), ..Pod::default() }
    }

    /// Variables of each container, `NAME=value`.
    fn variables(pod: &Pod) -> Vec<Vec<String>> {
        let spec = pod.spec.as_ref().unwrap();
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let told = |it: &Container| {
            let variables = it.env.iter().flatten();
            variables.map(|it| format!("{}={}", it.name, it.value.clone().unwrap())).collect()
        };
        all.map(told).collect()
    }

    #[test]
    fn every_container_is_told_of_the_proxy_and_the_polecats_own_word_stays() {
        let text = |it: &str| Some(it.to_owned());
        let outside = Outside {
            https_proxy: text("http://proxy:3128"),
            no_proxy: text(".svc"),
            ..Outside::default()
        };
        let [init, agent, telemetry] =
            variables(&reaching(pod(&[("https_proxy", "mine")]), &outside)).try_into().unwrap();
        let both = [
            "HTTPS_PROXY=http://proxy:3128",
            "https_proxy=http://proxy:3128",
            "NO_PROXY=.svc",
            "no_proxy=.svc",
        ];
        assert_eq!(
            (&init[..], &telemetry[..]),
            (&both.map(String::from)[..], &both.map(String::from)[..])
        );
        assert_eq!(agent, ["https_proxy=mine", "NO_PROXY=.svc", "no_proxy=.svc"]);
        assert!(!format!("{outside:?}").contains("3128"), "it may hold a password");
        let none = reaching(pod(&[]), &Outside::default());
        assert!(variables(&none).concat().is_empty() && none.spec.unwrap().volumes.is_none());
    }

    #[test]
    fn whom_to_trust_is_mounted_into_all_and_named_to_the_agent() {
        let outside = Outside { trusted_ca: Some("town-ca".into()), ..Outside::default() };
        let pod = reaching(pod(&[("SSL_CERT_FILE", "/mine")]), &outside);
        let [init, agent, telemetry] = variables(&pod).try_into().unwrap();
        assert_eq!(init.len() + telemetry.len(), 0, "the runner knows where it is");
        let path = "/gastown/trusted-ca/ca-bundle.crt";
        assert_eq!(
            agent[..2],
            ["SSL_CERT_FILE=/mine".to_owned(), format!("GIT_SSL_CAINFO={path}")]
        );
        assert_eq!(agent.len(), TRUST.len());
        let spec = pod.spec.unwrap();
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        for it in all {
            let mount = &it.volume_mounts.as_ref().unwrap()[0];
            assert_eq!((mount.name.as_str(), mount.read_only), ("trusted-ca", Some(true)));
        }
        let source = spec.volumes.unwrap()[0].config_map.clone().unwrap();
        assert_eq!((source.name.as_str(), source.optional), ("town-ca", None));
        assert_eq!(source.items.unwrap()[0].key, "ca-bundle.crt");
    }
}
