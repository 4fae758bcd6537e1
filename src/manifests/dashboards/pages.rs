//! What each dashboard shows.

use super::{Choice, Dashboard, Looks, Panel};

type Asks = &'static [(&'static str, &'static str)];

const fn number(title: &'static str, unit: &'static str, asks: Asks) -> Panel {
    Panel { title, looks: Looks::Number, unit, asks }
}

const fn lines(title: &'static str, unit: &'static str, asks: Asks) -> Panel {
    Panel { title, looks: Looks::Lines, unit, asks }
}

/// Whose scrape it is: several installations can write into one Prometheus.
const JOB: Choice =
    Choice { name: "job", label: "Installation", of: ("gastown_build_info", "job"), many: false };

#[rustfmt::skip]
pub const FLEET: Dashboard = Dashboard {
    name: "fleet", title: "fleet",
    about: "Whether the operator works, and what it runs: for who is on call",
    choices: &[JOB],
    panels: &[
        number("Replicas that answer", "short", &[(r#"sum(up{job=~"$job"})"#, "")]),
        number("Shards without an owner", "short", &[(r#"max(gastown_shards_unowned{job=~"$job"})"#, "")]),
        number("Polecats", "short", &[(r#"sum(gastown_polecats{job=~"$job"})"#, "")]),
        number("Stuck", "short", &[(r#"sum(gastown_polecats{job=~"$job",phase="Stuck"})"#, "")]),
        number("Done, of the runs of a day", "percentunit", &[(r#"sum(increase(gastown_polecat_runs_total{job=~"$job",result="done"}[1d])) / sum(increase(gastown_polecat_runs_total{job=~"$job"}[1d]))"#, "")]),
        number("Longest wait in a queue", "s", &[(r#"max(gastown_queue_oldest_seconds{job=~"$job"})"#, "")]),
        lines("Polecats by phase", "short", &[(r#"sum by (phase) (gastown_polecats{job=~"$job"})"#, "{{phase}}")]),
        lines("Runs that ended, per hour", "short", &[(r#"sum by (result) (rate(gastown_polecat_runs_total{job=~"$job"}[$__rate_interval])) * 3600"#, "{{result}}")]),
        lines("The ten biggest Rigs", "short", &[(r#"topk(10, sum by (rig) (gastown_polecats{job=~"$job"}))"#, "{{rig}}")]),
        lines("Done, of the runs of an hour, by Rig", "percentunit", &[(r#"sum by (rig) (increase(gastown_polecat_runs_total{job=~"$job",result="done"}[1h])) / sum by (rig) (increase(gastown_polecat_runs_total{job=~"$job"}[1h]))"#, "{{rig}}")]),
        lines("Shards by replica", "short", &[(r#"sum by (pod) (gastown_shards_owned{job=~"$job"})"#, "{{pod}}")]),
        lines("Time that nobody worked in a shard, p99 of an hour", "s", &[(r#"histogram_quantile(0.99, sum by (cause, le) (increase(gastown_shard_gap_seconds_bucket{job=~"$job"}[1h])))"#, "{{cause}}")]),
        lines("Requests to the API server, by code", "reqps", &[(r#"sum by (code) (rate(rest_client_requests_total{job=~"$job"}[$__rate_interval]))"#, "{{code}}")]),
        lines("Calls of webhooks, by code", "reqps", &[(r#"sum by (code) (rate(controller_runtime_webhook_requests_total{job=~"$job"}[$__rate_interval]))"#, "{{code}}")]),
        lines("Processor", "short", &[(r#"sum by (pod) (rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval]))"#, "{{pod}}")]),
        lines("Resident memory", "bytes", &[(r#"sum by (pod) (process_resident_memory_bytes{job=~"$job"})"#, "{{pod}}")]),
        lines("Telemetry that the collector took", "ops", &[
            (r#"sum(rate(gastown_spans_exported_total{job=~"$job"}[$__rate_interval]))"#, "spans"),
            (r#"sum(rate(gastown_log_lines_exported_total{job=~"$job"}[$__rate_interval]))"#, "lines of the log"),
            (r#"sum(rate(gastown_metric_exports_total{job=~"$job"}[$__rate_interval]))"#, "all metrics"),
        ]),
        lines("Telemetry that was lost", "ops", &[
            (r#"sum by (reason) (rate(gastown_spans_lost_total{job=~"$job"}[$__rate_interval]))"#, "spans: {{reason}}"),
            (r#"sum by (reason) (rate(gastown_log_lines_lost_total{job=~"$job"}[$__rate_interval]))"#, "lines of the log: {{reason}}"),
            (r#"sum by (reason) (rate(gastown_metric_exports_lost_total{job=~"$job"}[$__rate_interval]))"#, "all metrics: {{reason}}"),
        ]),
        lines("What runs", "short", &[(r#"count by (version) (gastown_build_info{job=~"$job"})"#, "{{version}}")]),
        lines("Time since the start", "s", &[(r#"time() - max by (pod) (process_start_time_seconds{job=~"$job"})"#, "{{pod}}")]),
    ],
};

#[rustfmt::skip]
pub const TENANTS: Dashboard = Dashboard {
    name: "tenant", title: "tenant",
    about: "Polecats of chosen namespaces and Rigs, and how long they wait: for who writes them. Runs are counted by Rig alone",
    choices: &[
        JOB,
        Choice { name: "namespace", label: "Namespace", of: (r#"gastown_polecats{job=~"$job"}"#, "polecat_namespace"), many: true },
        Choice { name: "rig", label: "Rig", of: (r#"gastown_polecats{job=~"$job",polecat_namespace=~"$namespace"}"#, "rig"), many: true },
    ],
    panels: &[
        number("Polecats", "short", &[(r#"sum(gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig"})"#, "")]),
        number("Working", "short", &[(r#"sum(gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig",phase="Working"})"#, "")]),
        number("Done", "short", &[(r#"sum(gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig",phase="Done"})"#, "")]),
        number("Stuck", "short", &[(r#"sum(gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig",phase="Stuck"})"#, "")]),
        number("Done, of the Rigs' runs of a day", "percentunit", &[(r#"sum(increase(gastown_polecat_runs_total{job=~"$job",rig=~"$rig",result="done"}[1d])) / sum(increase(gastown_polecat_runs_total{job=~"$job",rig=~"$rig"}[1d]))"#, "")]),
        lines("Polecats by phase", "short", &[(r#"sum by (phase) (gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig"})"#, "{{phase}}")]),
        lines("Polecats by namespace, the ten biggest", "short", &[(r#"topk(10, sum by (polecat_namespace) (gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig"}))"#, "{{polecat_namespace}}")]),
        lines("Polecats by Rig, the ten biggest", "short", &[(r#"topk(10, sum by (rig) (gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig"}))"#, "{{rig}}")]),
        lines("Stuck, by namespace and Rig", "short", &[(r#"sum by (polecat_namespace, rig) (gastown_polecats{job=~"$job",polecat_namespace=~"$namespace",rig=~"$rig",phase="Stuck"})"#, "{{polecat_namespace}} {{rig}}")]),
        lines("Runs of the Rigs that ended, per hour", "short", &[(r#"sum by (rig, result) (rate(gastown_polecat_runs_total{job=~"$job",rig=~"$rig"}[$__rate_interval])) * 3600"#, "{{rig}} {{result}}")]),
        lines("Done, of the runs of an hour, by Rig", "percentunit", &[(r#"sum by (rig) (increase(gastown_polecat_runs_total{job=~"$job",rig=~"$rig",result="done"}[1h])) / sum by (rig) (increase(gastown_polecat_runs_total{job=~"$job",rig=~"$rig"}[1h]))"#, "{{rig}}")]),
        lines("Wait for a worker, everybody's, p99", "s", &[(r#"histogram_quantile(0.99, sum by (le) (rate(workqueue_queue_duration_seconds_bucket{job=~"$job",controller="polecat"}[$__rate_interval])))"#, "all of it")]),
        lines("Wait of a namespace that has nothing else queued, p99", "s", &[(r#"histogram_quantile(0.99, sum by (le) (rate(gastown_queue_alone_seconds_bucket{job=~"$job",controller="polecat"}[$__rate_interval])))"#, "alone in its namespace")]),
        lines("Wait behind other namespaces, p99", "s", &[(r#"histogram_quantile(0.99, sum by (le) (rate(gastown_queue_turn_seconds_bucket{job=~"$job",controller="polecat"}[$__rate_interval])))"#, "behind others")]),
    ],
};

#[rustfmt::skip]
pub const CONTROLLERS: Dashboard = Dashboard {
    name: "controller", title: "controllers and webhooks",
    about: "Rate, errors and duration of every controller and webhook, and what they depend on",
    choices: &[JOB],
    panels: &[
        lines("Passes", "ops", &[(r#"sum by (controller, result) (rate(gastown_reconcile_total{job=~"$job"}[$__rate_interval]))"#, "{{controller}} {{result}}")]),
        lines("Failed passes", "ops", &[(r#"sum by (controller, error_type) (rate(gastown_reconcile_errors_total{job=~"$job"}[$__rate_interval]))"#, "{{controller}} {{error_type}}")]),
        lines("Length of a pass", "s", &[
            (r#"histogram_quantile(0.5, sum by (controller, le) (rate(gastown_reconcile_duration_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{controller}} p50"),
            (r#"histogram_quantile(0.99, sum by (controller, le) (rate(gastown_reconcile_duration_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{controller}} p99"),
        ]),
        lines("Wait in the queue", "s", &[
            (r#"histogram_quantile(0.99, sum by (controller, le) (rate(workqueue_queue_duration_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{controller}} p99"),
            (r#"max by (controller) (gastown_queue_oldest_seconds{job=~"$job"})"#, "{{controller}} oldest"),
        ]),
        lines("Objects in the queue", "short", &[(r#"sum by (controller) (workqueue_depth{job=~"$job"})"#, "{{controller}}")]),
        lines("Objects in the caches", "short", &[(r#"sum by (controller) (gastown_cached_objects{job=~"$job"})"#, "{{controller}}")]),
        lines("Calls of webhooks", "reqps", &[(r#"sum by (webhook, code) (rate(controller_runtime_webhook_requests_total{job=~"$job"}[$__rate_interval]))"#, "{{webhook}} {{code}}")]),
        lines("Time until a webhook answers", "s", &[
            (r#"histogram_quantile(0.5, sum by (webhook, le) (rate(controller_runtime_webhook_latency_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{webhook}} p50"),
            (r#"histogram_quantile(0.99, sum by (webhook, le) (rate(controller_runtime_webhook_latency_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{webhook}} p99"),
        ]),
        lines("Refusals of webhooks", "reqps", &[(r#"sum by (webhook) (rate(gastown_webhook_refusals_total{job=~"$job"}[$__rate_interval]))"#, "{{webhook}}")]),
        lines("Requests to the API server", "reqps", &[(r#"sum by (resource, method, code) (rate(rest_client_requests_total{job=~"$job"}[$__rate_interval]))"#, "{{method}} {{resource}} {{code}}")]),
        lines("Begun anew or skipped, in an hour", "short", &[
            (r#"sum by (controller) (increase(gastown_watch_errors_total{job=~"$job"}[1h]))"#, "watch of {{controller}} failed"),
            (r#"sum by (task, controller) (increase(gastown_task_restarts_total{job=~"$job"}[1h]))"#, "{{task}} of {{controller}} begun anew"),
            (r#"sum by (controller) (increase(controller_runtime_reconcile_panics_total{job=~"$job"}[1h]))"#, "pass of {{controller}} panicked"),
            (r#"sum by (controller) (increase(gastown_undecodable_objects_total{job=~"$job"}[1h]))"#, "unreadable {{controller}}"),
        ]),
        lines("Leave to act that was left when a write began", "s", &[
            (r#"histogram_quantile(0.01, sum by (pod, le) (rate(gastown_validity_left_seconds_bucket{job=~"$job"}[$__rate_interval])))"#, "{{pod}} p1"),
        ]),
        lines("Writes not made, since the session had lapsed or the shard was lost, in an hour", "short", &[(r#"sum by (pod) (increase(gastown_fenced_writes_total{job=~"$job"}[1h]))"#, "{{pod}}")]),
        lines("Who may act", "short", &[
            (r#"sum by (pod) (leader_election_master_status{job=~"$job"})"#, "{{pod}} may write"),
            (r#"sum by (pod) (gastown_original_acts{job=~"$job"})"#, "{{pod}} waits for the Go original"),
        ]),
        lines("Epochs of shards", "short", &[(r#"max by (shard) (gastown_shard_epoch{job=~"$job"})"#, "{{shard}}")]),
        lines("Objects stored in an older version", "short", &[
            (r#"max by (resource) (gastown_old_versions_stored{job=~"$job"})"#, "{{resource}} may be there"),
            (r#"max by (resource) (gastown_storage_migrating{job=~"$job"})"#, "{{resource}} is to be written"),
            (r#"sum by (resource) (increase(gastown_storage_objects_written_total{job=~"$job"}[1h]))"#, "{{resource}} written in an hour"),
        ]),
        lines("Open file descriptors", "short", &[(r#"sum by (pod) (process_open_fds{job=~"$job"})"#, "{{pod}}")]),
    ],
};

#[rustfmt::skip]
pub const CERTIFICATES: Dashboard = Dashboard {
    name: "certificates", title: "certificates",
    about: "What the webhooks serve, until when, whether it is trusted, and by which cryptography",
    choices: &[JOB],
    panels: &[
        number("The first one ends in", "s", &[(r#"min(gastown_certificate_not_after_seconds{job=~"$job"} > 0) - time()"#, "")]),
        number("Our authority", "short", &[(r#"max(gastown_certificate_authority{job=~"$job"})"#, "")]),
        number("Not trusted, in an hour", "short", &[(r#"sum(increase(gastown_webhook_untrusted_handshakes_total{job=~"$job"}[1h]))"#, "")]),
        lines("Time until the certificate ends", "s", &[(r#"max by (pod) (gastown_certificate_not_after_seconds{job=~"$job"} > 0) - time()"#, "{{pod}}")]),
        lines("What is wrong with our certificates", "short", &[(r#"max by (reason) (gastown_certificate_degraded{job=~"$job"})"#, "{{reason}}")]),
        lines("Handshakes broken off over the certificate", "ops", &[(r#"sum by (pod) (rate(gastown_webhook_untrusted_handshakes_total{job=~"$job"}[$__rate_interval]))"#, "{{pod}}")]),
        lines("Connections that came to nothing, by reason", "ops", &[(r#"sum by (reason) (rate(gastown_webhook_turned_away_total{job=~"$job"}[$__rate_interval]))"#, "{{reason}}")]),
        lines("Authority by replica", "short", &[(r#"max by (pod) (gastown_certificate_authority{job=~"$job"})"#, "{{pod}}")]),
        lines("Cryptography by replica", "short", &[(r#"count by (module, version, fips_mode, kernel_fips) (gastown_crypto_module{job=~"$job"})"#, "{{module}} {{version}}, FIPS mode {{fips_mode}}, kernel {{kernel_fips}}")]),
        lines("What is wrong with the cluster's TLS profile", "short", &[(r#"max by (reason) (gastown_tls_profile_degraded{job=~"$job"})"#, "{{reason}}")]),
    ],
};
