//! `kubectl gt shards`: which replica owns which shard, and changes of the map.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use clap::{Args, Subcommand};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Output, polecat::encode, table};
use crate::{
    cluster::{
        reading::Reader,
        shard_reading::{Owned, Shards},
        shards::pod_of,
    },
    domain::shard::{Map, ShardId, bucket},
};

#[derive(Debug, Args)]
pub struct Asked {
    #[command(subcommand)]
    change: Option<Change>,
    /// Count the Polecats of each shard now, by a list of all; else it is what its owner counted seconds ago
    #[arg(long)]
    objects: bool,
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Asked {
    /// All of them, without counting.
    pub const fn of(output: Output) -> Self {
        Self { change: None, objects: false, output }
    }
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Change {
    /// Give half the buckets of a shard to another that is free
    Split { shard: u16 },
    /// Give everything that a shard has to another, and retire it
    Merge { from: u16, into: u16 },
}

/// Shows the shards, or changes the map; the answer says what was done.
pub async fn run(reader: &Reader, namespace: &str, asked: Asked) -> anyhow::Result<String> {
    let Asked { change, objects, output } = asked;
    let shards = reader.shards(namespace).await?;
    if let Some(change) = change {
        let next = changed(change, &shards.map, &shards.owned).map_err(|it| anyhow::anyhow!(it))?;
        reader.follow(shards, &next).await?;
        return Ok(sentence(&next));
    }
    let counts = if objects { Some(reader.polecats_by_namespace().await?) } else { None };
    let rows = rows(&shards.map, &shards.owned, counts.as_ref());
    if output == Output::Table {
        return Ok(shown(&shards, &rows));
    }
    let whole = json!({
        "version": shards.map.version(),
        "replicas": shards.sessions,
        "degraded": shards.degraded,
        "waitingFor": numbers(&waiting(&shards.map, &shards.owned)),
        "shards": rows.iter().map(Row::value).collect::<Vec<_>>(),
    });
    encode(&whole, output)
}

/// The next version, if who gave in this one is done with it.
fn changed(change: Change, map: &Map, owned: &BTreeMap<ShardId, Owned>) -> Result<Map, String> {
    let waiting = waiting(map, owned);
    if !waiting.is_empty() {
        return Err(format!(
            "version {} of the map has not been acknowledged by the owners of shards {}: their namespaces are still being \
             handed over; try again in a moment, and if it stays so, see who owns them by kubectl gt shards",
            map.version(),
            listed(&waiting)
        ));
    }
    match change {
        Change::Split { shard } => map.split(ShardId(shard)),
        Change::Merge { from, into } => map.merge(ShardId(from), ShardId(into)),
    }
}

/// The shards that gave something away in this version, and whose owner has not said that it is done with it.
fn waiting(map: &Map, owned: &BTreeMap<ShardId, Owned>) -> BTreeSet<ShardId> {
    let said = |it: &ShardId| owned.get(it).is_some_and(|it| it.map >= map.version());
    map.givers().into_iter().filter(|it| !said(it)).collect()
}

fn sentence(next: &Map) -> String {
    let moves = next.moves().iter();
    let moves: Vec<_> =
        moves.map(|it| format!("{} from shard {} to {}", it.what, it.from, it.to)).collect();
    format!(
        "version {} of the map gives {}; no object is written\n",
        next.version(),
        moves.join(", ")
    )
}

/// One shard.
struct Row {
    shard: ShardId,
    /// Without a Lease: nobody has owned it yet.
    owned: Option<Owned>,
    buckets: Vec<String>,
    pins: Vec<String>,
    objects: Option<usize>,
}

fn rows(
    map: &Map,
    owned: &BTreeMap<ShardId, Owned>,
    counts: Option<&BTreeMap<String, usize>>,
) -> Vec<Row> {
    let said = |it: &ShardId| owned.get(it)?.objects?.try_into().ok();
    let row = |(shard, buckets): (&ShardId, &BTreeSet<u16>)| Row {
        shard: *shard,
        owned: owned.get(shard).cloned(),
        buckets: bucket::ranges(buckets),
        pins: map.pinned(*shard).map(Into::into).collect(),
        objects: match counts {
            Some(it) => {
                let of = |(namespace, _): &(&String, _)| map.shard_of(namespace) == Some(*shard);
                Some(it.iter().filter(of).map(|(_, count)| count).sum())
            }
            None => said(shard),
        },
    };
    map.shards().iter().map(row).collect()
}

impl Row {
    fn value(&self) -> Value {
        let owned = self.owned.clone().unwrap_or_default();
        json!({
            "shard": self.shard.0,
            "owner": owned.holder,
            "epoch": owned.epoch,
            "gapSeconds": owned.gap.map(|it| it.as_secs_f64()),
            "since": owned.since.map(|it| it.to_string()),
            "mapVersion": owned.map,
            "buckets": self.buckets,
            "pins": self.pins,
            "objects": self.objects,
            "retired": self.buckets.is_empty(),
        })
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let lease = self.owned.clone().unwrap_or_default();
        let known = |it: String| if self.owned.is_some() { it } else { "-".into() };
        let list = |it: &[String]| if it.is_empty() { "-".into() } else { it.join(",") };
        let retired = self.buckets.is_empty();
        let pod = lease.holder.as_deref().map(pod_of);
        let nobody = if retired { "(retired)" } else { "<none>" };
        vec![
            self.shard.to_string(),
            pod.filter(|_| !retired).unwrap_or(nobody).to_owned(),
            known(lease.epoch.to_string()),
            lease.since.map_or_else(|| "-".into(), |it| age(it, now)),
            lease.gap.map_or_else(|| "-".into(), |it| format!("{:.3}s", it.as_secs_f64())),
            known(lease.map.to_string()),
            list(&self.buckets),
            list(&self.pins),
            self.objects.map_or_else(|| "-".into(), |it| it.to_string()),
        ]
    }
}

fn shown(shards: &Shards, rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(|it| it.cells(shards.now)).collect();
    let header = ["SHARD", "OWNER", "EPOCH", "AGE", "GAP", "MAP", "BUCKETS", "PINS", "OBJECTS"];
    let mut text = table::render(&header, &lines);
    let active = shards.map.active().count();
    let (version, replicas) = (shards.map.version(), shards.sessions);
    let _ = writeln!(text, "\nversion {version} of the map, {active} shards, {replicas} replicas");
    let owned = |it: &ShardId| shards.owned.get(it).is_some_and(|it| it.holder.is_some());
    let unowned: BTreeSet<_> = shards.map.active().filter(|it| !owned(it)).collect();
    let waiting = waiting(&shards.map, &shards.owned);
    for (which, words) in [
        (unowned, "owned by nobody, so nothing happens in their namespaces"),
        (waiting, "not done handing over what this version took from them"),
    ] {
        if !which.is_empty() {
            let _ = writeln!(text, "shards {}: {words}", listed(&which));
        }
    }
    for (pod, lines) in &shards.degraded {
        let _ = writeln!(text, "{pod} is degraded: {}", lines.join("; "));
    }
    text
}

fn listed(shards: &BTreeSet<ShardId>) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn numbers(shards: &BTreeSet<ShardId>) -> Vec<u16> {
    shards.iter().map(|it| it.0).collect()
}

/// As kubectl says it: in the largest unit that fits.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn owned(holder: &str, epoch: i32, map: i64) -> Owned {
        let since = Timestamp::from_second(1000).ok();
        Owned {
            holder: Some(holder.into()).filter(|it: &String| !it.is_empty()),
            epoch,
            since,
            map,
            gap: (epoch > 3).then(|| Duration::from_millis(131)),
            objects: (epoch > 3).then_some(7),
        }
    }

    #[test]
    fn a_table_says_who_owns_what() {
        let map =
            Map::first(2).split(ShardId(0)).and_then(|it| it.pin("town", ShardId(0))).unwrap();
        let all = [(ShardId(0), owned("op-a_uid_7", 4, 3)), (ShardId(1), owned("", 2, 1))].into();
        let counts = [("town".to_owned(), 5), ("default".to_owned(), 2)].into();
        let said: Vec<_> = rows(&map, &all, None).iter().map(|it| it.objects).collect();
        assert_eq!(said, [Some(7), None, None], "as its owner counted them");
        let rows = rows(&map, &all, Some(&counts));
        let now = Timestamp::from_second(1000 + 7199).unwrap();
        let lines: Vec<_> = rows.iter().map(|it| it.cells(now).join(" ")).collect();
        let want = [
            "00 op-a 4 119m 0.131s 3 0-255 town 5",
            "01 <none> 2 119m - 1 512-1023 - 2",
            "02 <none> - - - - 256-511 - 0",
        ];
        assert_eq!(lines, want);
        let value = rows[0].value();
        assert_eq!((&value["owner"], &value["objects"]), (&json!("op-a_uid_7"), &json!(5)));
        assert_eq!(value["gapSeconds"], json!(0.131));
    }

    #[test]
    fn nothing_changes_before_the_last_change_is_acknowledged() {
        let map = Map::first(2).split(ShardId(0)).unwrap();
        let split = Change::Split { shard: 1 };
        let mut all: BTreeMap<_, _> = [(ShardId(0), owned("op-a_uid_7", 4, 1))].into();
        let told = changed(split, &map, &all).unwrap_err();
        assert!(told.contains("version 2") && told.contains("shards 00:"), "{told}");
        assert!(changed(split, &map, &BTreeMap::new()).is_err(), "nor while nobody can say");
        all.insert(ShardId(0), owned("op-a_uid_7", 4, 2));
        let next = changed(split, &map, &all).unwrap();
        let said = sentence(&next);
        assert!(
            said.contains("version 3") && said.contains("buckets 768-1023 from shard 01 to 03"),
            "{said}"
        );
        let merged = changed(Change::Merge { from: 2, into: 0 }, &map, &all).unwrap();
        assert_eq!(merged.active().count(), 2);
    }

    #[test]
    fn ages_are_in_the_largest_unit() {
        let after = |seconds| age(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!(
            [after(-5), after(119), after(120), after(7200), after(172_800)],
            ["0s", "119s", "2m", "2h", "2d"]
        );
    }
}
