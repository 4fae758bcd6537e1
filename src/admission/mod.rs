//! What may be written, and what is stamped on it: pure. axum and the API server's envelope are around it, not in it.

pub mod pods;
pub mod polecat;
pub mod rig;
pub mod rules;
pub mod shard_map;
pub mod stored;

use serde_json::{Value, json};

use crate::domain::{
    names,
    tenancy::{House, Rules},
    trace::{Sampler, Seed},
    untrusted::{escape, fit},
};

/// What the operator's settings forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most seconds that a Polecat may ask for its agent.
    pub max_active_deadline: Option<i64>,
    /// What holds where a Rig does not say it.
    pub house: House,
    /// The operator has no image for agents of Polecats that name none.
    pub no_agent_image: bool,
    pub tracing: Tracing,
}

/// How runs get their traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracing {
    /// What a new trace is made of; none: this call stamps nothing.
    pub seed: Option<Seed>,
    pub sampler: Sampler,
    /// Groups whose members may have a run continue a trace of their own; `*`: everybody may.
    pub callers: &'static [String],
}

impl Tracing {
    /// Whether this user's own trace is continued.
    pub fn trusts(&self, user: &User<'_>) -> bool {
        self.callers.iter().any(|it| it == "*" || user.groups.contains(it))
    }
}

/// What the Rig that a Polecat names says of it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Rig<'a> {
    /// Nobody asked, or nobody could say: it is asked again before the pod.
    #[default]
    Unasked,
    Absent,
    There(&'a Rules),
}

/// One create or update, as the API server tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Empty where `generateName` is still to make it.
    pub name: &'a str,
    pub user: User<'a>,
    pub policy: Policy,
    /// The object as sent.
    pub sent: &'a Value,
    /// What an update replaces.
    pub stored: Option<&'a Value>,
    pub rig: Rig<'a>,
}

impl Asked<'_> {
    /// The object is in the hub's version; else in that of the original.
    pub fn is_hub(&self) -> bool {
        self.sent
            .get("apiVersion")
            .and_then(Value::as_str)
            .is_some_and(|it| it.ends_with("/v1beta1"))
    }
}

/// Who asks, by the API server's word.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct User<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
}

/// A request with the spec of its object in the hub's shape, whatever version was sent.
#[derive(Clone, Debug)]
pub struct Request<'a, S> {
    pub asked: Asked<'a>,
    pub new: S,
    pub old: Option<S>,
}

/// Why an object may not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

/// What admission makes of an object: a JSON patch, warnings that `kubectl` prints, or a refusal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The object as it is to be stored; `None`: as it was sent.
    pub changed: Option<Value>,
    /// At most 256 characters each, as the API server asks.
    pub warnings: Vec<String>,
    /// Why it may not be stored: every reason at once.
    pub refusals: Vec<Refusal>,
}

/// Annotations that say who asked, and in which trace.
const REQUESTER: [&str; 4] =
    [names::REQUESTED_BY, names::REQUESTED_BY_UID, names::REQUESTED_BY_GROUPS, names::TRACEPARENT];
/// Annotations that an update leaves as they were.
const KEPT: [&str; 1] = [names::RESTORED_FROM];

/// What an object says of itself that only we may say, by what it would be once stamped: it came past the stamping, or
/// somebody changed it since.
pub fn unstamped(asked: &Asked<'_>, stamped: Option<&Value>) -> Vec<Refusal> {
    let Some(stamped) = stamped else { return Vec::new() };
    // The status, from which the others are made, is gone from an object that is created by the time it is judged.
    let kept = KEPT.iter().filter(|_| asked.stored.is_some());
    let differ = |key: &&&str| annotation(asked.sent, key) != annotation(stamped, key);
    REQUESTER.iter().chain(kept).filter(differ).map(|key| forged(asked, key, stamped)).collect()
}

fn forged(asked: &Asked<'_>, key: &str, stamped: &Value) -> Refusal {
    let said = |it| {
        annotation(it, key)
            .map_or_else(|| "missing".into(), |it| format!("{:?}", fit(it, MAX_WARNING)))
    };
    let message = format!(
        "is {}, but the operator writes it, here {}: leave it as it was read; and see that the MutatingWebhookConfiguration \
         is installed and called",
        said(asked.sent),
        said(stamped),
    );
    Refusal { field: format!("metadata.annotations[{key}]"), message }
}

/// Longest warning that the API server passes on untruncated, in characters.
const MAX_WARNING: usize = 256;

/// Most warnings of one answer.
const WARNINGS: usize = 15;

/// A warning as the API server passes it on: one line of no more than 256 characters.
pub fn warning(text: &str) -> String {
    let text = escape(text);
    if text.chars().count() <= MAX_WARNING {
        return text;
    }
    text.chars().take(MAX_WARNING - 1).chain(['…']).collect()
}

/// All of one answer, no more than people read; `rest` follows on how many are left out.
pub fn warnings_of(mut all: Vec<String>, rest: &str) -> Vec<String> {
    if all.len() > WARNINGS {
        let more = all.len() - (WARNINGS - 1);
        all.truncate(WARNINGS - 1);
        all.push(format!("and {more} more{rest}"));
    }
    all.iter().map(|it| warning(it)).collect()
}

/// Sets string entries in a map of `metadata`, making the map where it is missing.
fn stamp(object: &mut Value, map: &str, entries: impl IntoIterator<Item = (String, String)>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let slot = metadata.entry(map).or_insert_with(|| json!({}));
    if slot.is_null() {
        *slot = json!({});
    }
    if let Some(slot) = slot.as_object_mut() {
        for (key, value) in entries {
            slot.insert(key, Value::String(value));
        }
    }
}

/// Takes an annotation away; true where it was there.
pub fn unstamp(object: &mut Value, annotation: &str) -> bool {
    let slot = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    slot.is_some_and(|it| it.remove(annotation).is_some())
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}
