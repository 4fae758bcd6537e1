//! Repositories that demo, tests and benches begin with.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

/// Makes a bare repository with one commit of these files, each a name and its text. They are written into the folder `seed`,
/// which is made.
pub fn with_commit(seed: &Path, bare: &Path, message: &str, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(seed).with_context(|| format!("failed to make {}", seed.display()))?;
    for (name, text) in files {
        fs::write(seed.join(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(seed).args([
            "-c",
            "user.name=Town",
            "-c",
            "user.email=town@example.com",
        ]);
        run(command.args(arguments))
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", message])?;
    run(Command::new("git").args(["clone", "--quiet", "--bare"]).arg(seed).arg(bare)).map(drop)
}

/// What a command says; one that fails is an error with what it complains of.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
