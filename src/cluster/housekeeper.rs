//! The housekeeper: one replica, elected by `kube-leader-election`, that writes down what is advice (weights, refused wishes) and
//! what people ask for (whether every shard has an owner), and makes the next map where namespaces wish to be pinned. That election writes without compare-and-swap, so two may
//! believe that they are it: each effect here is a compare-and-swap of its own, or may be there twice. No ownership rests on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, ObjectReference},
    jiff::Timestamp,
};
use kube::{Api, ResourceExt as _, api::PostParams};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};

use crate::{
    api::v1beta1::{RefusedPin, ShardMap, ShardMapStatus, ShardWeight},
    cluster::{
        cache::Cache,
        clock::Moment,
        connect::Connection,
        now, report,
        shards::{Town, wire::MAP},
        writing::Writer,
    },
    domain::{
        brake,
        conditions::{ALL_OWNED, Conditions, Is, cut},
        lease::Identity,
        plan::Notice,
        shard::{
            Map, ShardId, bucket, vacant, weights,
            wishes::{self, Answer},
        },
    },
};

/// Name of the Lease that the election is about.
pub const LEASE: &str = "gastown-housekeeper";
/// How often it is asked who is it: at most so many writes of the Lease.
pub const PERIOD: Duration = Duration::from_secs(5);
const TTL: Duration = Duration::from_secs(15);
/// Events that may fail in a round before the rest is left for the next.
const TRIES: u32 = 2;
/// Longest time that one request may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Most refused wishes that are written down, and the longest reason.
const REFUSED: usize = 50;
const LONGEST: usize = 1024;

/// One replica's part in it.
pub struct Housekeeper {
    lock: LeaseLock,
    me: String,
    /// Until when it is us.
    until: Option<Moment>,
    maps: Api<ShardMap>,
    client: kube::Client,
    writer: Writer,
    /// Refusals that were told by an Event.
    told: BTreeSet<(Box<str>, String)>,
    /// The version of the map of which the API server did not keep the condition that was written, since its definition of the
    /// kind is older than this program.
    unkept: Option<String>,
}

impl Housekeeper {
    /// The election's own writes have a name of their own, since another crate makes them.
    pub fn new(connection: &Connection, namespace: &str, me: &Identity) -> Self {
        let (holder_id, lease_name) = (me.holder(), LEASE.to_owned());
        let (client, me) = (connection.leases.clone(), holder_id.clone());
        let election = connection.writer("election of the housekeeper").client();
        let params = LeaseLockParams { holder_id, lease_name, lease_ttl: TTL };
        Self {
            lock: LeaseLock::new(election, namespace, params),
            me,
            until: None,
            maps: Api::namespaced(client.clone(), namespace),
            client,
            writer: connection.writer("housekeeping"),
            told: BTreeSet::new(),
            unkept: None,
        }
    }

    /// Asks who is it. Whatever is no clear yes is a no; a yes counts from the sending, and for less than others wait.
    pub async fn elect(&mut self) {
        let sent = Moment::now();
        let answer = tokio::time::timeout(LIMIT, self.lock.try_acquire_or_renew()).await;
        let until = until(answer, &self.me, sent);
        if until.is_some() && self.until.is_none() {
            tracing::info!("Keeping house");
        }
        self.until = until;
    }

    /// Whether it is this replica, as far as it knows.
    pub fn is_it(&self) -> bool {
        self.until.is_some_and(|it| it > Moment::now())
    }

    /// Lets another be it at once.
    pub async fn resign(&mut self) {
        if self.until.take().is_some() {
            let _ = tokio::time::timeout(LIMIT, self.lock.step_down()).await;
        }
    }

    /// Does what there is to do. What fails is done again when something changes, or a while later.
    pub async fn tidy_up(&mut self, town: &Town, wishing: &BTreeMap<Box<str>, Wish>) {
        let (Some(map), Some(object)) = (&town.map, &town.object) else { return };
        let all = wishing.iter().map(|(name, it)| (name.clone(), it.shard.clone())).collect();
        let answer = wishes::answer(map, &all);
        self.tell(&answer, wishing).await;
        let old = object.status.clone().unwrap_or_default();
        let mut status = status(map, town, &answer, &old);
        let unowned = town.unowned.as_ref();
        if let Some(unowned) = unowned.filter(|_| !self.is_unkept(object)) {
            observe(&mut status, unowned, now());
        }
        if status != old {
            self.write_status(object, &status).await;
            return; // the answer of that comes by the watch
        }
        // The next version waits until this one was acknowledged.
        if let Some(next) = answer.next.filter(|_| town.acknowledged) {
            self.publish(object, &next).await;
        }
    }

    async fn write_status(&mut self, object: &ShardMap, status: &ShardMapStatus) {
        let new = ShardMap { status: Some(status.clone()), ..object.clone() };
        let write = self.writer.replace_status(&self.maps, MAP, &new);
        let answer = tokio::time::timeout(LIMIT, write).await;
        say("the status of the ShardMap", &answer);
        if let Ok(Ok(stored)) = answer {
            let kept = stored.status.as_ref().map_or(0, |it| it.conditions.len());
            self.unkept = stored.resource_version().filter(|_| kept < status.conditions.len());
        }
    }

    /// Whether a condition that was written on what is there was not kept.
    fn is_unkept(&self, object: &ShardMap) -> bool {
        self.unkept.is_some() && self.unkept == object.resource_version()
    }

    async fn publish(&self, object: &ShardMap, next: &Map) {
        let new = ShardMap { spec: next.into(), ..object.clone() };
        let write = self.writer.replace(&self.maps, MAP, &new);
        say("the next version of the ShardMap", &tokio::time::timeout(LIMIT, write).await);
    }

    /// Tells of each refusal once, in the namespace that wished: who may look there sees it.
    async fn tell(&mut self, answer: &Answer, wishing: &BTreeMap<Box<str>, Wish>) {
        let refused = &answer.refused;
        self.told.retain(|(name, why)| refused.get(name) == Some(why));
        let mut failed = 0;
        for (name, why) in refused {
            let Some(wish) = wishing.get(name).filter(|_| self.told.len() < REFUSED) else {
                continue;
            };
            let refusal = (name.clone(), why.clone());
            if self.told.contains(&refusal) {
                continue;
            }
            let about = ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Namespace".into()),
                name: Some(name.to_string()),
                namespace: Some(name.to_string()),
                uid: Some(wish.uid.to_string()),
                ..ObjectReference::default()
            };
            let message = format!(
                "annotation {} of this namespace can't be followed: {why}",
                wishes::ANNOTATION
            );
            let notice = Notice { reason: "ShardWishRefused".into(), message };
            let event = report::event(about, "Warning", &notice);
            let events: Api<Event> = Api::namespaced(self.client.clone(), name);
            let params = PostParams::default();
            let write = self.writer.create(&events, &params, &event);
            let answer = tokio::time::timeout(LIMIT, write).await;
            say("an Event", &answer);
            if is_final(&answer) {
                self.told.insert(refusal);
            } else if failed == TRIES {
                return; // it is the API server rather than these namespaces: a while later
            } else {
                failed += 1;
            }
        }
    }
}

/// Until when it is who has this name, by what the election answered to what was sent then.
fn until(answer: Elected, me: &str, sent: Moment) -> Option<Moment> {
    let ours = match answer {
        // Of several that write at once each is told that it won; the Lease has one name.
        Ok(Ok(LeaseLockResult::Acquired(it))) => {
            it.spec.and_then(|it| it.holder_identity).is_some_and(|it| it == me)
        }
        Ok(Ok(LeaseLockResult::NotAcquired(_))) | Err(_) => false,
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::info!(error, "No housekeeper could be elected");
            false
        }
    };
    ours.then(|| sent + TTL.mul_f32(0.75))
}

/// What came of asking who is it.
type Elected =
    Result<Result<LeaseLockResult, kube_leader_election::Error>, tokio::time::error::Elapsed>;

/// What a Namespace wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub uid: Box<str>,
    pub shard: Box<str>,
}

/// The wishes of all namespaces in the cache that are so.
pub fn wishing(
    namespaces: &Cache<brake::Namespace>,
    is: impl Fn(&str) -> bool,
) -> BTreeMap<Box<str>, Wish> {
    let wish = |it: Arc<brake::Namespace>| {
        let shard = it.shard.clone().filter(|_| is(&it.name))?;
        Some((it.name.clone(), Wish { uid: it.uid.clone(), shard }))
    };
    namespaces.all().into_iter().filter_map(wish).collect()
}

/// What the map's status should say.
fn status(map: &Map, town: &Town, answer: &Answer, old: &ShardMapStatus) -> ShardMapStatus {
    let known = weights_of(old);
    // Who has just taken a shard has not counted it yet. Taken for empty, it would have shards moved to and fro in every update.
    let count = |it: ShardId| Some((it, town.objects.get(&it).copied()?));
    let counts: Option<BTreeMap<_, _>> = map.active().map(count).collect();
    let news = counts.and_then(|it| weights::news(&it, &known));
    let weights = news.unwrap_or(known).into_iter();
    let refused = answer.refused.iter().take(REFUSED);
    ShardMapStatus {
        acknowledged_version: town
            .acknowledged
            .then_some(map.version())
            .or(old.acknowledged_version),
        weights: weights
            .map(|(shard, it)| ShardWeight {
                shard: shard.0.into(),
                weight: i32::try_from(it).unwrap_or_default(),
            })
            .collect(),
        refused: refused
            .map(|(name, why)| RefusedPin {
                namespace: name.to_string(),
                message: cut(why, LONGEST).into(),
            })
            .collect(),
        conditions: old.conditions.clone(),
    }
}

/// Says whether every shard has an owner. It is about owners rather than about one version of the map, so it names none.
fn observe(status: &mut ShardMapStatus, unowned: &BTreeSet<ShardId>, now: Timestamp) {
    let list = &mut status.conditions;
    let mut conditions = Conditions { list, generation: None, now };
    if unowned.is_empty() {
        conditions.set(ALL_OWNED, Is::True, "AllOwned", "every shard has an owner");
        return;
    }
    let shards = bucket::ranges(&unowned.iter().map(|it| it.0).collect()).join(", ");
    let message = format!(
        "shards {shards} have had no owner for {} s or longer, so nothing happens in their namespaces: \
         docs/runbooks/GastownShardUnowned.md says what to do",
        vacant::LASTS.as_secs()
    );
    conditions.set(ALL_OWNED, Is::False, "ShardsUnowned", &message);
}

/// The weights that a status says.
pub fn weights_of(status: &ShardMapStatus) -> BTreeMap<ShardId, u32> {
    let weight =
        |it: &ShardWeight| Some((ShardId(it.shard.try_into().ok()?), it.weight.try_into().ok()?));
    status.weights.iter().filter_map(weight).collect()
}

/// What came of a write.
type Written<T> = Result<kube::Result<T>, tokio::time::error::Elapsed>;

/// Whether trying again would change nothing: it was written, or the API server has said why not for good, as in a namespace that
/// is being deleted.
fn is_final<T>(answer: &Written<T>) -> bool {
    match answer {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(it))) => (400..500).contains(&it.code) && it.code != 429,
        Ok(Err(_)) | Err(_) => false,
    }
}

fn say<T>(what: &str, answer: &Written<T>) {
    match answer {
        Ok(Ok(_)) => tracing::debug!(what, "The housekeeper wrote"),
        // Somebody else was faster, or it is there already.
        Ok(Err(kube::Error::Api(it))) if it.code == 409 => {}
        Ok(Err(error)) => {
            tracing::info!(
                what,
                error = error as &dyn std::error::Error,
                "Not written by the housekeeper"
            );
        }
        Err(_) => tracing::info!(what, "Not written by the housekeeper in time"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use http::Response;
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::v1beta1::ShardMapSpec, cluster::meters::Meters};

    fn refused(code: u16) -> kube::Error {
        let status = kube::core::Status::failure("no", "Tested").with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test]
    async fn whatever_is_no_clear_yes_is_a_no_and_a_yes_ends_before_others_may_be_it() {
        let lease = |holder: Option<&str>| Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(Into::into),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        let won = |holder| Ok(Ok(LeaseLockResult::Acquired(lease(holder))));
        let late = tokio::time::timeout(Duration::ZERO, std::future::pending()).await;
        let sent = Moment::now();
        let yes = Some(sent + Duration::from_millis(11_250));
        let table = [
            (won(Some("me")), yes, "three quarters of 15 s from the sending, however late it came"),
            (won(Some("other")), None, "another wrote over it"),
            (won(None), None, "somebody emptied it"),
            (Ok(Ok(LeaseLockResult::Acquired(Lease::default()))), None, "it says nothing"),
            (Ok(Ok(LeaseLockResult::NotAcquired(lease(Some("me"))))), None, "the crate says no"),
            (
                Ok(Err(kube_leader_election::Error::Kube(refused(500)))),
                None,
                "the API server said no",
            ),
            (late, None, "nobody answered in time"),
        ];
        for (answer, want, because) in table {
            assert_eq!(until(answer, "me", sent), want, "{because}");
        }
    }

    /// What is known of three shards after a count of them, of which the last may be missing.
    fn weighed(counts: &[u64]) -> Vec<i32> {
        let weight = |weight| ShardWeight { weight, ..ShardWeight::default() };
        let old = ShardMapStatus {
            weights: (0..3).map(|shard| ShardWeight { shard, ..weight(4) }).collect(),
            ..ShardMapStatus::default()
        };
        let objects = (0..).map(ShardId).zip(counts.iter().copied()).collect();
        let town = Town { acknowledged: true, objects, ..Town::default() };
        let status = status(&Map::first(3), &town, &Answer::default(), &old);
        status.weights.iter().map(|it| it.weight).collect()
    }

    #[test]
    fn a_shard_that_nobody_has_counted_yet_is_not_taken_for_empty() {
        assert_eq!(weighed(&[20, 20, 0]), [6, 6, 1], "all were counted, and one is empty");
        assert_eq!(weighed(&[20, 20]), [4, 4, 4], "who took the third has not counted it");
    }

    #[test]
    fn the_map_says_whether_every_shard_has_an_owner_and_changes_only_with_that() {
        let mut status = ShardMapStatus::default();
        let mut observed = |unowned: &[u16], second| {
            let unowned = unowned.iter().copied().map(ShardId).collect();
            let now = Timestamp::from_second(second).unwrap();
            let before = status.clone();
            observe(&mut status, &unowned, now);
            let it = &status.conditions[0];
            let since = it.last_transition_time.0.as_second();
            let said = format!("{}={} {}: {}", it.type_, it.status, it.reason, it.message);
            (said, since, status != before)
        };
        let well = "AllOwned=True AllOwned: every shard has an owner".to_owned();
        let nobodys = |which| {
            format!(
                "AllOwned=False ShardsUnowned: shards {which} have had no owner for 15 s or longer, so nothing happens in their \
                 namespaces: docs/runbooks/GastownShardUnowned.md says what to do"
            )
        };
        assert_eq!(observed(&[], 1), (well.clone(), 1, true));
        assert_eq!(observed(&[], 2), (well.clone(), 1, false), "no news is not written");
        assert_eq!(observed(&[0, 1, 2, 7], 3), (nobodys("0-2, 7"), 3, true));
        assert_eq!(observed(&[7], 4), (nobodys("7"), 3, true), "since the first of them");
        assert_eq!(observed(&[7], 5), (nobodys("7"), 3, false));
        assert_eq!(observed(&[], 6), (well, 6, true));
    }

    /// A housekeeper, and what is written to its API server, which keeps conditions or does not.
    fn played(keeps: bool) -> (Housekeeper, Arc<Mutex<Vec<Value>>>) {
        let written: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = written.clone();
        let answer = move |request: http::Request<kube::client::Body>| {
            let kept = kept.clone();
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut object: Value = serde_json::from_slice(&body).unwrap();
                kept.lock().unwrap().push(object.clone());
                if !keeps {
                    object["status"].as_object_mut().unwrap().remove("conditions");
                }
                Response::new(Body::from(object.to_string()))
            }
        };
        let connection = Connection::played(answer, &Meters::default());
        let me = Identity { pod: "op".into(), pod_uid: String::new(), nonce: "n".into() };
        (Housekeeper::new(&connection, "town", &me), written)
    }

    /// As after an upgrade of the program alone.
    #[tokio::test]
    async fn where_conditions_are_not_kept_they_are_written_once_and_the_map_is_kept_up() {
        let map = Map::first(3);
        let mut object = ShardMap::new(MAP, ShardMapSpec::from(&map));
        object.metadata.resource_version = Some("7".into());
        object.status =
            Some(ShardMapStatus { acknowledged_version: Some(1), ..ShardMapStatus::default() });
        let unowned = Some(BTreeSet::new());
        let mut town = Town {
            map: Some(map.into()),
            object: Some(object.clone().into()),
            acknowledged: true,
            unowned,
            ..Town::default()
        };
        let wish = Wish { uid: "u".into(), shard: "2".into() };
        let wishing = [("max".into(), wish)].into();
        let (mut housekeeper, written) = played(false);
        housekeeper.tidy_up(&town, &wishing).await;
        housekeeper.tidy_up(&town, &wishing).await;
        let all = std::mem::take(&mut *written.lock().unwrap());
        assert_eq!(all[0]["status"]["conditions"][0]["type"], ALL_OWNED, "{all:?}");
        assert_eq!(all[1]["spec"]["pins"][0]["namespace"], "max", "it goes on: {all:?}");
        assert_eq!(all.len(), 2, "{all:?}");
        object.metadata.resource_version = Some("8".into());
        town.object = Some(object.into());
        housekeeper.tidy_up(&town, &wishing).await;
        let again =
            written.lock().unwrap()[0]["status"]["conditions"][0]["status"] == json!("True");
        assert!(again, "the definition may be another by now");

        let (mut housekeeper, written) = played(true);
        town.unowned = None;
        housekeeper.tidy_up(&town, &BTreeMap::new()).await;
        assert_eq!(written.lock().unwrap().len(), 0, "who does not know says nothing");
    }

    #[tokio::test]
    async fn a_refusal_whose_event_was_not_written_is_told_again() {
        let late = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await;
        let table = [
            (Ok(Ok(())), true, "it is there"),
            (Ok(Err(refused(403))), true, "the namespace is being deleted"),
            (Ok(Err(refused(429))), false, "the API server is busy"),
            (Ok(Err(refused(500))), false, "its storage did not answer"),
            (late.map(Ok), false, "nobody answered in time"),
        ];
        for (answer, want, because) in table {
            assert_eq!(is_final(&answer), want, "{because}");
        }
    }
}
