//! What is told of this replica's shards: metrics, an Event where they changed hands, and the report behind the endpoint of
//! shard-readiness. Nothing waits for any of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::{Api, Resource as _, ResourceExt as _, api::PostParams};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    act::Done,
    door::LIMIT,
    keeper::Keeper,
    parts::{Change, Town},
    wire::MAP,
    wire::pod_of,
};
use crate::{
    api::v1beta1::ShardMap,
    cluster::{
        clock::Moment,
        degraded::{Matter, Troubles, Why},
        live,
        meters::{self, Meters},
        report,
    },
    domain::{
        plan::Notice,
        shard::{
            Map, ShardId,
            seen::{Left, Vacancy},
            vacant::Vacant,
        },
    },
};

/// What is degraded for this long is told of by an Event: what is mended at once is worth none.
const LASTS: Duration = Duration::from_secs(5);
/// What changes hands within this time is told of by one Event.
const TOGETHER: Duration = Duration::from_secs(1);

/// What this replica says of its shards, for whoever asks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Until when its session lets it act.
    #[serde(skip)]
    pub until: Option<Moment>,
    /// Version of the map that it acts by; 0: it has none yet.
    pub map_version: i64,
    /// Shards that it works in.
    pub open: Vec<u16>,
    /// Shards that are its own, and in which work has not begun.
    pub opening: Vec<u16>,
    /// Shards that nobody owns, as it sees it.
    pub unowned: Vec<u16>,
}

impl Report {
    /// Whether its session lets it act.
    pub fn is_valid(&self) -> bool {
        self.until.is_some_and(|it| it > Moment::now())
    }

    /// Whether all work that is its own is under way, and no shard is without an owner.
    pub fn is_ready(&self) -> bool {
        let all = self.opening.is_empty() && self.unowned.is_empty();
        self.is_valid() && self.map_version > 0 && all
    }
}

/// A shard that this replica works in from now on, and what was before.
#[derive(Clone, Debug)]
pub struct Taken {
    pub shard: ShardId,
    pub epoch: i32,
    pub gap: Duration,
    pub vacancy: Vacancy,
}

/// Those who are told.
pub struct Told {
    events: Api<Event>,
    report: watch::Sender<Report>,
    /// The map's uid and namespace.
    map: ObjectReference,
    taken: Vec<Taken>,
    /// When the first of them was.
    since: Duration,
    epochs: BTreeMap<ShardId, i32>,
    degraded: Standing,
    vacant: Vacant,
}

/// What is degraded and why, since when, and whether there was an Event.
type Standing = BTreeMap<(Matter, &'static str), (Duration, bool)>;

impl Told {
    pub fn new(client: &kube::Client, namespace: &str, report: watch::Sender<Report>) -> Self {
        let events = Api::namespaced(client.clone(), namespace);
        Self {
            events,
            report,
            map: ObjectReference::default(),
            taken: Vec::new(),
            since: Duration::ZERO,
            epochs: BTreeMap::new(),
            degraded: Standing::new(),
            vacant: Vacant::default(),
        }
    }

    /// The map that Events are about.
    pub fn about(&mut self, map: &ShardMap) {
        self.map = ObjectReference {
            api_version: Some(ShardMap::api_version(&()).into_owned()),
            kind: Some(ShardMap::kind(&()).into_owned()),
            name: Some(MAP.into()),
            namespace: map.namespace(),
            uid: map.uid(),
            ..ObjectReference::default()
        };
    }
}

impl Keeper {
    /// Takes note that work begins in a shard; how it came here, where it was somebody else's.
    pub(super) fn begins(
        &mut self,
        shard: ShardId,
        epoch: i32,
        vacancy: Option<Vacancy>,
        now: Duration,
    ) -> Option<Change> {
        let gap = vacancy.as_ref().map(|it| now.saturating_sub(it.since));
        {
            let span =
                live::begun(handed_over(&self.own.holder, shard, vacancy.as_ref(), gap), None);
            let _within = span.entered();
            tracing::info!(%shard, epoch, "Shard owned");
        }
        let (vacancy, gap) = vacancy.zip(gap)?;
        let label = meters::Gap { cause: cause(vacancy.how) };
        self.meters.gaps.get_or_create(&label).observe(gap.as_secs_f64());
        self.session.writer.gaps.insert(shard, gap);
        if self.told.taken.is_empty() {
            self.told.since = now;
        }
        let from = vacancy.by.as_deref().map(|it| pod_of(it).to_owned());
        let change = Change { from, left: cause(vacancy.how), epoch, gap };
        self.told.taken.push(Taken { shard, epoch, gap, vacancy });
        Some(change)
    }

    /// Tells what there is to tell.
    pub(super) fn tell(&mut self, map: &Map, now: Duration) {
        let nobodys: BTreeSet<_> = map.active().filter(|it| !self.has_owner(*it, now)).collect();
        self.measure(map, &nobodys);
        self.tell_town(map, nobodys, now);
        for notice in lasting(&mut self.told.degraded, &self.degraded.news().borrow(), now) {
            self.write(&notice, "Warning");
        }
        let together = self.taking.is_empty() && self.opening.is_empty();
        if self.told.taken.is_empty() || (!together && now < self.told.since + TOGETHER) {
            return;
        }
        let taken = std::mem::take(&mut self.told.taken);
        for (notice, type_) in notices(&self.settings.me.pod, &taken) {
            self.write(&notice, type_);
        }
    }

    /// An Event about the map. What other replicas say in the same words is the same one.
    fn write(&self, notice: &Notice, type_: &str) {
        let event = report::event(self.told.map.clone(), type_, notice);
        let (events, writer) = (self.told.events.clone(), self.writer.clone());
        self.ops.push(Box::pin(async move {
            let params = PostParams::default();
            let write = writer.create(&events, &params, &event);
            let written = tokio::time::timeout(LIMIT, write).await;
            match written {
                Ok(Err(kube::Error::Api(it))) if it.code == 409 => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "An Event about the map was not written");
                }
                Ok(Ok(_)) | Err(_) => {}
            }
            Done::Told
        }));
    }

    /// Whether somebody who is alive owns a shard, as far as can be seen.
    fn has_owner(&self, shard: ShardId, now: Duration) -> bool {
        self.own.held.contains_key(&shard) || self.view.has_owner(shard, now, &self.settings.times)
    }

    /// What the housekeeper goes by, where it is news.
    fn tell_town(&mut self, map: &Map, nobodys: BTreeSet<ShardId>, now: Duration) {
        // Who does not reach the API server, or has yet to hear of all, sees owners where there are none, and the other way round.
        let seen = (self.listed && self.own.valid).then_some(nobodys);
        let unowned = self.told.vacant.note(seen, now).cloned();
        let town = Town {
            map: self.map.clone(),
            object: self.object.clone().filter(|it| it.spec.version == map.version()),
            acknowledged: self.listed && self.held_back.is_empty(),
            objects: self.view.objects(),
            unowned,
        };
        self.town.send_if_modified(|it| {
            let news = *it != town;
            *it = town;
            news
        });
    }

    fn measure(&mut self, map: &Map, nobodys: &BTreeSet<ShardId>) {
        let open = self.ownership.open_shards();
        self.meters.owned.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        self.meters.unowned.set(i64::try_from(nobodys.len()).unwrap_or(i64::MAX));
        let acts = self.own.valid && !self.displaced;
        self.meters.leading.set(i64::from(acts && !open.is_empty()));
        self.session.writer.gaps.retain(|it, _| open.contains_key(it));
        let report = Report {
            until: self.session.valid_until().filter(|_| acts).map(Moment::after_start),
            map_version: map.version(),
            open: open.keys().map(|it| it.0).collect(),
            opening: self.opening.keys().map(|it| it.0).collect(),
            unowned: nobodys.iter().map(|it| it.0).collect(),
        };
        self.told.report.send_if_modified(|it| std::mem::replace(it, report.clone()) != report);
        show_epochs(&self.meters, &mut self.told.epochs, open);
    }
}

/// What has been degraded for a while and was not told of, as of now.
fn lasting(standing: &mut Standing, all: &Troubles, now: Duration) -> Vec<Notice> {
    standing.retain(|(matter, reason), _| all.get(matter).is_some_and(|it| it.reason == *reason));
    let mut notices = Vec::new();
    for (matter, why) in all {
        let (since, told) = standing.entry((*matter, why.reason)).or_insert((now, false));
        if *told || now < *since + LASTS {
            continue;
        }
        *told = true;
        let (matter, Why { reason, text }) = (matter.name(), why);
        let message = format!("{matter} {reason}: {text}; kubectl gt doctor says where");
        notices.push(Notice { reason: "Degraded".into(), message });
    }
    notices
}

/// One series for each shard that is worked in.
fn show_epochs(meters: &Meters, shown: &mut BTreeMap<ShardId, i32>, open: BTreeMap<ShardId, i32>) {
    if *shown == open {
        return;
    }
    let label = |it: &ShardId| meters::Shard { shard: it.to_string() };
    for gone in shown.keys().filter(|it| !open.contains_key(it)) {
        meters.epochs.remove(&label(gone));
    }
    for (shard, epoch) in &open {
        meters.epochs.get_or_create(&label(shard)).set((*epoch).into());
    }
    *shown = open;
}

/// A shard that changed hands, as a moment: from whom, to whom.
fn handed_over(
    me: &str,
    shard: ShardId,
    vacancy: Option<&Vacancy>,
    gap: Option<Duration>,
) -> tracing::Span {
    let (from, to) = (vacancy.and_then(|it| it.by.as_deref()).map(pod_of), pod_of(me));
    live::live_span!(
        "hand over shard",
        gastown.shard = %shard,
        gastown.shard.from = from,
        gastown.shard.to = to,
        gastown.shard.left = vacancy.map(|it| cause(it.how)),
        gastown.shard.gap_ms = gap.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// The same, counting gaps from zero: a rate does not see the first of what is not there before.
pub(super) fn counting(meters: meters::Meters) -> meters::Meters {
    for how in [Left::HandedOver, Left::Stopped, Left::Lost] {
        drop(meters.gaps.get_or_create(&meters::Gap { cause: cause(how) }));
    }
    meters
}

const fn cause(how: Left) -> &'static str {
    match how {
        Left::HandedOver => "handed-over",
        Left::Stopped => "stopped",
        Left::Lost => "lost",
    }
}

/// What there is to say, by whose the shards were and how they lost their owner; and of what type it is.
fn notices(me: &str, taken: &[Taken]) -> Vec<(Notice, &'static str)> {
    let mut groups: BTreeMap<(Option<&str>, Left), Vec<&Taken>> = BTreeMap::new();
    for it in taken {
        let by = it.vacancy.by.as_deref().map(pod_of);
        groups.entry((by, it.vacancy.how)).or_default().push(it);
    }
    let notice = |((by, how), all): ((Option<&str>, Left), Vec<&Taken>)| {
        let (by, gap) = (by.unwrap_or("Another replica"), all.iter().map(|it| it.gap).max());
        let (reason, type_, why) = match how {
            Left::HandedOver => ("ShardsHandedOver", "Normal", "handed over to"),
            Left::Stopped => ("ShardsTakenOver", "Warning", "stopped, and was succeeded by"),
            Left::Lost => (
                "ShardLeasesLost",
                "Warning",
                "lost Leases that were deleted or edited by hand, which were taken by",
            ),
        };
        let shard = |it: &&Taken| format!("{} (epoch {})", it.shard, it.epoch);
        let shards = all.iter().map(shard).collect::<Vec<_>>().join(", ");
        let gap = gap.unwrap_or_default().as_secs_f64();
        let message = format!(
            "{by} {why} {me}; nobody worked in any of them for longer than {gap:.3} s: shards {shards}"
        );
        (Notice { reason: reason.into(), message }, type_)
    };
    groups.into_iter().map(notice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(shard: u16, by: Option<&str>, how: Left, gap: u64) -> Taken {
        let vacancy = Vacancy { by: by.map(Into::into), how, since: Duration::ZERO };
        Taken { shard: ShardId(shard), epoch: 4, gap: Duration::from_millis(gap), vacancy }
    }

    #[test]
    fn one_sentence_says_what_came_from_whom() {
        let all = [
            taken(7, Some("op-a_1_n.1"), Left::Stopped, 9120),
            taken(9, Some("op-b_2_n.1"), Left::HandedOver, 131),
            taken(12, Some("op-a_1_n.1"), Left::Stopped, 9631),
            taken(3, None, Left::Lost, 5000),
        ];
        let told: Vec<_> = notices("op-c", &all)
            .into_iter()
            .map(|(it, type_)| format!("{type_} {}: {}", it.reason, it.message))
            .collect();
        let want = [
            "Warning ShardLeasesLost: Another replica lost Leases that were deleted or edited by hand, which were taken by \
             op-c; nobody worked in any of them for longer than 5.000 s: shards 03 (epoch 4)",
            "Warning ShardsTakenOver: op-a stopped, and was succeeded by op-c; nobody worked in any of them for longer than \
             9.631 s: shards 07 (epoch 4), 12 (epoch 4)",
            "Normal ShardsHandedOver: op-b handed over to op-c; nobody worked in any of them for longer than 0.131 s: \
             shards 09 (epoch 4)",
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn what_stays_degraded_is_told_once_and_what_is_mended_at_once_never() {
        let (mut standing, second) = (Standing::new(), Duration::from_secs(1));
        let all = |reason| -> Troubles {
            [(Matter::Certificates, Why { reason, text: "why".into() })].into()
        };
        let mut at = |all: &Troubles, seconds: u32| {
            let told = lasting(&mut standing, all, second * seconds);
            told.into_iter().map(|it| it.message).collect::<Vec<_>>()
        };
        let none = Troubles::new();
        let table = [
            (all("Expired"), 0, "", "it may be mended"),
            (none.clone(), 4, "", "it was"),
            (all("Expired"), 6, "", "again"),
            (all("Expired"), 10, "", "not long enough"),
            (all("Expired"), 11, "Expired", "it lasts"),
            (all("Expired"), 90, "", "that was told"),
            (all("WrongName"), 91, "", "another reason"),
            (all("WrongName"), 96, "WrongName", "lasts as well"),
            (none, 99, "", "all is well"),
        ];
        for (all, seconds, want, because) in table {
            let want = (!want.is_empty())
                .then(|| format!("certificates {want}: why; kubectl gt doctor says where"));
            assert_eq!(at(&all, seconds), want.into_iter().collect::<Vec<_>>(), "{because}");
        }
    }

    #[test]
    fn nobody_is_ready_without_a_session_or_with_a_shard_that_is_nobodys() {
        let until = Some(Moment::now() + Duration::from_secs(60));
        let ready = Report { until, map_version: 1, open: vec![1], ..Report::default() };
        assert!(ready.is_ready());
        let table = [
            (Report { until: None, ..ready.clone() }, "its session lets it do nothing"),
            (Report { until: Some(Moment::now()), ..ready.clone() }, "it has lapsed since"),
            (Report { map_version: 0, ..ready.clone() }, "there is no map"),
            (Report { opening: vec![2], ..ready.clone() }, "its work has not begun"),
            (Report { unowned: vec![3], ..ready }, "nothing happens in some namespaces"),
        ];
        for (report, because) in table {
            assert!(!report.is_ready(), "{because}");
        }
    }
}
