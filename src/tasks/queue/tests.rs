//! Turns, shares, wishes.

use super::*;

async fn next(queue: &Queue) -> Key {
    queue.next().await.unwrap().key
}

#[tokio::test]
async fn namespaces_take_turns() {
    let queue = Queue::default();
    for number in 0..10_000 {
        queue.add(Key::new("crowd", &format!("p{number}")));
    }
    queue.add(Key::new("quiet", "only"));
    assert_eq!(&*next(&queue).await.namespace, "crowd");
    assert_eq!(next(&queue).await, Key::new("quiet", "only"), "second, not last");
}

#[tokio::test]
async fn a_crowd_leaves_workers_for_others() {
    let queue = Queue::for_workers(4);
    for number in 0..10 {
        queue.add(Key::new("crowd", &format!("p{number}")));
    }
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(next(&queue).await);
    }
    let fourth = tokio::time::timeout(Duration::from_millis(20), queue.next()).await;
    assert!(fourth.is_err(), "the fourth worker waits for somebody else");
    queue.add(Key::new("quiet", "only"));
    assert_eq!(next(&queue).await, Key::new("quiet", "only"));
    queue.done(&taken[0]);
    let again = tokio::time::timeout(Duration::from_millis(20), queue.next()).await;
    assert!(again.is_err(), "one stays idle, since another has the one that was");
    queue.done(&Key::new("quiet", "only"));
    assert_eq!(&*next(&queue).await.namespace, "crowd", "and beside that one there is room for it");
}

/// What each namespace has under way, after as many as may were taken.
fn taken_from(state: &mut State, now: Instant) -> [usize; 3] {
    while state.take(now).is_some() {}
    ["crowd", "quiet", "third"].map(|it| state.busy.get(it).copied().unwrap_or_default())
}

#[test]
fn a_crowd_gives_way_to_what_others_have_under_way() {
    let mut state = State { workers: 16, ..State::default() };
    let now = Instant::now();
    let add = |state: &mut State, namespace: &str, names: std::ops::Range<u8>| {
        names.for_each(|it| state.add(Key::new(namespace, &format!("p{it}")), now, false));
    };
    add(&mut state, "crowd", 0..40);
    assert_eq!(taken_from(&mut state, now), [14, 0, 0], "all but an eighth");
    add(&mut state, "quiet", 0..2);
    assert_eq!(taken_from(&mut state, now), [14, 2, 0], "which is for who comes next");
    for name in ["p0", "p1"] {
        state.active.remove(&Key::new("crowd", name));
        state.leave("crowd", now);
    }
    assert_eq!(taken_from(&mut state, now), [12, 2, 0], "and is kept beside what that one has");
    add(&mut state, "quiet", 2..3);
    assert!(state.waiting["quiet"].others[0].alone, "what it waits is the crowd's doing");
    add(&mut state, "third", 0..1);
    assert_eq!(
        taken_from(&mut state, now),
        [12, 3, 1],
        "who has less than his part waits for none"
    );
}

#[test]
fn many_namespaces_leave_no_worker_idle() {
    let mut state = State { workers: 8, ..State::default() };
    let now = Instant::now();
    for number in 0..16 {
        state.add(Key::new(&format!("town{}", number % 8), &format!("p{number}")), now, false);
    }
    while state.take(now).is_some() {}
    assert_eq!(state.busy.len(), 8, "each has one");
    assert_eq!(state.active.len(), 8);
}

#[tokio::test]
async fn one_worker_serves_everybody() {
    let queue = Queue::for_workers(1);
    queue.add(Key::new("town", "max"));
    assert_eq!(next(&queue).await, Key::new("town", "max"));
}

#[tokio::test]
async fn a_wish_for_never_is_no_harm() {
    let queue = Queue::default();
    queue.add_after(Key::new("town", "never"), Duration::MAX);
    queue.add(Key::new("town", "max"));
    assert_eq!(next(&queue).await, Key::new("town", "max"));
}

#[tokio::test]
async fn beginners_go_first_and_starve_nobody() {
    let queue = Queue::default();
    queue.add(Key::new("town", "status"));
    for number in 0..6 {
        queue.add_urgent(Key::new("town", &format!("new{number}")));
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(next(&queue).await.name.to_string());
    }
    assert_eq!(order, ["new0", "new1", "new2", "status", "new3"]);
}

#[tokio::test]
async fn an_object_is_queued_once_and_never_twice_under_way() {
    let queue = Queue::default();
    let key = Key::new("town", "max");
    queue.add(key.clone());
    queue.add(key.clone());
    assert_eq!(next(&queue).await, key);
    assert!(queue.is_empty());
    queue.add(key.clone());
    queue.add(key.clone());
    assert!(queue.is_empty(), "it is under way");
    queue.done(&key);
    assert_eq!(next(&queue).await, key, "looked at again, once");
    queue.done(&key);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn the_earlier_wish_stands() {
    let queue = Queue::default();
    let key = Key::new("town", "max");
    queue.add_after(key.clone(), Duration::from_secs(3600));
    queue.add_after(key.clone(), Duration::ZERO);
    assert_eq!(next(&queue).await, key);
}

#[tokio::test]
async fn a_closed_queue_ends_its_workers() {
    let queue = Arc::new(Queue::default());
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    queue.close();
    assert!(worker.await.unwrap().is_none());
}

#[test]
fn what_a_namespace_waits_for_itself_is_not_the_others_fault() {
    let mut state = State { workers: 2, ..State::default() };
    let at = |millis| Instant::now() + Duration::from_millis(millis);
    let (begun, ended, taken) = (at(0), at(400), at(407));
    state.add(Key::new("crowd", "p1"), begun, false);
    state.add(Key::new("crowd", "p2"), begun, false);
    assert!(state.take(begun).is_some());
    assert!(state.take(ended).is_none(), "it has its share");
    state.leave("crowd", ended);
    let turn = state.take(taken).unwrap();
    assert_eq!(turn.waited, taken - begun);
    assert_eq!(turn.behind_others, taken - ended, "from when it could have begun");
}

#[test]
fn what_waits_for_nothing_of_its_own_namespace_is_told_from_a_crowd() {
    let mut state = State { workers: 2, ..State::default() };
    let now = Instant::now();
    for name in ["p1", "p2", "p3"] {
        state.add(Key::new("crowd", name), now, false);
    }
    state.add(Key::new("quiet", "only"), now, false);
    let mut taken = || {
        let turn = state.take(now).unwrap();
        state.leave(&turn.key.namespace, now);
        (turn.key.name.to_string(), turn.alone)
    };
    assert_eq!(taken(), ("p1".into(), true), "it was the first of them");
    assert_eq!(taken(), ("only".into(), true), "it is the only one of its namespace");
    assert_eq!(taken(), ("p2".into(), false), "it waited behind its own");
    assert_eq!(taken(), ("p3".into(), false), "the same");
    state.add(Key::new("busy", "a"), now, false);
    assert!(state.take(now).unwrap().alone);
    state.add(Key::new("busy", "b"), now, false);
    assert!(state.take(now).is_none(), "its namespace has its share");
    state.leave("busy", now);
    assert!(!state.take(now).unwrap().alone, "it waited for its own namespace's share");
}
