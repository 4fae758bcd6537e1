//! The way to the API server: one client for work, one for Leases, neither with retries of its own, so that a Lease
//! request never waits behind work and no write is repeated behind our back; and some for watches.

use std::time::Duration;

use kube::{
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::watch_clients::Watches;

/// Clients, and where they lead.
pub struct Connection {
    pub work: kube::Client,
    pub leases: kube::Client,
    pub watches: Watches,
    pub server: http::Uri,
    /// What rustls says of every client's configuration.
    pub fips: bool,
}

/// What a [`super::Cluster`] asks with.
#[derive(Clone)]
pub struct Clients {
    pub work: kube::Client,
    pub watches: Watches,
}

impl From<kube::Client> for Clients {
    fn from(work: kube::Client) -> Self {
        Self { watches: Watches::all_by(work.clone()), work }
    }
}

impl From<&Connection> for Clients {
    fn from(it: &Connection) -> Self {
        Self { work: it.work.clone(), watches: it.watches.clone() }
    }
}

/// Connects as the kubeconfig says, or as the pod's service account.
pub async fn connect(
    kubeconfig: Option<&std::path::Path>,
    context: Option<String>,
) -> anyhow::Result<Connection> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(path) => {
            kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        None if options.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
        None => kube::Config::infer().await?,
    };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let work = kube::Client::try_from(config.clone())?;
    let watches = Watches::new(config.clone())?;
    config.connect_timeout = Some(Duration::from_millis(1500));
    let leases = kube::Client::try_from(config.clone())?;
    let fips = config.rustls_client_config()?.fips();
    Ok(Connection { work, leases, watches, server: config.cluster_url, fips })
}
