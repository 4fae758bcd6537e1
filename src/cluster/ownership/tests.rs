use std::{
    sync::atomic::{AtomicBool, AtomicI32},
    time::Duration,
};

use super::*;

/// Shards of these maps.
const SHARDS: u16 = 64;
const SHARD: ShardId = ShardId(7);
const OTHER: ShardId = ShardId(8);

/// An owner of two shards for five seconds, and the moment it is.
fn owner() -> (Ownership, Moment) {
    let (ownership, now) = (Ownership::new("operator-0"), Moment::now());
    ownership.use_map(Arc::new(Map::first(SHARDS)));
    ownership.open(SHARD, 3);
    ownership.open(OTHER, 4);
    ownership.valid_until(Some(now + Duration::from_secs(5)));
    (ownership, now)
}

/// An object in the namespace of this number of a shard.
fn within(shard: ShardId, number: usize) -> Key {
    let map = Map::first(SHARDS);
    let names = (0..).map(|it| format!("ns-{it}"));
    let name = names.filter(|it| map.shard_of(it) == Some(shard)).nth(number).unwrap();
    Key::new(&name, "max")
}

/// Whether this ends now; it is not waited for.
async fn ends<T>(it: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(20), it).await.is_ok()
}

#[test]
fn a_write_says_who_made_it_in_which_shard_under_which_epoch_and_map() {
    let (ownership, now) = owner();
    let late = ownership.enter(&within(SHARD, 0)).unwrap().guard();
    assert!(late.check_at(now).is_err(), "its pass has ended");
    let entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let stamp = entered.guard().check_at(now).unwrap();
    let text = stamp.user_agent.to_str().unwrap();
    assert!(text.ends_with("(operator-0; shard=07; epoch=3; map=1)"), "{text}");
    assert_eq!(stamp.left, Duration::from_secs(5), "a write may not outlast the session");
    assert_eq!(
        Guard::default().check().unwrap_err(),
        Lapsed::Lost,
        "nobody writes outside of a pass"
    );
    let bucket = *Map::first(SHARDS).shards()[&SHARD].first().unwrap();
    let corrects = ownership.enter_bucket(&within(OTHER, 0), bucket).unwrap();
    let text = corrects.guard().check_at(now).unwrap().user_agent;
    let want = "; label-of-shard=07; epoch=3; map=1)";
    assert!(text.to_str().unwrap().ends_with(want), "its epoch is none of the namespace's shard");
}

#[test]
fn a_lapsed_session_writes_nothing_in_any_shard() {
    let (ownership, now) = owner();
    let entered = [SHARD, OTHER].map(|it| ownership.enter(&within(it, 0)).unwrap());
    for it in &entered {
        let guard = it.guard();
        assert!(guard.check_at(now).is_ok());
        assert!(guard.check_at(now + Duration::from_millis(4_800)).is_err(), "too little is left");
        assert!(guard.check_at(now + Duration::from_secs(3600)).is_err(), "suspended for an hour");
    }
    ownership.valid_until(None);
    assert!(entered.iter().all(|it| it.guard().check_at(now).is_err()));
    ownership.valid_until(Some(now + Duration::from_secs(9)));
    assert!(entered[0].guard().check_at(now).is_ok(), "it goes on where nobody took over");
}

#[test]
fn who_must_have_stopped_besides_is_asked_for_every_write() {
    let (ownership, now) = owner();
    let entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let guard = entered.guard();
    ownership.clone().besides(None);
    assert_eq!(guard.check_at(now).unwrap_err(), Lapsed::Session, "somebody else may act");
    ownership.besides(Some(now + Duration::from_secs(2)));
    assert_eq!(guard.check_at(now).unwrap().left, Duration::from_secs(2), "the shorter one");
    ownership.besides(Some(now + Duration::from_secs(60)));
    assert_eq!(guard.check_at(now).unwrap().left, Duration::from_secs(5), "and no longer");
    ownership.valid_until(None);
    assert!(guard.check_at(now).is_err(), "it gives no leave by itself");
}

#[test]
fn only_what_is_open_is_entered() {
    let ownership = Ownership::new("operator-0");
    assert!(ownership.enter(&within(SHARD, 0)).is_none(), "there is no map yet");
    ownership.use_map(Arc::new(Map::first(SHARDS)));
    assert!(ownership.enter(&within(SHARD, 0)).is_none(), "nothing is open");
    ownership.open(SHARD, 1);
    assert!(ownership.enter(&within(SHARD, 0)).is_some());
    assert!(ownership.enter(&within(OTHER, 0)).is_none());
    let rig = Key::new("", &within(SHARD, 1).namespace);
    assert_eq!(ownership.enter(&rig).unwrap().shard(), SHARD, "what has no namespace: by its name");
    assert!(
        ownership.owns(&within(SHARD, 0).namespace) && !ownership.owns(&within(OTHER, 0).namespace)
    );
    assert_eq!(ownership.open_shards(), [(SHARD, 1)].into());
}

#[tokio::test]
async fn a_shard_closes_once_the_writes_in_it_were_answered() {
    let (ownership, now) = owner();
    let entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let elsewhere = ownership.enter(&within(OTHER, 0)).unwrap();
    let write = entered.guard().check_at(now).unwrap();
    let mut closing = std::pin::pin!(ownership.close(SHARD));
    assert!(!ends(closing.as_mut()).await, "a write is under way");
    assert!(ownership.enter(&within(SHARD, 1)).is_none(), "no pass begins");
    assert!(!ownership.owns(&within(SHARD, 1).namespace));
    let refused = || entered.guard().check_at(now).unwrap_err();
    assert_eq!(refused(), Lapsed::GivenAway, "the one that is under way writes nothing more");
    drop(write);
    assert!(ends(closing).await, "whatever that pass reads is not waited for");
    assert!(ownership.enter(&within(SHARD, 0)).is_none());
    assert!(elsewhere.guard().check_at(now).is_ok(), "the other shard goes on");
    ownership.close(SHARD).await; // what is closed closes at once
    ownership.open(SHARD, 5);
    assert!(ownership.enter(&within(SHARD, 0)).is_some());
    assert_eq!(refused(), Lapsed::GivenAway, "for good: another may have acted in between");
    assert!(
        ends(ownership.close_at_rest(SHARD, Duration::from_secs(3600))).await,
        "nor waited for"
    );
}

#[tokio::test]
async fn a_shard_closes_in_the_first_moment_without_a_pass() {
    let (ownership, now) = owner();
    let long = Duration::from_secs(3600);
    let first = ownership.enter(&within(SHARD, 0)).unwrap();
    let mut closing = std::pin::pin!(ownership.close_at_rest(SHARD, long));
    assert!(!ends(closing.as_mut()).await, "a pass is under way");
    let second = ownership.enter(&within(SHARD, 1)).unwrap();
    assert!(ownership.owns(&within(SHARD, 1).namespace), "meanwhile work goes on");
    assert!([&first, &second].iter().all(|it| it.guard().check_at(now).is_ok()));
    drop(first);
    assert!(ownership.enter(&within(SHARD, 0)).is_some(), "one is still under way");
    drop(second);
    assert!(ownership.enter(&within(SHARD, 0)).is_none(), "at once, whoever is told of it when");
    assert!(ends(closing).await);
    assert!(ownership.enter(&within(OTHER, 0)).is_some(), "the other shard goes on");
    ownership.close_at_rest(OTHER, long).await; // it is at rest
    assert_eq!(ownership.open_shards(), [].into());
}

#[tokio::test]
async fn a_shard_that_is_never_at_rest_is_closed_all_the_same() {
    let (ownership, now) = owner();
    let entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let write = entered.guard().check_at(now).unwrap();
    let from = ownership.close_at_rest(SHARD, Duration::from_millis(20)).await;
    assert!(from.is_some(), "from when nobody acts");
    assert!(ownership.enter(&within(SHARD, 1)).is_none(), "none begins");
    assert!(entered.guard().check_at(now).is_err(), "what is under way writes nothing more");
    assert!(!ends(ownership.close(SHARD)).await, "and what it wrote is waited for");
    drop(write);
    assert!(ends(ownership.close(SHARD)).await);
    let from = ownership.close_at_rest(SHARD, Duration::from_secs(3600)).await;
    assert!(from.is_none(), "it is not held any more");
}

#[tokio::test]
async fn where_nobody_waits_for_a_shard_what_is_under_way_may_end() {
    let (ownership, now) = owner();
    let entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let long = Duration::from_secs(3600);
    let mut closing = std::pin::pin!(ownership.close_once_ended(SHARD, long));
    assert!(!ends(closing.as_mut()).await, "a pass is under way");
    assert!(ownership.enter(&within(SHARD, 1)).is_none(), "none begins");
    assert!(entered.guard().check_at(now).is_ok(), "that one goes on");
    drop(entered);
    assert!(ends(closing).await);
    assert!(ends(ownership.close(SHARD)).await);
}

#[tokio::test]
async fn a_shard_that_is_lost_while_it_closes_is_not_waited_for() {
    let (ownership, _) = owner();
    let _entered = ownership.enter(&within(SHARD, 0)).unwrap();
    let mut closing = std::pin::pin!(ownership.close_at_rest(SHARD, Duration::from_secs(3600)));
    assert!(!ends(closing.as_mut()).await);
    ownership.lose(SHARD);
    assert!(ends(closing).await);
}

#[tokio::test]
async fn a_shard_that_was_lost_or_is_held_anew_refuses_the_writes_of_before() {
    let (ownership, now) = owner();
    let before = ownership.enter(&within(SHARD, 0)).unwrap();
    ownership.lose(SHARD);
    assert!(before.guard().check_at(now).is_err(), "at once");
    ownership.open(SHARD, 5);
    assert!(before.guard().check_at(now).is_err(), "another may have acted in between");
    let after = ownership.enter(&within(SHARD, 0)).unwrap();
    assert!(after.guard().check_at(now).is_ok());
    let write = after.guard().check_at(now).unwrap();
    let mut closing = std::pin::pin!(ownership.close(SHARD));
    assert!(!ends(closing.as_mut()).await);
    ownership.open(SHARD, 6);
    drop((before, write, after));
    assert!(ends(closing).await);
    assert_eq!(ownership.open_shards().get(&SHARD), Some(&6), "what was opened meanwhile stays");
}

#[tokio::test]
async fn a_namespace_that_a_new_map_moves_is_drained_before_and_shut_until_its_former_owner_did() {
    let (ownership, now) = owner();
    let (moved, stays) = (within(SHARD, 0), within(SHARD, 1));
    let [in_moved, in_stays] = [&moved, &stays].map(|it| ownership.enter(it).unwrap());
    let is = |namespace: &Arc<str>| {
        let namespace = namespace.clone();
        move |it: &str| *it == *namespace
    };
    let write = in_moved.guard().check_at(now).unwrap();
    let mut closing = std::pin::pin!(ownership.close_parts(SHARD, is(&moved.namespace)));
    assert!(!ends(closing.as_mut()).await, "a write is under way");
    assert!(ownership.enter(&moved).is_none() && ownership.enter(&stays).is_some());
    let late = in_moved.guard();
    assert_eq!(late.check_at(now).unwrap_err(), Lapsed::GivenAway, "and no other one begins");
    drop(write);
    let shut = closing.await;
    assert!(ownership.enter(&moved).is_none(), "also once it was drained");

    // The new map gives it to a shard of ours: it waits there as well, until that is said to be safe.
    let gained = ownership.shut(OTHER, is(&moved.namespace));
    let next = Map::first(SHARDS).pin(&moved.namespace, OTHER).unwrap();
    ownership.use_map(Arc::new(next));
    drop(shut);
    assert!(ownership.enter(&moved).is_none());
    drop(gained);
    let entered = ownership.enter(&moved).unwrap();
    assert_eq!(entered.shard(), OTHER);
    let stamp = entered.guard().check_at(now).unwrap();
    assert!(stamp.user_agent.to_str().unwrap().ends_with("shard=08; epoch=4; map=2)"));
    assert!(late.check_at(now).is_err(), "a guard from before");
    assert!(in_stays.guard().check_at(now).is_ok(), "the rest of its shard goes on");
}

#[test]
fn a_pass_whose_namespace_was_moved_away_under_it_writes_no_more() {
    let (ownership, now) = owner();
    let [moved, stays] = [0, 1].map(|it| ownership.enter(&within(SHARD, it)).unwrap());
    let next = Map::first(SHARDS).pin(&within(SHARD, 0).namespace, OTHER).unwrap();
    ownership.use_map(Arc::new(next));
    assert!(moved.guard().check_at(now).is_err(), "although both shards are ours");
    assert!(stays.guard().check_at(now).is_ok());
}

#[tokio::test]
async fn workers_wait_for_leave_and_not_for_a_shard() {
    let (ownership, now) = owner();
    ownership.valid_until(None);
    let mut allowed = std::pin::pin!(ownership.allowed());
    assert!(!ends(allowed.as_mut()).await);
    ownership.close(SHARD).await; // nobody who waits is in it
    ownership.besides(None);
    ownership.valid_until(Some(now + Duration::from_secs(5)));
    assert!(!ends(allowed.as_mut()).await, "somebody else may act");
    ownership.besides(Some(now + Duration::from_secs(5)));
    assert!(ends(allowed).await);
}

/// Passes come and go on several threads while the shard changes hands: whenever it was closed, none of the former epoch
/// is under way, and none of it may write ever again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_under_way_in_a_shard_that_was_closed() {
    let (ownership, _) = owner();
    let (stop, holder) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(3)));
    let passes = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let (ownership, stop) = (ownership.clone(), stop.clone());
            let (holder, passes) = (holder.clone(), passes.clone());
            let key = within(SHARD, number % 3);
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                    let Some(entered) = ownership.enter(&key) else { continue };
                    let guard = entered.guard();
                    for _ in 0..3 {
                        if let Ok(stamp) = guard.check() {
                            let epoch = holder.load(Ordering::SeqCst);
                            let text = stamp.user_agent.to_str().unwrap().to_owned();
                            let ours = text.contains(&format!("epoch={epoch};"));
                            assert!(ours, "{text} while the holder is at {epoch}");
                        }
                        tokio::task::yield_now().await;
                    }
                    passes.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for epoch in 4..64 {
        let so_far = passes.load(Ordering::SeqCst);
        while passes.load(Ordering::SeqCst) < so_far + 10 {
            tokio::task::yield_now().await;
        }
        if epoch % 2 == 0 {
            ownership.close_at_rest(SHARD, Duration::from_millis(1)).await;
        }
        ownership.close(SHARD).await;
        holder.store(epoch, Ordering::SeqCst); // from here on it is somebody else's, or ours anew
        ownership.open(SHARD, epoch);
    }
    stop.store(true, Ordering::SeqCst);
    for it in workers {
        it.await.unwrap();
    }
}
