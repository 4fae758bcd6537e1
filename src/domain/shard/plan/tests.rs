use proptest::{prelude::*, sample::Index};

use super::*;

fn member(id: &str, build: &str, zone: &str, began: i64) -> Member {
    Member { id: id.into(), build: build.into(), zone: zone.into(), began, draining: false }
}

/// Members of one build, one a zone letter.
fn crew(zones: &str) -> Vec<Member> {
    zones
        .chars()
        .zip(0..)
        .map(|(zone, n)| member(&format!("m{n}"), "a", &zone.to_string(), n))
        .collect()
}

fn load(shard: u16, weight: u32, holder: Option<&str>) -> Load {
    Load { shard: ShardId(shard), weight, holder: holder.map(Into::into) }
}

/// So many shards that nobody has.
fn free(count: u16) -> Vec<Load> {
    (0..count).map(|it| load(it, 1, None)).collect()
}

/// What is seen when a plan has been followed.
fn followed(loads: &[Load], plan: &BTreeMap<ShardId, Box<str>>) -> Vec<Load> {
    loads.iter().map(|it| Load { holder: plan.get(&it.shard).cloned(), ..it.clone() }).collect()
}

fn moves(loads: &[Load], plan: &BTreeMap<ShardId, Box<str>>) -> usize {
    let moved = |it: &&Load| it.holder.is_some() && it.holder.as_ref() != plan.get(&it.shard);
    loads.iter().filter(moved).count()
}

/// Weight by member, or by zone.
fn sums(
    members: &[Member],
    loads: &[Load],
    plan: &BTreeMap<ShardId, Box<str>>,
    by: fn(&Member) -> &str,
) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<_, _> = members.iter().map(|it| (by(it).to_owned(), 0)).collect();
    for it in loads {
        let owner = members.iter().find(|member| Some(&member.id) == plan.get(&it.shard)).unwrap();
        *sums.get_mut(by(owner)).unwrap() += u64::from(it.weight.max(1));
    }
    sums
}

fn id(it: &Member) -> &str {
    &it.id
}

fn zone(it: &Member) -> &str {
    &it.zone
}

#[test]
fn shards_are_spread_over_members_and_zones() {
    for (zones, most, most_in_a_zone) in [
        ("a", 64, 64),
        ("abc", 22, 22),
        ("aabb", 16, 32),
        ("aabbc", 13, 26), // a zone with fewer members has less, since members come first
        ("aabbcc", 11, 22),
        ("aaabbbccc", 8, 22),
        ("aab", 22, 42), // the one that has one more is in the zone with fewer
    ] {
        let (members, loads) = (crew(zones), free(64));
        let plan = plan(&members, &loads);
        let of = sums(&members, &loads, &plan, id);
        assert_eq!(of.values().max(), Some(&most), "{zones}: {of:?}");
        assert!(of.values().max().unwrap() - of.values().min().unwrap() <= 1, "{zones}: {of:?}");
        let of = sums(&members, &loads, &plan, zone);
        assert_eq!(of.values().max(), Some(&most_in_a_zone), "{zones}: {of:?}");
    }
}

#[test]
fn who_comes_takes_its_share_and_who_goes_leaves_all_and_nothing_else_moves() {
    let two = crew("ab");
    let loads = followed(&free(64), &plan(&two, &free(64)));
    let three = crew("abc");
    let after = plan(&three, &loads);
    assert_eq!(moves(&loads, &after), 21, "what the third has");
    let loads = followed(&loads, &after);
    let mut going = three.clone();
    going[1].draining = true;
    let after = plan(&going, &loads);
    assert!(after.values().all(|it| **it != *"m1"), "it has nothing left");
    assert_eq!(
        moves(&loads, &after),
        loads.iter().filter(|it| it.holder.as_deref() == Some("m1")).count()
    );
    let died = plan(&[three[0].clone(), three[2].clone()], &loads);
    assert_eq!(died, after, "as if it had died");
}

#[test]
fn a_hot_shard_has_its_member_almost_alone() {
    let mut loads = free(64);
    loads[9].weight = 1000;
    let members = crew("abc");
    let plan = plan(&members, &loads);
    let hot = &plan[&ShardId(9)];
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for it in plan.values() {
        *counts.entry(it.clone()).or_default() += 1;
    }
    assert_eq!(counts[hot], 1, "{counts:?}");
    assert!(counts.values().filter(|it| **it > 1).all(|it| (31..=32).contains(it)), "{counts:?}");
}

/// One shard comes to have half of all Polecats, where all are held: who has it gives up the others.
#[test]
fn who_has_a_hot_shard_gives_up_what_else_it_has() {
    let members = crew("abc");
    let mut loads = followed(&free(64), &plan(&members, &free(64)));
    for it in &mut loads {
        it.weight = if it.shard == ShardId(0) { 128 } else { 2 };
    }
    let after = plan(&members, &loads);
    let of = sums(&members, &loads, &after, id);
    let of: BTreeSet<_> = of.into_values().collect();
    assert_eq!(of, [62, 64, 128].into());
    let hot = &after[&ShardId(0)];
    assert_eq!(loads[0].holder.as_ref(), Some(hot), "it stays where it is");
    let had = loads.iter().filter(|it| it.holder == loads[0].holder).count();
    assert_eq!(moves(&loads, &after), had - 1, "and nothing else moves");
}

#[test]
fn during_an_update_shards_go_to_the_newest_build_alone() {
    let mut members =
        vec![member("o1", "old", "a", 1), member("o2", "old", "b", 2), member("n1", "new", "a", 9)];
    let loads: Vec<_> =
        (0..6).map(|it| load(it, 1, Some(["o1", "o2"][usize::from(it % 2)]))).collect();
    assert_eq!(moves(&loads, &plan(&members, &loads)), 0, "nothing is balanced");
    members[0].draining = true;
    let after = plan(&members, &loads);
    let of = sums(&members, &loads, &after, id);
    assert_eq!(of.into_values().collect::<Vec<_>>(), [3, 0, 3], "n1, o1, o2");
    members[2].draining = true;
    let back = plan(&members, &followed(&loads, &after));
    assert!(back.values().all(|it| **it == *"o2"), "nobody else stays");
    members[1].draining = true;
    let kept = plan(&members, &loads);
    assert_eq!(moves(&loads, &kept), 0, "all go: who has it keeps it");
    // An old build replaced one of its own pods meanwhile.
    let mut members = vec![
        member("o1", "old", "a", 1),
        member("n1", "new", "a", 9),
        member("o3", "old", "b", 10),
    ];
    members[0].draining = true;
    assert!(plan(&members, &loads).values().all(|it| **it == *"n1"), "and is the older one still");
}

/// A Deployment that is being updated, as its controllers go about it.
struct Rollout {
    surge: usize,
    old: Vec<Member>,
    new: Vec<Member>,
    /// How many of the new are ready; they come up in their order.
    ready: usize,
    created: usize,
}

const REPLICAS: usize = 3;

impl Rollout {
    /// With maxUnavailable 0: an old one less for each new one that is ready, and as many new ones as the surge allows,
    /// where who is about to go does not count.
    fn scale(&mut self) {
        let staying = |old: &[Member]| old.iter().filter(|it| !it.draining).count();
        let spare = (staying(&self.old) + self.ready).saturating_sub(REPLICAS);
        // Of equals, a ReplicaSet deletes the one that is ready for the shortest time.
        let last = self.old.iter_mut().rev().filter(|it| !it.draining);
        last.take(spare).for_each(|it| it.draining = true);
        self.created = REPLICAS.min(REPLICAS + self.surge - staying(&self.old));
    }

    fn members(&self, alive: usize) -> Vec<Member> {
        self.old.iter().chain(self.new.iter().take(alive)).cloned().collect()
    }
}

/// Follows the plans through a whole update, and counts how often each shard moved. `early`: how many new ones have joined
/// before the first is ready.
fn update(surge: usize, early: usize) -> BTreeMap<ShardId, usize> {
    let names = |build: &'static str, began: i64| {
        (0..3).map(move |it| {
            member(
                &format!("{build}{it}"),
                build,
                ["a", "b", "c"][usize::try_from(it).unwrap()],
                began + it,
            )
        })
    };
    let mut rollout = Rollout {
        surge,
        old: names("old", 0).collect(),
        new: names("new", 100).collect(),
        ready: 0,
        created: 0,
    };
    let mut loads = free(64);
    loads = followed(&loads, &plan(&rollout.old, &loads));
    let mut moved: BTreeMap<ShardId, usize> = loads.iter().map(|it| (it.shard, 0)).collect();
    let mut look = |members: &[Member]| {
        let plan = plan(members, &loads);
        for it in &loads {
            *moved.get_mut(&it.shard).unwrap() +=
                usize::from(it.holder.as_ref() != plan.get(&it.shard));
        }
        loads = followed(&loads, &plan);
    };
    rollout.scale();
    for ready in 1..=REPLICAS {
        let alive = rollout.created.min(ready.max(early));
        assert!(alive >= ready, "only who is alive gets ready");
        look(&rollout.members(alive));
        rollout.ready = ready;
        rollout.scale();
        look(&rollout.members(alive));
        rollout.old.retain(|it| !it.draining); // gone
        look(&rollout.members(alive));
    }
    assert!(rollout.old.is_empty() && rollout.created == REPLICAS, "the update is over");
    look(&rollout.members(REPLICAS));
    moved
}

#[test]
fn each_shard_moves_once_in_an_update() {
    for (surge, what) in [(3, "maxSurge 100 %"), (1, "maxSurge 1")] {
        for early in 1..=3 {
            let moved = update(surge, early);
            let total: usize = moved.values().sum();
            let most = moved.values().max().unwrap();
            println!(
                "{what}, {early} joined before the first was ready: {total} moves of 64 shards, at most {most} each"
            );
            assert!(moved.values().all(|it| *it == 1), "{what}, {early}: {moved:?}");
        }
    }
}

/// Members of up to two builds, and shards in hands of theirs, of others, or of nobody.
fn world(
    builds: usize,
    zones: usize,
    weight: u32,
) -> impl Strategy<Value = (Vec<Member>, Vec<Load>)> {
    let member = (0..builds, 0..zones, 0..100_i64, prop::bool::weighted(0.2));
    let members = prop::collection::vec(member, 1..9).prop_map(|all| {
        let member =
            |(n, (build, zone, began, draining)): (usize, (usize, usize, i64, bool))| Member {
                draining,
                ..self::member(&format!("m{n}"), &format!("b{build}"), &format!("z{zone}"), began)
            };
        all.into_iter().enumerate().map(member).collect::<Vec<_>>()
    });
    let shards =
        prop::collection::vec((1..=weight, prop::option::weighted(0.9, any::<Index>())), 1..80);
    (members, shards).prop_map(|(members, shards)| {
        let load = |(n, (weight, at)): (u16, (u32, Option<Index>))| {
            let at = at.map(|it| it.index(members.len() + 1));
            let holder = at.map(|it| members.get(it).map_or("gone", |it| &*it.id));
            load(n, weight, holder)
        };
        let loads = (0..).zip(shards).map(load).collect();
        (members, loads)
    })
}

proptest! {
    #[test]
    fn every_shard_has_an_owner_and_order_does_not_matter(
        (members, loads) in world(3, 3, 50), seed: u64,
    ) {
        let plan = super::plan(&members, &loads);
        prop_assert_eq!(plan.len(), loads.len(), "somebody is alive, so all are owned");
        let staying: Vec<_> = members.iter().filter(|it| !it.draining).map(|it| &it.id).collect();
        let to_stay = plan.values().all(|it| staying.contains(&it));
        prop_assert!(to_stay || staying.is_empty(), "nobody who goes keeps one");
        let (mut others, mut same) = (members.clone(), loads.clone());
        others.sort_by_key(|it| seed.wrapping_mul(u64::from(it.id.as_bytes()[1])) % 97);
        same.sort_by_key(|it| seed.wrapping_mul(u64::from(it.shard.0) + 1) % 101);
        prop_assert_eq!(&super::plan(&others, &same), &plan, "in another order");
        let again = super::plan(&members, &followed(&loads, &plan));
        prop_assert_eq!(again, plan, "a plan that was followed is the plan");
        prop_assert!(super::plan(&[], &loads).is_empty());
    }

    #[test]
    fn what_has_moved_already_changes_nothing_for_the_rest(
        (zones, shards) in ("[ab]{2,5}", 8..90_u16),
        gone: Index,
        moved: Vec<Index>,
    ) {
        let mut members = crew(&zones);
        let loads = free(shards);
        let before = plan(&members, &loads);
        let loads = followed(&loads, &before);
        let gone = gone.index(members.len());
        members[gone].draining = true;
        let all = plan(&members, &loads);
        let mut now = loads.clone();
        for it in moved {
            let at = it.index(now.len());
            now[at].holder = all.get(&now[at].shard).cloned();
            prop_assert_eq!(&plan(&members, &now), &all);
        }
        // Nor does it for what somebody left behind, as it is taken.
        let mut left: Vec<Load> = loads.clone();
        let leaver = members.remove(gone);
        left.iter_mut().filter(|it| it.holder.as_ref() == Some(&leaver.id)).for_each(|it| it.holder = None);
        prop_assert_eq!(plan(&members, &left), all);
    }

    #[test]
    fn one_build_is_even_with_the_fewest_moves((members, loads) in world(1, 1, 1)) {
        let staying: Vec<_> = members.iter().filter(|it| !it.draining).cloned().collect();
        prop_assume!(!staying.is_empty());
        let plan = super::plan(&members, &loads);
        let of = sums(&staying, &loads, &plan, id);
        prop_assert!(of.values().max().unwrap() - of.values().min().unwrap() <= 1, "{:?}", of);
        // Whoever has most may keep one more, as far as it does not come out even.
        let held = |it: &Member| loads.iter().filter(|load| load.holder.as_ref() == Some(&it.id)).count();
        let mut kept: Vec<_> = staying.iter().map(held).collect();
        kept.sort_by_key(|it| Reverse(*it));
        let (floor, more) = (loads.len() / staying.len(), loads.len() % staying.len());
        let over = kept.iter().zip(0..).map(|(it, n)| it.saturating_sub(floor + usize::from(n < more)));
        let left = |it: &&Load| {
            it.holder.as_ref().is_some_and(|id| !staying.iter().any(|member| member.id == *id))
        };
        let fewest = over.sum::<usize>() + loads.iter().filter(left).count();
        prop_assert_eq!(moves(&loads, &plan), fewest);
    }

    #[test]
    fn weights_are_spread_to_within_the_lightest_shard((members, loads) in world(1, 1, 100)) {
        let staying: Vec<_> = members.iter().filter(|it| !it.draining).cloned().collect();
        prop_assume!(!staying.is_empty());
        let plan = super::plan(&members, &loads);
        let of = sums(&staying, &loads, &plan, id);
        let least = of.values().min().unwrap();
        for (member, sum) in &of {
            let held = loads.iter().filter(|it| *plan[&it.shard] == **member);
            let lightest = held.map(|it| it.weight).min().unwrap_or_default();
            prop_assert!(sum - least <= u64::from(lightest), "{:?}", of);
        }
    }

    #[test]
    fn zones_of_one_size_have_the_same_number((zones, each, shards) in (1..5_usize, 1..4_usize, 1..90_u16), seed: u64) {
        let members: Vec<_> = (0..zones * each)
            .map(|it| member(&format!("m{it}"), "a", &format!("z{}", it % zones), 0))
            .collect();
        let holder = |it: u16| {
            let at = seed.wrapping_mul(u64::from(it) + 1) % 23 % u64::try_from(members.len()).unwrap();
            members[usize::try_from(at).unwrap()].id.clone()
        };
        let loads: Vec<_> = (0..shards).map(|it| load(it, 1, Some(&holder(it)))).collect();
        let plan = super::plan(&members, &loads);
        let most = sums(&members, &loads, &plan, zone).into_values().max().unwrap();
        let share = u64::try_from(usize::from(shards).div_ceil(zones)).unwrap();
        prop_assert!(most <= share, "a zone has {} of {}", most, shards);
        let of = sums(&members, &loads, &plan, id);
        prop_assert!(of.values().max().unwrap() - of.values().min().unwrap() <= 1, "{:?}", of);
    }

    #[test]
    fn an_update_moves_only_what_must_go((members, loads) in world(3, 3, 50)) {
        let builds: BTreeSet<_> = members.iter().map(|it| &it.build).collect();
        prop_assume!(builds.len() > 1);
        let plan = super::plan(&members, &loads);
        for it in &loads {
            let holder = members.iter().find(|member| Some(&member.id) == it.holder.as_ref());
            if holder.is_some_and(|it| !it.draining) {
                prop_assert_eq!(Some(&plan[&it.shard]), it.holder.as_ref(), "who stays keeps it");
            }
        }
    }
}
