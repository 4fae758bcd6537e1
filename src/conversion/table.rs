//! What a kind's two versions call the same thing: rows, written by hand, and the moves that follow from them.

use std::{borrow::Cow, sync::Arc};

use crate::api::GROUP;

use super::{
    json::{Flaw, Members, Node},
    lens::Lens,
    schema::Schema,
};

/// A served version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1alpha1,
    V1beta1,
}

impl Version {
    /// The version that an `apiVersion` of ours names.
    pub fn of(api_version: &str) -> Option<Self> {
        match api_version.strip_prefix(GROUP)?.strip_prefix('/')? {
            "v1alpha1" => Some(Self::V1alpha1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1beta1 => "v1beta1",
        }
    }

    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V1alpha1 => Self::V1beta1,
            Self::V1beta1 => Self::V1alpha1,
        }
    }

    /// The annotation, on an object of the other version, with what only this one can say.
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::V1alpha1 => "gastown.io/v1alpha1-fields",
            Self::V1beta1 => "gastown.io/v1beta1-fields",
        }
    }
}

/// One field in both versions, as paths below `spec`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    alpha: &'static str,
    beta: &'static str,
    lens: Lens,
    /// What the v1beta1 object must have for this row to be its place in v1alpha1.
    beside: Option<&'static str>,
}

impl Row {
    /// A field with another name or in another place. Several rows may lead to one v1beta1 path: the first whose field
    /// is there wins, as the more specific place did in v1alpha1.
    pub const fn moved(alpha: &'static str, beta: &'static str) -> Self {
        Self { alpha, beta, lens: Lens::Same, beside: None }
    }

    /// A field with the same name in the same place.
    pub const fn same(path: &'static str) -> Self {
        Self::moved(path, path)
    }

    /// Its path in a version.
    pub const fn path(&self, version: Version) -> &'static str {
        match version {
            Version::V1alpha1 => self.alpha,
            Version::V1beta1 => self.beta,
        }
    }

    #[must_use]
    pub const fn through(self, lens: Lens) -> Self {
        Self { lens, ..self }
    }

    #[must_use]
    pub const fn beside(self, beta: &'static str) -> Self {
        Self { beside: Some(beta), ..self }
    }
}

/// A value that one version has by default.
#[derive(Clone, Copy, Debug)]
pub struct Default {
    pub version: Version,
    pub path: &'static str,
    pub text: &'static str,
    /// The other version cannot say it, and need not: nothing is lost as long as it has this value.
    pub goes_without_saying: bool,
}

impl Default {
    pub const fn of(version: Version, path: &'static str, text: &'static str) -> Self {
        Self { version, path, text, goes_without_saying: false }
    }

    #[must_use]
    pub const fn goes_without_saying(self) -> Self {
        Self { goes_without_saying: true, ..self }
    }
}

/// A kind's rows.
#[derive(Debug)]
pub struct Table {
    pub kind: &'static str,
    pub rows: &'static [Row],
    pub defaults: &'static [Default],
}

/// A kind, ready to be converted both ways.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    up: Way,
    down: Way,
}

impl Kind {
    /// A table with the schemas of its kind's `spec` in both versions.
    pub fn new(table: &Table, alpha: Schema, beta: Schema) -> Self {
        let (alpha, beta) = (Arc::new(alpha), Arc::new(beta));
        Self {
            name: table.kind,
            up: Way::new(table, Version::V1beta1, Arc::clone(&alpha), Arc::clone(&beta)),
            down: Way::new(table, Version::V1alpha1, beta, alpha),
        }
    }

    /// The way to a version.
    pub const fn to(&self, version: Version) -> &Way {
        match version {
            Version::V1alpha1 => &self.down,
            Version::V1beta1 => &self.up,
        }
    }
}

/// One direction of a table, made ready.
#[derive(Debug)]
pub struct Way {
    to: Version,
    steps: Vec<Step>,
    silent: Vec<(Vec<&'static str>, &'static str)>,
    filled: Vec<(Vec<&'static str>, &'static str)>,
    /// What the spec that comes in may hold.
    pub source: Arc<Schema>,
    /// What the spec that goes out may hold.
    pub target: Arc<Schema>,
}

#[derive(Debug)]
struct Step {
    from: Vec<&'static str>,
    to: Vec<&'static str>,
    lens: Lens,
    beside: Option<Vec<&'static str>>,
}

impl Way {
    pub fn new(table: &Table, to: Version, source: Arc<Schema>, target: Arc<Schema>) -> Self {
        let split = |path: &'static str| path.split('.').collect::<Vec<_>>();
        let step = |row: &Row| match to {
            Version::V1beta1 => {
                Step { from: split(row.alpha), to: split(row.beta), lens: row.lens, beside: None }
            }
            Version::V1alpha1 => Step {
                from: split(row.beta),
                to: split(row.alpha),
                lens: row.lens,
                beside: row.beside.map(split),
            },
        };
        let chosen = |want: &dyn Fn(&Default) -> bool| {
            let some = table.defaults.iter().filter(|it| want(it));
            some.map(|it| (split(it.path), it.text)).collect()
        };
        Self {
            to,
            steps: table.rows.iter().map(step).collect(),
            silent: chosen(&|it| it.version != to && it.goes_without_saying),
            filled: chosen(&|it| it.version == to),
            source,
            target,
        }
    }

    /// The spec as the other version says it. Marks what has found its place; what has not, and is not known to be one
    /// of this version's own fields, stays where it was.
    pub fn go<'a>(&self, from: &mut Members<'a>) -> Result<Members<'a>, Flaw> {
        let mut to = Members::default();
        for step in &self.steps {
            if let Some(beside) = &step.beside
                && from.at(beside)?.is_none()
            {
                continue;
            }
            let Some(member) = from.at(&step.from)? else { continue };
            if member.taken {
                continue;
            }
            let seen = match self.to {
                Version::V1beta1 => step.lens.up(&member.value),
                Version::V1alpha1 => step.lens.down(&member.value),
            };
            if let Some(value) = seen {
                member.taken = to.put(&step.to, value)?;
            }
        }
        for (path, text) in &self.silent {
            if let Some(member) = from.at(path)? {
                member.taken |= member.value.says(&Node::text(text));
            }
        }
        for (path, text) in &self.filled {
            let parent = path.split_last().map_or(&[][..], |(_, parent)| parent);
            let there = parent.is_empty() || to.at(parent)?.is_some();
            if there {
                to.put(path, Node::text(text))?;
            }
        }
        let room = Room::of(Some(&self.target));
        stay(from, Some(&self.source), room, &mut Vec::new(), &mut to)?;
        Ok(to)
    }
}

/// What the target version has at a place.
#[derive(Clone, Copy)]
enum Room<'s> {
    /// Nothing: whatever is put there means nothing to it.
    Free,
    /// An object with named members.
    Parts(&'s Schema),
    /// A field.
    Taken,
}

impl<'s> Room<'s> {
    fn of(schema: Option<&'s Schema>) -> Self {
        match schema {
            None => Self::Free,
            Some(it) if it.has_parts() => Self::Parts(it),
            Some(_) => Self::Taken,
        }
    }

    fn member(self, name: &str) -> Self {
        match self {
            Self::Parts(it) => Self::of(it.member(name)),
            other => other,
        }
    }
}

/// Leaves in their places what neither version knows.
fn stay<'a>(
    from: &mut Members<'a>,
    known: Option<&Schema>,
    room: Room<'_>,
    path: &mut Vec<Cow<'a, str>>,
    to: &mut Members<'a>,
) -> Result<(), Flaw> {
    for member in from.iter_mut() {
        if member.taken {
            continue;
        }
        let inner = known.and_then(|it| it.member(&member.name));
        let below = room.member(&member.name);
        path.push(member.name.clone());
        match (inner, below) {
            (None, Room::Free) => drop(put_at(to, path, &member.value)?),
            (Some(it), _) if !it.has_parts() => {}
            (_, Room::Taken) => {}
            _ => {
                if let Some(members) = member.value.open()? {
                    stay(members, inner, below, path, to)?;
                }
            }
        }
        path.pop();
    }
    Ok(())
}

fn put_at<'a>(to: &mut Members<'a>, path: &[Cow<'a, str>], value: &Node<'a>) -> Result<bool, Flaw> {
    let Some((name, rest)) = path.split_first() else { return Ok(false) };
    if rest.is_empty() {
        let free = to.find(name).is_none();
        if free {
            to.set(name.clone(), value.clone());
        }
        return Ok(free);
    }
    if to.find(name).is_none() {
        to.set(name.clone(), Node::Object(Members::default()));
    }
    match to.find_mut(name).map(|it| it.value.open()).transpose()?.flatten() {
        Some(inner) => put_at(inner, rest, value),
        None => Ok(false),
    }
}
