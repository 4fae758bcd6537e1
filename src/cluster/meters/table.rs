//! Every metric of the operator in one table: it is registered with these words, and `docs/metrics.md` is made of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// One metric, as a scrape has it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// With the ending that counters have.
    pub name: &'static str,
    pub sort: Sort,
    /// Beside those that a scrape adds.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// What sort of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Counter,
    Gauge,
    Histogram,
}

impl Sort {
    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row { name, sort: Sort::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row { name, sort: Sort::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row { name, sort: Sort::Histogram, labels, help }
}

/// Why callers of the webhooks are turned away before they say anything.
pub const TURNED_AWAY: [&str; 11] = [
    "suite",
    "group",
    "no-extended-master-secret",
    "version",
    "client-certificate-missing",
    "client-certificate-expired",
    "client-certificate-unknown",
    "client-certificate-unfit",
    "late",
    "too-many",
    "other",
];

/// All of them. Names of the Go original and of controller-runtime stay, so that dashboards carry over.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    counter("controller_runtime_reconcile_panics_total", &["controller"], "Passes that panicked"),
    histogram("controller_runtime_webhook_latency_seconds", &["webhook"], "Seconds until a webhook answers"),
    counter("controller_runtime_webhook_requests_total", &["webhook", "code"], "Calls of the webhooks, by path and HTTP code"),
    gauge("gastown_build_info", &["version"], "1: what is running"),
    gauge("gastown_cached_objects", &["controller"], "Objects in the cache"),
    gauge("gastown_certificate_authority", &[], "Which of our authorities signed what is served; 0: none of ours"),
    gauge("gastown_certificate_degraded", &["reason"], "1 while this is wrong with our certificates"),
    gauge("gastown_certificate_not_after_seconds", &[], "When the certificate of the webhooks expires, in seconds since 1970; 0: there is none"),
    gauge("gastown_crypto_module", &["module", "version", "fips_mode", "kernel_fips"], "Which cryptography is in use"),
    counter("gastown_fenced_writes_total", &[], "Writes not made because the session had lapsed, or the shard was lost: not what a replica gives away in good order"),
    counter("gastown_log_lines_exported_total", &[], "Lines of the log that the collector took"),
    counter("gastown_log_lines_lost_total", &["reason"], "Lines that were lost to the collector, by reason: queue-full, refused, no-answer; they are in the log all the same"),
    counter("gastown_metric_exports_lost_total", &["reason"], "Times that the collector did not take the metrics, by reason: refused, no-answer; the next time says the same figures again"),
    counter("gastown_metric_exports_total", &[], "Times that the collector took all metrics"),
    gauge("gastown_old_versions_stored", &["resource"], "1 while objects of the resource may lie in storage in another than its storage version"),
    gauge("gastown_original_acts", &[], "1 while the Go original acts by its Lease, so that this replica reconciles nothing"),
    gauge("gastown_polecat_phase_total", &["rig", "phase"], "Polecats of this replica's shards by Rig and phase, under the Go original's name"),
    counter("gastown_polecat_runs_total", &["rig", "result"], "Runs that ended, by Rig (empty where it is not there) and result: done or stuck"),
    gauge("gastown_polecats", &["polecat_namespace", "rig", "phase"], "Polecats of this replica's shards by namespace, Rig and phase; the 500 biggest pairs, and _others"),
    histogram("gastown_queue_alone_seconds", &["controller"], "Seconds an object waits in the queue that was the only one of its namespace there when it was queued: what others make a quiet namespace wait"),
    gauge("gastown_queue_oldest_seconds", &["controller"], "Seconds that what waits longest has been in the queue"),
    histogram("gastown_queue_turn_seconds", &["controller"], "Seconds the first object of a namespace that has not its share of the workers waits behind other namespaces"),
    histogram("gastown_reconcile_duration_seconds", &["controller"], "Seconds a pass takes"),
    counter("gastown_reconcile_errors_total", &["controller", "error_type"], "Failed passes by controller and kind of error"),
    counter("gastown_reconcile_total", &["controller", "result"], "Passes by controller and result"),
    gauge("gastown_shard_epoch", &["shard"], "Epoch of each shard that this replica works in"),
    histogram("gastown_shard_gap_seconds", &["cause"], "Seconds that nobody worked in a shard that this replica took, at most and as it saw it, by cause: handed-over, stopped or lost"),
    gauge("gastown_shards_owned", &[], "Shards that this replica works in"),
    gauge("gastown_shards_unowned", &[], "Shards that nobody owns, as this replica sees it"),
    counter("gastown_spans_exported_total", &[], "Spans that the collector took"),
    counter("gastown_spans_lost_total", &["reason"], "Spans that were lost, by reason: queue-full, refused, no-answer, stopped"),
    gauge("gastown_storage_migrating", &["resource"], "1 while objects of the resource are to be written anew by the operator"),
    counter("gastown_storage_objects_written_total", &["resource"], "Objects that this replica wrote anew, in the storage version"),
    counter("gastown_task_restarts_total", &["task", "controller"], "Watches and workers that panicked or ended, and were begun anew"),
    gauge("gastown_tls_profile_degraded", &["reason"], "1 while this is wrong with the cluster's TLS profile"),
    counter("gastown_undecodable_objects_total", &["controller"], "Objects that were skipped as unreadable"),
    histogram("gastown_validity_left_seconds", &[], "Seconds that this replica still had leave to act when it began a write"),
    counter("gastown_watch_errors_total", &["controller"], "Watches that failed and were begun anew"),
    counter("gastown_webhook_refusals_total", &["webhook"], "Reviews whose answer was no"),
    counter("gastown_webhook_turned_away_total", &["reason"], "Connections to the webhooks that came to nothing, by reason: suite, group, version, no-extended-master-secret, client-certificate-missing, -expired, -unknown or -unfit, late, too-many, other"),
    counter("gastown_webhook_untrusted_handshakes_total", &[], "Handshakes that callers of the webhooks broke off because they do not trust the certificate"),
    gauge("leader_election_master_status", &[], "1 while this replica may write"),
    counter("process_cpu_seconds_total", &[], "Processor seconds of this process"),
    gauge("process_open_fds", &[], "Open file descriptors"),
    gauge("process_resident_memory_bytes", &[], "Resident memory"),
    gauge("process_start_time_seconds", &[], "When this process began, in seconds since 1970"),
    counter("rest_client_requests_total", &["code", "method", "resource"], "Requests to the API server, lists, watches and Leases as well, by the code of the answer; `<error>`: none came"),
    gauge("workqueue_depth", &["controller"], "Objects in the queue"),
    histogram("workqueue_queue_duration_seconds", &["controller"], "Seconds an object waits in the queue"),
];

/// The row of a metric.
pub fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|it| it.name == name)
}

/// Sort and labels of what a scrape in `OpenMetrics` has, by name.
pub fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::<String, (String, BTreeSet<String>)>::new();
    let mut now = String::new();
    for line in text.lines() {
        if let Some((name, sort)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.trim().split_once(' '))
        {
            now = if sort == "counter" { format!("{name}_total") } else { name.to_owned() };
            sort.clone_into(&mut all.entry(now.clone()).or_default().0);
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.split_once('}').map_or(labels, |it| it.0);
            let names = labels.split("\",").filter_map(|it| it.split_once('=')).map(|it| it.0);
            let names = names.filter(|it| *it != "le").map(ToOwned::to_owned);
            all.entry(now.clone()).or_default().1.extend(names);
        }
    }
    all
}

/// What a scrape has that the table does not, or otherwise.
pub fn strays(
    exposed: &BTreeMap<String, (String, BTreeSet<String>)>,
) -> impl Iterator<Item = String> {
    exposed.iter().filter_map(|(name, (sort, labels))| {
        let Some(row) = row(name) else { return Some(format!("{name} is not in the table")) };
        let want: BTreeSet<String> = row.labels.iter().map(|it| (*it).to_owned()).collect();
        let fits = row.sort.word() == sort && (labels.is_empty() || *labels == want);
        (!fits).then(|| format!("{name}: {sort} {labels:?}, in the table {row:?}"))
    })
}

/// The page about them, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for Row { name, sort, labels, help } in TABLE {
        let labels: Vec<String> = labels.iter().map(|it| format!("`{it}`")).collect();
        let _ = writeln!(page, "| `{name}` | {} | {} | {help} |", sort.word(), labels.join(", "));
    }
    page
}

const HEAD: &str = "\
<!-- Generated from src/cluster/meters/table.rs by `cargo run --bin manifests`; edits are overwritten. -->
# Metrics

Every replica serves `/metrics` in OpenMetrics on port 8443, over HTTPS with the certificate of the webhooks, to who sends a token
that the API server knows (TokenReview) and that may `get /metrics` (SubjectAccessReview). The role for that is
`gastown-operator-metrics-reader`, the Service `gastown-operator-controller-manager-metrics-service`:

```console
$ kubectl -n gastown-operator-system create serviceaccount reader
$ kubectl create clusterrolebinding reader --clusterrole=gastown-operator-metrics-reader \\
    --serviceaccount=gastown-operator-system:reader
$ kubectl -n gastown-operator-system port-forward service/gastown-operator-controller-manager-metrics-service 8443 &
$ curl --insecure -H \"Authorization: Bearer $(kubectl -n gastown-operator-system create token reader)\" \\
    https://localhost:8443/metrics
```

`--metrics-bind-address=0` turns them off; on a loopback address they are plain HTTP. A network policy lets in namespaces that are
labelled `metrics=enabled`, and `openshift-monitoring` and `openshift-user-workload-monitoring`.

Beside `gastown_reconcile_duration_seconds` and `controller_runtime_webhook_latency_seconds` stand exemplars where traces are
recorded (docs/tracing.md): of each bucket the trace of the last one that fell into it. Who sends `Accept: text/plain` alone gets
Prometheus' older text, which has none.

## Prometheus operator

```console
$ kubectl apply -k deploy/monitoring
```

or `metrics.serviceMonitor.enabled=true` in the chart, makes a ServiceMonitor and an account that may read metrics and nothing
else, with a token in a Secret. Nothing in the monitor names a file, so that OpenShift's user-workload monitoring takes it. It
trusts `ca.crt` of the Secret with the operator's own certificates. Where cert-manager brings them, the chart's trusts the Secret of
those; by kustomize, name `deploy/monitoring` in the `resources` of the kustomization that has the component `deploy/cert-manager`,
which changes the monitor as well: applied by itself it would trust a Secret that is not there. `deploy/service-ca` does the same on
OpenShift, with the ConfigMap `openshift-service-ca.crt`. Under OLM both
differ: copy the monitor, with `olmCAKey` of the Secret `gastown-operator-controller-manager-service-cert` as its authority and
`gastown-operator-controller-manager-service.NAMESPACE.svc` as `serverName`. No bundle brings one: `serverName` holds the namespace, which
is chosen at the installation and which nothing fills into a bundle's objects, and a bundle with a kind that the cluster does not know is not installed at all. Label
the namespace of your Prometheus: `kubectl label namespace monitoring metrics=enabled`.

## Alerts

`kubectl apply -k deploy/monitoring`, or `metrics.prometheusRule.enabled=true` beside the monitor in the chart, brings alerts as well; each has a
page under [runbooks](runbooks), which its summary names, and to which it leads where the chart is told by
`metrics.prometheusRule.runbookUrl` where you keep those pages. `make test-alerts` has each of them fire, and not fire, in Prometheus' own
engine. The bundle of the enterprise edition brings them too, but for `GastownDown`, which would fire where no monitor was made yet; so
it installs only where the kind PrometheusRule is known, as on OpenShift.

## Dashboards

`kubectl apply -k deploy/dashboards`, or `metrics.dashboards.enabled=true` in the chart, makes a ConfigMap for each dashboard, with
the label `grafana_dashboard` by which Grafana's sidecar finds it, as do both bundles; the same are in [dashboards](dashboards), to be
imported.
`fleet` is for who is on call, `tenant` for who writes Polecats, `controller` has rate, errors and duration of every controller and
webhook, and `certificates` what is served, and until when. `make test-alerts` asks every query of them about scrapes of running
operators.

## What there is

A family with labels is there once it has something to say. A scrape adds `namespace`, `pod`, `service` and `job`. What the Go
original had of refineries, convoys, phases of Rigs and calls of `gt` comes with what does that work.

| metric | type | labels | meaning |
|---|---|---|---|
";
