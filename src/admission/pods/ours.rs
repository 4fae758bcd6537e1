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
pub const SWITCHABLE: [&str; 5] = [
    "ours.hostAliases",
    "ours.resourceClaims",
    RUNTIME_CLASS,
    "ours.shareProcessNamespace",
    "ours.unknownFields",
];

/// The rule about runtime classes: which ones there may be is for an administrator to say.
const RUNTIME_CLASS: &str = "ours.runtimeClassName";

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
    row(RUNTIME_CLASS, &[Demand { at: Pod, path: RUNTIME_CLASS_NAME, allowed: Unset }]),
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

/// Where a pod names its runtime class.
const RUNTIME_CLASS_NAME: &str = "runtimeClassName";

/// The runtime classes that a pod may name; by default any: who makes them is an administrator already.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuntimeClasses(Option<&'static Row>);

impl RuntimeClasses {
    /// These; any, where none is named. They are kept for as long as this process.
    pub fn of(names: Vec<String>) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        let names: Vec<&'static str> = names.into_iter().map(|it| &*it.leak()).collect();
        let allowed = OneOf(names.leak());
        let demands = vec![Demand { at: Pod, path: RUNTIME_CLASS_NAME, allowed }].leak();
        Self(Some(Box::leak(Box::new(row(RUNTIME_CLASS, demands)))))
    }

    /// A name for the list, if the API server takes it as one; so none holds what has a meaning in CEL.
    pub fn named(text: &str) -> Result<String, String> {
        let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        let part = |it: &str| {
            let ends = [it.bytes().next(), it.bytes().last()];
            let ends = ends.into_iter().all(|it| it.is_some_and(fits));
            ends && it.bytes().all(|it| fits(it) || it == b'-')
        };
        let fine = text.len() <= 253 && text.split('.').all(part);
        let why = "write the name of a RuntimeClass, as kubectl get runtimeclasses has it";
        if fine { Ok(text.to_owned()) } else { Err(why.into()) }
    }
}

/// The rows that hold: without those that are excepted, of which some can't be, without the one about runtime classes where none is
/// listed, and where the policy lets root in (`root` is false) without the one about root.
pub fn rows<'e>(
    exceptions: &'e [&'e str],
    classes: RuntimeClasses,
    root: bool,
) -> impl Iterator<Item = &'static Row> + use<'e> {
    let holds = move |id| {
        let excepted = SWITCHABLE.contains(&id) && exceptions.contains(&id);
        !excepted && (root || id != "ours.root")
    };
    let all = ROWS.iter().filter(move |it| holds(it.id));
    all.filter_map(move |it| if it.id == RUNTIME_CLASS { classes.0 } else { Some(it) })
}

/// Everything that we refuse, but for what is excepted. Where the policy lets root in, so do we (`root` is false).
pub fn violations(
    subject: &Subject<'_>,
    exceptions: &[&str],
    classes: RuntimeClasses,
    root: bool,
) -> Vec<Violation> {
    let mut found = judge::table(subject, "ours", rows(exceptions, classes, root));
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
