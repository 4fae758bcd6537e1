//! `values.yaml` with the comments of the values' types, and the schema that Helm holds a release's values to.

use std::fmt::Write as _;

use anyhow::Context as _;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{headed, values::Values};

/// The longest line of a comment.
const WIDTH: usize = 110;

fn generated() -> anyhow::Result<Value> {
    let settings = SchemaSettings::draft07().with(|it| it.inline_subschemas = true);
    Ok(serde_json::to_value(settings.into_generator().into_root_schema_for::<Values>())?)
}

/// `values.schema.json`: nothing is required, since what is left out has a default.
pub fn schema() -> anyhow::Result<String> {
    let mut schema = generated()?;
    optional(&mut schema);
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn optional(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("properties") {
                map.remove("required");
            }
            map.values_mut().for_each(optional);
        }
        Value::Array(items) => items.iter_mut().for_each(optional),
        _ => {}
    }
}

/// `values.yaml`.
pub fn values() -> anyhow::Result<String> {
    let defaults = serde_json::to_value(Values::default())?;
    let mut text = String::new();
    write_object(&mut text, defaults.as_object().context("values")?, &generated()?, 0)?;
    Ok(headed(&text))
}

/// In the order of the schema, which is that of the type.
fn write_object(
    text: &mut String,
    defaults: &Map<String, Value>,
    schema: &Value,
    depth: usize,
) -> anyhow::Result<()> {
    let indent = "  ".repeat(depth);
    let fields = schema.get("properties").and_then(Value::as_object).context("properties")?;
    for (name, field) in fields {
        let Some(default) = defaults.get(name) else { continue };
        if let Some(doc) = field.get("description").and_then(Value::as_str) {
            for line in wrapped(&doc.replace('`', ""), WIDTH - indent.len()) {
                writeln!(text, "{indent}# {line}")?;
            }
        }
        match default.as_object() {
            Some(inner) if field.get("properties").is_some() => {
                writeln!(text, "{indent}{name}:")?;
                write_object(text, inner, field, depth + 1)?;
            }
            _ => {
                let pair = Map::from_iter([(name.clone(), default.clone())]);
                for line in serde_saphyr::to_string(&pair)?.lines() {
                    writeln!(text, "{indent}{line}")?;
                }
            }
        }
    }
    Ok(())
}

fn wrapped(doc: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in doc.split_whitespace() {
        match lines.last_mut().filter(|it| it.len() + 1 + word.len() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
