//! Reads the head of a git bundle by ourselves: a few references, plain objects, known prerequisites,
//! bounded lines. What git would accept beside that (filters, references without end) is refused.

use std::io::{self, BufRead, Read};

use super::remote::is_commit;

/// Longest line of a head, and most prerequisites.
const MAX_LINE: u64 = 4096;
const MAX_PREREQUISITES: usize = 10_000;
/// Most references: of what the agent committed beside the work branch. For that one there is one.
pub const MAX_REFERENCES: usize = 8;

/// What a bundle hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub commit: String,
    /// What the agent's side calls it: any text of at most a line.
    pub name: String,
}

/// The head of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is handed over: at least one.
    pub references: Vec<Reference>,
    /// Where the pack begins, in bytes.
    pub length: u64,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it does not begin as a git bundle of version 2 or 3")]
    Signature,
    #[error("a line of its head is longer than {MAX_LINE} bytes or has no end")]
    Line,
    #[error("it asks for the capability {0}, which is not taken")]
    Capability(String),
    #[error("its head holds a line that is neither a prerequisite nor a reference")]
    Form,
    #[error("it names more than {MAX_PREREQUISITES} prerequisites")]
    Prerequisites,
    #[error("it must hold a reference, and at most {0}")]
    References(usize),
}

/// Reads the head, of `most` references at most, and stops where the pack begins.
pub fn read(mut from: impl BufRead, most: usize) -> Result<Head, Refusal> {
    let mut length = 0;
    let mut next = |length: &mut u64| line(&mut from, length);
    let version = match next(&mut length)?.as_slice() {
        b"# v2 git bundle" => 2,
        b"# v3 git bundle" => 3,
        _ => return Err(Refusal::Signature),
    };
    let mut references = Vec::new();
    let mut prerequisites = 0;
    loop {
        let line = next(&mut length)?;
        match line.split_first() {
            None => break,
            Some((b'@', capability)) if version == 3 => known(capability)?,
            Some((b'-', rest)) => {
                let id = rest.split(|it| *it == b' ').next().unwrap_or_default();
                id_of(id)?;
                prerequisites += 1;
                if prerequisites > MAX_PREREQUISITES {
                    return Err(Refusal::Prerequisites);
                }
            }
            Some(_) if references.len() == most => return Err(Refusal::References(most)),
            Some(_) => references.push(reference(&line)?),
        }
    }
    if references.is_empty() {
        return Err(Refusal::References(most));
    }
    Ok(Head { references, length })
}

fn reference(line: &[u8]) -> Result<Reference, Refusal> {
    let mut parts = line.splitn(2, |it| *it == b' ');
    let commit = id_of(parts.next().unwrap_or_default())?;
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    Ok(Reference { commit, name })
}

/// A partial bundle, as a filter makes it, would leave us with commits that can't be pushed.
fn known(capability: &[u8]) -> Result<(), Refusal> {
    match capability {
        b"object-format=sha1" | b"object-format=sha256" => Ok(()),
        other => Err(Refusal::Capability(String::from_utf8_lossy(other).into_owned())),
    }
}

fn id_of(bytes: &[u8]) -> Result<String, Refusal> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|it| is_commit(it))
        .map(str::to_owned)
        .ok_or(Refusal::Form)
}

fn line(from: &mut impl BufRead, length: &mut u64) -> Result<Vec<u8>, Refusal> {
    let mut line = Vec::new();
    *length += from.take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
    if line.pop() == Some(b'\n') { Ok(line) } else { Err(Refusal::Line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn heads_that_git_writes() {
        let text = format!("# v2 git bundle\n-{A} a subject: \u{e9}\n-{A}\n{A} HEAD\n\nPACK");
        let head = read(text.as_bytes(), 1).unwrap();
        assert_eq!(head.references, [Reference { commit: A.into(), name: "HEAD".into() }]);
        assert_eq!(text.get(usize::try_from(head.length).unwrap()..), Some("PACK"));
        let text = format!("# v3 git bundle\n@object-format=sha1\n{A} HEAD\n\n");
        assert!(read(text.as_bytes(), 1).is_ok());
        let text = format!("# v2 git bundle\n{A} refs/heads/mine\n{A} worktrees/w/HEAD\n\n");
        assert!(read(text.as_bytes(), 1).is_err(), "more than were asked for");
        let references = read(text.as_bytes(), 2).unwrap().references;
        let names: Vec<_> = references.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/mine", "worktrees/w/HEAD"]);
    }

    #[test]
    fn forged_heads() {
        let one = format!("{A} HEAD\n");
        let table = [
            (String::new(), "nothing"),
            ("#!/bin/sh\n".to_owned(), "a program"),
            ("# v4 git bundle\n\n".to_owned(), "a version that we don't know"),
            (format!("# v2 git bundle\n{one}"), "no end"),
            ("# v2 git bundle\n\n".to_owned(), "no reference"),
            (
                format!("# v2 git bundle\n{}\n", one.repeat(MAX_REFERENCES + 1)),
                "too many references",
            ),
            ("# v2 git bundle\nabc HEAD\n\n".to_owned(), "no commit"),
            (format!("# v2 git bundle\n--upload-pack\n{one}\n"), "no prerequisite"),
            (format!("# v3 git bundle\n@filter=blob:none\n{one}\n"), "a partial bundle"),
            (format!("# v2 git bundle\n@object-format=sha1\n{one}\n"), "a capability in version 2"),
            (
                format!("# v2 git bundle\n-{A} {}\n{one}\n", "x".repeat(5000)),
                "a line that is too long",
            ),
            (
                format!(
                    "# v2 git bundle\n{}{one}\n",
                    format!("-{A}\n").repeat(MAX_PREREQUISITES + 1)
                ),
                "too many",
            ),
        ];
        for (text, because) in table {
            assert!(read(text.as_bytes(), MAX_REFERENCES).is_err(), "{because}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut text = b"# v2 git bundle\n".to_vec();
            text.extend(&bytes);
            let _either = (read(bytes.as_slice(), 1), read(text.as_slice(), 8));
        }
    }
}
