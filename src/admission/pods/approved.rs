//! Pods that a TLS policy holds to approved settings: the variables of each container, and the files that those name. The same
//! settings are set where they are missing, and demanded afterwards.

use serde_json::{Value, json};

use super::{
    Subject, Violation,
    cel::{Condition, quoted},
    subject::Container,
};
use crate::domain::{names, tls_policy, untrusted};

const CHECK: &str = "ours.tlsPolicy";

/// Whether this pod is held to it: one of a Polecat that says so, or every one of a Polecat's.
pub fn holds(subject: &Subject<'_>, everywhere: bool) -> bool {
    let of = |list: &str, key: &str| subject.metadata.get(list).and_then(|it| it.get(key));
    let says = of("annotations", tls_policy::ANNOTATION)
        .is_some_and(|it| it == tls_policy::TlsPolicy::FIPS);
    of("labels", names::POLECAT_LABEL).is_some() && (says || everywhere)
}

/// What is missing of the settings.
pub fn violations(subject: &Subject<'_>) -> Vec<Violation> {
    subject.containers.iter().flat_map(of_container).collect()
}

fn of_container(it: &Container<'_>) -> Vec<Violation> {
    let place = format!("spec.{}[{}]", it.list, it.index);
    let violation = |what: &str, path: String, message: String| Violation {
        check: CHECK,
        same: format!("{CHECK} {}[{}] {what}", it.list, it.name),
        path,
        message,
        fix: None,
    };
    let called = untrusted::fit(it.name, 63);
    let mut all = Vec::new();
    for (name, want) in tls_policy::VARIABLES {
        if said(it, name) != [Some(want)] {
            let message = format!(
                "container {called:?} does not set {name} once, to what tlsPolicy fips wants, must set it to {want:?} (ours)"
            );
            all.push(violation(name, format!("{place}.env"), message));
        }
    }
    if !mounts(it) {
        let (volume, path) = (tls_policy::MOUNT.volume, tls_policy::MOUNT.path);
        let message = format!(
            "container {called:?} does not find the files that tlsPolicy fips names, must mount volume {volume:?} at {path} (ours)"
        );
        all.push(violation(volume, format!("{place}.volumeMounts"), message));
    }
    all
}

/// The same for the floor: of pods that say so, as all of Polecats do that are held to it, for the operator alone may say it.
pub fn condition() -> Condition {
    let one = |(name, want): (&str, &str)| {
        let said = format!("c.?env.orValue([]).filter(e, e.name == {})", quoted(name));
        format!("{said}.map(e, e.?value.orValue('')) == [{}]", quoted(want))
    };
    let (volume, path) = (quoted(tls_policy::MOUNT.volume), quoted(tls_policy::MOUNT.path));
    let mount = format!(
        "c.?volumeMounts.orValue([]).exists(m, m.name == {volume} && m.mountPath == {path} && m.?subPath.orValue('') == '')"
    );
    let all: Vec<_> = tls_policy::VARIABLES.into_iter().map(one).chain([mount]).collect();
    let held = format!(
        "{} in object.metadata.?labels.orValue({{}}) && object.metadata.?annotations[{}].orValue('') == {}",
        quoted(names::POLECAT_LABEL),
        quoted(tls_policy::ANNOTATION),
        quoted(tls_policy::TlsPolicy::FIPS)
    );
    let names: Vec<_> = tls_policy::VARIABLES.iter().map(|it| it.0).collect();
    Condition {
        expression: format!("!({held}) || variables.containers.all(c, {})", all.join(" && ")),
        message: format!(
            "{CHECK}: every container must set {} once each, to what tlsPolicy fips wants, and mount volume {volume} at {path} (ours)",
            names.join(", ")
        ),
    }
}

/// Every value that a variable is given: `None` stands for one from elsewhere.
fn said<'a>(it: &Container<'a>, name: &str) -> Vec<Option<&'a str>> {
    let all = list(it, "env").filter(|it| it.get("name").is_some_and(|it| it == name));
    all.map(|it| it.get("value").and_then(Value::as_str)).collect()
}

fn mounts(it: &Container<'_>) -> bool {
    let is = |it: &Value, key: &str, want: &str| it.get(key).is_some_and(|it| it == want);
    list(it, "volumeMounts").any(|it| {
        is(it, "name", tls_policy::MOUNT.volume)
            && is(it, "mountPath", tls_policy::MOUNT.path)
            && it.get("subPath").is_none_or(|it| it == "")
    })
}

fn list<'a>(it: &Container<'a>, key: &str) -> impl Iterator<Item = &'a Value> {
    it.json.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The JSON patch that adds to one container what it lacks altogether; what somebody has set otherwise is left to be refused.
pub fn settings(place: &str, it: &Container<'_>) -> Vec<Value> {
    let missing = tls_policy::VARIABLES.into_iter().filter(|(name, _)| said(it, name).is_empty());
    let variables = missing.map(|(name, value)| json!({"name": name, "value": value}));
    let mut all = added(place, it, "env", variables.collect());
    let (volume, path) = (tls_policy::MOUNT.volume, tls_policy::MOUNT.path);
    let taken = list(it, "volumeMounts").any(|it| it.get("mountPath").is_some_and(|it| it == path));
    let mount = json!({"name": volume, "mountPath": path, "readOnly": true});
    let mounts = (!taken).then_some(mount);
    all.extend(added(place, it, "volumeMounts", mounts.into_iter().collect()));
    all
}

fn added(place: &str, it: &Container<'_>, key: &str, items: Vec<Value>) -> Vec<Value> {
    if items.is_empty() {
        return Vec::new();
    }
    let path = format!("{place}/{key}");
    if it.json.get(key).is_none_or(Value::is_null) {
        return vec![json!({"op": "add", "path": path, "value": items})];
    }
    let end = format!("{path}/-");
    items.into_iter().map(|it| json!({"op": "add", "path": end, "value": it})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admission::pods::{door::Asked, unset},
        api::{
            shared::SecretRef,
            v1beta1::{Polecat, Repository},
        },
        domain::{
            pod::{self, PodSettings},
            tenancy::House,
            tls_policy::TlsPolicy,
        },
    };

    fn built() -> Value {
        let mut polecat = Polecat::default();
        polecat.metadata.name = Some("max".into());
        polecat.spec.rig = "greeter".into();
        polecat.spec.limits.active_deadline_seconds = 3600;
        polecat.spec.repository = Some(Repository {
            url: "https://git.example.com/town/greeter".into(),
            base_branch: "main".into(),
            secret_ref: SecretRef { name: "git".into() },
            ..Repository::default()
        });
        let house = House { tls_policy: TlsPolicy::Fips, ..House::default() };
        let image = || Some("i:1".to_owned());
        let settings = PodSettings {
            house,
            git_image: image(),
            agent_image: image(),
            telemetry_image: image(),
            ..PodSettings::default()
        };
        serde_json::to_value(pod::agent_pod(&polecat, 1, &settings).unwrap()).unwrap()
    }

    fn refused(pod: &Value) -> Vec<String> {
        let subject = Subject::of("Pod", pod).unwrap().unwrap();
        assert!(holds(&subject, false), "it says so");
        violations(&subject).into_iter().map(|it| format!("{}: {}", it.path, it.message)).collect()
    }

    fn mutated(pod: &Value, old: Option<&Value>) -> Value {
        let asked = Asked { kind: "Pod", subresource: "", user: "ada", object: pod, old };
        let operations = unset::patch(&asked, false);
        let patch: json_patch::Patch = serde_json::from_value(operations.into()).unwrap();
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    #[test]
    fn the_pod_that_we_build_has_all_that_is_demanded() {
        assert_eq!(refused(&built()), [""; 0]);
        assert_eq!(mutated(&built(), None), built(), "and nothing is left to set");
    }

    #[test]
    fn what_others_add_to_it_gets_the_settings_and_then_nothing_more() {
        let mut pod = built();
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        containers
            .push(json!({"name": "mesh", "image": "i", "env": [{"name": "A", "value": "b"}]}));
        containers.push(json!({"name": "bare", "image": "i"}));
        let told = refused(&pod);
        assert_eq!(told.len(), 12, "five variables and a mount, twice: {told:?}");
        assert!(told[0].contains("spec.containers[2].env") && told[0].contains("GODEBUG"));
        let set = mutated(&pod, None);
        assert_eq!(refused(&set), [""; 0]);
        assert_eq!(set["spec"]["containers"][2]["env"][0]["name"], "A", "what was there stays");
        assert_eq!(mutated(&set, None), set);
        let mut later = set.clone();
        later["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "i"}]);
        assert_eq!(refused(&mutated(&later, Some(&set))), [""; 0], "a container that is added");
    }

    #[test]
    fn settings_of_others_are_refused_and_not_replaced() {
        for (variable, because) in [
            (json!({"name": "GODEBUG", "value": "fips140=off"}), "another value"),
            (json!({"name": "GODEBUG", "valueFrom": {}}), "a value from elsewhere"),
        ] {
            let mut pod = built();
            pod["spec"]["containers"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "mesh", "image": "i", "env": [variable]}));
            let told = refused(&mutated(&pod, None));
            assert!(told.len() == 1 && told[0].contains("GODEBUG"), "{because}: {told:?}");
        }
        let mut twice = built();
        let again = json!({"name": "GODEBUG", "value": "fips140=off"});
        twice["spec"]["containers"][0]["env"].as_array_mut().unwrap().push(again);
        assert_eq!(refused(&twice).len(), 1, "the last of two counts");
    }

    #[test]
    fn only_polecats_pods_are_held_to_it() {
        let mut pod = built();
        pod["metadata"]["annotations"] = json!({});
        let held =
            |pod: &Value, everywhere| holds(&Subject::of("Pod", pod).unwrap().unwrap(), everywhere);
        assert!(!held(&pod, false) && held(&pod, true), "the operator's policy is for all of them");
        pod["metadata"]["labels"] = json!({});
        assert!(!held(&pod, true), "a stranger's pod");
    }
}
