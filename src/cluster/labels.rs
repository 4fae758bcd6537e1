//! The label with the bucket of a Polecat, where it is missing or says something else: corrected once, on exactly the version
//! that was seen. Whoever owns the object's namespace does it; where that one does not see the object, since the label names a
//! bucket of somebody else, it is the owner of that bucket. Pods get theirs when they are made, and admission keeps it; the
//! operator has no right to change a pod.

use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{
        Class, Cluster, Error,
        cache::Key,
        carry_out::{plural, requests},
        wire::Watched,
    },
    domain::{polecat::Brief, shard::bucket},
};

/// What its labels should say and do not; empty where all is well.
pub fn missing(polecat: &Brief) -> Map<String, Value> {
    let namespace = &polecat.namespace;
    let right = polecat.bucket == Some(bucket::of(namespace));
    let label = (!right).then(|| (bucket::LABEL.to_owned(), bucket::label(namespace).into()));
    label.into_iter().collect()
}

impl Cluster {
    /// Corrects the labels of one object in the cache, if that is for us to do. One that changed meanwhile is told of again
    /// by its watch.
    pub async fn correct_labels(&self, key: &Key) -> Result<(), Error> {
        let Some(object) = self.caches.polecats.get(key) else { return Ok(()) };
        if missing(&object).is_empty() {
            return Ok(());
        }
        let ours = self.ownership.enter(key);
        let (seen, named) = (ours.is_some(), object.bucket);
        let entered = ours.or_else(|| self.ownership.enter_bucket(key, named?));
        let Some(entered) = entered else { return Ok(()) };
        let Some(corrected) = self.under(entered.guard()).label(&object).await? else {
            return Ok(());
        };
        // What is somebody else's leaves our watch; the answer must not keep it.
        if seen {
            self.caches.polecats.put(corrected);
        }
        Ok(())
    }

    /// Writes the labels that an object lacks; `None` where it has changed or gone meanwhile.
    pub(super) async fn label(&self, object: &Brief) -> Result<Option<Brief>, Error> {
        let Brief { namespace, name, uid, resource_version, .. } = object;
        let metadata = json!({
            "resourceVersion": resource_version, "uid": uid, "labels": missing(object),
        });
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let built = requests::<Brief>(namespace).patch(name, &PatchParams::default(), &patch);
        let attempt = || format!("correct the labels of polecat {namespace}/{name}");
        match self.write::<Watched<Brief>>(plural::<Brief>(), attempt, built).await {
            Ok(answer) => Ok(answer.content.ok()),
            Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_written() {
        let right = Some(bucket::of("team-a"));
        for (bucket, want, because) in [
            (right, json!({}), "all is well"),
            (None, json!({"gastown.io/bucket": "920"}), "there is none"),
            (Some(7), json!({"gastown.io/bucket": "920"}), "it is another's"),
        ] {
            let polecat = Brief { namespace: "team-a".into(), bucket, ..Brief::default() };
            assert_eq!(json!(missing(&polecat)), want, "{because}");
        }
    }
}
