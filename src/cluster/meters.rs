//! What is counted, under the names of the Go original and of controller-runtime, so that dashboards carry over.

pub mod census;
pub mod runs;
pub mod table;

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

use census::Census;
use table::Sort;
pub use table::TURNED_AWAY;

use crate::domain::trace::TraceId;

/// Requests to the API server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Request {
    /// `<error>`: no answer came.
    pub code: Cow<'static, str>,
    pub method: String,
    pub resource: String,
}

/// One controller.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Controller {
    pub controller: &'static str,
}

/// How a controller's passes end.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Pass {
    pub controller: &'static str,
    pub result: &'static str,
}

/// Why they fail.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Fault {
    pub controller: &'static str,
    pub error_type: &'static str,
}

/// A task that is kept alive: a watch of one kind, a worker of one controller.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Task {
    pub task: &'static str,
    pub controller: &'static str,
}

/// A shard, by its number.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Shard {
    pub shard: String,
}

/// How a shard had lost its owner.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Gap {
    pub cause: &'static str,
}

/// One of our resources.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Stored {
    pub resource: String,
}

/// What is wrong with our certificates, or with what is asked of our TLS.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Flawed {
    pub reason: &'static str,
}

/// Which cryptography is in use.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Crypto {
    pub module: &'static str,
    pub version: &'static str,
    pub fips_mode: &'static str,
    pub kernel_fips: &'static str,
}

/// Paths of the webhooks.
pub const PATHS: [&str; 5] = ["/convert", "/mutate", "/mutate-pods", "/validate", "/validate-pods"];

/// A webhook, by its path.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Webhook {
    pub webhook: &'static str,
}

/// How a call of one ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Call {
    pub webhook: &'static str,
    pub code: u16,
}

/// How runs end, by the Rig; empty for one that is not there.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Run {
    pub rig: String,
    pub result: &'static str,
}

/// In which trace something took so long.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Traced {
    trace_id: String,
}

/// Seconds, with one trace for each bucket at most: the last one.
type TracedSeconds = HistogramWithExemplars<Traced>;

/// What is running.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Build {
    pub version: &'static str,
}

/// Why what was to be sent was lost.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Lost {
    pub reason: &'static str,
}

/// Reasons for it.
const LOST: [&str; 4] = ["queue-full", "refused", "no-answer", "stopped"];
/// What can be wrong with the cluster's TLS profile.
pub const NOTHING_IN_COMMON: Flawed = Flawed { reason: "NothingInCommon" };
pub const NOTHING_FOR_METRICS: Flawed = Flawed { reason: "NothingForMetrics" };

/// All meters of one process. Cheap to clone: every clone counts into the same registry.
#[derive(Clone, Debug)]
pub struct Meters {
    pub requests: Family<Request, Counter>,
    pub passes: Family<Pass, Counter>,
    pub faults: Family<Fault, Counter>,
    pub panics: Family<Controller, Counter>,
    duration: Family<Controller, TracedSeconds, fn() -> TracedSeconds>,
    pub queue_wait: Family<Controller, Histogram, fn() -> Histogram>,
    pub behind_others: Family<Controller, Histogram, fn() -> Histogram>,
    pub waited_alone: Family<Controller, Histogram, fn() -> Histogram>,
    pub queue_depth: Family<Controller, Gauge>,
    pub undecodable: Family<Controller, Counter>,
    pub watch_faults: Family<Controller, Counter>,
    pub restarts: Family<Task, Counter>,
    pub objects: Family<Controller, Gauge>,
    pub fenced: Counter,
    pub leading: Gauge,
    pub owned: Gauge,
    pub unowned: Gauge,
    pub epochs: Family<Shard, Gauge>,
    pub gaps: Family<Gap, Histogram, fn() -> Histogram>,
    pub validity_left: Histogram,
    pub original_acts: Gauge,
    pub old_versions: Family<Stored, Gauge>,
    pub certificate_until: Gauge,
    pub certificate_generation: Gauge,
    pub certificate_flaws: Family<Flawed, Gauge>,
    pub tls_profile_flaws: Family<Flawed, Gauge>,
    pub crypto: Family<Crypto, Gauge>,
    pub spans_sent: Counter,
    pub spans_lost: Family<Lost, Counter>,
    pub metrics_sent: Counter,
    pub metrics_lost: Family<Lost, Counter>,
    pub lines_sent: Counter,
    pub lines_lost: Family<Lost, Counter>,
    pub calls: Family<Call, Counter>,
    call_duration: Family<Webhook, TracedSeconds, fn() -> TracedSeconds>,
    pub refusals: Family<Webhook, Counter>,
    pub distrusted: Counter,
    pub turned_away: Family<Flawed, Counter>,
    pub runs: Family<Run, Counter>,
    pub migrating: Family<Stored, Gauge>,
    pub migrated: Family<Stored, Counter>,
    pub build: Family<Build, Gauge>,
    pub census: Census,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            passes: Family::default(),
            faults: Family::default(),
            panics: Family::default(),
            duration: Family::new_with_constructor(traced_seconds),
            queue_wait: Family::new_with_constructor(seconds),
            behind_others: Family::new_with_constructor(seconds),
            waited_alone: Family::new_with_constructor(seconds),
            queue_depth: Family::default(),
            undecodable: Family::default(),
            watch_faults: Family::default(),
            restarts: Family::default(),
            objects: Family::default(),
            fenced: Counter::default(),
            leading: Gauge::default(),
            owned: Gauge::default(),
            unowned: Gauge::default(),
            epochs: Family::default(),
            gaps: Family::new_with_constructor(seconds),
            validity_left: left(),
            original_acts: Gauge::default(),
            old_versions: Family::default(),
            certificate_until: Gauge::default(),
            certificate_generation: Gauge::default(),
            certificate_flaws: Family::default(),
            tls_profile_flaws: Family::default(),
            crypto: Family::default(),
            spans_sent: Counter::default(),
            spans_lost: Family::default(),
            metrics_sent: Counter::default(),
            metrics_lost: Family::default(),
            lines_sent: Counter::default(),
            lines_lost: Family::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(traced_seconds),
            refusals: Family::default(),
            distrusted: Counter::default(),
            turned_away: Family::default(),
            runs: Family::default(),
            migrating: Family::default(),
            migrated: Family::default(),
            build: Family::default(),
            census: Census::default(),
        }
    }
}

impl Meters {
    /// Names them for the scrape, as the table has them.
    pub fn register(&self, registry: &mut Registry) {
        let mut to = Naming(&mut *registry);
        self.register_requests(&mut to);
        self.register_work(&mut to);
        self.register_lease(&mut to);
        self.register_certificates(&mut to);
        to.add("gastown_spans_exported_total", &self.spans_sent);
        to.add("gastown_spans_lost_total", &self.spans_lost);
        to.add("gastown_metric_exports_total", &self.metrics_sent);
        to.add("gastown_metric_exports_lost_total", &self.metrics_lost);
        to.add("gastown_log_lines_exported_total", &self.lines_sent);
        to.add("gastown_log_lines_lost_total", &self.lines_lost);
        to.add("gastown_build_info", &self.build);
        self.register_webhooks(&mut to);
        self.begin();
        registry.register_collector(Box::new(self.census.clone()));
    }

    /// How long a pass took, and in which trace, where it was recorded.
    pub fn pass_took(&self, controller: &'static str, time: Duration, trace: Option<TraceId>) {
        let of = self.duration.get_or_create(&Controller { controller });
        observe(&of, time, trace);
    }

    /// The same of a call of a webhook.
    pub fn call_took(&self, webhook: &'static str, time: Duration, trace: Option<TraceId>) {
        observe(&self.call_duration.get_or_create(&Webhook { webhook }), time, trace);
    }

    fn register_webhooks(&self, to: &mut Naming<'_>) {
        to.add("controller_runtime_webhook_requests_total", &self.calls);
        to.add("controller_runtime_webhook_latency_seconds", &self.call_duration);
        to.add("gastown_webhook_refusals_total", &self.refusals);
        to.add("gastown_webhook_untrusted_handshakes_total", &self.distrusted);
        to.add("gastown_webhook_turned_away_total", &self.turned_away);
    }

    /// What is counted from zero: of a counter that is not there before its first event, no rate sees that one.
    fn begin(&self) {
        for webhook in PATHS {
            drop(self.calls.get_or_create(&Call { webhook, code: 200 }));
            drop(self.call_duration.get_or_create(&Webhook { webhook }));
            drop(self.refusals.get_or_create(&Webhook { webhook }));
        }
        for reason in LOST {
            drop(self.spans_lost.get_or_create(&Lost { reason }));
        }
        for reason in ["refused", "no-answer"] {
            drop(self.metrics_lost.get_or_create(&Lost { reason }));
            drop(self.lines_lost.get_or_create(&Lost { reason }));
        }
        drop(self.lines_lost.get_or_create(&Lost { reason: "queue-full" }));
        for reason in TURNED_AWAY {
            drop(self.turned_away.get_or_create(&Flawed { reason }));
        }
        for flaw in [NOTHING_IN_COMMON, NOTHING_FOR_METRICS] {
            drop(self.tls_profile_flaws.get_or_create(&flaw));
        }
        self.rig_begins("");
        self.build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
    }

    /// The same for a controller whose passes fail in these ways.
    pub fn controller_begins(&self, controller: &'static str, kinds: &[&'static str]) {
        for error_type in kinds {
            drop(self.faults.get_or_create(&Fault { controller, error_type }));
        }
        drop(self.panics.get_or_create(&Controller { controller }));
    }

    fn register_certificates(&self, to: &mut Naming<'_>) {
        to.add("gastown_certificate_not_after_seconds", &self.certificate_until);
        to.add("gastown_certificate_authority", &self.certificate_generation);
        to.add("gastown_crypto_module", &self.crypto);
        to.add("gastown_certificate_degraded", &self.certificate_flaws);
        to.add("gastown_tls_profile_degraded", &self.tls_profile_flaws);
    }

    fn register_requests(&self, to: &mut Naming<'_>) {
        to.add("rest_client_requests_total", &self.requests);
        to.add("gastown_undecodable_objects_total", &self.undecodable);
        to.add("gastown_watch_errors_total", &self.watch_faults);
        to.add("gastown_cached_objects", &self.objects);
    }

    fn register_work(&self, to: &mut Naming<'_>) {
        to.add("gastown_reconcile_total", &self.passes);
        to.add("gastown_reconcile_errors_total", &self.faults);
        to.add("gastown_polecat_runs_total", &self.runs);
        to.add("gastown_task_restarts_total", &self.restarts);
        to.add("controller_runtime_reconcile_panics_total", &self.panics);
        to.add("gastown_reconcile_duration_seconds", &self.duration);
        to.add("workqueue_queue_duration_seconds", &self.queue_wait);
        to.add("gastown_queue_turn_seconds", &self.behind_others);
        to.add("gastown_queue_alone_seconds", &self.waited_alone);
        to.add("workqueue_depth", &self.queue_depth);
    }

    fn register_lease(&self, to: &mut Naming<'_>) {
        to.add("gastown_fenced_writes_total", &self.fenced);
        to.add("leader_election_master_status", &self.leading);
        to.add("gastown_shards_owned", &self.owned);
        to.add("gastown_shards_unowned", &self.unowned);
        to.add("gastown_shard_epoch", &self.epochs);
        to.add("gastown_shard_gap_seconds", &self.gaps);
        to.add("gastown_validity_left_seconds", &self.validity_left);
        to.add("gastown_original_acts", &self.original_acts);
        to.add("gastown_old_versions_stored", &self.old_versions);
        to.add("gastown_storage_migrating", &self.migrating);
        to.add("gastown_storage_objects_written_total", &self.migrated);
    }
}

/// Registers under the table's names, with its words.
struct Naming<'a>(&'a mut Registry);

impl Naming<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, metric: &M) {
        let row = table::row(name);
        // The encoder appends this ending to counters by itself.
        let name = match row.map(|it| it.sort) {
            Some(Sort::Counter) => name.trim_end_matches("_total"),
            _ => name,
        };
        self.0.register(name, row.map_or("", |it| it.help), metric.clone());
    }
}

/// Up to the longest validity, fine near its end.
fn left() -> Histogram {
    Histogram::new([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5])
}

const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

fn traced_seconds() -> TracedSeconds {
    TracedSeconds::new(SECONDS.into_iter())
}

fn observe(times: &TracedSeconds, time: Duration, trace: Option<TraceId>) {
    let traced = trace.map(|it| Traced { trace_id: it.to_string() });
    // By its time a scraper knows an exemplar again.
    let at = traced.as_ref().map(|_| SystemTime::now());
    times.observe(time.as_secs_f64(), traced, at);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::encoding::text::encode;

    use super::{table::TABLE, *};

    /// Counts once whatever is counted; no `..`, so that a new meter comes here as well.
    #[rustfmt::skip]
    fn touched() -> Meters {
        let meters = Meters::default();
        let Meters {
            requests, passes, faults, panics, duration, queue_wait, behind_others, waited_alone, queue_depth, undecodable,
            watch_faults, restarts, objects, fenced: _, leading: _, owned: _, unowned: _, epochs, gaps, validity_left: _, original_acts: _,
            old_versions, certificate_until: _, certificate_generation: _, certificate_flaws, tls_profile_flaws, crypto,
            spans_sent: _, spans_lost: _, metrics_sent: _, metrics_lost, lines_sent: _, lines_lost, calls: _, call_duration: _,
            refusals: _, distrusted: _, turned_away: _, runs, migrating, migrated, build: _, census,
        } = &meters;
        let controller = Controller { controller: "polecat" };
        drop(requests.get_or_create(&Request { code: "200".into(), method: "GET".into(), resource: "pods".into() }));
        drop(passes.get_or_create(&Pass { controller: "polecat", result: "success" }));
        drop(faults.get_or_create(&Fault { controller: "polecat", error_type: "conflict" }));
        for it in [panics, undecodable, watch_faults] {
            drop(it.get_or_create(&controller));
        }
        for it in [queue_wait, behind_others, waited_alone] {
            drop(it.get_or_create(&controller));
        }
        drop(duration.get_or_create(&controller));
        for it in [queue_depth, objects] {
            drop(it.get_or_create(&controller));
        }
        drop(restarts.get_or_create(&Task { task: "watch", controller: "polecat" }));
        drop(epochs.get_or_create(&Shard { shard: "1".into() }));
        drop(gaps.get_or_create(&Gap { cause: "lost" }));
        drop(old_versions.get_or_create(&Stored { resource: "polecats".into() }));
        for it in [certificate_flaws, tls_profile_flaws] {
            drop(it.get_or_create(&Flawed { reason: "ReadFailed" }));
        }
        drop(crypto.get_or_create(&Crypto { module: "a", version: "b", fips_mode: "false", kernel_fips: "false" }));
        for it in [metrics_lost, lines_lost] {
            drop(it.get_or_create(&Lost { reason: "refused" }));
        }
        drop(runs.get_or_create(&Run { rig: "a".into(), result: "done" }));
        drop(migrating.get_or_create(&Stored { resource: "polecats".into() }));
        drop(migrated.get_or_create(&Stored { resource: "polecats".into() }));
        census.by(|| census::Counted {
            polecats: [(("a".into(), "b".into(), "Working"), 1)].into(),
            oldest: vec![("polecat", 1.5)],
        });
        meters
    }

    #[test]
    fn a_trace_stands_at_the_bucket_that_it_fell_into() {
        let (meters, mut registry) = (Meters::default(), Registry::default());
        meters.register(&mut registry);
        meters.pass_took("polecat", Duration::from_millis(3), None);
        for last in [1, 2] {
            meters.pass_took("polecat", Duration::from_millis(30), Some(TraceId([last; 16])));
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let with: Vec<_> = text.lines().filter(|it| it.contains(" # ")).collect();
        let [line] = with[..] else { panic!("one at a bucket: {with:?}") };
        let want = format!("# {{trace_id=\"{}\"}} 0.03 ", TraceId([2; 16]));
        assert!(line.contains("le=\"0.05\"") && line.contains(&want), "the last one: {line}");
    }

    #[test]
    fn what_is_registered_is_what_the_table_says() {
        let mut registry = Registry::default();
        touched().register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let exposed = table::families(&text);
        let strays: Vec<_> = table::strays(&exposed).collect();
        assert!(strays.is_empty(), "{strays:?}");
        let told: BTreeSet<&str> = exposed.keys().map(String::as_str).collect();
        let of_process = |it: &str| it.starts_with("process_");
        let silent: Vec<_> = TABLE
            .iter()
            .map(|it| it.name)
            .filter(|it| !told.contains(it) && !of_process(it))
            .collect();
        assert!(silent.is_empty(), "in the table alone: {silent:?}");
        assert!(!text.contains("# HELP gastown_spans_lost .\n"), "each has words");
    }
}
