//! How one value is said in the other version. A lens that loses something is no harm: what does not come back the same
//! rides in the annotation.

use std::collections::HashSet;

use super::json::{self, Members, Node};

/// How a value of v1alpha1 is said in v1beta1, and back.
#[derive(Clone, Copy, Debug)]
pub enum Lens {
    /// In the same way.
    Same,
    /// In the same way; an empty string counts as absent.
    Filled,
    /// In the same way; 0 counts as absent.
    Positive,
    /// In the same way; this value counts as absent, since both versions have it by default.
    Unless(&'static str),
    /// A string from a list of words: v1alpha1's first.
    Words(&'static [(&'static str, &'static str)]),
    /// A duration as Go writes it, such as `1m30s`, as a whole number of seconds; back in the one unit that people
    /// would write, such as `5m` or `90s`.
    Seconds,
    /// Each string of a list as an object with this one member; one that comes again counts once.
    Each(&'static str),
}

impl Lens {
    /// The value as v1beta1 says it; none, if it cannot.
    pub fn up<'a>(self, value: &Node<'a>) -> Option<Node<'a>> {
        match self {
            Self::Same => Some(value.clone()),
            Self::Filled => other_than("\"\"", value),
            Self::Positive => other_than("0", value),
            Self::Unless(usual) => other_than(usual, value),
            Self::Words(words) => {
                translate(value, |it| words.iter().find(|(old, _)| *old == it).map(|(_, new)| *new))
            }
            Self::Seconds => {
                seconds(&json::string(text(value)?)?).map(|it| Node::owned(it.to_string()))
            }
            Self::Each(name) => wrap(text(value)?, name).map(Node::owned),
        }
    }

    /// The value as v1alpha1 says it; none, if it cannot.
    pub fn down<'a>(self, value: &Node<'a>) -> Option<Node<'a>> {
        match self {
            Self::Same => Some(value.clone()),
            Self::Filled => other_than("\"\"", value),
            Self::Positive => other_than("0", value),
            Self::Unless(usual) => other_than(usual, value),
            Self::Words(words) => {
                translate(value, |it| words.iter().find(|(_, new)| *new == it).map(|(old, _)| *old))
            }
            Self::Seconds => text(value)?.parse::<u32>().ok().map(|it| Node::owned(duration(it))),
            Self::Each(name) => unwrap(text(value)?, name).map(Node::owned),
        }
    }
}

fn text<'n>(value: &'n Node<'_>) -> Option<&'n str> {
    match value {
        Node::Text(text) => Some(text),
        Node::Object(_) => None,
    }
}

fn other_than<'a>(word: &str, value: &Node<'a>) -> Option<Node<'a>> {
    (text(value) != Some(word)).then(|| value.clone())
}

fn translate<'a>(
    value: &Node<'a>,
    word: impl Fn(&str) -> Option<&'static str>,
) -> Option<Node<'a>> {
    let word = word(&json::string(text(value)?)?)?;
    let mut out = String::new();
    json::quote(word, &mut out);
    Some(Node::owned(out))
}

fn duration(seconds: u32) -> String {
    match seconds {
        1.. if seconds.is_multiple_of(3600) => format!("\"{}h\"", seconds / 3600),
        1.. if seconds.is_multiple_of(60) => format!("\"{}m\"", seconds / 60),
        _ => format!("\"{seconds}s\""),
    }
}

/// A Go duration as whole seconds, if those fit into what a field of seconds is; none for any other.
fn seconds(text: &str) -> Option<i32> {
    let mut rest = text;
    let mut total = 0_i32;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let number: i32 = number.parse().ok()?;
        let (each, length) = match unit.as_bytes() {
            [b'h', ..] => (3600, 1),
            [b'm', b's', ..] => return None,
            [b'm', ..] => (60, 1),
            [b's', ..] => (1, 1),
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(each)?)?;
        rest = unit.get(length..)?;
    }
    Some(total)
}

fn wrap(list: &str, name: &str) -> Option<String> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(list).ok()?;
    let mut seen = HashSet::with_capacity(items.len());
    let mut out = String::from("[");
    for it in &items {
        if !seen.insert(json::string(it.get())?) {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push('{');
        json::quote(name, &mut out);
        out.push(':');
        out.push_str(it.get());
        out.push('}');
    }
    out.push(']');
    Some(out)
}

fn unwrap(list: &str, name: &str) -> Option<String> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(list).ok()?;
    let mut out = String::from("[");
    for (index, it) in items.iter().enumerate() {
        let members = Members::parse(it.get()).ok()?;
        let content = members.find(name)?;
        if index > 0 {
            out.push(',');
        }
        content.value.write(&mut out);
    }
    out.push(']');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(lens: Lens, value: &str) -> (Option<String>, Option<String>) {
        let up = lens.up(&Node::text(value));
        let down = up.as_ref().and_then(|it| lens.down(it)).map(|it| it.to_text());
        (up.map(|it| it.to_text()), down)
    }

    #[test]
    fn values_are_said_in_the_other_version() {
        let words = Lens::Words(&[("yes", "Strict")]);
        let table = [
            (Lens::Seconds, r#""1h1m30s""#, Some("3690"), Some(r#""3690s""#), "a duration"),
            (Lens::Seconds, r#""30s""#, Some("30"), Some(r#""30s""#), "the usual one"),
            (Lens::Seconds, r#""1500ms""#, None, None, "not whole"),
            (Lens::Seconds, r#""1.5h""#, None, None, "a fraction"),
            (Lens::Seconds, r#""s""#, None, None, "no number"),
            (Lens::Seconds, r#""2147483648s""#, None, None, "too large for a field"),
            (Lens::Seconds, r#""5m""#, Some("300"), Some(r#""5m""#), "minutes"),
            (Lens::Seconds, r#""48h""#, Some("172800"), Some(r#""48h""#), "hours"),
            (Lens::Seconds, r#""0s""#, Some("0"), Some(r#""0s""#), "none"),
            (Lens::Seconds, "30", None, None, "no string"),
            (words, r#""yes""#, Some(r#""Strict""#), Some(r#""yes""#), "a word"),
            (words, r#""no""#, None, None, "no word"),
            (Lens::Filled, r#""""#, None, None, "empty"),
            (Lens::Unless("8"), "8", None, None, "the usual one"),
            (Lens::Unless("8"), "9", Some("9"), Some("9"), "another one"),
            (
                Lens::Each("id"),
                r#"["a","b"]"#,
                Some(r#"[{"id":"a"},{"id":"b"}]"#),
                Some(r#"["a","b"]"#),
                "a list",
            ),
            (
                Lens::Each("id"),
                r#"["a","b","\u0061"]"#,
                Some(r#"[{"id":"a"},{"id":"b"}]"#),
                Some(r#"["a","b"]"#),
                "one that comes again, written otherwise",
            ),
            (Lens::Positive, "0", None, None, "no limit"),
            (Lens::Positive, "3", Some("3"), Some("3"), "a limit"),
            (Lens::Each("id"), r#"["a",1]"#, None, None, "not all strings"),
            (Lens::Same, "null", Some("null"), Some("null"), "anything"),
        ];
        for (lens, value, up, down, because) in table {
            let (got_up, got_down) = both(lens, value);
            assert_eq!((got_up.as_deref(), got_down.as_deref()), (up, down), "{because}: {value}");
        }
    }
}
