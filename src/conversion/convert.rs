//! One object, from one version to the other.

use super::{
    delta::{self, Delta, Entry, Fate, MOST},
    json::{self, Flaw, Member, Members, Node},
    metadata,
    table::{Kind, Version, Way},
    weight::{self, MOST_BYTES, MOST_MEMBERS},
};

/// Most that all annotations of an object may take, names and values.
const ANNOTATIONS: usize = 256 * 1024;
/// Most times that it is tried whether some entries contradict the object, where all together do.
const TRIES: usize = 192;
/// In a large object it is tried less often, so that all tries together read about so many bytes.
const TRIED: usize = 16 * 1024 * 1024;
/// But that often in any.
const LEAST_TRIES: usize = 16;
/// And that often with as few entries as an honest annotation has, on an object of a size that etcd takes: enough for three edits at once
/// of what it speaks of, each found by halves and then laid in parts.
const HONEST_TRIES: usize = 64;
const HONEST_ENTRIES: usize = 32;
const HONEST_SIZE: usize = 2 * 1024 * 1024;

/// Why an object is not converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Flaw(#[from] Flaw),
    #[error("it has no {0}")]
    Without(&'static str),
    #[error("this release does not convert the kind {0}")]
    Kind(String),
    #[error("this release does not convert between {from} and {to}")]
    Versions { from: String, to: String },
    #[error(
        "what only {from} can say does not fit into the annotation {name} ({bytes} bytes; at most {most}): make those \
         fields or the other annotations smaller, or use {from}"
    )]
    TooLarge { from: String, name: &'static str, bytes: usize, most: usize },
    #[error("its {0} is not an object, so there is no place for what only {1} can say")]
    NoPlace(&'static str, String),
    #[error(
        "it has {0} bytes, more than any API server stores: at most {MOST_BYTES} are converted"
    )]
    Large(usize),
    #[error(
        "it has {0} fields, more than any API server stores: at most {MOST_MEMBERS} are converted"
    )]
    Many(usize),
    #[error("the time of the call was over before it came to this object: ask for fewer at a time")]
    Late,
}

/// Appends an object as `desired`, an `apiVersion`, says it.
pub fn convert(kinds: &[Kind], text: &str, desired: &str, out: &mut String) -> Result<(), Refusal> {
    weight::check(text)?;
    let mut object = Members::parse(text)?;
    let from = word(&object, "apiVersion")?;
    if from == desired {
        out.push_str(text);
        return Ok(());
    }
    let kind = word(&object, "kind")?;
    let Some(kind) = kinds.iter().find(|it| it.name == kind) else {
        return Err(Refusal::Kind(shown(&kind)));
    };
    let (Some(source), Some(target)) = (Version::of(&from), Version::of(desired)) else {
        return Err(Refusal::Versions { from: shown(&from), to: shown(desired) });
    };
    let mut quoted = String::new();
    json::quote(desired, &mut quoted);
    object.set("apiVersion", Node::owned(quoted));
    let notes = Notes::of(&mut object, source, target)?;
    let mut pass =
        Pass { there: kind.to(target), back: kind.to(source), notes, lost: Delta::default() };
    if let Some(spec) = object.find_mut("spec") {
        pass.spec(spec)?;
    }
    pass.annotate(&mut object, &from, (source, target))?;
    object.write(out);
    Ok(())
}

/// How often it is tried whether entries contradict a spec of so many bytes. What an annotation unfolds to is read each time, too.
pub(super) fn tries(spec: usize, delta: &Delta) -> usize {
    let size = spec + delta.size();
    let honest = size <= HONEST_SIZE && delta.entries().count() <= HONEST_ENTRIES;
    let least = if honest { HONEST_TRIES } else { LEAST_TRIES };
    (TRIED / size.max(1)).clamp(least, TRIES)
}

fn word(object: &Members<'_>, name: &'static str) -> Result<String, Refusal> {
    let member = object.find(name).map(|it| it.value.to_text());
    let word = member.as_deref().and_then(json::string);
    word.map(std::borrow::Cow::into_owned).ok_or(Refusal::Without(name))
}

/// Text from outside, short enough for a message.
pub fn shown(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(64).collect()
}

/// What the two annotations of ours say on the object that comes in.
#[derive(Debug, Default)]
struct Notes {
    /// What only the target can say, if the annotation can be read.
    delta: Option<Delta>,
    /// That annotation as it is.
    text: Option<String>,
    /// The annotation under the name that the target's object has for the source's fields.
    foreign: Option<String>,
}

impl Notes {
    fn of(object: &mut Members<'_>, source: Version, target: Version) -> Result<Self, Refusal> {
        let Some(all) = metadata::annotations(object)? else { return Ok(Self::default()) };
        let read = |all: &Members<'_>, name| {
            let member = all.find(name)?;
            Some(json::string(&member.value.to_text())?.into_owned())
        };
        let text = read(all, target.annotation());
        let delta = text.as_deref().and_then(Delta::decode);
        Ok(Self { delta, text, foreign: read(all, source.annotation()) })
    }
}

/// One object on its way.
struct Pass<'k> {
    there: &'k Way,
    back: &'k Way,
    notes: Notes,
    /// What the target cannot say.
    lost: Delta,
}

impl Pass<'_> {
    fn spec(&mut self, spec: &mut Member<'_>) -> Result<(), Refusal> {
        let size = if let Node::Text(text) = &spec.value { text.len() } else { 0 };
        let Some(whole) = spec.value.open()? else { return Ok(()) };
        let mut said = self.there.go(whole)?;
        let mut again = said.clone();
        let mut back = self.back.go(&mut again)?;
        self.lost = delta::lost(whole, &mut back)?;
        if let Some(delta) = self.notes.delta.take() {
            let rest = self.restore(&delta, &mut said, &mut back, tries(size, &delta))?;
            self.notes.delta =
                Some(Delta { add: rest.add, change: rest.change, remove: rest.remove, ..delta });
        }
        spec.value = Node::Object(said);
        Ok(())
    }

    /// Applies what only the target can say, where it does not contradict the object; what remains is inert.
    fn restore(
        &self,
        delta: &Delta,
        said: &mut Members<'_>,
        back: &mut Members<'_>,
        mut tries: usize,
    ) -> Result<Delta, Refusal> {
        let mut inert = Delta::default();
        let mut wanted = Vec::new();
        let mut trial = said.clone();
        for (path, entry) in delta.entries() {
            match self.lay(&mut trial, path, entry)? {
                Fate::Applied => wanted.push((path, entry)),
                Fate::Inert => inert.insert(path, entry),
                Fate::Outdated => {}
            }
        }
        if wanted.is_empty() {
            return Ok(inert);
        }
        if self.says_the_same(&trial, back)? {
            *said = trial;
        } else {
            self.adopt_halves(&wanted, said, back, &mut tries)?;
        }
        Ok(inert)
    }

    /// Applies an entry: whole, or, where an edit has made the block that it was to make, in parts. What the edit says counts, and the rest
    /// finds its place.
    fn lay(&self, trial: &mut Members<'_>, path: &str, entry: Entry<'_>) -> Result<Fate, Refusal> {
        let mut fate = delta::apply(trial, &self.there.target, path, entry)?;
        if fate == Fate::Outdated {
            for (path, text) in self.parts(path, entry) {
                let part = delta::apply(trial, &self.there.target, &path, Entry::Add(&text))?;
                fate = if part == Fate::Applied { part } else { fate };
            }
        }
        Ok(fate)
    }

    /// Entries that contradict the object together: each half by itself, and so on, so that one of many that does is found soon.
    fn adopt_halves(
        &self,
        wanted: &[(&str, Entry<'_>)],
        said: &mut Members<'_>,
        back: &mut Members<'_>,
        tries: &mut usize,
    ) -> Result<(), Refusal> {
        let (first, second) = wanted.split_at(wanted.len() / 2);
        for half in [first, second] {
            if half.is_empty() || self.adopt(half, said, back, tries)? {
                continue;
            }
            if *tries == 0 {
                return Ok(());
            }
            match half {
                [(path, entry)] => self.adopt_parts(path, *entry, said, back, tries)?,
                _ => self.adopt_halves(half, said, back, tries)?,
            }
        }
        Ok(())
    }

    fn adopt_parts(
        &self,
        path: &str,
        entry: Entry<'_>,
        said: &mut Members<'_>,
        back: &mut Members<'_>,
        tries: &mut usize,
    ) -> Result<(), Refusal> {
        let before = said.clone();
        let mut found = false;
        for (path, text) in self.parts(path, entry) {
            if *tries == 0 {
                break;
            }
            let adopted = self.adopt(&[(&path, Entry::Add(&text))], said, back, tries)?;
            found |= adopted && text != "{}";
        }
        if !found {
            *said = before;
        }
        Ok(())
    }

    fn parts(&self, path: &str, entry: Entry<'_>) -> Vec<(String, String)> {
        match entry {
            Entry::Add(text) => delta::parts(&self.there.target, path, text),
            _ => Vec::new(),
        }
    }

    /// Applies entries, if they find their places and do not contradict the object; whether it did. That is one try.
    fn adopt(
        &self,
        entries: &[(&str, Entry<'_>)],
        said: &mut Members<'_>,
        back: &mut Members<'_>,
        tries: &mut usize,
    ) -> Result<bool, Refusal> {
        let Some(left) = tries.checked_sub(1) else { return Ok(false) };
        *tries = left;
        let mut trial = said.clone();
        let mut fine = true;
        for (path, entry) in entries {
            fine &= self.lay(&mut trial, path, *entry)? == Fate::Applied;
        }
        let fine = fine && self.says_the_same(&trial, back)?;
        if fine {
            *said = trial;
        }
        Ok(fine)
    }

    /// Whether the source's version of this spec is what it was: an edit there is never overruled.
    fn says_the_same(&self, said: &Members<'_>, back: &mut Members<'_>) -> Result<bool, Flaw> {
        let mut again = said.clone();
        for member in again.iter_mut() {
            member.taken = false;
        }
        Ok(delta::lost(&mut self.back.go(&mut again)?, back)?.is_empty())
    }

    fn annotate(
        self,
        object: &mut Members<'_>,
        from: &str,
        (source, target): (Version, Version),
    ) -> Result<(), Refusal> {
        let Self { notes: Notes { delta, text, foreign }, mut lost, .. } = self;
        if lost.is_empty() && text.is_none() && foreign.is_none() {
            return Ok(());
        }
        let (here, there) = (source.annotation(), target.annotation());
        let others = metadata::annotations(object)?
            .map_or(0, |it| metadata::size_without(it, &[here, there]));
        let (restored, own, rest) = match delta {
            Some(delta) if others + unpacked(&delta, here, there) <= ANNOTATIONS => {
                let rest = rest(&delta);
                (delta.kept, delta.own, rest)
            }
            // The API server would refuse the object to everybody who reads it, so it stays packed.
            _ => (None, None, text),
        };
        (lost.kept, lost.own) = (rest, foreign);
        let ours = if lost.is_empty() {
            restored
        } else {
            lost.lay_over(restored);
            let room = ANNOTATIONS.saturating_sub(
                others + here.len() + own.as_ref().map_or(0, |it| it.len() + there.len()),
            );
            match packed(lost, from, here, room.min(MOST)) {
                Err(Refusal::TooLarge { .. }) if metadata::is_going(object)? => None,
                packed => Some(packed?),
            }
        };
        metadata::write(object, from, [(there, own), (here, ours)])
    }
}

/// What the annotations take that a delta holds, under these names.
fn unpacked(delta: &Delta, kept: &str, own: &str) -> usize {
    let size =
        |name: &str, text: &Option<String>| text.as_ref().map_or(0, |it| name.len() + it.len());
    size(kept, &delta.kept) + size(own, &delta.own)
}

/// What could not be applied, as the annotation that it was.
fn rest(delta: &Delta) -> Option<String> {
    let Delta { add, change, remove, under, .. } = delta;
    if add.is_empty() && change.is_empty() && remove.is_empty() {
        return under.clone();
    }
    let rest = Delta {
        add: add.clone(),
        change: change.clone(),
        remove: remove.clone(),
        under: under.clone(),
        ..Delta::default()
    };
    Some(rest.encode())
}

/// The annotation, compressed where room is short. What is not ours to understand is the first to go.
fn packed(mut lost: Delta, from: &str, name: &'static str, most: usize) -> Result<String, Refusal> {
    let bytes = match lost.within(most) {
        Ok(encoded) => return Ok(encoded),
        Err(bytes) if lost.kept.is_none() && lost.own.is_none() && lost.under.is_none() => bytes,
        Err(_) => {
            (lost.kept, lost.own, lost.under) = (None, None, None);
            match lost.within(most) {
                Ok(encoded) => return Ok(encoded),
                Err(bytes) => bytes,
            }
        }
    };
    Err(Refusal::TooLarge { from: shown(from), name, bytes, most })
}
