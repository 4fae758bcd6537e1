//! What Events say of a pod that does not start. Read once for each pod, and where they said nothing once more: nothing here polls.

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{
    Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};

use crate::{
    cluster::{Cluster, Error},
    domain::{
        pending::{self, Report},
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
        let inquiries = &self.caches.inquiries;
        if !brief.lacks_reason(pod, &self.settings, now) {
            inquiries.settle(&pod.uid); // written, or something newer is known
            return Ok(Reports::default());
        }
        let told = inquiries.told(&pod.uid);
        let again = brief.reports_due(pod, inquiries.of(&pod.uid), &self.settings, now);
        if told.is_some() || again.is_none_or(|wait| !wait.is_zero()) {
            return Ok(Reports { told, again });
        }
        let (namespace, uid) = (&*pod.namespace, &*pod.uid);
        let selector = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&selector).limit(REPORTS);
        let built = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
        let attempt = || format!("read the Events of pod {namespace}/{}", pod.name);
        let events: ObjectList<Event> = self.read("events", attempt, built).await?;
        let report = |it: Event| Report {
            reason: it.reason.unwrap_or_default(),
            message: it.message.unwrap_or_default(),
        };
        let said: Vec<Report> = events.items.into_iter().map(report).collect();
        let told = pending::explained(&said);
        inquiries.note(uid, told.clone());
        let again = brief.reports_due(pod, inquiries.of(uid), &self.settings, now);
        Ok(Reports { told, again })
    }
}
