//! `docs/api.md`: every field of every served version, as the schemas say it.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use crate::kinds::{KINDS, Kind};

const HEAD: &str = "<!-- Generated from src/kinds.rs by `cargo run --bin manifests`; edits are overwritten. -->\n\
    # API reference\n\n\
    Every field of every kind and version that is served. `x[]` is an item of a list, `x.*` a value of a map. The same texts \
    are in `kubectl explain`. The status is written by the operator alone.\n";

/// The whole page.
pub fn page() -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for kind in KINDS {
        let mut crd = serde_json::to_value(kind.definition())?;
        super::whole_numbers(&mut crd);
        let versions = at(at(&crd, "spec"), "versions").as_array().context("a CRD has versions")?;
        for version in versions.iter().filter(|it| at(it, "served") == true) {
            section(&mut page, kind, at(&crd, "spec"), version);
        }
    }
    Ok(page)
}

fn section(page: &mut String, kind: &Kind, spec: &Value, version: &Value) {
    let name = text(at(version, "name"));
    let _ = write!(page, "\n## {} `{}/{name}`\n\n{}\n", kind.kind, kind.group, kind.doc);
    if !kind.reconciled {
        page.push_str("Stored; its controller is not in this release.\n");
    }
    let _ = write!(page, "\n{}", text(at(spec, "scope")));
    for (what, names) in [
        ("short names", listed(at(at(spec, "names"), "shortNames"), |it| text(it).to_owned())),
        (
            "field selectors",
            listed(at(version, "selectableFields"), |it| {
                text(at(it, "jsonPath")).trim_start_matches('.').to_owned()
            }),
        ),
        (
            "columns",
            listed(at(version, "additionalPrinterColumns"), |it| text(at(it, "name")).to_owned()),
        ),
    ] {
        if !names.is_empty() {
            let _ = write!(page, "; {what}: {names}");
        }
    }
    page.push_str(
        ".\n\n| field | type | default | bounds | description |\n|---|---|---|---|---|\n",
    );
    let mut tables = String::new();
    fields(page, &mut tables, at(at(version, "schema"), "openAPIV3Schema"), "");
    page.push_str(&tables);
}

/// A row for each field below, in the order of their names.
fn fields(page: &mut String, tables: &mut String, schema: &Value, path: &str) {
    let required = at(schema, "required").as_array();
    for (name, field) in at(schema, "properties").as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let mut bounds = bounds(field);
        if required.is_some_and(|it| it.iter().any(|it| it == name)) {
            bounds.insert(0, "required".into());
        }
        let default = field
            .get("default")
            .map(|it| format!("`{}`", cell(&it.to_string())))
            .unwrap_or_default();
        let (words, table) = split(text(at(field, "description")));
        let _ = writeln!(
            page,
            "| `{path}` | {} | {default} | {} | {} |",
            type_of(field),
            cell(&bounds.join("; ")),
            cell(&words),
        );
        if !table.is_empty() {
            let _ = write!(tables, "\n`{path}`:\n\n{table}");
        }
        below(page, tables, field, &path);
    }
}

fn below(page: &mut String, tables: &mut String, field: &Value, path: &str) {
    fields(page, tables, field, path);
    if at(field, "items").is_object() {
        below(page, tables, at(field, "items"), &format!("{path}[]"));
    }
    if at(field, "additionalProperties").is_object() {
        below(page, tables, at(field, "additionalProperties"), &format!("{path}.*"));
    }
}

fn type_of(field: &Value) -> String {
    if at(field, "items").is_object() {
        return format!("list of {}", type_of(at(field, "items")));
    }
    if at(field, "additionalProperties").is_object() {
        return format!("map of {}", type_of(at(field, "additionalProperties")));
    }
    if at(field, "x-kubernetes-int-or-string") == true {
        return "integer or string".into();
    }
    match (text(at(field, "type")), text(at(field, "format"))) {
        (name, "") => name.to_owned(),
        (name, format) => format!("{name} ({format})"),
    }
}

/// Everything that a value is held to.
fn bounds(field: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let values = listed(at(field, "enum"), |it| format!("`{it}`"));
    if !values.is_empty() {
        all.push(values);
    }
    for (key, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "shortest"),
        ("maxLength", "longest"),
        ("minItems", "fewest items"),
        ("maxItems", "most items"),
        ("minProperties", "fewest keys"),
        ("maxProperties", "most keys"),
        ("pattern", "pattern"),
    ] {
        match field.get(key) {
            Some(Value::String(it)) => all.push(format!("{words} `{it}`")),
            Some(it) => all.push(format!("{words} {it}")),
            None => {}
        }
    }
    let keys = listed(at(field, "x-kubernetes-list-map-keys"), |it| format!("`{}`", text(it)));
    if !keys.is_empty() {
        all.push(format!("one item per {keys}"));
    }
    if at(field, "x-kubernetes-list-type") == "set" {
        all.push("each item once".into());
    }
    let rules = at(field, "x-kubernetes-validations").as_array().into_iter().flatten();
    all.extend(rules.map(|it| text(it.get("message").unwrap_or(at(it, "rule"))).to_owned()));
    let inner = field.get("items").or_else(|| field.get("additionalProperties"));
    all.extend(inner.map(bounds).unwrap_or_default().into_iter().map(|it| format!("each: {it}")));
    all
}

/// What is under a key; nothing, as null, where there is none.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn listed(values: &Value, name: impl Fn(&Value) -> String) -> String {
    let names: Vec<_> = values.as_array().into_iter().flatten().map(name).collect();
    names.join(", ")
}

/// Words, and the table among them, which has no place in a cell.
fn split(description: &str) -> (String, String) {
    let (table, words): (Vec<&str>, Vec<&str>) =
        description.lines().map(str::trim).partition(|it| it.starts_with('|'));
    let table = table.into_iter().flat_map(|it| [it, "\n"]).collect();
    (words.join(" ").split_whitespace().collect::<Vec<_>>().join(" "), table)
}

fn cell(words: &str) -> String {
    words.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells of a row, as a Markdown reader sees them.
    fn cells(row: &str) -> Vec<String> {
        let row = row.replace("\\|", "\u{1}");
        let inner = row.trim_start_matches("| ").trim_end_matches('|');
        inner.split('|').map(|it| it.trim().to_owned()).collect()
    }

    #[test]
    fn every_field_has_a_row_of_five_cells_and_says_what_it_is() {
        let page = page().unwrap();
        let old = |it: &&str| it.lines().next().is_some_and(|it| it.ends_with("/v1alpha1`"));
        let page: String = page.split("\n## ").filter(old).collect();
        let rows: Vec<_> = page
            .lines()
            .filter(|it| it.starts_with("| `spec") || it.starts_with("| `status"))
            .map(cells)
            .collect();
        assert!(rows.len() > 150, "{} rows", rows.len());
        for row in &rows {
            let [field, type_, _, _, words] = row.as_slice() else { panic!("{row:?}") };
            assert!(!type_.is_empty(), "{field} has no type");
            assert!(words.len() > 3, "{field}: `kubectl explain` says nothing of it");
        }
    }

    #[test]
    fn bounds_and_defaults_and_tables_are_told() {
        let page = page().unwrap();
        let old = |it: &&str| it.lines().next().is_some_and(|it| it.ends_with("/v1alpha1`"));
        let page: String = page.split("\n## ").filter(old).collect();
        let row = |field: &str| {
            let start = format!("| `{field}` |");
            cells(
                page.lines().find(|it| it.starts_with(&start)).unwrap_or_else(|| panic!("{field}")),
            )
        };
        let most = row("spec.settings.maxPolecats");
        assert_eq!(most[1..4], ["integer", "`8`", "at least 1; at most 100"]);
        assert!(row("spec.rig")[3].starts_with("required; a Polecat stays with its Rig"), "rules");
        let prefix = row("spec.beadsPrefix");
        assert!(prefix[3].starts_with("required; pattern `^[a-z]{2,10}$`; "), "{prefix:?}");
        assert!(page.contains("\n`spec.agentConfig`:\n\n| provider |"), "a table of its own");
    }
}
