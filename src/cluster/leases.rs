//! How a Lease is written and read: every write is a PUT on exactly the version that was judged, and carries a mark, so that
//! one whose answer was lost is known again.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};

use crate::{
    cluster::writing::Writer,
    domain::lease::{Mark, Record, Times},
};

/// Where a write says which one of its process it is, under which epoch.
pub(super) const MARK: &str = "gastown.io/lease-write";

pub(super) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let mark = lease.metadata.annotations.as_ref().and_then(|it| Mark::parse(it.get(MARK)?));
    let marked = mark.map_or(0, |it| it.epoch);
    let wait = spec.lease_duration_seconds.and_then(|it| it.try_into().ok()).unwrap_or_default();
    Record {
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity,
        transitions: spec.lease_transitions.unwrap_or_default().max(marked),
        mark,
        wait: Duration::from_secs(wait).min(Times::LONGEST),
    }
}

/// Writes a Lease: over the very version that it carries, or where there is none.
pub(super) async fn put(
    (api, writer): (&Api<Lease>, &Writer),
    name: &str,
    lease: &Lease,
    there: bool,
) -> kube::Result<Lease> {
    if there {
        writer.replace(api, name, lease).await
    } else {
        writer.create(api, &PostParams::default(), lease).await
    }
}

/// Whether a Lease could not be made because there is no namespace for it: nothing else of that name can be missing then.
pub(super) const fn lacks_namespace(error: &kube::Error, there: bool) -> bool {
    matches!(error, kube::Error::Api(it) if it.code == 404) && !there
}
