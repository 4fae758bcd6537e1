//! Dashboards for Grafana, from tables of panels over the metrics' table: as `ConfigMap`s that its sidecar finds, and as files to
//! import. What a panel's metrics mean is what their table says.

mod pages;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::pages::{CERTIFICATES, CONTROLLERS, FLEET, TENANTS};
use super::NAMESPACE;
use crate::cluster::meters::table::{self, Row, Sort};

/// Beginnings of metrics' names.
const OURS: [&str; 6] =
    ["gastown_", "workqueue_", "rest_client_", "controller_runtime_", "process_", "leader_"];
/// Where dashboards can be imported from.
const FOLDER: &str = "docs/dashboards";
/// By which Grafana's sidecar finds them.
const SIDECAR: &str = "grafana_dashboard";
/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// All of them.
pub const DASHBOARDS: [Dashboard; 4] = [FLEET, TENANTS, CONTROLLERS, CERTIFICATES];

/// One page.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// Of its file, its `ConfigMap` and its address.
    pub name: &'static str,
    title: &'static str,
    about: &'static str,
    choices: &'static [Choice],
    panels: &'static [Panel],
}

/// What whoever looks at it chooses: values of a label.
#[derive(Clone, Copy, Debug)]
struct Choice {
    name: &'static str,
    label: &'static str,
    /// Series that have the label, and the label.
    of: (&'static str, &'static str),
    /// Several at a time, or all.
    many: bool,
}

/// A part of a page.
#[derive(Clone, Copy, Debug)]
struct Panel {
    title: &'static str,
    looks: Looks,
    /// As Grafana calls it.
    unit: &'static str,
    /// Queries, and how their series are called.
    asks: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Looks {
    /// As it is now.
    Number,
    /// Over time.
    Lines,
}

impl Looks {
    /// Grafana's word, and width and height on its grid.
    const fn drawn(self) -> (&'static str, u32, u32) {
        match self {
            Self::Number => ("stat", 4, 4),
            Self::Lines => ("timeseries", 12, 8),
        }
    }
}

/// Metrics that an expression names, as the table calls them.
pub fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let words = words.filter(|it| OURS.iter().any(|start| it.starts_with(start)));
    let family = |it: &str| {
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| it.strip_suffix(end));
        let histogram =
            ends.filter(|it| table::row(it).is_some_and(|it| it.sort == Sort::Histogram));
        histogram.unwrap_or(it).to_owned()
    };
    words.map(family).collect()
}

impl Dashboard {
    /// Every query of it, by what it is for. Choices are asked as series that have a value to choose.
    pub fn queries(&self) -> Vec<(String, String)> {
        let choices = self.choices.iter().map(|it| {
            let (series, label) = it.of;
            (format!("{}: {}", self.name, it.name), format!("count by ({label}) ({series})"))
        });
        let panels = self.panels.iter().flat_map(|panel| {
            panel.asks.iter().enumerate().map(move |(index, (expression, _))| {
                let name = format!("{}: {} {}", self.name, panel.title, index + 1);
                (name, (*expression).to_owned())
            })
        });
        choices.chain(panels).collect()
    }

    /// As Grafana reads it.
    fn model(&self) -> Value {
        let (mut x, mut y, mut row) = (0, 0, 0);
        let mut panels = Vec::new();
        for (panel, id) in self.panels.iter().zip(1..) {
            let (_, width, height) = panel.looks.drawn();
            if x + width > COLUMNS || (row != height && x > 0) {
                (x, y) = (0, y + row);
            }
            row = height;
            panels.push(panel.model(id, &json!({"x": x, "y": y, "w": width, "h": height})));
            x += width;
        }
        let choices = self.choices.iter().map(Choice::model);
        json!({
            "uid": format!("gastown-{}", self.name),
            "title": format!("Gas Town: {}", self.title),
            "description": self.about,
            "tags": ["gastown"],
            "schemaVersion": 39,
            "editable": true,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "links": [{"type": "dashboards", "tags": ["gastown"], "title": "Gas Town", "asDropdown": true, "keepTime": true}],
            "templating": {"list": std::iter::once(source()).chain(choices).collect::<Vec<_>>()},
            "panels": panels,
        })
    }

    fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&self.model())? + "\n")
    }
}

/// Which Prometheus is asked.
fn source() -> Value {
    json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"})
}

fn asked() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Choice {
    fn model(&self) -> Value {
        let (series, label) = self.of;
        let query = format!("label_values({series}, {label})");
        json!({
            "name": self.name, "label": self.label, "type": "query", "datasource": asked(),
            "query": {"query": query, "refId": self.name}, "definition": query,
            "refresh": 2, "sort": 1, "multi": self.many, "includeAll": self.many,
            "allValue": self.many.then_some(".*"),
        })
    }
}

impl Panel {
    /// What its metrics mean, by their table.
    fn about(&self) -> String {
        let mut told = BTreeSet::new();
        let names = self.asks.iter().flat_map(|it| named(it.0));
        let rows = names.filter(|it| told.insert(it.clone())).filter_map(|it| table::row(&it));
        rows.map(|Row { name, help, .. }| format!("{name}: {help}."))
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    fn model(&self, id: u32, place: &Value) -> Value {
        let (kind, ..) = self.looks.drawn();
        let asks = self.asks.iter().zip('A'..).map(|((expression, called), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": asked(), "expr": expression,
                "legendFormat": called, "instant": self.looks == Looks::Number, "range": self.looks == Looks::Lines,
            })
        });
        let options = match self.looks {
            Looks::Number => {
                json!({"textMode": "auto", "colorMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}})
            }
            Looks::Lines => json!({
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        };
        json!({
            "id": id, "type": kind, "title": self.title, "description": self.about(), "gridPos": place,
            "datasource": asked(), "targets": asks.collect::<Vec<_>>(), "options": options,
            // Families with labels begin with their first event.
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0, "noValue": "0"}, "overrides": []},
        })
    }
}

/// `ConfigMap`s with them.
pub fn objects() -> anyhow::Result<Vec<Value>> {
    let object = |it: &Dashboard| {
        let file = format!("gastown-{}.json", it.name);
        Ok(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": format!("gastown-operator-dashboard-{}", it.name), "namespace": NAMESPACE,
                "labels": {SIDECAR: "1"},
            },
            "data": {file: it.text()?},
        }))
    };
    DASHBOARDS.iter().map(object).collect()
}

/// The same as files.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    DASHBOARDS.iter().map(|it| Ok((format!("{FOLDER}/{}.json", it.name), it.text()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics that no panel shows, and why.
    const ELSEWHERE: &[(&str, &str)] =
        &[("gastown_polecat_phase_total", "the Go original's name for what gastown_polecats says")];

    #[test]
    fn every_metric_is_shown_and_nothing_else_is_asked_for() {
        let mut shown = BTreeSet::new();
        for (name, query) in DASHBOARDS.iter().flat_map(Dashboard::queries) {
            let metrics = named(&query);
            for it in &metrics {
                assert!(table::row(it).is_some(), "{name}: there is no {it}");
            }
            let own = query.contains("job=~\"$job\"") || name.ends_with(": job");
            assert!(own, "{name}: of whose scrape?");
            shown.extend(metrics);
        }
        let all = table::TABLE.iter().map(|it| it.name.to_owned());
        let hidden: Vec<_> = all.filter(|it| !shown.contains(it)).collect();
        assert_eq!(hidden, ELSEWHERE.iter().map(|it| it.0).collect::<Vec<_>>());
    }

    #[test]
    fn labels_of_queries_are_those_of_the_table() {
        for (name, query) in DASHBOARDS.iter().flat_map(Dashboard::queries) {
            let of_scrape = ["job", "pod", "le"];
            let rows: Vec<_> = named(&query).iter().filter_map(|it| table::row(it)).collect();
            for by in query.split(" by (").skip(1).map(|it| it.split(')').next().unwrap()) {
                for label in by.split(", ") {
                    let known = of_scrape.contains(&label)
                        || rows.iter().any(|it| it.labels.contains(&label));
                    assert!(known, "{name}: {label}");
                }
            }
        }
    }

    #[test]
    fn panels_do_not_overlap_and_say_what_they_show() {
        for it in DASHBOARDS {
            let mut taken = BTreeSet::new();
            for panel in it.model()["panels"].as_array().unwrap() {
                let at = |part: &str| panel["gridPos"][part].as_u64().unwrap();
                assert!(at("x") + at("w") <= u64::from(COLUMNS), "{}", panel["title"]);
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{}: {} overlaps", it.name, panel["title"]);
                    }
                }
                let of_scrape = panel["targets"][0]["expr"].as_str().unwrap().contains("up{");
                assert!(of_scrape || panel["description"] != "", "{}", panel["title"]);
            }
        }
    }
}
