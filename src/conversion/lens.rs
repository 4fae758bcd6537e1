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
    /// A duration as Go writes it, such as `1m30s` or `1.5h`, as a whole number of seconds, rounded up; back in the one unit
    /// that people would write, such as `5m` or `90s`.
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

/// A Go duration as whole seconds, what is left of one counted as one, so that no time becomes none; if those fit into what a field of
/// seconds is.
fn seconds(text: &str) -> Option<i32> {
    if text == "0" {
        return Some(0); // the one that Go takes without a unit
    }
    let (mut rest, mut total) = (text, 0_u128);
    loop {
        let length = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, unit) = rest.split_at(length);
        let (each, after) =
            UNITS.iter().find_map(|(name, each)| Some((*each, unit.strip_prefix(name)?)))?;
        total = total.checked_add(nanoseconds(number, each)?)?;
        if after.is_empty() {
            return i32::try_from(total.div_ceil(SECOND)).ok();
        }
        rest = after;
    }
}

const SECOND: u128 = 1_000_000_000;
/// Go's units, in nanoseconds; a longer name before one that it begins with.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1000),
    ("µs", 1000),
    ("μs", 1000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// A number such as `1.5` of a unit; as in Go, digits may be missing on one side of the point, and what is below a nanosecond is not counted.
fn nanoseconds(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut parts, mut of) = (0, 1);
    for digit in fraction.bytes().take(18) {
        parts = parts * 10 + u128::from(digit - b'0');
        of *= 10;
    }
    u128::from(whole).checked_mul(unit)?.checked_add(parts * unit / of)
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
            (Lens::Seconds, r#""1500ms""#, Some("2"), Some(r#""2s""#), "not whole"),
            (Lens::Seconds, r#""1.5h""#, Some("5400"), Some(r#""90m""#), "a fraction"),
            (Lens::Seconds, r#""1ns""#, Some("1"), Some(r#""1s""#), "next to nothing"),
            (Lens::Seconds, r#"".5m5.s1µs""#, Some("36"), Some(r#""36s""#), "as Go reads it"),
            (Lens::Seconds, r#""0""#, Some("0"), Some(r#""0s""#), "none, without a unit"),
            (Lens::Seconds, r#""90""#, None, None, "no unit"),
            (Lens::Seconds, r#"".s""#, None, None, "a point alone"),
            (Lens::Seconds, r#""1.2.3s""#, None, None, "two points"),
            (Lens::Seconds, r#""-5m""#, None, None, "less than none"),
            (Lens::Seconds, r#""1h ""#, None, None, "something behind it"),
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
