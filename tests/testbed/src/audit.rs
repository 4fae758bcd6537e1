//! Reads the API server's audit log: who asked for what, when, and what came of it. This is how requests
//! are counted.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// One request. A watch is one from the moment it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The client's name.
    pub user: String,
    /// Plural, such as `pods`; empty for a request that is about no resource.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    pub user_agent: String,
    /// Path and query, as asked.
    pub uri: String,
    /// When the request came in.
    pub time: Timestamp,
    /// When it was answered; of a watch, when it began.
    pub done: Timestamp,
    /// What the API server's own parts and webhooks noted: `WEBHOOK/KEY` and value.
    pub annotations: BTreeMap<String, String>,
    /// What a write of a Lease asked for; unset where it is a write of anything else, or says nothing of either.
    pub lease: Option<Held>,
}

/// Of whom a Lease is to be, and after how many changes of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Empty: nobody's.
    pub holder: String,
    pub transitions: i32,
}

impl Event {
    /// What a webhook noted under this key.
    pub fn noted(&self, key: &str) -> Option<&str> {
        let is = |name: &str| name.rsplit_once('/').is_some_and(|(_, it)| it == key);
        self.annotations.iter().find(|(name, _)| is(name)).map(|(_, value)| value.as_str())
    }

    /// Whether it asked for a change. A review is created to be answered, and stored nowhere.
    pub fn is_write(&self) -> bool {
        let verb = self.verb.as_str();
        matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection")
            && !self.resource.ends_with("reviews")
    }
}

/// Every request in the log, in the order in which they were answered. A line that is still being written
/// is left out.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no audit log", path.display()))
}

/// The watches that have begun and not ended, in the order in which they began.
pub fn read_watches(path: &Path) -> Result<Vec<Event>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    under_way(&text).with_context(|| format!("{} is no audit log", path.display()))
}

fn parse(text: &str) -> Result<Vec<Event>> {
    let mut seen = HashSet::new();
    // A watch is logged when it begins and again when it ends.
    let first = |it: &Entry| seen.insert(it.audit_id.clone());
    Ok(entries(text)?.into_iter().filter(first).map(Event::from).collect())
}

fn under_way(text: &str) -> Result<Vec<Event>> {
    let all = entries(text)?;
    let ended = all.iter().filter(|it| it.stage != BEGUN).map(|it| it.audit_id.clone());
    let ended: HashSet<_> = ended.collect();
    let is = |it: &Entry| it.verb == "watch" && !ended.contains(&it.audit_id);
    Ok(all.into_iter().filter(is).map(Event::from).collect())
}

fn entries(text: &str) -> Result<Vec<Entry>> {
    let complete = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let entry = |line| serde_json::from_str(line).with_context(|| format!("line {line:?}"));
    complete.lines().map(not_cut).map(entry).collect()
}

/// The stage of a watch that has begun.
const BEGUN: &str = "ResponseStarted";

/// An API server that is killed while it writes leaves part of a line, and its successor goes on in it.
fn not_cut(line: &str) -> &str {
    line.rfind(BEGIN).and_then(|at| line.get(at..)).unwrap_or(line)
}

/// How each line begins; within one its quotes would be escaped.
const BEGIN: &str = "{\"kind\":\"Event\",";

/// An event as the API server writes it, as far as it is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(default)]
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Logged of writes of Leases alone.
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

/// What the body of a write of a Lease asks for: all of it, or a patch.
fn held(body: &Value) -> Option<Held> {
    let holder = body.pointer("/spec/holderIdentity").and_then(Value::as_str);
    let transitions = body.pointer("/spec/leaseTransitions").and_then(Value::as_i64);
    holder
        .zip(transitions.and_then(|it| it.try_into().ok()))
        .map(|(holder, transitions)| Held { holder: holder.to_owned(), transitions })
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        let lease =
            if entry.object_ref.resource == "leases" { held(&entry.request_object) } else { None };
        let Object { resource, subresource, namespace, name } = entry.object_ref;
        Self {
            verb: entry.verb,
            user: entry.user.username,
            resource,
            subresource,
            namespace,
            name,
            code: entry.response_status.code,
            user_agent: entry.user_agent,
            uri: entry.request_uri,
            time: entry.request_received_timestamp,
            done: entry.stage_timestamp,
            annotations: entry.annotations,
            lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_one_event() {
        let line = |id: &str, stage: &str, verb: &str| {
            format!(
                "{{\"auditID\":\"{id}\",\"stage\":\"{stage}\",\"verb\":\"{verb}\",\"requestURI\":\"/api/v1/pods\",\
                 \"user\":{{\"username\":\"operator-0\"}},\"userAgent\":\"x/1\",\"objectRef\":{{\"resource\":\"pods\",\
                 \"namespace\":\"n\"}},\"responseStatus\":{{\"code\":200}},\
                 \"requestReceivedTimestamp\":\"2026-01-02T03:04:05.678901Z\",\
                 \"stageTimestamp\":\"2026-01-02T03:04:05.778901Z\"}}\n"
            )
        };
        let text = [
            line("1", "ResponseStarted", "watch"),
            line("2", "ResponseComplete", "create"),
            line("1", "ResponseComplete", "watch"),
            line("4", "ResponseStarted", "watch"),
        ];
        let text = text.concat() + "{\"auditID\":\"3\",\"st";
        let events = parse(&text).unwrap();
        assert_eq!(
            events.iter().map(|it| it.verb.as_str()).collect::<Vec<_>>(),
            ["watch", "create", "watch"]
        );
        assert_eq!(under_way(&text).unwrap(), events[2..], "one that has ended is not under way");
        let create = &events[1];
        assert!(create.is_write() && !events[0].is_write());
        for review in ["tokenreviews", "subjectaccessreviews"] {
            assert!(!Event { resource: review.into(), ..create.clone() }.is_write(), "{review}");
        }
        assert_eq!(
            (create.user.as_str(), create.resource.as_str(), create.code),
            ("operator-0", "pods", 200)
        );
        assert_eq!(create.time.to_string(), "2026-01-02T03:04:05.678901Z");
    }

    #[test]
    fn a_write_of_a_lease_says_whose_it_is_to_be() {
        let line = |resource: &str, spec: &str| {
            let text = format!(
                "{{\"auditID\":\"1\",\"verb\":\"update\",\"requestURI\":\"/\",\"user\":{{}},\"objectRef\":{{\"resource\":\"{resource}\"}},\
                 \"requestObject\":{{\"spec\":{spec}}},\"requestReceivedTimestamp\":\"2026-01-02T03:04:05Z\",\
                 \"stageTimestamp\":\"2026-01-02T03:04:05Z\"}}\n"
            );
            parse(&text).unwrap().remove(0).lease
        };
        let spec = "{\"holderIdentity\":\"a\",\"leaseTransitions\":3}";
        let held = Held { holder: "a".into(), transitions: 3 };
        assert_eq!(line("leases", spec), Some(held));
        assert_eq!(line("leases", "{\"renewTime\":\"now\"}"), None, "it says nothing of either");
        assert_eq!(line("pods", spec), None, "a pod is nobody's");
    }

    #[test]
    fn what_a_server_did_not_write_to_its_end_costs_nothing_of_its_successors() {
        let line = |id: &str| {
            format!(
                "{{\"kind\":\"Event\",\"auditID\":\"{id}\",\"verb\":\"get\",\"requestURI\":\"/{id}\",\"user\":{{}},\
                 \"requestReceivedTimestamp\":\"2026-01-02T03:04:05Z\",\"stageTimestamp\":\"2026-01-02T03:04:05Z\"}}\n"
            )
        };
        let (first, cut, next) = (line("1"), line("2"), line("3"));
        let cut = cut.get(..cut.len() / 2).unwrap();
        let all = parse(&format!("{first}{cut}{next}")).unwrap();
        assert_eq!(all.iter().map(|it| &*it.uri).collect::<Vec<_>>(), ["/1", "/3"]);
    }

    #[test]
    fn what_is_no_audit_log_is_refused() {
        assert!(parse("I1124 starting\n").is_err());
        assert_eq!(parse("").unwrap(), []);
    }
}
