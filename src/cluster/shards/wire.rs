//! Session and shard Leases as they stand in the API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kube::core::ObjectMeta;

use crate::{
    cluster::{leases, now},
    domain::{
        conditions::cut,
        lease::{Identity, Mark, Record, Times},
        shard::{
            ShardId, bucket,
            seen::{Says, Session, Shard},
        },
    },
};

/// Label by which our Leases are watched, and its values.
pub const KIND: &str = "gastown.io/lease";
pub const SESSION: &str = "session";
pub const SHARD: &str = "shard";

/// The name of the one map.
pub const MAP: &str = "gastown";

const PREFIX: &str = "gastown-shard-";
const BUILD: &str = "gastown.io/build";
const ZONE: &str = "topology.kubernetes.io/zone";
const DRAINING: &str = "gastown.io/draining";
const MAP_VERSION: &str = "gastown.io/map-version";
const WARM: &str = "gastown.io/warm-shards";
const HOLDS: &str = "gastown.io/held-shards";
const FENCED: &str = "gastown.io/fenced";
const OF_SESSION: &str = "gastown.io/session";
const HELD_BY: &str = "gastown.io/held-by";
const RELEASED: &str = "gastown.io/released-by";
const WANTED: &str = "gastown.io/released-for";
const DRAINED: &str = "gastown.io/drained-ms";
const GAPS: &str = "gastown.io/gaps-ms";
const OBJECTS: &str = "gastown.io/objects";
const DEGRADED: &str = "gastown.io/degraded";
/// Most bytes of what a session says to be degraded.
const MOST_DEGRADED: usize = 2048;

/// The pod in the name of a session: what follows it tells processes apart.
pub fn pod_of(session: &str) -> &str {
    session.split('_').next().unwrap_or_default()
}

/// The name of a shard's Lease.
pub fn shard_name(shard: ShardId) -> String {
    format!("{PREFIX}{shard}")
}

/// The shard of a Lease of this name.
pub fn shard_of(name: &str) -> Option<ShardId> {
    let id = ShardId(name.strip_prefix(PREFIX)?.parse().ok()?);
    (shard_name(id) == name).then_some(id)
}

/// The name of a replica's session Lease: one for each pod, or for each process where there is no pod.
pub fn session_name(me: &Identity) -> String {
    let unique = if me.pod_uid.is_empty() { &me.nonce } else { &me.pod_uid };
    let fine = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let unique: String = unique.to_lowercase().chars().filter(|it| fine(*it)).take(63).collect();
    format!("gastown-session-{}", unique.trim_matches('-'))
}

/// What a Lease of ours is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ours {
    Session(Session),
    Shard(ShardId, Shard),
}

/// Reads a Lease; `None`: it is none of ours.
pub fn read(lease: &Lease) -> Option<Ours> {
    let name = lease.metadata.name.as_deref()?;
    let kind = lease.metadata.labels.as_ref()?.get(KIND)?;
    match (kind.as_str(), shard_of(name)) {
        (SESSION, _) => Some(Ours::Session(session(lease))),
        (SHARD, Some(id)) => Some(Ours::Shard(id, shard(lease))),
        _ => None,
    }
}

pub fn session(lease: &Lease) -> Session {
    let note = |key: &str| note(lease, key);
    let made = lease.metadata.creation_timestamp.as_ref();
    Session {
        record: leases::record(lease),
        fenced: note(FENCED).map(Into::into),
        objects: numbered(note(OBJECTS)),
        began: made.map_or(0, |it| it.0.as_second()),
        says: Says {
            build: note(BUILD).unwrap_or_default().into(),
            zone: note(ZONE).unwrap_or_default().into(),
            draining: note(DRAINING) == Some("true"),
            map: number(note(MAP_VERSION)),
            warm: ranges(note(WARM).unwrap_or_default()),
            holds: ranges(note(HOLDS).unwrap_or_default()),
        },
    }
}

pub fn shard(lease: &Lease) -> Shard {
    let record = leases::record(lease);
    let note = |key: &str| note(lease, key);
    let holder = record.holder.as_deref().unwrap_or_default();
    let released = holder.is_empty() && note(RELEASED).is_some();
    Shard {
        session: note(OF_SESSION).unwrap_or_default().into(),
        map: number(note(MAP_VERSION)),
        released,
        edited: !released && note(HELD_BY) != Some(holder),
        released_by: note(RELEASED).map(Into::into),
        drained: Duration::from_millis(number(note(DRAINED)).try_into().unwrap_or_default()),
        wanted: note(WANTED).map(Into::into),
        record,
    }
}

fn note<'a>(lease: &'a Lease, key: &str) -> Option<&'a str> {
    let all = lease.metadata.annotations.as_ref()?;
    all.get(key).map(String::as_str).filter(|it| !it.is_empty())
}

fn number(text: Option<&str>) -> i64 {
    text.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Who writes a session Lease, and what with.
#[derive(Clone, Debug)]
pub struct Writer {
    pub me: Identity,
    pub times: Times,
    /// The session's Lease goes with our pod: only where that is a pod of this cluster, or the garbage collector would take
    /// the Lease of a living session.
    pub owned: bool,
    /// How long each shard of ours was without an owner before. Nothing waits for it to be read.
    pub gaps: BTreeMap<ShardId, Duration>,
    /// Polecats in each shard of ours. As before.
    pub objects: BTreeMap<ShardId, u32>,
    /// What is degraded here, a line each. As before.
    pub degraded: Vec<String>,
    /// Since when each shard of ours is ours, as its Lease says.
    pub since: BTreeMap<ShardId, MicroTime>,
}

impl Writer {
    /// Of one who has nothing to say yet.
    pub fn new(me: Identity, times: Times) -> Self {
        let (gaps, objects, since) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { me, times, owned: false, gaps, objects, degraded: Vec::new(), since }
    }

    /// The session Lease of this replica.
    pub fn session(&self, over: Option<&Record>, holder: &str, mark: Mark, says: &Says) -> Lease {
        let mut notes = BTreeMap::from([
            (leases::MARK, mark.to_string()),
            (BUILD, says.build.to_string()),
            (ZONE, says.zone.to_string()),
            (MAP_VERSION, says.map.to_string()),
            (WARM, text(&says.warm)),
            (HOLDS, text(&says.holds)),
            (GAPS, numbers(self.gaps.iter().map(|(shard, it)| (*shard, it.as_millis())))),
            (OBJECTS, numbers(self.objects.iter().map(|(shard, it)| (*shard, *it)))),
        ]);
        if says.draining {
            notes.insert(DRAINING, "true".into());
        }
        if !self.degraded.is_empty() {
            notes.insert(DEGRADED, cut(&self.degraded.join("\n"), MOST_DEGRADED).to_owned());
        }
        let mut lease = self.lease(&session_name(&self.me), SESSION, over, holder, mark, notes);
        if self.owned {
            let owner = OwnerReference {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name: self.me.pod.clone(),
                uid: self.me.pod_uid.clone(),
                ..OwnerReference::default()
            };
            lease.metadata.owner_references = Some(vec![owner]);
        }
        lease
    }

    /// A session Lease by which its session is declared dead.
    pub fn fenced(&self, name: &str, over: &Session, mark: Mark) -> Lease {
        let notes =
            BTreeMap::from([(leases::MARK, mark.to_string()), (FENCED, over.holder().to_owned())]);
        self.lease(name, SESSION, Some(&over.record), "", mark, notes)
    }

    /// The Lease of a shard that we own: since now, if it is not known since when.
    pub fn held(
        &self,
        id: ShardId,
        over: Option<&Record>,
        holder: &str,
        mark: Mark,
        map: i64,
    ) -> Lease {
        let notes = BTreeMap::from([
            (leases::MARK, mark.to_string()),
            (MAP_VERSION, map.to_string()),
            (OF_SESSION, session_name(&self.me)),
            (HELD_BY, holder.to_owned()),
        ]);
        let mut lease = self.lease(&shard_name(id), SHARD, over, holder, mark, notes);
        if let (Some(spec), Some(since)) = (&mut lease.spec, self.since.get(&id)) {
            spec.acquire_time = Some(since.clone());
        }
        lease
    }

    /// Notes in a Lease that gives a shard back how long no work had begun in it.
    pub fn drained(lease: &mut Lease, drained: Duration) {
        let notes = lease.metadata.annotations.get_or_insert_default();
        notes.insert(DRAINED.into(), drained.as_millis().to_string());
    }

    /// The Lease of a shard that we give back.
    pub fn released(
        &self,
        id: ShardId,
        over: &Record,
        to: Option<&str>,
        mark: Mark,
        map: i64,
    ) -> Lease {
        let by = over.holder.clone().unwrap_or_default();
        let mut notes = BTreeMap::from([
            (leases::MARK, mark.to_string()),
            (MAP_VERSION, map.to_string()),
            (RELEASED, by),
        ]);
        notes.extend(to.map(|it| (WANTED, it.to_owned())));
        self.lease(&shard_name(id), SHARD, Some(over), "", mark, notes)
    }

    /// For how many seconds others have to wait for us: they may wait for longer, and not for less.
    const fn published(&self) -> u64 {
        self.times.wait.as_secs() + if self.times.wait.subsec_nanos() > 0 { 1 } else { 0 }
    }

    fn lease(
        &self,
        name: &str,
        kind: &str,
        over: Option<&Record>,
        holder: &str,
        mark: Mark,
        notes: BTreeMap<&str, String>,
    ) -> Lease {
        let labels = [("app.kubernetes.io/name", "gastown-operator"), (KIND, kind)];
        let now = MicroTime(now());
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                uid: over.map(|it| it.uid.clone()),
                resource_version: over.map(|it| it.resource_version.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some(
                    notes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: i32::try_from(self.published()).ok(),
                lease_transitions: Some(mark.epoch),
                acquire_time: (kind == SHARD).then(|| now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Shards as `0-20,33`.
pub fn text(shards: &BTreeSet<ShardId>) -> String {
    bucket::ranges(&shards.iter().map(|it| it.0).collect()).join(",")
}

/// Reads what [`text`] wrote; what is none of it counts for nothing.
pub fn ranges(text: &str) -> BTreeSet<ShardId> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.split(',').filter_map(range).flatten().map(ShardId).collect()
}

/// A number for each shard, such as `7=130,12=98`.
fn numbers<T: ToString>(all: impl Iterator<Item = (ShardId, T)>) -> String {
    let one = |(shard, number): (ShardId, T)| format!("{}={}", shard.0, number.to_string());
    all.map(one).collect::<Vec<_>>().join(",")
}

/// Reads what [`numbers`] wrote; what is none of it counts for nothing.
fn numbered<T: FromStr>(text: Option<&str>) -> BTreeMap<ShardId, T> {
    let one = |part: &str| {
        let (shard, number) = part.split_once('=')?;
        Some((ShardId(shard.parse().ok()?), number.parse().ok()?))
    };
    text.unwrap_or_default().split(',').filter_map(one).collect()
}

/// How long each shard of a session was without an owner before that took it.
pub fn gaps(session: &Lease) -> BTreeMap<ShardId, Duration> {
    let all = numbered(note(session, GAPS)).into_iter();
    all.map(|(shard, it)| (shard, Duration::from_millis(it))).collect()
}

/// What is degraded in the replica of a session, a line each.
pub fn degraded(session: &Lease) -> Vec<String> {
    note(session, DEGRADED).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        let me = Identity { pod: "op-0".into(), pod_uid: "1-2".into(), nonce: "n".into() };
        Writer {
            me,
            times: Times::DEFAULT,
            owned: true,
            gaps: BTreeMap::new(),
            objects: [(ShardId(9), 5)].into(),
            degraded: vec!["a B: c".into(), "d E: f".into()],
            since: BTreeMap::new(),
        }
    }

    fn ids(all: impl IntoIterator<Item = u16>) -> BTreeSet<ShardId> {
        all.into_iter().map(ShardId).collect()
    }

    #[test]
    fn shards_are_written_as_ranges() {
        let table = [
            (ids([]), "", "none"),
            (ids([7]), "7", "one"),
            (ids([0, 1, 2, 5, 6, 63]), "0-2,5-6,63", "several"),
            (ids([u16::MAX - 1, u16::MAX]), "65534-65535", "the last ones"),
        ];
        for (shards, want, because) in table {
            assert_eq!(text(&shards), want, "{because}");
            assert_eq!(ranges(want), shards, "{because}");
        }
        assert_eq!(ranges("x,3-,9-8,4"), ids([4]), "garbage counts for nothing");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let says = Says {
            build: "5d9c".into(),
            zone: "b".into(),
            draining: true,
            map: 3,
            warm: ids([1, 2]),
            holds: ids([9]),
        };
        let mark = Mark { epoch: 0, number: 4 };
        let lease = writer().session(None, "op-0_1-2_n", mark, &says);
        assert_eq!(degraded(&lease), ["a B: c", "d E: f"]);
        let owners = lease.metadata.owner_references.as_deref().unwrap();
        let [OwnerReference { kind, name, uid, .. }] = owners else { panic!("{owners:?}") };
        assert_eq!([kind, name, uid], ["Pod", "op-0", "1-2"], "it goes with its pod");
        let Some(Ours::Session(read)) = read(&lease) else { panic!("{lease:?}") };
        assert_eq!((read.says, read.record.mark), (says, Some(mark)));
        assert_eq!(read.fenced, None);
        assert_eq!(read.record.wait, Times::DEFAULT.wait);
        assert_eq!(read.objects, [(ShardId(9), 5)].into());
    }

    /// Or its age would be that of the map.
    #[test]
    fn a_shard_that_acknowledges_a_map_is_ours_since_it_was_taken() {
        let (id, mark) = (ShardId(7), Mark { epoch: 5, number: 2 });
        let mut writer = writer();
        let acquired = |it: Lease| it.spec.unwrap().acquire_time.unwrap();
        let taken = MicroTime("2026-01-02T03:04:05Z".parse().unwrap());
        writer.since.insert(id, taken.clone());
        assert_eq!(acquired(writer.held(id, None, "op-0_1-2_n", mark, 4)), taken);
        let other = acquired(writer.held(ShardId(8), None, "op-0_1-2_n", mark, 4));
        assert!(other > taken, "the other one is taken now");
    }

    #[test]
    fn others_are_asked_to_wait_for_no_less_than_we_would() {
        let published = |wait: Duration, edit: fn(&mut Option<i32>)| {
            let times = Times { wait, ..Times::DEFAULT };
            let mark = Mark { epoch: 0, number: 1 };
            let mut lease =
                Writer { times, ..writer() }.session(None, "op", mark, &Says::default());
            edit(&mut lease.spec.as_mut().unwrap().lease_duration_seconds);
            session(&lease).record.wait
        };
        let second = Duration::from_secs(1);
        assert_eq!(published(second * 5 / 2, |_| {}), second * 3, "a Lease has whole seconds");
        assert_eq!(published(second * 5, |it| *it = None), Duration::ZERO, "as others write them");
        assert_eq!(published(second * 5, |it| *it = Some(-1)), Duration::ZERO);
        let longest = published(second * 5, |it| *it = Some(i32::MAX));
        assert_eq!(longest, Times::LONGEST, "nobody is waited for for ever");
    }

    #[test]
    fn only_our_own_write_gives_a_shard_back() {
        let (id, mark) = (ShardId(7), Mark { epoch: 5, number: 2 });
        let held = writer().held(id, None, "op-0_1-2_n", mark, 3);
        let record = leases::record(&held);
        let back = writer().released(id, &record, Some("op-1"), mark, 3);
        let Some(Ours::Shard(read_id, read_back)) = read(&back) else { panic!("{back:?}") };
        assert_eq!(read_id, id);
        assert!(read_back.released && read_back.wanted.as_deref() == Some("op-1"));
        let mut edited = held;
        edited.spec.as_mut().unwrap().holder_identity = None;
        let edited = shard(&edited);
        assert!(!edited.released && edited.edited, "somebody emptied it by hand");
    }

    #[test]
    fn names_lead_back_to_shards() {
        for id in [0, 7, 63, 1023] {
            assert_eq!(shard_of(&shard_name(ShardId(id))), Some(ShardId(id)));
        }
        for name in ["gastown-shard-", "gastown-shard-7x", "gastown-shard-007", "gastown-operator"]
        {
            assert_eq!(shard_of(name), None, "{name}");
        }
    }
}
