//! The ends of logs: of the replicas, and of the containers of runs.

use anyhow::Result;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::{
    archive::Archive,
    gather::{Gathering, text},
};
use crate::{cluster::gathering::Part, domain::redaction::Redaction};

/// Most agent pods whose logs are read; of more the youngest.
const MOST: usize = 200;
/// Logs read at a time.
const AT_ONCE: usize = 8;

/// One log.
struct Wanted<'v> {
    pod: &'v Value,
    container: &'v str,
    part: Part,
}

/// Writes them beside their pods.
pub async fn write(
    it: &mut Gathering<'_>,
    (pods, replicas): (&[Value], &[Value]),
    lines: i64,
    (archive, redaction): (&mut Archive, &Redaction),
) -> Result<()> {
    let mut youngest: Vec<_> = pods.iter().collect();
    youngest.sort_by_key(|it| std::cmp::Reverse(text(it, "/metadata/creationTimestamp")));
    for pod in youngest.iter().skip(MOST) {
        it.missing.push(format!("log of {}: there are more than {MOST} pods", folder(pod)));
    }
    youngest.truncate(MOST);
    let all = replicas.iter().chain(youngest).flat_map(|pod| wanted(pod, lines));
    let reader = it.reader;
    let mut read = stream::iter(all.map(|wanted| async move {
        let pod = wanted.pod;
        let of = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"), wanted.container);
        let outcome = reader.log(of, wanted.part).await;
        (wanted, outcome)
    }))
    .buffered(AT_ONCE);
    while let Some((wanted, outcome)) = read.next().await {
        let before = if matches!(wanted.part, Part::Before(_)) { ".previous" } else { "" };
        let path = format!("{}/{}{before}.log", folder(wanted.pod), wanted.container);
        match outcome {
            Ok(text) => archive.text(&path, &redaction.of_text(&text))?,
            Err(error) => it.missing.push(format!("{path}: {error:#}")),
        }
    }
    Ok(())
}

/// Where everything about a pod is written.
pub fn folder(pod: &Value) -> String {
    format!("pods/{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"))
}

/// Of every container that has begun, and of the one before it where it was begun anew.
fn wanted(pod: &Value, lines: i64) -> Vec<Wanted<'_>> {
    let of = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = of.into_iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten();
    let mut all = Vec::new();
    for status in statuses {
        let container = text(status, "/name");
        let begun = ["/state/running", "/state/terminated"]
            .into_iter()
            .any(|at| status.pointer(at).is_some_and(|it| !it.is_null()));
        if begun {
            all.push(Wanted { pod, container, part: Part::End(lines) });
        }
        if status.pointer("/restartCount").and_then(Value::as_u64).is_some_and(|it| it > 0) {
            all.push(Wanted { pod, container, part: Part::Before(lines) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn logs_of_what_has_begun_are_wanted() {
        let pod = json!({"status": {
            "initContainerStatuses": [{"name": "git-init", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [
                {"name": "claude", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 2},
                {"name": "telemetry", "state": {"running": {}}, "restartCount": 0},
                {"name": "late", "state": {"waiting": {"reason": "ContainerCreating"}}},
            ],
        }});
        let all: Vec<_> = wanted(&pod, 9).iter().map(|it| (it.container, it.part)).collect();
        let want =
            [("git-init", Part::End(9)), ("claude", Part::Before(9)), ("telemetry", Part::End(9))];
        assert_eq!(all, want);
    }
}
