//! What is told of a pass and of a run's end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Event;
use kube::{
    Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};

use crate::{
    cluster::{
        Class, Cluster, Error, Managed,
        cache::Key,
        now,
        shards::Change,
        spans::{self, Ending, Pass},
    },
    domain::{
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
/// A run that is over for longer is one of many that a replica took over: it was told of, or nearly.
const JUST_NOW: Duration = Duration::from_secs(60);
/// Runs that are told of a change of their shard's owner at most: a shard may have thousands.
const MOST: usize = 512;
/// The pass.
const RECONCILE: &str = "reconcile";

/// Selects the Events about images that were pulled for a pod.
pub(super) fn pulls_of(pod: &PodBrief) -> String {
    format!("involvedObject.uid={},reason={PULLED}", pod.uid)
}

impl Cluster {
    /// Tells what a pass did, if it did anything, and how long its object had waited for it.
    pub(super) fn tell_of_pass<K: Managed>(
        &self,
        key: &Key,
        run: &Run,
        pass: &Arc<Pass>,
        error: Option<&Error>,
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
        attributes.extend(error.map(|it| (name::ERROR, it.kind().into())));
        // One that another's write overtook is repeated, and no failure.
        let harmless = |it: &Error| {
            matches!(it.class(), Class::Conflict | Class::Fenced | Class::AlreadyExists)
        };
        let failed = error.filter(|it| !harmless(it)).map(|_| "the pass failed; see error.type");
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
        self.spans.tell(told);
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

    /// The spans of a Polecat's run that has ended lately, once for each process: who takes it over tells of it again, the
    /// very same, since its former owner may have died before it had sent.
    pub(super) async fn run_told(&self, brief: &Brief, seen: &Seen) -> Vec<Span> {
        let there = seen.pod.as_ref().filter(|it| brief.owns(it));
        let pod = there.or(seen.departed.as_ref().filter(|it| brief.owns(it)));
        let Some(done) = brief.told_whole(there) else { return Vec::new() };
        let ago = now().duration_since(done).as_secs_f64();
        let lately = ago < spans::TOLD_AGAIN.as_secs_f64();
        let attempt = brief.status.attempt.unwrap_or(1);
        let sampled = brief.says_its_end() && self.spans.samples(&brief.run(attempt));
        if !lately || !sampled || !self.spans.is_news(&brief.uid, attempt) {
            return Vec::new();
        }
        let mut spans = brief.spans(pod);
        let just = ago < JUST_NOW.as_secs_f64();
        if let Some(pod) = pod.filter(|_| just && may_have_pulled(&spans)) {
            let pulls = brief.pulls(&spans, pod, &self.pulled(pod).await);
            spans.extend(pulls);
        }
        spans
    }

    /// Tells the root of a run that was under way when its Polecat was deleted, so that what was told of it hangs on something.
    pub fn tell_of_deletion(&self, brief: &Brief) {
        let Some(run) = brief.run_under_way().filter(|it| self.spans.samples(it)) else { return };
        if self.ownership.owns(&brief.namespace) {
            tracing::debug!(trace_id = %run.trace, "A Polecat was deleted before its run had ended");
            self.spans.tell(brief.cut_short(spans::now()));
        }
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
