//! Alerts, each with its runbook, from one table: the `PrometheusRule` and the pages under `docs/runbooks`. Where those can be read
//! is for who installs to say (`metrics.prometheusRule.runbookUrl` of the chart); a summary names its page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{METRICS_SERVICE, NAMESPACE};

/// The name of the rules, and of their group.
const NAME: &str = "gastown-operator";

/// One alert.
pub struct Alert {
    pub name: &'static str,
    /// `JOB` stands for the scrape's.
    pub expr: &'static str,
    /// How long it has to be so; a duration of Prometheus.
    pub lasts: &'static str,
    pub severity: Severity,
    /// One line, with the labels of what it is about.
    pub summary: &'static str,
    /// What it means, and for whom.
    pub means: &'static str,
    /// What to do, in order; each may hold a command.
    pub steps: &'static [&'static str],
}

/// How soon somebody has to look.
#[derive(Clone, Copy)]
pub enum Severity {
    /// Now.
    Critical,
    /// Today.
    Warning,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// All of them.
#[rustfmt::skip]
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "GastownReplicaDown",
        expr: "up{job=\"JOB\"} == 0",
        lasts: "1m", severity: Severity::Warning,
        summary: "Replica {{ $labels.pod }} of the operator does not answer scrapes",
        means: "Its shards go to the other replicas within 10 s of a crash, so runs go on; with fewer replicas the next crash costs more.",
        steps: &[
            "See why it is not there: `kubectl -n gastown-operator-system get pods -o wide`, `kubectl -n gastown-operator-system describe pod POD`.",
            "Restarted? The end of the last log: `kubectl -n gastown-operator-system logs POD --previous --tail=100`.",
            "Running, but not scraped? A 401 or 403 is about the token or its role, a handshake about the authority: see docs/metrics.md.",
            "One that is Pending, or was evicted, has no address and nothing to scrape, so this alert does not see it: where kube-state-metrics runs, have `kube_deployment_status_replicas_unavailable` of the Deployment alert as well.",
        ],
    },
    Alert {
        name: "GastownDown",
        expr: "absent(up{job=\"JOB\"} == 1)",
        lasts: "2m", severity: Severity::Critical,
        summary: "No replica of the operator answers scrapes",
        means: "Where none runs, nothing begins, writes of Polecats are refused by the API server, and other versions can't be read. Runs under way go on in their pods.",
        steps: &[
            "`kubectl -n gastown-operator-system get deployment,pods`; no pods at all: `kubectl -n gastown-operator-system describe replicaset`.",
            "All Pending? Room, or the PriorityClass. All crashing? `kubectl -n gastown-operator-system logs deployment/gastown-operator-controller-manager --tail=50`.",
            "All Ready? Then it is the scrape: the namespace of your Prometheus needs the label `metrics=enabled`.",
        ],
    },
    Alert {
        name: "GastownShardUnowned",
        expr: "max(gastown_shards_unowned{job=\"JOB\"}) > 0",
        lasts: "15s", severity: Severity::Critical,
        summary: "{{ $value }} shards have no owner",
        means: "In the namespaces of these shards nothing begins and nothing ends in status; a crash is taken over within 10.3 s, so this is more than that.",
        steps: &[
            "`kubectl gt shards`: which shards, and which replicas are silent; `kubectl -n gastown-operator-system get shardmap gastown -o yaml`: since when, by the condition `AllOwned`, as long as some replica can write.",
            "Replicas that can't write Leases: `kubectl -n gastown-operator-system get leases`, and the API server's latency.",
            "`gastown_validity_left_seconds` near 0 on all replicas: the API server is slow or away, and takes are held back for safety.",
        ],
    },
    Alert {
        name: "GastownWebhookSlow",
        expr: "histogram_quantile(0.99, sum by (webhook, le) (rate(controller_runtime_webhook_latency_seconds_bucket{job=\"JOB\"}[5m]))) > 1",
        lasts: "5m", severity: Severity::Warning,
        summary: "One call in a hundred of {{ $labels.webhook }} takes longer than {{ $value }} s",
        means: "The API server gives a call 2 or 3 seconds: slower ones are refused (validation) or skipped (stamping).",
        steps: &[
            "Processor: throttled containers answer late; `kubectl -n gastown-operator-system top pods`, and raise the limit or the replicas.",
            "`/validate` asks the API server about Rigs and Secrets: see its latency, and `GastownThrottled`.",
            "`/convert` takes long lists: who lists everything in an older version?",
        ],
    },
    Alert {
        name: "GastownWebhookRefusals",
        expr: "sum by (webhook) (rate(gastown_webhook_refusals_total{job=\"JOB\"}[10m])) / sum by (webhook) (rate(controller_runtime_webhook_requests_total{job=\"JOB\",code=\"200\"}[10m])) > 0.5 and sum by (webhook) (increase(gastown_webhook_refusals_total{job=\"JOB\"}[10m])) > 10",
        lasts: "5m", severity: Severity::Warning,
        summary: "{{ $labels.webhook }} refuses more than half of what it is asked about",
        means: "Somebody writes what is not allowed, again and again: a pipeline with an old template, or a policy that was tightened.",
        steps: &[
            "Who and what: the API server's audit log, or the operator's log for pods (`Refused a pod`).",
            "Try it: `kubectl apply --dry-run=server -f FILE` says every finding with its field; `kubectl gt check -f FILE` says the same for pods.",
            "Not meant? Rules of pods are set by `--pod-policy` and its exceptions (docs/admission.md), those of Rigs by their spec.",
        ],
    },
    Alert {
        name: "GastownQueueOld",
        expr: "max by (pod, controller) (gastown_queue_oldest_seconds{job=\"JOB\"}) > 60 unless on (pod) gastown_original_acts{job=\"JOB\"} == 1",
        lasts: "2m", severity: Severity::Warning,
        summary: "An object waits {{ $value }} s in the queue of {{ $labels.controller }} on {{ $labels.pod }}",
        means: "Work comes in faster than it is done, or the workers wait for the API server.",
        steps: &[
            "`gastown_reconcile_duration_seconds`: long passes are a slow API server.",
            "`gastown_reconcile_errors_total` by `error_type`: passes that fail come again.",
            "Many objects at a time: more replicas share the namespaces, and `--max-running-per-namespace` bounds a tenant (docs/brakes.md).",
        ],
    },
    Alert {
        name: "GastownCertificateExpires",
        expr: "(gastown_certificate_not_after_seconds{job=\"JOB\"} > 0) - time() < 172800",
        lasts: "10m", severity: Severity::Critical,
        summary: "The certificate that {{ $labels.pod }} serves ends in {{ $value | humanizeDuration }}",
        means: "A leaf of our own is renewed 56 hours before its end, so this one was not. Once it ends, the API server calls no webhook.",
        steps: &[
            "`gastown_certificate_degraded` and the log (`Degraded`) say what is wrong.",
            "Rights on the Secret: `kubectl auth can-i update secrets/gastown-operator-webhook-certificates -n gastown-operator-system --as=system:serviceaccount:gastown-operator-system:gastown-operator-controller-manager`.",
            "docs/certificates.md says how to begin a new authority.",
            "Where certificates come from files, who brings them renews them: see cert-manager, service-ca or OLM (which does so a day before the end, so that this alert may come before it).",
        ],
    },
    Alert {
        name: "GastownCaBundleWrong",
        expr: "max(gastown_certificate_degraded{job=\"JOB\",reason=\"BundleFoughtOver\"}) == 1 or sum(increase(gastown_webhook_untrusted_handshakes_total{job=\"JOB\"}[5m])) > 3",
        lasts: "1m", severity: Severity::Critical,
        summary: "Callers of the webhooks do not trust the certificate that they are shown",
        means: "A caBundle of a webhook configuration or definition is not the one that is served: calls fail, and writes of our kinds with them.",
        steps: &[
            "Somebody else writes it (`BundleFoughtOver`): a GitOps tool that applies our webhooks with a caBundle; leave the field out there.",
            "Certificates from files: is the bundle in the configuration the authority of the file? `kubectl get validatingwebhookconfiguration gastown-operator-validating-webhook-configuration -o jsonpath='{.webhooks[0].clientConfig.caBundle}' | base64 -d | openssl x509 -noout -subject -enddate`.",
            "Other callers than the API server (a probe, a person with curl) are counted as well, and few of theirs raise nothing: an API server that does not trust comes back with every write. Its log says so; the operator's does not.",
        ],
    },
    Alert {
        name: "GastownMigrationStalled",
        expr: "max by (resource) (gastown_storage_migrating{job=\"JOB\"}) == 1 and on (resource) sum by (resource) (increase(gastown_storage_objects_written_total{job=\"JOB\"}[30m])) == 0",
        lasts: "30m", severity: Severity::Warning,
        summary: "Objects of {{ $labels.resource }} are still stored in an older version, and none was written in half an hour",
        means: "Nothing is lost; but the next release may not serve that version, and must not be installed before.",
        steps: &[
            "The log says why: objects that are refused are named.",
            "Put such an object right, or delete it; `kubectl gt storage migrate` goes on at once.",
            "docs/versions.md has the way back.",
        ],
    },
    Alert {
        name: "GastownPolecatsStuck",
        expr: "sum by (polecat_namespace, rig) (gastown_polecats{job=\"JOB\",phase=\"Stuck\"}) > 0",
        lasts: "15m", severity: Severity::Warning,
        summary: "{{ $value }} Polecats of Rig {{ $labels.rig }} in {{ $labels.polecat_namespace }} are Stuck",
        means: "They do not go on by themselves. For whoever wrote them, seldom for who runs the operator.",
        steps: &[
            "`kubectl get polecats -n NAMESPACE --field-selector status.phase=Stuck`, and `kubectl gt polecat status NAME -n NAMESPACE`: reason and advice.",
            "docs/failures.md has every reason. Many with the same one: a registry, a git host or a credential is gone.",
            "Put it right, set `desiredState` to Idle and back to Working; or delete the Polecat.",
        ],
    },
    Alert {
        name: "GastownRigFails",
        expr: "sum by (rig) (increase(gastown_polecat_runs_total{job=\"JOB\",result=\"done\"}[1h])) / sum by (rig) (increase(gastown_polecat_runs_total{job=\"JOB\"}[1h])) < 0.5 and sum by (rig) (increase(gastown_polecat_runs_total{job=\"JOB\"}[1h])) >= 5",
        lasts: "10m", severity: Severity::Warning,
        summary: "More than half of the runs of Rig {{ $labels.rig }} failed in the last hour",
        means: "Something that its runs share is broken: repository, credential, agent image, model provider.",
        steps: &[
            "`kubectl get polecats -A -o wide | grep RIG`: which reasons.",
            "The agent's own words: `kubectl logs POD -c claude`.",
            "Stop the loss meanwhile: `kubectl gt pause rig RIG`.",
        ],
    },
    Alert {
        name: "GastownSpansLost",
        expr: "sum by (reason) (increase(gastown_spans_lost_total{job=\"JOB\"}[10m])) > 0",
        lasts: "5m", severity: Severity::Warning,
        summary: "{{ $value }} spans were lost in ten minutes: {{ $labels.reason }}",
        means: "Traces have holes. Nothing else suffers: exporting never holds anything up.",
        steps: &[
            "`refused`: the collector's answer is in the log; a page that some web server answers with is none of a collector's. `no-answer`: is it there, and does the network policy let it be reached?",
            "`queue-full`: the collector is slower than the spans come; sample less (`OTEL_TRACES_SAMPLER_ARG`), or a longer queue (`OTEL_BSP_MAX_QUEUE_SIZE`).",
            "docs/tracing.md has all settings.",
        ],
    },
    Alert {
        name: "GastownThrottled",
        expr: "sum by (pod) (rate(rest_client_requests_total{job=\"JOB\",code=\"429\"}[5m])) > 0.1",
        lasts: "5m", severity: Severity::Warning,
        summary: "The API server answers {{ $labels.pod }} with 429",
        means: "It has no room for our requests: runs begin late. Leases go by a level of their own.",
        steps: &[
            "Are the FlowSchemas there? `kubectl get flowschemas | grep gastown`.",
            "Which of ours: `sum by (method, resource) (rate(rest_client_requests_total{code=\"429\"}[5m]))`; lists, watches and Leases are counted too.",
            "Who floods it: `apiserver_flowcontrol_rejected_requests_total` by `flow_schema`.",
            "A quota on Polecats, or `--max-running-per-namespace`, bounds a tenant (docs/brakes.md).",
        ],
    },
];

impl Alert {
    /// Its expression about the scrape of this job.
    pub fn expression(&self) -> String {
        self.expr.replace("JOB", METRICS_SERVICE)
    }

    fn rule(&self) -> Value {
        json!({
            "alert": self.name,
            "expr": self.expression(),
            "for": self.lasts,
            "labels": {"severity": self.severity.word()},
            "annotations": {
                "summary": format!("{} ({})", self.summary, self.page()),
                "description": self.means,
            },
        })
    }

    /// Where its runbook is in a checkout.
    fn page(&self) -> String {
        format!("docs/runbooks/{}.md", self.name)
    }

    fn runbook(&self) -> String {
        let mut page = format!(
            "<!-- Generated from src/manifests/alerts.rs by `cargo run --bin manifests`; edits are overwritten. -->\n# {}\n\n\
             Severity {}, after {}.\n\n## What it means\n\n{}\n\n## What to do\n\n",
            self.name,
            self.severity.word(),
            self.lasts,
            self.means,
        );
        for (index, step) in self.steps.iter().enumerate() {
            let _ = writeln!(page, "{}. {step}", index + 1);
        }
        let _ = write!(page, "\n## When it fires\n\n```promql\n{}\n```\n", self.expression());
        page
    }
}

/// For the Prometheus operator.
pub fn rules() -> Value {
    object(ALERTS.iter())
}

/// Those that say nothing where nobody scrapes.
pub fn rules_of_scrapes() -> Value {
    object(ALERTS.iter().filter(|it| !it.expr.starts_with("absent(")))
}

/// Fast enough for the shortest of them.
fn object<'a>(alerts: impl Iterator<Item = &'a Alert>) -> Value {
    let rules: Vec<Value> = alerts.map(Alert::rule).collect();
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"groups": [{"name": NAME, "interval": "15s", "rules": rules}]},
    })
}

/// The runbooks.
pub fn runbooks() -> Vec<(String, String)> {
    ALERTS.iter().map(|it| (it.page(), it.runbook())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::meters::table, domain::shard::vacant, manifests::dashboards::named};

    #[test]
    fn alerts_ask_for_metrics_that_there_are_and_say_what_to_do() {
        for it in ALERTS {
            for metric in named(it.expr) {
                assert!(table::row(&metric).is_some(), "{}: there is no {metric}", it.name);
            }
            assert!(it.expr.contains("JOB"), "{}: of whose scrape?", it.name);
            assert!(it.steps.len() > 2 && it.means.len() > 40, "{} says too little", it.name);
        }
    }

    #[test]
    fn an_alert_names_its_page_and_leads_to_no_address_that_nobody_gave() {
        for rule in ALERTS.iter().map(Alert::rule) {
            let name = rule["alert"].as_str().unwrap();
            let summary = rule["annotations"]["summary"].as_str().unwrap();
            assert!(summary.ends_with(&format!(" (docs/runbooks/{name}.md)")), "{summary}");
            assert!(!rule["annotations"].to_string().contains("://"), "{rule}");
        }
    }

    #[test]
    fn the_alert_fires_when_the_condition_says_so() {
        let alert = ALERTS.iter().find(|it| it.name == "GastownShardUnowned").unwrap();
        assert_eq!(alert.lasts, format!("{}s", vacant::LASTS.as_secs()));
    }
}
