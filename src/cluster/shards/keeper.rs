//! The task itself: hears, decides, acts, and hears what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, core::PartialObjectMeta};
use tokio::sync::{mpsc, watch};

use super::{
    act::Done,
    door::{Door, has_pod},
    hear,
    parts::{Ends, Opened, Opening, Settings, Town, Wanted},
    session::{News, Request, Session},
    told::{Report, Told},
    wire::{Writer, session_name},
};
use crate::{
    api::v1beta1::ShardMap,
    cluster::{
        clock::Moment,
        connect::Connection,
        degraded::{self, Degraded},
        meters::Meters,
        ownership::{Ownership, Shut},
        watch_faults::Fares,
        writing,
    },
    domain::{
        lease::Mark,
        shard::{
            Map, ShardId,
            protocol::{Decision, Facts, HeldBack, Own, decide, let_go},
            seen::{Says, Vacancy, View, said_too_late},
        },
    },
};

/// The keeper looks around after this time also if nothing is heard.
const IDLE: Duration = Duration::from_secs(1);
/// Validity that must be left for anything to be decided.
const MARGIN: Duration = Duration::from_millis(250);

/// This replica's part.
#[expect(clippy::struct_excessive_bools, reason = "each is so or not by itself")]
pub struct Keeper {
    pub(super) door: Door,
    pub(super) maps: Api<ShardMap>,
    /// Of the map, and of Events about it.
    pub(super) writer: writing::Writer,
    pods: Api<PartialObjectMeta<Pod>>,
    pub(super) settings: Settings,
    pub(super) ownership: Ownership,
    pub(super) meters: Meters,
    pub(super) told: Told,
    pub(super) view: View,
    /// The Leases were listed.
    pub(super) listed: bool,
    pub(super) map: Option<Arc<Map>>,
    /// A map that does not come after that one was put in its place.
    pub(super) displaced: bool,
    pub(super) own: Own,
    pub(super) session: Session,
    /// The session was lost, and its work is being ended.
    pub(super) mourning: bool,
    /// Shards that are taken, and wait for their caches.
    pub(super) opening: BTreeMap<ShardId, Opening>,
    /// Shards of which nobody can read in our session yet that we hold them, and when their taking was sent.
    pub(super) unsaid: BTreeMap<ShardId, Duration>,
    /// Shards that are being taken, and what is before.
    pub(super) taking: BTreeMap<ShardId, Option<Vacancy>>,
    pub(super) writes: u64,
    /// Writes of ours that are under way.
    pub(super) pending: BTreeMap<ShardId, Mark>,
    /// When the last accepted renewal was sent.
    pub(super) renewed: Option<Duration>,
    pub(super) fencing: BTreeSet<Box<str>>,
    /// There is no map.
    pub(super) founding: bool,
    /// When the next one is made.
    pub(super) founds: Duration,
    pub(super) ops: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What a version of the map gave to shards, and what keeps passes from beginning there.
    pub(super) held_back: Vec<HeldBack<Shut>>,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) opened: mpsc::UnboundedSender<Opened>,
    warm: watch::Receiver<BTreeSet<ShardId>>,
    counts: watch::Receiver<BTreeMap<ShardId, u32>>,
    pub(super) degraded: Degraded,
    pub(super) town: watch::Sender<Town>,
    /// The map as it was read.
    pub(super) object: Option<Arc<ShardMap>>,
}

impl Keeper {
    pub fn new(
        connection: &Connection,
        namespace: &str,
        mut settings: Settings,
        (ownership, meters, degraded): (Ownership, Meters, Degraded),
        report: watch::Sender<Report>,
    ) -> (Self, Ends) {
        let (wanted, wants) = watch::channel(Wanted::default());
        let (opened, opens) = mpsc::unbounded_channel();
        let (warmed, warm) = watch::channel(BTreeSet::new());
        let (counted, counts) = watch::channel(BTreeMap::new());
        let (town, townspeople) = watch::channel(Town::default());
        settings.me = settings.me.taking_part(ownership.takes_part());
        let own = Own {
            lease: session_name(&settings.me).into(),
            build: settings.build.as_str().into(),
            zone: settings.zone.as_str().into(),
            ..Own::default()
        };
        let (client, me) = (&connection.leases, settings.me.clone());
        let writer = Writer::new(me, settings.times);
        let keeper = Self {
            door: Door::new(connection, namespace),
            writer: connection.writer("the map of shards"),
            maps: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            settings,
            ownership,
            meters: super::told::counting(meters),
            told: Told::new(client, namespace, report),
            view: View::default(),
            listed: false,
            map: None,
            displaced: false,
            own,
            session: Session::new(writer),
            mourning: false,
            opening: BTreeMap::new(),
            unsaid: BTreeMap::new(),
            taking: BTreeMap::new(),
            writes: 0,
            pending: BTreeMap::new(),
            renewed: None,
            fencing: BTreeSet::new(),
            founding: false,
            founds: Duration::ZERO,
            ops: FuturesUnordered::new(),
            held_back: Vec::new(),
            wanted,
            opened,
            warm,
            counts,
            degraded,
            town,
            object: None,
        };
        let ends =
            Ends { wanted: wants, opened: opens, warm: warmed, counts: counted, town: townspeople };
        (keeper, ends)
    }

    /// Takes part until `stop`; then gives back what it owns, once all work in it has stopped.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.session.writer.owned = has_pod(self.pods.clone(), self.settings.me.clone()).await;
        let fares = |resource| Fares::of(&self.meters.watch_faults, resource);
        let mut leases = pin!(hear::leases(self.door.api.clone(), fares("leases")));
        let mut maps = pin!(hear::maps(self.maps.clone(), fares("shardmaps")));
        loop {
            let again = self.turn();
            if self.has_ended() {
                break;
            }
            let wait = again.saturating_sub(clock()).min(IDLE);
            tokio::select! {
                Some(done) = self.ops.next(), if !self.ops.is_empty() => self.done(done),
                Some(news) = leases.next() => self.hear(news),
                Some(news) = maps.next() => self.hear_map(news),
                Ok(()) = self.warm.changed() => {}
                _ = stop.wait_for(|it| *it), if self.own.draining.is_none() => {
                    self.own.draining = Some(clock());
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.ownership.valid_until(None);
        // What was not given back in time is the others' from now on, also should this process take part again.
        self.ownership.lose_all();
        if let Some(seen) = self.session.seen().filter(|_| self.own.held.is_empty()) {
            self.door.delete(&self.session.lease(), &seen).await;
        }
    }

    fn has_ended(&self) -> bool {
        let Some(since) = self.own.draining else { return false };
        let late = clock() >= since + self.settings.drain;
        let over = self.own.held.is_empty() && self.ops.is_empty();
        if late && !over {
            tracing::warn!(
                shards = self.own.held.len(),
                "Shards were not given back in time; others wait until this session has lapsed"
            );
        }
        over || late
    }

    /// Decides once, and begins what there is to do; returns when to look again.
    fn turn(&mut self) -> Duration {
        let now = clock();
        self.own.holder = self.session.holder().into();
        self.find_former();
        self.own.began = self.session.began;
        let valid = self.session.valid_until().is_some_and(|it| it > now + MARGIN);
        self.confirm(None, now);
        self.mourn();
        self.own.valid = valid && self.session.begun() && !self.mourning;
        let mut again = self.renew(now);
        if self.founding {
            again = again.min(self.found(now));
        }
        let Some(map) = self.map.clone() else { return again };
        if self.listed {
            let (view, own, times) = (&self.view, &self.own, &self.settings.times);
            let decision = decide(Facts { view, map: &map, own, now, times });
            again = decision.again.map_or(again, |it| it.min(again));
            self.want(&map, &decision);
            self.carry_out(&map, decision);
        }
        self.hold_back();
        self.open(now);
        self.tell(&map, now);
        again
    }

    /// The kubelet has ended every process that was in this pod before us.
    fn find_former(&mut self) {
        let (prefix, me) = (self.settings.me.prefix(), &*self.own.holder);
        let before = |it: &&str| !prefix.is_empty() && it.starts_with(&prefix) && *it != me;
        let named = self.view.shards.values().map(|it| it.it.holder());
        self.own.former.extend(named.filter(before).map(Into::into));
    }

    fn renew(&mut self, now: Duration) -> Duration {
        if self.mourning {
            return now + IDLE;
        }
        self.session.writer.objects.clone_from(&self.counts.borrow());
        self.session.writer.degraded = degraded::lines(&self.degraded.news().borrow());
        let says = self.says();
        match self.session.next(&says, now) {
            Err(again) => return again,
            Ok(Request::Read) => {
                let (door, name) = (self.door.clone(), self.session.lease());
                self.ops.push(Box::pin(async move { Done::Read(door.get(&name).await) }));
            }
            Ok(Request::Write { lease, sent, mark }) => {
                let door = self.door.clone();
                self.ops.push(Box::pin(async move {
                    Done::Renewed { mark, sent, answer: door.put(&lease).await }
                }));
            }
        }
        now + self.settings.times.renew
    }

    fn says(&self) -> Says {
        let mine = |it: &ShardId| self.own.held.contains_key(it) || self.taking.contains_key(it);
        let warm = self.warm.borrow().iter().copied().filter(|it| !mine(it)).collect();
        Says {
            build: self.own.build.clone(),
            zone: self.own.zone.clone(),
            draining: self.own.draining.is_some(),
            map: self.map.as_ref().map_or(0, |it| it.version()),
            warm,
            holds: self.own.held.keys().chain(self.taking.keys()).copied().collect(),
        }
    }

    /// What is done with the news of the session.
    pub(super) fn heed(&mut self, news: News) {
        match news {
            News::Nothing => {}
            News::Valid { until } if !self.mourning => {
                // First: what was taken unsaid before a gap may be somebody else's by now.
                let sent = until.saturating_sub(self.settings.times.valid);
                self.confirm(Some(sent), clock());
                let until_then = Some(Moment::after_start(until)).filter(|_| !self.displaced);
                self.ownership.valid_until(until_then);
                self.clear(sent);
            }
            News::Doubtful | News::Valid { .. } => self.ownership.valid_until(None),
            News::Lost => {
                tracing::warn!(session = %self.own.holder, "The session was lost; its work ends");
                self.ownership.valid_until(None);
                self.mourning = true;
                self.opening.clear();
            }
        }
    }

    /// Where our own renewals were not accepted for a while, those of the others were not either: their silence up to now
    /// proves nothing.
    fn clear(&mut self, sent: Duration) {
        let long = self.settings.times.renew * 2;
        if self.renewed.is_none_or(|last| sent.saturating_sub(last) > long) {
            self.view.clear = clock();
        }
        self.renewed = Some(sent);
    }

    /// Begins a session anew once nothing of the old one is under way.
    fn mourn(&mut self) {
        if !self.mourning {
            return;
        }
        let busy = &self.own.busy;
        let held: Vec<_> = self.own.held.keys().copied().filter(|it| !busy.contains(it)).collect();
        for shard in held {
            self.lose(shard);
        }
        if self.own.held.is_empty() && self.own.busy.is_empty() {
            self.mourning = false;
            self.own.former.insert(self.session.holder().into());
            self.own.lost.clear();
            self.session.begin_anew();
        }
    }

    /// Tells what the caches should have.
    fn want(&mut self, map: &Arc<Map>, decision: &Decision) {
        let own = self.own.held.keys().chain(self.taking.keys()).chain(self.opening.keys());
        let shards: BTreeSet<_> = own.chain(&decision.warm).copied().collect();
        // Who gives everything up begins no watch for what is left meanwhile.
        let goes = self.own.draining.is_some() && self.wanted.borrow().wide;
        let wide = goes || shards.len() * 2 > map.active().count();
        let wanted = Wanted { map: Some(map.clone()), shards, wide };
        self.wanted.send_if_modified(|it| {
            let news = *it != wanted;
            *it = wanted;
            news
        });
    }

    /// Whoever finds the Lease of a shard unchanged for a whole wait reads the sessions before he takes it. So ours has to say that
    /// we hold it before that, by a renewal that was sent after the taking; what it has not said in time is given up.
    pub(super) fn confirm(&mut self, renewal: Option<Duration>, now: Duration) {
        let (holds, valid) = (&self.session.published.holds, self.settings.times.valid);
        for shard in said_too_late(&mut self.unsaid, (renewal, holds), valid, now) {
            self.lose(shard);
        }
    }

    /// Opens what is taken, once its objects are in the caches. That our session says so need not be waited for: every renewal
    /// that is sent after the taking does. Until one is accepted, leave to act lasts for what is left of the one before.
    pub(super) fn open(&mut self, now: Duration) {
        if !self.own.valid {
            return;
        }
        let warm = self.warm.borrow().clone();
        let all = std::mem::take(&mut self.opening);
        let (open, waiting): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(shard, _)| warm.contains(shard));
        self.opening = waiting;
        for (shard, Opening { epoch, vacancy }) in open {
            let change = self.begins(shard, epoch, vacancy, now);
            self.ownership.open(shard, epoch);
            let _ = self.opened.send(Opened { shard, change });
        }
    }

    /// What the map gave to a shard waits until who had it has acknowledged that.
    fn hold_back(&mut self) {
        for (_, it, shut) in let_go(&mut self.held_back, &self.view, &mut self.own) {
            drop(shut);
            if self.own.held.contains_key(&it.to) {
                let _ = self.opened.send(Opened { shard: it.to, change: None });
            }
        }
    }
}

/// The time that the protocol counts in.
pub(super) fn clock() -> Duration {
    Moment::now().since_start()
}
