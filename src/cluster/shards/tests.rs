//! A keeper whose API server never answers: what it makes of what it hears, and what is left when it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};

use super::{
    Ends, Keeper, Report, Settings,
    act::Done,
    door::Answer,
    hear::MapNews,
    keeper::clock,
    parts::Opening,
    session::News,
    wire::{MAP, Writer},
};
use crate::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    cluster::{
        cache::Key,
        clock::Moment,
        connect::Connection,
        degraded::{Degraded, lines},
        guard::Lapsed,
        meters::Meters,
        ownership::Ownership,
    },
    domain::{
        lease::{Identity, Mark, Record, Times},
        shard::{
            Map, ShardId,
            protocol::{Decision, Holding, Step},
            seen::{Says, Shard},
            vacant,
        },
    },
};

const SHARD: ShardId = ShardId(3);

struct Town {
    ownership: Ownership,
    degraded: Degraded,
    ends: Ends,
}

fn keeper() -> (Keeper, Town) {
    let (ownership, degraded) = (Ownership::new("op"), Degraded::default());
    let (keeper, ends) = keeper_of(&ownership, &degraded);
    (keeper, Town { ownership, degraded, ends })
}

fn keeper_of(ownership: &Ownership, degraded: &Degraded) -> (Keeper, Ends) {
    let meters = Meters::default();
    let connection = Connection::played(|_| std::future::pending(), &meters);
    keeper_by(&connection, meters, ownership, degraded)
}

fn keeper_by(
    connection: &Connection,
    meters: Meters,
    ownership: &Ownership,
    degraded: &Degraded,
) -> (Keeper, Ends) {
    let settings = Settings {
        me: identity("op"),
        times: Times::FAST,
        build: String::new(),
        zone: String::new(),
        shards: 64,
        lease_name: "gastown-operator".into(),
        drain: Duration::ZERO,
    };
    let told = (ownership.clone(), meters, degraded.clone());
    Keeper::new(connection, "town", settings, told, watch::Sender::new(Report::default()))
}

fn identity(pod: &str) -> Identity {
    Identity { pod: pod.into(), pod_uid: format!("uid-{pod}"), nonce: "n".into() }
}

fn stored(map: &Map) -> MapNews {
    MapNews::Put(Box::new(ShardMap::new(MAP, ShardMapSpec::from(map))))
}

impl Town {
    /// Whether it may act once its session was renewed.
    fn acts(&self, keeper: &mut Keeper) -> bool {
        keeper.heed(News::Valid { until: clock() + Duration::from_secs(60) });
        self.ownership.is_valid()
    }

    fn degraded(&self) -> Vec<String> {
        lines(&self.degraded.news().borrow())
    }
}

#[tokio::test]
async fn nothing_is_acted_on_while_another_map_stands_in_the_place_of_ours() {
    let (mut keeper, town) = keeper();
    let first = Map::first(4);
    let (ours, next) = (first.split(ShardId(0)).unwrap(), first.merge(ShardId(0), ShardId(1)));
    keeper.hear_map(stored(&first));
    keeper.hear_map(stored(&ours));
    assert!(town.acts(&mut keeper) && town.degraded().is_empty());
    for (put, because) in [(&first, "a copy"), (&next.unwrap(), "what was made of a copy")] {
        keeper.hear_map(stored(put));
        assert!(!town.ownership.is_valid(), "{because}: at once");
        assert!(!town.acts(&mut keeper), "{because}: and by no renewal");
        assert!(town.degraded()[0].starts_with("shard-map PutBack: "), "{:?}", town.degraded());
        assert!(keeper.object.is_none(), "{because}: who keeps house goes by nothing");
        keeper.hear_map(MapNews::None);
        assert!(keeper.founding && !town.acts(&mut keeper), "{because}: it is deleted");
        assert_eq!(keeper.map.as_deref(), Some(&ours), "{because}: ours is put back");
        keeper.hear_map(stored(&ours));
        assert!(town.acts(&mut keeper) && town.degraded().is_empty(), "{because}: it is there");
    }
    keeper.hear_map(stored(&first));
    let newer = ours.split(ShardId(1)).unwrap();
    keeper.hear_map(stored(&newer));
    assert!(town.acts(&mut keeper), "a newer one is there");
    assert_eq!(keeper.map.as_deref(), Some(&newer));
}

/// As an older build sees a map that a newer one has made.
#[tokio::test]
async fn a_map_that_can_not_be_read_leaves_the_last_one_in_use() {
    let (mut keeper, town) = keeper();
    let map = Map::first(4);
    keeper.hear_map(stored(&map));
    let mut strange = ShardMapSpec::from(&map.split(ShardId(0)).unwrap());
    strange.shards.pop();
    keeper.hear_map(MapNews::Put(Box::new(ShardMap::new(MAP, strange))));
    assert_eq!(keeper.map.as_deref(), Some(&map));
    assert_eq!(town.ownership.map().as_deref(), Some(&map));
    assert!(town.acts(&mut keeper), "its owners go on, and take nothing that others moved");
}

/// Nobody else can have had a shard meanwhile that we lost by hand: unless somebody has.
#[tokio::test]
async fn what_was_lost_and_is_somebody_elses_is_not_taken_back_at_once() {
    let (mut keeper, _town) = keeper();
    keeper.own.lost.insert(SHARD);
    let writer = Writer::new(identity("other"), Times::FAST);
    let mut lease = writer.held(SHARD, None, "other_uid_n.1", Mark { epoch: 2, number: 1 }, 1);
    lease.metadata.resource_version = Some("7".into());
    assert_eq!(lease.name_any(), "gastown-shard-03");
    keeper.see(&lease);
    assert!(keeper.own.lost.is_empty(), "{:?}", keeper.own.lost);
}

/// Time is what the test says it is.
#[tokio::test]
async fn who_keeps_house_hears_of_shards_that_stay_without_an_owner() {
    let (mut keeper, town) = keeper();
    let (map, second) = (Map::first(2), Duration::from_secs(1));
    let (writer, mark) =
        (Writer::new(identity("other"), Times::FAST), Mark { epoch: 1, number: 1 });
    let holder = identity("other").holder();
    let session = writer.session(None, &holder, mark, &Says::default());
    let held = [0, 1].map(|it| writer.held(ShardId(it), None, &holder, mark, 1));
    keeper.see(&session);
    for it in &held {
        keeper.see(it);
    }
    let began = clock();
    let told = |keeper: &mut Keeper, after: Duration| {
        keeper.tell(&map, began + after);
        town.ends.town.borrow().unowned.clone()
    };
    assert_eq!(told(&mut keeper, Duration::ZERO), None, "not all have been listed");
    (keeper.listed, keeper.own.valid) = (true, true);
    assert_eq!(told(&mut keeper, second), Some(BTreeSet::new()), "another has them all");
    keeper.miss_named(&session.name_any());
    assert_eq!(told(&mut keeper, second * 2), Some(BTreeSet::new()), "they may be taken over");
    assert_eq!(told(&mut keeper, second * 12), Some(BTreeSet::new()), "a crash takes ten seconds");
    let lasts = second * 2 + vacant::LASTS;
    assert_eq!(told(&mut keeper, lasts), Some(BTreeSet::new()), "there may be more in a moment");
    let both = [0, 1].map(ShardId).into();
    assert_eq!(told(&mut keeper, lasts + second), Some(both), "nobody took them");
    keeper.own.valid = false;
    assert_eq!(told(&mut keeper, second * 60), None, "who may not act may not know");
}

#[tokio::test]
async fn that_a_lease_is_not_there_is_no_news_once_a_newer_one_was_heard_of() {
    let (mut keeper, _town) = keeper();
    let (writer, mark) =
        (Writer::new(identity("other"), Times::FAST), Mark { epoch: 1, number: 1 });
    let mut lease = writer.held(SHARD, None, &identity("other").holder(), mark, 1);
    lease.metadata.resource_version = Some("7".into());
    let name = lease.name_any();
    let absent = |known| Done::Seen { name: name.clone(), known, answer: Answer::Accepted(None) };
    let asked = keeper.known(&name);
    keeper.see(&lease); // it was made, and heard of, before the answer came
    keeper.done(absent(asked));
    assert!(keeper.view.shards.contains_key(&SHARD), "the answer is older than what was heard");
    let asked = keeper.known(&name);
    keeper.done(absent(asked));
    assert!(!keeper.view.shards.contains_key(&SHARD), "nothing was heard since it was asked");
}

#[tokio::test]
async fn what_was_not_given_back_in_time_is_open_to_nobody_afterwards() {
    let (mut keeper, town) = keeper();
    town.ownership.open(SHARD, 7);
    keeper.own.held.insert(SHARD, Holding { epoch: 7, ..Holding::default() });
    let (_stop, stopped) = watch::channel(true);
    let first = keeper.session.holder();
    keeper.run(stopped).await;
    let (mut second, _ends) = keeper_of(&town.ownership, &town.degraded);
    assert!(town.acts(&mut second), "the same process takes part again");
    assert_eq!(town.ownership.open_shards(), BTreeMap::new(), "and owns nothing of before");
    assert_ne!(second.session.holder(), first, "under a name of its own");
    town.ownership.valid_until(Some(Moment::now()));
}

/// A shard that has no moment without a pass: what is under way is not waited for, what it has sent is.
#[tokio::test]
async fn a_shard_is_given_back_once_every_write_in_it_was_answered() {
    let (ownership, meters) = (Ownership::new("op"), Meters::default());
    let (tell, mut told) = mpsc::unbounded_channel();
    let answer = move |request: http::Request<kube::client::Body>| {
        tell.send(format!("{} {}", request.method(), request.uri().path())).unwrap();
        std::future::pending()
    };
    let connection = Connection::played(answer, &meters);
    let (mut keeper, _ends) = keeper_by(&connection, meters, &ownership, &Degraded::default());
    let map = Arc::new(Map::first(4));
    keeper.hear_map(stored(&map));
    ownership.open(SHARD, 4);
    ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
    let holding = Holding { epoch: 4, version: "7".into(), map: 1 };
    keeper.own.held.insert(SHARD, holding);
    let record = Record { resource_version: "7".into(), ..Record::default() };
    keeper.view.shard(SHARD, Some(Shard { record, ..Shard::default() }), clock());
    let place = (0..1000).map(|it| format!("ns-{it}")).find(|it| map.shard_of(it) == Some(SHARD));
    let pass = ownership.enter(&Key::new(&place.unwrap(), "max")).unwrap();
    let write = pass.guard().check().unwrap();

    let step = Step::Release { shard: SHARD, to: Some("other".into()) };
    keeper.carry_out(&map, Decision { steps: vec![step], ..Decision::default() });
    let mut ops = std::mem::take(&mut keeper.ops);
    let driven = tokio::spawn(async move { ops.next().await.is_some() });
    while pass.guard().check().is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pass.guard().check().unwrap_err(), Lapsed::GivenAway);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(told.try_recv().is_err(), "a write is under way");
    drop(write);
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("PUT ") && asked.ends_with("/leases/gastown-shard-03"), "{asked}");
    driven.abort();
}

/// The API server is away for longer than a session is valid, between the answer to a taking and the first renewal after it: by
/// the time that one is accepted, another replica may have found the shard claimed by nobody.
#[tokio::test]
async fn work_begins_before_our_session_says_so_and_ends_where_it_does_not_in_time() {
    let valid = Times::FAST.valid;
    for (renewal, late, stays, because) in [
        (Some(Duration::ZERO), Duration::ZERO, true, "said by a renewal that was sent after it"),
        (None, valid / 2, true, "there is time yet"),
        (None, valid, false, "it was said too late, if ever"),
        (Some(Duration::ZERO), valid, false, "the same where a renewal after that is accepted"),
    ] {
        let (mut keeper, town) = keeper();
        let taken = clock();
        keeper.own.valid = true;
        keeper.own.held.insert(SHARD, Holding { epoch: 7, ..Holding::default() });
        keeper.opening.insert(SHARD, Opening { epoch: 7, vacancy: None });
        keeper.unsaid.insert(SHARD, taken);
        town.ends.warm.send_replace([SHARD].into());
        keeper.open(taken);
        assert_eq!(town.ownership.open_shards(), [(SHARD, 7)].into(), "{because}: it is open");
        keeper.session.published.holds.insert(SHARD);
        keeper.confirm(None, taken + late / 2);
        keeper.confirm(renewal.map(|it| taken + it), taken + late);
        let open = town.ownership.open_shards().contains_key(&SHARD);
        assert_eq!(open, stays, "{because}");
        keeper.confirm(None, taken + valid * 2);
        let said = town.ownership.open_shards().contains_key(&SHARD);
        assert_eq!(said, stays && renewal.is_some(), "{because}: what was said stays said");
    }
    // What an older renewal says may have been taken back by one whose answer was lost.
    let (mut keeper, _town) = keeper();
    keeper.session.published.holds.insert(SHARD);
    keeper.unsaid.insert(SHARD, clock());
    let before = valid.saturating_sub(Duration::from_secs(1));
    keeper.heed(News::Valid { until: clock() + before });
    assert!(keeper.unsaid.contains_key(&SHARD), "that was sent before the taking");
    keeper.heed(News::Valid { until: clock() + valid });
    assert!(keeper.unsaid.is_empty(), "{:?}", keeper.unsaid);
}
