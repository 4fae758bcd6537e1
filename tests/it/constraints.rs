//! Our table of OpenShift's security context constraints against OpenShift's own admission plugin, with the constraints that it
//! ships: whether a pod is let in, and by which of them, must be the same.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use gastown::admission::pods::{NEWEST, Subject, scc};
use serde_json::{Value, json};

use crate::{pod_security::cells, preconditions::skip};

const TEST: &str = "the_table_says_what_openshifts_own_admission_says";
/// Mixtures of edits.
const MIXTURES: u32 = 6_000;

/// What the one or the other says: let in, and by which constraint.
type Verdict = (bool, Option<String>);

type Ranges = BTreeMap<&'static str, &'static str>;

/// What a namespace says of ranges, but for these.
fn with(changes: &[(&'static str, Option<&'static str>)]) -> Ranges {
    let usual = [
        ("uid-range", "1000650000/10000"),
        ("supplemental-groups", "1000650000/10000"),
        ("mcs", "s0:c26,c5"),
    ];
    let mut all: Ranges = usual.into_iter().collect();
    for (key, value) in changes {
        match value {
            Some(value) => _ = all.insert(key, value),
            None => _ = all.remove(key),
        }
    }
    all
}

/// Namespaces, by what they say of ranges.
fn namespaces() -> Vec<Value> {
    let (uids, groups, level) = ("uid-range", "supplemental-groups", "mcs");
    let all = [
        with(&[]),
        with(&[(uids, Some("1000-1009,5000-5009")), (groups, Some("2000/10,3000/10"))]),
        with(&[(groups, None)]),
        with(&[(groups, Some("1000650000"))]),
        with(&[(groups, Some("3000-3010,x"))]),
        with(&[(uids, Some("4294967295/10"))]),
        with(&[(uids, Some("1000650000"))]),
        with(&[(uids, Some(""))]),
        with(&[(uids, None)]),
        with(&[(level, Some(""))]),
        with(&[(level, None)]),
        with(&[(level, Some("s0"))]),
    ];
    let of = |(at, all): (usize, Ranges)| {
        let all: BTreeMap<_, _> =
            all.into_iter().map(|(key, it)| (format!("openshift.io/sa.scc.{key}"), it)).collect();
        json!({"metadata": {"name": format!("ns-{at}"), "annotations": all}})
    };
    all.into_iter().enumerate().map(of).collect()
}

fn plain() -> Value {
    let container = |name: &str| json!({"name": name, "image": "i"});
    let mut sidecar = container("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "max", "annotations": {}}, "spec": {
        "initContainers": [container("init"), sidecar],
        "containers": [container("main"), container("second")],
        "ephemeralContainers": [container("debug")],
        "volumes": [],
    }})
}

/// What is edited: a path below the pod, and the value.
type Edit = (String, Value);

/// What `seLinuxOptions` may say.
fn levels() -> [Value; 8] {
    [
        json!({}),
        json!({"level": "s0:c26,c5"}),
        json!({"level": "s0:c5,c26"}),
        json!({"level": "s0"}),
        json!({"level": "s0:c1,c2"}),
        json!({"level": "s0:c26,c5", "type": "container_t"}),
        json!({"level": "s0:c26,c5", "user": "u"}),
        json!({"level": "s0:c26,c5", "role": "r"}),
    ]
}

fn edits() -> Vec<Edit> {
    let mut all = Vec::new();
    let users =
        [0_i64, 999, 1000, 1005, 2000, 65534, 65535, 1_000_650_000, 1_000_659_999, 1_000_660_000];
    let profiles = [
        json!({"type": "RuntimeDefault"}),
        json!({"type": "Localhost", "localhostProfile": "a"}),
        json!({"type": "Unconfined"}),
    ];
    let levels = levels();
    let places = [
        "/spec",
        "/spec/initContainers/0",
        "/spec/initContainers/1",
        "/spec/containers/0",
        "/spec/containers/1",
        "/spec/ephemeralContainers/0",
    ];
    for place in places {
        let mut set =
            |key: &str, value: Value| all.push((format!("{place}/securityContext/{key}"), value));
        for it in users {
            set("runAsUser", json!(it));
        }
        for it in &profiles {
            set("seccompProfile", it.clone());
        }
        for it in &levels {
            set("seLinuxOptions", it.clone());
        }
        for it in &[true, false] {
            set("runAsNonRoot", json!(it));
        }
        set("runAsGroup", json!(0));
        if place == "/spec" {
            continue;
        }
        for key in ["privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem"] {
            for it in &[true, false] {
                set(key, json!(it));
            }
        }
        set("procMount", json!("Unmasked"));
        for capabilities in [
            json!({"add": ["NET_BIND_SERVICE"]}),
            json!({"add": ["CHOWN"], "drop": ["ALL"]}),
            json!({"drop": ["CHOWN"]}),
            json!({"add": ["ALL"]}),
            json!({"add": [], "drop": ["ALL", "CHOWN"]}),
        ] {
            set("capabilities", capabilities);
        }
        let ports = |port: i32| json!([{"containerPort": 80, "hostPort": port}]);
        for it in &[0, 80] {
            all.push((format!("{place}/ports"), ports(*it)));
        }
    }
    all.extend(of_the_pod(&users));
    all
}

const SYSCTLS: [&str; 16] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
    "kernel.msgmax",
    "net.core.somaxconn",
];

fn of_the_pod(users: &[i64]) -> Vec<Edit> {
    let mut all = Vec::new();
    let mut set = |path: &str, value: Value| all.push((path.to_owned(), value));
    for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"] {
        for it in &[true, false] {
            set(&format!("/spec/{key}"), json!(it));
        }
    }
    for it in users {
        set("/spec/securityContext/fsGroup", json!(it));
    }
    for groups in
        [json!([]), json!([1000]), json!([1000, 65535]), json!([0]), json!([1_000_650_000])]
    {
        set("/spec/securityContext/supplementalGroups", groups);
    }
    for name in SYSCTLS {
        set("/spec/securityContext/sysctls", json!([{"name": name, "value": "1"}]));
    }
    for source in [
        json!({"configMap": {"name": "a"}}),
        json!({"csi": {"driver": "a"}}),
        json!({"downwardAPI": {}}),
        json!({"emptyDir": {}}),
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
        json!({"image": {"reference": "a"}}),
        json!({"persistentVolumeClaim": {"claimName": "a"}}),
        json!({"projected": {"sources": []}}),
        json!({"secret": {"secretName": "a"}}),
        json!({"hostPath": {"path": "/"}}),
        json!({"nfs": {"server": "a", "path": "/"}}),
        json!({"gitRepo": {"repository": "a"}}),
        json!({"iscsi": {"targetPortal": "a", "iqn": "a", "lun": 0}}),
        json!({"fc": {}}),
    ] {
        let mut volume = source;
        volume["name"] = json!("v");
        set("/spec/volumes", json!([{"name": "w", "emptyDir": {}}, volume]));
    }
    for name in ["restricted-v2", "restricted-v3", "restricted", "none", ""] {
        set("/metadata/annotations/openshift.io~1required-scc", json!(name));
    }
    for profile in ["runtime/default", "docker/default", "localhost/a", "unconfined", ""] {
        set("/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", json!(profile));
        for container in ["main", "sidecar", "debug", "nobody"] {
            let key = format!("container.seccomp.security.alpha.kubernetes.io~1{container}");
            set(&format!("/metadata/annotations/{key}"), json!(profile));
        }
    }
    set("/spec/os", json!({"name": "windows"}));
    set("/spec/os", json!({"name": "linux"}));
    all
}

fn edited(mut pod: Value, (path, value): &Edit) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    if pod.pointer(parent).is_none() {
        pod = edited(pod, &(parent.to_owned(), json!({})));
    }
    pod.pointer_mut(parent).unwrap()[key.replace("~1", "/")] = value.clone();
    pod
}

/// Every edit by itself in every namespace, with users of its own and without, those of Pod Security's table, and mixtures.
fn questions() -> Vec<(Value, Value)> {
    let (namespaces, edits) = (namespaces(), edits());
    let with_users = |own: bool| {
        if own { edited(plain(), &("/spec/hostUsers".into(), json!(false))) } else { plain() }
    };
    let mut all = Vec::new();
    for namespace in &namespaces {
        for pod in [with_users(false), with_users(true)] {
            all.push((namespace.clone(), pod));
        }
    }
    for (edit, namespace) in
        edits.iter().flat_map(|it| namespaces[..3].iter().map(move |ns| (it, ns)))
    {
        all.extend([false, true].map(|own| (namespace.clone(), edited(with_users(own), edit))));
    }
    let says = |edit: &&Edit, what: &str| edit.0.contains(what);
    for profile in edits.iter().filter(|it| says(it, "seccompProfile")) {
        for annotation in edits.iter().filter(|it| says(it, "/annotations/") && says(it, "seccomp"))
        {
            all.push((namespaces[0].clone(), edited(edited(plain(), profile), annotation)));
        }
    }
    let sent = cells::cases(NEWEST).into_iter().map(|it| it.sent);
    all.extend(sent.map(|it| (namespaces[0].clone(), it)));
    let mut chance = 1_u64;
    let mut pick = |of: usize| {
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chance >> 33).unwrap() % of
    };
    for _ in 0..MIXTURES {
        let mut pod = with_users(pick(2) == 0);
        for _ in 0..=pick(3) {
            pod = edited(pod, &edits[pick(edits.len())]);
        }
        all.push((namespaces[pick(namespaces.len())].clone(), pod));
    }
    all
}

fn ours(namespace: &Value, pod: &Value) -> Verdict {
    let pod = cells::taken_in(pod);
    let subject = Subject::of("Pod", &pod).unwrap().unwrap();
    let choice = scc::choose(&subject, Some(namespace));
    (choice.violations.is_empty(), choice.name.map(Into::into))
}

/// What the plugin says; `None` of what is no pod.
fn asked(program: &str, questions: &[(Value, Value)]) -> Vec<(Option<Verdict>, String)> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<_> = questions
        .iter()
        .map(|(namespace, pod)| format!("{}\n", json!({"namespace": namespace, "pod": pod})))
        .collect();
    let writes =
        std::thread::spawn(move || lines.iter().try_for_each(|it| input.write_all(it.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writes.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let said = |line: &str| {
        let it: Value = serde_json::from_str(line).unwrap();
        let verdict = if it.get("unread").is_some() {
            None
        } else {
            let name = it.get("scc").and_then(Value::as_str).map(Into::into);
            Some((it.get("refused").is_none(), name))
        };
        (verdict, line.to_owned())
    };
    String::from_utf8(output.stdout).unwrap().lines().map(said).collect()
}

#[test]
fn the_table_says_what_openshifts_own_admission_says() {
    let program = std::env::var("GASTOWN_SCC").unwrap_or_default();
    if !Path::new(&program).exists() {
        return skip(TEST, "scc", "GASTOWN_SCC names no program; `make test-scc` builds it");
    }
    let questions = questions();
    let answers = asked(&program, &questions);
    assert_eq!(answers.len(), questions.len());
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for ((namespace, pod), (verdict, line)) in questions.iter().zip(&answers) {
        let Some(verdict) = verdict else { continue };
        let ours = ours(namespace, pod);
        *counts.entry(verdict.clone()).or_insert(0_usize) += 1;
        if ours != *verdict {
            wrong.push(format!("{line}\nwe: {ours:?}\n{pod}\n{}", namespace["metadata"]));
        }
    }
    eprintln!("{} pods, verdicts {counts:?}", questions.len());
    let some = wrong[..wrong.len().min(12)].join("\n\n");
    assert!(wrong.is_empty(), "{} disagreements, such as\n{some}", wrong.len());
    for name in [scc::V2, scc::V3] {
        let by = counts.get(&(true, Some(name.to_owned()))).copied().unwrap_or_default();
        assert!(by >= 200, "{by} were let in by {name}");
    }
    assert!(counts.get(&(false, None)).is_some_and(|it| *it >= 3_000), "{counts:?}");
}
