//! What a row of a table is made of. Everything in it is data, so that one row can be judged here, be written as CEL, and be
//! explained to a person.

use serde_json::Value;

/// A level of Pod Security that refuses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Baseline,
    Restricted,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// One check, as it reads from a policy version on until its next row.
#[derive(Debug)]
pub struct Row {
    pub id: &'static str,
    pub level: Level,
    /// Minor version of the policy.
    pub since: u32,
    pub demands: &'static [Demand],
    /// For which pods nothing is asked.
    pub spares: Spares,
    /// The baseline check that is not run at restricted from here on, because this one asks for more.
    pub replaces: Option<&'static str>,
}

/// The pods that a row asks nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spares {
    Nobody,
    /// `spec.os.name: windows`
    Windows,
    /// `spec.hostUsers: false`
    UserNamespaces,
}

/// What is asked of some fields.
#[derive(Debug)]
pub struct Demand {
    pub at: At,
    /// Below where `at` says; `[*]` after the name of a list means each of its entries.
    pub path: &'static str,
    pub allowed: Allowed,
}

/// Where the fields of a demand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Below `spec`.
    Pod,
    /// Below every container: init, sidecar, regular, ephemeral.
    Containers,
    /// Below `spec` and below every container.
    Both,
    /// As `Both`, and who leaves it unset must find it set in the pod's.
    Inherited,
    /// Every annotation that begins like this.
    Annotations,
    /// The annotation of exactly this name.
    Annotation,
    /// The annotation of this name and the container's, for every container.
    ContainerAnnotations,
}

/// Which values are allowed. What is unset is allowed, unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    NotTrue,
    /// Must be set, and false.
    False,
    /// Must be set, and true.
    True,
    /// Unset, or an empty text.
    Empty,
    Zero,
    NotZero,
    Unset,
    OneOf(&'static [&'static str]),
    /// An object whose `type` is one of these.
    Profile(&'static [&'static str]),
    /// An object whose `name` is one of these.
    Named(&'static [&'static str]),
    /// A list without others than these.
    Subset(&'static [&'static str]),
    /// A list with this one; must be set.
    Contains(&'static str),
    /// An object that has one of these keys, and beside them and `name` no other.
    Sources(&'static [&'static str]),
    /// One of these texts, or one that begins with `localhost/`.
    Annotated(&'static [&'static str]),
    /// A text that does not begin so.
    NotBegun(&'static str),
    /// An object without other keys than these.
    Keys(&'static [&'static str]),
    /// A toleration of something else than the taints of the control plane.
    OfWorkers,
}

/// Taints of nodes that run the control plane.
pub(super) const CONTROL_PLANE: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

impl Allowed {
    /// Whether what is unset is a violation.
    pub const fn wants_a_value(self) -> bool {
        matches!(self, Self::False | Self::True | Self::Contains(_) | Self::Sources(_))
    }

    /// Whether a value may stand there. A value of a type that the field does not have never may.
    pub fn permits(self, value: &Value) -> bool {
        let listed = |all: &[&str], it: &Value| it.as_str().is_some_and(|it| all.contains(&it));
        match self {
            Self::NotTrue | Self::False => value == &Value::Bool(false),
            Self::True => value == &Value::Bool(true),
            Self::Empty => value.as_str() == Some(""),
            Self::Zero => value.as_f64() == Some(0.0),
            Self::NotZero => value.as_f64().is_some_and(|it| it != 0.0),
            Self::Unset => false,
            Self::OneOf(all) => listed(all, value),
            Self::Profile(all) => value.get("type").is_some_and(|it| listed(all, it)),
            Self::Named(all) => value.get("name").is_some_and(|it| listed(all, it)),
            Self::Subset(all) => {
                value.as_array().is_some_and(|it| it.iter().all(|it| listed(all, it)))
            }
            Self::Contains(one) => value.as_array().is_some_and(|it| it.iter().any(|it| it == one)),
            Self::Sources(all) => {
                let Some(map) = value.as_object() else { return false };
                let mut sources =
                    map.iter().filter(|(key, it)| *key != "name" && !it.is_null()).peekable();
                sources.peek().is_some() && sources.all(|(key, _)| all.contains(&key.as_str()))
            }
            Self::NotBegun(head) => value.as_str().is_some_and(|it| !it.starts_with(head)),
            Self::Keys(all) => {
                value.as_object().is_some_and(|it| it.keys().all(|key| all.contains(&key.as_str())))
            }
            Self::OfWorkers => match value.get("key").filter(|it| !it.is_null()) {
                Some(key) => {
                    key.as_str().is_some_and(|it| !it.is_empty() && !CONTROL_PLANE.contains(&it))
                }
                // One without a key tolerates every taint.
                None => false,
            },
            Self::Annotated(all) => {
                listed(all, value) || value.as_str().is_some_and(|it| it.starts_with("localhost/"))
            }
        }
    }

    /// The field that decides, below one that holds an object.
    pub const fn inner(self) -> Option<&'static str> {
        match self {
            Self::Profile(_) => Some("type"),
            Self::Named(_) => Some("name"),
            _ => None,
        }
    }

    /// Reads on after "must".
    pub fn must(self) -> String {
        let quoted = |all: &[&str]| {
            all.iter()
                .filter(|it| !it.is_empty())
                .map(|it| format!("{it:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::NotTrue => "be unset or false".into(),
            Self::False => "be false".into(),
            Self::True => "be true".into(),
            Self::Empty | Self::Unset => "be unset".into(),
            Self::Zero => "be unset or 0".into(),
            Self::NotZero => "be unset or a user other than 0".into(),
            Self::OneOf([one]) => format!("be unset or {one:?}"),
            Self::OneOf(all) => format!("be unset or one of {}", quoted(all)),
            Self::Profile(all) | Self::Named(all) => format!("be one of {}", quoted(all)),
            Self::Subset([one]) => format!("contain nothing but {one:?}"),
            Self::Subset(all) => format!("contain nothing but {}", quoted(all)),
            Self::Contains(one) => format!("contain {one:?}"),
            Self::Sources(all) => format!("have one source, of {}", all.join(", ")),
            Self::NotBegun(head) => format!("not begin with {head:?}"),
            Self::Keys(all) => format!("have no fields but {}", all.join(", ")),
            Self::OfWorkers => format!("name a taint that is none of {}", quoted(&CONTROL_PLANE)),
            Self::Annotated(all) => format!("be unset, {} or localhost/…", quoted(all)),
        }
    }
}
