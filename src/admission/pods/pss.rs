//! Pod Security, all checks of every policy version. A row holds from its version on until the next row of its check.

use std::sync::OnceLock;

use super::rows::{
    Allowed::{
        self, Annotated, Contains, Empty, False, Named, NotTrue, NotZero, OneOf, Profile, Sources,
        Subset, True, Unset, Zero,
    },
    At::{self, Annotation, Annotations, Both, ContainerAnnotations, Containers, Inherited, Pod},
    Demand,
    Level::{self, Baseline, Restricted},
    Row,
    Spares::{Nobody, UserNamespaces, Windows},
};
use super::{NEWEST, Standard};

/// Capabilities that a container runtime gives by itself.
const USUAL: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sources of volumes that reach nothing of the node.
pub(super) const HARMLESS: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Every sysctl that some version allows, in the order in which they came.
pub(super) const SYSCTLS: [&str; 14] = [
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
];
const PROFILES: &[&str] = &["RuntimeDefault", "Localhost"];
const SELINUX: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

const fn at(at: At, path: &'static str, allowed: Allowed) -> Demand {
    Demand { at, path, allowed }
}

const fn row(id: &'static str, level: Level, since: u32, demands: &'static [Demand]) -> Row {
    Row { id, level, since, demands, spares: Nobody, replaces: None }
}

const PROC_MOUNT: &[Demand] = &[at(Containers, "securityContext.procMount", OneOf(&["Default"]))];
const RUN_AS_NON_ROOT: &[Demand] = &[at(Inherited, "securityContext.runAsNonRoot", True)];
const RUN_AS_USER: &[Demand] = &[at(Both, "securityContext.runAsUser", NotZero)];
const NO_ESCALATION: &[Demand] =
    &[at(Containers, "securityContext.allowPrivilegeEscalation", False)];
const SECCOMP: &[Demand] = &[at(Inherited, "securityContext.seccompProfile", Profile(PROFILES))];
const CAPABILITIES: &[Demand] = &[
    at(Containers, "securityContext.capabilities.drop", Contains("ALL")),
    at(Containers, "securityContext.capabilities.add", Subset(&["NET_BIND_SERVICE"])),
];
const SELINUX_PLAIN: Demand = at(Both, "securityContext.seLinuxOptions.user", Empty);
const SELINUX_ROLE: Demand = at(Both, "securityContext.seLinuxOptions.role", Empty);

const fn sysctls(since: u32, demand: &'static [Demand]) -> Row {
    row("sysctls", Baseline, since, demand)
}

const SYSCTL: &str = "securityContext.sysctls[*]";

/// Every row: baseline before restricted, by id, then by version.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    row("appArmorProfile", Baseline, 0, &[
        at(Both, "securityContext.appArmorProfile", Profile(PROFILES)),
        at(Annotations, "container.apparmor.security.beta.kubernetes.io/", Annotated(&["", "runtime/default"])),
    ]),
    row("capabilities_baseline", Baseline, 0, &[at(Containers, "securityContext.capabilities.add", Subset(USUAL))]),
    row("hostNamespaces", Baseline, 0, &[
        at(Pod, "hostNetwork", NotTrue),
        at(Pod, "hostPID", NotTrue),
        at(Pod, "hostIPC", NotTrue),
    ]),
    row("hostPathVolumes", Baseline, 0, &[at(Pod, "volumes[*].hostPath", Unset)]),
    row("hostPorts", Baseline, 0, &[at(Containers, "ports[*].hostPort", Zero)]),
    row("hostProbesAndHostLifecycle", Baseline, 34, &[
        at(Containers, "livenessProbe.httpGet.host", Empty),
        at(Containers, "livenessProbe.tcpSocket.host", Empty),
        at(Containers, "readinessProbe.httpGet.host", Empty),
        at(Containers, "readinessProbe.tcpSocket.host", Empty),
        at(Containers, "startupProbe.httpGet.host", Empty),
        at(Containers, "startupProbe.tcpSocket.host", Empty),
        at(Containers, "lifecycle.postStart.httpGet.host", Empty),
        at(Containers, "lifecycle.postStart.tcpSocket.host", Empty),
        at(Containers, "lifecycle.preStop.httpGet.host", Empty),
        at(Containers, "lifecycle.preStop.tcpSocket.host", Empty),
    ]),
    row("privileged", Baseline, 0, &[at(Containers, "securityContext.privileged", NotTrue)]),
    row("procMount", Baseline, 0, PROC_MOUNT),
    Row { spares: UserNamespaces, ..row("procMount", Baseline, 35, PROC_MOUNT) },
    row("seLinuxOptions", Baseline, 0, &[
        at(Both, "securityContext.seLinuxOptions.type", OneOf(SELINUX.split_at(4).0)), SELINUX_PLAIN, SELINUX_ROLE,
    ]),
    row("seLinuxOptions", Baseline, 31, &[
        at(Both, "securityContext.seLinuxOptions.type", OneOf(&SELINUX)), SELINUX_PLAIN, SELINUX_ROLE,
    ]),
    row("seccompProfile_baseline", Baseline, 0, &[
        at(Annotation, "seccomp.security.alpha.kubernetes.io/pod", Annotated(&["runtime/default", "docker/default"])),
        at(ContainerAnnotations, "container.seccomp.security.alpha.kubernetes.io/",
            Annotated(&["runtime/default", "docker/default"])),
    ]),
    row("seccompProfile_baseline", Baseline, 19, &[at(Both, "securityContext.seccompProfile", Profile(PROFILES))]),
    sysctls(0, &[at(Pod, SYSCTL, Named(SYSCTLS.split_at(5).0))]),
    sysctls(27, &[at(Pod, SYSCTL, Named(SYSCTLS.split_at(6).0))]),
    sysctls(29, &[at(Pod, SYSCTL, Named(SYSCTLS.split_at(10).0))]),
    sysctls(32, &[at(Pod, SYSCTL, Named(SYSCTLS.split_at(12).0))]),
    sysctls(37, &[at(Pod, SYSCTL, Named(&SYSCTLS))]),
    row("windowsHostProcess", Baseline, 0, &[at(Both, "securityContext.windowsOptions.hostProcess", NotTrue)]),

    row("allowPrivilegeEscalation", Restricted, 8, NO_ESCALATION),
    Row { spares: Windows, ..row("allowPrivilegeEscalation", Restricted, 25, NO_ESCALATION) },
    Row { replaces: Some("capabilities_baseline"), ..row("capabilities_restricted", Restricted, 22, CAPABILITIES) },
    Row { replaces: Some("capabilities_baseline"), spares: Windows,
        ..row("capabilities_restricted", Restricted, 25, CAPABILITIES) },
    Row { replaces: Some("procMount"), ..row("procMount_restricted", Restricted, 35, PROC_MOUNT) },
    Row { replaces: Some("hostPathVolumes"),
        ..row("restrictedVolumes", Restricted, 0, &[at(Pod, "volumes[*]", Sources(HARMLESS))]) },
    row("runAsNonRoot", Restricted, 0, RUN_AS_NON_ROOT),
    Row { spares: UserNamespaces, ..row("runAsNonRoot", Restricted, 35, RUN_AS_NON_ROOT) },
    row("runAsUser", Restricted, 23, RUN_AS_USER),
    Row { spares: UserNamespaces, ..row("runAsUser", Restricted, 35, RUN_AS_USER) },
    Row { replaces: Some("seccompProfile_baseline"), ..row("seccompProfile_restricted", Restricted, 19, SECCOMP) },
    Row { replaces: Some("seccompProfile_baseline"), spares: Windows,
        ..row("seccompProfile_restricted", Restricted, 25, SECCOMP) },
];

/// The rows that a standard runs, in the order of the table; found once for each.
pub fn rows(of: Standard) -> &'static [&'static Row] {
    const STANDARDS: usize = 2 * (NEWEST as usize + 1);
    static FOUND: [OnceLock<Vec<&Row>>; STANDARDS] = [const { OnceLock::new() }; STANDARDS];
    let minor = of.minor.min(NEWEST) as usize;
    let at = if of.level == Level::Baseline { minor } else { minor + STANDARDS / 2 };
    FOUND.get(at).map_or(&[], |it| it.get_or_init(|| found(of)))
}

fn found(of: Standard) -> Vec<&'static Row> {
    let current = |it: &&Row| {
        it.since <= of.minor
            && !ROWS
                .iter()
                .any(|later| later.id == it.id && later.since > it.since && later.since <= of.minor)
    };
    let replaced = |it: &&Row| {
        ROWS.iter().any(|other| other.replaces == Some(it.id) && other.since <= of.minor)
    };
    let runs = |it: &&Row| match of.level {
        Level::Baseline => it.level == Level::Baseline,
        Level::Restricted => !replaced(it),
    };
    ROWS.iter().filter(current).filter(runs).collect()
}
