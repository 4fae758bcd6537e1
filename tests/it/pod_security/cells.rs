//! The pods of the comparison: for every check and kind of container, values that it refuses and values that it lets in, in
//! pods of different shapes; then mixtures of them at every version.

use gastown::admission::pods::{Level, Standard, unread};
use serde_json::{Value, json};

/// Where the container with the value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    Init,
    Sidecar,
    Regular,
    Ephemeral,
    /// The value is the pod's.
    Pod,
}

pub const CONTAINERS: [Shape; 4] = [Shape::Init, Shape::Sidecar, Shape::Regular, Shape::Ephemeral];

/// Who says what every container needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    PodLevel,
    Explicit,
    /// As `PodLevel`, with users of its own.
    Apart,
}

impl Base {
    pub const ALL: [Self; 3] = [Self::PodLevel, Self::Explicit, Self::Apart];

    pub fn name(self) -> &'static str {
        match self {
            Self::PodLevel => "kept-pod-level",
            Self::Explicit => "kept-explicit",
            Self::Apart => "kept-apart",
        }
    }
}

/// One pod, and where it is sent.
#[derive(Clone, Debug)]
pub struct Case {
    pub check: &'static str,
    pub shape: Shape,
    pub refuse: bool,
    pub standard: Standard,
    /// The whole pod.
    pub sent: Value,
    /// The stored pod that gets an ephemeral container; none: a pod is created.
    pub base: Option<Base>,
    pub request: Value,
}

fn container(name: &str, base: Base) -> Value {
    let mut context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    if base == Base::Explicit {
        context["runAsNonRoot"] = json!(true);
        context["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    json!({"name": name, "image": "i", "securityContext": context})
}

fn pod(name: &str, base: Base) -> Value {
    let mut spec = json!({"containers": [container("main", base)]});
    if base != Base::Explicit {
        spec["securityContext"] =
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    }
    if base == Base::Apart {
        spec["hostUsers"] = json!(false);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A pod as the webhook takes it in: without what no rule looks at.
pub fn taken_in(pod: &Value) -> Value {
    let text = pod.to_string();
    unread::object(&mut serde_json::Deserializer::from_str(&text)).unwrap().unwrap()
}

/// The pod that ephemeral containers are added to.
pub fn kept(base: Base) -> Value {
    pod(base.name(), base)
}

/// A pod with something in its spec, at restricted.
pub fn pod_case(minor: u32, spec: Value) -> Case {
    let standard = Standard { level: Level::Restricted, minor };
    let edit = Edit { patch: spec, pod: json!({}), only: None };
    case("restrictedVolumes", standard, Shape::Pod, true, &edit, 0)
}

/// A pod of this base with a value in its spec, or in a container of this kind.
pub fn with(check: &'static str, shape: Shape, refuse: bool, base: Base, value: &Value) -> Case {
    let standard = Standard::default();
    let edit = Edit { patch: value.clone(), pod: json!({}), only: Some(base) };
    case(check, standard, shape, refuse, &edit, 0)
}

/// What a value is in: a merge patch of the container (or, for `Shape::Pod`, of the spec), and one of the pod.
#[derive(Clone, Debug)]
struct Edit {
    patch: Value,
    pod: Value,
    /// Right in pods of this base alone.
    only: Option<Base>,
}

fn edit(patch: Value) -> Edit {
    Edit { patch, pod: json!({}), only: None }
}

fn context(context: Value) -> Edit {
    let mut patch = json!({});
    patch["securityContext"] = context;
    edit(patch)
}

fn apart(it: Value) -> Edit {
    Edit { only: Some(Base::Apart), ..context(it) }
}

fn only(base: Base, it: Value) -> Edit {
    Edit { only: Some(base), ..context(it) }
}

/// One check: which level and version is asked, what is refused, what is let in.
struct Check {
    id: &'static str,
    level: Level,
    /// The newest there is, if unset.
    minor: Option<u32>,
    refuse: Vec<Edit>,
    pass: Vec<Edit>,
}

fn check(id: &'static str, level: Level, refuse: Vec<Edit>, pass: Vec<Edit>) -> Check {
    Check { id, level, minor: None, refuse, pass }
}

use Level::{Baseline, Restricted};

#[rustfmt::skip]
fn of_containers() -> Vec<Check> {
    let unmasked = || vec![apart(json!({"procMount": "Unmasked"}))];
    let masked = || vec![apart(json!({"procMount": "Default"})), apart(json!({})), context(json!({"procMount": "Default"}))];
    let probe = |it: Value| edit(json!({"livenessProbe": it}));
    let process = |it: bool| Edit { patch: json!({"securityContext": {"windowsOptions": {"hostProcess": it}}}), only: None,
        pod: json!({"spec": {"hostNetwork": it, "securityContext": {"windowsOptions": {"hostProcess": it}}}}) };
    vec![
        check("privileged", Baseline,
            vec![context(json!({"privileged": true, "allowPrivilegeEscalation": true})), context(json!({"privileged": true, "allowPrivilegeEscalation": null}))],
            vec![context(json!({"privileged": false})), context(json!({"privileged": null}))]),
        check("capabilities_baseline", Baseline,
            ["NET_RAW", "SYS_ADMIN", "ALL", "chown", "CAP_CHOWN", "SYS_PTRACE"].map(|it| context(json!({"capabilities": {"add": ["KILL", it]}}))).to_vec(),
            ["CHOWN", "AUDIT_WRITE", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
                .map(|it| context(json!({"capabilities": {"add": [it, "KILL"]}}))).to_vec()),
        check("hostPorts", Baseline,
            vec![edit(json!({"ports": [{"containerPort": 80, "hostPort": 80}]})), edit(json!({"ports": [{"containerPort": 1}, {"containerPort": 80, "hostPort": 8080}]}))],
            vec![edit(json!({"ports": [{"containerPort": 80, "hostPort": 0}]})), edit(json!({"ports": [{"containerPort": 80}]})), edit(json!({}))]),
        check("hostProbesAndHostLifecycle", Baseline,
            vec![probe(json!({"httpGet": {"port": 1, "host": "a"}})), probe(json!({"tcpSocket": {"port": 1, "host": "127.0.0.1"}})),
                edit(json!({"readinessProbe": {"httpGet": {"port": 1, "host": "a"}}})), edit(json!({"startupProbe": {"tcpSocket": {"port": 1, "host": "a"}}})),
                edit(json!({"readinessProbe": {"tcpSocket": {"port": 1, "host": "a"}}})), edit(json!({"startupProbe": {"httpGet": {"port": 1, "host": "a"}}})),
                edit(json!({"lifecycle": {"preStop": {"httpGet": {"port": 1, "host": "a"}}}})), edit(json!({"lifecycle": {"postStart": {"httpGet": {"port": 1, "host": "a"}}}})),
                edit(json!({"lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "a"}}}})), edit(json!({"lifecycle": {"postStart": {"tcpSocket": {"port": 1, "host": "a"}}}}))],
            vec![probe(json!({"httpGet": {"port": 1}})), probe(json!({"tcpSocket": {"port": 1, "host": ""}})), probe(json!({"exec": {"command": ["a"]}})),
                edit(json!({"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}})), probe(json!({"grpc": {"port": 1}})), edit(json!({}))]),
        check("appArmorProfile", Baseline,
            vec![context(json!({"appArmorProfile": {"type": "Unconfined"}}))],
            vec![context(json!({"appArmorProfile": {"type": "RuntimeDefault"}})), context(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "a"}})), edit(json!({}))]),
        check("seLinuxOptions", Baseline,
            vec![context(json!({"seLinuxOptions": {"type": "spc_t"}})), context(json!({"seLinuxOptions": {"user": "u"}})), context(json!({"seLinuxOptions": {"role": "r", "type": "container_t"}}))],
            ["container_t", "container_init_t", "container_kvm_t", "container_engine_t", ""].map(|it| context(json!({"seLinuxOptions": {"type": it, "level": "s0:c1"}}))).to_vec()),
        Check { minor: Some(34), ..check("procMount", Baseline, unmasked(), masked()) },
        check("procMount_restricted", Restricted, unmasked(), masked()),
        check("seccompProfile_baseline", Baseline,
            vec![context(json!({"seccompProfile": {"type": "Unconfined"}}))],
            vec![context(json!({"seccompProfile": {"type": "RuntimeDefault"}})), context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}})), context(json!({"seccompProfile": null}))]),
        check("windowsHostProcess", Baseline, vec![process(true)],
            vec![edit(json!({})), context(json!({"windowsOptions": {}}))]),
        check("allowPrivilegeEscalation", Restricted,
            vec![context(json!({"allowPrivilegeEscalation": true})), context(json!({"allowPrivilegeEscalation": null}))],
            vec![edit(json!({})), context(json!({"allowPrivilegeEscalation": false, "privileged": false}))]),
        check("capabilities_restricted", Restricted,
            vec![context(json!({"capabilities": {"drop": []}})), context(json!({"capabilities": {"drop": ["KILL"]}})), context(json!({"capabilities": null})), context(json!({"capabilities": {"drop": null}})),
                context(json!({"capabilities": {"drop": ["all"]}})), context(json!({"capabilities": {"add": ["CHOWN"]}})), context(json!({"capabilities": {"add": ["NET_BIND_SERVICE", "SYS_TIME"]}}))],
            vec![context(json!({"capabilities": {"drop": ["ALL"]}})), context(json!({"capabilities": {"drop": ["KILL", "ALL"]}})), context(json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}})), context(json!({"capabilities": {"add": []}}))]),
        check("runAsNonRoot", Restricted,
            vec![context(json!({"runAsNonRoot": false})), only(Base::Explicit, json!({"runAsNonRoot": null}))],
            vec![context(json!({"runAsNonRoot": true})), only(Base::PodLevel, json!({"runAsNonRoot": null})), apart(json!({"runAsNonRoot": false}))]),
        check("runAsUser", Restricted,
            vec![context(json!({"runAsUser": 0}))],
            vec![context(json!({"runAsUser": 1})), context(json!({"runAsUser": 65534})), edit(json!({})), apart(json!({"runAsUser": 0}))]),
        check("seccompProfile_restricted", Restricted,
            vec![context(json!({"seccompProfile": {"type": "Unconfined"}})), only(Base::Explicit, json!({"seccompProfile": null}))],
            vec![context(json!({"seccompProfile": {"type": "RuntimeDefault"}})), context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}})), only(Base::PodLevel, json!({"seccompProfile": null}))]),
    ]
}

#[rustfmt::skip]
fn of_pods() -> Vec<Check> {
    let volume = |it: Value| { let mut all = json!({"name": "v"}); json_patch::merge(&mut all, &it); edit(json!({"volumes": [{"name": "first", "emptyDir": {}}, all]})) };
    let sysctl = |it: &str| context(json!({"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}, {"name": it, "value": "1"}]}));
    let annotated = |key: &str, value: &str| Edit { pod: json!({"metadata": {"annotations": {key: value}}}), ..edit(json!({})) };
    let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
    let of_main = "container.seccomp.security.alpha.kubernetes.io/main";
    // Where field and annotation are both there, the API wants them to agree.
    let unfiltered = |key: &str, value: &str| Edit {
        patch: json!({"securityContext": {"seccompProfile": null}}),
        only: Some(Base::PodLevel),
        ..annotated(key, value)
    };
    let armor = "container.apparmor.security.beta.kubernetes.io/main";
    let harmless = || vec![volume(json!({"configMap": {"name": "a"}})), volume(json!({"secret": {"secretName": "a"}})), volume(json!({"downwardAPI": {}})), volume(json!({"projected": {"sources": []}})),
        volume(json!({"persistentVolumeClaim": {"claimName": "a"}})), volume(json!({"csi": {"driver": "a"}})), volume(json!({"image": {"reference": "a"}})),
        volume(json!({"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}))];
    let windows = Edit { only: Some(Base::Explicit), patch: json!({"os": {"name": "windows"}, "securityContext": null,
        "containers": [{"name": "main", "image": "i", "securityContext": {"runAsNonRoot": true}}]}), pod: json!({}) };
    vec![
        check("hostNamespaces", Baseline,
            vec![edit(json!({"hostNetwork": true})), edit(json!({"hostPID": true})), edit(json!({"hostIPC": true}))],
            vec![edit(json!({"hostNetwork": false})), edit(json!({"hostPID": false, "hostIPC": false}))]),
        check("hostPathVolumes", Baseline, vec![volume(json!({"hostPath": {"path": "/"}}))], [harmless(), vec![volume(json!({"nfs": {"server": "a", "path": "/"}}))]].concat()),
        check("restrictedVolumes", Restricted,
            vec![volume(json!({"hostPath": {"path": "/"}})), volume(json!({"nfs": {"server": "a", "path": "/"}})), volume(json!({"iscsi": {"targetPortal": "1.2.3.4:1", "iqn": "iqn.2016-04.a:b", "lun": 0}})),
                volume(json!({"rbd": {"monitors": ["a"], "image": "b"}})), volume(json!({"cephfs": {"monitors": ["a"]}})), volume(json!({"fc": {"targetWWNs": ["a"], "lun": 0}})),
                volume(json!({"flexVolume": {"driver": "a/b"}})), volume(json!({"awsElasticBlockStore": {"volumeID": "a"}})), volume(json!({"gcePersistentDisk": {"pdName": "a"}})), volume(json!({"glusterfs": {"endpoints": "a", "path": "b"}}))],
            harmless()),
        check("sysctls", Baseline, ["kernel.msgmax", "net.core.somaxconn", "net.ipv4.ip_forward"].map(sysctl).to_vec(),
            ["kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_rmem", "net.ipv4.tcp_fin_timeout", "net.ipv4.ip_local_reserved_ports"].map(sysctl).to_vec()),
        check("appArmorProfile", Baseline,
            vec![context(json!({"appArmorProfile": {"type": "Unconfined"}})), annotated(armor, "unconfined")],
            vec![context(json!({"appArmorProfile": {"type": "RuntimeDefault"}})), annotated(armor, "runtime/default"), annotated(armor, "localhost/a")]),
        check("seLinuxOptions", Baseline, vec![context(json!({"seLinuxOptions": {"type": "spc_t"}})), context(json!({"seLinuxOptions": {"role": "r"}}))],
            vec![context(json!({"seLinuxOptions": {"type": "container_t"}})), context(json!({"seLinuxOptions": {"level": "s0"}}))]),
        Check { minor: Some(18), ..check("seccompProfile_baseline", Baseline,
            vec![unfiltered(seccomp, "unconfined"), unfiltered(of_main, "unconfined")],
            vec![unfiltered(seccomp, "runtime/default"), unfiltered(seccomp, "docker/default"), unfiltered(of_main, "localhost/a"), unfiltered("container.seccomp.security.alpha.kubernetes.io/none", "unconfined")]) },
        check("runAsNonRoot", Restricted, vec![context(json!({"runAsNonRoot": false})), only(Base::PodLevel, json!({"runAsNonRoot": null}))],
            vec![only(Base::Explicit, json!({"runAsNonRoot": true})), only(Base::Explicit, json!({"runAsNonRoot": null})), windows.clone()]),
        check("runAsUser", Restricted, vec![context(json!({"runAsUser": 0}))], vec![context(json!({"runAsUser": 7})), apart(json!({"runAsUser": 0}))]),
        check("seccompProfile_restricted", Restricted,
            vec![context(json!({"seccompProfile": {"type": "Unconfined"}})), only(Base::PodLevel, json!({"seccompProfile": null}))],
            vec![context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}})), only(Base::Explicit, json!({"seccompProfile": null})), windows.clone()]),
        check("capabilities_restricted", Restricted, vec![Edit { only: Some(Base::Explicit), ..edit(json!({"containers": [{"name": "main", "image": "i"}]})) }], vec![windows]),
        check("windowsHostProcess", Baseline, vec![edit(json!({"hostNetwork": true, "securityContext": {"windowsOptions": {"hostProcess": true}}}))],
            vec![context(json!({"windowsOptions": {"hostProcess": false}}))]),
    ]
}

/// At least twenty pods of every check, kind of container and side, at the newest version that has the check.
pub fn cases(newest: u32) -> Vec<Case> {
    let mut all = Vec::new();
    let containers = of_containers();
    let shaped = containers.iter().flat_map(|it| CONTAINERS.map(|shape| (it, shape)));
    let pods = of_pods();
    for (check, shape) in shaped.chain(pods.iter().map(|it| (it, Shape::Pod))) {
        let standard = Standard { level: check.level, minor: check.minor.unwrap_or(newest) };
        for (edits, refuse) in [(&check.refuse, true), (&check.pass, false)] {
            // Of some values only the one that sets nothing is possible in every kind of container.
            let rare = edits.iter().any(|it| it.patch == json!({}) && shape != Shape::Pod);
            let count =
                if rare { 22 * edits.len() } else { 22_usize.next_multiple_of(edits.len()) };
            for number in 0..count {
                let edit = &edits[number % edits.len()];
                all.push(case(check.id, standard, shape, refuse, edit, number));
            }
        }
    }
    all
}

/// Pods of the cases at every version and both levels, turn by turn.
pub fn sweep(newest: u32, cases: &[Case], count: usize) -> Vec<Case> {
    let standards: Vec<_> = (0..=newest)
        .flat_map(|minor| [Baseline, Restricted].map(|level| Standard { level, minor }))
        .collect();
    // A step that has no divisor in common with either length comes to all pairs in the end.
    (0..count)
        .map(|at| {
            let case = &cases[(at * 7919) % cases.len()];
            Case { standard: standards[at % standards.len()], ..case.clone() }
        })
        .collect()
}

fn case(
    check: &'static str,
    standard: Standard,
    shape: Shape,
    refuse: bool,
    edit: &Edit,
    number: usize,
) -> Case {
    let base = edit.only.unwrap_or([Base::PodLevel, Base::Explicit][number / 3 % 2]);
    let mut sent = pod(&format!("x-{number}"), base);
    if shape == Shape::Pod {
        json_patch::merge(&mut sent["spec"], &edit.patch);
        json_patch::merge(&mut sent, &edit.pod);
        return Case { check, shape, refuse, standard, request: sent.clone(), sent, base: None };
    }
    let mut one = container("one", base);
    json_patch::merge(&mut one, &edit.patch);
    if shape == Shape::Sidecar {
        one["restartPolicy"] = json!("Always");
    }
    if shape == Shape::Ephemeral {
        let request = json!({"spec": {"ephemeralContainers": [one]}});
        let mut sent = kept(base);
        json_patch::merge(&mut sent, &request);
        return Case { check, shape, refuse, standard, sent, base: Some(base), request };
    }
    let list = if shape == Shape::Regular { "containers" } else { "initContainers" };
    let mut before: Vec<Value> =
        (0..number % 3).map(|at| container(&format!("before-{at}"), base)).collect();
    before.push(one);
    before.extend((0..number % 2).map(|at| container(&format!("after-{at}"), base)));
    let mut all = sent["spec"][list].as_array().cloned().unwrap_or_default();
    all.extend(before);
    sent["spec"][list] = all.into();
    json_patch::merge(&mut sent, &edit.pod);
    Case { check, shape, refuse, standard, request: sent.clone(), sent, base: None }
}
