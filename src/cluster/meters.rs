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
    pub objects: Family<Controller, Gauge>,
    pub fenced: Counter,
    pub leading: Gauge,
    pub epoch: Gauge,
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
            objects: Family::default(),
            fenced: Counter::default(),
            leading: Gauge::default(),
            epoch: Gauge::default(),
        }
    }
}

impl Meters {
    /// Names them for the scrape.
    pub fn register(&self, registry: &mut Registry) {
        // No `..`: a new meter must be named here before it compiles.
        let Self {
            requests,
            passes,
            faults,
            panics,
            duration,
            queue_wait,
            behind_others,
            queue_depth,
            undecodable,
            watch_faults,
            objects,
            fenced,
            leading,
            epoch,
        } = self.clone();
        registry.register("rest_client_requests", "Requests to the API server", requests);
        registry.register("gastown_reconcile", "Passes by controller and result", passes);
        registry.register(
            "gastown_reconcile_errors",
            "Failed passes by controller and kind of error",
            faults,
        );
        registry.register("controller_runtime_reconcile_panics", "Passes that panicked", panics);
        registry.register("gastown_reconcile_duration_seconds", "Seconds a pass takes", duration);
        registry.register(
            "workqueue_queue_duration_seconds",
            "Seconds an object waits in the queue",
            queue_wait,
        );
        let help =
            "Seconds the first object of a namespace waits for its turn behind other namespaces";
        registry.register("gastown_queue_turn_seconds", help, behind_others);
        registry.register("workqueue_depth", "Objects in the queue", queue_depth);
        registry.register(
            "gastown_undecodable_objects",
            "Objects that were skipped as unreadable",
            undecodable,
        );
        registry.register(
            "gastown_watch_errors",
            "Watches that failed and were begun anew",
            watch_faults,
        );
        registry.register("gastown_cached_objects", "Objects in the cache", objects);
        registry.register(
            "gastown_fenced_writes",
            "Writes not made because the lease had lapsed",
            fenced,
        );
        registry.register(
            "leader_election_master_status",
            "1 while this replica may write",
            leading,
        );
        registry.register(
            "gastown_lease_epoch",
            "Epoch of the lease this replica holds or held",
            epoch,
        );
    }
}

fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}
