use proptest::prelude::*;

use super::*;

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);

fn buckets(map: &Map, shard: ShardId) -> String {
    bucket::ranges(&map.shards()[&shard]).join(", ")
}

#[test]
fn the_first_map_is_even() {
    let map = Map::first(64);
    assert_eq!(map.version(), 1);
    assert_eq!(map.active().count(), 64);
    assert!(map.shards().values().all(|it| it.len() == 16), "{map:?}");
    assert_eq!(buckets(&map, ShardId(63)), "1008-1023");
    for odd in [0, 1, 3, 100, 1024, u16::MAX] {
        let map = Map::first(odd);
        let sizes: BTreeSet<_> = map.shards().values().map(BTreeSet::len).collect();
        assert!(sizes.last().unwrap() - sizes.first().unwrap() <= 1, "{odd} shards: {sizes:?}");
        let same = Map::new(1, map.shards.clone(), BTreeMap::new(), Vec::new());
        assert_eq!(same.as_ref(), Ok(&map), "{odd} shards are a whole map");
    }
}

#[test]
fn a_split_moves_half_to_a_shard_that_is_free() {
    let map = Map::first(2).split(A).unwrap();
    assert_eq!((map.version(), buckets(&map, A)), (2, "0-255".into()));
    assert_eq!(buckets(&map, ShardId(2)), "256-511", "to a new shard");
    assert_eq!((map.givers(), map.givers_to(ShardId(2))), ([A].into(), [A].into()));
    assert!(map.givers_to(B).is_empty(), "which has nothing to wait for");
    let merged = map.merge(B, A).unwrap();
    assert_eq!(buckets(&merged, A), "0-255, 512-1023");
    assert!(merged.active().all(|it| it != B), "shard 01 is retired");
    let again = merged.split(A).unwrap();
    assert!(again.active().any(|it| it == B), "and then used again: {again:?}");
    assert_eq!(again.shards().len(), 3, "so numbers do not grow for ever");
}

#[test]
fn pins_follow_their_shard_and_moves_name_the_giver() {
    let first = Map::first(2);
    let home = first.shard_of("town").unwrap();
    let away = if home == A { B } else { A };
    let pinned = first.pin("town", away).unwrap();
    let moved = |from, to| Move { what: Moved::Namespace("town".into()), from, to };
    assert_eq!(pinned.moves(), [moved(home, away)]);
    assert_eq!(pinned.pinned(away).collect::<Vec<_>>(), ["town"]);

    let merged = pinned.merge(away, home).unwrap();
    assert!(merged.moves().contains(&moved(away, home)), "{merged:?}");
    assert_eq!(merged.pins()["town"], home, "no pin is left on a retired shard");
    assert!(merged.unpin("town").unwrap().moves().is_empty(), "it is there already");

    let back = pinned.unpin("town").unwrap();
    assert_eq!((back.shard_of("town"), back.moves()), (Some(home), &[moved(away, home)][..]));
    let stays = first.pin("town", home).unwrap();
    assert!(stays.moves().is_empty(), "and is bound to stay when its bucket goes elsewhere");
}

#[test]
fn a_map_that_was_put_back_is_told_from_the_next_one() {
    let first = Map::first(4);
    let (split, merged) =
        (first.split(ShardId(0)).unwrap(), first.merge(ShardId(0), ShardId(1)).unwrap());
    let table = [
        (&split, &split, "", "the same, as whoever had deleted it finds it again"),
        (&split, &first, "", "the next"),
        (
            &first,
            &split,
            "version 2 of the map, and an older one was put in its place, 1",
            "a copy",
        ),
        (&merged, &split, "another of that version", "made from a copy"),
    ];
    for (stored, known, want, because) in table {
        let told = stored.displaces(known).unwrap_or_default();
        assert!(told.contains(want) && told.is_empty() == want.is_empty(), "{because}: {told}");
    }
}

#[test]
fn what_can_not_be_done_is_told() {
    let map = Map::first(2);
    let retired = map.merge(B, A).unwrap();
    let full = (0..50).fold(map.clone(), |it, n| it.pin(&format!("n{n}"), A).unwrap());
    #[rustfmt::skip]
    let table = [
        (map.split(ShardId(7)), "shard 07 is not in the map: use one of 00, 01"),
        (retired.split(B), "shard 01 is retired: use one of 00"),
        (Map::first(1024).split(A), "can't be split: pin namespaces"),
        (map.merge(A, A), "into itself"),
        (retired.merge(B, A), "shard 01 is retired"),
        (retired.pin("town", B), "shard 01 is retired"),
        (map.unpin("town"), "namespace town is not pinned"),
        (map.pin("town", A).and_then(|it| it.pin("town", A)), "already"),
        (full.pin("town", A), "unpin some, 50 may be"),
    ];
    for (done, want) in table {
        let told = done.expect_err(want);
        assert!(told.contains(want), "{told}");
    }
}

#[test]
fn a_map_that_is_not_whole_is_refused() {
    let Map { shards, .. } = Map::first(2);
    let with = |change: fn(&mut BTreeMap<ShardId, BTreeSet<u16>>)| {
        let mut shards = shards.clone();
        change(&mut shards);
        shards
    };
    let moves = |what| vec![Move { what, from: A, to: B }];
    let none = BTreeMap::new;
    #[rustfmt::skip]
    let table = [
        (Map::new(0, shards.clone(), none(), vec![]), "version 0"),
        (Map::new(1, BTreeMap::new(), none(), vec![]), "no shard has buckets 0-1023"),
        (Map::new(1, with(|it| { it.remove(&A); }), none(), vec![]), "no shard has buckets 0-511"),
        (Map::new(1, with(|it| { it.entry(A).or_default().insert(600); }), none(), vec![]), "bucket 600 is in shards 00 and 01"),
        (Map::new(1, with(|it| { it.entry(A).or_default().insert(1024); }), none(), vec![]), "bucket 1024 of shard 00"),
        (Map::new(1, with(|it| { it.insert(ShardId(1024), [].into()); }), none(), vec![]), "shard 1024 has too high"),
        (Map::new(1, shards.clone(), [("town".into(), ShardId(9))].into(), vec![]), "namespace town is pinned, but shard 09 is not"),
        (Map::new(1, shards.clone(), none(), moves(Moved::Buckets([3].into()))), "buckets 3 went from shard 00 to 01"),
        (Map::new(1, shards.clone(), [("town".into(), A)].into(), moves(Moved::Namespace("town".into()))), "namespace town went"),
    ];
    for (made, want) in table {
        let told = made.expect_err(want);
        assert!(told.contains(want), "{told}");
    }
}

#[test]
fn an_edit_that_hides_what_it_moves_is_refused() {
    let old = Map::first(2).pin("town", A).unwrap();
    let next = old.split(A).unwrap();
    assert_eq!(next.follows(&old), Ok(()));
    let edited = |version, pins: &BTreeMap<_, _>, moves| {
        Map::new(version, next.shards.clone(), pins.clone(), moves).unwrap().follows(&old)
    };
    let moves = || next.moves.clone();
    let half = Moved::Buckets((256..300).collect());
    let some = vec![Move { what: half, from: A, to: ShardId(2) }];
    let home = next.unpin("town").unwrap().shard_of("town").unwrap();
    let unsaid = if home == A { "more than went" } else { "lacks that namespace town" };
    let pins = old.pins.clone();
    #[rustfmt::skip]
    let table = [
        (edited(4, &pins, moves()), "version 4 does not follow 2"),
        (edited(2, &pins, moves()), "version 2 does not follow 2"),
        (edited(3, &pins, vec![]), "lacks that bucket 256 went from shard 00 to 02"),
        (edited(3, &pins, some), "lacks that bucket 300 went"),
        (edited(3, &BTreeMap::new(), moves()), unsaid),
        (next.follows(&Map::first(2)), "version 3 does not follow 1"),
        (Map::new(3, old.shards.clone(), pins.clone(), vec![Move { what: Moved::Namespace("town".into()), from: B, to: A }]).unwrap().follows(&old), "more than went"),
    ];
    for (checked, want) in table {
        let told = checked.expect_err(want);
        assert!(told.contains(want), "{told}");
    }
}

/// What somebody does to a map.
#[derive(Clone, Debug)]
enum Change {
    Split(u16),
    Merge(u16, u16),
    Pin(u8, u16),
    Unpin(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let shard = || 0..12_u16;
    let one = prop_oneof![
        shard().prop_map(Change::Split),
        (shard(), shard()).prop_map(|(from, into)| Change::Merge(from, into)),
        (0..40_u8, shard()).prop_map(|(name, shard)| Change::Pin(name, shard)),
        (0..40_u8).prop_map(Change::Unpin),
    ];
    prop::collection::vec(one, 0..30)
}

fn name(number: u8) -> String {
    format!("rig-{number}")
}

proptest! {
    #[test]
    fn no_change_loses_a_namespace_and_moves_say_all_that_went(changes in changes()) {
        let mut map = Map::first(4);
        for change in changes {
            let next = match &change {
                Change::Split(it) => map.split(ShardId(*it)),
                Change::Merge(from, into) => map.merge(ShardId(*from), ShardId(*into)),
                Change::Pin(it, shard) => map.pin(&name(*it), ShardId(*shard)),
                Change::Unpin(it) => map.unpin(&name(*it)),
            };
            let Ok(next) = next else { continue };
            prop_assert_eq!(next.version(), map.version() + 1);
            prop_assert_eq!(next.follows(&map), Ok(()));
            let active: BTreeSet<_> = next.active().collect();
            for name in (0..80).map(name) {
                let (was, is) = (map.shard_of(&name).unwrap(), next.shard_of(&name).unwrap());
                prop_assert!(active.contains(&is), "{} is in a shard that somebody owns", name);
                let told = next.moves().iter().filter(|it| match &it.what {
                    Moved::Namespace(it) => **it == *name,
                    Moved::Buckets(it) => {
                        it.contains(&bucket::of(&name)) && !next.pins().contains_key(&*name)
                    }
                });
                let told: Vec<_> = told.map(|it| (it.from, it.to)).collect();
                let want = if was == is { vec![] } else { vec![(was, is)] };
                prop_assert_eq!(told, want, "{} after {:?}", name, change);
            }
            map = next;
        }
    }
}

#[test]
fn what_a_move_took_is_told_by_bucket_or_by_name() {
    let (from, to) = (ShardId(0), ShardId(1));
    let buckets = BTreeSet::from([bucket::of("rig-1")]);
    let by_bucket = Move { what: Moved::Buckets(buckets), from, to };
    let by_name = Move { what: Moved::Namespace("rig-2".into()), from, to };
    assert!(by_bucket.takes("rig-1") && by_name.takes("rig-2"));
    assert!(!by_bucket.takes("rig-2") && !by_name.takes("rig-1"));
}
