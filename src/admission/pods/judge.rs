//! Rows held against a pod: every violation, none hiding another.

use std::fmt;

use serde_json::{Value, json};

use super::{
    Standard, pss,
    rows::{Allowed, At, Demand, Row, Spares},
    subject::{Container, Subject},
};
use crate::domain::untrusted;

/// Longest piece of what was sent that a message repeats, in bytes.
const SHOWN: usize = 96;

/// A field that is not as a check wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub check: &'static str,
    /// In the object as it was sent, such as `spec.containers[0].securityContext.privileged`.
    pub path: String,
    /// What is, what must be, and which standard says so.
    pub message: String,
    /// The same place in words that a change of other containers, or of other entries of a list, leaves alone, with the value:
    /// what an update left as it was.
    pub same: String,
    /// What makes it right, where that is one value: where, below the pod's spec, and the value.
    pub fix: Option<Fix>,
}

/// One value that mends a violation.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// List and name of the container; `None`: below the pod's spec.
    pub container: Option<(&'static str, String)>,
    pub path: String,
    /// `null` takes the field away.
    pub value: Value,
}

/// Everything in which a pod is not as a Pod Security standard wants it.
pub fn pod_security(subject: &Subject<'_>, of: Standard) -> Vec<Violation> {
    let mut judge = Judge { subject, standard: format!("PSS {of}"), found: Vec::new() };
    for row in pss::rows(of) {
        judge.row(row);
    }
    judge.found
}

/// Rows of another table held against it, in the name of another standard.
pub(super) fn table<'r>(
    subject: &Subject<'_>,
    standard: &str,
    rows: impl IntoIterator<Item = &'r Row>,
) -> Vec<Violation> {
    let mut judge = Judge { subject, standard: standard.to_owned(), found: Vec::new() };
    for row in rows {
        judge.row(row);
    }
    judge.found
}

pub(super) struct Judge<'s, 'a> {
    pub subject: &'s Subject<'a>,
    /// Who says so, as messages name it.
    pub standard: String,
    pub found: Vec<Violation>,
}

/// Where a value stands: in the pod or in one of its containers.
type Place<'c, 'a> = Option<&'c Container<'a>>;

impl<'a> Judge<'_, 'a> {
    pub fn row(&mut self, row: &Row) {
        let spared = match row.spares {
            Spares::Nobody => false,
            Spares::Windows => self.subject.is_windows(),
            Spares::UserNamespaces => self.subject.has_own_users(),
        };
        if !spared {
            for demand in row.demands {
                self.demand(row.id, demand);
            }
        }
    }

    fn demand(&mut self, check: &'static str, it: &Demand) {
        let subject = self.subject;
        let (spec, containers) = (subject.spec, &subject.containers);
        let pod = matches!(it.at, At::Pod | At::Both | At::Inherited);
        let each = matches!(it.at, At::Containers | At::Both | At::Inherited);
        if pod {
            let unset_is_wrong = it.at == At::Pod && it.allowed.wants_a_value();
            self.below(check, it, None, spec, unset_is_wrong);
        }
        // What is wrong in the pod's is said there, once.
        let inherits = it.at == At::Inherited && !is_unset(spec, it.path);
        for container in containers.iter().filter(|_| each) {
            let wanted = match it.at {
                At::Inherited => !inherits,
                _ => it.allowed.wants_a_value(),
            };
            self.below(check, it, Some(container), container.json, wanted);
        }
        match it.at {
            At::Annotations => self.annotations(check, it, |key| key.starts_with(it.path)),
            At::Annotation => self.annotations(check, it, |key| key == it.path),
            At::ContainerAnnotations => self.annotations(check, it, |key| {
                let of = key.strip_prefix(it.path);
                of.is_some_and(|of| containers.iter().any(|it| it.name == of))
            }),
            _ => {}
        }
    }

    fn below(
        &mut self,
        check: &'static str,
        demand: &Demand,
        place: Place<'_, 'a>,
        root: &'a Value,
        unset_is_wrong: bool,
    ) {
        let mut wrong = Vec::new();
        each(root, demand.path, &Trail::Root, &mut |path, value, fits| {
            let right = value.map_or(!unset_is_wrong, |it| demand.allowed.permits(it));
            if !right || !fits {
                wrong.push((path.to_string(), value));
            }
        });
        for (path, value) in wrong {
            self.report(check, demand, place, &path, value);
        }
    }

    fn report(
        &mut self,
        check: &'static str,
        demand: &Demand,
        place: Place<'_, 'a>,
        path: &str,
        value: Option<&Value>,
    ) {
        let (at, shown) = match demand.allowed.inner() {
            Some(key) => (format!("{path}.{key}"), value.and_then(|it| it.get(key))),
            None => (path.to_owned(), value),
        };
        let here = if demand.at == At::Inherited && place.is_some() {
            format!(", here or in spec.{at}")
        } else {
            String::new()
        };
        let must = format!("must {}{here}", demand.allowed.must());
        let fix = fix(demand, value).filter(|_| !path.contains('[')).map(|value| Fix {
            // What every container lacks is set once, in the pod's.
            container: place
                .filter(|_| demand.at != At::Inherited || shown.is_some())
                .map(|it| (it.list, it.name.to_owned())),
            path: path.to_owned(),
            value,
        });
        self.say(check, place, &at, shown, &must, fix);
    }

    /// Reports a field of the pod or of a container, with its value.
    pub fn say(
        &mut self,
        check: &'static str,
        place: Place<'_, 'a>,
        path: &str,
        value: Option<&Value>,
        must: &str,
        fix: Option<Fix>,
    ) {
        let (prefix, is) = (self.subject.prefix, shown(value));
        let (full, owner, name) = match place {
            None => (format!("{prefix}spec.{path}"), "spec".to_owned(), String::new()),
            Some(it) => {
                let name = untrusted::fit(it.name, SHOWN);
                let full = format!("{prefix}spec.{}[{}].{path}", it.list, it.index);
                (full, format!("{}[{}]", it.list, it.name), format!("container {name:?} "))
            }
        };
        let message = format!("{name}{is}, {must} ({})", self.standard);
        // Whole: two values that differ only behind the cut are not the same.
        let value = value.unwrap_or(&Value::Null);
        let same = format!("{check} {owner}.{} {value}", wherever_in_lists(path));
        self.found.push(Violation { check, path: full, message, same, fix });
    }

    pub fn annotations(
        &mut self,
        check: &'static str,
        demand: &Demand,
        meant: impl Fn(&str) -> bool,
    ) {
        let prefix = self.subject.prefix;
        for (key, value) in self.subject.annotations().filter(|(key, _)| meant(key)) {
            if !demand.allowed.permits(value) {
                let same = format!("{check} {key} {value}");
                let key = untrusted::fit(key, 317);
                let (path, is) =
                    (format!("{prefix}metadata.annotations[{key}]"), shown(Some(value)));
                let message = format!("{is}, must {} ({})", demand.allowed.must(), self.standard);
                self.found.push(Violation { check, same, path, message, fix: None });
            }
        }
    }
}

/// The value that mends it, where there is one that changes nothing else.
fn fix(demand: &Demand, value: Option<&Value>) -> Option<Value> {
    match demand.allowed {
        Allowed::False => Some(false.into()),
        Allowed::True => Some(true.into()),
        Allowed::Profile(_) if demand.at == At::Inherited => {
            Some(json!({"type": "RuntimeDefault"}))
        }
        Allowed::NotTrue
        | Allowed::Empty
        | Allowed::Zero
        | Allowed::NotZero
        | Allowed::Unset
        | Allowed::Profile(_)
        | Allowed::OneOf(_) => Some(Value::Null),
        Allowed::Contains(one) => {
            let mut all = value.and_then(Value::as_array).cloned().unwrap_or_default();
            all.push(one.into());
            Some(all.into())
        }
        Allowed::Subset(only) => {
            let mut all = value.and_then(Value::as_array).cloned().unwrap_or_default();
            all.retain(|it| it.as_str().is_some_and(|it| only.contains(&it)));
            Some(if all.is_empty() { Value::Null } else { all.into() })
        }
        Allowed::Sources(_)
        | Allowed::Annotated(_)
        | Allowed::Named(_)
        | Allowed::NotBegun(_)
        | Allowed::Keys(_)
        | Allowed::OfWorkers => None,
    }
}

/// A path with no word on which entries of lists it goes through.
fn wherever_in_lists(path: &str) -> String {
    let mut parts = path.split('[');
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push_str("[*]");
        all.push_str(part.split_once(']').map_or("", |(_, rest)| rest));
    }
    all
}

/// A value in a message, cut.
pub(super) fn cut(value: &Value) -> String {
    untrusted::fit(&value.to_string(), SHOWN)
}

/// A value as a message shows it.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "is unset".into(),
        Some(it) => format!("is {}", cut(it)),
    }
}

/// Nothing stands there, or `null`.
fn is_unset(root: &Value, path: &str) -> bool {
    let mut set = false;
    each(root, path, &Trail::Root, &mut |_, value, _| set |= value.is_some());
    !set
}

/// The way to a value, written down only where there is something to say of it.
pub(super) enum Trail<'t> {
    Root,
    Key(&'t Self, &'t str),
    Entry(&'t Self, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(before, key) => write!(f, "{before}.{key}"),
            Self::Entry(before, at) => write!(f, "{before}[{at}]"),
        }
    }
}

/// What `each` tells of: the path, the value, and whether all above it is of the shape that the path asks for; where it is
/// not, the value is what stands in the way.
type Tell<'t, 'v> = &'t mut dyn FnMut(&Trail<'_>, Option<&'v Value>, bool);

/// Tells of every value that a path names, and of the missing one as `None`.
pub(super) fn each<'v>(value: &'v Value, path: &str, so_far: &Trail<'_>, tell: Tell<'_, 'v>) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, list) = step.strip_suffix("[*]").map_or((step, false), |it| (it, true));
    let here = Trail::Key(so_far, key);
    let Value::Object(map) = value else {
        tell(so_far, Some(value), false);
        return;
    };
    match (map.get(key).filter(|it| !it.is_null()), list) {
        // A list that is not there has no entry that could be wrong.
        (None, true) => {}
        (None, false) if rest.is_empty() => tell(&here, None, true),
        (None, false) => tell(&Trail::Key(&here, rest), None, true),
        (Some(Value::Array(all)), true) => {
            for (at, it) in all.iter().enumerate() {
                let here = Trail::Entry(&here, at);
                if rest.is_empty() {
                    tell(&here, Some(it), true);
                } else {
                    each(it, rest, &here, tell);
                }
            }
        }
        (Some(it), true) => tell(&here, Some(it), false),
        (Some(it), false) if rest.is_empty() => tell(&here, Some(it), true),
        (Some(it), false) => each(it, rest, &here, tell),
    }
}
