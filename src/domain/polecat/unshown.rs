//! A pod that is there and that no watch tells of, such as one whose labels were changed while it was going or while nobody
//! asked admission: its end is not heard, so it is looked at again after a while.

use std::time::Duration;

use super::Seen;
use crate::{
    api::v1beta1::PolecatStatus,
    domain::plan::{Next, Plan},
};

/// How soon it is asked for again.
const AGAIN: Duration = Duration::from_secs(5);

impl Seen {
    /// Looks again where nothing else would say when.
    pub(super) fn in_sight(&self, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        if self.unshown {
            plan.next = plan.next.or(Next::After(AGAIN));
        }
        plan
    }
}
