//! What Pod Security lets pass and we refuse all the same: ways to root that it relaxes, pods that it hardly looks at, and
//! roads to the control plane, to other pods' processes, or to fields that nobody knows.

use serde_json::Value;

use super::{
    Violation,
    judge::{self, Judge},
    rows::{
        Allowed::{Empty, Keys, NotBegun, NotTrue, NotZero, OfWorkers, OneOf, True, Unset},
        At::{Both, Containers, Inherited, Pod},
        Demand, Level, Row, Spares,
    },
    subject::{Kind, Subject},
};

/// Rules that a policy may switch off; the others always hold.
pub const SWITCHABLE: [&str; 4] =
    ["ours.hostAliases", "ours.resourceClaims", "ours.shareProcessNamespace", "ours.unknownFields"];

/// Fields of `spec.securityContext`.
const OF_A_POD: &[&str] = &[
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "sysctls",
    "windowsOptions",
];
/// Fields of a container's `securityContext`.
const OF_A_CONTAINER: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "windowsOptions",
];

/// Fields of a profile of `AppArmor` or of seccomp.
const OF_A_PROFILE: &[&str] = &["localhostProfile", "type"];

const fn row(id: &'static str, demands: &'static [Demand]) -> Row {
    Row { id, level: Level::Restricted, since: 0, demands, spares: Spares::Nobody, replaces: None }
}

#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    row("ours.hostAliases", &[Demand { at: Pod, path: "hostAliases", allowed: Unset }]),
    row("ours.mountPropagation", &[Demand { at: Containers, path: "volumeMounts[*].mountPropagation", allowed: OneOf(&["None"]) }]),
    row("ours.nodeName", &[Demand { at: Pod, path: "nodeName", allowed: Empty }]),
    row("ours.priorityClassName", &[Demand { at: Pod, path: "priorityClassName", allowed: NotBegun("system-") }]),
    row("ours.resourceClaims", &[Demand { at: Containers, path: "resources.claims", allowed: Unset }]),
    row("ours.root", &[
        Demand { at: Inherited, path: "securityContext.runAsNonRoot", allowed: True },
        Demand { at: Both, path: "securityContext.runAsUser", allowed: NotZero },
    ]),
    row("ours.shareProcessNamespace", &[Demand { at: Pod, path: "shareProcessNamespace", allowed: NotTrue }]),
    row("ours.subPathExpr", &[Demand { at: Containers, path: "volumeMounts[*].subPathExpr", allowed: Empty }]),
    row("ours.tokenAudience", &[Demand { at: Pod, path: "volumes[*].projected.sources[*].serviceAccountToken.audience", allowed: Empty }]),
    row("ours.tolerations", &[Demand { at: Pod, path: "tolerations[*]", allowed: OfWorkers }]),
    row("ours.unknownFields", &[
        Demand { at: Pod, path: "securityContext", allowed: Keys(OF_A_POD) },
        Demand { at: Containers, path: "securityContext", allowed: Keys(OF_A_CONTAINER) },
        Demand { at: Containers, path: "securityContext.capabilities", allowed: Keys(&["add", "drop"]) },
        Demand { at: Both, path: "securityContext.appArmorProfile", allowed: Keys(OF_A_PROFILE) },
        Demand { at: Both, path: "securityContext.seccompProfile", allowed: Keys(OF_A_PROFILE) },
        Demand { at: Both, path: "securityContext.seLinuxOptions", allowed: Keys(&["level", "role", "type", "user"]) },
        Demand { at: Pod, path: "securityContext.sysctls[*]", allowed: Keys(&["name", "value"]) },
    ]),
    row("ours.windows", &[
        Demand { at: Pod, path: "os.name", allowed: OneOf(&["linux"]) },
        Demand { at: Both, path: "securityContext.windowsOptions", allowed: Unset },
    ]),
];

/// Rows that do not hold: of those that are excepted the ones that may be, and where the policy lets root in (`root` is false),
/// the one about root.
pub fn left_out<'e>(exceptions: &[&'e str], root: bool) -> Vec<&'e str> {
    let excepted = exceptions.iter().copied().filter(|it| SWITCHABLE.contains(it));
    excepted.chain((!root).then_some("ours.root")).collect()
}

/// Everything that we refuse, but for what is excepted. Where the policy lets root in, so do we (`root` is false).
pub fn violations(subject: &Subject<'_>, exceptions: &[&str], root: bool) -> Vec<Violation> {
    let mut found = judge::table(subject, "ours", ROWS, &left_out(exceptions, root));
    let mut judge = Judge { subject, standard: "ours".into(), found: Vec::new() };
    targets(&mut judge);
    found.append(&mut judge.found);
    found
}

/// An ephemeral container looks into a container that is there.
fn targets(judge: &mut Judge<'_, '_>) {
    let subject = judge.subject;
    let all = &subject.containers;
    for it in all.iter().filter(|it| it.kind == Kind::Ephemeral) {
        let Some(target) = it.json.get("targetContainerName").filter(|it| !it.is_null()) else {
            continue;
        };
        let there = |other: &&super::subject::Container<'_>| {
            other.kind != Kind::Ephemeral && Some(other.name) == target.as_str()
        };
        if target != &Value::from("") && !all.iter().any(|other| there(&other)) {
            let must = "must name a container of this pod";
            judge.say(
                "ours.targetContainerName",
                Some(it),
                "targetContainerName",
                Some(target),
                must,
                None,
            );
        }
    }
}
