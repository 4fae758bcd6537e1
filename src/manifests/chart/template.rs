//! Objects as templates: what a release decides (namespace, service account, labels, certificates) is put where the objects
//! have our own names, in their text. YAML is written line by line, so lines are what is replaced.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::headed;
use crate::manifests::{
    NAMESPACE, SERVICE_ACCOUNT, WEBHOOK_SERVICE, network::COLLECTORS, operator::HEALTH_PORT,
};

/// Stands where lines of the chart's own come; no object has it.
const MARK: &str = "gastown.io/chart-mark";
/// What follows the mark in an alert, before its name.
const RUNBOOK: &str = "runbook ";

/// A template of these objects, which a condition may leave out.
pub fn write(objects: &[Value], condition: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if !condition.is_empty() {
        writeln!(text, "{{{{- if {condition} }}}}")?;
    }
    for object in objects {
        let yaml = serde_saphyr::to_string(&marked(object.clone()))?;
        text.push_str("---\n");
        for line in yaml.lines() {
            for line in templated(line) {
                writeln!(text, "{line}")?;
            }
        }
    }
    if !condition.is_empty() {
        writeln!(text, "{{{{- end }}}}")?;
    }
    Ok(headed(&text))
}

/// With a place for the annotations that a release adds, where it adds any.
fn marked(object: Value) -> Value {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let kept = match &*kind {
        "CustomResourceDefinition" => "annotations.definition",
        _ if kind.ends_with("WebhookConfiguration") => "annotations.webhooks",
        // What keeps objects whole while nobody converts must outlast the release.
        "ServiceMonitor" => return with_mark(trusting(object), "labels", "labels.monitor"),
        "ConfigMap" => return with_mark(object, "labels", "labels.dashboards"),
        "PrometheusRule" => return with_mark(with_runbooks(object), "labels", "labels.rules"),
        "Service" if name == WEBHOOK_SERVICE => "annotations.service",
        _ if name.starts_with(crate::manifests::switched_off::NAME) => "annotations.kept",
        _ => return object,
    };
    with_mark(object, "annotations", kept)
}

/// A monitor with a place for whom it trusts.
fn trusting(mut object: Value) -> Value {
    if let Some(whom) = object.pointer_mut("/spec/endpoints/0/tlsConfig/ca") {
        *whom = json!({MARK: "monitor.trusts"});
    }
    object
}

/// With a mark in each alert, at whose place comes where its runbook is, if a release says where those are.
fn with_runbooks(mut object: Value) -> Value {
    let groups = object.pointer_mut("/spec/groups").and_then(Value::as_array_mut);
    let rules = groups.into_iter().flatten().filter_map(|it| it.get_mut("rules")?.as_array_mut());
    for rule in rules.flatten() {
        let name = rule.get("alert").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(all) = rule.get_mut("annotations").and_then(Value::as_object_mut) {
            all.insert(MARK.into(), format!("{RUNBOOK}{name}").into());
        }
    }
    object
}

/// With a mark among its labels or annotations, at whose place the chart's lines of that name come.
fn with_mark(mut object: Value, among: &str, which: &str) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let all = metadata.entry(among).or_insert_with(|| json!({}));
        if let Some(all) = all.as_object_mut() {
            all.insert(MARK.into(), which.into());
        }
    }
    object
}

/// One line as the lines that it becomes.
fn templated(line: &str) -> Vec<String> {
    let said = line.trim_start();
    let indent = line.strip_suffix(said).unwrap_or_default();
    if let Some(kept) = said.strip_prefix(MARK) {
        let which = kept.trim_start_matches(':').trim();
        if let Some(alert) = which.strip_prefix(RUNBOOK) {
            return vec![
                format!("{indent}{{{{- with .Values.metrics.prometheusRule.runbookUrl }}}}"),
                format!(
                    "{indent}runbook_url: {{{{ printf \"%s/{alert}.md\" (trimSuffix \"/\" .) | quote }}}}"
                ),
                format!("{indent}{{{{- end }}}}"),
            ];
        }
        return vec![format!(
            "{indent}{{{{- include \"gastown-operator.{which}\" . | nindent {} }}}}",
            indent.len()
        )];
    }
    let instance = format!("{indent}app.kubernetes.io/instance: {{{{ .Release.Name | quote }}}}");
    match said {
        "control-plane: controller-manager" => vec![line.to_owned(), instance],
        _ if said.starts_with("app.kubernetes.io/version:") => vec![
            format!("{indent}app.kubernetes.io/version: {{{{ .Chart.AppVersion | quote }}}}"),
            format!("{indent}app.kubernetes.io/managed-by: {{{{ .Release.Service }}}}"),
            format!("{indent}helm.sh/chart: {{{{ include \"gastown-operator.chart\" . }}}}"),
        ],
        _ if said == format!("- port: {HEALTH_PORT}") => {
            vec![format!("{indent}- port: {{{{ .Values.probes.healthPort }}}}")]
        }
        _ if said == format!("- port: {}", COLLECTORS[0]) => vec![
            format!("{indent}{{{{- range .Values.networkPolicy.egressPorts }}}}"),
            format!("{indent}- port: {{{{ int . }}}}"),
            format!("{indent}  protocol: TCP"),
            format!("{indent}{{{{- end }}}}"),
            line.to_owned(),
        ],
        "clientConfig:" => vec![
            line.to_owned(),
            format!("{indent}  {{{{- with .Values.certificates.caBundle }}}}"),
            format!("{indent}  caBundle: {{{{ . | quote }}}}"),
            format!("{indent}  {{{{- end }}}}"),
        ],
        _ => vec![with_account(&with_namespace(&line.replace("{{", "{{ \"{{\" }}")))],
    }
}

/// With the release's namespace for ours. Where it is the whole value it is quoted, since `true` and `1234` are names of
/// namespaces, and in YAML no strings.
fn with_namespace(line: &str) -> String {
    let whole = line.strip_suffix(NAMESPACE).filter(|it| it.ends_with(": ") || it.ends_with("- "));
    match whole {
        Some(before) => format!("{before}{{{{ .Release.Namespace | quote }}}}"),
        None => line.replace(NAMESPACE, "{{ .Release.Namespace }}"),
    }
}

/// With the release's service account for ours; a longer name that begins with it is another's.
fn with_account(line: &str) -> String {
    let mut parts = line.split(SERVICE_ACCOUNT);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let longer = part.starts_with('-');
        let whole = part.is_empty() && text.ends_with(": ");
        text.push_str(match (longer, whole) {
            (true, _) => SERVICE_ACCOUNT,
            (false, true) => "{{ include \"gastown-operator.serviceAccountName\" . | quote }}",
            (false, false) => "{{ include \"gastown-operator.serviceAccountName\" . }}",
        });
        text.push_str(part);
    }
    text
}
