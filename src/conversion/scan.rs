//! Finds the seams of JSON text, without a look at what is between them.

use super::json::Flaw;

/// How deeply objects and lists are nested.
pub fn depth(text: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    outside_strings(text, |byte| match byte {
        b'{' | b'[' => {
            open += 1;
            most = most.max(open);
        }
        b'}' | b']' => open = open.saturating_sub(1),
        _ => {}
    });
    most
}

/// How many members all objects in it have together.
pub fn members(text: &[u8]) -> usize {
    let mut count = 0;
    outside_strings(text, |byte| count += usize::from(byte == b':'));
    count
}

/// Shows each byte that is in no string, and of a string the mark that begins it. One that does not end is the last.
pub fn outside_strings(text: &[u8], mut see: impl FnMut(u8)) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        see(*byte);
        at = match byte {
            b'"' => string_end(text, at).unwrap_or(text.len()),
            _ => at + 1,
        };
    }
}

/// The value of an object's member, found without a list of the others; none where its name is written with escapes.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut scan = Scan::of(object);
    scan.expect(b'{').ok()?;
    loop {
        let found = scan.value().ok()?;
        scan.expect(b':').ok()?;
        let value = scan.value().ok()?;
        if found.strip_prefix('"')?.strip_suffix('"') == Some(name) {
            return Some(value);
        }
        scan.expect(b',').ok()?;
    }
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
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// At its beginning.
    pub const fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    pub fn next_is(&mut self, want: u8) -> bool {
        let is = self.peek() == Some(want);
        self.at += usize::from(is);
        is
    }

    pub fn expect(&mut self, want: u8) -> Result<(), Flaw> {
        if self.next_is(want) { Ok(()) } else { Err(Flaw::Syntax) }
    }

    /// The text of the value that comes next.
    pub fn value(&mut self) -> Result<&'a str, Flaw> {
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
    fn depth_does_not_count_what_is_in_strings() {
        assert_eq!(depth(br#"{"a":"[[[","b":[{}]}"#), 3);
        assert_eq!(depth("[".repeat(100_000).as_bytes()), 100_000);
    }

    #[test]
    fn members_are_counted_and_found_without_a_list_of_them() {
        let text = r#"{"a":"x:y","b":[{"c":1}], "d" : {"e":{}},"a":2}"#;
        assert_eq!(members(text.as_bytes()), 6);
        assert_eq!(member(text, "a"), Some(r#""x:y""#), "the first of two");
        assert_eq!(member(text, "d"), Some(r#"{"e":{}}"#));
        assert_eq!(member(text, "c"), None, "further down");
        for text in ["", "{}", "[1]", "{1:2}", r#"{"a"}"#, r#"{"b":}"#] {
            assert_eq!(member(text, "a"), None, "{text}");
        }
    }
}
