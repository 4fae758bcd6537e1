//! What Events say of a pod that does not start. Read a few times at most for each pod: nothing here polls.

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
        let read = self.caches.inquiries.of(&pod.uid);
        let again = brief.reports_due(pod, read, &self.settings, now);
        if again.is_none_or(|wait| !wait.is_zero()) {
            return Ok(Reports { said: Vec::new(), again });
        }
        let (namespace, uid) = (&*pod.namespace, &*pod.uid);
        let selector = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&selector).limit(REPORTS);
        let built = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
        let attempt = || format!("read the Events of pod {namespace}/{}", pod.name);
        let events: ObjectList<Event> = self.read("events", attempt, built).await?;
        self.caches.inquiries.note(uid);
        let again = brief.reports_due(pod, read + 1, &self.settings, now);
        let report = |it: Event| Report {
            reason: it.reason.unwrap_or_default(),
            message: it.message.unwrap_or_default(),
        };
        Ok(Reports { said: events.items.into_iter().map(report).collect(), again })
    }
}
