use serde_json::{Value, json};

use super::{good, set};
use crate::{
    admission::pods::{
        Judgement, Level, Platform, Question, RuntimeClasses, Standard, Subject, Tables, door,
        judge, ours, scc, unset,
    },
    api::{
        shared::SecretRef,
        v1beta1::{Polecat, Repository},
    },
    domain::pod::{self, PodSettings},
};

fn namespace(annotations: &Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": "town", "annotations": annotations}})
}

fn usual() -> Value {
    namespace(&json!({
        "openshift.io/sa.scc.uid-range": "1000650000/10000",
        "openshift.io/sa.scc.supplemental-groups": "1000660000/10000,5/1",
        "openshift.io/sa.scc.mcs": "s0:c26,c5",
    }))
}

fn asked(pod: &Value, tables: Tables, platform: Platform, namespace: Option<&Value>) -> Judgement {
    let subject = Subject::of("Pod", pod).unwrap().unwrap();
    let standard = Standard::default();
    judge(
        &subject,
        &Question {
            standard,
            tables,
            platform,
            exceptions: &[],
            runtime_classes: RuntimeClasses::default(),
            fips: false,
            namespace,
        },
    )
}

fn checks(of: &Judgement) -> Vec<&'static str> {
    let mut all: Vec<_> = of.violations.iter().map(|it| it.check).collect();
    all.dedup();
    all
}

const SCC: Tables = Tables { pss: false, scc: true, ours: false };

#[test]
#[rustfmt::skip]
fn the_constraint_that_openshift_would_choose() {
    let context = "/spec/securityContext";
    let own = "/spec/containers/0/securityContext";
    let apart = ("/spec/hostUsers".to_owned(), json!(false));
    let at = |path: &str, key: &str, value: Value| (format!("{path}/{key}"), value);
    let required = |it: &str| ("/metadata/annotations/openshift.io~1required-scc".to_owned(), json!(it));
    let of_pod = |it: &str| ("/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod".to_owned(), json!(it));
    let of_main = |it: &str| ("/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1main".to_owned(), json!(it));
    let unset = at(context, "seccompProfile", json!(null));
    let (v2, v3) = (Some(scc::V2), Some(scc::V3));
    let table = [
        (vec![],                                               v2,   &[][..],                     "the good pod is good, and what is unset is set by it"),
        (vec![apart.clone()],                                  v2,   &[],                         "in a tie the names decide"),
        (vec![apart.clone(), required("restricted-v3")],       v3,   &[],                         "it was asked for"),
        (vec![required("restricted-v3")],                      None, &["scc.hostUsers"],          "v3 wants users of its own"),
        (vec![required("anyuid")],                             None, &["scc.required"],           "no other is known here"),
        (vec![apart.clone(), at(own, "runAsUser", json!(2000))], v3, &[],                         "not in v2's range, in v3's"),
        (vec![at(own, "runAsUser", json!(2000))],              None, &["scc.runAsUser"],          "not in v2's range"),
        (vec![at(own, "runAsUser", json!(1_000_650_000))],     v2,   &[],                         "the first of the range"),
        (vec![at(own, "runAsUser", json!(1_000_659_999))],     v2,   &[],                         "the last of the range"),
        (vec![at(own, "runAsUser", json!(1_000_660_000))],     None, &["scc.runAsUser"],          "one beyond"),
        (vec![at(context, "runAsUser", json!(0))],             None, &["scc.runAsUser"],          "inherited by all"),
        (vec![at(context, "fsGroup", json!(1_000_660_000))],   v2,   &[],                         "the one group"),
        (vec![at(context, "fsGroup", json!(1_000_660_001))],   None, &["scc.fsGroup"],            "only the first group of the first block"),
        (vec![at(context, "supplementalGroups", json!([7]))],  v2,   &[],                         "v2 lets any in"),
        (vec![apart.clone(), required("restricted-v3"), at(context, "supplementalGroups", json!([7]))], None, &["scc.supplementalGroups"], "v3 does not"),
        (vec![apart, required("restricted-v3"), at(context, "supplementalGroups", json!([]))], None, &["scc.supplementalGroups"], "nor an empty list"),
        (vec![at(context, "seLinuxOptions", json!({"level": "s0:c5,c26"}))], v2, &[],             "categories come in any order"),
        (vec![at(own, "seLinuxOptions", json!({"level": "s0:c5"}))], None, &["scc.seLinuxOptions"], "another level"),
        (vec![at(own, "seLinuxOptions", json!({}))],           None, &["scc.seLinuxOptions"],     "set, so not filled in"),
        (vec![at(own, "seLinuxOptions", json!({"level": "s0:c26,c5", "type": "container_t"}))], None, &["scc.seLinuxOptions"], "a type is not for pods to choose"),
        (vec![at(context, "seccompProfile", json!({"type": "Localhost", "localhostProfile": "a"}))], None, &["scc.seccompProfile"], "only the runtime's own"),
        (vec![of_pod("localhost/a")],                          None, &["scc.seccompProfile"],     "the field says otherwise, and is overwritten"),
        (vec![of_pod("runtime/default"), at(context, "seccompProfile", json!({"type": "Unconfined"}))], v2, &[], "so is one that would be refused"),
        (vec![of_pod("localhost/a"), unset.clone()],           None, &["scc.seccompProfile"],     "in its old form too"),
        (vec![of_pod("docker/default"), unset.clone()],        v2,   &[],                         "the runtime's own, as it was called"),
        (vec![of_pod(""), unset.clone()],                      v2,   &[],                         "an empty one is unset"),
        (vec![of_main("localhost/a")],                         None, &["scc.seccompProfile"],     "of a container"),
        (vec![of_main("")],                                    None, &["scc.seccompProfile"],     "there an empty one is one"),
        (vec![of_main("docker/default"), unset],               v2,   &[],                         "the runtime's own, as it was called"),
        (vec![of_main("localhost/a"), at(own, "seccompProfile", json!({"type": "RuntimeDefault"}))], None, &["scc.seccompProfile"], "its field is overwritten"),
        (vec![of_main("runtime/default"), at(own, "seccompProfile", json!({"type": "Unconfined"}))], v2, &[], "so is one that would be refused"),
        (vec![at(context, "sysctls", json!([{"name": "net.ipv4.tcp_notsent_lowat"}]))], None, &["scc.sysctls"], "too new for it"),
        (vec![at(own, "capabilities", json!({"add": ["CHOWN"]}))], None, &["scc.capabilities"],   "one alone may be added; ALL is dropped by itself"),
        (vec![at(own, "capabilities", json!(null))],           v2,   &[],                         "ALL is dropped by itself"),
        (vec![at(own, "allowPrivilegeEscalation", json!(null))], v2, &[],                         "so is this set"),
        (vec![at(own, "allowPrivilegeEscalation", json!(true))], None, &["scc.allowPrivilegeEscalation"], "unless it was asked for"),
        (vec![("/spec/volumes".to_owned(), json!([{"name": "v", "hostPath": {"path": "/"}}]))], None, &["scc.volumes"], "the node's files"),
        (vec![at(own, "procMount", json!("Unmasked"))],        v2,   &[],                         "it never looks there"),
        (vec![("/spec/os".to_owned(), json!({"name": "windows"})), ("/spec/hostNetwork".to_owned(), json!(true))], None, &[], "nor at Windows"),
    ];
    for (edits, name, want, because) in table {
        let mut pod = good();
        for (path, value) in &edits {
            set(&mut pod, path, value.clone());
        }
        let found = asked(&pod, SCC, Platform::OpenShift, Some(&usual()));
        assert_eq!((found.scc, checks(&found)), (name, want.to_vec()), "{because}: {:#?}", found.violations);
    }
}

#[test]
fn ranges_are_read_as_openshift_reads_them() {
    let mut pod = good();
    set(&mut pod, "/spec/securityContext/runAsUser", json!(1500));
    let refused = |annotations: Value| {
        checks(&asked(&pod, SCC, Platform::OpenShift, Some(&namespace(&annotations))))
    };
    let mcs = |uids: &str| json!({"openshift.io/sa.scc.mcs": "s0", "openshift.io/sa.scc.uid-range": uids});
    for (uids, want, because) in [
        ("1000/1000", &[][..], "a size"),
        ("1000-1500", &[], "an end"),
        ("1000-1499", &["scc.runAsUser"], "the end is the last"),
        ("1000/500,2000/500", &["scc.runAsUser"], "the first block alone"),
        ("1500/1,7/7", &[], "what follows the first is left alone"),
        ("1000", &["scc.runAsUser", "scc.fsGroup"], "no range"),
        ("a/b", &["scc.runAsUser", "scc.fsGroup"], "no numbers"),
        ("", &["scc.runAsUser", "scc.fsGroup"], "nothing"),
        ("1000/99999999999999", &["scc.runAsUser", "scc.fsGroup"], "no number of 32 bits"),
    ] {
        assert_eq!(refused(mcs(uids)), want, "{uids:?}: {because}");
    }
    let none = refused(json!({}));
    assert_eq!(none.len(), 3, "without annotations nothing fits: {none:?}");
    let unsaid = asked(&pod, SCC, Platform::OpenShift, None);
    assert_eq!(
        checks(&unsaid),
        [""; 0],
        "who was not told of a namespace holds nothing against it"
    );
}

/// All constraints are made ready for a namespace before any is tried; for a pod that asks for one, that one alone.
#[test]
#[rustfmt::skip]
fn what_a_namespace_does_not_say_refuses_pods_of_either_constraint() {
    let uids = |it: &str| json!({"openshift.io/sa.scc.mcs": "s0", "openshift.io/sa.scc.uid-range": it});
    let table = [
        (json!({"openshift.io/sa.scc.mcs": "", "openshift.io/sa.scc.uid-range": "1000/1000"}), None, None, "an empty level is none"),
        (json!({"openshift.io/sa.scc.uid-range": "1000/1000"}), None,         None,          "no level"),
        (json!({"openshift.io/sa.scc.mcs": "s0"}),              None,         None,          "no range, though v3 has its own"),
        (uids("a/b"),                                           None,         Some(scc::V3), "only v2 reads it"),
        (uids("4294967295/10"),                                 Some(scc::V3), Some(scc::V3), "its end is before its beginning: v2 lets nobody in"),
        (uids("1000/1000"),                                     Some(scc::V2), Some(scc::V3), "both are there"),
    ];
    for (annotations, any, asked_for, because) in table {
        let mut pod = good();
        set(&mut pod, "/spec/hostUsers", json!(false));
        let chosen = |pod: &Value| asked(pod, SCC, Platform::OpenShift, Some(&namespace(&annotations))).scc;
        assert_eq!(chosen(&pod), any, "{because}");
        set(&mut pod, "/metadata/annotations/openshift.io~1required-scc", json!(scc::V3));
        assert_eq!(chosen(&pod), asked_for, "{because}: v3 alone");
    }
}

#[test]
fn the_platform_decides_whether_a_constraint_does() {
    let mut pod = good();
    set(
        &mut pod,
        "/spec/securityContext/seccompProfile",
        json!({"type": "Localhost", "localhostProfile": "a"}),
    );
    let elsewhere = asked(&pod, Tables::ALL, Platform::Kubernetes, None);
    assert_eq!((checks(&elsewhere), elsewhere.advice.len()), (vec![], 1), "advice");
    let there = asked(&pod, Tables::ALL, Platform::OpenShift, None);
    assert_eq!((checks(&there), there.advice.len()), (vec!["scc.seccompProfile"], 0));
    let alone = asked(&pod, SCC, Platform::Kubernetes, None);
    assert_eq!(checks(&alone), ["scc.seccompProfile"], "nothing else was asked");
}

#[test]
#[rustfmt::skip]
fn what_we_refuse_beyond_the_standards() {
    let own = "/spec/containers/0";
    let table = [
        ("/spec/os".to_owned(),               json!({"name": "windows"}),            "ours.windows",               "hardly anything is checked there"),
        ("/spec/securityContext/windowsOptions".to_owned(), json!({}),               "ours.windows",               "of no use here"),
        ("/spec/hostAliases".to_owned(),      json!([{"ip": "1.2.3.4"}]),            "ours.hostAliases",           "names that lead elsewhere"),
        ("/spec/shareProcessNamespace".to_owned(), json!(true),                      "ours.shareProcessNamespace", "it sees the others' memory"),
        ("/spec/nodeName".to_owned(),         json!("n"),                            "ours.nodeName",              "past the scheduler"),
        ("/spec/priorityClassName".to_owned(), json!("system-node-critical"),        "ours.priorityClassName",     "it evicts others"),
        ("/spec/tolerations".to_owned(),      json!([{"key": "node-role.kubernetes.io/control-plane"}]), "ours.tolerations", "its nodes"),
        ("/spec/tolerations".to_owned(),      json!([{"operator": "Exists"}]),       "ours.tolerations",           "every taint"),
        ("/spec/volumes".to_owned(),          json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]), "ours.tokenAudience", "it speaks elsewhere"),
        (format!("{own}/volumeMounts"),       json!([{"name": "t", "mountPropagation": "HostToContainer"}]), "ours.mountPropagation", "mounts of the node"),
        (format!("{own}/volumeMounts"),       json!([{"name": "t", "subPathExpr": "$(A)"}]), "ours.subPathExpr",   "a path that a variable makes"),
        (format!("{own}/resources"),          json!({"claims": [{"name": "gpu"}]}),  "ours.resourceClaims",        "a device"),
        (format!("{own}/securityContext/capabilities/ambient"), json!(["SYS_TIME"]), "ours.unknownFields",        "a capability by another road"),
        (format!("{own}/securityContext/seccompProfile"), json!({"type": "RuntimeDefault", "unconfined": true}), "ours.unknownFields", "of a profile"),
        ("/spec/securityContext/appArmorProfile".to_owned(), json!({"type": "RuntimeDefault", "mode": "complain"}), "ours.unknownFields", "of the pod's"),
        ("/spec/securityContext/seLinuxOptions".to_owned(), json!({"level": "s0", "range": "s0"}), "ours.unknownFields", "of SELinux"),
        ("/spec/securityContext/sysctls".to_owned(), json!([{"name": "net.ipv4.tcp_rmem", "scope": "node"}]), "ours.unknownFields", "of a sysctl"),
        (format!("{own}/securityContext/privilged"), json!(true),                    "ours.unknownFields",         "a slip that nobody would see"),
        ("/spec/ephemeralContainers/0/targetContainerName".to_owned(), json!("gone"), "ours.targetContainerName",  "it looks at nothing"),
    ];
    let tables = Tables { pss: false, scc: false, ours: true };
    for (path, value, want, because) in table {
        let mut pod = good();
        set(&mut pod, &path, value);
        let found = asked(&pod, tables, Platform::Kubernetes, None);
        assert_eq!(checks(&found), [want], "{because}");
        let subject = Subject::of("Pod", &pod).unwrap().unwrap();
        let kept = !ours::SWITCHABLE.contains(&want);
        assert_eq!(!ours::violations(&subject, &[want], RuntimeClasses::default(), true).is_empty(), kept, "{want} can be switched off, or not");
    }
    for (path, value, because) in [
        ("/spec/ephemeralContainers/0/targetContainerName", json!("main"), "it is there"),
        ("/spec/tolerations", json!([{"key": "gpu", "operator": "Exists"}]), "a taint of workers"),
        ("/spec/priorityClassName", json!("batch"), "not the system's"),
        ("/spec/volumes", json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]), "for the API server"),
    ] {
        let mut pod = good();
        set(&mut pod, path, value);
        assert_eq!(checks(&asked(&pod, tables, Platform::Kubernetes, None)), [""; 0], "{because}");
    }
}

#[test]
fn a_runtime_class_that_is_listed_may_be_named() {
    let found = |named: serde_json::Value, listed: &[&str]| {
        let mut pod = good();
        set(&mut pod, "/spec/runtimeClassName", named);
        let subject = Subject::of("Pod", &pod).unwrap().unwrap();
        let classes = RuntimeClasses::of(listed.iter().map(|it| (*it).to_owned()).collect());
        let all = ours::violations(&subject, &[], classes, true);
        all.into_iter().map(|it| format!("{}: {}", it.path, it.message)).collect::<Vec<_>>()
    };
    let listed = ["gvisor", "kata"];
    for (named, listed, want, because) in [
        (json!(null), &[][..], None, "none is named"),
        (json!(null), &listed, None, "the same"),
        (json!("gvisor"), &listed, None, "it is on the list"),
        (json!("gvisor"), &[], None, "there is no list"),
        (json!("runc"), &listed, Some("unset or one of \"gvisor\", \"kata\" (ours)"), "another"),
        (json!(["gvisor"]), &listed, Some("unset or one of"), "no name at all"),
    ] {
        let all = found(named, listed);
        assert_eq!(all.len(), usize::from(want.is_some()), "{because}: {all:?}");
        let said = all.first().map_or("", String::as_str);
        assert!(said.contains(want.unwrap_or_default()), "{because}: {said}");
        assert!(said.is_empty() || said.starts_with("spec.runtimeClassName: is "), "{said}");
    }
    assert!(ours::SWITCHABLE.contains(&"ours.runtimeClassName"));
}

#[test]
fn a_runtime_class_is_named_as_the_api_server_names_it() {
    for (text, fine) in [
        ("gvisor", true),
        ("kata-qemu.example.com", true),
        ("9", true),
        ("", false),
        ("gVisor", false),
        ("-a", false),
        ("a..b", false),
        ("a' || true || '", false),
    ] {
        assert_eq!(RuntimeClasses::named(text).is_ok(), fine, "{text:?}");
    }
}

#[test]
fn root_is_refused_by_every_road() {
    for path in ["/spec/securityContext/runAsUser", "/spec/containers/0/securityContext/runAsUser"]
    {
        let mut pod = good();
        set(&mut pod, "/spec/hostUsers", json!(false));
        set(&mut pod, path, json!(0));
        let found = asked(&pod, Tables::ALL, Platform::Kubernetes, None);
        assert_eq!(checks(&found), ["ours.root"], "Pod Security lets it in from 1.35 on");
        set(&mut pod, "/spec/hostUsers", json!(true));
        let found = asked(&pod, Tables::ALL, Platform::Kubernetes, None);
        assert_eq!(checks(&found), ["runAsUser"], "said once");
        let baseline = Standard { level: Level::Baseline, ..Standard::default() };
        let subject = Subject::of("Pod", &pod).unwrap().unwrap();
        let (tables, platform) = (Tables::ALL, Platform::Kubernetes);
        let question = Question {
            standard: baseline,
            tables,
            platform,
            exceptions: &[],
            runtime_classes: RuntimeClasses::default(),
            fips: false,
            namespace: None,
        };
        assert_eq!(judge(&subject, &question).violations, [], "baseline lets root in");
    }
}

/// What the operator makes is what it lets in, on either platform.
#[test]
fn our_own_pods_are_let_in_and_nothing_is_set_on_them() {
    for (platform, fixed_users) in [(Platform::Kubernetes, true), (Platform::OpenShift, false)] {
        let settings = PodSettings {
            git_image: Some("runner:1".into()),
            agent_image: Some("agent:1".into()),
            telemetry_image: Some("runner:1".into()),
            fixed_users,
            ..PodSettings::default()
        };
        let mut polecat = Polecat::default();
        polecat.metadata.name = Some("max".into());
        polecat.metadata.namespace = Some("town".into());
        polecat.spec.rig = "greeter".into();
        polecat.spec.limits.max_idle_seconds = Some(60);
        polecat.spec.limits.active_deadline_seconds = 3600;
        polecat.spec.repository = Some(Repository {
            url: "git@git.example.com:town/greeter.git".into(),
            base_branch: "main".into(),
            secret_ref: SecretRef { name: "git-key".into() },
            ..Repository::default()
        });
        let made = pod::agent_pod(&polecat, 1, &settings).unwrap();
        let made = serde_json::to_value(&made).unwrap();
        let found = asked(&made, Tables::ALL, platform, Some(&usual()));
        assert_eq!(found.violations, [], "{platform:?}");
        let created =
            door::Asked { kind: "Pod", subresource: "", user: "", object: &made, old: None };
        assert_eq!(unset::patch(&created, false), [] as [Value; 0], "{platform:?}");
    }
}
