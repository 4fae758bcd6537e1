//! The definitions that are converted, each watched once for all in this process who want to hear of it: by its name alone, as
//! far as our rights go, and read no further than its schemas.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use futures::{Stream, StreamExt as _, stream};
use kube::Api;
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    Cluster,
    cache::Key,
    certificates::watched,
    meters::Controller,
    plural,
    watch_clients::{Seat, Watches},
    wire::Watched,
};
use crate::domain::storage::Definition;

/// A definition as it is; `None` where it is not there.
pub type Heard = Option<Arc<Definition>>;

/// Who is to hear of definitions asks here.
#[derive(Clone)]
pub struct Definitions {
    watches: Watches,
    all: Arc<Mutex<BTreeMap<String, Weak<Watching>>>>,
}

/// One watch; it ends with the last who hears of it.
struct Watching {
    told: Arc<Mutex<Told>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Told {
    last: Option<Heard>,
    listeners: Vec<mpsc::UnboundedSender<Heard>>,
}

/// Tells all who listen; with it their hearing ends.
struct Teller(Arc<Mutex<Told>>);

impl Definitions {
    pub fn new(watches: Watches) -> Self {
        Self { watches, all: Arc::default() }
    }

    /// The definition of this name: as it is, and whenever it changes. Ends if the watch does, which nothing but a panic makes.
    pub fn of(&self, name: &str) -> impl Stream<Item = Heard> + Send + Unpin + use<> {
        let watching = self.watching(name);
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut told = locked(&watching.told);
        if let Some(last) = &told.last {
            _ = sender.send(last.clone());
        }
        told.listeners.push(sender);
        drop(told);
        let heard = stream::unfold((receiver, watching), |(mut receiver, watching)| async move {
            Some((receiver.recv().await?, (receiver, watching)))
        });
        heard.boxed()
    }

    fn watching(&self, name: &str) -> Arc<Watching> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let there = all.get(name).and_then(Weak::upgrade).filter(|it| !it.task.is_finished());
        there.unwrap_or_else(|| {
            let begun = Arc::new(Watching::begin(self.watches.seat(), name));
            all.insert(name.to_owned(), Arc::downgrade(&begun));
            begun
        })
    }
}

impl Watching {
    fn begin(seat: Seat, name: &str) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let api = Api::<Watched<Definition>>::all(seat.client.clone());
        let (news, teller) =
            (watched(seat, (plural::<Definition>(), api), name), Teller(told.clone()));
        let task = tokio::spawn(async move {
            let mut news = pin!(news);
            while let Some(it) = news.next().await {
                teller.tell(it);
            }
        });
        Self { told, task: task.abort_handle() }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Teller {
    fn tell(&self, object: Option<Watched<Definition>>) {
        let heard = match object.map(|it| it.content).transpose() {
            Ok(it) => it.map(Arc::new),
            Err(why) => return tracing::warn!(why, "A definition can't be read, and is skipped"),
        };
        let mut told = locked(&self.0);
        told.last = Some(heard.clone());
        told.listeners.retain(|it| it.send(heard.clone()).is_ok());
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        locked(&self.0).listeners.clear();
    }
}

fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Keeps the cache true about the definition of this name, and tells of what is new, until it is dropped.
    pub async fn follow_definition(&self, name: &str, news: impl Fn(Key) + Send + Sync) {
        let controller = Controller { controller: plural::<Definition>() };
        let (cache, key) = (&self.caches.definitions, Key::new("", name));
        let mut heard = self.definitions.of(name);
        while let Some(it) = heard.next().await {
            match it {
                Some(it) => {
                    cache.put((*it).clone());
                    news(key.clone());
                }
                None => cache.forget(|at, _| *at == key),
            }
            let objects = i64::try_from(cache.len()).unwrap_or(i64::MAX);
            self.meters.objects.get_or_create(&controller).set(objects);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use axum::body::Body as Answer;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::watch_faults::{
        Failures,
        testing::{refusing, tried_again},
    };

    const NAME: &str = "rigs.gastown.gastown.io";

    fn definition(version: &str) -> Value {
        json!({
            "metadata": {"name": NAME, "uid": "u", "resourceVersion": version},
            "spec": {"group": "gastown.gastown.io", "scope": "Cluster", "names": {"plural": "rigs"},
                "versions": [{"name": "v1beta1", "storage": true, "schema": {}}], "conversion": {"strategy": "None"}},
        })
    }

    /// An API server with one definition, whose watch tells of one change; and how many lists it was asked for.
    fn server() -> (Definitions, Arc<AtomicUsize>) {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = lists.clone();
        let client = kube::Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let counted = counted.clone();
                async move {
                    let query = request.uri().query().unwrap_or_default();
                    assert!(query.contains("metadata.name%3Drigs.gastown.gastown.io"), "{query}");
                    let body = if query.contains("watch=true") {
                        // The sort comes first, as an API server writes it.
                        let event =
                            format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", definition("8"));
                        let told = stream::iter([Ok::<_, Infallible>(event)]);
                        Answer::from_stream(told.chain(stream::pending())) // and never ends
                    } else {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let list = json!({"metadata": {"resourceVersion": "7"}, "items": [definition("7")]});
                        Answer::from(list.to_string())
                    };
                    Ok::<_, Infallible>(Response::new(body))
                }
            }),
            "default",
        );
        (Definitions::new(Watches::all_by(client, Failures::default())), lists)
    }

    #[tokio::test]
    async fn a_watch_that_fails_is_counted() {
        let (client, asked) = refusing();
        let failures = Failures::default();
        let watches = Watches::all_by(client, failures.clone());
        let _heard = Definitions::new(watches).of(NAME);
        tried_again(&asked).await;
        let of = Controller { controller: "customresourcedefinitions" };
        assert!(failures.get_or_create(&of).get() >= 1);
    }

    fn version(heard: &Heard) -> Option<&str> {
        heard.as_ref().map(|it| &*it.resource_version)
    }

    #[tokio::test]
    async fn all_hear_by_one_watch_whenever_they_come_and_the_last_ends_it() {
        let heard = tokio::time::timeout(Duration::from_secs(30), hear_of_it());
        heard.await.expect("nothing was heard");
    }

    async fn hear_of_it() {
        let (definitions, lists) = server();
        let mut first = definitions.of(NAME);
        let heard = [first.next().await.unwrap(), first.next().await.unwrap()];
        assert_eq!(heard.each_ref().map(version), [Some("7"), Some("8")], "each change, in order");
        let mut second = definitions.of(NAME);
        assert_eq!(version(&second.next().await.unwrap()), Some("8"), "as it is");
        assert_eq!(lists.load(Ordering::SeqCst), 1, "nobody asked anew");
        drop((first, second));
        let mut third = definitions.of(NAME);
        assert_eq!(version(&third.next().await.unwrap()), Some("7"));
        assert_eq!(lists.load(Ordering::SeqCst), 2, "the last one ended the watch");
    }
}
