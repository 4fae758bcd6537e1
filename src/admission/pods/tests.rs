mod at_the_door;
mod other_tables;

use serde_json::{Value, json};

use super::{Level, NEWEST, Standard, Subject, feedback, judge, pss, rows::Allowed, subject::Kind};

fn good() -> Value {
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "max"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [
                {"name": "first", "image": "i", "securityContext": context},
                {"name": "beside", "image": "i", "restartPolicy": "Always", "securityContext": context},
            ],
            "containers": [{"name": "main", "image": "i", "securityContext": context}],
            "ephemeralContainers": [{"name": "look", "image": "i", "securityContext": context}],
        },
    })
}

/// Sets what a pointer names, making what is missing above it.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut here = object;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/");
        here = match here {
            Value::Array(all) => &mut all[part.parse::<usize>().unwrap()],
            Value::Object(map) => map.entry(part).or_insert(Value::Null),
            _ => {
                *here = json!({});
                here.as_object_mut().unwrap().entry(part).or_insert(Value::Null)
            }
        };
    }
    *here = value;
}

fn standard(text: &str) -> Standard {
    text.parse().unwrap()
}

/// The checks that refuse it, without repetitions.
fn refuse(pod: &Value, policy: &str) -> Vec<&'static str> {
    let subject = Subject::of("Pod", pod).unwrap().unwrap();
    let mut all: Vec<_> =
        judge::pod_security(&subject, standard(policy)).into_iter().map(|it| it.check).collect();
    all.dedup();
    all
}

const LISTS: [(&str, Kind); 4] = [
    ("/spec/initContainers/0", Kind::Init),
    ("/spec/initContainers/1", Kind::Sidecar),
    ("/spec/containers/0", Kind::Regular),
    ("/spec/ephemeralContainers/0", Kind::Ephemeral),
];

#[test]
fn a_good_pod_is_good_at_every_version() {
    for minor in 0..=NEWEST {
        for level in [Level::Baseline, Level::Restricted] {
            let (pod, of) = (good(), Standard { level, minor });
            let subject = Subject::of("Pod", &pod).unwrap().unwrap();
            assert_eq!(judge::pod_security(&subject, of), [], "{of}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_a_container_sets() {
    let restricted = "restricted";
    let none: &[&str] = &[];
    let table = [
        // policy            below a container                       value                      refused by                    because
        (restricted,         "securityContext/privileged",           json!(true),               &["privileged"][..],          "it is root on the node"),
        (restricted,         "securityContext/privileged",           json!("true"),             &["privileged"],              "a text is no false"),
        (restricted,         "securityContext/privileged",           json!(null),               none,                         "null is unset"),
        (restricted,         "securityContext/privileged",           json!(false),              none,                         "false is allowed"),
        ("baseline",         "securityContext/capabilities/add",     json!(["CHOWN"]),          none,                         "a runtime gives it anyway"),
        ("baseline",         "securityContext/capabilities/add",     json!(["NET_RAW"]),        &["capabilities_baseline"],   "it forges packets"),
        ("restricted@v1.21", "securityContext/capabilities/add",     json!(["NET_RAW"]),        &["capabilities_baseline"],   "the stricter check came with 1.22"),
        (restricted,         "securityContext/capabilities/add",     json!(["CHOWN"]),          &["capabilities_restricted"], "one alone may be added"),
        (restricted,         "securityContext/capabilities/add",     json!(["NET_BIND_SERVICE"]), none,                       "and that is this one"),
        (restricted,         "securityContext/capabilities/add",     json!([null]),             &["capabilities_restricted"], "null is not one of them"),
        (restricted,         "securityContext/capabilities/drop",    json!(["all"]),            &["capabilities_restricted"], "names are compared as written"),
        (restricted,         "securityContext/capabilities/drop",    json!(["KILL", "ALL"]),    none,                         "ALL is among them"),
        ("restricted@1.21",  "securityContext/capabilities/drop",    json!([]),                 none,                         "nobody asked before 1.22"),
        (restricted,         "securityContext/capabilities",         json!(null),               &["capabilities_restricted"], "ALL must be dropped by each"),
        (restricted,         "ports",                                json!([{"hostPort": 0}]),  none,                         "0 is none"),
        (restricted,         "ports",                                json!([{"containerPort": 1}, {"hostPort": 80}]), &["hostPorts"], "the second one"),
        (restricted,         "livenessProbe",                        json!({"httpGet": {"host": "a"}}), &["hostProbesAndHostLifecycle"], "a probe reaches other hosts"),
        (restricted,         "livenessProbe",                        json!({"httpGet": {"host": ""}}),  none,                 "empty is unset"),
        ("restricted@v1.33", "livenessProbe",                        json!({"httpGet": {"host": "a"}}), none,                 "it came with 1.34"),
        (restricted,         "readinessProbe",                       json!({"grpc": {"port": 1}}), none,                      "gRPC has no host"),
        (restricted,         "lifecycle",                            json!({"preStop": {"tcpSocket": {"host": "a"}}}), &["hostProbesAndHostLifecycle"], "so does a handler"),
        (restricted,         "securityContext/appArmorProfile",      json!({"type": "Unconfined"}), &["appArmorProfile"],     "it switches AppArmor off"),
        (restricted,         "securityContext/appArmorProfile",      json!({"type": "Localhost", "localhostProfile": "a"}), none, "a profile of the node"),
        (restricted,         "securityContext/appArmorProfile",      json!({}),                 &["appArmorProfile"],         "a profile has a type"),
        (restricted,         "securityContext/seLinuxOptions",       json!({"type": "spc_t"}),  &["seLinuxOptions"],          "it is unconfined"),
        (restricted,         "securityContext/seLinuxOptions",       json!({"user": "root"}),   &["seLinuxOptions"],          "users are not for pods to choose"),
        (restricted,         "securityContext/seLinuxOptions",       json!({"role": "r"}),      &["seLinuxOptions"],          "nor are roles"),
        (restricted,         "securityContext/seLinuxOptions",       json!({"level": "s0:c1"}), none,                         "the level is free"),
        (restricted,         "securityContext/seLinuxOptions",       json!({"type": "container_engine_t"}), none,             "allowed from 1.31 on"),
        ("baseline@v1.30",   "securityContext/seLinuxOptions",       json!({"type": "container_engine_t"}), &["seLinuxOptions"], "not yet in 1.30"),
        (restricted,         "securityContext/procMount",            json!("Unmasked"),         &["procMount_restricted"],    "it shows what the node hides"),
        ("baseline",         "securityContext/procMount",            json!("Unmasked"),         &["procMount"],               "baseline too, with the node's users"),
        (restricted,         "securityContext/procMount",            json!("Default"),          none,                         "that is what unset means"),
        (restricted,         "securityContext/windowsOptions",       json!({"hostProcess": true}), &["windowsHostProcess"],   "it runs on the node"),
        (restricted,         "securityContext/allowPrivilegeEscalation", json!(null),           &["allowPrivilegeEscalation"], "unset means true"),
        (restricted,         "securityContext/allowPrivilegeEscalation", json!(true),           &["allowPrivilegeEscalation"], "it was asked for"),
        ("restricted@v1.7",  "securityContext/allowPrivilegeEscalation", json!(true),           none,                         "the field came with 1.8"),
        (restricted,         "securityContext/runAsNonRoot",         json!(false),              &["runAsNonRoot"],            "it takes back what the pod says"),
        (restricted,         "securityContext/runAsUser",            json!(0),                  &["runAsUser"],               "0 is root"),
        ("restricted@v1.22", "securityContext/runAsUser",            json!(0),                  none,                         "it came with 1.23"),
        (restricted,         "securityContext/runAsUser",            json!(1),                  none,                         "anybody else"),
        (restricted,         "securityContext/seccompProfile",       json!({"type": "Unconfined"}), &["seccompProfile_restricted"], "no filter at all"),
        ("baseline",         "securityContext/seccompProfile",       json!({"type": "Unconfined"}), &["seccompProfile_baseline"],   "nor at baseline"),
        ("restricted@v1.18", "securityContext/seccompProfile",       json!({"type": "Unconfined"}), none,                     "annotations said it before 1.19"),
        (restricted,         "securityContext",                      json!("none"),             &["privileged", "procMount_restricted"], "no object: nothing in it can be seen"),
    ];
    for (policy, path, value, want, because) in table {
        for (list, kind) in LISTS {
            let mut pod = good();
            set(&mut pod, &format!("{list}/{path}"), value.clone());
            let found = refuse(&pod, policy);
            let right = if value == "none" { want.iter().all(|it| found.contains(it)) } else { found == want };
            assert!(right, "{policy}, {kind:?} {path}: {value}: {because}: refused by {found:?}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_a_pod_sets() {
    let restricted = "restricted";
    let none: &[&str] = &[];
    let table = [
        (restricted,        "/spec/hostNetwork",  json!(true),                          &["hostNamespaces"][..],      "the node's network"),
        (restricted,        "/spec/hostPID",      json!(true),                          &["hostNamespaces"],          "the node's processes"),
        (restricted,        "/spec/hostIPC",      json!(true),                          &["hostNamespaces"],          "the node's memory"),
        (restricted,        "/spec/hostIPC",      json!(false),                         none,                         "not asked for"),
        ("baseline",        "/spec/volumes",      json!([{"name": "v", "hostPath": {"path": "/"}}]), &["hostPathVolumes"],   "the node's files"),
        (restricted,        "/spec/volumes",      json!([{"name": "v", "hostPath": {"path": "/"}}]), &["restrictedVolumes"], "said once, by the stricter one"),
        ("baseline",        "/spec/volumes",      json!([{"name": "v", "nfs": {}}]),    none,                         "baseline asks for hostPath alone"),
        (restricted,        "/spec/volumes",      json!([{"name": "v", "emptyDir": {}}, {"name": "w", "nfs": {}}]), &["restrictedVolumes"], "the second one"),
        (restricted,        "/spec/volumes",      json!([{"name": "v", "invented": {}}]), &["restrictedVolumes"],     "a source that nobody knows"),
        (restricted,        "/spec/volumes",      json!([{"name": "v", "secret": {}, "invented": {}}]), &["restrictedVolumes"], "also behind one that is known"),
        (restricted,        "/spec/volumes",      json!([{"name": "v", "secret": null}]), &["restrictedVolumes"],     "null is no source"),
        (restricted,        "/spec/securityContext/sysctls", json!([{"name": "kernel.msgmax"}]), &["sysctls"],        "the whole node's"),
        (restricted,        "/spec/securityContext/sysctls", json!([{}]),               &["sysctls"],                 "one without a name"),
        (restricted,        "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_notsent_lowat"}]), none,   "allowed from 1.37 on"),
        ("baseline@v1.36",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_notsent_lowat"}]), &["sysctls"], "not yet in 1.36"),
        ("baseline@v1.32",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_rmem"}]), none,            "allowed from 1.32 on"),
        ("baseline@v1.31",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_rmem"}]), &["sysctls"],    "not yet in 1.31"),
        ("baseline@v1.29",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_fin_timeout"}]), none,     "allowed from 1.29 on"),
        ("baseline@v1.28",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.tcp_fin_timeout"}]), &["sysctls"], "not yet in 1.28"),
        ("baseline@v1.26",  "/spec/securityContext/sysctls", json!([{"name": "net.ipv4.ip_local_reserved_ports"}]), &["sysctls"], "not yet in 1.26"),
        (restricted,        "/spec/securityContext/runAsNonRoot", json!(false),         &["runAsNonRoot"],            "root for all"),
        (restricted,        "/spec/securityContext/runAsNonRoot", json!(null),          &["runAsNonRoot"],            "nobody says so"),
        ("baseline",        "/spec/securityContext/runAsNonRoot", json!(false),         none,                         "baseline lets root in"),
        (restricted,        "/spec/securityContext/runAsUser",    json!(0),             &["runAsUser"],               "0 is root"),
        (restricted,        "/spec/securityContext/seccompProfile", json!(null),        &["seccompProfile_restricted"], "nobody says so"),
        ("baseline",        "/spec/securityContext/seccompProfile", json!(null),        none,                         "baseline only refuses Unconfined"),
        (restricted,        "/spec/securityContext/appArmorProfile", json!({"type": "Unconfined"}), &["appArmorProfile"], "for every container"),
        (restricted,        "/spec/securityContext/windowsOptions", json!({"hostProcess": true}), &["windowsHostProcess"], "for every container"),
        (restricted,        "/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1x", json!("unconfined"), &["appArmorProfile"], "whatever container it names"),
        (restricted,        "/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1main", json!("localhost/a"), none, "a profile of the node"),
        ("restricted@v1.18", "/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", json!("unconfined"), &["seccompProfile_baseline"], "how it was said before 1.19"),
        ("restricted@v1.18", "/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1look", json!("unconfined"), &["seccompProfile_baseline"], "of an ephemeral one"),
        ("restricted@v1.18", "/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1other", json!("unconfined"), none, "of no container of this pod"),
        ("restricted@v1.18", "/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", json!("docker/default"), none, "its older name"),
        (restricted,        "/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", json!("unconfined"), none, "it says nothing any more"),
    ];
    for (policy, path, value, want, because) in table {
        let mut pod = good();
        set(&mut pod, path, value.clone());
        assert_eq!(refuse(&pod, policy), want, "{policy}, {path}: {value}: {because}");
    }
}

#[test]
#[rustfmt::skip]
fn what_spares_a_pod() {
    let windows = ("/spec/os", json!({"name": "windows"}));
    let apart = ("/spec/hostUsers", json!(false));
    let shared = ("/spec/hostUsers", json!("false"));
    let proc = ("/spec/containers/0/securityContext/procMount", json!("Unmasked"));
    let root = ("/spec/securityContext/runAsUser", json!(0));
    let bare = ("/spec/containers/0/securityContext", json!(null));
    let four = &["allowPrivilegeEscalation", "capabilities_restricted"][..];
    let table = [
        ("restricted@v1.25", vec![&windows, &bare], &[][..],                  "Windows has neither"),
        ("restricted@v1.24", vec![&windows, &bare], four,                     "the field os came with 1.25"),
        ("restricted",       vec![&apart, &root],   &[],                      "root in there is nobody outside"),
        ("restricted@v1.34", vec![&apart, &root],   &["runAsUser"],           "not before 1.35"),
        ("restricted",       vec![&shared, &root],  &["runAsUser"],           "only a real false lifts a rule"),
        ("baseline",         vec![&apart, &proc],   &[],                      "baseline lets it see its own"),
        ("baseline@v1.34",   vec![&apart, &proc],   &["procMount"],           "not before 1.35"),
        ("restricted",       vec![&apart, &proc],   &["procMount_restricted"], "restricted never does"),
    ];
    for (policy, edits, want, because) in table {
        let mut pod = good();
        for (path, value) in edits {
            set(&mut pod, path, value.clone());
        }
        assert_eq!(refuse(&pod, policy), want, "{policy}: {because}");
    }
}

#[test]
fn each_level_runs_the_checks_that_it_should() {
    let ids = |policy| pss::rows(standard(policy)).iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(
        ids("restricted").len(),
        15,
        "12 of baseline without the 4 that are replaced, and 7"
    );
    assert_eq!(ids("baseline").len(), 12);
    let mut all: Vec<_> = pss::ROWS.iter().map(|it| it.id).collect();
    let sorted = all
        .windows(2)
        .all(|it| it[0] <= it[1] || it == ["windowsHostProcess", "allowPrivilegeEscalation"]);
    assert!(sorted, "messages come in the order of the ids");
    all.dedup();
    assert_eq!(all.len(), 19, "all checks there are");
    for row in pss::ROWS {
        let replaces = row.replaces.is_none_or(|it| pss::ROWS.iter().any(|row| row.id == it));
        assert!(replaces, "{}: replaces what is there", row.id);
    }
}

#[test]
fn a_violation_says_where_what_must_and_who() {
    let mut pod = good();
    set(&mut pod, "/spec/containers/0/securityContext/capabilities/drop", json!(["KILL"]));
    set(&mut pod, "/spec/securityContext/runAsNonRoot", json!(null));
    set(&mut pod, "/spec/containers/0/securityContext/runAsNonRoot", json!(true));
    let subject = Subject::of("Pod", &pod).unwrap().unwrap();
    let found = judge::pod_security(&subject, Standard::default());
    let lines: Vec<_> = found.iter().map(|it| format!("{}: {}", it.path, it.message)).collect();
    assert_eq!(
        lines[0],
        r#"spec.containers[0].securityContext.capabilities.drop: container "main" is ["KILL"], must contain "ALL" (PSS restricted v1.37)"#
    );
    assert_eq!(
        lines[1],
        r#"spec.initContainers[0].securityContext.runAsNonRoot: container "first" is unset, must be true, here or in spec.securityContext.runAsNonRoot (PSS restricted v1.37)"#
    );
    assert_eq!(found.len(), 4, "three containers do not say it: {lines:#?}");
}

#[test]
fn what_was_sent_cannot_forge_a_message() {
    let mut pod = good();
    set(&mut pod, "/spec/containers/0/name", json!("a\n\u{1b}[31mallowed\u{202e}"));
    let long = format!("\u{1b}{}", "x".repeat(10_000));
    set(&mut pod, "/spec/containers/0/securityContext/privileged", json!(long));
    let subject = Subject::of("Pod", &pod).unwrap().unwrap();
    let found = judge::pod_security(&subject, Standard::default());
    let said = &found[0].message;
    assert!(said.chars().all(|it| !it.is_control() && it != '\u{202e}'), "{said:?}");
    assert!(said.len() < 400, "what was sent is cut: {}", said.len());
}

#[test]
fn the_patch_mends_what_one_value_can() {
    let mut pod = good();
    for (path, value) in [
        ("/spec/securityContext", json!(null)),
        ("/spec/hostNetwork", json!(true)),
        (
            "/spec/containers/0/securityContext",
            json!({"privileged": true, "capabilities": {"add": ["NET_ADMIN", "NET_BIND_SERVICE"]}}),
        ),
    ] {
        set(&mut pod, path, value);
    }
    let template = json!({"kind": "Deployment", "spec": {"template": pod}});
    let subject = Subject::of("Deployment", &template).unwrap().unwrap();
    let found = judge::pod_security(&subject, Standard::default());
    let patch = feedback::patch(subject.prefix, &found).unwrap();
    let main = json!({"name": "main", "securityContext": {
        "allowPrivilegeEscalation": false, "privileged": null,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }});
    let spec = json!({"hostNetwork": null, "containers": [main],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}});
    assert_eq!(patch, json!({"spec": {"template": {"spec": spec}}}));
}

#[test]
fn policies_are_read_as_they_are_written() {
    for (text, want) in [
        ("restricted", "restricted v1.37"),
        ("restricted@latest", "restricted v1.37"),
        ("baseline@v1.0", "baseline v1.0"),
        ("baseline@1.25", "baseline v1.25"),
    ] {
        assert_eq!(standard(text).to_string(), want);
    }
    for text in [
        "privileged",
        "restricted@",
        "restricted@v1.38",
        "restricted@v1.025",
        "restricted@v2.1",
        "restricted@1.+1",
        "@v1.2",
    ] {
        let why = text.parse::<Standard>().unwrap_err();
        assert!(why.contains("v1."), "it says what may be written: {why}");
    }
}

#[test]
fn what_is_of_another_shape_is_told_and_not_taken_for_nothing() {
    for (pod, words) in [
        (json!({"spec": {"containers": {}}}), "spec.containers is no list"),
        (json!({"spec": {"containers": [1]}}), "spec.containers[0] is no object"),
        (json!({"spec": []}), "spec is missing"),
        (json!({"spec": {}}), "spec.containers is missing"),
    ] {
        let why = Subject::of("Pod", &pod).unwrap_err();
        assert!(why.contains(words), "{why}");
    }
    assert!(Subject::of("Service", &json!({})).unwrap().is_none(), "it holds no pod");
    assert!(!Allowed::Sources(&["a"]).permits(&json!("a")), "no object");
}
