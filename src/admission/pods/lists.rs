//! A Rig's `allowedImages` at the pods of its Polecats. Their account, class and node stay what they were made with, and the
//! operator holds a whole pod against the Rig before it makes it; an image is what somebody else can bring in later.

use serde_json::Value;

use super::{
    Subject, Violation,
    door::{Asked, is_going},
    subject::Container,
};
use crate::{
    admission::Rig,
    domain::{names, tenancy, untrusted},
};

const CHECK: &str = "ours.allowedImages";
/// Longest name in a message, in bytes.
const NAMED: usize = 253;

/// What a change brings into a Polecat's pod that its Rig has a say in.
#[derive(Debug)]
pub struct Brought<'a> {
    /// As the pod said before the change.
    pub rig: &'a str,
    containers: Vec<(Container<'a>, &'a str)>,
}

/// The images that somebody beside the operator brings into a pod of a Polecat's; `own` are the operator's, which every Rig
/// allows.
pub fn brought<'a>(asked: &Asked<'a>, operators: &[String], own: &[String]) -> Option<Brought<'a>> {
    let old = asked.old.filter(|_| asked.kind == "Pod")?;
    if is_going(asked) || operators.iter().any(|it| it == asked.user) {
        return None;
    }
    let of = |list: &str, key: &str| old.pointer("/metadata")?.get(list)?.get(key)?.as_str();
    of("labels", names::POLECAT_LABEL)?;
    // A label can't hold every name; where it does not, an annotation has the whole.
    let rig = of("annotations", names::RIG_LABEL).or_else(|| of("labels", names::RIG_LABEL))?;
    let before = Subject::of("Pod", old).ok()??.containers;
    let after = Subject::of("Pod", asked.object).ok()??.containers;
    let was_there = |it: &Container<'_>, image: &str| {
        let same = |other: &&Container<'_>| (other.list, other.name) == (it.list, it.name);
        before.iter().find(same).and_then(image_of) == Some(image)
    };
    let named = after.into_iter().filter_map(|it| Some((it, image_of(&it)?)));
    let containers: Vec<_> = named
        .filter(|(it, image)| !was_there(it, image) && own.iter().all(|own| own != image))
        .collect();
    (names::is_name(rig) && !containers.is_empty()).then_some(Brought { rig, containers })
}

fn image_of<'a>(it: &Container<'a>) -> Option<&'a str> {
    it.json.get("image").and_then(Value::as_str)
}

impl Brought<'_> {
    /// What of it the Rig does not allow. Nobody asks again later, so what nobody can say is refused.
    pub fn violations(&self, rig: Rig<'_>) -> Vec<Violation> {
        let named = untrusted::fit(self.rig, NAMED);
        let must = |image: &str| match rig {
            Rig::Absent => None,
            Rig::There(rules) => tenancy::instead_of(rules, image)
                .map(|list| format!("must be one of the allowedImages of Rig {named}: {list}")),
            Rig::Unasked => Some(format!(
                "must be one that Rig {named} allows, which nobody could say: try again"
            )),
        };
        let refused =
            self.containers.iter().filter_map(|(it, image)| Some((it, image, must(image)?)));
        let violation = |(it, image, must): (&Container<'_>, &&str, String)| {
            let (name, is) = (untrusted::fit(it.name, 63), untrusted::fit(image, NAMED));
            Violation {
                check: CHECK,
                path: format!("spec.{}[{}].image", it.list, it.index),
                message: format!("container {name:?} is {is:?}, {must} (ours)"),
                same: String::new(),
                fix: None,
            }
        };
        refused.map(violation).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::tenancy::Rules;

    const OPERATOR: &str = "system:serviceaccount:town:operator";

    fn pod(images: &[(&str, &str, &str)]) -> Value {
        let mut pod = json!({"metadata": {"labels": {"gastown.io/polecat": "max", "gastown.io/rig": "greeter"}}});
        for (list, name, image) in images {
            let all = &mut pod["spec"][*list];
            if all.is_null() {
                *all = json!([]);
            }
            all.as_array_mut().unwrap().push(json!({"name": name, "image": image}));
        }
        pod
    }

    const BEFORE: [(&str, &str, &str); 3] = [
        ("initContainers", "git-init", "runner:1"),
        ("containers", "claude", "agent:1"),
        ("containers", "telemetry", "runner:1"),
    ];

    fn with(change: (&'static str, &'static str, &'static str)) -> Value {
        let mut all = BEFORE.to_vec();
        all.retain(|it| (it.0, it.1) != (change.0, change.1));
        all.push(change);
        pod(&all)
    }

    fn told(object: &Value, old: Option<&Value>, user: &str, rig: Rig<'_>) -> Vec<String> {
        let asked = Asked { kind: "Pod", subresource: "", user, object, old };
        let found = brought(&asked, &[OPERATOR.into()], &["own:1".into()]);
        let all = found.map(|it| it.violations(rig)).unwrap_or_default();
        all.into_iter().map(|it| format!("{}: {}", it.path, it.message)).collect()
    }

    #[test]
    fn what_a_rig_does_not_list_is_not_brought_in() {
        let rules: Rules =
            serde_json::from_str(r#"{"allowedImages": ["agent:1", "registry.example.com/a/*"]}"#)
                .unwrap();
        let before = pod(&BEFORE);
        #[rustfmt::skip]
        let table = [
            (("containers", "claude", "evil:1"), true, "an image that is changed"),
            (("containers", "telemetry", "evil:1"), true, "of any container"),
            (("initContainers", "git-init", "evil:1"), true, "also of one that has ended"),
            (("ephemeralContainers", "debug", "evil:1"), true, "one that is added"),
            (("ephemeralContainers", "debug", "registry.example.com/a/tools:2"), false, "it is listed"),
            (("containers", "claude", "own:1"), false, "the operator's own"),
            (("containers", "telemetry", "runner:1"), false, "it was there, on whatever list"),
        ];
        for (change, refused, because) in table {
            let told = told(&with(change), Some(&before), "ada", Rig::There(&rules));
            assert_eq!(told.len(), usize::from(refused), "{because}: {told:?}");
        }
        let changed = with(("containers", "claude", "evil:1"));
        insta::assert_snapshot!(
            told(&changed, Some(&before), "ada", Rig::There(&rules))[0],
            @r#"spec.containers[1].image: container "claude" is "evil:1", must be one of the allowedImages of Rig greeter: agent:1, registry.example.com/a/* (ours)"#
        );
    }

    #[test]
    fn it_is_asked_of_whom_it_concerns_alone() {
        let none: Rules = serde_json::from_str(r#"{"allowedImages": []}"#).unwrap();
        let (before, after) = (pod(&BEFORE), with(("containers", "claude", "evil:1")));
        let of = |old: Option<&Value>, user: &str, rig: Rig<'_>| told(&after, old, user, rig).len();
        let there = Rig::There(&none);
        assert_eq!(of(Some(&before), "ada", there), 1, "an empty list allows none");
        assert_eq!(of(Some(&before), OPERATOR, there), 0, "the operator has asked before");
        assert_eq!(of(None, "ada", there), 0, "what is created is refused for its label");
        assert_eq!(
            of(Some(&before), "ada", Rig::Absent),
            0,
            "a Rig that is not there says nothing"
        );
        assert_eq!(of(Some(&before), "ada", Rig::Unasked), 1, "nobody could say");
        assert_eq!(of(Some(&before), "ada", Rig::There(&Rules::default())), 0, "no list");
        let mut whole = before.clone();
        whole["metadata"]["annotations"] = json!({"gastown.io/rig": "greeter-of-the-town"});
        let asked =
            Asked { kind: "Pod", subresource: "", user: "ada", object: &after, old: Some(&whole) };
        assert_eq!(brought(&asked, &[], &[]).unwrap().rig, "greeter-of-the-town", "the whole name");
        let mut strangers = before.clone();
        strangers["metadata"]["labels"] = json!({"gastown.io/rig": "greeter"});
        assert_eq!(of(Some(&strangers), "ada", there), 0, "a stranger's pod");
    }
}
