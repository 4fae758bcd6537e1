//! JSON read no further than needed. A value stays the text that came in until somebody has to look inside, and what
//! nobody looked into goes out as the same bytes: that is why unknown fields, nulls and odd numbers survive.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use serde_json::Value;

use super::scan::Scan;

/// A value: text, or an object that was opened.
#[derive(Clone, Debug)]
pub enum Node<'a> {
    Text(Cow<'a, str>),
    Object(Members<'a>),
}

/// A member of an opened object.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    pub name: Cow<'a, str>,
    pub value: Node<'a>,
    /// Its value has gone to another place.
    pub taken: bool,
}

/// An object's members in the order in which they were written; no name twice. Finding one takes as long among many as among few.
#[derive(Clone, Debug, Default)]
pub struct Members<'a> {
    /// None where one was removed.
    all: Vec<Option<Member<'a>>>,
    /// Where each name is; none while there are so few that looking through them is quicker.
    #[expect(clippy::box_collection, reason = "most objects have none, and are smaller by it")]
    places: Option<Box<HashMap<Cow<'a, str>, usize>>>,
}

/// Why an object cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("it is no valid JSON")]
    Syntax,
    #[error("it has the field {0:?} twice")]
    Twice(String),
}

/// Objects of more members than this have an index.
const FEW: usize = 32;

impl<'a> Node<'a> {
    pub const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub const fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// The members, if this is an object.
    pub fn open(&mut self) -> Result<Option<&mut Members<'a>>, Flaw> {
        if let Self::Text(text) = self {
            if !text.starts_with('{') {
                return Ok(None);
            }
            let members = match text {
                Cow::Borrowed(text) => Members::parse(text)?,
                Cow::Owned(text) => Members::parse(text)?.into_owned(),
            };
            *self = Self::Object(members);
        }
        Ok(match self {
            Self::Object(members) => Some(members),
            Self::Text(_) => None,
        })
    }

    pub fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Object(members) => members.write(out),
        }
    }

    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Whether both say the same, however it is written.
    pub fn says(&self, other: &Self) -> bool {
        if let (Self::Text(a), Self::Text(b)) = (self, other)
            && a == b
        {
            return true;
        }
        let texts = [self.to_text(), other.to_text()];
        #[cfg(test)]
        super::effort::spend(texts.iter().map(String::len).sum());
        let [one, other] = texts.map(|it| value(&it));
        one == other
    }

    fn into_owned(self) -> Node<'static> {
        match self {
            Self::Text(text) => Node::Text(Cow::Owned(text.into_owned())),
            Self::Object(members) => Node::Object(members.into_owned()),
        }
    }
}

impl<'a> Members<'a> {
    /// Splits the text of an object into its members, without a look at what is inside them.
    pub fn parse(text: &'a str) -> Result<Self, Flaw> {
        #[cfg(test)]
        super::effort::spend(text.len());
        let mut scan = Scan::of(text);
        scan.expect(b'{')?;
        let mut all = Vec::new();
        if scan.next_is(b'}') {
            return Ok(Self::default());
        }
        loop {
            let name = unquoted(scan.value()?)?;
            scan.expect(b':')?;
            let value = Node::text(scan.value()?);
            all.push(Some(Member { name, value, taken: false }));
            if scan.next_is(b'}') {
                break;
            }
            scan.expect(b',')?;
        }
        let mut members = Self { all, places: None };
        members.no_name_twice()?;
        Ok(members)
    }

    fn no_name_twice(&mut self) -> Result<(), Flaw> {
        let twice = |name: &str| Err(Flaw::Twice(name.chars().take(64).collect()));
        if self.all.len() > FEW {
            return self.index().or_else(|name| twice(&name));
        }
        for (index, it) in self.iter().enumerate() {
            if self.iter().take(index).any(|before| before.name == it.name) {
                return twice(&it.name);
            }
        }
        Ok(())
    }

    /// Makes the index; an error is a name that comes twice.
    fn index(&mut self) -> Result<(), Cow<'a, str>> {
        let mut places = HashMap::with_capacity(self.all.len());
        for (at, it) in self.all.iter().enumerate() {
            let Some(it) = it else { continue };
            match places.entry(it.name.clone()) {
                Entry::Vacant(place) => drop(place.insert(at)),
                Entry::Occupied(place) => return Err(place.key().clone()),
            }
        }
        self.places = Some(Box::new(places));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member<'a>> {
        self.all.iter_mut().flatten()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn place(&self, name: &str) -> Option<usize> {
        #[cfg(test)]
        super::effort::spend(if self.places.is_some() { 1 } else { self.all.len() });
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.all.iter().position(|it| it.as_ref().is_some_and(|it| it.name == name)),
        }
    }

    pub fn find(&self, name: &str) -> Option<&Member<'a>> {
        self.all.get(self.place(name)?)?.as_ref()
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Member<'a>> {
        let place = self.place(name)?;
        self.all.get_mut(place)?.as_mut()
    }

    /// Sets a member, in its old place where it has one.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: Node<'a>) {
        let name = name.into();
        if let Some(member) = self.find_mut(&name) {
            member.value = value;
            return;
        }
        if let Some(places) = &mut self.places {
            places.insert(name.clone(), self.all.len());
        }
        self.all.push(Some(Member { name, value, taken: false }));
        if self.places.is_none() && self.all.len() > FEW {
            let _ = self.index(); // no name is there twice
        }
    }

    pub fn remove(&mut self, name: &str) {
        let place = self.place(name);
        if let Some(it) = place.and_then(|it| self.all.get_mut(it)) {
            *it = None;
        }
        if let Some(places) = &mut self.places {
            places.remove(name);
        }
    }

    /// The member at a path, opening objects on the way.
    pub fn at(&mut self, path: &[&str]) -> Result<Option<&mut Member<'a>>, Flaw> {
        let Some((name, rest)) = path.split_first() else { return Ok(None) };
        let Some(member) = self.find_mut(name) else { return Ok(None) };
        if rest.is_empty() {
            return Ok(Some(member));
        }
        match member.value.open()? {
            Some(inner) => inner.at(rest),
            None => Ok(None),
        }
    }

    /// Puts a value at a path, making objects on the way; whether there was room for it.
    pub fn put(&mut self, path: &[&'a str], value: Node<'a>) -> Result<bool, Flaw> {
        let Some((name, rest)) = path.split_first() else { return Ok(false) };
        if rest.is_empty() {
            let free = self.find(name).is_none();
            if free {
                self.set(*name, value);
            }
            return Ok(free);
        }
        if self.find(name).is_none() {
            self.set(*name, Node::Object(Members::default()));
        }
        match self.find_mut(name).map(|it| it.value.open()).transpose()?.flatten() {
            Some(inner) => inner.put(rest, value),
            None => Ok(false),
        }
    }

    pub fn write(&self, out: &mut String) {
        out.push('{');
        for (index, it) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            quote(&it.name, out);
            out.push(':');
            it.value.write(out);
        }
        out.push('}');
    }

    fn into_owned(self) -> Members<'static> {
        let owned = |it: Member<'a>| Member {
            name: Cow::Owned(it.name.into_owned()),
            value: it.value.into_owned(),
            taken: it.taken,
        };
        let all = self.all.into_iter().map(|it| it.map(owned)).collect();
        let places = self.places.map(|it| {
            let owned = it.into_iter().map(|(name, at)| (Cow::Owned(name.into_owned()), at));
            Box::new(owned.collect())
        });
        Members { all, places }
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = Member<'a>;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Option<Member<'a>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter().flatten()
    }
}

/// A string's content, if the text is a string.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    text.starts_with('"').then(|| unquoted(text).ok()).flatten()
}

/// Appends a string as JSON writes it.
pub fn quote(content: &str, out: &mut String) {
    let plain = content.bytes().all(|it| it >= 0x20 && it != b'"' && it != b'\\');
    if plain {
        out.push('"');
        out.push_str(content);
        out.push('"');
    } else {
        out.push_str(&Value::from(content).to_string());
    }
}

/// The whole value; null for what is nested too deeply to be one.
pub fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn unquoted(text: &str) -> Result<Cow<'_, str>, Flaw> {
    let inner = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).ok_or(Flaw::Syntax)?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).map(Cow::Owned).map_err(|_| Flaw::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_opened_stays_as_it_was_written() {
        let text = r#"{ "a" : 1.0e0, "b":[ {"x":"]}\\\""} ] ,"c":null,"d":{"e":{}}}"#;
        let mut members = Members::parse(text).unwrap();
        members.at(&["d", "e"]).unwrap().unwrap().value = Node::text("7");
        let mut out = String::new();
        members.write(&mut out);
        assert_eq!(out, r#"{"a":1.0e0,"b":[ {"x":"]}\\\""} ],"c":null,"d":{"e":7}}"#);
    }

    #[test]
    fn a_name_that_comes_twice_is_told() {
        let two = Members::parse(r#"{"spec":1,"\u0073pec":2}"#).unwrap_err();
        assert_eq!(two, Flaw::Twice("spec".into()), "also when it is written otherwise");
        let many: Vec<String> = (0..1000).map(|it| format!(r#""k{}":0"#, it % 999)).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(Members::parse(&many).unwrap_err(), Flaw::Twice("k0".into()));
    }

    #[test]
    fn what_is_no_json_is_an_error_and_no_panic() {
        let whole = r#"{"a":{"b":["c\"",1]},"d":"e"}"#;
        for cut in 0..whole.len() {
            assert!(Members::parse(&whole[..cut]).is_err(), "{}", &whole[..cut]);
        }
        for text in ["", "{", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "[1]", "\"\\"] {
            assert!(Members::parse(text).is_err(), "{text}");
        }
    }
}
