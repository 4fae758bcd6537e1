//! JSON read no further than needed. A value stays the text that came in until somebody has to look inside, and what
//! nobody looked into goes out as the same bytes: that is why unknown fields, nulls and odd numbers survive.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

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

/// An object's members in the order in which they were written; no name twice.
#[derive(Clone, Debug, Default)]
pub struct Members<'a>(pub Vec<Member<'a>>);

/// Why an object cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("it is no valid JSON")]
    Syntax,
    #[error("it has the field {0:?} twice")]
    Twice(String),
}

/// Objects of more members than this are searched by sorting, or by an index.
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
        value(&self.to_text()) == value(&other.to_text())
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
        let mut scan = Scan { text, at: 0 };
        scan.expect(b'{')?;
        let mut members = Vec::new();
        if scan.next_is(b'}') {
            return Ok(Self(members));
        }
        loop {
            let name = unquoted(scan.value()?)?;
            scan.expect(b':')?;
            let value = Node::text(scan.value()?);
            members.push(Member { name, value, taken: false });
            if scan.next_is(b'}') {
                break;
            }
            scan.expect(b',')?;
        }
        let members = Self(members);
        members.no_name_twice()?;
        Ok(members)
    }

    fn no_name_twice(&self) -> Result<(), Flaw> {
        let twice = |name: &str| Err(Flaw::Twice(name.chars().take(64).collect()));
        if self.0.len() <= FEW {
            for (index, it) in self.0.iter().enumerate() {
                if self.0.iter().take(index).any(|before| before.name == it.name) {
                    return twice(&it.name);
                }
            }
            return Ok(());
        }
        let mut names: Vec<&str> = self.0.iter().map(|it| &*it.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => twice(pair.first().copied().unwrap_or_default()),
            None => Ok(()),
        }
    }

    pub fn find(&self, name: &str) -> Option<&Member<'a>> {
        self.0.iter().find(|it| it.name == name)
    }

    /// Where each name is; none where there are so few that looking through them is quicker.
    pub fn places(&self) -> Option<HashMap<String, usize>> {
        let all = || self.0.iter().enumerate().map(|(at, it)| (it.name.clone().into_owned(), at));
        (self.0.len() > FEW).then(|| all().collect())
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Member<'a>> {
        self.0.iter_mut().find(|it| it.name == name)
    }

    /// Sets a member, in its old place where it has one.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: Node<'a>) {
        let name = name.into();
        match self.find_mut(&name) {
            Some(member) => member.value = value,
            None => self.0.push(Member { name, value, taken: false }),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|it| it.name != name);
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
        for (index, it) in self.0.iter().enumerate() {
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
        Members(self.0.into_iter().map(owned).collect())
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

/// How deeply objects and lists are nested.
pub fn depth(text: &[u8]) -> usize {
    let (mut at, mut open, mut most) = (0, 0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => match string_end(text, at) {
                Some(end) => at = end - 1,
                None => break,
            },
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    most
}

/// The place after a string that begins here.
fn string_end(text: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        let rest = text.get(at..)?;
        let found = memchr::memchr2(b'"', b'\\', rest)?;
        if rest.get(found) == Some(&b'"') {
            return Some(at + found + 1);
        }
        at += found + 2;
    }
}

/// Where we are in a text. It has been through a parser before, so this only has to find the seams; on anything else it
/// ends in an error or nonsense, never in a panic.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn next_is(&mut self, want: u8) -> bool {
        let is = self.peek() == Some(want);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, want: u8) -> Result<(), Flaw> {
        if self.next_is(want) { Ok(()) } else { Err(Flaw::Syntax) }
    }

    /// The text of the value that comes next.
    fn value(&mut self) -> Result<&'a str, Flaw> {
        let first = self.peek().ok_or(Flaw::Syntax)?;
        let begin = self.at;
        let end = match first {
            b'"' => string_end(self.text.as_bytes(), begin),
            b'{' | b'[' => self.closing(begin),
            _ => self.text.as_bytes().get(begin..).map(|rest| {
                let ends =
                    |it: &u8| matches!(it, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r');
                begin + rest.iter().position(ends).unwrap_or(rest.len())
            }),
        };
        let end = end.ok_or(Flaw::Syntax)?;
        self.at = end;
        self.text.get(begin..end).filter(|it| !it.is_empty()).ok_or(Flaw::Syntax)
    }

    fn closing(&self, begin: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let (mut at, mut open) = (begin, 0_usize);
        loop {
            match bytes.get(at)? {
                b'"' => {
                    at = string_end(bytes, at)?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open = open.checked_sub(1)?;
                    if open == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
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

    #[test]
    fn depth_does_not_count_what_is_in_strings() {
        assert_eq!(depth(br#"{"a":"[[[","b":[{}]}"#), 3);
        assert_eq!(depth("[".repeat(100_000).as_bytes()), 100_000);
    }
}
