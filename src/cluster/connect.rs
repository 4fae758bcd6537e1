//! The way to the API server: one client for work, one for Leases, neither with retries of its own, so that a Lease
//! request never waits behind work and no write is repeated behind our back.

use std::time::Duration;

use kube::{
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig},
};

/// A client, and where it leads.
pub struct Connection {
    pub work: kube::Client,
    pub leases: kube::Client,
    pub server: http::Uri,
    /// What rustls says of both clients' configuration.
    pub fips: bool,
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
    config.connect_timeout = Some(Duration::from_millis(1500));
    let leases = kube::Client::try_from(config.clone())?;
    let fips = config.rustls_client_config()?.fips();
    Ok(Connection { work, leases, server: config.cluster_url, fips })
}
