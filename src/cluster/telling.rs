//! What is told of a pass and of a run's end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{
    Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};

use crate::{
    api::v1beta1::{Convoy, PolecatStatus},
    cluster::{
        Class, Cluster, Error, Managed, Told,
        cache::Key,
        now,
        observe::stored,
        shards::Change,
        spans::{self, Ending, Pass},
    },
    domain::{
        names,
        pod_brief::PodBrief,
        polecat::{Brief, HandOver, PULLED, Pulled, Seen, may_have_pulled},
        shard::ShardId,
        trace::{Kind, Run, Source, Span, SpanId, attributes as name},
    },
};

/// What was waited for before a pass.
const QUEUE: &str = "wait in queue";
/// Events that are read of pulls: one for each container is what there should be.
pub(super) const PULLS: u32 = 16;
/// Convoys of a namespace that are asked which beads they follow.
const CONVOYS: u32 = 500;
/// A run that is over for longer is one of many that a replica took over: it was told of, or nearly.
const JUST_NOW: Duration = Duration::from_secs(60);
/// Runs that are told of a change of their shard's owner at most: a shard may have thousands.
const MOST: usize = 512;
/// The pass.
const RECONCILE: &str = "reconcile";
/// The `error.type` of one that panicked.
const PANIC: &str = "panic";

/// A pass that is recorded, in its run.
#[derive(Clone, Debug)]
pub struct UnderWay {
    pub(super) run: Run,
    pub(super) pass: Arc<Pass>,
}

/// How long ago that was; nothing where it is yet to come, by another clock.
fn since(at: Timestamp) -> Duration {
    Duration::try_from(now().duration_since(at)).unwrap_or_default()
}

/// Selects the Events about images that were pulled for a pod.
pub(super) fn pulls_of(pod: &PodBrief) -> String {
    format!("involvedObject.uid={},reason={PULLED}", pod.uid)
}

impl Cluster {
    /// Tells what a pass did, if it did anything, and how long its object had waited for it.
    pub(super) fn tell_of_pass<K: Managed>(
        &self,
        key: &Key,
        under_way: &UnderWay,
        error: Option<&Error>,
    ) {
        // One that another's write overtook is repeated, and no failure.
        let harmless = |it: &Error| {
            matches!(it.class(), Class::Conflict | Class::Fenced | Class::AlreadyExists)
        };
        let failed = error.filter(|it| !harmless(it)).map(|_| "the pass failed; see error.type");
        self.end_pass::<K>(key, under_way, error.map(Error::kind), failed);
    }

    /// Tells of a pass that panicked, if one that is recorded did: what it did until then hangs on it.
    pub fn tell_of_panic<K: Managed>(&self, key: &Key, told: &Told) {
        if let Some(under_way) = &told.under_way {
            self.end_pass::<K>(key, under_way, Some(PANIC), Some("the pass panicked"));
        }
    }

    fn end_pass<K: Managed>(
        &self,
        key: &Key,
        UnderWay { run, pass }: &UnderWay,
        error: Option<&'static str>,
        failed: Option<&'static str>,
    ) {
        let waited = u64::try_from(self.waited.as_nanos()).unwrap_or(u64::MAX);
        let mut attributes = vec![
            (name::KIND, K::CONTROLLER.into()),
            (name::NAMESPACE, key.namespace.to_string().into()),
            (name::NAME, key.name.to_string().into()),
            (name::REPLICA, self.spans.replica().to_owned().into()),
            (name::WAITED, i64::try_from(self.waited.as_millis()).unwrap_or(i64::MAX).into()),
        ];
        attributes.extend(
            self.guard.place().into_iter().flat_map(|(shard, epoch)| {
                [(name::SHARD, shard.into()), (name::EPOCH, epoch.into())]
            }),
        );
        attributes.extend(error.map(|it| (name::ERROR, it.into())));
        let retries = Some(self.failed_before).filter(|it| *it > 0);
        attributes.extend(retries.map(|it| (name::RETRIES, i64::from(it).into())));
        let (parent, links) = (Some(run.root), Vec::new());
        let ending =
            Ending { name: RECONCILE, kind: Kind::Internal, parent, attributes, links, failed };
        let told = pass.end(ending);
        let Some(whole) = told.last() else { return };
        let (from, to) = (pass.began().saturating_sub(waited), pass.began());
        let wait = Span {
            id: SpanId::numbered(&whole.id.0, u64::MAX),
            name: QUEUE.into(),
            source: Source::Operator,
            from,
            to,
            attributes: Vec::new(),
            failed: None,
            ..whole.clone()
        };
        self.spans.tell(std::iter::once(wait).chain(told));
    }

    /// Tells of a run once it is over.
    pub(super) async fn tell_of_end<K: Managed>(&self, key: &Key, object: &K, seen: &K::Seen) {
        if self.spans.sampler().is_none() {
            return;
        }
        // With what was written of it a moment ago.
        let spans = match K::cache(&self.caches).get(key).filter(|it| it.uid() == object.uid()) {
            Some(it) => it.ended(seen, self).await,
            None => object.ended(seen, self).await,
        };
        self.spans.tell(spans);
    }

    /// Tells in the trace of each run under way that its shard has come here from another replica; of so many of each at
    /// most. What came together is told in one walk through the cache.
    pub fn tell_of_changes(&self, changes: &BTreeMap<ShardId, Change>) {
        let (Some(map), Some(_)) = (self.ownership.map(), self.spans.sampler()) else { return };
        if changes.is_empty() {
            return;
        }
        let now = spans::now();
        let about = |(shard, change): (&ShardId, &Change)| {
            (*shard, (0, self.hand_over(*shard, change, now)))
        };
        let mut all: BTreeMap<_, (usize, _)> = changes.iter().map(about).collect();
        let mut told = Vec::new();
        self.caches.polecats.visit(|key, brief| {
            let of = map.shard_of(key.place()).and_then(|it| all.get_mut(&it));
            let Some((count, about)) = of.filter(|it| it.0 < MOST) else { return };
            let Some(run) = brief.run_under_way().filter(|it| self.spans.samples(it)) else {
                return;
            };
            *count += 1;
            told.push(about.span(&run, brief));
        });
        self.spans.tell_each(told);
    }

    fn hand_over(&self, shard: ShardId, change: &Change, now: u64) -> HandOver {
        let gap = u64::try_from(change.gap.as_nanos()).unwrap_or(u64::MAX);
        HandOver {
            shard: shard.to_string(),
            epoch: change.epoch,
            from: change.from.clone(),
            to: self.spans.replica().to_owned(),
            left: change.left,
            gap_ms: i64::try_from(change.gap.as_millis()).unwrap_or(i64::MAX),
            time: (now.saturating_sub(gap), now),
        }
    }

    /// The spans of a Polecat's run that has ended lately and whose pod is silent, once for each process: who takes it over tells
    /// of it again, the very same, since its former owner may have died before it had sent.
    pub(super) async fn run_told(&self, brief: &Brief, seen: &Seen) -> Vec<Span> {
        let there = seen.pod.as_ref().filter(|it| brief.owns(it));
        let pod = there.or(seen.departed.as_ref().filter(|it| brief.owns(it)));
        let Some(done) = brief.told_whole(there) else { return Vec::new() };
        let Some(mut spans) = self.told_once(brief, pod) else { return Vec::new() };
        if let Some(pod) = pod.filter(|_| since(done) < JUST_NOW && may_have_pulled(&spans)) {
            let pulls = brief.pulls(&spans, pod, &self.pulled(pod).await);
            spans.extend(pulls);
        }
        spans.extend(self.followed(brief, &spans).await);
        spans
    }

    /// What the traces of Convoys have of a run that works on one of their beads; where they can't be read, nothing. Nobody is asked
    /// where a namespace has no Convoy.
    async fn followed(&self, brief: &Brief, spans: &[Span]) -> Vec<Span> {
        let Some(root) = spans.first().filter(|_| brief.status.assigned_bead.is_some()) else {
            return Vec::new();
        };
        let convoys = stored::Brief::<Convoy>::cache(&self.caches);
        if convoys.find(|key, _| *key.namespace == *brief.namespace).is_empty() {
            return Vec::new();
        }
        let params = ListParams::default().limit(CONVOYS);
        let built = Request::new(Convoy::url_path(&(), Some(&brief.namespace))).list(&params);
        let attempt = || format!("list the Convoys of namespace {}", brief.namespace);
        match self.read::<ObjectList<Convoy>>("convoys", attempt, built).await {
            Ok(all) => all.items.iter().flat_map(|it| brief.followed_by(it, root)).collect(),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Leaving a run out of the traces of Convoys"
                );
                Vec::new()
            }
        }
    }

    /// Tells of a run whose end is written over by the next status, so that nobody can tell of it later: it was put aside, or
    /// another attempt begins, before its pod was silent.
    pub(super) fn tell_before(&self, next: &PolecatStatus, brief: &Brief) {
        if self.spans.sampler().is_some() && brief.says_it_last(next) {
            self.tell_as_it_is(brief);
        }
    }

    /// Tells of a run whose Polecat was deleted, so that what was told of it hangs on something: of one under way the root, of
    /// one that had ended what would have been told once its pod was silent.
    pub fn tell_of_deletion(&self, brief: &Brief) {
        if self.spans.sampler().is_none() || !self.ownership.owns(&brief.namespace) {
            return;
        }
        self.tell_as_it_is(brief);
        if let Some(run) = brief.run_under_way().filter(|it| self.spans.samples(it)) {
            tracing::debug!(trace_id = %run.trace, "A Polecat was deleted before its run had ended");
            self.spans.tell(brief.cut_short(spans::now()));
        }
    }

    /// Tells of a run whose end is written, whatever its pod may say yet.
    fn tell_as_it_is(&self, brief: &Brief) {
        let Some(attempt) = brief.status.attempt else { return };
        let name = brief.status.pod_name.clone();
        let name = name.unwrap_or_else(|| names::pod(&brief.name, attempt));
        let key = Key::new(&brief.namespace, &name);
        let there = self.caches.pods.get(&key).filter(|it| brief.owns(it));
        let pod = there.map(Arc::unwrap_or_clone).or_else(|| self.caches.departed.of(&key));
        let pod = pod.filter(|it| brief.owns(it));
        self.spans.tell(self.told_once(brief, pod.as_ref()).unwrap_or_default());
    }

    /// The spans of a run whose status says how it has ended, if that was lately and this process has not told of it.
    fn told_once(&self, brief: &Brief, pod: Option<&PodBrief>) -> Option<Vec<Span>> {
        let (done, attempt) = (brief.end_said()?, brief.status.attempt?);
        let told = since(done) < spans::TOLD_AGAIN
            && self.spans.samples(&brief.run(attempt))
            && self.spans.is_news(&brief.uid, attempt);
        told.then(|| brief.spans(pod))
    }

    /// What Events say of the images that were pulled for a pod; where they can't be read, nothing.
    async fn pulled(&self, pod: &PodBrief) -> Vec<Pulled> {
        let params = ListParams::default().fields(&pulls_of(pod)).limit(PULLS);
        let built = Request::new(Event::url_path(&(), Some(&pod.namespace))).list(&params);
        let attempt = || format!("read the Events of pod {}/{}", pod.namespace, pod.name);
        match self.read::<ObjectList<Event>>("events", attempt, built).await {
            Ok(events) => events.items.iter().filter_map(Pulled::read).collect(),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Leaving pulls of images out of a trace"
                );
                Vec::new()
            }
        }
    }
}
