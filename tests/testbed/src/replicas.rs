//! The operators of `testbed up`: processes on the host behind one Service, which only ever leads to the
//! live ones. A replica that ends stays ended, and does not end the testbed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch},
};
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Child,
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    Options, Ready, Replica, kubeconfig,
    launch::{GROUP, Launch, NAMESPACE, Ports, SERVICE, is_ready, operator_program},
    manifests::{self, Webhooks},
    pki::Authority,
    process::{Identity, Program, Roll, log_tail},
};

/// How often a replica is asked whether it is ready.
const PERIOD: Duration = Duration::from_millis(200);
/// How long the operators may take to be ready.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long they may take to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// The running operators.
#[derive(Default)]
pub struct Replicas {
    processes: Vec<Identity>,
    /// From then on no route is worth keeping.
    stopping: Arc<AtomicBool>,
}

/// What leads to live replicas.
#[derive(Clone)]
enum Route {
    /// One EndpointSlice a replica, because each has a port of its own.
    Slices(Client),
    /// Without namespaces there is only loopback, which no endpoint may have: a balancer.
    Balancer(Balancer),
}

impl Replicas {
    /// Starts them and waits until all are ready and reached.
    pub async fn start(&mut self, options: &Options, ready: &Ready) -> Result<Vec<Replica>> {
        let client = kubeconfig::client(&ready.kubeconfig).await?;
        let authority = Authority::open(&ready.dir.join("pki"))?;
        write_certificates(ready, &authority)?;
        if options.replicas == 0 {
            return Ok(Vec::new());
        }
        let project = manifests::project(options.manifests.as_ref())?;
        manifests::install(&client, &project, NAMESPACE).await?;
        let (route, webhooks) = route(ready, &client).await?;
        let bundle = authority.certificate();
        manifests::apply_crds(&client, &project.join("crds"), Some((&webhooks, bundle))).await?;
        let mut replicas = Vec::new();
        let mut live = Vec::new();
        for number in 0..options.replicas {
            let (replica, child, ports) = self.spawn(options, ready, &authority, number)?;
            let stopping = Arc::clone(&self.stopping);
            live.push(watch_over(replica.clone(), child, ports, route.clone(), stopping));
            replicas.push(replica);
        }
        for (replica, live) in replicas.iter().zip(live) {
            wait_until_live(replica, live).await?;
        }
        manifests::apply_webhooks(&client, &project.join("webhooks"), &webhooks, bundle, None)
            .await?;
        Ok(replicas)
    }

    fn spawn(
        &mut self,
        options: &Options,
        ready: &Ready,
        authority: &Authority,
        number: u32,
    ) -> Result<(Replica, Child, Ports)> {
        let name = format!("operator-{number}");
        let server = kubeconfig::server(&ready.kubeconfig)?;
        let ports = Ports::reserve(ready.host_address)?;
        let launch = Launch {
            kubeconfig: kubeconfig::write(
                &ready.dir.join("kubeconfig"),
                &server,
                authority,
                &name,
                Some(GROUP),
            )?,
            name: name.clone(),
            namespace: NAMESPACE.to_owned(),
            certificates: ready.dir.join("webhook"),
            flags: options.operator_flags.clone(),
        };
        let log = ready.dir.join("log").join(format!("{name}.log"));
        let program = Program {
            name: name.clone(),
            path: operator_program(options.operator.as_ref())?,
            arguments: launch.arguments(&ports),
            environment: launch.environment(),
            log: log.clone(),
            folder: ready.dir.clone(),
        };
        let child = program.start()?;
        let pid =
            child.id().with_context(|| format!("{name} ended at once; {}", log_tail(&log)))?;
        Roll::of(&ready.dir).add(pid)?;
        self.processes.extend(i32::try_from(pid).ok().and_then(Identity::of));
        let replica = Replica {
            name,
            pid,
            metrics: ports.metrics_url(),
            health: ports.health_url(),
            webhook: ports.webhook_url(),
            log,
        };
        Ok((replica, child, ports))
    }

    /// Asks them to end; whoever does not is killed with everything else.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for it in &self.processes {
            it.signal(Signal::TERM);
        }
        let gone = async {
            while self.processes.iter().any(|it| it.is_alive()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(GRACE, gone).await;
    }
}

/// The webhooks' certificate: good for the Service, and for the addresses that URL webhooks use.
fn write_certificates(ready: &Ready, authority: &Authority) -> Result<()> {
    let folder = ready.dir.join("webhook");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let service = format!("{SERVICE}.{NAMESPACE}");
    let mut names =
        vec![service.clone(), format!("{service}.svc"), format!("{service}.svc.cluster.local")];
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), ready.host_address.to_string()]);
    authority.server(&format!("{service}.svc"), None, &names)?.write(&folder, "tls")?;
    crate::pki::write_secret(&folder.join("ca.crt"), authority.certificate())
}

/// Makes the Service, or the balancer where a Service can't lead to the host.
async fn route(ready: &Ready, client: &Client) -> Result<(Route, Webhooks)> {
    if !ready.enclosed {
        let balancer = Balancer::default();
        let address = balancer.clone().listen().await?;
        return Ok((Route::Balancer(balancer), Webhooks::Url(format!("https://{address}"))));
    }
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": SERVICE },
        "spec": { "ports": [{ "name": "https", "port": 443 }] }, // no selector: the endpoints are ours
    });
    let api = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    let applied = api.patch(SERVICE, &manifests::manager(), &Patch::Apply(&service)).await;
    applied.with_context(|| format!("failed to make Service {SERVICE}"))?;
    let webhooks = Webhooks::Service { namespace: NAMESPACE.to_owned(), name: SERVICE.to_owned() };
    Ok((Route::Slices(client.clone()), webhooks))
}

/// Keeps the route to one replica true for as long as its process lives, in a task of its own.
fn watch_over(
    replica: Replica,
    mut child: Child,
    ports: Ports,
    route: Route,
    stopping: Arc<AtomicBool>,
) -> watch::Receiver<State> {
    let (state, receiver) = watch::channel(State::Starting);
    tokio::spawn(async move {
        let ports = ports; // held as long as the process lives, so that nobody else gets them
        let mut shown = State::Starting;
        while shown != State::Ended && !stopping.load(Ordering::Relaxed) {
            let now = tokio::select! {
                _ = child.wait() => State::Ended,
                ready = is_ready(&replica.health) => if ready { State::Live } else { State::Starting },
            };
            if now != shown && !stopping.load(Ordering::Relaxed) {
                match route.set(&replica.name, ports.webhook.address, now == State::Live).await {
                    Ok(()) => {
                        shown = now;
                        state.send_replace(now);
                    }
                    Err(error) => eprintln!("testbed: {error:#}"), // tried again at the next look
                }
            }
            tokio::select! {
                _ = child.wait(), if now != State::Ended => {}
                () = sleep(PERIOD) => {}
            }
        }
        let _ = child.wait().await; // dropping it would kill it, and it may want to end by itself
    });
    receiver
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Live,
    Ended,
}

async fn wait_until_live(replica: &Replica, mut state: watch::Receiver<State>) -> Result<()> {
    let settled = timeout(PATIENCE, state.wait_for(|it| *it != State::Starting)).await;
    let settled = settled.map(|it| it.map(|it| *it));
    match settled {
        Ok(Ok(State::Live)) => Ok(()),
        Ok(_) => bail!("{} ended before it was ready; {}", replica.name, log_tail(&replica.log)),
        Err(_) => bail!(
            "{} was not ready within {} s (GET {}/readyz); {}",
            replica.name,
            PATIENCE.as_secs(),
            replica.health,
            log_tail(&replica.log)
        ),
    }
}

impl Route {
    async fn set(&self, name: &str, address: SocketAddr, live: bool) -> Result<()> {
        match self {
            Self::Balancer(balancer) => balancer.set(name, live.then_some(address)),
            Self::Slices(client) => set_slice(client, name, address, live).await?,
        }
        Ok(())
    }
}

async fn set_slice(client: &Client, replica: &str, address: SocketAddr, live: bool) -> Result<()> {
    let name = format!("{SERVICE}-{replica}");
    let api = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/service-name": SERVICE,
            "endpointslice.kubernetes.io/managed-by": "gastown-testbed",
        }},
        "addressType": "IPv4",
        "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
        "endpoints": [{ "addresses": [address.ip().to_string()], "conditions": { "ready": true }}],
    });
    let done = if live {
        api.patch(&name, &manifests::manager(), &Patch::Apply(&slice)).await.map(drop)
    } else {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    };
    done.with_context(|| format!("failed to write EndpointSlice {name}"))
}

/// Passes connections on to replicas that live, in turn.
#[derive(Clone, Default)]
struct Balancer {
    live: Arc<Mutex<(BTreeMap<String, SocketAddr>, usize)>>,
}

impl Balancer {
    fn set(&self, name: &str, address: Option<SocketAddr>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match address {
            Some(address) => live.0.insert(name.to_owned(), address),
            None => live.0.remove(name),
        };
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.1 = live.1.wrapping_add(1);
        let turn = live.1.checked_rem(live.0.len())?;
        live.0.values().nth(turn).copied()
    }

    async fn listen(self) -> Result<SocketAddr> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("failed to listen for webhook calls")?;
        let address = listener.local_addr().context("failed to read the balancer's address")?;
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let Some(target) = self.next() else { continue };
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_replicas_are_chosen_and_in_turn() {
        let balancer = Balancer::default();
        assert_eq!(balancer.next(), None);
        let [a, b] = ["127.0.0.1:1", "127.0.0.1:2"].map(|it| it.parse().unwrap());
        balancer.set("a", Some(a));
        balancer.set("b", Some(b));
        let four: Vec<_> = (0..4).filter_map(|_| balancer.next()).collect();
        assert_eq!(four.iter().filter(|it| **it == a).count(), 2);
        balancer.set("a", None);
        assert!((0..4).all(|_| balancer.next() == Some(b)));
    }
}
