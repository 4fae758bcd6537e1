//! A map as it is written in the cluster, and read again.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ShardId, bucket,
    map::{Map, Move, Moved},
};
use crate::api::v1beta1::{Pin, Range, Shard, ShardMapSpec, ShardMove};

impl From<&Map> for ShardMapSpec {
    fn from(map: &Map) -> Self {
        let shard =
            |(id, buckets): (&ShardId, &_)| Shard { id: id.0.into(), buckets: ranges(buckets) };
        let pin = |namespace: &str, shard: ShardId| Pin {
            namespace: namespace.into(),
            shard: shard.0.into(),
        };
        Self {
            version: map.version(),
            shards: map.shards().iter().map(shard).collect(),
            pins: map.pins().iter().map(|(it, shard)| pin(it, *shard)).collect(),
            moves: map.moves().iter().map(ShardMove::from).collect(),
        }
    }
}

impl From<&Move> for ShardMove {
    fn from(Move { what, from, to }: &Move) -> Self {
        let (buckets, namespace) = match what {
            Moved::Buckets(it) => (Some(ranges(it)), None),
            Moved::Namespace(it) => (None, Some(it.to_string())),
        };
        Self { buckets, namespace, from: from.0.into(), to: to.0.into() }
    }
}

/// An error says which part of the spec is wrong, and how to mend it.
impl TryFrom<&ShardMapSpec> for Map {
    type Error = String;

    fn try_from(spec: &ShardMapSpec) -> Result<Self, String> {
        let mut shards = BTreeMap::new();
        for Shard { id, buckets } in &spec.shards {
            if shards.insert(self::id(*id)?, read(buckets)?).is_some() {
                return Err(format!("shard {id} is there twice: leave one"));
            }
        }
        let mut pins = BTreeMap::new();
        for Pin { namespace, shard } in &spec.pins {
            if pins.insert(namespace.as_str().into(), id(*shard)?).is_some() {
                return Err(format!("namespace {namespace} is pinned twice: leave one pin"));
            }
        }
        let moves = spec.moves.iter().map(Move::try_from).collect::<Result<_, _>>()?;
        Self::new(spec.version, shards, pins, moves)
    }
}

impl TryFrom<&ShardMove> for Move {
    type Error = String;

    fn try_from(written: &ShardMove) -> Result<Self, String> {
        let what = match (&written.buckets, written.namespace.as_deref()) {
            (Some(it), None) => Moved::Buckets(read(it)?),
            (None, Some(it)) => Moved::Namespace(it.into()),
            _ => return Err("a move is of buckets or of a namespace: say either".into()),
        };
        Ok(Self { what, from: id(written.from)?, to: id(written.to)? })
    }
}

fn ranges(buckets: &BTreeSet<u16>) -> Vec<Range> {
    bucket::ranges(buckets).into_iter().map(Range).collect()
}

fn read(ranges: &[Range]) -> Result<BTreeSet<u16>, String> {
    let mut all = BTreeSet::new();
    for bucket in bucket::parsed(ranges.iter().map(|it| it.0.as_str()))? {
        if !all.insert(bucket) {
            return Err(format!("bucket {bucket} is there twice: leave one"));
        }
    }
    Ok(all)
}

fn id(written: i32) -> Result<ShardId, String> {
    let id = u16::try_from(written).map(ShardId);
    id.map_err(|_| format!("{written} is no number of a shard: use 0 to {}", bucket::BUCKETS - 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: serde_json::Value) -> Result<Map, String> {
        Map::try_from(&serde_json::from_value::<ShardMapSpec>(spec).unwrap())
    }

    #[test]
    fn a_map_is_written_for_people() {
        let map =
            Map::first(2).split(ShardId(1)).and_then(|it| it.pin("town", ShardId(0))).unwrap();
        let written = serde_json::to_value(ShardMapSpec::from(&map)).unwrap();
        let want = json!({
            "version": 3,
            "shards": [
                {"id": 0, "buckets": ["0-511"]},
                {"id": 1, "buckets": ["512-767"]},
                {"id": 2, "buckets": ["768-1023"]},
            ],
            "pins": [{"namespace": "town", "shard": 0}],
            "moves": [{"namespace": "town", "from": 2, "to": 0}],
        });
        assert_eq!(written, want);
        assert_eq!(read(written), Ok(map));
    }

    #[test]
    fn every_change_is_read_as_it_was_written() {
        let mut map = Map::first(64);
        let mut all = vec![map.clone()];
        for number in 0..20 {
            map = map.split(ShardId(number)).unwrap();
            all.push(map.clone());
            map = map.pin(&format!("town-{number}"), ShardId(number * 3)).unwrap();
            all.push(map.clone());
        }
        map = map.merge(ShardId(3), ShardId(50)).unwrap();
        all.push(map.clone());
        all.push(map.unpin("town-7").unwrap());
        for map in all {
            assert_eq!(Map::try_from(&ShardMapSpec::from(&map)).as_ref(), Ok(&map));
        }
    }

    #[test]
    fn what_can_not_be_read_is_told() {
        let whole = json!([{"id": 0, "buckets": ["0-1023"]}]);
        let with = |key: &str, value: serde_json::Value| {
            let mut spec = json!({"version": 1, "shards": whole});
            spec[key] = value;
            spec
        };
        let twice = json!([{"id": 0, "buckets": ["0-1023"]}, {"id": 0, "buckets": []}]);
        let pins = json!([{"namespace": "town", "shard": 0}, {"namespace": "town", "shard": 0}]);
        #[rustfmt::skip]
        let table = [
            (with("shards", json!([{"id": -1, "buckets": []}])), "-1 is no number of a shard"),
            (with("shards", json!([{"id": 0, "buckets": ["0-20", "7"]}])), "bucket 7 is there twice"),
            (with("shards", json!([{"id": 0, "buckets": ["7-0"]}])), "\"7-0\" is no range"),
            (with("shards", twice), "shard 0 is there twice"),
            (with("pins", pins), "town is pinned twice"),
            (with("moves", json!([{"from": 0, "to": 1}])), "say either"),
            (with("moves", json!([{"from": 0, "to": 1, "buckets": ["1"], "namespace": "town"}])), "say either"),
            (with("moves", json!([{"from": 0, "to": 99999, "buckets": ["1"]}])), "99999 is no number"),
        ];
        for (spec, want) in table {
            let told = read(spec).expect_err(want);
            assert!(told.contains(want), "{told}");
        }
    }
}
