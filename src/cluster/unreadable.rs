//! Objects that can't be read: counted and logged where they are met, announced by a task beside the watch, which waits
//! for nobody.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::{
    cluster::{
        Cluster,
        cache::Key,
        meters,
        wire::{Compact, Watched},
    },
    domain::{conditions::cut, plan::Notice},
};

/// So many wait to be announced; of more, metric and log tell.
const WAITING: usize = 256;
/// What was announced of so many is remembered.
const REMEMBERED: usize = 4096;

/// Takes announcements in.
#[derive(Debug)]
pub struct Announcer(mpsc::Sender<Unreadable>);

/// One such object.
#[derive(Debug)]
struct Unreadable {
    namespace: String,
    name: String,
    uid: String,
    why: String,
}

impl Announcer {
    /// An announcer, and what is to be given to [`Cluster::announce_unreadable`].
    pub fn new() -> (Self, Announcements) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), Announcements(receiver))
    }

    /// Counts and logs an object that can't be read, and has it announced. Never waits.
    pub fn skip<C: Compact>(&self, meters: &meters::Meters, object: &Watched<C>, why: &str) {
        let (namespace, name) = object.place();
        let kind = super::carry_out::plural::<C>();
        meters.undecodable.get_or_create(&meters::Controller { controller: kind }).inc();
        tracing::warn!(kind, namespace, name, why, "Skipping an object that can't be read");
        let unreadable = Unreadable {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: object.uid().to_owned(),
            why: cut(why, 512).to_owned(),
        };
        // Full: so many can't be read that the log tells more than Events would.
        let _ = self.0.try_send(unreadable);
    }
}

/// What is to be announced.
#[derive(Debug)]
pub struct Announcements(mpsc::Receiver<Unreadable>);

impl Cluster {
    /// Announces each object once for each reason, for as long as there is an announcer.
    pub(super) async fn announce_unreadable<C: Compact>(&self, mut waiting: Announcements) {
        let mut told = HashMap::<String, String>::new();
        while let Some(it) = waiting.0.recv().await {
            if told.get(&it.uid) == Some(&it.why) {
                continue;
            }
            let message = format!(
                "this object can't be read and is skipped: {}; mend it or delete it",
                it.why
            );
            let notice = Notice { reason: "Unreadable".into(), message };
            self.ownership.allowed().await;
            // Whoever owns its shard announces it.
            let Some(entered) = self.ownership.enter(&Key::new(&it.namespace, &it.name)) else {
                continue;
            };
            let place = (&*it.namespace, &*it.name);
            self.under(entered.guard()).announce::<C>(place, &it.uid, &notice).await;
            if told.len() >= REMEMBERED {
                told.clear();
            }
            told.insert(it.uid, it.why);
        }
    }
}
