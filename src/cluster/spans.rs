//! What a pass or a call did, as spans: kept by itself until it has ended, then put into a queue of a bounded length that
//! nobody waits for. Off, nothing is kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use crate::{
    cluster::meters::{Lost, Meters},
    domain::trace::{Context, Kind, Run, Sampler, Source, Span, SpanId, Value, attributes as name},
};

/// An ended run is told of again by whoever takes it over for this long: its former owner may have died before it had sent.
pub const TOLD_AGAIN: Duration = Duration::from_secs(15 * 60);
/// So many of those are kept without a look at how old they are.
const FEW: usize = 1024;

tokio::task_local! {
    static PASS: Arc<Pass>;
}

/// Where spans go. Cheap to clone; the default is off.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<Arc<Inner>>);

/// Spans that belong together, and their places in the queue: one hangs on another, so they get there all or not at all.
#[derive(Debug)]
pub struct Telling {
    spans: Vec<Span>,
    /// Free again once they have been taken out.
    _places: OwnedSemaphorePermit,
}

impl Telling {
    /// Takes them out.
    pub fn spans(self) -> Vec<Span> {
        self.spans
    }
}

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Telling>,
    /// One place for each span that may wait.
    places: Arc<Semaphore>,
    meters: Meters,
    sampler: Sampler,
    replica: Box<str>,
    /// Tells this process's spans from those of every other.
    nonce: Box<[u8]>,
    number: AtomicU64,
    told: Mutex<Told>,
}

/// Runs that were told of: the number of the attempt, and when.
#[derive(Debug)]
struct Told {
    runs: HashMap<Box<str>, (i32, Instant)>,
    /// Old ones are swept when there are so many, then when twice as many are left: a sweep looks at each.
    sweep_at: usize,
}

impl Default for Told {
    fn default() -> Self {
        Self { runs: HashMap::new(), sweep_at: FEW }
    }
}

/// A pass under way, or a call.
#[derive(Debug)]
pub struct Pass {
    pub context: Context,
    began: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    requests: u64,
    writes: i64,
}

/// The time of day, in nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Spans {
    /// A queue of so many spans, and its other end.
    pub fn new(
        length: usize,
        sampler: Sampler,
        (replica, nonce): (&str, &str),
        meters: Meters,
    ) -> (Self, mpsc::Receiver<Telling>) {
        let length = length.clamp(1, Semaphore::MAX_PERMITS);
        // No telling is empty, so that the places say when it is full.
        let (queue, other) = mpsc::channel(length);
        let inner = Inner {
            queue,
            places: Arc::new(Semaphore::new(length)),
            meters,
            sampler,
            replica: replica.into(),
            nonce: nonce.as_bytes().into(),
            number: AtomicU64::new(0),
            told: Mutex::default(),
        };
        (Self(Some(Arc::new(inner))), other)
    }

    /// Which traces are recorded; none is, where nothing is.
    pub fn sampler(&self) -> Option<Sampler> {
        self.0.as_ref().map(|it| it.sampler)
    }

    /// Whether a run is recorded.
    pub fn samples(&self, run: &Run) -> bool {
        self.0.as_ref().is_some_and(|it| it.sampler.samples(run.trace, run.sampled))
    }

    /// Puts spans that belong together into the queue; where there is no room for all of them, all are lost, and counted: a part of
    /// them would hang on nothing.
    pub fn tell(&self, spans: impl IntoIterator<Item = Span>) {
        let Some(inner) = &self.0 else { return };
        let spans: Vec<_> = spans.into_iter().collect();
        if spans.is_empty() {
            return;
        }
        let count = spans.len();
        if let Err(reason) = inner.put(spans) {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            inner.meters.spans_lost.get_or_create(&Lost { reason }).inc_by(count);
        }
    }

    /// The same of spans of which none hangs on another: each has its own luck.
    pub fn tell_each(&self, spans: impl IntoIterator<Item = Span>) {
        spans.into_iter().for_each(|it| self.tell([it]));
    }

    /// Whether this attempt is still to be told of by this process; it is held for told from now on.
    pub fn is_news(&self, uid: &str, attempt: i32) -> bool {
        let Some(inner) = &self.0 else { return false };
        let mut told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.runs.get(uid).is_some_and(|(last, _)| *last >= attempt) {
            return false;
        }
        if told.runs.len() >= told.sweep_at {
            told.runs.retain(|_, (_, at)| at.elapsed() < TOLD_AGAIN + Duration::from_secs(60));
            told.sweep_at = FEW.max(2 * told.runs.len());
        }
        told.runs.insert(uid.into(), (attempt, Instant::now()));
        true
    }

    /// A pass in a run, if that is recorded.
    pub fn begin(&self, run: &Run) -> Option<Arc<Pass>> {
        self.begin_at(run, now())
    }

    /// The same of one that began at that time.
    pub fn begin_at(&self, run: &Run, began: u64) -> Option<Arc<Pass>> {
        let inner = self.0.as_ref().filter(|_| self.samples(run))?;
        let number = inner.number.fetch_add(1, Ordering::Relaxed);
        let span = SpanId::numbered(&inner.nonce, number);
        let context = Context { trace: run.trace, span, sampled: true };
        Some(Arc::new(Pass { context, began, kept: Mutex::default() }))
    }

    /// The name of this replica.
    pub fn replica(&self) -> &str {
        self.0.as_ref().map_or("", |it| &it.replica)
    }
}

impl Inner {
    /// Waits for nobody; the error is why it was lost.
    fn put(&self, spans: Vec<Span>) -> Result<(), &'static str> {
        let places = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        let places = self.places.clone().try_acquire_many_owned(places).map_err(|it| match it {
            TryAcquireError::NoPermits => "queue-full",
            TryAcquireError::Closed => "stopped",
        })?;
        let told = self.queue.try_send(Telling { spans, _places: places });
        told.map_err(|it| match it {
            mpsc::error::TrySendError::Full(_) => "queue-full",
            mpsc::error::TrySendError::Closed(_) => "stopped",
        })
    }
}

/// How a pass ended, and what it was about.
pub struct Ending {
    pub name: &'static str,
    pub kind: Kind,
    pub parent: Option<SpanId>,
    pub attributes: Vec<(&'static str, Value)>,
    pub links: Vec<Context>,
    pub failed: Option<&'static str>,
}

impl Pass {
    /// Runs something as this pass: requests that it makes are its own.
    pub async fn of<T>(self: &Arc<Self>, what: impl Future<Output = T>) -> T {
        PASS.scope(self.clone(), what).await
    }

    /// Runs a step of it.
    pub async fn step<T>(name: &'static str, what: impl Future<Output = T>) -> T {
        let from = PASS.try_with(|_| now());
        let out = what.await;
        if let Ok(from) = from {
            let _ = PASS.try_with(|it| it.keep(it.span(name, Kind::Internal, from)));
        }
        out
    }

    /// The pass that is under way here.
    pub fn current() -> Option<Arc<Self>> {
        PASS.try_with(Arc::clone).ok()
    }

    /// Ends it; what it did is told. None where it did nothing that anybody would look for: it made no request, did not
    /// fail, and was not cut off.
    pub fn end(&self, ending: Ending) -> Vec<Span> {
        let Ending { name, kind, parent, mut attributes, links, failed } = ending;
        let Kept { mut spans, requests, writes } = std::mem::take(&mut *self.lock());
        let cut_off = attributes.iter().any(|(it, _)| *it == name::ERROR);
        if requests == 0 && failed.is_none() && !cut_off && kind == Kind::Internal {
            return Vec::new();
        }
        if kind == Kind::Internal {
            attributes.push((name::WRITES, writes.into()));
        }
        spans.push(Span {
            id: self.context.span,
            parent,
            attributes,
            links,
            failed,
            ..self.span(name, kind, self.began)
        });
        spans
    }

    /// When it began.
    pub fn began(&self) -> u64 {
        self.began
    }

    /// One beneath it, from then until now.
    fn span(&self, name: impl Into<std::borrow::Cow<'static, str>>, kind: Kind, from: u64) -> Span {
        let name = name.into();
        Span {
            trace: self.context.trace,
            id: SpanId::numbered(&[&self.context.span.0[..], name.as_bytes()].concat(), from),
            parent: Some(self.context.span),
            name,
            kind,
            source: Source::Operator,
            from,
            to: now().max(from + 1),
            attributes: Vec::new(),
            links: Vec::new(),
            failed: None,
        }
    }

    fn keep(&self, span: Span) {
        self.lock().spans.push(span);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the pass under way makes.
pub struct Request {
    pass: Arc<Pass>,
    id: SpanId,
    from: u64,
}

impl Request {
    /// Begins it; none where nothing is recorded.
    pub fn begin() -> Option<Self> {
        let pass = Pass::current()?;
        let number = {
            let mut kept = pass.lock();
            kept.requests += 1;
            kept.requests
        };
        let id = SpanId::numbered(&pass.context.span.0, number);
        Some(Self { pass, id, from: now() })
    }

    /// What the API server is told of it.
    pub fn header(&self) -> Option<HeaderValue> {
        let context = Context { span: self.id, ..self.pass.context };
        HeaderValue::from_str(&context.to_string()).ok()
    }

    /// Ends it with the code of its answer, where one came, and why there is none that can be read.
    pub fn end(
        self,
        method: &str,
        resource: &'static str,
        code: Option<u16>,
        why: Option<&'static str>,
    ) {
        let mut span = self.pass.span(format!("{method} {resource}"), Kind::Client, self.from);
        span.id = self.id;
        span.attributes =
            vec![(name::METHOD, method.to_owned().into()), (name::RESOURCE, resource.into())];
        span.attributes.extend(code.map(|it| (name::STATUS, i64::from(it).into())));
        let refused = code.filter(|it| *it >= 400).map(|it| it.to_string().into());
        if let Some(error) = why.map(Into::into).or(refused) {
            span.attributes.push((name::ERROR, error));
            span.failed = Some("the API server refused it, or did not answer");
        }
        if method != "GET" {
            self.pass.lock().writes += 1;
        }
        self.pass.keep(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trace::TraceId;

    fn run() -> Run {
        let trace = TraceId([7; 16]);
        let root = SpanId([1; 8]);
        Run { trace, root, parent: None, sampled: None, second: None }
    }

    fn spans(length: usize) -> (Spans, mpsc::Receiver<Telling>, Meters) {
        let meters = Meters::default();
        let of = ("operator-0", "nonce");
        let (spans, queue) = Spans::new(length, Sampler::default(), of, meters.clone());
        (spans, queue, meters)
    }

    fn ending(failed: Option<&'static str>) -> Ending {
        let (attributes, links) = (Vec::new(), Vec::new());
        let parent = Some(run().root);
        Ending { name: "reconcile", kind: Kind::Internal, parent, attributes, links, failed }
    }

    #[tokio::test]
    async fn a_full_queue_loses_and_counts_and_nobody_waits() {
        let (spans, mut queue, meters) = spans(2);
        let pass = spans.begin(&run()).unwrap();
        let five = vec![pass.end(ending(Some("x"))).remove(0); 5];
        spans.tell_each(five);
        let lost = |reason| meters.spans_lost.get_or_create(&Lost { reason }).get();
        assert_eq!(lost("queue-full"), 3);
        assert!(queue.try_recv().is_ok() && queue.try_recv().is_ok() && queue.try_recv().is_err());
        drop(queue);
        spans.tell(pass.end(ending(Some("x"))));
        assert_eq!(lost("stopped"), 1);
    }

    #[tokio::test]
    async fn what_hangs_together_is_queued_whole_or_not_at_all() {
        let (spans, mut queue, meters) = spans(4);
        let three = async || {
            let pass = spans.begin(&run()).unwrap();
            pass.of(async {
                Pass::step("look", async {}).await;
                Request::begin().unwrap().end("GET", "pods", Some(200), None);
            })
            .await;
            pass.end(ending(None))
        };
        let mut next = || queue.try_recv().ok().map(Telling::spans);
        let (first, second) = (three().await, three().await);
        assert_eq!(first.len(), 3, "two, and what they hang on");
        spans.tell(first.clone());
        spans.tell(second.clone());
        let lost = meters.spans_lost.get_or_create(&Lost { reason: "queue-full" }).get();
        assert_eq!(lost, 3, "there was room for one of them, which would have hung on nothing");
        assert_eq!((next(), next()), (Some(first), None));
        spans.tell(second.clone());
        spans.tell([]);
        assert_eq!((next(), next()), (Some(second), None), "there is room again");
    }

    #[tokio::test]
    async fn a_pass_keeps_its_requests_and_one_without_any_is_not_told() {
        let (spans, _queue, _) = spans(9);
        let quiet = spans.begin(&run()).unwrap();
        quiet.of(Pass::step("look", async {})).await;
        assert_eq!(quiet.end(ending(None)), [], "it changed nothing");
        let cut_off = spans.begin(&run()).unwrap();
        cut_off.of(Pass::step("look", async {})).await;
        let why = vec![(name::ERROR, "Fenced".into())];
        let told = cut_off.end(Ending { attributes: why, ..ending(None) });
        assert_eq!((told.len(), told[1].failed), (2, None), "its shard went before it could ask");
        let pass = spans.begin(&run()).unwrap();
        let asked = pass.of(async {
            let request = Request::begin().unwrap();
            let header = request.header().unwrap();
            request.end("PATCH", "polecat", Some(409), None);
            header
        });
        let header = asked.await;
        let told = pass.end(ending(None));
        let [request, whole] = &told[..] else { panic!("{told:?}") };
        assert_eq!((request.parent, whole.parent), (Some(whole.id), Some(run().root)));
        assert_eq!(&*request.name, "PATCH polecat");
        assert!(request.failed.is_some() && whole.attributes.contains(&(name::WRITES, 1.into())));
        let heard = Context::parse(header.to_str().unwrap()).unwrap();
        assert_eq!((heard.trace, heard.span), (run().trace, request.id), "what the server is told");
        assert!(Request::begin().is_none(), "outside of a pass nothing is kept");
    }

    #[test]
    fn an_attempt_is_told_once_by_one_process() {
        let (spans, _queue, _) = spans(9);
        assert!(spans.is_news("u", 1) && !spans.is_news("u", 1) && spans.is_news("u", 2));
        assert!(!Spans::default().is_news("u", 1), "off");
    }
}
