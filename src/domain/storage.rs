//! In which version objects lie in the API server's storage: what a definition says of it, when all of them are known to
//! lie in one, and how a migration keeps its place. A definition's `status.storedVersions` only ever grows by itself; a
//! version may be taken out of it when every object was written once more since, and the storage version was the same all
//! the time.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The condition on a definition that says how far a migration is.
pub const CONDITION: &str = "gastown.io/StorageMigrated";
/// Most objects that are named where they could not be written.
const NAMED: usize = 10;

/// What is kept of a `CustomResourceDefinition`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Grows with every change of the spec, so also when the storage version changes and changes back.
    pub generation: i64,
    pub group: String,
    pub plural: String,
    pub namespaced: bool,
    pub versions: Vec<String>,
    /// The version that objects are written in.
    pub storage: String,
    /// Versions in which objects may lie.
    pub stored: Vec<String>,
    /// A webhook converts, so that reading one version and writing another loses nothing.
    pub converted: bool,
    /// What it says of that.
    pub conversion: Value,
    /// Annotations by which others are asked to write whom it trusts.
    pub injectors: BTreeMap<String, String>,
    pub conditions: Vec<Value>,
}

/// Where a definition's objects lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All in the storage version.
    Settled,
    /// Some may lie in these versions.
    Behind(Vec<String>),
    /// The same, and nobody converts: a write now would cut them.
    Unconverted(Vec<String>),
}

/// A migration's place, kept on the definition itself: whoever goes on with it finds it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of the definition when it began.
    pub generation: i64,
    pub written: u64,
    /// How many of those could not be written.
    pub refused: u64,
    /// The API server's word for where the next page begins; empty: at the first object.
    pub token: String,
}

/// How a migration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    Under(Progress),
    /// Some could not be written: how many, and the first of them.
    Refused(u64, Vec<String>),
    Done,
}

impl Definition {
    /// Where the objects lie.
    pub fn standing(&self) -> Standing {
        let old: Vec<_> = self.stored.iter().filter(|it| **it != self.storage).cloned().collect();
        match old.is_empty() {
            true => Standing::Settled,
            false if self.converted => Standing::Behind(old),
            false => Standing::Unconverted(old),
        }
    }

    /// Whether nothing that a migration rests on has changed since it began.
    pub fn is_still(&self, begun: &Self) -> bool {
        let facts = |it: &Self| (it.uid.clone(), it.generation, it.storage.clone());
        facts(self) == facts(begun)
    }

    /// Where an interrupted migration of this very definition was. It is a hint of anybody who may write the status of
    /// definitions, and who may thus take versions out of it as well.
    pub fn progress(&self) -> Option<Progress> {
        let mark = self.condition().filter(|it| text(it, "reason") == MIGRATING)?;
        let place = text(mark, "message").rsplit_once(GOES_ON)?.1;
        let mut words = place.split(' ');
        let progress = Progress {
            generation: words.next()?.parse().ok()?,
            written: words.next()?.parse().ok()?,
            refused: words.next()?.parse().ok()?,
            token: words.next()?.to_owned(),
        };
        (progress.generation == self.generation).then_some(progress)
    }

    /// What the condition says: reason and sentence.
    pub fn said(&self) -> Option<(&str, &str)> {
        let mark = self.condition()?;
        let message = text(mark, "message");
        let sentence = message.rsplit_once(GOES_ON).map_or(message, |(it, _)| it);
        Some((text(mark, "reason"), sentence))
    }

    fn condition(&self) -> Option<&Value> {
        self.conditions.iter().find(|it| text(it, "type") == CONDITION)
    }

    /// The merge patch of the status that says so; it is taken only by the definition as it was read. `Done` takes all
    /// versions but the storage version out of the stored ones.
    pub fn marked(&self, mark: &Mark, now: Timestamp) -> Value {
        let storage = &self.storage;
        let (status, reason, message) = match mark {
            Mark::Under(Progress { generation, written, refused, token }) => {
                let place = format!("{generation} {written} {refused} {token}");
                let so_far = format!("{written} objects were written as {storage} so far");
                ("False", MIGRATING, format!("{so_far}{GOES_ON}{place}"))
            }
            Mark::Refused(count, names) => {
                let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                let some = if first.is_empty() { first } else { format!("; among them: {first}") };
                let text = "objects could not be written as";
                let text = format!("{count} {text} {storage}, so all stored versions stay{some}");
                ("False", "WritesRefused", text)
            }
            Mark::Done => ("True", "Migrated", format!("every object is stored as {storage}")),
        };
        let ours = json!({
            "type": CONDITION, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": self.since(status).unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        });
        let others = self.conditions.iter().filter(|it| text(it, "type") != CONDITION).cloned();
        let conditions: Vec<_> = others.chain([ours]).collect();
        let changed = match mark {
            Mark::Done => json!({"conditions": conditions, "storedVersions": [storage]}),
            Mark::Under(_) | Mark::Refused(..) => json!({"conditions": conditions}),
        };
        json!({
            "metadata": {"uid": self.uid, "resourceVersion": self.resource_version},
            "status": changed,
        })
    }

    /// Since when the condition has this status.
    fn since(&self, status: &str) -> Option<String> {
        let mark = self.condition().filter(|it| text(it, "status") == status)?;
        Some(text(mark, "lastTransitionTime").to_owned()).filter(|it| !it.is_empty())
    }

    /// The JSON patch that makes another served version the storage version; it too is taken only by the definition as it
    /// was read.
    pub fn stored_as(&self, version: &str) -> Option<Value> {
        self.versions.iter().find(|it| *it == version)?;
        let mut steps = vec![
            json!({"op": "add", "path": "/metadata/resourceVersion", "value": self.resource_version}),
        ];
        steps.extend(self.versions.iter().enumerate().map(|(at, it)| {
            json!({"op": "replace", "path": format!("/spec/versions/{at}/storage"), "value": it == version})
        }));
        Some(Value::Array(steps))
    }
}

const MIGRATING: &str = "Migrating";
const GOES_ON: &str = "; goes on from: ";

fn text<'a>(condition: &'a Value, key: &str) -> &'a str {
    condition.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        Definition {
            name: "beadstores.gastown.gastown.io".into(),
            uid: "u".into(),
            resource_version: "7".into(),
            generation: 3,
            group: "gastown.gastown.io".into(),
            plural: "beadstores".into(),
            namespaced: true,
            versions: words(&["v1beta1", "v1alpha1"]),
            storage: "v1beta1".into(),
            stored: words(&["v1alpha1", "v1beta1"]),
            converted: true,
            conversion: Value::Null,
            injectors: BTreeMap::new(),
            conditions: vec![json!({"type": "Established", "status": "True"})],
        }
    }

    fn carried(before: &Definition, mark: &Mark) -> (Definition, Value) {
        let patch = before.marked(mark, "2026-11-28T10:00:00Z".parse().unwrap());
        let conditions = patch["status"]["conditions"].as_array().unwrap().clone();
        (Definition { conditions, ..before.clone() }, patch)
    }

    #[test]
    fn what_lies_where() {
        let behind = definition();
        let old = vec!["v1alpha1".to_owned()];
        assert_eq!(behind.standing(), Standing::Behind(old.clone()));
        let cut = Definition { converted: false, ..behind.clone() };
        assert_eq!(cut.standing(), Standing::Unconverted(old.clone()), "a write would cut them");
        let back = Definition { storage: "v1alpha1".into(), ..behind.clone() };
        assert_eq!(back.standing(), Standing::Behind(vec!["v1beta1".to_owned()]), "the way back");
        let one =
            Definition { storage: "v1alpha1".into(), stored: old, converted: false, ..behind };
        assert_eq!(one.standing(), Standing::Settled, "one version needs no conversion");
    }

    #[test]
    fn a_place_is_found_again_by_the_same_definition_alone() {
        let before = definition();
        let progress =
            Progress { generation: 3, written: 400, refused: 2, token: "eyJ2IjoibWV0YSJ9".into() };
        let (after, patch) = carried(&before, &Mark::Under(progress.clone()));
        assert_eq!(after.progress(), Some(progress));
        assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}), "guarded");
        assert_eq!(
            patch["status"].get("storedVersions"),
            None,
            "nothing is trimmed before the end"
        );
        assert_eq!(after.said(), Some(("Migrating", "400 objects were written as v1beta1 so far")));
        assert_eq!(Definition { generation: 4, ..after.clone() }.progress(), None, "it changed");
        let (done, _) = carried(&after, &Mark::Done);
        assert_eq!(done.progress(), None);
        assert_eq!(done.conditions.len(), 2, "ours is replaced, the other stays");
    }

    #[test]
    fn versions_are_trimmed_when_all_is_written_and_not_otherwise() {
        let (_, patch) = carried(&definition(), &Mark::Done);
        assert_eq!(patch["status"]["storedVersions"], json!(["v1beta1"]));
        let (_, patch) = carried(&definition(), &Mark::Refused(1, vec!["town/beads".to_owned()]));
        assert_eq!(patch["status"].get("storedVersions"), None);
        assert!(patch.to_string().contains("town/beads"), "{patch}");
    }

    #[test]
    fn any_change_of_the_definition_begins_it_anew() {
        let begun = definition();
        let table = [
            (begun.clone(), true, "nothing changed"),
            (Definition { resource_version: "8".into(), ..begun.clone() }, true, "its status did"),
            (Definition { generation: 5, ..begun.clone() }, false, "there and back again"),
            (Definition { storage: "v1alpha1".into(), ..begun.clone() }, false, "the way back"),
            (Definition { uid: "v".into(), ..begun.clone() }, false, "deleted and made anew"),
        ];
        for (now, want, because) in table {
            assert_eq!(now.is_still(&begun), want, "{because}");
        }
    }

    #[test]
    fn another_storage_version_is_one_patch() {
        let patch = definition().stored_as("v1alpha1").unwrap();
        let values: Vec<_> = patch.as_array().unwrap().iter().map(|it| &it["value"]).collect();
        assert_eq!(values, [&json!("7"), &json!(false), &json!(true)]);
        assert_eq!(definition().stored_as("v2"), None, "not served");
    }
}
