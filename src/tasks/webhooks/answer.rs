//! What is answered to one review: `/mutate` stamps and refuses nothing, since nobody waits for it; `/validate` sees the
//! object last, refuses, and changes nothing.

use std::borrow::Cow;

use axum::http::StatusCode;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
    response::{StatusCause, StatusDetails},
};
use serde_json::Value;

use crate::{
    admission::{self, Asked, Policy, Refusal, Rig, User, Verdict},
    domain::{
        names,
        references::Reference,
        secrets::Needed,
        trace::{Context, Run, Said},
        untrusted,
    },
    kinds::{self, Kind},
};

/// Longest answer, in characters; who reads it in a terminal reads no more. kubectl prints no message, but the causes: they
/// are held to it as well.
const MAX_MESSAGE: usize = 1500;
/// Longest name in it, and longest path of a field, in bytes.
const NAMED: usize = 253;
/// Room for the path from which on there are more, and how many.
const MORE: usize = NAMED + 50;

/// What was found out about the names in an object.
#[derive(Debug, Default)]
pub struct Named {
    pub warnings: Vec<String>,
    pub refusals: Vec<Refusal>,
}

/// A create or update of one of our kinds, as `admission` reads it.
struct Write<'a> {
    kind: &'static Kind,
    request: &'a AdmissionRequest<DynamicObject>,
    sent: Value,
    stored: Option<Value>,
}

impl<'a> Write<'a> {
    /// Nothing else is any business of ours, nor what is on its way out.
    fn of(request: &'a AdmissionRequest<DynamicObject>) -> Option<Self> {
        let kind = kinds::find(&request.resource.group, &request.resource.resource)?;
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let object = request.object.as_ref().filter(|_| writes)?;
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let sent = serde_json::to_value(object).ok()?;
        let stored = request.old_object.as_ref().and_then(|it| serde_json::to_value(it).ok());
        Some(Self { kind, request, sent, stored })
    }

    fn asked<'b>(&'b self, policy: Policy, rig: Rig<'b>) -> Asked<'b> {
        let user = &self.request.user_info;
        let user = User {
            name: user.username.as_deref().unwrap_or_default(),
            uid: user.uid.as_deref().unwrap_or_default(),
            groups: user.groups.as_deref().unwrap_or_default(),
        };
        let (sent, stored) = (&self.sent, self.stored.as_ref());
        Asked { name: self.name(), user, policy, sent, stored, rig }
    }

    fn name(&self) -> &str {
        if !self.request.name.is_empty() {
            return &self.request.name;
        }
        self.sent.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The trace of the run that a write is about, once it is stamped.
pub fn run(request: &AdmissionRequest<DynamicObject>) -> Option<Run> {
    let meta = &request.object.as_ref()?.metadata;
    run_of(request, meta.annotations.as_ref()?.get(names::TRACEPARENT)?)
}

fn run_of(request: &AdmissionRequest<DynamicObject>, stamp: &str) -> Option<Run> {
    let kind = kinds::find(&request.resource.group, &request.resource.resource)?;
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let meta = &request.object.as_ref().filter(|_| writes)?.metadata;
    if kind.kind != "Polecat" || request.dry_run || meta.deletion_timestamp.is_some() {
        return None;
    }
    let name = Some(&request.name).filter(|it| !it.is_empty()).or(meta.name.as_ref());
    let said = Said {
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        name: name.map(String::as_str).unwrap_or_default(),
        uid: "",
        context: Context::parse(stamp),
        recorded: (None, None),
    };
    said.context.map(|_| Run::of(&said, 1))
}

/// What is stamped on an object, and the trace of its run. What is wrong with it is said by [`judged`].
pub fn stamped(
    request: &AdmissionRequest<DynamicObject>,
    policy: Policy,
) -> (AdmissionResponse, Option<Run>) {
    let mut response = AdmissionResponse::from(request);
    let Some(write) = Write::of(request) else { return (response, None) };
    let Verdict { changed, warnings, .. } =
        kinds::admit(write.kind, &write.asked(policy, Rig::Unasked));
    let stamp = admission::annotation(changed.as_ref().unwrap_or(&write.sent), names::TRACEPARENT);
    let run = stamp.and_then(|it| run_of(request, it));
    if let Some(after) = changed {
        let patch = json_patch::diff(&write.sent, &after);
        if let Ok(patched) = response.clone().with_patch(patch) {
            response = patched;
        }
    }
    response.warnings = (!warnings.is_empty()).then(|| admission::warnings_of(warnings, ""));
    (response, run)
}

/// What is to be asked about who asks.
pub fn references(request: &AdmissionRequest<DynamicObject>) -> Vec<Reference> {
    let write = Write::of(request);
    let references = write.map(|it| {
        let asked = it.asked(Policy::default(), Rig::Unasked);
        kinds::references(it.kind, &asked)
    });
    references.unwrap_or_default()
}

/// The Secrets that what is written names anew.
pub fn secrets(request: &AdmissionRequest<DynamicObject>) -> Vec<Needed> {
    let write = Write::of(request);
    let found = write.map(|it| kinds::secrets(it.kind, &it.asked(Policy::default(), Rig::Unasked)));
    found.unwrap_or_default()
}

/// Whether an object may be stored, with everything that is wrong with it. `named` is what was found out about its names.
pub fn judged(
    request: &AdmissionRequest<DynamicObject>,
    policy: Policy,
    rig: Rig<'_>,
    named: Named,
) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let Some(write) = Write::of(request) else { return deleted(request, response) };
    let asked = write.asked(policy, rig);
    let Verdict { changed, mut warnings, mut refusals } = kinds::admit(write.kind, &asked);
    warnings.extend(named.warnings);
    refusals.extend(named.refusals);
    refusals.extend(admission::unstamped(&asked, changed.as_ref()));
    let mut response =
        if refusals.is_empty() { response } else { refused(response, &write, &refusals) };
    response.warnings = (!warnings.is_empty()).then(|| admission::warnings_of(warnings, ""));
    record(&mut response, &write, &refusals);
    response
}

/// With a word on what goes with an object that is deleted; nobody is kept from it.
fn deleted(
    request: &AdmissionRequest<DynamicObject>,
    mut response: AdmissionResponse,
) -> AdmissionResponse {
    let kind = kinds::find(&request.resource.group, &request.resource.resource);
    let told = kind.and_then(|it| Some((it, it.goes_with?)));
    let old = request.old_object.as_ref().filter(|_| request.operation == Operation::Delete);
    let old = old.filter(|it| it.metadata.deletion_timestamp.is_none());
    let (Some((kind, goes_with)), Some(old)) = (told, old) else { return response };
    let stored = serde_json::to_value(old).unwrap_or_default();
    let warnings = goes_with(&stored);
    response.warnings = (!warnings.is_empty()).then(|| admission::warnings_of(warnings, ""));
    note(&mut response, kind, &stored, request);
    response
}

/// 422 with a cause for each field, as the API server answers for its own kinds.
fn refused(
    response: AdmissionResponse,
    write: &Write<'_>,
    refusals: &[Refusal],
) -> AdmissionResponse {
    let (kind, name) = (write.kind, untrusted::fit(write.name(), NAMED));
    let head = format!("{} \"{name}\" is invalid:", kind.kind);
    let told = told(&head, refusals);
    let lines = told.iter().map(|it| format!("\n{}: {}", it.field, it.message));
    let mut response = response.deny(std::iter::once(head).chain(lines).collect::<String>());
    response.result.code = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    response.result.reason = "Invalid".into();
    let cause = |it: &Refusal| StatusCause {
        reason: "FieldValueInvalid".into(),
        message: it.message.clone(),
        field: it.field.clone(),
    };
    response.result.details = Some(StatusDetails {
        name,
        group: kind.group.into(),
        kind: kind.kind.into(),
        uid: String::new(),
        causes: told.iter().map(cause).collect(),
        retry_after_seconds: 0,
    });
    response
}

/// What is wrong, as far as there is room below such a head, and how many more there are.
fn told(head: &str, refusals: &[Refusal]) -> Vec<Refusal> {
    // kubectl says "The " before it, and has a star on each line.
    let mut left = MAX_MESSAGE.saturating_sub(head.chars().count() + "The  \n".len() + MORE);
    let length = |field: &str, message: &str| {
        field.chars().count() + message.chars().count() + "* : \n".len()
    };
    let mut told = Vec::new();
    for (at, it) in refusals.iter().enumerate() {
        let (field, mut message) = (untrusted::fit(&it.field, NAMED), it.message.clone());
        if at == 0 && length(&field, &message) > left {
            // One at least is told.
            message = untrusted::fit(&message, left.saturating_sub(length(&field, "")).max(3));
        }
        let taken = length(&field, &message);
        if taken > left {
            message = format!("and {} more, from this one on", refusals.len() - at);
            told.push(Refusal { field, message });
            break;
        }
        left -= taken;
        told.push(Refusal { field, message });
    }
    told
}

/// Into the API server's audit log what was decided, and a line into ours where it was a refusal: which fields and whose
/// request, never what the fields hold.
fn record(response: &mut AdmissionResponse, write: &Write<'_>, refusals: &[Refusal]) {
    let fields: Vec<&str> = refusals.iter().map(|it| it.field.as_str()).collect();
    let violations = fields.join(", ");
    note(response, write.kind, &write.sent, write.request);
    response.audit_annotations.insert("violations".into(), violations.clone());
    if refusals.is_empty() {
        return;
    }
    tracing::warn!(
        uid = write.request.uid,
        kind = write.kind.kind,
        namespace = write.request.namespace,
        name = write.name(),
        user = write.request.user_info.username,
        violations,
        "Refused a write"
    );
}

/// What every decision says in the audit log; that nothing was wrong, until something is.
fn note(
    response: &mut AdmissionResponse,
    kind: &Kind,
    object: &Value,
    request: &AdmissionRequest<DynamicObject>,
) {
    let by = admission::annotation(object, names::REQUESTED_BY).map_or_else(
        || Cow::from(request.user_info.username.clone().unwrap_or_default()),
        Cow::from,
    );
    let notes = &mut response.audit_annotations;
    notes.insert("policy".into(), format!("{}/{}", kind.group, kind.plural));
    notes.insert("violations".into(), String::new());
    notes.insert("requested-by".into(), by.into_owned());
    // By which the log is joined to the object, its pods and its commits.
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    notes.extend(uid.map(|it| ("uid".to_owned(), it.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubectl prints of causes.
    fn printed(head: &str, all: &[Refusal]) -> String {
        let lines = all.iter().map(|it| format!("* {}: {}\n", it.field, it.message));
        format!("The {head} \n{}", lines.collect::<String>())
    }

    #[test]
    fn a_long_list_is_cut_between_two_and_says_how_many_are_left() {
        let head = format!("ReconcileStrategy \"{}\" is invalid:", "n".repeat(NAMED));
        let one = |length: usize| {
            move |at: usize| Refusal { field: format!("spec.f{at}"), message: "x".repeat(length) }
        };
        let all: Vec<_> = (0..9).map(one(400)).collect();
        let some = told(&head, &all);
        assert_eq!(some[..2], all[..2], "as many as there is room for are whole");
        assert_eq!(some.len(), 3);
        let last = (&*some[2].field, &*some[2].message);
        assert_eq!(last, ("spec.f2", "and 7 more, from this one on"));
        for (all, whole, because) in [
            (vec![one(10)(0)], true, "a short one"),
            ((0..9).map(one(10)).collect(), true, "short ones"),
            (vec![one(5000)(0)], false, "one that is longer than all of it"),
            ((0..9).map(one(5000)).collect(), false, "more of them"),
            ((0..900).map(one(1)).collect(), false, "very many"),
            (
                vec![Refusal { field: "f".repeat(5000), message: "\u{301}".repeat(5000) }],
                false,
                "both",
            ),
        ] {
            let some = told(&head, &all);
            let text = printed(&head, &some);
            assert!(text.chars().count() <= MAX_MESSAGE, "{because}: {}", text.chars().count());
            assert_eq!(some == all, whole, "{because}: {text}");
        }
    }
}
