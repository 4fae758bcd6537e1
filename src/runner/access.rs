//! How git reaches the remote: lays the credential's files into our own home, and names the helper
//! programs, which are all this one. The token itself is in no variable, argument, address or
//! configuration.

use std::{fs, io, os::unix::fs::symlink};

use super::{
    askpass, credentials::Credential, files, git::Git, log, paths::Paths, problem::Problem, ssh,
};
use crate::domain::{layout, repository::RepositoryUrl, untrusted::Scrubber};

/// The remote, and what is needed to reach it.
pub struct Access {
    pub repository: RepositoryUrl,
    pub scrubber: Scrubber,
    variables: Vec<(String, String)>,
    settings: Vec<String>,
    folder: String,
}

/// The key's copy leaves with it.
impl Drop for Access {
    fn drop(&mut self) {
        if let Err(error) = files::remove(&self.folder) {
            log::say(&format!("Failed to remove {}: {error}", self.folder));
        }
    }
}

impl Access {
    /// Reads the Secret and lays out what git will need.
    pub fn prepare(paths: &Paths, repository: RepositoryUrl) -> Result<Self, Problem> {
        let credential = Credential::read(paths, &repository)?;
        let scrubber = Scrubber::new(credential.secrets());
        let folder = paths.own("");
        let protocol = repository.transport().protocol();
        let mut settings = vec![format!("protocol.{protocol}.allow=always")];
        let laid = lay(paths, &credential, &repository, &mut settings);
        let variables = laid.map_err(|it| Problem::volume("write into", &folder, &it))?;
        Ok(Self { repository, scrubber, variables, settings, folder })
    }

    /// Git on `directory`, able to reach the remote.
    pub fn git(&self, directory: &str, paths: &Paths) -> Git {
        Git::new(directory, &paths.home()).with(&self.variables).set(&self.settings)
    }
}

fn lay(
    paths: &Paths,
    credential: &Credential,
    repository: &RepositoryUrl,
    settings: &mut Vec<String>,
) -> io::Result<Vec<(String, String)>> {
    files::private_folder(&paths.own(""))?;
    match credential {
        Credential::Key { private, known_hosts } => {
            files::write(&paths.own(ssh::IDENTITY), private.as_bytes(), 0o600)?;
            files::write(&paths.own(ssh::KNOWN_HOSTS), known_hosts.as_bytes(), 0o600)?;
            let program = called(paths, ssh::NAME)?;
            Ok(vec![pair("GIT_SSH", program), pair("GIT_SSH_VARIANT", "ssh".to_owned())])
        }
        Credential::Token { has_ca, .. } => {
            settings.extend(trust(paths, *has_ca));
            let program = called(paths, askpass::NAME)?;
            Ok(vec![
                pair("GIT_ASKPASS", program),
                pair(askpass::AUTHORITY, repository.authority()),
                pair(askpass::ROOT, paths.at("")),
            ])
        }
        Credential::None => Ok(Vec::new()),
    }
}

/// Whom git trusts: for the host by the Secret, else, and for a proxy, by the bundle that the operator has mounted.
fn trust(paths: &Paths, has_ca: bool) -> Vec<String> {
    let mounted = Some(paths.at(layout::TRUSTED_BUNDLE)).filter(|it| fs::metadata(it).is_ok());
    let of_host = has_ca.then(|| paths.credential(layout::keys::CA)).or_else(|| mounted.clone());
    let host = of_host.map(|it| format!("http.sslCAInfo={it}"));
    host.into_iter().chain(mounted.map(|it| format!("http.proxySSLCAInfo={it}"))).collect()
}

fn pair(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}

/// A link in our home by which this program is called `name`.
fn called(paths: &Paths, name: &str) -> io::Result<String> {
    let link = paths.own(name);
    files::remove(&link)?;
    symlink(fs::canonicalize(std::env::current_exe()?)?, &link)?;
    Ok(link)
}
