//! What is counted, under the names of the Go original and of controller-runtime, so that dashboards carry over.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Requests to the API server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Request {
    pub code: u16,
    pub method: String,
    pub resource: &'static str,
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

/// Why spans were lost.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Lost {
    pub reason: &'static str,
}

/// All meters of one process. Cheap to clone: every clone counts into the same registry.
#[derive(Clone, Debug)]
pub struct Meters {
    pub requests: Family<Request, Counter>,
    pub passes: Family<Pass, Counter>,
    pub faults: Family<Fault, Counter>,
    pub panics: Family<Controller, Counter>,
    pub duration: Family<Controller, Histogram, fn() -> Histogram>,
    pub queue_wait: Family<Controller, Histogram, fn() -> Histogram>,
    pub behind_others: Family<Controller, Histogram, fn() -> Histogram>,
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
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            passes: Family::default(),
            faults: Family::default(),
            panics: Family::default(),
            duration: Family::new_with_constructor(seconds),
            queue_wait: Family::new_with_constructor(seconds),
            behind_others: Family::new_with_constructor(seconds),
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
        }
    }
}

impl Meters {
    /// Names them for the scrape.
    pub fn register(&self, registry: &mut Registry) {
        self.register_requests(registry);
        self.register_work(registry);
        self.register_lease(registry);
        self.register_certificates(registry);
        self.register_spans(registry);
    }

    fn register_spans(&self, registry: &mut Registry) {
        let help = "Spans that the collector took";
        registry.register("gastown_spans_exported", help, self.spans_sent.clone());
        let help = "Spans that were lost, by reason: queue-full, refused, no-answer, stopped";
        registry.register("gastown_spans_lost", help, self.spans_lost.clone());
    }

    fn register_certificates(&self, registry: &mut Registry) {
        let help = "When the certificate of the webhooks expires, in seconds since 1970";
        registry.register(
            "gastown_certificate_not_after_seconds",
            help,
            self.certificate_until.clone(),
        );
        let help = "Which of our authorities signed it; 0: none of ours";
        registry.register(
            "gastown_certificate_authority",
            help,
            self.certificate_generation.clone(),
        );
        registry.register(
            "gastown_crypto_module",
            "Which cryptography is in use",
            self.crypto.clone(),
        );
        let help = "1 for what is wrong with our certificates";
        registry.register("gastown_certificate_degraded", help, self.certificate_flaws.clone());
        let help = "1 for what is wrong with the cluster's TLS profile";
        registry.register("gastown_tls_profile_degraded", help, self.tls_profile_flaws.clone());
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "rest_client_requests",
            "Requests to the API server",
            self.requests.clone(),
        );
        let help = "Objects that were skipped as unreadable";
        registry.register("gastown_undecodable_objects", help, self.undecodable.clone());
        let help = "Watches that failed and were begun anew";
        registry.register("gastown_watch_errors", help, self.watch_faults.clone());
        registry.register("gastown_cached_objects", "Objects in the cache", self.objects.clone());
    }

    fn register_work(&self, registry: &mut Registry) {
        let help = "Passes by controller and result";
        registry.register("gastown_reconcile", help, self.passes.clone());
        let help = "Failed passes by controller and kind of error";
        registry.register("gastown_reconcile_errors", help, self.faults.clone());
        let help = "Watches and workers that panicked or ended, and were begun anew";
        registry.register("gastown_task_restarts", help, self.restarts.clone());
        let help = "Passes that panicked";
        registry.register("controller_runtime_reconcile_panics", help, self.panics.clone());
        let help = "Seconds a pass takes";
        registry.register("gastown_reconcile_duration_seconds", help, self.duration.clone());
        let help = "Seconds an object waits in the queue";
        registry.register("workqueue_queue_duration_seconds", help, self.queue_wait.clone());
        let help = "Seconds the first object of a namespace that has not its share of the workers waits behind other namespaces";
        registry.register("gastown_queue_turn_seconds", help, self.behind_others.clone());
        registry.register("workqueue_depth", "Objects in the queue", self.queue_depth.clone());
    }

    fn register_lease(&self, registry: &mut Registry) {
        let help = "Writes not made because the lease had lapsed";
        registry.register("gastown_fenced_writes", help, self.fenced.clone());
        let help = "1 while this replica may write";
        registry.register("leader_election_master_status", help, self.leading.clone());
        let help = "Shards that this replica works in";
        registry.register("gastown_shards_owned", help, self.owned.clone());
        let help = "Shards that nobody owns, as this replica sees it";
        registry.register("gastown_shards_unowned", help, self.unowned.clone());
        let help = "Epoch of each shard that this replica works in";
        registry.register("gastown_shard_epoch", help, self.epochs.clone());
        let help = "Seconds that nobody worked in a shard that this replica took, at most and as it saw it, by cause: \
                    handed-over, stopped or lost";
        registry.register("gastown_shard_gap_seconds", help, self.gaps.clone());
        let help = "Seconds that this replica still had leave to act when it began a write";
        registry.register("gastown_validity_left_seconds", help, self.validity_left.clone());
        let help =
            "1 while the Go original acts by its Lease, so that this replica reconciles nothing";
        registry.register("gastown_original_acts", help, self.original_acts.clone());
        let help = "1 while objects of the resource may lie in storage in another than its storage version";
        registry.register("gastown_old_versions_stored", help, self.old_versions.clone());
    }
}

/// Up to the longest validity, fine near its end.
fn left() -> Histogram {
    Histogram::new([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5])
}

fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}
