//! People who create Polecats all the time: so many a second, or as many as the machine bears.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use gastown::api::v1alpha1::Polecat;
use kube::{
    Api, Client,
    api::PostParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use super::town::NAMESPACES;
use crate::world::{PATIENCE, polecat};

/// Creates under way at a time.
const AT_A_TIME: usize = 16;
/// Seconds' worth of Polecats that may be there and not Done: who is slower is asked for no more meanwhile.
const BEHIND: u32 = 4;

/// What is known of the load while it goes on.
pub struct Load {
    stop: watch::Sender<bool>,
    begun: watch::Receiver<usize>,
    done: watch::Receiver<Done>,
    a_second: u32,
    task: JoinHandle<(usize, Duration)>,
    counting: JoinHandle<()>,
}

/// Polecats that are Done, and namespaces in which some are.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    polecats: usize,
    namespaces: usize,
}

impl Load {
    pub fn begin(client: &Client, namespaces: &[String], a_second: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (told, begun) = watch::channel(0);
        let (tell, done) = watch::channel(Done::default());
        let counting = tokio::spawn(count(client.clone(), namespaces.to_owned(), tell));
        let people = People {
            client: client.clone(),
            namespaces: namespaces.to_owned(),
            pause: Duration::from_secs(1) / a_second,
            behind: usize::try_from(a_second * BEHIND).unwrap(),
        };
        let task = tokio::spawn(people.create(stopped, told, done.clone()));
        Self { stop, begun, done, a_second, task, counting }
    }

    /// Waits until so many are begun.
    pub async fn reaches(&self, count: usize) {
        let mut begun = self.begun.clone();
        let reached = tokio::time::timeout(PATIENCE, begun.wait_for(|it| *it >= count)).await;
        reached.expect("the load comes in time").expect("the load goes on");
    }

    /// Waits until there is one more in each namespace than when this was called.
    pub async fn goes_round(&self) {
        let now = *self.begun.borrow();
        self.reaches(now + NAMESPACES).await;
    }

    /// Waits until one is Done in each namespace.
    pub async fn is_everywhere(&self) {
        let mut done = self.done.clone();
        let all = done.wait_for(|it| it.namespaces == NAMESPACES);
        let reached = tokio::time::timeout(PATIENCE, all).await;
        reached.expect("the first are Done in time").expect("the load goes on");
    }

    /// Ends it once all that was begun is created; says how much that was, and prints what the machine bore.
    pub async fn end(self, name: &str) -> usize {
        self.stop.send_replace(true);
        let (count, took) = self.task.await.unwrap();
        self.counting.abort();
        let borne = f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64();
        println!(
            "{name}: {count} Polecats, {} a second asked for, {borne:.1} borne",
            self.a_second
        );
        count
    }
}

struct People {
    client: Client,
    namespaces: Vec<String>,
    pause: Duration,
    /// Most that are begun and not Done.
    behind: usize,
}

impl People {
    async fn create(
        self,
        mut stopped: watch::Receiver<bool>,
        told: watch::Sender<usize>,
        mut done: watch::Receiver<Done>,
    ) -> (usize, Duration) {
        let begun = Instant::now();
        let mut clock = interval(self.pause);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (passes, mut creating) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
        let mut count = 0;
        loop {
            let next = async {
                clock.tick().await;
                let _ = done.wait_for(|it| it.polecats + self.behind > count).await;
                passes.clone().acquire_owned().await.unwrap()
            };
            let pass = tokio::select! {
                _ = stopped.wait_for(|it| *it) => break,
                pass = next => pass,
            };
            let all: Api<Polecat> = Api::namespaced(
                self.client.clone(),
                &self.namespaces[count % self.namespaces.len()],
            );
            let object = serde_json::from_value(polecat(&format!("p{count:05}"))).unwrap();
            let again = interval(self.pause);
            creating.spawn(async move {
                created(&all, &object, again).await;
                drop(pass);
            });
            count += 1;
            told.send_replace(count);
        }
        let took = begun.elapsed();
        creating.join_all().await;
        (count, took)
    }
}

/// What is refused or gets no answer is sent again.
async fn created(all: &Api<Polecat>, object: &Polecat, mut again: tokio::time::Interval) {
    loop {
        match all.create(&PostParams::default(), object).await {
            Ok(_) => return,
            Err(kube::Error::Api(it)) if it.is_already_exists() => return,
            Err(_) => drop(again.tick().await),
        }
    }
}

/// Counts, by watch, those that are Done in these namespaces.
async fn count(client: Client, namespaces: Vec<String>, tell: watch::Sender<Done>) {
    let all: Api<PartialObjectMeta<Polecat>> = Api::all(client);
    let config = watcher::Config::default().fields("status.phase=Done");
    let mut stream = pin!(watcher(all, config).default_backoff().applied_objects());
    let mut done: BTreeSet<(String, String)> = BTreeSet::new();
    let mut places: BTreeSet<String> = BTreeSet::new();
    while let Some(it) = stream.next().await {
        let Some(meta) = it.ok().map(|it| it.metadata) else { continue };
        let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
        if namespaces.contains(&namespace) {
            places.insert(namespace.clone());
            done.insert((namespace, name));
            tell.send_replace(Done { polecats: done.len(), namespaces: places.len() });
        }
    }
}
