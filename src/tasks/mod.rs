//! Long-running tasks, and `run`, which joins them: servers first; once the Go original has stopped, the election; then
//! the controllers, while this replica owns shards. One signal stops everything, in the reverse order.

pub mod alerts;
pub mod budget;
pub mod certificates;
pub mod controllers;
pub mod convert;
pub mod definitions;
mod door;
mod drain;
pub mod ending;
pub mod health;
pub mod metrics;
pub mod pods;
pub mod queue;
pub mod shards;
pub mod supervise;
pub mod tls_profile;
pub mod webhooks;

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use axum_server::Handle;
use prometheus_client::registry::Registry;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    admission::{self, Policy},
    cluster::{
        Cluster, clock,
        cluster_tls::ClusterTls,
        connect::{self, Connection},
        degraded::Degraded,
        housekeeper::Housekeeper,
        live,
        meters::Meters,
        original::Original,
        ownership::Ownership,
        shards::{Keeper, Report, Settings},
        spans::Spans,
    },
    config::{self, Config, StorageMigration},
    domain::{lease::Identity, pod::PodSettings},
    manifests, telemetry, tls,
};
use controllers::{Scope, storage::Upkeep};

/// How long open webhook calls may take to finish after the stop.
const WEBHOOK_DRAIN: Duration = Duration::from_secs(10);

/// Runs until `stop`; an error is one that no waiting mends.
pub async fn run(config: Config, nonce: String, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    suffer(&config.test_faults);
    let (mut registry, meters) = (Registry::default(), Meters::default());
    meters.register(&mut registry);
    metrics::count_crypto(&meters)?;
    let registry = metrics::whole(registry);
    let (figures, replica) = (registry.clone(), config.identity(nonce.clone()).pod);
    let scrape: telemetry::Scrape = Box::new(move || metrics::text(&figures));
    let tracing = config::Tracing { outside: config.reach.outside(), ..config.tracing.clone() };
    let told = (&tracing, &config.signals);
    let (spans, exporting) = telemetry::begin(told, (&replica, &nonce), &meters, scrape)?;
    let served = serve(config, nonce, stop, (registry, meters, spans), replica);
    let outcome = Box::pin(served).await;
    // Also of one that did not come up: what it said last is what somebody will look for.
    exporting.end().await;
    outcome
}

/// The same, with everything by which it tells of itself.
async fn serve(
    config: Config,
    nonce: String,
    mut stop: watch::Receiver<bool>,
    (registry, meters, spans): (Arc<Registry>, Meters, Spans),
    replica: String,
) -> anyhow::Result<()> {
    let degraded = Degraded::default();
    let start = live::begun(live::live_span!("start", gastown.replica = &*replica), None);
    let mut servers = JoinSet::new();
    let (servers_stop, servers_stopped) = watch::channel(false);
    let (ready, report) = (watch::Sender::new(false), watch::Sender::new(Report::default()));
    let (webhooks, faces) = (Handle::<SocketAddr>::new(), metrics::Faces::new(&meters, &degraded));
    if let Some(address) = parsed(&config.endpoints.health_probe_bind_address)? {
        let states = health::States::new(&ready, &report, &meters);
        servers.spawn(health::serve(address, states, servers_stopped.clone()));
    }
    let asking = webhooks::Asking::new(config.webhooks.reference_access);
    let ends = servers_stopped.clone();
    metrics::start(&config, registry, (&faces, asking.clone()), &mut servers, ends)?;
    config.webhooks.files()?;
    let connection = connected(&config, &replica, &meters).await?;
    tls::crypto::proven("the client of the API server", connection.fips)?;
    servers.spawn(definitions::keep_policies(&config, &connection, servers_stopped.clone()));
    tokio::select! {
        served = tracing::Instrument::instrument(serve_webhooks(&config, &connection, (&meters, &spans, &degraded), &mut servers, (&webhooks, asking.clone(), &faces), (servers_stopped, ready.subscribe())), start) => served?,
        _ = stop.wait_for(|it| *it) => return Ok(()),
    }
    ready.send_replace(true);

    let (work_stop, work_stopped) = watch::channel(false);
    let told = (asking, report);
    let counted = (meters, spans, degraded);
    let mut work =
        tokio::spawn(work(config.clone(), connection, nonce, counted, told, work_stopped));
    let outcome = tokio::select! {
        _ = stop.wait_for(|it| *it) => Ok(()),
        ended = &mut work => ended.map_err(anyhow::Error::from).and_then(|it| it),
        Some(ended) = servers.join_next() => ended.map_err(anyhow::Error::from).and_then(|it| it),
    };
    tracing::info!("Stopping: readiness off, work drains, then the servers end");
    ready.send_replace(false);
    work_stop.send_replace(true);
    let drained =
        if work.is_finished() { Ok(()) } else { work.await.map_err(Into::into).and_then(|it| it) };
    webhooks.graceful_shutdown(Some(WEBHOOK_DRAIN));
    servers_stop.send_replace(true);
    ended(servers).await.and(outcome).and(drained)
}

/// Connects as the settings say, under this name.
async fn connected(config: &Config, who: &str, meters: &Meters) -> anyhow::Result<Connection> {
    let (context, who) = (config.context.clone(), (who, config.requests()));
    connect::connect(config.kubeconfig.as_deref(), context, who, meters).await
}

async fn ended(mut servers: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Only ever asked for by a test.
fn suffer(faults: &config::Faults) {
    if *faults != config::Faults::default() {
        tracing::warn!(?faults, "Faults were asked for: this is a test");
        clock::go_wrong(faults.clock_rate.unwrap_or(1000), faults.clock_ahead);
    }
}

/// Starts the admission server and waits until it listens, with our own certificate once the API server was reached, and is rehearsed.
async fn serve_webhooks(
    config: &Config,
    connection: &Connection,
    (meters, spans, degraded): (&Meters, &Spans, &Degraded),
    servers: &mut JoinSet<anyhow::Result<()>>,
    (handle, asking, faces): (&Handle<SocketAddr>, webhooks::Asking, &metrics::Faces),
    (mut stop, ready): (watch::Receiver<bool>, watch::Receiver<bool>),
) -> anyhow::Result<()> {
    if config.tls.follows_cluster() {
        let (asked, followers) = (ClusterTls::new(connection), faces.followers.clone());
        let told = (meters.clone(), degraded.clone());
        servers.spawn(tls_profile::follow_cluster(asked, followers, told, stop.clone()));
    }
    let it = &config.webhooks;
    let Some(address) = parsed(&it.webhook_bind_address)?.filter(|_| config.serves_webhooks())
    else {
        return Ok(());
    };
    let (live, unconverted) = (faces.live.clone(), definitions::Unconverted::default());
    let (policy, pods) = (policy_of(config)?, pods_of(config, asking.clone(), spans));
    let routes = webhooks::routes(webhooks::Rules {
        policy,
        faults: config.test_faults.clone(),
        asking,
        pods,
        spans: spans.clone(),
        unconverted: unconverted.clone(),
        meters: meters.clone(),
    });
    let alerts = alerts::Alerts::counted(meters);
    let manner = webhooks::manner(it, (meters, degraded), (&mut *servers, &stop))?;
    let takes = webhooks::Takes {
        certificate: live.subscribe(),
        provider: faces.followers.subscribe(),
        manner,
        alerts: alerts.clone(),
        stand: webhooks::Stand::telling(meters, degraded),
    };
    servers.spawn(webhooks::listen(address, takes, handle.clone(), routes.clone()));
    let told = (live, alerts, unconverted);
    let keep = certificates::keep(config, connection, (meters, degraded), told, ready)?;
    servers.spawn(async move {
        tokio::select! {
            () = keep => anyhow::bail!("nobody keeps certificates any more"),
            _ = stop.wait_for(|it| *it) => Ok(()),
        }
    });
    webhooks::listens(handle, address, servers, webhooks::rehearsed(&routes)).await?;
    tracing::info!(%address, "Serving webhooks");
    Ok(())
}

/// What Polecats are held to, as the settings say.
fn policy_of(config: &Config) -> anyhow::Result<Policy> {
    let pods = config.pod_settings();
    Ok(Policy {
        max_active_deadline: config.brakes.max_active_deadline,
        house: config.house(),
        no_agent_image: pods.agent_image.or(pods.agent_image_override).is_none(),
        tracing: admission::Tracing {
            seed: None,
            sampler: config.tracing.sampler().map_err(anyhow::Error::msg)?,
            callers: config.tracing.trace_callers.clone().leak(), // for as long as this process
        },
    })
}

/// What pods are held to, as the settings say.
fn pods_of(config: &Config, server: webhooks::Asking, spans: &Spans) -> pods::Pods {
    let rules = &config.pod_rules;
    let own = || vec![manifests::own_user(&config.own_namespace())];
    let operators = Some(rules.own_user.clone()).filter(|it| !it.is_empty()).unwrap_or_else(own);
    let PodSettings { git_image, agent_image, agent_image_override, telemetry_image, .. } =
        config.pod_settings();
    let images = [git_image, agent_image, agent_image_override, telemetry_image];
    pods::Pods {
        images: images.into_iter().flatten().collect(),
        standard: rules.pod_policy,
        exceptions: rules.exceptions(),
        runtime_classes: rules.runtime_classes(),
        fips: config.house().tls_policy.is_fips(),
        operators,
        platform: Arc::new(rules.known_platform().map_or_else(OnceLock::new, OnceLock::from)),
        server,
        spans: spans.clone(),
    }
}

/// Waits until the Go original has stopped, and takes part in the election for as long as it has.
async fn work(
    mut config: Config,
    connection: Connection,
    nonce: String,
    (meters, spans, degraded): (Meters, Spans, Degraded),
    (asking, report): (webhooks::Asking, watch::Sender<Report>),
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    if let Some(flaw) = config.election.times().flaw() {
        anyhow::bail!("unsafe times: {flaw}");
    }
    tracing::info!(server = %connection.server, "Connected");
    let me = config.identity(nonce);
    let ownership = Ownership::with_fuse(&me.pod, config.test_faults.kill_before_write);
    let settings = Arc::new(config.pod_settings());
    asking.ask(Cluster::new(&connection, ownership.clone(), settings, meters.clone()));
    // Before any pod is made: users of its containers are not ours to choose everywhere.
    let pods = pods_of(&config, asking, &spans);
    tokio::select! {
        found = pods.settled_platform() => config.pod_rules.found(found),
        _ = stop.wait_for(|it| *it) => return Ok(()),
    }
    let (heed, heeded) = watch::channel(false);
    let (stopped, heeding) = heed_original(&config, &connection, &ownership, &meters, heeded);
    let (config, connection) = (&config, &connection);
    let part = Part { config, connection, me, ownership, meters, spans, degraded, report };
    let outcome = while_stopped(stop, stopped, |paused| part.take(paused)).await;
    // Only now: until then work relied on it.
    heed.send_replace(true);
    heeding.await?;
    outcome
}

/// Takes part whenever the original has stopped, until `stop`. Who was told to stop never begins again: a Lease that was
/// given back would be taken once more by a process that ends.
async fn while_stopped<F: Future<Output = anyhow::Result<()>>>(
    mut stop: watch::Receiver<bool>,
    mut stopped: watch::Receiver<bool>,
    take: impl Fn(watch::Receiver<bool>) -> F,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|it| *it) => return Ok(()),
            it = stopped.wait_for(|it| *it) => drop(it.context("nobody looks at the original")?),
        }
        let (pause, paused) = watch::channel(false);
        let mut taking_part = pin!(take(paused));
        tokio::select! {
            ended = &mut taking_part => return ended,
            _ = stop.wait_for(|it| *it) => {}
            // Should nobody look any more, that ends it too.
            _ = stopped.wait_for(|it| !*it) => {}
        }
        pause.send_replace(true);
        taking_part.await?;
    }
}

/// Follows the original's Lease until told to stop, and says whether the original has stopped.
fn heed_original(
    config: &Config,
    connection: &Connection,
    ownership: &Ownership,
    meters: &Meters,
    stop: watch::Receiver<bool>,
) -> (watch::Receiver<bool>, JoinHandle<()>) {
    let namespace = config.own_namespace();
    let Some(name) = config.election.heeded() else {
        let (always, stopped) = watch::channel(true);
        let mut stop = stop;
        let task = async move {
            let _ = stop.wait_for(|it| *it).await;
            drop(always);
        };
        return (stopped, tokio::spawn(task));
    };
    let lease = (namespace.as_str(), name);
    let original = Original::new(connection, lease, ownership.clone(), meters.clone());
    (original.stopped(), tokio::spawn(original.run(stop)))
}

/// What this replica takes part in the election with.
struct Part<'a> {
    config: &'a Config,
    connection: &'a Connection,
    me: Identity,
    ownership: Ownership,
    meters: Meters,
    spans: Spans,
    degraded: Degraded,
    report: watch::Sender<Report>,
}

impl Part<'_> {
    /// Takes part until `stop`, and works in the shards that this replica owns.
    async fn take(&self, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let Self { config, connection, me, ownership, meters, spans, degraded, report } = self;
        let scope = Scope {
            namespaces: config.scope(),
            concurrency: config.concurrency.into(),
            upkeep: Upkeep {
                auto: config.storage.storage_migration == StorageMigration::Auto,
                rate: config.storage.storage_migration_rate,
            },
            faults: config.test_faults.clone(),
        };
        let drain = Duration::from_secs(config.drain_seconds);
        let settings = Arc::new(config.pod_settings());
        let cluster = Cluster::new(*connection, ownership.clone(), settings, meters.clone())
            .asking_at_most(config.requests())
            .telling(spans.clone());
        let running = controllers::start(&cluster, &scope);
        let late = drain::Late::after(drain, stop.clone());
        let election = &config.election;
        let settings = Settings {
            me: me.clone(),
            times: election.times(),
            build: election.build.clone(),
            zone: election.zone.clone(),
            shards: election.shards,
            lease_name: election.lease_name.clone(),
            drain,
        };
        let namespace = config.own_namespace();
        let (keeper, ends) = Keeper::new(
            connection,
            &namespace,
            settings,
            (ownership.clone(), meters.clone(), degraded.clone()),
            report.clone(),
        );
        let keeps = Housekeeper::new(connection, &namespace, me);
        let (town, places) = (ends.town.clone(), scope.namespaces.clone());
        let house = shards::keep_house(keeps, cluster.clone(), places, town, stop.clone());
        let (house, keeping) = (tokio::spawn(house), tokio::spawn(keeper.run(stop)));
        let outcome = shards::follow(running.views(), cluster, ends, keeping).await;
        house.abort(); // whatever it has under way may be done twice, or not at all
        running.stop(late.over()).await;
        outcome
    }
}

fn parsed(address: &str) -> anyhow::Result<Option<SocketAddr>> {
    config::address(address).map_err(|why| anyhow::anyhow!(why))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Many times, since the order in which two things that are ready are seen is left to chance.
    #[tokio::test]
    async fn who_was_told_to_stop_takes_part_no_more() {
        for _ in 0..64 {
            let (stop, begun) = (watch::Sender::new(false), AtomicU32::new(0));
            let (_looks, stopped) = watch::channel(true);
            let part = |mut paused: watch::Receiver<bool>| {
                begun.fetch_add(1, Ordering::SeqCst);
                stop.send_replace(true);
                async move {
                    paused.wait_for(|it| *it).await.map(drop).context("nobody told it to pause")
                }
            };
            while_stopped(stop.subscribe(), stopped, part).await.unwrap();
            assert_eq!(
                begun.load(Ordering::SeqCst),
                1,
                "it would take the Lease that it gave back"
            );
        }
    }

    #[tokio::test]
    async fn who_paused_for_the_original_takes_part_again() {
        let (stop, begun) = (watch::Sender::new(false), AtomicU32::new(0));
        let looks = watch::Sender::new(true);
        let part = |mut paused: watch::Receiver<bool>| {
            let first = begun.fetch_add(1, Ordering::SeqCst) == 0;
            let (looks, stop) = (looks.clone(), stop.clone());
            async move {
                if first {
                    looks.send_replace(false)
                } else {
                    stop.send_replace(true)
                };
                paused.wait_for(|it| *it).await.context("nobody told it to pause")?;
                looks.send_replace(true);
                Ok(())
            }
        };
        while_stopped(stop.subscribe(), looks.subscribe(), part).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2, "the original came, and went");
    }
}
