//! How many tokens an agent says it used: agents that print JSON say so in their last line. Untrusted,
//! and used for nothing but the report.

use serde::Deserialize;

/// Longer lines are no reports.
const MAX_LINE: usize = 256 * 1024;

/// The last line of a stream, however the stream was cut into chunks.
#[derive(Debug, Default)]
pub struct LastLine {
    ended: Vec<u8>,
    open: Vec<u8>,
    too_long: bool,
}

impl LastLine {
    pub fn push(&mut self, chunk: &[u8]) {
        let mut parts = chunk.split(|it| *it == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.too_long |= self.open.len() + part.len() > MAX_LINE;
            if !self.too_long {
                self.open.extend_from_slice(part);
            }
            if parts.peek().is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.too_long && !self.open.trim_ascii().is_empty() {
            std::mem::swap(&mut self.ended, &mut self.open);
        }
        self.open.clear();
        self.too_long = false;
    }

    pub fn into_text(mut self) -> Option<String> {
        self.end_line();
        String::from_utf8(self.ended).ok().filter(|it| !it.is_empty())
    }
}

#[derive(Deserialize)]
struct Report {
    usage: Usage,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
}

/// Input and output tokens together, where the line is a JSON object with `usage`.
pub fn reported(line: &str) -> Option<u64> {
    let report: Report = serde_json::from_str(line).ok()?;
    report.usage.input_tokens.checked_add(report.usage.output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_counts_as_a_report() {
        let table = [
            (
                r#"{"type":"result","usage":{"input_tokens":1200,"output_tokens":34,"other":1}}"#,
                Some(1234),
                "a report",
            ),
            (r#"{"usage":{"input_tokens":-1,"output_tokens":3}}"#, None, "not a number of tokens"),
            (
                r#"{"usage":{"input_tokens":18446744073709551615,"output_tokens":1}}"#,
                None,
                "more than a number holds",
            ),
            (r#"{"type":"result"}"#, None, "no usage"),
            ("done", None, "words"),
        ];
        for (line, want, because) in table {
            assert_eq!(reported(line), want, "{because}");
        }
    }

    #[test]
    fn a_line_without_end_is_forgotten() {
        let mut last = LastLine::default();
        last.push(b"short\n");
        for _ in 0..100 {
            last.push(&[b'x'; 8192]);
        }
        assert!(last.open.len() <= MAX_LINE);
        assert_eq!(last.into_text().as_deref(), Some("short"));
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[a-c\n]{0,40}", size in 1_usize..10) {
            let mut last = LastLine::default();
            text.as_bytes().chunks(size).for_each(|it| last.push(it));
            let want = text.lines().rfind(|it| !it.is_empty());
            let got = last.into_text();
            prop_assert_eq!(got.as_deref(), want);
        }
    }
}
