//! For whom a run is and whose commits it makes, by annotations of its Polecat. They become the author and the trailers
//! of every commit.

use kube::core::ObjectMeta;

use crate::domain::{names, trace::Context, untrusted};

/// Longest name and address of an author, in bytes.
const MAX_AUTHOR: usize = 200;

/// What the annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Absent: the original's.
    pub author: Option<Author>,
    pub requested_by: Option<String>,
    /// Trace id, 32 hex digits.
    pub trace: Option<String>,
}

/// Who commits are by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub address: String,
}

impl Provenance {
    /// Reads the annotations; the error names the one that can't be read.
    pub fn of(meta: &ObjectMeta) -> Result<Self, String> {
        let text = |key: &str| {
            let found = meta.annotations.as_ref().and_then(|it| it.get(key));
            found.filter(|it| !it.is_empty()).cloned()
        };
        let named = |why| format!("metadata.annotations[{}]: {why}", names::COMMIT_AUTHOR);
        let author = text(names::COMMIT_AUTHOR).map(|it| Self::author(&it).map_err(named));
        let author = author.transpose()?;
        let trace = Context::of_annotations(meta.annotations.as_ref());
        let trace = trace.map(|it| it.trace.to_string());
        let requested_by = text(names::REQUESTED_BY).map(|it| untrusted::fit(&it, MAX_AUTHOR));
        Ok(Self { author, requested_by, trace })
    }

    /// `Name <address>`, as git has it.
    pub fn author(text: &str) -> Result<Author, String> {
        let refused = |it: char| untrusted::is_deceptive(it) || matches!(it, '<' | '>');
        let fits = |it: &str| !it.is_empty() && it.len() <= MAX_AUTHOR && !it.contains(refused);
        let parts = text.trim().strip_suffix('>').and_then(|it| it.split_once('<'));
        let (name, address) = parts.unwrap_or_default();
        let (name, address) = (name.trim(), address.trim());
        if fits(name) && fits(address) && address.contains('@') && !address.contains(' ') {
            return Ok(Author { name: name.to_owned(), address: address.to_owned() });
        }
        Err(format!(
            "must be one line such as \"Ada Lovelace <ada@example.com>\", each part of at most {MAX_AUTHOR} bytes"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Provenance, String> {
        let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Provenance::of(&ObjectMeta { annotations: Some(all.collect()), ..ObjectMeta::default() })
    }

    #[test]
    fn an_author_is_a_name_and_an_address() {
        let it = of(&[(names::COMMIT_AUTHOR, " Ada Lovelace <ada@example.com> ")]).unwrap();
        let author = it.author.unwrap();
        assert_eq!(
            (author.name.as_str(), author.address.as_str()),
            ("Ada Lovelace", "ada@example.com")
        );
        for bad in [
            "Ada",
            "<ada@example.com>",
            "Ada <ada>",
            "Ada <a@b> x",
            "A\nB <a@b>",
            "A <a@b <c@d>",
            "A <a @b>",
        ] {
            let why = of(&[(names::COMMIT_AUTHOR, bad)]).unwrap_err();
            assert!(why.contains("gastown.io/commit-author"), "{bad}: {why}");
        }
        assert!(of(&[(names::COMMIT_AUTHOR, &format!("{} <a@b>", "x".repeat(201)))]).is_err());
        assert_eq!(of(&[]).unwrap(), Provenance::default(), "nothing is said");
    }

    #[test]
    fn a_trace_is_read_or_left_out() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let table = [
            (format!("00-{trace}-b7ad6b7169203331-01"), Some(trace)),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None),
            (format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()), None),
            (trace.to_owned(), None),
            ("x\nTrace: forged".to_owned(), None),
        ];
        for (text, want) in table {
            let it = of(&[(names::TRACEPARENT, &text)]).unwrap();
            assert_eq!(it.trace.as_deref(), want, "{text}");
        }
    }
}
