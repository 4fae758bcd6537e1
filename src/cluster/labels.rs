//! The label with the bucket, where it is missing or says something else: corrected once, on exactly the version that was
//! seen. Whoever owns the object's namespace does it; where that one does not see the object, since the label names a
//! bucket of somebody else, it is the owner of that bucket.

use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{
        Class, Cluster, Error,
        cache::{Cache, Key},
        carry_out::{plural, requests},
        wire::{Compact, Watched},
    },
    domain::{names, pod_brief::PodBrief, polecat, shard::bucket},
};

/// A kind whose objects carry the label.
pub trait Labelled: Compact {
    fn cache(caches: &super::Caches) -> &Cache<Self>;
    /// What its labels should say and do not; empty where all is well.
    fn missing(&self) -> Map<String, Value>;
}

impl Labelled for polecat::Brief {
    fn cache(caches: &super::Caches) -> &Cache<Self> {
        &caches.polecats
    }
    fn missing(&self) -> Map<String, Value> {
        right_bucket(self)
    }
}

impl Labelled for PodBrief {
    fn cache(caches: &super::Caches) -> &Cache<Self> {
        &caches.pods
    }
    fn missing(&self) -> Map<String, Value> {
        let Some(owner) = self.owner.as_ref().filter(|it| it.is_polecat()) else {
            return Map::new(); // somebody else's, with our label
        };
        let mut labels = right_bucket(self);
        if !self.labels.polecat {
            labels.insert(names::POLECAT_LABEL.into(), names::label_value(&owner.name).into());
        }
        labels
    }
}

fn right_bucket<C: Compact>(object: &C) -> Map<String, Value> {
    let namespace = object.place().0;
    let right = object.bucket() == Some(bucket::of(namespace));
    let label = (!right).then(|| (bucket::LABEL.to_owned(), bucket::label(namespace).into()));
    label.into_iter().collect()
}

impl Cluster {
    /// Corrects the labels of one object in the cache, if that is for us to do. One that changed meanwhile is told of again
    /// by its watch.
    pub async fn correct_labels<C: Labelled>(&self, key: &Key) -> Result<(), Error> {
        let Some(object) = C::cache(&self.caches).get(key) else { return Ok(()) };
        if object.missing().is_empty() {
            return Ok(());
        }
        let ours = self.ownership.enter(key);
        let (seen, named) = (ours.is_some(), object.bucket());
        let entered = ours.or_else(|| self.ownership.enter_bucket(key, named?));
        let Some(entered) = entered else { return Ok(()) };
        let Some(corrected) = self.under(entered.guard()).label(&*object).await? else {
            return Ok(());
        };
        // What is somebody else's leaves our watch; the answer must not keep it.
        if seen {
            C::cache(&self.caches).put(corrected);
        }
        Ok(())
    }

    /// Writes the labels that an object lacks; `None` where it has changed or gone meanwhile.
    pub(super) async fn label<C: Labelled>(&self, object: &C) -> Result<Option<C>, Error> {
        let (namespace, name) = object.place();
        let metadata = json!({
            "resourceVersion": object.resource_version(), "uid": object.uid(), "labels": object.missing(),
        });
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let built = requests::<C>(namespace).patch(name, &PatchParams::default(), &patch);
        let attempt = || format!("correct the labels of {} {namespace}/{name}", plural::<C>());
        match self.write::<Watched<C>>(plural::<C>(), attempt, built).await {
            Ok(answer) => Ok(answer.content.ok()),
            Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_brief::{Labels, Owner};

    #[test]
    fn only_what_is_wrong_is_written() {
        let of = |bucket, polecat, kind: &str| {
            let owner = Owner { kind: kind.into(), name: "max".into(), uid: "1".into() };
            let (namespace, labels) = ("team-a".into(), Labels { bucket, polecat });
            PodBrief { namespace, labels, owner: Some(owner), ..PodBrief::default() }
        };
        let right = Some(bucket::of("team-a"));
        let all = json!({"gastown.io/bucket": "920", "gastown.io/polecat": "max"});
        let table = [
            (of(right, true, "Polecat"), json!({}), "all is well"),
            (of(None, true, "Polecat"), json!({"gastown.io/bucket": "920"}), "there is none"),
            (of(Some(7), true, "Polecat"), json!({"gastown.io/bucket": "920"}), "it is another's"),
            (of(None, false, "Polecat"), all, "both were taken away"),
            (of(None, true, "Job"), json!({}), "it is none of ours"),
        ];
        for (pod, want, because) in table {
            assert_eq!(json!(pod.missing()), want, "{because}");
        }
    }
}
