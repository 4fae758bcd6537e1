//! Looks among the files that the agent changed for pointers of Git LFS: the contents of such a file are elsewhere, and are
//! not pushed. What makes git leave a pointer may stand in the tree's attributes, or in a place of the agent's own that no
//! commit holds; so the files themselves are looked into, and of those only the small ones.

use std::{
    fs::File,
    io::{Seek, Write},
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{contents::unknown, git::Git, problem::Problem};
use crate::domain::verdict::reason;

/// One question to git takes at most this long.
const LIMIT: Duration = Duration::from_secs(300);
/// How a pointer begins, how its second line does, and its largest size, in bytes.
const FIRST: &[u8] = b"version https://git-lfs.github.com/spec/";
const SECOND: &[u8] = b"\noid sha256:";
const MAX_POINTER: usize = 1024;
/// Objects asked for at once: the answers must fit into what is kept of an output.
const SIZES: usize = 20_000;
const FILES: usize = 2_000;

/// Fails where a file that was changed since `base` is only a pointer. Of more than 40,000 changed files some are taken on
/// trust.
pub async fn none(
    git: &Git,
    base: &str,
    commit: &str,
    otherwise: &'static str,
) -> Result<(), Problem> {
    let look = Look { git, otherwise };
    let mut small = Vec::new();
    for ids in look.changed(base, commit).await?.chunks(SIZES) {
        small.extend(look.small(ids).await?);
    }
    for ids in small.chunks(FILES) {
        let Some(id) = look.pointer(ids).await? else { continue };
        let path = look.path(commit, &id).await?;
        let message = format!(
            "{path} is only a pointer of Git LFS, which a Polecat neither fetches nor pushes; commit the file itself"
        );
        return Err(Problem::new(reason::LFS_UNSUPPORTED, message));
    }
    Ok(())
}

struct Look<'a> {
    git: &'a Git,
    otherwise: &'static str,
}

impl Look<'_> {
    /// The plain files that are new or other than they were, by their ids.
    async fn changed(&self, base: &str, commit: &str) -> Result<Vec<String>, Problem> {
        let arguments =
            ["diff-tree", "-r", "-z", "--no-renames", "--diff-filter=d", base, commit, "--"];
        // `:old-mode new-mode old-id new-id status`, and the path in a record of its own.
        let is_file =
            |it: &[u8]| it.starts_with(b":") && it.get(8..11).is_some_and(|it| it == b"100");
        let output = self.git.select(is_file, &arguments, LIMIT).await?;
        if !output.is_success() {
            return Err(unknown("look for Git LFS", &output, self.otherwise));
        }
        let id = |record: &str| record.split(' ').nth(3).map(ToOwned::to_owned);
        Ok(output.text().split('\0').filter_map(id).collect())
    }

    /// Those of them that are small enough.
    async fn small(&self, ids: &[String]) -> Result<Vec<String>, Problem> {
        let question = "--batch-check=%(objectsize) %(objectname)";
        let answer = self.ask(question, ids).await?;
        let text = String::from_utf8_lossy(&answer);
        let small = |line: &str| {
            let (size, id) = line.split_once(' ')?;
            size.parse().is_ok_and(|it: usize| it < MAX_POINTER).then(|| id.to_owned())
        };
        Ok(text.lines().filter_map(small).collect())
    }

    /// The first that is a pointer.
    async fn pointer(&self, ids: &[String]) -> Result<Option<String>, Problem> {
        let answer = self.ask("--batch", ids).await?;
        let mut rest = answer.as_slice();
        while let Some(end) = rest.iter().position(|it| *it == b'\n') {
            let head = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            let mut words = head.split(' ');
            let (id, size) = (words.next(), words.nth(1).and_then(|it| it.parse::<usize>().ok()));
            let (Some(id), Some(size)) = (id, size) else { break };
            let from = end + 1;
            let text = rest.get(from..from + size).unwrap_or_default();
            if text.starts_with(FIRST) && text.windows(SECOND.len()).any(|it| it == SECOND) {
                return Ok(Some(id.to_owned()));
            }
            rest = rest.get(from + size + 1..).unwrap_or_default();
        }
        Ok(None)
    }

    async fn path(&self, commit: &str, id: &str) -> Result<String, Problem> {
        let arguments = ["ls-tree", "-r", "-z", "--full-tree", commit];
        let is = |it: &[u8]| it.windows(id.len()).any(|it| it == id.as_bytes());
        let output = self.git.select(is, &arguments, LIMIT).await?;
        let text = output.text();
        let record = text.split('\0').next().unwrap_or_default();
        Ok(record.split_once('\t').map_or(id, |(_, path)| path).to_owned())
    }

    /// What git knows of these objects.
    async fn ask(&self, question: &str, ids: &[String]) -> Result<Vec<u8>, Problem> {
        let list = list(ids).map_err(|it| Problem::volume("list files in", "memory", &it))?;
        let output = self.git.run_on(list, &["cat-file", question], LIMIT).await?;
        if !output.is_success() {
            return Err(unknown("look for Git LFS", &output, self.otherwise));
        }
        Ok(output.stdout)
    }
}

fn list(ids: &[String]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("files", MemfdFlags::CLOEXEC)?);
    for id in ids {
        writeln!(file, "{id}")?;
    }
    file.rewind()?;
    Ok(file)
}
