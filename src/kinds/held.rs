//! What comes with the annotation of a v1alpha1 object, held to the hub's own rules. Its bounds were held by the conversion,
//! which carries on inert what is beyond them; its rules tell one object from another, and the one that is replaced.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::Value;

use super::{Hub, KINDS, Kind, served::in_hub};
use crate::{
    admission::{
        self, Asked, Refusal,
        rules::{Change, Rules, settled},
    },
    conversion::table::Version,
};

const ANNOTATION: &str = Version::V1beta1.annotation();

/// Why what an annotation says may not be stored. The hub's own writes the API server has judged.
pub fn refusals(kind: &Kind, asked: &Asked<'_>, hub: Hub<'_>) -> Vec<Refusal> {
    let says = |it: &Value| admission::annotation(it, ANNOTATION).is_some();
    if asked.is_hub() || !(says(asked.sent) || asked.stored.is_some_and(says)) {
        return Vec::new();
    }
    let Some(rules) = rules(kind) else { return Vec::new() };
    let plain = |it: &Value| in_hub(&without(it)).map(|it| settled(&it));
    let whole = (settled(hub.new), hub.old.map(settled));
    let plain = (plain(asked.sent), asked.stored.and_then(plain));
    let broken = rules.broken(
        Change { new: Some(&whole.0), old: whole.1.as_ref() },
        Change { new: plain.0.as_ref(), old: plain.1.as_ref() },
    );
    let field = format!("metadata.annotations[{ANNOTATION}]");
    let refusal = |it: admission::rules::Broken| Refusal {
        field: field.clone(),
        message: format!(
            "brings {}: {}; or leave the annotation as it was read",
            it.field, it.message
        ),
    };
    broken.into_iter().map(refusal).collect()
}

/// A v1alpha1 object by what it says itself.
fn without(object: &Value) -> Value {
    let mut object = object.clone();
    admission::unstamp(&mut object, ANNOTATION);
    object
}

/// The rules of a kind's hub, made ready once.
fn rules(kind: &Kind) -> Option<&'static Rules> {
    static ALL: OnceLock<BTreeMap<&'static str, Rules>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let ready = |it: &Kind| {
            let crd = serde_json::to_value((it.beta?)()).ok()?;
            Some((it.kind, Rules::read(crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?)))
        };
        KINDS.iter().filter_map(ready).collect()
    });
    all.get(kind.kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::{Policy, Rig, User},
        conversion::laws::{
            case::{Case, api, put, remove, to},
            dice::Dice,
            shape::Manner,
        },
    };

    /// What a write of a v1alpha1 object is refused for.
    fn refused(sent: &Value, stored: Option<&Value>) -> Vec<String> {
        let kind = KINDS.iter().find(|it| sent["kind"] == it.kind).unwrap();
        let (policy, rig) = (Policy::default(), Rig::Unasked);
        let asked = Asked { name: "it", user: User::default(), policy, sent, stored, rig };
        let (new, old) = (in_hub(sent).unwrap(), stored.and_then(in_hub));
        let hub = Hub { new: &new, old: old.as_ref() };
        refusals(kind, &asked, hub).into_iter().map(|it| it.message).collect()
    }

    /// A Rig in v1alpha1 that brings these namespaces along.
    fn rig(url: &str, namespaces: Option<Value>) -> Value {
        let note = namespaces.map(|it| json!({"add": {"/spec/allowedNamespaces": it}}).to_string());
        json!({
            "apiVersion": api(Version::V1alpha1), "kind": "Rig",
            "metadata": {"name": "it", "annotations": note.map(|it| json!({ANNOTATION: it}))},
            "spec": {"gitURL": url, "beadsPrefix": "gt"},
        })
    }

    #[test]
    fn what_comes_with_the_annotation_is_held_to_the_hubs_rules_and_nothing_else() {
        let (fine, odd) = ("git@git.example.com:town/greeter.git", "file:///srv/greeter");
        let town = || Some(json!(["town"]));
        let bad = |name: &str| Some(json!([name]));
        let table = [
            (rig(fine, town()), None, "", "what it says is fine"),
            (rig(odd, None), None, "", "v1alpha1 has no such rule"),
            (rig(odd, town()), None, "", "nor beside an annotation"),
            (rig(fine, bad("A B")), None, "spec.allowedNamespaces: use names", "no such namespace"),
            (rig(fine, Some(json!(["a", "a"]))), None, "", "out of bounds: it is carried on inert"),
            (rig(odd, bad("A B")), Some(rig(fine, bad("A B"))), "", "it was there before"),
            (
                rig(fine, bad("C D")),
                Some(rig(fine, bad("A B"))),
                "spec.allowedNamespaces",
                "another",
            ),
            (rig(fine, None), Some(rig(fine, bad("A B"))), "", "it goes"),
        ];
        for (sent, stored, want, because) in table {
            let told = refused(&sent, stored.as_ref());
            let as_wanted = match want {
                "" => told.is_empty(),
                words => told.len() == 1 && told[0].contains(words),
            };
            assert!(as_wanted, "{because}: {told:?}");
        }
    }

    #[test]
    fn no_edit_in_v1alpha1_of_what_is_stored_is_refused_for_what_it_cannot_say() {
        for kind in KINDS.iter().filter(|it| it.beta.is_some()) {
            let case = Case::of(kind.kind);
            for number in 0..300 {
                let mut dice = Dice::new(&format!("held {}", kind.kind), number);
                let stored = case.throw(Version::V1beta1, &mut dice, Manner::Tidy);
                let Some(stored) = to(Version::V1alpha1, &stored) else { continue };
                let mut sent = stored.clone();
                let place = dice.pick(case.pair.table.rows).path(Version::V1alpha1);
                let shape = case.spec(Version::V1alpha1).at(place).unwrap();
                if dice.once_in(4) {
                    remove(&mut sent["spec"], place);
                } else {
                    put(&mut sent["spec"], place, shape.throw(&mut dice, Manner::Tidy));
                }
                if to(Version::V1beta1, &sent).is_some() {
                    let told = refused(&sent, Some(&stored));
                    assert!(told.is_empty(), "{number}: an edit of {place}: {told:?}: {sent}");
                }
            }
        }
    }
}
