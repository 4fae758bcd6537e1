//! From the queue to the collector: one task takes spans in batches and sends them. It alone waits for the collector; a
//! batch that is not taken is lost, and counted.

use std::{pin::pin, time::Duration};

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    bridge,
    signals::{Destination, of_all},
};
use crate::{
    cluster::{
        meters::Meters,
        spans::{Spans, Telling},
    },
    config::Tracing,
    domain::trace::{Source, Span},
    otlp::{self, Outcome, spans::request},
};

/// Spans sent at once.
const BATCH: usize = 512;
/// What one pass tells comes within so long.
const TOGETHER: Duration = Duration::from_millis(10);
/// How long what is queued may take to be sent once this process ends.
const LAST: Duration = Duration::from_secs(5);

/// The task that sends; spans that it has not sent by the end are lost.
#[derive(Debug, Default)]
pub struct Exporting(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

/// Begins to send, where there is an endpoint.
pub fn begin(
    settings: &Tracing,
    who: (&str, &str),
    meters: &Meters,
) -> anyhow::Result<(Spans, Exporting)> {
    let Some(route) = settings.route().map_err(anyhow::Error::msg)? else {
        return Ok((Spans::default(), Exporting::default()));
    };
    let sampler = settings.sampler().map_err(anyhow::Error::msg)?;
    let length = usize::try_from(settings.otlp_queue).unwrap_or(usize::MAX);
    let (spans, queue) = Spans::new(length, sampler, who, meters.clone());
    bridge::into(&spans);
    let (stop, stopped) = oneshot::channel();
    let delay = Duration::from_millis(settings.otlp_delay);
    let to = Destination::new(&route, settings, who.0, meters)?;
    let runner = otlp::runner(&settings.otlp_resource_attributes);
    let pump = Pump { to, objects: of_all(settings), runner, pace: Pace::every(delay) };
    Ok((spans, Exporting(Some((stop, tokio::spawn(pump.run(queue, stopped)))))))
}

impl Exporting {
    /// Sends what is queued, in a bounded time, and ends.
    pub async fn end(self) {
        let Some((stop, task)) = self.0 else { return };
        let _ = stop.send(());
        let abort = task.abort_handle();
        if timeout(LAST + Duration::from_secs(1), task).await.is_err() {
            abort.abort();
        }
    }
}

struct Pump {
    to: Destination,
    /// Who tells of what follows from objects: any replica.
    objects: Resource,
    /// Who the runner is, of which the operator tells.
    runner: Resource,
    pace: Pace,
}

/// When batches are taken: what comes after a while without any goes at once, since what lies here dies with the process; of what
/// goes on coming there is one batch in so long, since each costs a request.
#[derive(Debug)]
pub(super) struct Pace {
    delay: Duration,
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn every(delay: Duration) -> Self {
        Self { delay, last: None }
    }

    /// Until when a batch may grow whose first has just come.
    fn until(&self, now: Instant) -> Instant {
        let soon = now + self.delay.min(TOGETHER);
        self.last.map_or(soon, |it| soon.max(it + self.delay))
    }
}

/// Takes a batch out of a queue: as soon as there are `most`, or when its pace says so. `take` puts one into the batch, and says
/// how many it counts for; none is taken in part, so that there may be more in the end. `false`: the queue has ended.
pub(super) async fn fill<T>(
    queue: &mut mpsc::Receiver<T>,
    most: usize,
    pace: &mut Pace,
    mut take: impl FnMut(T) -> usize,
) -> bool {
    let Some(first) = queue.recv().await else { return false };
    let mut count = take(first);
    let until = pace.until(Instant::now());
    while count < most {
        let Ok(Some(next)) = timeout_at(until, queue.recv()).await else { break };
        count += take(next);
    }
    pace.last = Some(Instant::now());
    true
}

/// What became of a sending, which has as long as what is queued once this process ends; and until when that is, if it does.
pub(super) async fn or_last<T>(
    sent: impl Future<Output = T>,
    stopped: impl Future,
    last: Duration,
) -> (Option<T>, Option<Instant>) {
    let mut sent = pin!(sent);
    tokio::select! {
        biased;
        it = &mut sent => (Some(it), None),
        _ = stopped => {
            let until = Instant::now() + last;
            (timeout_at(until, sent).await.ok(), Some(until))
        }
    }
}

/// Puts all spans of a telling into a batch.
fn into(batch: &mut Vec<Span>, told: Telling) -> usize {
    let before = batch.len();
    batch.extend(told.spans());
    batch.len() - before
}

impl Pump {
    async fn run(mut self, mut queue: mpsc::Receiver<Telling>, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        let mut batch = Vec::new();
        let until = loop {
            let (to, pace) = (&self.to, &mut self.pace);
            let taken = async {
                to.ready().await;
                fill(&mut queue, BATCH, pace, |it| into(&mut batch, it)).await
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break Instant::now() + LAST,
                more = taken => if !more { break Instant::now() + LAST },
            }
            let under_way = std::mem::take(&mut batch);
            let count = under_way.len();
            let (outcome, last) = or_last(self.send(under_way), &mut stopped, LAST).await;
            self.note(count, outcome);
            if let Some(until) = last {
                break until;
            }
        };
        queue.close();
        let rest = std::iter::from_fn(|| queue.try_recv().ok());
        for batch in batches(batch, rest) {
            let count = batch.len();
            let outcome = timeout_at(until, self.send(batch)).await.ok();
            self.note(count, outcome);
        }
    }

    /// What became of so many; none where this process ended first.
    fn note(&mut self, count: usize, outcome: Option<Outcome>) {
        match outcome {
            Some(it) => self.to.note(count, it),
            None => self.to.lose(count, "stopped"),
        }
    }

    async fn send(&self, batch: Vec<Span>) -> Outcome {
        let (mut own, mut objects, mut runner) = (Vec::new(), Vec::new(), Vec::new());
        for it in batch {
            let of = match it.source {
                Source::Operator => &mut own,
                Source::Objects => &mut objects,
                Source::Runner => &mut runner,
            };
            of.push(it);
        }
        let resources = [&self.to.resource, &self.objects, &self.runner].map(Clone::clone);
        let all = resources.into_iter().zip([own, objects, runner]);
        self.to.wire.patiently(&request(all)).await
    }
}

/// What is left, as batches that no telling is cut by; the first goes on with what was taken already.
fn batches(begun: Vec<Span>, rest: impl Iterator<Item = Telling>) -> Vec<Vec<Span>> {
    let mut all = vec![begun];
    for told in rest {
        match all.last_mut().filter(|it| it.len() < BATCH) {
            Some(last) => {
                into(last, told);
            }
            None => all.push(told.spans()),
        }
    }
    all.retain(|it| !it.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trace::{Kind, Sampler, SpanId, TraceId};

    /// So many spans that belong together.
    fn together(count: usize) -> Vec<Span> {
        let one = Span {
            trace: TraceId([1; 16]),
            id: SpanId([2; 8]),
            parent: None,
            name: "reconcile".into(),
            kind: Kind::Internal,
            source: Source::Operator,
            from: 1,
            to: 2,
            attributes: Vec::new(),
            links: Vec::new(),
            failed: None,
        };
        vec![one; count]
    }

    #[tokio::test]
    async fn what_is_on_its_way_when_the_process_ends_has_the_time_to_arrive() {
        let (answer, sent) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        drop(stop);
        let ends = or_last(sent, stopped, Duration::from_secs(60));
        let (ended, _) = tokio::join!(ends, async { answer.send("taken") });
        assert_eq!(ended.0, Some(Ok("taken")));
        assert!(ended.1.is_some_and(|it| it > Instant::now()), "what is queued has the rest of it");
        let never = or_last(std::future::pending::<()>(), async {}, Duration::ZERO).await;
        assert_eq!(never.0, None, "and no more than that");
        assert_eq!(or_last(async { 7 }, std::future::pending::<()>(), LAST).await, (Some(7), None));
    }

    #[tokio::test]
    async fn no_batch_cuts_what_hangs_together() {
        let of = ("operator-0", "nonce");
        let (spans, mut queue) = Spans::new(4000, Sampler::default(), of, Meters::default());
        let tell = |sizes: &[usize]| sizes.iter().for_each(|it| spans.tell(together(*it)));
        tell(&[500, 300, 7]);
        let (mut batch, mut pace) = (Vec::new(), Pace::every(Duration::ZERO));
        assert!(fill(&mut queue, BATCH, &mut pace, |it| into(&mut batch, it)).await);
        assert_eq!(batch.len(), 800, "the second is taken whole");
        tell(&[500, 600]);
        queue.close();
        let rest = std::iter::from_fn(|| queue.try_recv().ok());
        let sizes: Vec<_> = batches(together(10), rest).iter().map(Vec::len).collect();
        assert_eq!(sizes, [10 + 7 + 500, 600], "nor does one of the last");
        assert_eq!(batches(Vec::new(), std::iter::empty()), Vec::<Vec<Span>>::new());
    }

    #[test]
    fn what_comes_after_a_while_goes_at_once_and_what_goes_on_coming_in_batches() {
        let (now, delay) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::every(delay);
        assert_eq!(
            pace.until(now),
            now + TOGETHER,
            "the first of all: a killed process has told it"
        );
        pace.last = Some(now);
        assert_eq!(pace.until(now), now + delay, "not a request for each");
        let half = now + delay / 2;
        assert_eq!(pace.until(half), now + delay, "since the last one");
        let later = now + 2 * delay;
        assert_eq!(pace.until(later), later + TOGETHER, "it was quiet meanwhile");
        let hasty = Pace::every(Duration::ZERO);
        assert_eq!(hasty.until(now), now, "nobody wants to wait at all");
    }

    #[tokio::test]
    async fn a_batch_that_is_full_waits_for_nothing_and_one_of_a_queue_that_has_ended_is_the_last()
    {
        let (spans, mut queue) = mpsc::channel(99);
        let mut pace = Pace::every(Duration::from_secs(3600));
        pace.last = Some(Instant::now());
        for next in 0..12 {
            spans.send(next).await.unwrap();
        }
        let mut count = 0;
        let mut one = |_| {
            count += 1;
            1
        };
        assert!(fill(&mut queue, 9, &mut pace, &mut one).await);
        drop(spans);
        assert!(fill(&mut queue, 9, &mut pace, &mut one).await);
        assert!(!fill(&mut queue, 9, &mut pace, &mut one).await, "nothing comes any more");
        assert_eq!(count, 12);
    }
}
