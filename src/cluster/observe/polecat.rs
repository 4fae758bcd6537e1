//! What is seen of a Polecat: its pod in the cache; and only where no pod is there, what the API server says of it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Event;
use kube::{
    Resource as _,
    api::GetParams,
    api::ListParams,
    core::{ObjectList, Request},
};

use crate::{
    api::v1beta1::{self, Phase, PolecatStatus},
    cluster::{
        Caches, Class, Cluster, Error, Managed,
        cache::{Cache, Key},
        carry_out::requests,
        labels, meters, now,
        wire::{PolecatWire, Watched},
    },
    domain::{
        failure::Cause,
        names,
        plan::Plan,
        pod_brief::PodBrief,
        polecat::{Brief, Past, Reports, Seen, Stage},
        trace::{Run, Span},
    },
};

/// More Events of one pod name than this are not looked through: then the pod counts as scheduled.
const SCHEDULED_EVENTS: u32 = 100;

/// Looks at one Polecat in one pass, where it changes meanwhile.
const LOOKS: usize = 3;

impl Managed for Brief {
    type Seen = Seen;
    type Status = PolecatStatus;
    const CONTROLLER: &'static str = "polecat";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.polecats
    }

    fn status(&self) -> &PolecatStatus {
        &self.status
    }

    async fn observe(self: &mut Arc<Self>, cluster: &Cluster) -> Result<Seen, Error> {
        // What was read whole may be newer than what was judged: then everything is looked at again.
        for _ in 0..LOOKS {
            let mut seen = cluster.look_around(self).await?;
            if !self.wants_pod(&seen) {
                return Ok(seen);
            }
            seen.hold = cluster.hold(self);
            if seen.hold.is_some() {
                return Ok(seen);
            }
            if let Some(whole) = cluster.as_shown(self) {
                return Ok(cluster.with_whole(self, seen, whole));
            }
            let Some(whole) = cluster.whole(self).await? else { return Ok(seen) };
            let fresh = Self::from(&whole);
            let same = fresh.is_judged_as(self);
            *self = Arc::new(fresh);
            if same {
                return Ok(cluster.with_whole(self, seen, Arc::new(whole)));
            }
        }
        cluster.look_around(self).await
    }

    fn decide(&self, seen: &Seen) -> Plan<PolecatStatus> {
        self.decide(seen)
    }

    fn refused(seen: &mut Seen, cause: Cause) {
        seen.refusal = Some(cause);
    }

    fn passed(cluster: &Cluster, key: &Key, open: bool) -> Vec<Key> {
        cluster.note_crowd(key);
        let mut next = cluster.note_credential(key);
        next.extend(cluster.note_polecat(key, !open));
        next
    }

    fn count(cluster: &Cluster, before: &Self, after: &PolecatStatus) {
        let result = match after.phase {
            Phase::Done => meters::runs::DONE,
            Phase::Stuck => meters::runs::STUCK,
            Phase::Idle | Phase::Working | Phase::Terminated => return,
        };
        if before.status.phase == after.phase {
            return;
        }
        // Anybody can name a Rig; those that are there are few, and are counted from zero since they were seen.
        let known = cluster.caches.rigs.get(&Key::new("", &before.rig)).is_some();
        let rig = if known { before.rig.to_string() } else { String::new() };
        cluster.meters.runs.get_or_create(&meters::Run { rig, result }).inc();
    }

    fn written_over(&self, next: &PolecatStatus, cluster: &Cluster) {
        cluster.tell_before(next, self);
    }

    async fn relabelled(&self, cluster: &Cluster) -> Result<Option<Self>, Error> {
        if labels::missing(self).is_empty() {
            return Ok(None);
        }
        let corrected = cluster.label(self).await?;
        if let Some(it) = &corrected {
            cluster.caches.polecats.put(it.clone());
        }
        Ok(corrected)
    }

    fn urgent(&self) -> bool {
        self.begins()
    }

    fn run(&self) -> Option<Run> {
        Some(self.current_run())
    }

    async fn ended(&self, seen: &Seen, cluster: &Cluster) -> Vec<Span> {
        cluster.run_told(self, seen).await
    }

    fn pods(&self, caches: &Caches) -> Vec<Arc<PodBrief>> {
        // Every attempt's name is known, so no index is needed.
        let last = self.status.attempt.unwrap_or(1).max(1);
        (last.saturating_sub(63).max(1)..=last)
            .filter_map(|attempt| {
                caches.pods.get(&Key::new(&self.namespace, &names::pod(&self.name, attempt)))
            })
            .filter(|pod| self.owns(pod))
            .collect()
    }
}

impl Cluster {
    /// What is seen of a Polecat without reading it whole.
    async fn look_around(&self, brief: &Brief) -> Result<Seen, Error> {
        let status = &brief.status;
        let attempt = status.attempt.unwrap_or(1);
        let name = status.pod_name.clone().unwrap_or_else(|| names::pod(&brief.name, attempt));
        let key = Key::new(&brief.namespace, &name);
        let (pod, late) = self.pod_of(brief, &key).await?;
        // One of the very name that comes next is taken over, not waited for.
        let next = match brief.stage() {
            Stage::Fresh { attempt } => names::pod(&brief.name, attempt),
            _ => String::new(),
        };
        if !next.is_empty() {
            self.caches.departed.begin(&Key::new(&brief.namespace, &next));
        }
        let earlier = brief.pods(&self.caches).into_iter().find(|it| *it.name != *next);
        let ending = earlier.map(|it| it.name.to_string());
        let settings = self.settings.clone();
        let past = if late { Past::Seen } else { Past::Unasked };
        let departed = if pod.is_none() { self.caches.departed.of(&key) } else { None };
        let departed = departed.filter(|it| brief.owns(it));
        let now = now();
        let (whole, hold, refusal, reports) = (None, None, None, Reports::default());
        let mut seen = Seen {
            now,
            pod,
            past,
            unshown: false,
            departed,
            ending,
            reports,
            whole,
            hold,
            refusal,
            settings,
        };
        if let Some(name) = brief.wants_past(seen.pod.as_ref()).filter(|_| !late) {
            // Also one that its watch called gone: it may only have lost its label.
            seen.pod = self.find_pod(&brief.namespace, &name).await?;
            seen.unshown = seen.pod.as_ref().is_some_and(|it| brief.owns(it));
            if seen.pod.is_none() && seen.departed.is_none() {
                let saw = self.caches.departed.saw(&key, &brief.uid);
                seen.past = if saw { Past::Seen } else { self.past_of(brief, &name).await? };
            }
        }
        if let Some(pod) = &seen.pod {
            seen.reports = self.reports(brief, pod, now).await?;
        }
        if let Some(pod) = seen.pod.as_ref().filter(|it| !brief.owns(it)) {
            self.caches.strangers.note(&pod.uid);
        }
        Ok(seen)
    }

    /// The pod of this name, and whether there is one that came late: after the attempt's own had gone. That one is nobody's,
    /// and goes, since no plan has it. Where an attempt is over the cache may show its pod as it was before: that is asked anew.
    async fn pod_of(&self, brief: &Brief, key: &Key) -> Result<(Option<PodBrief>, bool), Error> {
        let Some(pod) = self.caches.pods.get(key) else { return Ok((None, false)) };
        let (departed, under) = (&self.caches.departed, self.ownership.under(key.place()));
        if !(brief.owns(&pod) && departed.is_late(key, &brief.uid, &pod, under)) {
            if !brief.outlived_by(&pod) {
                return Ok((Some(Arc::unwrap_or_clone(pod)), false));
            }
            let shown = self.find_pod(&key.namespace, &key.name).await?;
            if !shown.as_ref().is_some_and(|it| brief.outlived_by(it)) {
                return Ok((shown, false));
            }
            departed.came_late(key, &brief.uid, under);
        }
        if !pod.deleting {
            let (namespace, name, uid) = (&*key.namespace, &*key.name, &*pod.uid);
            let text = "A second pod of an attempt came late, and is deleted";
            tracing::warn!(namespace, name, uid, "{text}");
        }
        Ok((None, true))
    }

    /// What is seen where a pod can be built.
    fn with_whole(&self, brief: &Brief, seen: Seen, whole: Arc<v1beta1::Polecat>) -> Seen {
        let hold = self.borrowed(brief, &whole);
        Seen { settings: self.settings_of(brief), hold, whole: Some(whole), ..seen }
    }

    /// The whole object as its watch showed it, where its next write proves that it is still so: an intent, on this version.
    fn as_shown(&self, brief: &Brief) -> Option<Arc<v1beta1::Polecat>> {
        brief.begins().then(|| self.caches.beginning.take(&brief.uid, &brief.resource_version))?
    }

    /// The whole object, if it is still the one that was seen.
    async fn whole(&self, brief: &Brief) -> Result<Option<v1beta1::Polecat>, Error> {
        let attempt = || format!("read Polecat {}/{}", brief.namespace, brief.name);
        let built = requests::<Brief>(&brief.namespace).get(&brief.name, &GetParams::default());
        match self.read::<PolecatWire>("polecats", attempt, built).await {
            Ok(wire) => {
                let whole = v1beta1::Polecat::from(wire);
                Ok((whole.metadata.uid.as_deref() == Some(&*brief.uid)).then_some(whole))
            }
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A pod that the cache has not: just made, or not ours.
    async fn find_pod(&self, namespace: &str, name: &str) -> Result<Option<PodBrief>, Error> {
        let built = requests::<PodBrief>(namespace).get(name, &GetParams::default());
        match self
            .read::<Watched<PodBrief>>("pods", || format!("read pod {namespace}/{name}"), built)
            .await
        {
            Ok(answer) => Ok(answer.content.ok()),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the Events of a pod that is gone say of it: whether a node took it. Those from before this Polecat was there,
    /// and those of a pod that was seen to be somebody else's, are about another pod of the same name. What is left in
    /// doubt counts as ours: better lost than run twice.
    async fn past_of(&self, brief: &Brief, pod: &str) -> Result<Past, Error> {
        let namespace = &*brief.namespace;
        let selector =
            format!("involvedObject.kind=Pod,involvedObject.name={pod},reason=Scheduled");
        let params = ListParams::default().fields(&selector).limit(SCHEDULED_EVENTS);
        let built = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
        let attempt = || format!("read the Events of pod {namespace}/{pod}");
        let events: ObjectList<Event> = self.read("events", attempt, built).await?;
        let ours = |it: &Event| {
            let made = it.metadata.creation_timestamp.as_ref().map(|it| it.0);
            let pod = it.involved_object.uid.as_deref().unwrap_or_default();
            made.zip(brief.created_at).is_none_or(|(made, born)| made >= born)
                && !self.caches.strangers.has(pod)
        };
        let full = events.metadata.continue_.is_some_and(|it| !it.is_empty());
        Ok(if full || events.items.iter().any(ours) {
            Past::Scheduled
        } else {
            Past::NeverScheduled
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cluster::{connect::Connection, meters::Meters, ownership::Ownership},
        domain::{
            brake::Hold,
            polecat::Origin,
            rig,
            stored::Record,
            tenancy::{Rules, Wishes},
        },
    };

    /// A Polecat that wants this image, so many edits after it was made.
    fn polecat(image: &str, edits: i64) -> Value {
        json!({
            "metadata": {"namespace": "town", "name": "max", "uid": "u", "generation": 1 + edits, "resourceVersion": (5 + edits).to_string()},
            "spec": {
                "rig": "greeter", "desiredState": "Working", "agent": {"image": image},
                "repository": {"url": "git@git.example.com:town/greeter.git", "secretRef": {"name": "key"}},
            },
        })
    }

    fn read(polecat: &Value) -> Brief {
        let wire: PolecatWire = serde_json::from_value(polecat.clone()).unwrap();
        Brief::from(&v1beta1::Polecat::from(wire))
    }

    /// Before an API server that has this Polecat, and nothing else; its Rig allows one image.
    fn before(polecat: &Value) -> Cluster {
        let polecat = polecat.to_string();
        let answer = move |request: Request<Body>| {
            let found = request.uri().path().ends_with("/polecats/max");
            let gone = json!({"kind": "Status", "status": "Failure", "code": 404, "message": "", "reason": "NotFound"});
            let said = if found { polecat.clone() } else { gone.to_string() };
            async move {
                let mut answer = Response::new(axum::body::Body::from(said));
                *answer.status_mut() = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
                answer
            }
        };
        let meters = Meters::default();
        let connection = Connection::played(answer, &meters);
        let cluster = Cluster::new(&connection, Ownership::new("me"), Arc::default(), meters);
        let rules = Rules { allowed_images: Some(vec!["good:1".into()]), ..Rules::default() };
        let record = Record { name: "greeter".into(), ..Record::default() };
        cluster.caches.rigs.put(rig::Brief { record, rules, ..rig::Brief::default() });
        cluster
    }

    #[tokio::test]
    async fn what_was_read_whole_is_held_to_its_rig_and_not_what_the_cache_had() {
        let (seen, stored) = (polecat("good:1", 0), polecat("evil:1", 1));
        for (stored, held, because) in
            [(&seen, false, "nothing changed"), (&stored, true, "its image is another since")]
        {
            let mut brief = Arc::new(read(&seen));
            let seen = brief.observe(&before(stored)).await.unwrap();
            assert_eq!(*brief, read(stored), "{because}: it is that one that is written for");
            let forbidden = matches!(&seen.hold, Some(Hold::Forbidden(_)));
            assert_eq!((forbidden, seen.whole.is_none()), (held, held), "{because}: {seen:?}");
        }
    }

    #[test]
    fn whatever_a_judgement_rests_on_is_another_judgement() {
        let seen = read(&polecat("good:1", 0));
        assert!(seen.is_judged_as(&seen.clone()));
        let label = Brief { resource_version: "6".into(), bucket: Some(1), ..seen.clone() };
        assert!(label.is_judged_as(&seen), "a label is nothing");
        let others = [
            read(&polecat("good:1", 1)),
            Brief { deleting: true, ..seen.clone() },
            Brief { wishes: Wishes::default(), ..seen.clone() },
            Brief { origin: Origin::Backup, ..seen.clone() },
            Brief {
                status: PolecatStatus { attempt: Some(1), ..PolecatStatus::default() },
                ..seen.clone()
            },
        ];
        for other in others {
            assert!(!other.is_judged_as(&seen), "{other:?}");
        }
    }
}
