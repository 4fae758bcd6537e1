//! Signs the commits that are about to be pushed with the ssh key that only `telemetry` holds: each is
//! written anew with the same tree, author, dates and message. Never touches the base, what came before it, or what
//! the remote has already.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    credentials, diagnosis, files, git::Git, paths::Paths, problem::Problem, process, ssh,
};
use crate::domain::{layout, untrusted::Scrubber, verdict::reason};

/// Files in our own home.
const KEY: &str = "signing-key";
const DRAFT: &str = "commit-draft";
/// More commits than a person would look at are not signed one by one.
const MAX_COMMITS: usize = 1000;
/// Larger commits are refused, which keeps their bytes whole.
const MAX_COMMIT: usize = 1024 * 1024;
const STEP: Duration = Duration::from_secs(60);

/// Holds the key.
pub struct Signer {
    git: Git,
    key: String,
    draft: String,
    folder: String,
    scrubber: Scrubber,
    /// What is signed, by its old name: one commit in two histories stays one.
    renamed: BTreeMap<String, String>,
}

impl Signer {
    /// Nothing where the git Secret has no key to sign with.
    pub fn prepare(paths: &Paths, git: Git) -> Result<Option<Self>, Problem> {
        let Some(private) = credentials::signing_key(paths)? else { return Ok(None) };
        let (folder, key) = (paths.own(""), paths.own(KEY));
        let laid = files::private_folder(&folder)
            .and_then(|()| files::write(&key, private.as_bytes(), 0o600));
        laid.map_err(|it| Problem::volume("write", &key, &it))?;
        let scrubber = Scrubber::new([private.as_str()]);
        let (draft, renamed) = (paths.own(DRAFT), BTreeMap::new());
        Ok(Some(Self { git, key, draft, folder, scrubber, renamed }))
    }

    /// Signs every commit up to `tip` that none of `others` contains, and answers with the new tip: the old one where it is
    /// among them. What of the others is not here is not in that history either.
    pub async fn sign(&mut self, others: &[String], tip: &str) -> Result<String, Problem> {
        let list = others.iter().fold(format!("{tip}\n"), |list, it| list + "^" + it + "\n");
        let arguments = ["rev-list", "--reverse", "--topo-order", "--ignore-missing", "--stdin"];
        let input = Some(self.write(list.as_bytes())?);
        let output = self.must("list the commits to sign", &arguments, input).await?;
        let text = output.text();
        let old: Vec<&str> = text.lines().collect();
        if old.len() > MAX_COMMITS {
            return Err(failed(&format!("there are more than {MAX_COMMITS} commits")));
        }
        for id in old {
            if self.renamed.contains_key(id) {
                continue;
            }
            let raw = self.must("read a commit", &["cat-file", "commit", id], None).await?.stdout;
            let new = self.rewrite(&raw).await?;
            self.renamed.insert(id.to_owned(), new);
        }
        Ok(self.renamed.get(tip).map_or(tip, String::as_str).to_owned())
    }

    async fn rewrite(&self, raw: &[u8]) -> Result<String, Problem> {
        let payload =
            with_parents(raw, &self.renamed).ok_or_else(|| failed("a commit can't be read"))?;
        let signature = self.signature(&payload).await?;
        let object =
            with_signature(&payload, &signature).ok_or_else(|| failed("a commit has no head"))?;
        let input = Some(self.write(&object)?);
        let arguments = ["hash-object", "-t", "commit", "-w", "--stdin"];
        let output = self.must("write a signed commit", &arguments, input).await?;
        Ok(output.line().to_owned())
    }

    async fn signature(&self, payload: &[u8]) -> Result<String, Problem> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-n", "git", "-f", &self.key]).env_clear().env("LC_ALL", "C");
        command.envs(std::env::var_os("PATH").map(|it| ("PATH", it)));
        ssh::name_this_user(self.folder.as_ref(), &mut command).map_err(|it| {
            failed(&format!("ssh-keygen needs a passwd entry for this user id: {it}"))
        })?;
        let input = Stdio::from(self.write(payload)?);
        let output = process::run(command, input, STEP).await;
        let output = output.map_err(|it| failed(&format!("ssh-keygen can't be run: {it}")))?;
        if !output.is_success() {
            let said = diagnosis::quote(&output.stderr, &self.scrubber);
            return Err(failed(&format!("ssh-keygen said: {said}")));
        }
        Ok(output.line().to_owned())
    }

    /// Standard input for a program.
    fn write(&self, bytes: &[u8]) -> Result<File, Problem> {
        let written =
            files::write(&self.draft, bytes, 0o600).and_then(|()| File::open(&self.draft));
        written.map_err(|it| Problem::volume("write", &self.draft, &it))
    }

    async fn must(
        &self,
        doing: &str,
        arguments: &[&str],
        input: Option<File>,
    ) -> Result<process::Output, Problem> {
        let output = match input {
            Some(input) => self.git.run_on(input, arguments, STEP).await?,
            None => self.git.run(arguments, STEP).await?,
        };
        if output.is_success() {
            return Ok(output);
        }
        let said = diagnosis::quote(&output.stderr, &self.scrubber);
        Err(failed(&format!("failed to {doing}: git said: {said}")))
    }
}

fn failed(why: &str) -> Problem {
    let message = format!(
        "the commits could not be signed: {why}; check {} in the git Secret, or remove it",
        layout::keys::SIGNING_KEY
    );
    Problem::new(reason::SIGNING_FAILED, message)
}

/// The commit with its parents' new names and without a signature of its own.
fn with_parents(raw: &[u8], renamed: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let end = end_of_head(raw).filter(|_| raw.len() <= MAX_COMMIT)?;
    let (head, rest) = raw.split_at(end);
    let mut commit = Vec::with_capacity(raw.len());
    let mut in_signature = false;
    for line in head.split_inclusive(|it| *it == b'\n') {
        in_signature = line.starts_with(b"gpgsig") || (in_signature && line.starts_with(b" "));
        if in_signature {
            continue;
        }
        let parent =
            line.strip_prefix(b"parent ").map(|it| String::from_utf8_lossy(it.trim_ascii()));
        match parent.and_then(|it| renamed.get(it.as_ref())) {
            Some(new) => commit.extend_from_slice(format!("parent {new}\n").as_bytes()),
            None => commit.extend_from_slice(line),
        }
    }
    commit.extend_from_slice(rest);
    Some(commit)
}

/// The commit with a signature as the last line of its head, where git puts it.
fn with_signature(commit: &[u8], signature: &str) -> Option<Vec<u8>> {
    let (head, rest) = commit.split_at(end_of_head(commit)?);
    let tree = head.split(|it| *it == b'\n').next()?;
    let name = if tree.len() > 64 { "gpgsig-sha256" } else { "gpgsig" };
    let lines = signature.trim_end().replace('\n', "\n ");
    Some([head, format!("{name} {lines}\n").as_bytes(), rest].concat())
}

/// Where the empty line between head and message is.
fn end_of_head(commit: &[u8]) -> Option<usize> {
    commit.windows(2).position(|it| it == b"\n\n").map(|it| it + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "tree aaaa\nparent bbbb\nparent cccc\nauthor A <a> 1 +0000\n\
                          committer A <a> 1 +0000\ngpgsig -----BEGIN\n line\n -----END\n\
                          encoding latin1\n\nmessage\n\ngpgsig x\n";

    #[test]
    fn a_commit_keeps_all_but_its_parents_names_and_its_signature() {
        let renamed = BTreeMap::from([("cccc".to_owned(), "dddd".to_owned())]);
        let commit = with_parents(COMMIT.as_bytes(), &renamed).unwrap();
        let want = "tree aaaa\nparent bbbb\nparent dddd\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\
                    encoding latin1\n\nmessage\n\ngpgsig x\n";
        assert_eq!(String::from_utf8(commit.clone()).unwrap(), want);
        let signed = with_signature(&commit, "-----BEGIN\nline\n-----END\n").unwrap();
        let signed = String::from_utf8(signed).unwrap();
        assert!(
            signed.contains("latin1\ngpgsig -----BEGIN\n line\n -----END\n\nmessage\n"),
            "{signed}"
        );
    }

    #[test]
    fn what_is_no_commit_is_refused() {
        assert_eq!(with_parents(b"tree aaaa\nno end", &BTreeMap::new()), None);
        assert_eq!(with_signature(b"", "x"), None);
        let huge = [COMMIT.as_bytes(), &vec![b'x'; MAX_COMMIT]].concat();
        assert_eq!(with_parents(&huge, &BTreeMap::new()), None);
    }
}
