//! What is answered to one review: `/mutate` stamps and refuses nothing, since nobody waits for it; `/validate` sees the
//! object last, refuses, and changes nothing.

use std::{borrow::Cow, fmt::Write as _};

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
    },
    kinds::{self, Kind},
};

/// Longest list of what is wrong, in characters; who reads it in a terminal reads no more.
const MAX_MESSAGE: usize = 1500;

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
    let (kind, name) = (write.kind, write.name());
    let mut response =
        response.deny(format!("{} {name:?} is invalid: {}", kind.kind, list(refusals)));
    response.result.code = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    response.result.reason = "Invalid".into();
    let cause = |it: &Refusal| StatusCause {
        reason: "FieldValueInvalid".into(),
        message: it.message.clone(),
        field: it.field.clone(),
    };
    response.result.details = Some(StatusDetails {
        name: name.into(),
        group: kind.group.into(),
        kind: kind.kind.into(),
        uid: String::new(),
        causes: refusals.iter().map(cause).collect(),
        retry_after_seconds: 0,
    });
    response
}

/// What is wrong, as one text; the rest is in the causes.
fn list(refusals: &[Refusal]) -> String {
    let mut text = String::new();
    for (at, it) in refusals.iter().enumerate() {
        let line = format!("{}: {}", it.field, it.message);
        if at > 0 && text.chars().count() + line.chars().count() > MAX_MESSAGE {
            let _ = write!(text, "; and {} more", refusals.len() - at);
            break;
        }
        let _ = write!(text, "{}{line}", if at > 0 { "; " } else { "" });
    }
    text
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

    #[test]
    fn a_long_list_is_cut_between_two_and_says_how_many_are_left() {
        let one = |at: usize| Refusal { field: format!("spec.f{at}"), message: "x".repeat(400) };
        let all: Vec<_> = (0..9).map(one).collect();
        let text = list(&all);
        assert!(text.ends_with("; and 6 more"), "{text}");
        assert!(text.chars().count() < MAX_MESSAGE + 20, "{}", text.len());
        assert_eq!(
            list(&all[..1]),
            format!("spec.f0: {}", "x".repeat(400)),
            "the first is always whole"
        );
    }
}
