//! How agent pods reach the world. Proxies by the variables that every program knows, as OLM sets them on operators; they never
//! lead to the API server.

use clap::Args;

use crate::domain::{names, pod::Outside};

/// What the programs of agent pods are told of the world.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// Proxy of agent pods for https, such as `http://egress.example.com:3128`, and of the operator on its way to a collector.
    /// Never used for the API server.
    #[arg(long, env = "HTTPS_PROXY", hide_env_values = true, value_name = "URL")]
    pub https_proxy: Option<String>,
    /// The same for plain http.
    #[arg(long, env = "HTTP_PROXY", hide_env_values = true, value_name = "URL")]
    pub http_proxy: Option<String>,
    /// Hosts that are reached without a proxy, separated by commas.
    #[arg(long, env = "NO_PROXY", hide_env_values = true, value_name = "HOSTS")]
    pub no_proxy: Option<String>,
    /// ConfigMap, in the namespace of each Polecat, whose key ca-bundle.crt holds all authorities that its pod trusts. Unset:
    /// those of the images.
    #[arg(long, env = "GASTOWN_TRUSTED_CA_CONFIG_MAP", value_name = "NAME")]
    pub trusted_ca_config_map: Option<String>,
}

impl Reach {
    /// The same for the pod builder; what is empty is unset.
    pub fn outside(&self) -> Outside {
        let set = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        Outside {
            http_proxy: set(&self.http_proxy),
            https_proxy: set(&self.https_proxy),
            no_proxy: set(&self.no_proxy),
            trusted_ca: set(&self.trusted_ca_config_map),
        }
    }

    /// What can't be done as asked.
    pub fn flaw(&self) -> Option<String> {
        let name = self.outside().trusted_ca.filter(|it| !names::is_name(it))?;
        Some(format!("--trusted-ca-config-map: {name:?} is no name of a ConfigMap"))
    }
}
