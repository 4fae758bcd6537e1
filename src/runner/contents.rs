//! What a commit names without holding it: submodules and files in Git LFS. Neither a clone nor a bundle has their
//! contents, so that nobody may call such a commit cloned or pushed.

use std::time::Duration;

use super::{diagnosis, git::Git, problem::Problem, process::Output};
use crate::domain::{untrusted::Scrubber, verdict::reason};

/// A walk through one commit's tree takes at most this long.
const LIMIT: Duration = Duration::from_secs(300);
/// A submodule in the output of `git ls-tree`.
const SUBMODULE: &[u8] = b"160000 ";
/// What git's own documentation has people write, and the macro that does the same. Lines of comment are none.
const LFS: &str = "^[^#].*filter=lfs";

/// Fails where the commit holds less than it names, and with `otherwise` where that can't be found out.
pub async fn must_be_whole(
    git: &Git,
    commit: &str,
    otherwise: &'static str,
) -> Result<(), Problem> {
    no_submodule(git, commit, otherwise).await?;
    no_lfs(git, commit, otherwise).await
}

/// A submodule lives in another repository, with other credentials and another push. What makes one is an entry in a
/// tree: a file `.gitmodules` alone makes none, and none is needed.
async fn no_submodule(git: &Git, commit: &str, otherwise: &'static str) -> Result<(), Problem> {
    let arguments = ["ls-tree", "-r", "-d", "-z", "--full-tree", commit];
    let output = git.select(|it| it.starts_with(SUBMODULE), &arguments, LIMIT).await?;
    if !output.is_success() {
        return Err(unknown("look for submodules", &output, otherwise));
    }
    let text = output.text();
    let Some(entry) = text.split('\0').next().filter(|it| !it.is_empty()) else { return Ok(()) };
    let path = entry.split_once('\t').map_or(entry, |(_, it)| it);
    let message = format!(
        "{path} is a submodule, or a repository inside the repository, whose contents a Polecat neither clones nor \
         pushes; work on its own repository, or on a branch without"
    );
    Err(Problem::new(reason::SUBMODULES_UNSUPPORTED, message))
}

async fn no_lfs(git: &Git, commit: &str, otherwise: &'static str) -> Result<(), Problem> {
    let files = ":(glob)**/.gitattributes";
    let arguments = ["grep", "-l", "-z", "-E", "-e", LFS, "--no-textconv", commit, "--", files];
    let output = git.run(&arguments, LIMIT).await?;
    let text = output.text();
    let Some(found) = text.split('\0').next().filter(|it| !it.is_empty()) else {
        let none = output.code == Some(1) && !output.stderr.contains("error:"); // such as an object that is not there
        return if none { Ok(()) } else { Err(unknown("look for Git LFS", &output, otherwise)) };
    };
    let file = found.split_once(':').map_or(found, |(_, it)| it);
    let message = format!(
        "{file} says filter=lfs, so files are kept in Git LFS, which a Polecat neither fetches nor pushes; use a branch \
         without LFS"
    );
    Err(Problem::new(reason::LFS_UNSUPPORTED, message))
}

/// That it could not be found out.
pub fn unknown(doing: &str, output: &Output, otherwise: &'static str) -> Problem {
    diagnosis::problem(doing, output, otherwise, &Scrubber::default())
}
