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
    let pump = Pump { to, runner, delay };
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
    delay: Duration,
}

/// Takes a batch out of a queue: as soon as there are `most`, or this long after the first. `false`: the queue has ended.
pub(super) async fn fill<T>(
    queue: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    most: usize,
    delay: Duration,
) -> bool {
    let first = queue.recv_many(batch, most).await;
    let until = Instant::now() + delay;
    while first > 0 && batch.len() < most {
        let room = most - batch.len();
        let more = timeout_at(until, queue.recv_many(batch, room)).await;
        if more.is_err() || more == Ok(0) {
            break;
        }
    }
    first > 0
}

impl Pump {
    async fn run(mut self, mut queue: mpsc::Receiver<Span>, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        let mut batch = Vec::new();
        loop {
            let taken = fill(&mut queue, &mut batch, BATCH, self.delay);
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
