//! Text that somebody else wrote, made fit for a log line, a status or a termination message: credentials
//! taken out, control characters escaped, cut by bytes. Never decides anything by such text.

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands where a credential stood.
pub const REMOVED: &str = "[removed]";

/// How the tokens of well-known services begin.
const TOKEN_PREFIXES: [&str; 26] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glptt-",
    "glcbt-",
    "pypi-",
    "dckr_pat_",
    "AIza",
    "ya29.",
    "SG.",
    "sk_live_",
    "sk-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "ATBB",
    "ATCTT",
    "eyJ",
];
/// Shorter words are no tokens, whatever they begin with.
const MIN_TOKEN: usize = 16;
/// Shorter secrets would take innocent words out of a message.
const MIN_SECRET: usize = 6;
/// Marks a text that was cut.
const CUT: char = '…';

/// Control characters, and those that make a line read otherwise than it is written.
pub fn is_deceptive(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with every deceptive character written as an escape.
pub fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for it in text.chars() {
        if is_deceptive(it) {
            line.extend(it.escape_default());
        } else {
            line.push(it);
        }
    }
    line
}

/// The longest head of `text` of at most `max` bytes that ends between two characters.
pub fn head(text: &str, max: usize) -> &str {
    let ends = text.char_indices().map(|(at, it)| at + it.len_utf8());
    let end = ends.take_while(|it| *it <= max).last().unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// Escaped, and cut so that it takes at most `max` bytes inside a JSON string. `max` is at least 3.
pub fn fit(text: &str, max: usize) -> String {
    let line = escape(text);
    let cost = |it: char| if matches!(it, '"' | '\\') { 2 } else { it.len_utf8() };
    if line.chars().map(cost).sum::<usize>() <= max {
        return line;
    }
    let mut left = max.saturating_sub(CUT.len_utf8());
    let kept = |it: &char| {
        let fits = cost(*it) <= left;
        left = left.saturating_sub(cost(*it));
        fits
    };
    let mut short: String = line.chars().take_while(kept).collect();
    short.push(CUT);
    short
}

/// Takes credentials out of text: those it was told of, and what looks like one.
#[derive(Clone, Debug, Default)]
pub struct Scrubber {
    /// None: it was told of nothing.
    known: Option<AhoCorasick>,
}

impl Scrubber {
    /// `secrets` may span lines, as a private key does: every line of it is taken out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut lines: Vec<&str> = secrets
            .into_iter()
            .flat_map(|it| std::iter::once(it).chain(it.lines()))
            .map(str::trim)
            .filter(|it| it.len() >= MIN_SECRET && !it.starts_with("-----"))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        // The longest, so that no rest of one stays. It fails beyond some gigabytes of secrets alone.
        let mut search = AhoCorasick::builder();
        let built = search.match_kind(MatchKind::LeftmostLongest).build(&lines);
        Self { known: built.ok().filter(|_| !lines.is_empty()) }
    }

    /// The text without credentials.
    pub fn scrub(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        match &self.known {
            None => kept.push_str(text),
            Some(known) => known.replace_all_with(text, &mut kept, |_, _, to| {
                to.push_str(REMOVED);
                true
            }),
        }
        without_tokens(&without_userinfo(&without_keys(&kept)))
    }
}

/// Without the bodies of private keys in PEM form.
fn without_keys(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("-----BEGIN") {
        kept.push_str(before);
        kept.push_str(REMOVED);
        rest = from.split_once("-----END").map_or("", |(_, after)| {
            let line = after.trim_start_matches(|it: char| it.is_ascii_uppercase() || it == ' ');
            line.strip_prefix("-----").unwrap_or(line)
        });
    }
    kept.push_str(rest);
    kept
}

/// Without the credentials inside addresses: `https://name:password@host` keeps its host alone.
fn without_userinfo(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let authority = from
            .split(|it: char| it == '/' || it.is_whitespace() || it.is_control())
            .next()
            .unwrap_or("");
        rest = from;
        if let Some((user, _)) = authority.rsplit_once('@')
            && (user.contains(':') || user.len() >= MIN_TOKEN)
        {
            kept.push_str(REMOVED);
            rest = from.get(user.len()..).unwrap_or_default();
        }
    }
    kept.push_str(rest);
    kept
}

/// Without words that look like tokens of well-known services, and without what follows `Bearer` and `Basic`.
fn without_tokens(text: &str) -> String {
    let of_word =
        |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '+' | '/' | '=');
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_scheme = false;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(rest.find(|it| !of_word(it)).unwrap_or(rest.len()));
        let (before, token) = word.split_at(token_at(word).unwrap_or(word.len()));
        if after_scheme && word.len() >= MIN_SECRET {
            kept.push_str(REMOVED);
        } else {
            kept.push_str(before);
            kept.push_str(if token.is_empty() { "" } else { REMOVED });
        }
        if !word.is_empty() {
            after_scheme =
                word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        }
        let gap = tail.find(of_word).unwrap_or(tail.len());
        let (between, next) = tail.split_at(gap);
        kept.push_str(between);
        rest = next;
    }
    kept
}

/// Where a word is a token from: at its beginning, or after what separates a name from a value.
fn token_at(word: &str) -> Option<usize> {
    let starts = std::iter::once(0)
        .chain(word.match_indices(['=', '/', '+']).map(|(at, separator)| at + separator.len()));
    let is_token = |at: &usize| {
        let rest = word.get(*at..).unwrap_or_default();
        rest.len() >= MIN_TOKEN && TOKEN_PREFIXES.iter().any(|it| rest.starts_with(it))
    };
    starts.into_iter().find(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_leave_and_the_rest_stays() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAA\n\
                   -----END OPENSSH PRIVATE KEY-----\n";
        let scrubber = Scrubber::new([key, "hunter2-canary"]);
        let table = [
            ("pushed to main", "pushed to main", "nothing to hide"),
            ("password hunter2-canary.", "password [removed].", "a secret it was told of"),
            ("x b3BlbnNzaC1rZXktdjEAAAA y", "x [removed] y", "a line of the key alone"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY----- z",
                "[removed] z",
                "another key",
            ),
            ("cut -----BEGIN RSA PRIVATE KEY-----\nAAAA", "cut [removed]", "a key without its end"),
            (
                "https://bob:pw@example.com/x",
                "https://[removed]@example.com/x",
                "a password in an address",
            ),
            (
                "https://0123456789abcdef@example.com",
                "https://[removed]@example.com",
                "a token as a user",
            ),
            ("ssh://git@example.com/x", "ssh://git@example.com/x", "a plain user is no secret"),
            ("'ghp_0123456789abcdefABCDEF'", "'[removed]'", "a token's prefix"),
            (
                "GITHUB_TOKEN=ghp_0123456789abcdef now",
                "GITHUB_TOKEN=[removed] now",
                "a token behind its name",
            ),
            ("Authorization: Bearer abcdef123", "Authorization: Bearer [removed]", "a header"),
            ("sk-short", "sk-short", "too short for a token"),
        ];
        for (text, want, because) in table {
            assert_eq!(scrubber.scrub(text), want, "{because}");
        }
    }

    #[test]
    fn deceptive_characters_are_written_out() {
        assert_eq!(escape("a\nb\u{1b}[31m\u{202e}c"), "a\\nb\\u{1b}[31m\\u{202e}c");
        assert_eq!(head("aé", 2), "a");
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_fits(text in any::<String>(), max in 3_usize..200) {
            let json = serde_json::to_string(&fit(&text, max)).unwrap();
            prop_assert!(json.len() <= max + 2);
            prop_assert!(!fit(&text, max).chars().any(is_deceptive));
        }

        #[test]
        fn a_known_secret_never_stays(
            before in any::<String>(),
            after in any::<String>(),
            secret in "[a-zA-Z0-9]{12,40}",
        ) {
            let text = format!("{before}{secret}{after}");
            prop_assert!(!Scrubber::new([secret.as_str()]).scrub(&text).contains(&secret));
        }
    }
}
