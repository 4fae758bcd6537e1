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
        "silent": shards.silent,
        "unowned": numbers(&shards.unowned()),
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
    let waiting = waiting(&shards.map, &shards.owned);
    for (which, words) in [
        (shards.unowned(), "owned by nobody, so nothing happens in their namespaces"),
        (waiting, "not done handing over what this version took from them"),
    ] {
        if !which.is_empty() {
            let _ = writeln!(text, "shards {}: {words}", listed(&which));
        }
    }
    for (pod, lines) in &shards.degraded {
        let _ = writeln!(text, "{pod} is degraded: {}", lines.join("; "));
    }
    for (pod, seconds) in &shards.silent {
        let _ = writeln!(text, "{}", silence(pod, *seconds));
    }
    text
}

/// A hint, since clocks may differ.
pub(super) fn silence(pod: &str, seconds: i64) -> String {
    format!(
        "{pod} has not renewed its session for {seconds} s, by its clock and the API server's: where it is gone, another \
         replica takes what it owns"
    )
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
pub(super) mod tests {
    use k8s_openapi::api::coordination::v1::Lease;

    use super::*;
    use crate::api::v1beta1::{ShardMap, ShardMapSpec};

    /// When all shards were taken, and when that is looked at.
    const TAKEN: i64 = 1000;
    const NOW: i64 = TAKEN + 7199;

    /// `op-a` owns shard 00. Nobody is there whom the Leases of the others name: 01 was given back, the owner of 02 was declared
    /// dead, and that of 03 went with its session. `op-b` has not renewed its own since all were taken.
    pub(in crate::plugin) fn read(map: &Map) -> Shards {
        let lease = |(kind, name, holder): (&str, &str, &str), renewed: i64, notes: Value| {
            let time = |it| Timestamp::from_second(it).unwrap().to_string();
            let mut lease = json!({
                "metadata": {"name": name, "labels": {"gastown.io/lease": kind}, "annotations": notes},
                "spec": {
                    "holderIdentity": holder, "leaseTransitions": 4, "leaseDurationSeconds": 10,
                    "acquireTime": time(TAKEN), "renewTime": time(renewed),
                },
            });
            lease["metadata"]["annotations"]["gastown.io/map-version"] = json!("3");
            serde_json::from_value::<Lease>(lease).unwrap()
        };
        let owner = |name: &str, session: &str| json!({"gastown.io/session": session, "gastown.io/held-by": name});
        let counted = json!({"gastown.io/gaps-ms": "0=131,2=9", "gastown.io/objects": "0=7"});
        let (a, c, gone) = ("gastown-session-a", "gastown-session-c", "gastown-session-gone");
        let leases = [
            lease(("shard", "gastown-shard-00", "op-a_uid_7"), TAKEN, owner("op-a_uid_7", a)),
            lease(
                ("shard", "gastown-shard-01", ""),
                TAKEN,
                json!({"gastown.io/released-by": "op-a_uid_7"}),
            ),
            lease(("shard", "gastown-shard-02", "op-c_uid_1"), TAKEN, owner("op-c_uid_1", c)),
            lease(("shard", "gastown-shard-03", "op-d_uid_1"), TAKEN, owner("op-d_uid_1", gone)),
            lease(("session", a, "op-a_uid_7"), NOW - 12, counted),
            lease(("session", "gastown-session-b", "op-b_uid_9"), TAKEN, json!({})),
            lease(("session", c, ""), TAKEN, json!({"gastown.io/fenced": "op-c_uid_1"})),
        ];
        let object = ShardMap::new("gastown", ShardMapSpec::from(map));
        Shards::of(object, &leases, Timestamp::from_second(NOW).unwrap()).unwrap()
    }

    fn owned(holder: &str, epoch: i32, map: i64) -> Owned {
        Owned { holder: Some(holder.into()), epoch, map, ..Owned::default() }
    }

    #[test]
    fn a_table_says_who_owns_what() {
        let map =
            Map::first(4).split(ShardId(0)).and_then(|it| it.pin("town", ShardId(0))).unwrap();
        let shards = read(&map);
        let counts = [("town".to_owned(), 5), ("default".to_owned(), 2)].into();
        let said: Vec<_> = rows(&map, &shards.owned, None).iter().map(|it| it.objects).collect();
        assert_eq!(said, [Some(7), None, None, None, None], "as its owner counted them");
        let rows = rows(&map, &shards.owned, Some(&counts));
        let lines: Vec<_> = rows.iter().map(|it| it.cells(shards.now).join(" ")).collect();
        let want = [
            "00 op-a 4 119m 0.131s 3 0-127 town 5",
            "01 <none> 4 119m - 3 256-511 - 0",
            "02 <none> 4 119m - 3 512-767 - 0",
            "03 <none> 4 119m - 3 768-1023 - 2",
            "04 <none> - - - - 128-255 - 0",
        ];
        assert_eq!(lines, want, "01 was given back, and nobody is there whom 02 and 03 name");
        let value = rows[0].value();
        assert_eq!((&value["owner"], &value["objects"]), (&json!("op-a_uid_7"), &json!(5)));
        assert_eq!(value["gapSeconds"], json!(0.131));
        assert_eq!(rows[2].value()["owner"], Value::Null);
        let text = shown(&shards, &rows);
        for line in [
            "version 3 of the map, 5 shards, 2 replicas",
            "shards 01, 02, 03, 04: owned by nobody, so nothing happens in their namespaces",
            "op-b has not renewed its session for 7199 s, by its clock and the API server's: where it is gone, another replica takes \
             what it owns",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line}: {text}");
        }
        assert!(
            !text.contains("op-a has not"),
            "a renewal that is a moment late is no news: {text}"
        );
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
