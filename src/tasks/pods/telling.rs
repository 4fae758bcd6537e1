//! Admission of a Polecat's pod as a span of its run. Which run that is the operator wrote on the pod that it asks for; nobody else
//! is believed.

use super::{Reply, Request};
use crate::{
    domain::{
        names,
        trace::{Context, Run},
    },
    tasks::webhooks::telling::Told,
};

/// The run of a pod that one of these users asks for, and that is recorded.
pub fn run(request: &Request, operators: &[String]) -> Option<Run> {
    let asks = request.operation == "CREATE" && request.kind.kind == "Pod" && !request.dry_run;
    if !asks || !operators.contains(&request.user_info.username) {
        return None;
    }
    let all = request.object.as_ref()?.get("metadata")?.get("annotations")?;
    let it = Context::parse(all.get(names::TRACEPARENT)?.as_str()?)?;
    let sampled = Some(it.sampled);
    Some(Run { trace: it.trace, root: it.span, parent: None, sampled, second: None })
}

/// What came of its review.
pub fn about<'a>(request: &'a Request, reply: &'a Reply) -> Told<'a> {
    let wrong = reply.audit_annotations.get("violations").map_or("", String::as_str);
    Told {
        kind: "Pod",
        namespace: &request.namespace,
        name: &request.name,
        created: true,
        allowed: reply.allowed,
        wrong: wrong.split(',').filter(|it| !it.is_empty()).collect(),
    }
}
