//! Lays out what the other containers find: the runner itself, the lock file, the start of the run, the
//! lines that every commit shall carry. The agent can read all of it and write none.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
};

use serde::{Deserialize, Serialize};

use super::{files, hook, paths::Paths, problem::Problem, settings::Settings};
use crate::domain::{layout, tls_policy};

/// What `git-init` tells the runner beside the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The commit that the work branch stood on.
    pub base: String,
    /// The work branch.
    pub branch: String,
}

impl Start {
    pub fn write(&self, paths: &Paths) -> Result<(), Problem> {
        let path = paths.at(layout::START);
        let json = serde_json::to_vec(self).map_err(io::Error::from);
        json.and_then(|it| files::write(&path, &it, 0o444))
            .map_err(|it| Problem::volume("write", &path, &it))
    }

    pub fn read(paths: &Paths) -> Result<Self, Problem> {
        let path = paths.at(layout::START);
        let text = files::read(&path, 4096)
            .and_then(|it| it.ok_or_else(|| io::ErrorKind::NotFound.into()));
        text.and_then(|it| serde_json::from_str(&it).map_err(io::Error::from))
            .map_err(|it| Problem::volume("read", &path, &it))
    }
}

/// Lays out the runner, the lock files, the trailers, and what a TLS policy names.
pub fn lay(paths: &Paths, settings: &Settings) -> Result<(), Problem> {
    let runner = paths.at(layout::RUNNER);
    copy_this_program(&runner).map_err(|it| Problem::volume("write", &runner, &it))?;
    for lock in [layout::LOCK_FILE, layout::TELEMETRY_LOCK].map(|it| paths.at(it)) {
        create_lock(&lock).map_err(|it| Problem::volume("create", &lock, &it))?;
    }
    for (name, text) in tls_policy::FILES {
        let path = paths.at(&format!("{}/{name}", tls_policy::MOUNT.path));
        files::write(&path, text.as_bytes(), 0o444)
            .map_err(|it| Problem::volume("write", &path, &it))?;
    }
    let trailers = paths.at(layout::TRAILERS);
    let text = hook::trailers(settings);
    files::write(&trailers, text.as_bytes(), 0o444)
        .map_err(|it| Problem::volume("write", &trailers, &it))
}

/// Lays the hook that adds the trailers into the agent's clone.
pub fn lay_hook(paths: &Paths, git_dir: &str) -> Result<(), Problem> {
    let folder = format!("{git_dir}/hooks");
    let link = format!("{folder}/{}", hook::NAME);
    let laid = fs::create_dir_all(&folder).and_then(|()| symlink(paths.at(layout::RUNNER), &link));
    laid.map_err(|it| Problem::volume("write", &link, &it))
}

fn copy_this_program(to: &str) -> io::Result<()> {
    let beside = format!("{to}.new");
    files::remove(&beside)?;
    fs::copy(std::env::current_exe()?, &beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o555))?;
    fs::rename(&beside, to)
}

fn create_lock(path: &str) -> io::Result<File> {
    files::remove(path)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)
}
