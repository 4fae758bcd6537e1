use serde_json::{Value, json};

use super::{good, set};
use crate::admission::pods::{
    Platform, Question, RuntimeClasses, Standard, Tables,
    door::{Answer, Asked, answer},
    unset,
};

const OPERATOR: &str = "system:serviceaccount:town:operator";

fn question() -> Question<'static> {
    Question {
        standard: Standard::default(),
        tables: Tables::ALL,
        platform: Platform::Kubernetes,
        exceptions: &[],
        runtime_classes: RuntimeClasses::default(),
        fips: false,
        namespace: None,
    }
}

fn told(object: &Value, old: Option<&Value>, user: &str) -> Answer {
    let kind = object["kind"].as_str().unwrap();
    let question = question();
    answer(
        &Asked { kind, subresource: "", user, object, old },
        &question,
        &[OPERATOR.into()],
        Vec::new(),
    )
}

fn bad() -> Value {
    let mut pod = good();
    set(&mut pod, "/spec/containers/0/securityContext/privileged", json!(true));
    set(&mut pod, "/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true));
    pod
}

#[test]
fn a_refusal_says_all_and_how_to_mend_it() {
    insta::assert_snapshot!(told(&bad(), None, "ada").refusal.unwrap(), @r#"
    2 fields are not as this namespace's pods must be:
    spec.containers[0].securityContext.privileged: container "main" is true, must be unset or false (PSS restricted v1.37)
    spec.containers[0].securityContext.allowPrivilegeEscalation: container "main" is true, must be false (PSS restricted v1.37)
    What one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):
    {"spec":{"containers":[{"name":"main","securityContext":{"allowPrivilegeEscalation":false,"privileged":null}}]}}
    "#);
    assert_eq!(told(&good(), None, "ada").refusal, None);
}

#[test]
fn the_audit_log_hears_of_every_decision_what_who_and_why() {
    let noted = |pod: &Value| told(pod, None, "ada\n").audit;
    let common = [("policy", "restricted v1.37".to_owned()), ("requested-by", "ada\\n".to_owned())];
    let with = |violations: &str| {
        common.iter().cloned().chain([("violations", violations.to_owned())]).collect::<Vec<_>>()
    };
    assert_eq!(noted(&bad()), with("allowPrivilegeEscalation,privileged"));
    assert_eq!(noted(&json!({"kind": "Pod", "spec": {}})), with("shape"));
    let fine = noted(&good());
    assert!(fine.contains(&("violations", String::new())), "also that nothing is wrong: {fine:?}");
}

#[test]
fn a_refusal_is_never_longer_than_people_read() {
    let mut pod = good();
    let all: Vec<_> = (0..60)
        .map(|at| json!({"name": format!("c-{at}"), "image": "i", "securityContext": {"privileged": "\u{1b}".repeat(50)}}))
        .collect();
    set(&mut pod, "/spec/containers", json!(all));
    let text = told(&pod, None, "ada").refusal.unwrap();
    assert!(text.chars().count() <= 1_500, "{}", text.chars().count());
    let (_, more) = text.rsplit_once("\nand ").unwrap();
    assert!(more.contains(" more; kubectl gt check lists them all\n"), "{more}");
    assert!(!text.chars().any(|it| it.is_control() && it != '\n'), "what was sent is escaped");
}

#[test]
fn a_refusal_has_its_patch_or_says_where_that_is() {
    let lacks = |count: usize| {
        let mut pod = good();
        let all = (0..count).map(|at| json!({"name": format!("c-{at}"), "image": "i"}));
        set(&mut pod, "/spec/containers", all.collect());
        told(&pod, None, "ada").refusal.unwrap()
    };
    for count in [1, 6] {
        let text = lacks(count);
        let (_, patch) = text.rsplit_once('\n').unwrap();
        let patch: Value = serde_json::from_str(patch).unwrap();
        let mended = patch["spec"]["containers"].as_array().unwrap();
        assert_eq!(mended.len(), count, "{text}");
        assert!(text.contains("spec.containers[0]"), "and what it is about: {text}");
    }
    let text = lacks(20);
    assert!(text.ends_with("kubectl gt check -f FILE prints it as a patch"), "{text}");
    assert!(text.chars().count() <= 1_500);
}

#[test]
fn an_update_is_refused_for_what_it_makes_wrong_alone() {
    let mut labelled = bad();
    set(&mut labelled, "/metadata/labels", json!({"a": "b"}));
    assert_eq!(told(&labelled, Some(&bad()), "ada").refusal, None, "it was so before");
    assert!(told(&bad(), Some(&good()), "ada").refusal.is_some(), "it was not");
    let long = |end: &str| {
        let (mut pod, text) = (good(), format!("{}{end}", "x".repeat(200)));
        set(
            &mut pod,
            "/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1main",
            json!(text),
        );
        pod
    };
    assert!(
        told(&long("b"), Some(&long("a")), "ada").refusal.is_some(),
        "another one, behind where messages cut"
    );
    assert_eq!(told(&long("a"), Some(&long("a")), "ada").refusal, None);
    let mut more = bad();
    let look = json!({"name": "second", "image": "i", "securityContext": {"privileged": true}});
    more["spec"]["ephemeralContainers"].as_array_mut().unwrap().insert(0, look);
    let text = told(&more, Some(&bad()), "ada").refusal.unwrap();
    assert!(
        text.contains("spec.ephemeralContainers[0]") && !text.contains("spec.containers"),
        "{text}"
    );
}

/// Of a pod that is there, tolerations are the one list of the spec that grows.
#[test]
fn an_entry_of_a_list_is_the_same_wherever_it_stands() {
    let tolerates = |all: Value| {
        let mut pod = good();
        set(&mut pod, "/spec/tolerations", all);
        pod
    };
    let (all, fine) = (json!({"operator": "Exists"}), json!({"key": "gpu", "operator": "Exists"}));
    let before = tolerates(json!([all]));
    let moved = tolerates(json!([fine, all]));
    assert_eq!(told(&moved, Some(&before), "ada").refusal, None, "it was there");
    let other = json!({"key": "node-role.kubernetes.io/master", "operator": "Exists"});
    let text = told(&tolerates(json!([other, all])), Some(&before), "ada").refusal.unwrap();
    assert!(
        text.contains("spec.tolerations[0]") && !text.contains("spec.tolerations[1]"),
        "{text}"
    );
}

#[test]
fn a_pod_that_is_being_deleted_may_be_written() {
    let mut gone = bad();
    set(&mut gone, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    assert_eq!(told(&gone, Some(&good()), "ada"), Answer::default());
    assert!(told(&gone, None, "ada").refusal.is_some(), "nothing is deleted that is not there");
    let object = bad();
    let question = question();
    for (subresource, refused) in
        [("status", false), ("eviction", false), ("ephemeralcontainers", true), ("invented", true)]
    {
        let asked = Asked { kind: "Pod", subresource, user: "ada", object: &object, old: None };
        assert_eq!(
            answer(&asked, &question, &[OPERATOR.into()], Vec::new()).refusal.is_some(),
            refused,
            "{subresource}"
        );
    }
}

#[test]
fn only_the_operator_says_that_a_pod_is_a_polecats() {
    let mut ours = good();
    set(&mut ours, "/metadata/labels/gastown.io~1polecat", json!("max"));
    let mut other = ours.clone();
    set(&mut other, "/metadata/labels/gastown.io~1polecat", json!("nux"));
    let (mut moved, mut strange) = (ours.clone(), good());
    for it in [&mut moved, &mut strange] {
        set(it, "/metadata/labels/gastown.io~1bucket", json!("7"));
    }
    for (new, old, user, refused, because) in [
        (&ours, None, "ada", true, "created by somebody"),
        (&ours, None, OPERATOR, false, "created by the operator"),
        (&good(), Some(&ours), "ada", true, "taken away"),
        (&other, Some(&ours), "ada", true, "changed"),
        (&moved, Some(&ours), "ada", true, "to another shard, whose owner is not its own"),
        (&moved, Some(&ours), OPERATOR, false, "by the operator"),
        (&strange, Some(&good()), "ada", false, "that label on a stranger's pod"),
        (&ours, Some(&ours), "ada", false, "left as it was"),
        (
            &ours,
            None,
            "system:serviceaccount:town:operator-2",
            true,
            "a name that begins like the operator's",
        ),
        (&ours, None, "", true, "nobody"),
    ] {
        let refusal = told(new, old, user).refusal;
        assert_eq!(refusal.is_some(), refused, "{because}: {refusal:?}");
    }
    let mut root = ours.clone();
    set(&mut root, "/spec/securityContext/runAsUser", json!(0));
    assert!(told(&root, None, OPERATOR).refusal.is_some(), "its own pods are judged as anybody's");
}

#[test]
fn what_makes_pods_is_advised_and_never_refused() {
    let mut deployment = json!({"kind": "Deployment", "spec": {"template": bad()}});
    let told_of = |it: &Value| told(it, None, "ada");
    let answer = told_of(&deployment);
    assert_eq!((answer.refusal.as_ref(), answer.warnings.len()), (None, 2));
    assert!(
        answer.warnings[0].contains("spec.template.spec.containers[0].securityContext.privileged")
    );
    let mut bare = good();
    bare["spec"] = json!({"containers": [{"name": "main", "image": "i"}]});
    let set_later = json!({"kind": "Deployment", "spec": {"template": bare}});
    assert_eq!(told_of(&set_later).warnings, [""; 0], "what is set on its pods refuses none");
    let mut root = set_later.clone();
    set(&mut root, "/spec/template/spec/securityContext", json!({"runAsNonRoot": false}));
    let answer = told_of(&root);
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    assert!(answer.warnings[0].contains("runAsNonRoot: is false"), "{:?}", answer.warnings);
    let long = "x".repeat(200);
    let privileged = json!({"privileged": true});
    let all: Vec<_> = (0..40)
        .map(|at| json!({"name": format!("{long}{at}\n"), "image": "i", "securityContext": privileged}))
        .collect();
    set(&mut deployment, "/spec/template/spec/containers", json!(all));
    let answer = told_of(&deployment);
    assert_eq!(answer.warnings.len(), 15);
    assert!(answer.warnings.iter().all(|it| it.chars().count() <= 256 && !it.contains('\n')));
    set(&mut deployment, "/spec/template", json!("no template"));
    assert_eq!(
        told_of(&deployment),
        Answer::default(),
        "what can't be read is the API server's to refuse"
    );
}

fn patched(pod: &Value, old: Option<&Value>) -> Value {
    let asked = Asked { kind: "Pod", subresource: "", user: "ada", object: pod, old };
    let patch: json_patch::Patch =
        serde_json::from_value(json!(unset::patch(&asked, false))).unwrap();
    let mut after = pod.clone();
    json_patch::patch(&mut after, &patch).unwrap();
    let again = Asked { object: &after, ..asked };
    assert_eq!(
        unset::patch(&again, false),
        [] as [Value; 0],
        "a second run finds nothing to set: {after}"
    );
    after
}

#[test]
fn what_nobody_set_is_set_and_then_let_in() {
    let bare = json!({"kind": "Pod", "metadata": {}, "spec": {
        "initContainers": [{"name": "a/b~c", "image": "i"}, {"name": "b", "image": "i", "securityContext": null}],
        "containers": [{"name": "c", "image": "i", "securityContext": {"capabilities": {"drop": ["SYS_TIME", "KILL"]}}}],
    }});
    let after = patched(&bare, None);
    assert_eq!(told(&after, None, "ada").refusal, None);
    assert_eq!(
        after["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"],
        json!(["ALL", "KILL", "SYS_TIME"])
    );
    assert!(after["spec"].get("automountServiceAccountToken").is_none(), "not a Polecat's");
    for field in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups", "seLinuxOptions"] {
        assert!(!after.to_string().contains(field), "OpenShift sets {field}");
    }
    let mut ours = bare.clone();
    set(&mut ours, "/metadata/labels/gastown.io~1polecat", json!("max"));
    assert_eq!(patched(&ours, None)["spec"]["enableServiceLinks"], false);
}

#[test]
fn what_was_set_is_left_alone() {
    assert_eq!(patched(&good(), None), good(), "nothing to set");
    let mut pod = good();
    set(
        &mut pod,
        "/spec/securityContext",
        json!({"runAsNonRoot": false, "seccompProfile": {"type": "Unconfined"}}),
    );
    set(
        &mut pod,
        "/spec/containers/0/securityContext",
        json!({"privileged": true, "capabilities": {"drop": ["ALL"]}}),
    );
    assert_eq!(patched(&pod, None), pod, "to be refused, not to be mended behind somebody's back");
    let windows =
        json!({"kind": "Pod", "spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}]}});
    assert_eq!(patched(&windows, None), windows);
}

#[test]
fn of_an_update_only_new_ephemeral_containers_are_touched() {
    let mut old = good();
    set(&mut old, "/spec/securityContext", json!(null));
    set(&mut old, "/spec/ephemeralContainers/0/securityContext", json!(null));
    let mut new = old.clone();
    let second = json!({"name": "second", "image": "i"});
    new["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(second);
    let after = patched(&new, Some(&old));
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(after["spec"]["ephemeralContainers"][1]["securityContext"], context);
    let mut untouched = after.clone();
    untouched["spec"]["ephemeralContainers"][1].as_object_mut().unwrap().remove("securityContext");
    assert_eq!(untouched, new, "everything else is as it was");
}

/// Another webhook has put a container first since: what was for the second one is not set on the first.
#[test]
fn a_list_that_changed_in_between_makes_the_patch_fail() {
    let bare = json!({"kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "main", "image": "i"}]}});
    let asked = Asked { kind: "Pod", subresource: "", user: "ada", object: &bare, old: None };
    let patch: json_patch::Patch =
        serde_json::from_value(json!(unset::patch(&asked, false))).unwrap();
    let mut changed = bare.clone();
    let first = json!({"name": "mesh", "image": "i", "securityContext": {"runAsUser": 7}});
    changed["spec"]["containers"].as_array_mut().unwrap().insert(0, first);
    let before = changed.clone();
    let failed = json_patch::patch(&mut changed, &patch).unwrap_err();
    assert!(failed.to_string().contains("/spec/containers/0/name"), "{failed}");
    assert_eq!(changed, before, "nothing of it is applied");
}
