//! What the other version cannot say, as it rides in an annotation: only what would not come back by itself, with what
//! shows whether somebody has changed it meanwhile.
//!
//! ```text
//! {"add":    {"/spec/completion": "Push"},            there was nothing there
//!  "change": {"/spec/x": ["<hash of what came back>", "what it was"]},
//!  "remove": {"/spec/y": "<hash of what came back>"}}  there should be nothing there
//! ```
//!
//! Three more members hold annotations under our two names that are not ours to understand, so that they are there
//! again after the way back: `kept` (the one of the version that was left, as far as it could not be applied), `own`
//! (one under the name that this one has now) and `under` (what was under this one's name already).

use std::{collections::BTreeMap, fmt::Write as _, io::Read as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};

use super::{
    json::{self, Flaw, Members, Node},
    scan,
    schema::Schema,
};

/// Longer ones are compressed.
const PLAIN: usize = 4 * 1024;
/// Largest annotation of ours.
pub const MOST: usize = 64 * 1024;
/// Largest content of one, so that a small one cannot unfold to a large one.
const MOST_UNFOLDED: usize = 1024 * 1024;
/// What a compressed one begins with.
const COMPRESSED: &str = "deflate:";
/// Deepest nesting within one.
const DEEPEST: usize = 64;
/// The part of the object that a delta may speak of.
const SPEC: &str = "/spec";

/// What one version cannot say of the other's object. Values are JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub add: BTreeMap<String, String>,
    pub change: BTreeMap<String, (String, String)>,
    pub remove: BTreeMap<String, String>,
    pub kept: Option<String>,
    pub own: Option<String>,
    pub under: Option<String>,
}

/// One entry of a delta.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'d> {
    Add(&'d str),
    Change(&'d str, &'d str),
    Remove(&'d str),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Applied,
    /// Somebody has changed that place meanwhile: his word counts.
    Outdated,
    /// Not a path or value that this version knows.
    Inert,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The entries by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Entry<'_>)> {
        let add = self.add.iter().map(|(path, value)| (path.as_str(), Entry::Add(value)));
        let change = self
            .change
            .iter()
            .map(|(path, (was, value))| (path.as_str(), Entry::Change(was, value)));
        let remove = self.remove.iter().map(|(path, was)| (path.as_str(), Entry::Remove(was)));
        add.chain(change).chain(remove)
    }

    /// Bytes of all entries.
    pub fn size(&self) -> usize {
        let size = |(path, entry): (&str, Entry<'_>)| {
            let (Entry::Add(text) | Entry::Change(_, text) | Entry::Remove(text)) = entry;
            path.len() + text.len()
        };
        self.entries().map(size).sum()
    }

    /// Takes an entry in.
    pub fn insert(&mut self, path: &str, entry: Entry<'_>) {
        match entry {
            Entry::Add(value) => drop(self.add.insert(path.into(), value.into())),
            Entry::Change(was, value) => {
                self.change.insert(path.into(), (was.into(), value.into()));
            }
            Entry::Remove(was) => drop(self.remove.insert(path.into(), was.into())),
        }
    }

    /// Keeps what was under this annotation's name before: as entries, where it has nothing but those.
    pub fn lay_over(&mut self, before: Option<String>) {
        let read = before.as_deref().and_then(Self::decode);
        match read.filter(|it| it.kept.is_none() && it.own.is_none()) {
            Some(mut before) => {
                before.add.append(&mut self.add);
                before.change.append(&mut self.change);
                before.remove.append(&mut self.remove);
                (self.add, self.change, self.remove) = (before.add, before.change, before.remove);
                self.under = before.under;
            }
            None => self.under = before,
        }
    }

    /// The annotation.
    pub fn encode(&self) -> String {
        let plain = self.plain();
        if plain.len() <= PLAIN { plain } else { compressed(&plain) }
    }

    /// The annotation, compressed however short it is.
    #[cfg(test)]
    pub fn encode_small(&self) -> String {
        compressed(&self.plain())
    }

    /// The annotation in at most so many bytes, compressed where room is short; an error is how many it would take. Compressing
    /// takes longer than all the rest of a conversion, so it is done once at most.
    pub fn within(&self, most: usize) -> Result<String, usize> {
        let plain = self.plain();
        if plain.len() <= PLAIN.min(most) {
            return Ok(plain);
        }
        if plain.len() > MOST_UNFOLDED {
            return Err(plain.len()); // nobody would read it again
        }
        let small = compressed(&plain);
        if small.len() <= most { Ok(small) } else { Err(small.len()) }
    }

    fn plain(&self) -> String {
        let mut out = String::from("{");
        let mut part = |name: &str, members: Vec<(&str, String)>| {
            if !members.is_empty() {
                let _ = write!(out, "{}\"{name}\":{{", if out.len() > 1 { "," } else { "" });
                for (index, (path, text)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    json::quote(path, &mut out);
                    out.push(':');
                    out.push_str(text);
                }
                out.push('}');
            }
        };
        part("add", self.add.iter().map(|(path, it)| (path.as_str(), it.clone())).collect());
        let changes = self
            .change
            .iter()
            .map(|(path, (was, it))| (path.as_str(), format!("[\"{was}\",{it}]")));
        part("change", changes.collect());
        let removals = self.remove.iter().map(|(path, was)| (path.as_str(), format!("\"{was}\"")));
        part("remove", removals.collect());
        let strings = [("kept", &self.kept), ("own", &self.own), ("under", &self.under)];
        for (name, text) in strings {
            if let Some(text) = text {
                let _ = write!(out, "{}\"{name}\":", if out.len() > 1 { "," } else { "" });
                json::quote(text, &mut out);
            }
        }
        out.push('}');
        out
    }

    /// Reads an annotation; none, if it is not one of ours.
    pub fn decode(annotation: &str) -> Option<Self> {
        let unfolded;
        let text = match annotation.strip_prefix(COMPRESSED) {
            Some(packed) => {
                unfolded = unfold(packed)?;
                &unfolded
            }
            None => annotation,
        };
        if scan::depth(text.as_bytes()) > DEEPEST {
            return None;
        }
        serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
        let mut delta = Self::default();
        for member in Members::parse(text).ok()? {
            delta.read(member)?;
        }
        Some(delta)
    }

    fn read(&mut self, mut member: json::Member<'_>) -> Option<()> {
        let string =
            |value: &Node<'_>| json::string(&value.to_text()).map(std::borrow::Cow::into_owned);
        match &*member.name {
            "kept" => self.kept = Some(string(&member.value)?),
            "own" => self.own = Some(string(&member.value)?),
            "under" => self.under = Some(string(&member.value)?),
            "add" => {
                for it in std::mem::take(member.value.open().ok()??) {
                    self.add.insert(it.name.into_owned(), it.value.to_text());
                }
            }
            "change" => {
                for it in std::mem::take(member.value.open().ok()??) {
                    let text = it.value.to_text();
                    let pair: (String, &serde_json::value::RawValue) =
                        serde_json::from_str(&text).ok()?;
                    self.change.insert(
                        it.name.into_owned(),
                        (hash_word(pair.0)?, pair.1.get().to_owned()),
                    );
                }
            }
            "remove" => {
                for it in std::mem::take(member.value.open().ok()??) {
                    self.remove.insert(it.name.into_owned(), hash_word(string(&it.value)?)?);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// Applies one entry to a spec.
pub fn apply(
    spec: &mut Members<'_>,
    schema: &Schema,
    path: &str,
    entry: Entry<'_>,
) -> Result<Fate, Flaw> {
    let Some(names) = names(path) else { return Ok(Fate::Inert) };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some((last, parents)) = names.split_last() else { return Ok(Fate::Inert) };
    let Some(parent) = schema.at(parents) else { return Ok(Fate::Inert) };
    let Some(place) = parent.member(last) else { return Ok(Fate::Inert) };
    let admitted = match entry {
        Entry::Add(text) | Entry::Change(_, text) => {
            json::value(text).is_some_and(|it| place.admits(&it))
        }
        Entry::Remove(_) => !parent.requires(last),
    };
    if !admitted {
        return Ok(Fate::Inert);
    }
    let around = if parents.is_empty() {
        Some(spec)
    } else {
        match spec.at(parents)? {
            Some(member) => member.value.open()?,
            None => None,
        }
    };
    let Some(around) = around else { return Ok(Fate::Outdated) };
    let here = around.find(last).map(|it| hash(&it.value.to_text()));
    match (entry, here) {
        (Entry::Add(text), None) => {
            around.set((*last).to_owned(), Node::owned(text.to_owned()));
        }
        (Entry::Change(was, text), Some(here)) if was == here => {
            around.set((*last).to_owned(), Node::owned(text.to_owned()));
        }
        (Entry::Remove(was), Some(here)) if was == here => around.remove(last),
        _ => return Ok(Fate::Outdated),
    }
    Ok(Fate::Applied)
}

/// An addition of a block in parts: an empty one, then each of its members, and so on below. For where a part still finds its
/// place and the whole does not.
pub fn parts(schema: &Schema, path: &str, text: &str) -> Vec<(String, String)> {
    let names = names(path).unwrap_or_default();
    let place = schema.at(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let members = Members::parse(text).ok().filter(|_| place.is_some_and(Schema::has_parts));
    let Some(members) = members else { return Vec::new() };
    let mut all = vec![(path.to_owned(), "{}".to_owned())];
    for member in members {
        let (path, text) = (below(path, &member.name), member.value.to_text());
        let inner = parts(schema, &path, &text);
        if inner.is_empty() {
            all.push((path, text));
        } else {
            all.extend(inner);
        }
    }
    all
}

/// What would be missing of `whole` if only `back` came back.
pub fn lost(whole: &mut Members<'_>, back: &mut Members<'_>) -> Result<Delta, Flaw> {
    let mut delta = Delta::default();
    compare(whole, back, SPEC, &mut delta)?;
    Ok(delta)
}

fn compare(
    whole: &mut Members<'_>,
    back: &mut Members<'_>,
    path: &str,
    delta: &mut Delta,
) -> Result<(), Flaw> {
    for member in whole.iter_mut() {
        let Some(returned) = back.find_mut(&member.name) else {
            delta.add.insert(below(path, &member.name), member.value.to_text());
            continue;
        };
        if let (Node::Text(a), Node::Text(b)) = (&member.value, &returned.value)
            && a == b
        {
            continue;
        }
        if let (Some(a), Some(b)) = (member.value.open()?, returned.value.open()?) {
            compare(a, b, &below(path, &member.name), delta)?;
        } else if !member.value.says(&returned.value) {
            let was = hash(&returned.value.to_text());
            delta.change.insert(below(path, &member.name), (was, member.value.to_text()));
        }
    }
    for returned in back.iter() {
        if whole.find(&returned.name).is_none() {
            delta.remove.insert(below(path, &returned.name), hash(&returned.value.to_text()));
        }
    }
    Ok(())
}

fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The names of a path below `spec`.
fn names(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix(SPEC)?.strip_prefix('/')?;
    Some(rest.split('/').map(|it| it.replace("~1", "/").replace("~0", "~")).collect())
}

/// Tells two values apart, however they are written. Not a secret: whoever forges one only speaks for himself.
pub fn hash(text: &str) -> String {
    let canonical = json::value(text).map_or_else(|| text.to_owned(), |it| it.to_string());
    let fnv = canonical.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{fnv:016x}")
}

fn hash_word(text: String) -> Option<String> {
    let fine = text.len() == 16 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    fine.then_some(text)
}

fn compressed(plain: &str) -> String {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let packed = std::io::Write::write_all(&mut encoder, plain.as_bytes())
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    format!("{COMPRESSED}{}", STANDARD.encode(packed))
}

fn unfold(packed: &str) -> Option<String> {
    let packed = STANDARD.decode(packed).ok()?;
    let mut text = String::new();
    let limit = u64::try_from(MOST_UNFOLDED).ok()? + 1;
    DeflateDecoder::new(&*packed).take(limit).read_to_string(&mut text).ok()?;
    (text.len() <= MOST_UNFOLDED).then_some(text)
}
