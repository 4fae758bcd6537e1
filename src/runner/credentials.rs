//! Reads the git Secret: an ssh key, or a user name and a token that are meant for one host. Sends
//! nothing anywhere.

use super::{files, paths::Paths, problem::Problem};
use crate::domain::{
    fields, layout,
    repository::{RepositoryUrl, Transport},
    untrusted::escape,
    verdict::reason,
};

/// Largest key of the Secret, in bytes.
const MAX_KEY: u64 = 256 * 1024;
/// Where a private key may be, in this order.
const PRIVATE_KEYS: [&str; 3] =
    [layout::keys::SSH_PRIVATE_KEY, layout::keys::ID_RSA, layout::keys::ID_ED25519];
/// Where a token may be, in this order.
const TOKENS: [&str; 2] = [layout::keys::PASSWORD, layout::keys::TOKEN];
/// The user name beside a token where the Secret has none. Hosting services that look at the token alone
/// take any.
const TOKEN_USER: &str = "x-access-token";

/// The host keys that hosting services publish: those that most repositories live on.
const WELL_KNOWN_HOSTS: &str = "\
github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf
bitbucket.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO
";

/// What proves to the remote who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// For ssh: the private key, and the host keys that we believe.
    Key { private: String, known_hosts: String },
    /// For https: sent to one host alone.
    Token { user: String, token: String, has_ca: bool },
    /// For plain http, where none is ever sent, and for a folder.
    None,
}

impl Credential {
    /// Reads what the repository's address needs.
    pub fn read(paths: &Paths, repository: &RepositoryUrl) -> Result<Self, Problem> {
        match repository.transport() {
            Transport::Ssh => key(paths),
            Transport::Https => token(paths, &repository.authority()),
            Transport::Http | Transport::File => Ok(Self::None),
        }
    }

    /// What must never be seen in a message.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Key { private, .. } => vec![private],
            Self::Token { token, .. } => vec![token],
            Self::None => Vec::new(),
        }
    }
}

/// User name and token, as the askpass program hands them to git.
pub fn user_and_token(paths: &Paths) -> Result<(String, String), Problem> {
    let mut tokens = TOKENS.iter().filter_map(|name| secret(paths, name).transpose());
    let token =
        tokens.next().unwrap_or_else(|| Err(missing("password or token", "an https address")))?;
    let user = secret(paths, layout::keys::USERNAME)?.unwrap_or_else(|| TOKEN_USER.to_owned());
    Ok((line(layout::keys::USERNAME, &user)?, line("password or token", &token)?))
}

/// The key to sign commits with, if the Secret has one.
pub fn signing_key(paths: &Paths) -> Result<Option<String>, Problem> {
    let name = layout::keys::SIGNING_KEY;
    secret(paths, name)?.map(|it| private_key(name, &it)).transpose()
}

fn key(paths: &Paths) -> Result<Credential, Problem> {
    let mut found = PRIVATE_KEYS.iter().filter_map(|name| secret(paths, name).transpose());
    let wanted = "ssh-privatekey, id_rsa or id_ed25519";
    let private = found.next().unwrap_or_else(|| Err(missing(wanted, "an ssh address")))?;
    let private = private_key(wanted, &private)?;
    Ok(Credential::Key { private, known_hosts: known_hosts(paths)? })
}

/// Mended where it went through a form or another system, which cost it what ssh can't read it without.
fn private_key(name: &str, text: &str) -> Result<String, Problem> {
    let text = text.replace('\r', "");
    if !text.trim_start().starts_with("-----BEGIN ") {
        let message = format!(
            "the git Secret's {name} must hold a private key that begins with '-----BEGIN'"
        );
        return Err(Problem::new(reason::CREDENTIALS_MALFORMED, message));
    }
    Ok(format!("{}\n", text.trim()))
}

/// The ConfigMap's, else the Secret's, else those of the well-known services.
fn known_hosts(paths: &Paths) -> Result<String, Problem> {
    let path = paths.at(&format!("{}/{}", layout::KNOWN_HOSTS.path, layout::keys::KNOWN_HOSTS));
    let of_config_map =
        files::read(&path, MAX_KEY).map_err(|it| Problem::volume("read", &path, &it))?;
    if let Some(text) = of_config_map {
        return Ok(text);
    }
    Ok(secret(paths, layout::keys::KNOWN_HOSTS)?.unwrap_or_else(|| WELL_KNOWN_HOSTS.to_owned()))
}

fn token(paths: &Paths, authority: &str) -> Result<Credential, Problem> {
    let (user, token) = user_and_token(paths)?;
    let Some(host) = secret(paths, layout::keys::HOST)? else {
        let message = format!(
            "the git Secret must say under `host` which host its token is meant for; for this repository: \
             {authority}"
        );
        return Err(Problem::new(reason::CREDENTIALS_MISSING, message));
    };
    if !host.trim().eq_ignore_ascii_case(authority) {
        let message = format!(
            "the git Secret's token is meant for {}, and the repository is on {authority}; write the host \
             as in {}, with its port if there is one, or use another Secret",
            escape(host.trim()),
            fields::URL
        );
        return Err(Problem::new(reason::CREDENTIALS_FOR_ANOTHER_HOST, message));
    }
    let has_ca = secret(paths, layout::keys::CA)?.is_some();
    Ok(Credential::Token { user, token, has_ca })
}

/// A key of the Secret, if it has it and it isn't empty.
fn secret(paths: &Paths, name: &str) -> Result<Option<String>, Problem> {
    let path = paths.credential(name);
    match files::read(&path, MAX_KEY) {
        Ok(text) => Ok(text.filter(|it| !it.trim().is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let message = format!("the git Secret's key {name} must be text in UTF-8");
            Err(Problem::new(reason::CREDENTIALS_MALFORMED, message))
        }
        Err(error) => Err(Problem::volume("read", &path, &error)),
    }
}

/// One line: a second one would be a second answer to whoever asks git's helpers.
fn line(name: &str, value: &str) -> Result<String, Problem> {
    let value = value.trim_end_matches(['\r', '\n']);
    if value.chars().any(char::is_control) {
        let message =
            format!("the git Secret's {name} must be one line without control characters");
        return Err(Problem::new(reason::CREDENTIALS_MALFORMED, message));
    }
    Ok(value.to_owned())
}

fn missing(keys: &str, why: &str) -> Problem {
    let message = format!(
        "the git Secret has no key {keys}, which {why} needs; add it to the Secret of {}",
        fields::GIT_SECRET
    );
    Problem::new(reason::CREDENTIALS_MISSING, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN OPENSSH PRIVATE KEY-----\r\nAAAA\r\n-----END OPENSSH PRIVATE KEY-----";

    type Keys<'a> = &'a [(&'a str, &'a str)];

    /// A root whose Secret holds `keys`; what reading it for `url` gives.
    fn read(keys: Keys<'_>, url: &str) -> Result<Credential, Problem> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("git-creds")).unwrap();
        for (name, value) in keys {
            std::fs::write(root.path().join("git-creds").join(name), value).unwrap();
        }
        Credential::read(&Paths::new(&root.path().to_string_lossy()), &url.parse().unwrap())
    }

    #[test]
    fn every_kind_of_secret() {
        const HTTPS: &str = "https://git.example.com:8443/x";
        const HOST: &str = "git.example.com:8443";
        const SSH: &str = "git@git.example.com:x";
        let another = Some(reason::CREDENTIALS_FOR_ANOTHER_HOST);
        #[rustfmt::skip]
        let table: [(Keys<'_>, &str, Option<&str>, &str); 15] = [
            (&[("ssh-privatekey", KEY)], SSH, None, "kubernetes.io/ssh-auth"),
            (&[("id_rsa", KEY)], SSH, None, "as in the original"),
            (&[("id_ed25519", KEY)], SSH, None, "a key of today"),
            (&[("ssh-privatekey", ""), ("id_rsa", KEY)], SSH, None, "an empty key is none"),
            (&[], SSH, Some(reason::CREDENTIALS_MISSING), "nothing"),
            (&[("password", "x")], SSH, Some(reason::CREDENTIALS_MISSING), "a token for ssh"),
            (&[("id_rsa", "ssh-rsa AAAA")], SSH, Some(reason::CREDENTIALS_MALFORMED), "the public half"),
            (&[("username", "u"), ("password", "p\n"), ("host", HOST)], HTTPS, None, "basic-auth"),
            (&[("token", "t"), ("host", "GIT.example.com:8443\n")], HTTPS, None, "a token alone"),
            (&[("username", "u"), ("password", "p")], HTTPS, Some(reason::CREDENTIALS_MISSING), "no host"),
            (&[("token", "t"), ("host", "git.example.com")], HTTPS, another, "the port is part of it"),
            (&[("token", "t"), ("host", "evil.example.com")], HTTPS, another, "another host"),
            (&[("token", "t\nu"), ("host", HOST)], HTTPS, Some(reason::CREDENTIALS_MALFORMED), "two lines"),
            (&[("id_rsa", KEY)], HTTPS, Some(reason::CREDENTIALS_MISSING), "a key for https"),
            (&[("token", "t")], "http://git.example.com/x", None, "plain http: the token stays here"),
        ];
        for (keys, url, want, because) in table {
            assert_eq!(read(keys, url).err().map(|it| it.reason), want, "{because}");
        }
    }

    #[test]
    fn a_key_is_mended_and_a_token_trimmed() {
        let Ok(Credential::Key { private, known_hosts }) = read(&[("id_rsa", KEY)], "git@h:x")
        else {
            panic!("no key")
        };
        assert!(private.ends_with("KEY-----\n") && !private.contains('\r'));
        assert!(known_hosts.contains("github.com ssh-ed25519 "));
        let secret = [("password", "p\n"), ("host", "h")];
        let Ok(Credential::Token { user, token, .. }) = read(&secret, "https://h/x") else {
            panic!("no token")
        };
        assert_eq!((user.as_str(), token.as_str()), (TOKEN_USER, "p"));
    }
}
