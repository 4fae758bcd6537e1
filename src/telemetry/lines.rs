//! Lines of the log in OTLP's shape: those that pass the filter of the log, with the trace that they belong to.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ScopeLogs, SeverityNumber},
};
use tokio::sync::mpsc;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    cluster::{
        meters::{Lost, Meters},
        spans,
    },
    domain::untrusted::head,
    otlp::text,
};

/// Longest text of a line or of a field of it, in bytes.
const LONGEST: usize = 8192;
/// What sends would say something of each sending, and that would be sent.
const OF_SENDING: [&str; 6] = ["hyper", "h2", "tonic", "tower", "rustls", "opentelemetry"];

/// The queue, once it is known whether there is one.
static QUEUE: OnceLock<Option<Queue>> = OnceLock::new();
/// What is said before: logs begin earlier. The first of them are kept.
static EARLY: Mutex<Vec<Line>> = Mutex::new(Vec::new());
const MOST_EARLY: usize = 64;

/// A record, and the module that it is from.
type Line = (&'static str, LogRecord);

/// Where lines wait.
#[derive(Debug)]
struct Queue {
    lines: mpsc::Sender<Line>,
    meters: Meters,
}

/// Lines go into this queue of so many from now on, and those that came before; each with the module that it is from.
pub fn begin(length: usize, meters: &Meters) -> mpsc::Receiver<Line> {
    let (lines, other) = mpsc::channel(length.max(1));
    let queue = Queue { lines, meters: meters.clone() };
    let mut early = EARLY.lock().unwrap_or_else(PoisonError::into_inner);
    for line in std::mem::take(&mut *early) {
        queue.put(line);
    }
    let _ = QUEUE.set(Some(queue));
    drop(early);
    other
}

/// There is no queue.
pub fn none() {
    let mut early = EARLY.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = QUEUE.set(None);
    *early = Vec::new();
}

impl Queue {
    fn put(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.meters.lines_lost.get_or_create(&Lost { reason: "queue-full" }).inc();
        }
    }
}

/// Puts a line into the queue, or keeps it until there is one.
fn put(line: Line) {
    if QUEUE.get().is_none() {
        let mut early = EARLY.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever says what there is holds the same lock.
        if QUEUE.get().is_none() {
            if early.len() < MOST_EARLY {
                early.push(line);
            }
            return;
        }
    }
    if let Some(Some(queue)) = QUEUE.get() {
        queue.put(line);
    }
}

/// Makes lines into records. Nobody waits for the queue.
#[derive(Debug)]
pub struct Lines;

/// The ids that a span was given.
#[derive(Clone, Debug, Default)]
struct Ids {
    trace: Vec<u8>,
    span: Vec<u8>,
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let mut ids = Ids::default();
        attributes.record(&mut ids);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(ids);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(ids) = span.extensions_mut().get_mut::<Ids>()
        {
            values.record(ids);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if matches!(QUEUE.get(), Some(None)) {
            return;
        }
        let of = event.metadata();
        let target = of.target();
        if OF_SENDING.iter().any(|it| target.starts_with(it)) {
            return;
        }
        let mut record = record(event);
        let scope = context.event_scope(event).into_iter().flatten();
        let ids = scope.into_iter().find_map(|span| {
            span.extensions().get::<Ids>().filter(|it| !it.trace.is_empty()).cloned()
        });
        if let Some(ids) = ids {
            (record.trace_id, record.span_id) = (ids.trace, ids.span);
        }
        put((target, record));
    }
}

fn record(event: &Event<'_>) -> LogRecord {
    let now = spans::now();
    let level = *event.metadata().level();
    let severity = match level {
        Level::ERROR => SeverityNumber::Error,
        Level::WARN => SeverityNumber::Warn,
        Level::INFO => SeverityNumber::Info,
        Level::DEBUG => SeverityNumber::Debug,
        _ => SeverityNumber::Trace,
    };
    let mut record = LogRecord {
        time_unix_nano: now,
        observed_time_unix_nano: now,
        severity_number: severity.into(),
        severity_text: level.as_str().into(),
        ..LogRecord::default()
    };
    event.record(&mut Fields(&mut record));
    record
}

/// Of one module.
pub fn scope((module, log_records): (&str, Vec<LogRecord>)) -> ScopeLogs {
    let scope = InstrumentationScope { name: module.into(), ..InstrumentationScope::default() };
    ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }
}

struct Fields<'r>(&'r mut LogRecord);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: any_value::Value) {
        let value = Some(AnyValue { value: Some(value) });
        if field.name() == "message" {
            self.0.body = value;
        } else {
            let key = field.name().to_owned();
            self.0.attributes.push(KeyValue { key, value, ..KeyValue::default() });
        }
    }
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, it: bool) {
        self.put(field, any_value::Value::BoolValue(it));
    }

    fn record_i64(&mut self, field: &Field, it: i64) {
        self.put(field, any_value::Value::IntValue(it));
    }

    fn record_u64(&mut self, field: &Field, it: u64) {
        self.put(field, any_value::Value::IntValue(it.try_into().unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, it: f64) {
        self.put(field, any_value::Value::DoubleValue(it));
    }

    fn record_str(&mut self, field: &Field, it: &str) {
        self.put(field, any_value::Value::StringValue(head(it, LONGEST).into()));
    }

    fn record_error(&mut self, field: &Field, it: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &it.to_string());
        let cause = std::iter::successors(it.source(), |it| it.source());
        let causes: Vec<_> = cause.map(ToString::to_string).collect();
        if !causes.is_empty() {
            let causes = causes.join(": ");
            self.0.attributes.push(text(&format!("{field}.sources"), head(&causes, LONGEST)));
        }
    }

    fn record_debug(&mut self, field: &Field, it: &dyn fmt::Debug) {
        self.record_str(field, &format!("{it:?}"));
    }
}

impl Visit for Ids {
    fn record_str(&mut self, field: &Field, it: &str) {
        let pair = |at| u8::from_str_radix(it.get(at..at + 2)?, 16).ok();
        let bytes = || (0..it.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>();
        match field.name() {
            "trace_id" => self.trace = bytes().unwrap_or_default(),
            "span_id" => self.span = bytes().unwrap_or_default(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, it: &dyn fmt::Debug) {
        self.record_str(field, &format!("{it:?}"));
    }
}
