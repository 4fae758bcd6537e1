//! The way to the API server: one client for work, one for Leases, neither with retries of its own, so that a Lease
//! request never waits behind work and no write is repeated behind our back; and some for watches.

use std::time::Duration;

use kube::{
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{
    clients::{self, Use},
    counted::Counting,
    definitions::Definitions,
    guard::user_agent,
    meters::Meters,
    watch_clients::Watches,
    writing::Writer,
};

/// Clients, each with a name of its own in the audit log, and where they lead.
pub struct Connection {
    /// Who asks: the pod, or the program of a person.
    who: String,
    pub work: kube::Client,
    pub leases: kube::Client,
    pub watches: Watches,
    /// For all who want to hear of definitions.
    pub definitions: Definitions,
    pub server: http::Uri,
    /// What rustls says of every client's configuration.
    pub fips: bool,
}

/// What a [`super::Cluster`] asks with.
#[derive(Clone)]
pub struct Clients {
    pub work: kube::Client,
    pub watches: Watches,
    pub definitions: Definitions,
}

/// One client for all, whose failed watches these meters count.
impl From<(kube::Client, &Meters)> for Clients {
    fn from((work, meters): (kube::Client, &Meters)) -> Self {
        let watches = Watches::all_by(work.clone(), meters.watch_faults.clone());
        Self { definitions: Definitions::new(watches.clone()), watches, work }
    }
}

impl From<&Connection> for Clients {
    fn from(it: &Connection) -> Self {
        Self {
            work: it.work.clone(),
            watches: it.watches.clone(),
            definitions: it.definitions.clone(),
        }
    }
}

impl Connection {
    /// Writes what belongs to no shard, about this. By the client of Leases: such a write never waits behind work.
    pub(super) fn writer(&self, about: &str) -> Writer {
        Writer::new(self.leases.clone(), &self.who, about)
    }
}

#[cfg(test)]
impl Connection {
    /// One client for all, of an API server that a test plays.
    pub fn played<F>(
        answer: impl Fn(http::Request<kube::client::Body>) -> F + Send + 'static,
        meters: &Meters,
    ) -> Self
    where
        F: Future<Output = http::Response<axum::body::Body>> + Send + 'static,
    {
        let service = tower::service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, std::convert::Infallible>(answered.await) }
        });
        let counted = tower::Layer::layer(&Counting::by(meters), service);
        let client = kube::Client::new(counted, "town");
        let Clients { work, watches, definitions } = Clients::from((client, meters));
        let (who, server) = ("test".to_owned(), http::Uri::from_static("https://town"));
        Self { who, leases: work.clone(), work, watches, definitions, server, fips: false }
    }
}

/// Connections for Leases that are kept between requests: what renewals and reading after them have. Taking many shards at once
/// opens more, for that moment.
const KEPT_FOR_LEASES: usize = 2;

/// Connects as the kubeconfig says, or as the pod's service account; `who` does, whose work has so many `requests` under way at a
/// time, and so many connections between them.
pub async fn connect(
    kubeconfig: Option<&std::path::Path>,
    context: Option<String>,
    (who, requests): (&str, usize),
    meters: &Meters,
) -> anyhow::Result<Connection> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let read = match kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path)?),
        None if options.context.is_some() => Some(Kubeconfig::read()?),
        None => Kubeconfig::read().ok(),
    };
    let named = read.as_ref().and_then(|it| proxy(it, options.context.as_deref()));
    let mut config = match read.filter(|_| kubeconfig.is_some() || options.context.is_some()) {
        Some(it) => kube::Config::from_custom_kubeconfig(it, &options).await?,
        None => kube::Config::infer().await?,
    };
    // Variables name a proxy too, but for the world: the API server is reached as its kubeconfig says.
    config.proxy_url = named.map(|it| it.parse()).transpose()?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let counting = Counting::by(meters);
    let agent = |what: &str| user_agent(who, format_args!("{what}"));
    let work = clients::make(&config, agent("work"), &counting, Use::Calls { kept: requests })?;
    let watches = Watches::new(config.clone(), agent("watches"), meters)?;
    config.connect_timeout = Some(Duration::from_millis(1500));
    let leases =
        clients::make(&config, agent("leases"), &counting, Use::Calls { kept: KEPT_FOR_LEASES })?;
    let fips = config.rustls_client_config()?.fips();
    let definitions = Definitions::new(watches.clone());
    let (who, server) = (who.to_owned(), config.cluster_url);
    Ok(Connection { who, work, leases, watches, definitions, server, fips })
}

/// The proxy that a kubeconfig names for the API server.
fn proxy(read: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let current = context.or(read.current_context.as_deref())?;
    let context = read.contexts.iter().find(|it| it.name == current)?.context.as_ref()?;
    let cluster = read.clusters.iter().find(|it| it.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|it| !it.is_empty())
}
