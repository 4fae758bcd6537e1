//! What Events say of a pod that does not start. Read once for each pod: nothing here polls.

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{
    Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};

use crate::{
    cluster::{Cluster, Error},
    domain::{
        pending::Report,
        pod_brief::PodBrief,
        polecat::{Brief, Reports},
    },
};

/// More Warnings of one pod than this say nothing new.
const REPORTS: u32 = 50;

impl Cluster {
    /// Reads the Warnings about a pod, where it has been pending for a while and its status does not say why.
    pub(super) async fn reports(
        &self,
        brief: &Brief,
        pod: &PodBrief,
        now: Timestamp,
    ) -> Result<Reports, Error> {
        let Some(wait) = brief.reports_due(pod, &self.settings, now) else {
            return Ok(Reports::Known);
        };
        if self.caches.inquired.has(&pod.uid) {
            return Ok(Reports::Known);
        }
        if !wait.is_zero() {
            return Ok(Reports::Unread);
        }
        let (namespace, uid) = (&*pod.namespace, &*pod.uid);
        let selector = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&selector).limit(REPORTS);
        let built = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
        let attempt = || format!("read the Events of pod {namespace}/{}", pod.name);
        let events: ObjectList<Event> = self.read("events", attempt, built).await?;
        self.caches.inquired.note(uid);
        let report = |it: Event| Report {
            reason: it.reason.unwrap_or_default(),
            message: it.message.unwrap_or_default(),
        };
        Ok(Reports::Read(events.items.into_iter().map(report).collect()))
    }
}
