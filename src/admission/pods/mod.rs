//! What a pod may ask for: Pod Security as a versioned table of rows, judged on the JSON as it was sent, so that nothing a
//! typed reading would drop slips through. The same rows answer the API server, `kubectl gt check`, and the floor in CEL.

pub mod approved;
pub mod cel;
pub mod door;
pub mod feedback;
pub mod judge;
pub mod lists;
pub mod ours;
pub mod pss;
pub mod rows;
pub mod scc;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod unread;
pub mod unset;

use std::{collections::HashSet, fmt};

pub use judge::Violation;
pub use ours::RuntimeClasses;
pub use rows::Level;
pub use subject::Subject;

/// Whose cluster it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    #[default]
    Kubernetes,
    OpenShift,
}

/// Which tables decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    pub pss: bool,
    pub scc: bool,
    pub ours: bool,
}

impl Tables {
    pub const ALL: Self = Self { pss: true, scc: true, ours: true };
}

/// What a pod is held against.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    pub standard: Standard,
    pub tables: Tables,
    pub platform: Platform,
    /// Rules of ours that do not hold here, by id.
    pub exceptions: &'q [&'static str],
    /// The runtime classes that pods may name.
    pub runtime_classes: RuntimeClasses,
    /// Every pod of a Polecat's is held to approved TLS settings, also where it does not say so.
    pub fips: bool,
    /// The namespace that the pod is for, from whose annotations OpenShift takes its ranges; `None`: nobody could say.
    pub namespace: Option<&'q serde_json::Value>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Each of them refuses the pod.
    pub violations: Vec<Violation>,
    /// What would be refused on OpenShift, where this is none.
    pub advice: Vec<Violation>,
    /// The security context constraint that OpenShift would choose.
    pub scc: Option<&'static str>,
}

/// Holds a pod against all that decides on a platform: Pod Security and our own rules everywhere, a security context
/// constraint on OpenShift. Elsewhere that is advice, unless nothing else was asked.
pub fn judge(subject: &Subject<'_>, question: &Question<'_>) -> Judgement {
    let Question { standard, tables, platform, exceptions, runtime_classes, fips, namespace } =
        *question;
    let mut found = Judgement::default();
    if tables.pss {
        found.violations = judge::pod_security(subject, standard);
    }
    if tables.ours {
        let root = standard.level == Level::Restricted;
        let ours = ours::violations(subject, exceptions, runtime_classes, root);
        add_new(&mut found.violations, ours);
        if approved::holds(subject, fips) {
            found.violations.extend(approved::violations(subject));
        }
    }
    if tables.scc {
        let scc::Choice { name, violations } = scc::choose(subject, namespace);
        found.scc = name;
        let decides = platform == Platform::OpenShift
            || tables == Tables { pss: false, ours: false, scc: true };
        if decides {
            found.violations.extend(violations);
        } else {
            add_new(&mut found.advice, violations);
        }
    }
    found
}

/// The same of an object as it is written, before an API server has it: on OpenShift the constraint sets what nobody set, and
/// then Pod Security and our own rules look.
pub fn judge_written(
    (kind, object): (&str, &serde_json::Value),
    subject: &Subject<'_>,
    question: &Question<'_>,
) -> Judgement {
    let sets = question.platform == Platform::OpenShift && question.tables.scc;
    judge_once_set(sets, (kind, object), subject, question)
}

/// The same of an object once what nobody set is set, if anybody `sets` it before it is looked at.
fn judge_once_set(
    sets: bool,
    (kind, object): (&str, &serde_json::Value),
    subject: &Subject<'_>,
    question: &Question<'_>,
) -> Judgement {
    let mended = sets.then(|| unset::mended(kind, object, question.fips)).flatten();
    match mended.as_ref().map(|it| Subject::of(kind, it)) {
        Some(Ok(Some(mended))) => judge(&mended, question),
        _ => judge(subject, question),
    }
}

/// What is wrong in one place is said once.
fn add_new(all: &mut Vec<Violation>, more: Vec<Violation>) {
    if more.is_empty() {
        return;
    }
    let said: HashSet<String> = all.iter().map(|it| it.path.clone()).collect();
    all.extend(more.into_iter().filter(|it| !said.contains(&it.path)));
}

/// The newest policy version that the table knows; what asks for a later one is held to this.
pub const NEWEST: u32 = 37;

/// A Pod Security policy: a level, as of a minor version of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub minor: u32,
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Restricted, minor: NEWEST }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v1.{}", self.level.name(), self.minor)
    }
}

impl std::str::FromStr for Standard {
    type Err = String;

    /// `restricted`, `restricted@latest`, `baseline@v1.25` or `baseline@1.25`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (level, version) = text.split_once('@').unwrap_or((text, "latest"));
        let level = match level {
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => {
                return Err(format!(
                    "{level:?} is no level of Pod Security that refuses anything: write baseline or restricted, such as \
                     restricted@v1.{NEWEST}"
                ));
            }
        };
        if version == "latest" {
            return Ok(Self { level, minor: NEWEST });
        }
        let minor = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.");
        let plain = |it: &&str| {
            it.bytes().all(|it| it.is_ascii_digit()) && (*it == "0" || !it.starts_with('0'))
        };
        let minor = minor.filter(plain).and_then(|it| it.parse::<u32>().ok());
        match minor.filter(|it| *it <= NEWEST) {
            Some(minor) => Ok(Self { level, minor }),
            None => Err(format!(
                "{version:?} is no version that is known here: write latest, or v1.0 to v1.{NEWEST}"
            )),
        }
    }
}
