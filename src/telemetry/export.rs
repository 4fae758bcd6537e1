//! From the queue to the collector: one task takes spans in batches and sends them. It alone waits for the collector; a
//! batch that is not taken is lost, and counted.

use std::{pin::pin, time::Duration};

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{bridge, signals::Destination};
use crate::{
    cluster::{meters::Meters, spans::Spans},
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
    let pump = Pump { to, runner, pace: Pace::every(delay) };
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

/// Takes a batch out of a queue: as soon as there are `most`, or when its pace says so. `false`: the queue has ended.
pub(super) async fn fill<T>(
    queue: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    most: usize,
    pace: &mut Pace,
) -> bool {
    let first = queue.recv_many(batch, most).await;
    let until = pace.until(Instant::now());
    while first > 0 && batch.len() < most {
        let room = most - batch.len();
        let more = timeout_at(until, queue.recv_many(batch, room)).await;
        if more.is_err() || more == Ok(0) {
            break;
        }
    }
    pace.last = Some(Instant::now());
    first > 0
}

impl Pump {
    async fn run(mut self, mut queue: mpsc::Receiver<Span>, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        let mut batch = Vec::new();
        loop {
            let (to, pace) = (&self.to, &mut self.pace);
            let taken = async {
                to.ready().await;
                fill(&mut queue, &mut batch, BATCH, pace).await
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                more = taken => if !more { break },
            }
            let under_way = std::mem::take(&mut batch);
            let count = under_way.len();
            let sent = self.send(under_way);
            tokio::select! {
                biased;
                outcome = sent => self.to.note(count, outcome),
                _ = &mut stopped => {
                    self.to.lose(count, "stopped");
                    break;
                }
            }
        }
        queue.close();
        while let Ok(span) = queue.try_recv() {
            batch.push(span);
        }
        self.last(batch).await;
    }

    async fn last(&mut self, mut batch: Vec<Span>) {
        let until = Instant::now() + LAST;
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(BATCH));
            let count = batch.len();
            match timeout_at(until, self.send(batch)).await {
                Ok(outcome) => self.to.note(count, outcome),
                Err(_) => self.to.lose(count, "stopped"),
            }
            batch = rest;
        }
    }

    async fn send(&self, batch: Vec<Span>) -> Outcome {
        let (operator, runner): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|it| it.source == Source::Operator);
        let of = [(self.to.resource.clone(), operator), (self.runner.clone(), runner)];
        self.to.wire.patiently(&request(of)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (mut batch, mut pace) = (Vec::new(), Pace::every(Duration::from_secs(3600)));
        pace.last = Some(Instant::now());
        for next in 0..12 {
            spans.send(next).await.unwrap();
        }
        assert!(fill(&mut queue, &mut batch, 9, &mut pace).await);
        assert_eq!(batch.len(), 9);
        drop(spans);
        batch.clear();
        assert!(fill(&mut queue, &mut batch, 9, &mut pace).await);
        assert_eq!(batch.len(), 3);
        assert!(!fill(&mut queue, &mut batch, 9, &mut pace).await, "nothing comes any more");
    }
}
