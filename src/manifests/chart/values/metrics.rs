//! Values about metrics, and about who reads them.

use schemars::JsonSchema;
use serde::Serialize;

use super::Texts;
use crate::manifests::operator;

/// Metrics.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    pub enabled: bool,
    #[schemars(range(min = 1024))]
    pub port: u16,
    /// true: over HTTPS, with a Service, for who has a token and the right to read them. false: plain, within each pod alone.
    pub secure: bool,
    /// For the Prometheus operator.
    pub service_monitor: ServiceMonitor,
    /// Alerts, for the Prometheus operator.
    pub prometheus_rule: PrometheusRule,
    /// For Grafana.
    pub dashboards: Dashboards,
}

/// What has the Prometheus operator scrape.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceMonitor {
    /// Make a `ServiceMonitor`, and an account that may read metrics. With certificates.source=secret that Secret has ca.crt, too.
    pub enabled: bool,
    /// By which your Prometheus finds it, such as release: prometheus.
    pub labels: Texts,
}

/// Alerts about the operator and what it runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusRule {
    /// Make a `PrometheusRule` about what the `ServiceMonitor` scrapes, or one of yours for the same Service; docs/runbooks has a page
    /// for each alert.
    pub enabled: bool,
    /// By which your Prometheus finds it.
    pub labels: Texts,
    /// Where you keep the pages of docs/runbooks, such as `https://git.example.com/gastown-operator/docs/runbooks`; each alert leads
    /// there by its `runbook_url` then. Empty: it has none, and its summary names the page.
    #[schemars(regex(pattern = r"^(https?://.+)?$"))]
    pub runbook_url: String,
}

/// Dashboards about the operator and what it runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dashboards {
    /// Make a `ConfigMap` for each, with the label `grafana_dashboard`, by which Grafana's sidecar finds it.
    pub enabled: bool,
    /// More labels, where your Grafana looks for others.
    pub labels: Texts,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            port: operator::METRICS_PORT,
            secure: true,
            service_monitor: ServiceMonitor { enabled: false, labels: Texts::new() },
            prometheus_rule: PrometheusRule {
                enabled: false,
                labels: Texts::new(),
                runbook_url: String::new(),
            },
            dashboards: Dashboards { enabled: false, labels: Texts::new() },
        }
    }
}
