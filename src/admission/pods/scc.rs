//! OpenShift's security context constraints restricted-v2 and restricted-v3, and which of them its API server would choose.
//! What the constraint would set by itself counts as set.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Violation,
    judge::{self, Judge},
    pss,
    rows::{
        Allowed::{self, Empty, False, NotTrue, OneOf, Sources, Subset, Zero},
        At::{self, Annotation, Both, ContainerAnnotations, Containers, Pod},
        Demand, Level, Row, Spares,
    },
    subject::Subject,
};

pub const V2: &str = "restricted-v2";
pub const V3: &str = "restricted-v3";
/// Annotation of a pod that wants a certain constraint.
const REQUIRED: &str = "openshift.io/required-scc";
const UIDS: &str = "openshift.io/sa.scc.uid-range";
const GROUPS: &str = "openshift.io/sa.scc.supplemental-groups";
const MCS: &str = "openshift.io/sa.scc.mcs";
/// Users and groups of restricted-v3.
const V3_IDS: Range = Range { first: 1000, last: 65534 };

const fn at(at: At, path: &'static str, allowed: Allowed) -> Demand {
    Demand { at, path, allowed }
}

const fn row(id: &'static str, demands: &'static [Demand]) -> Row {
    Row { id, level: Level::Restricted, since: 0, demands, spares: Spares::Windows, replaces: None }
}

/// What both ask, beside ranges. Capabilities are dropped by the constraint itself.
#[rustfmt::skip]
pub(super) static SHARED: &[Row] = &[
    row("scc.allowPrivilegeEscalation", &[at(Containers, "securityContext.allowPrivilegeEscalation", NotTrue)]),
    row("scc.capabilities", &[at(Containers, "securityContext.capabilities.add", Subset(&["NET_BIND_SERVICE"]))]),
    row("scc.hostNamespaces", &[at(Pod, "hostNetwork", NotTrue), at(Pod, "hostPID", NotTrue), at(Pod, "hostIPC", NotTrue)]),
    row("scc.hostPorts", &[at(Containers, "ports[*].hostPort", Zero)]),
    row("scc.privileged", &[at(Containers, "securityContext.privileged", NotTrue)]),
    row("scc.seLinuxOptions", &[
        at(Both, "securityContext.seLinuxOptions.type", Empty),
        at(Both, "securityContext.seLinuxOptions.user", Empty),
        at(Both, "securityContext.seLinuxOptions.role", Empty),
    ]),
    row("scc.seccompProfile", &[at(Both, "securityContext.seccompProfile", Allowed::Profile(&["RuntimeDefault"]))]),
    row("scc.sysctls", &[at(Pod, "securityContext.sysctls[*]", Allowed::Named(pss::SYSCTLS.split_at(12).0))]),
    row("scc.volumes", &[at(Pod, "volumes[*]", Sources(pss::HARMLESS))]),
];
/// How a profile was said before there was a field for it: of a pod, where an empty one is unset, and of a container.
static OLD_PROFILE: Demand = at(
    Annotation,
    "seccomp.security.alpha.kubernetes.io/pod",
    OneOf(&["", "runtime/default", "docker/default"]),
);
static OLD_PROFILES: Demand = at(
    ContainerAnnotations,
    "container.seccomp.security.alpha.kubernetes.io/",
    OneOf(&["runtime/default", "docker/default"]),
);
pub(super) static OWN_USERS: &[Row] = &[row("scc.hostUsers", &[at(Pod, "hostUsers", False)])];

/// What the API server would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The one that fits; `None`: the pod is refused, or no constraint looks at it.
    pub name: Option<&'static str>,
    pub violations: Vec<Violation>,
}

/// Both are tried in the order of their names, as long as the pod asks for none: neither has a priority, and they restrict as
/// much. Where none fits, the violations are those of the one that is for such pods: with users of their own, or without.
pub fn choose(subject: &Subject<'_>, namespace: Option<&Value>) -> Choice {
    if subject.is_windows() {
        return Choice { name: None, violations: Vec::new() };
    }
    let required = subject.annotations().find(|(key, _)| *key == REQUIRED).map(|(_, it)| it);
    let required = required.filter(|it| *it != "");
    let tried: Vec<(&'static str, Vec<Violation>)> = [V2, V3]
        .into_iter()
        .filter(|name| required.is_none_or(|it| it == *name))
        .map(|name| (name, held(subject, name, &Ranges::of(name, required.is_some(), namespace))))
        .collect();
    if let Some((name, _)) = tried.iter().find(|(_, it)| it.is_empty()) {
        return Choice { name: Some(name), violations: Vec::new() };
    }
    let nearer = if subject.has_own_users() { V3 } else { V2 };
    let at = tried.iter().position(|(name, _)| *name == nearer).unwrap_or_default();
    let nearest = tried.into_iter().nth(at);
    let violations = nearest.map_or_else(|| vec![unknown(subject, required)], |(_, it)| it);
    Choice { name: None, violations }
}

fn unknown(subject: &Subject<'_>, required: Option<&Value>) -> Violation {
    let path = format!("{}metadata.annotations[{REQUIRED}]", subject.prefix);
    let is = required.map(judge::cut).unwrap_or_default();
    let message = format!("is {is}, must be unset, {V2} or {V3} (SCC)");
    let same = format!("scc.required {is}");
    Violation { check: "scc.required", path, message, same, fix: None }
}

fn held(subject: &Subject<'_>, name: &'static str, ranges: &Ranges) -> Vec<Violation> {
    let standard = format!("SCC {name}");
    let mut found = judge::table(subject, &standard, SHARED);
    if name == V3 {
        found.extend(judge::table(subject, &standard, OWN_USERS));
    }
    let mut judge = Judge { subject, standard, found };
    old_profiles(&mut judge);
    ids(&mut judge, ranges);
    groups(&mut judge, ranges, name);
    levels(&mut judge, ranges);
    judge.found
}

/// Annotations go before fields: the constraint writes into the field what they say. An empty one says something of a container,
/// and nothing of a pod.
fn old_profiles(judge: &mut Judge<'_, '_>) {
    const PROFILE: &str = "securityContext.seccompProfile";
    let (check, subject) = ("scc.seccompProfile", judge.subject);
    let says = |it: &str| subject.annotations().any(|(key, value)| key == it && value != "");
    let place = |it: &str| format!("{}spec.{it}{PROFILE}", subject.prefix);
    // Sets, since of both there may be many.
    let said: HashSet<_> =
        subject.annotations().filter_map(|(key, _)| key.strip_prefix(OLD_PROFILES.path)).collect();
    let names: HashSet<_> = subject.containers.iter().map(|it| it.name).collect();
    let of_containers = subject.containers.iter().filter(|it| said.contains(it.name));
    let of_containers = of_containers.map(|it| place(&format!("{}[{}].", it.list, it.index)));
    let of_pod = says(OLD_PROFILE.path).then(|| place(""));
    let overwritten: HashSet<_> = of_containers.chain(of_pod).collect();
    judge.found.retain(|it| {
        let end = it.path.find(PROFILE).map_or(0, |at| at + PROFILE.len());
        it.check != check || it.path.get(..end).is_none_or(|place| !overwritten.contains(place))
    });
    judge.annotations(check, &OLD_PROFILE, |key| key == OLD_PROFILE.path);
    judge.annotations(check, &OLD_PROFILES, |key| {
        key.strip_prefix(OLD_PROFILES.path).is_some_and(|of| names.contains(of))
    });
}

/// Inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u32,
    pub last: u32,
}

/// What is known of a range: a value that is set is held against it.
#[derive(Clone, Debug)]
enum Known<T> {
    As(T),
    /// Nobody could say: nothing is held against it.
    Unsaid,
    /// The namespace says nothing, or nothing that can be read: nothing fits. Which annotation, and why.
    Broken(&'static str),
}

struct Ranges {
    users: Known<Range>,
    groups: Known<Range>,
    level: Known<String>,
}

impl Ranges {
    /// Whichever constraint it would be, the API server makes all of them ready first, and gives up where it can't; `alone`: but
    /// for a pod that asked for this one. That there are annotations it sees to in any case.
    fn of(name: &str, alone: bool, namespace: Option<&Value>) -> Self {
        let Some(namespace) = namespace else {
            let fixed = || if name == V3 { Known::As(V3_IDS) } else { Known::Unsaid };
            return Self { users: fixed(), groups: fixed(), level: Known::Unsaid };
        };
        let annotation =
            |key: &str| namespace.get("metadata")?.get("annotations")?.get(key)?.as_str();
        let level = annotation(MCS).filter(|it| !it.is_empty());
        let level = level.map_or(Known::Broken(MCS), |it| Known::As(it.to_owned()));
        let fixed = || Known::As(V3_IDS);
        if name == V3 && alone {
            let users = annotation(UIDS).map_or(Known::Broken(UIDS), |_| fixed());
            return Self { users, groups: fixed(), level };
        }
        let users = annotation(UIDS).and_then(block).map_or(Known::Broken(UIDS), Known::As);
        let blocks = annotation(GROUPS).or_else(|| annotation(UIDS));
        // Every block must be readable, and of the first the first group alone is used.
        let first = blocks.and_then(|it| it.split(',').map(block).collect::<Option<Vec<_>>>());
        let first = first.and_then(|it| it.first().map(|it| it.first));
        let groups =
            first.map_or(Known::Broken(GROUPS), |it| Known::As(Range { first: it, last: it }));
        if name == V3 {
            let or_broken =
                |it| if let Known::Broken(key) = it { Known::Broken(key) } else { fixed() };
            return Self { users: or_broken(users), groups: or_broken(groups), level };
        }
        // In one that begins behind its end is nobody, not even whom the constraint would set.
        let users = match users {
            Known::As(range) if range.first > range.last => Known::Broken(UIDS),
            other => other,
        };
        Self { users, groups, level }
    }
}

/// `start/size` or `start-end`, as OpenShift reads it: numbers of 32 bits, and whatever follows them is left alone.
fn block(text: &str) -> Option<Range> {
    let (separator, sized) = if text.contains('/') { ('/', true) } else { ('-', false) };
    let (first, rest) = text.trim_start().split_once(separator)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (first, second) = (first.parse().ok()?, rest.get(..digits)?.parse::<u32>().ok()?);
    let last = if sized { u32::wrapping_sub(u32::wrapping_add(first, second), 1) } else { second };
    Some(Range { first, last })
}

/// Every container runs as a user of the range: its own, else the pod's, else the first of the range.
fn ids(judge: &mut Judge<'_, '_>, ranges: &Ranges) {
    let path = "securityContext.runAsUser";
    let of_pod = set(judge.subject.spec, "runAsUser");
    let all = judge.subject.containers.clone();
    if let Known::Broken(key) = ranges.users {
        return broken(judge, "scc.runAsUser", key);
    }
    let Known::As(range) = ranges.users else { return };
    let fits = |it: &Value| it.as_u64().is_some_and(|it| in_range(it, range));
    let must = format!("must be unset or {}", span(range));
    for it in &all {
        if let Some(own) = set(it.json, "runAsUser").filter(|it| !fits(it)) {
            judge.say("scc.runAsUser", Some(it), path, Some(own), &must, None);
        }
    }
    let inherited = all.iter().any(|it| set(it.json, "runAsUser").is_none());
    if let Some(own) = of_pod.filter(|it| inherited && !fits(it)) {
        judge.say("scc.runAsUser", None, path, Some(own), &must, None);
    }
}

fn groups(judge: &mut Judge<'_, '_>, ranges: &Ranges, name: &str) {
    if let Known::Broken(key) = ranges.groups {
        return broken(judge, "scc.fsGroup", key);
    }
    let Known::As(range) = ranges.groups else { return };
    let fits = |it: &Value| it.as_u64().is_some_and(|it| in_range(it, range));
    let spec = judge.subject.spec;
    if let Some(own) = set(spec, "fsGroup").filter(|it| !fits(it)) {
        let must = format!("must be unset or {}", span(range));
        judge.say("scc.fsGroup", None, "securityContext.fsGroup", Some(own), &must, None);
    }
    let all = set(spec, "supplementalGroups").filter(|_| name == V3);
    let wrong =
        |it: &&Value| !it.as_array().is_some_and(|it| !it.is_empty() && it.iter().all(fits));
    if let Some(own) = all.filter(wrong) {
        let must = format!("must be unset or of {}", span(range));
        let path = "securityContext.supplementalGroups";
        judge.say("scc.supplementalGroups", None, path, Some(own), &must, None);
    }
}

/// Whoever sets `seLinuxOptions` sets the namespace's level; the constraint fills in only what is unset as a whole.
fn levels(judge: &mut Judge<'_, '_>, ranges: &Ranges) {
    let level = match &ranges.level {
        Known::As(level) => level.clone(),
        Known::Broken(key) => return broken(judge, "scc.seLinuxOptions", key),
        Known::Unsaid => return,
    };
    let path = "securityContext.seLinuxOptions.level";
    let all = judge.subject.containers.clone();
    let spec = (None, judge.subject.spec);
    for (place, json) in std::iter::once(spec).chain(all.iter().map(|it| (Some(it), it.json))) {
        let Some(options) = set(json, "seLinuxOptions") else { continue };
        let own = options.get("level");
        if !own.and_then(Value::as_str).is_some_and(|it| same_level(it, &level)) {
            let must = format!("must be {level:?}, or seLinuxOptions be unset");
            judge.say("scc.seLinuxOptions", place, path, own, &must, None);
        }
    }
}

/// The order of categories is of no account.
fn same_level(one: &str, other: &str) -> bool {
    let parts = |it: &str| {
        let (sensitivity, categories) = it.split_once(':')?;
        let mut categories: Vec<_> = categories.split(',').map(str::to_owned).collect();
        categories.sort_unstable();
        Some((sensitivity.to_owned(), categories))
    };
    one == other || parts(one).is_some_and(|it| Some(it) == parts(other))
}

fn broken(judge: &mut Judge<'_, '_>, check: &'static str, key: &str) {
    let path = format!("metadata.annotations[{key}]");
    let message = format!(
        "the namespace has no readable annotation {key}, must have one before a pod can be let in ({})",
        judge.standard
    );
    let same = format!("{check} {key}");
    judge.found.push(Violation { check, path, message, same, fix: None });
}

fn span(range: Range) -> String {
    if range.first == range.last {
        return range.first.to_string();
    }
    format!("{} to {}", range.first, range.last)
}

fn in_range(id: u64, range: Range) -> bool {
    (u64::from(range.first)..=u64::from(range.last)).contains(&id)
}

fn set<'v>(holder: &'v Value, key: &str) -> Option<&'v Value> {
    holder.get("securityContext")?.get(key).filter(|it| !it.is_null())
}
