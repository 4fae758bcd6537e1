//! `kubectl gt report`: what somebody who helps from afar needs to see, in one archive, and nothing that he must not. All of it
//! goes through [`Redaction`]; no Secret and no `ConfigMap` is read. What can't be read is listed in `missing.txt`.

mod archive;
mod gather;
mod logs;
mod operator;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::{
    archive::Archive,
    gather::{Gathering, Scope},
};
use super::table;
use crate::{cluster::reading::Reader, domain::redaction::Redaction, manifests};

/// What goes into a report, and where it goes.
#[derive(Debug, Args)]
pub struct Asked {
    /// polecat/NAME, or NAME: this one, with its Rig and its pods; unset: all of the namespace
    #[arg(conflicts_with = "all")]
    name: Option<String>,
    /// Everything in every namespace
    #[arg(long)]
    all: bool,
    /// An archive to be made, such as report.tgz, or a folder that is there
    #[arg(long, short, value_name = "FILE|FOLDER")]
    output: PathBuf,
    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = manifests::NAMESPACE)]
    operator_namespace: String,
    /// Lines of the end of each log
    #[arg(long, value_name = "LINES", default_value_t = 500, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    lines: i64,
}

/// Makes it; the answer says where it is and what is missing.
pub async fn run(reader: &Reader, namespace: &str, asked: &Asked) -> anyhow::Result<String> {
    let name = asked.name.as_deref();
    let name =
        name.map(|it| it.strip_prefix("polecat/").or(it.strip_prefix("polecats/")).unwrap_or(it));
    let scope = match name {
        Some(name) => Scope::One { namespace: namespace.into(), name: name.into() },
        None if asked.all => Scope::All,
        None => Scope::Namespace(namespace.into()),
    };
    let at = reader.now();
    let mut archive = Archive::create(&asked.output, at.as_second().try_into().unwrap_or(0))?;
    let mut it = Gathering::new(reader, scope, &asked.operator_namespace);
    let objects = it.objects().await?;
    let (pods, replicas) = (it.pods(&objects).await, it.replicas().await);
    let redaction = Redaction::knowing(objects.iter().chain(&pods).chain(&replicas));

    for object in &objects {
        archive.yaml(&gather::path("objects", object), &redaction.of(object))?;
    }
    archive.text("conditions.txt", &redaction.of_text(&conditions(&objects)))?;
    for (namespace, events) in it.events(&objects, &pods).await {
        archive.yaml(&format!("events/{namespace}.yaml"), &redaction.of(&events))?;
    }
    for pod in pods.iter().chain(&replicas) {
        archive.yaml(&format!("{}/pod.yaml", logs::folder(pod)), &redaction.of(pod))?;
    }
    logs::write(&mut it, (&pods, &replicas), asked.lines, (&mut archive, &redaction)).await?;
    operator::write(&mut it, &replicas, (&mut archive, &redaction)).await?;

    let whole = json!({
        "program": format!("kubectl-gt {}", env!("CARGO_PKG_VERSION")),
        "at": at.to_string(),
        "of": it.scope.to_string(),
        "apiServer": it.version().await,
        "objects": objects.len(),
        "pods": pods.len(),
        "replicas": replicas.len(),
        "missing": it.missing.len(),
    });
    archive.yaml("report.yaml", &redaction.of(&whole))?;
    let missing = redaction.of_text(&it.missing()).text();
    archive.text("missing.txt", &redaction.of_text(&missing))?;
    let (files, to) = (archive.finish()?, asked.output.display());
    Ok(format!(
        "Wrote {files} files to {to}. Secrets, tokens, keys and prompts are taken out; look through it before you send it.\n\
         Missing: {missing}"
    ))
}

/// Every condition of every object, in a table.
fn conditions(objects: &[Value]) -> String {
    let text = |it: &Value, at: &str| {
        it.pointer(at).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
    };
    let mut rows = Vec::new();
    for object in objects {
        let all = object.pointer("/status/conditions").and_then(Value::as_array);
        for it in all.into_iter().flatten() {
            let of = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(object, at));
            let what = ["/type", "/status", "/reason", "/lastTransitionTime", "/message"];
            rows.push(of.into_iter().chain(what.map(|at| text(it, at))).collect());
        }
    }
    let header = ["KIND", "NAMESPACE", "NAME", "TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"];
    table::render(&header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_lines() {
        let object = json!({
            "kind": "Polecat", "metadata": {"namespace": "town", "name": "max"},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed", "message": "a\nb"}]},
        });
        let text = conditions(&[object, json!({"kind": "Rig"})]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("False    PodFailed           a b\n"), "{text}");
    }
}
