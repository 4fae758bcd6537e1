//! Repository addresses and branch names: one parser for admission, which refuses, and for the runner,
//! which hands them to git. Whatever passes can't be read as an option, hold a credential or reach a
//! transport that runs commands.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::domain::untrusted::is_deceptive;

/// Longest address, in bytes.
pub const MAX_URL: usize = 1024;
/// Longest branch name, in bytes: with the suffix of a kept branch it stays below what hosting services
/// allow.
pub const MAX_BRANCH: usize = 200;
/// Who logs in over ssh when the address names nobody: the convention of every hosting service.
const DEFAULT_USER: &str = "git";

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Ssh,
    Https,
    /// Without encryption: no credential is ever sent.
    Http,
    /// A folder of this machine; only for trials, never in a pod.
    File,
}

impl Transport {
    /// The name git gives it in `protocol.<name>.allow`.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Https => "https",
            Self::Http => "http",
            Self::File => "file",
        }
    }
}

/// Where a repository is: `git@host:path`, `ssh://[user@]host[:port]/path`, `https://host[:port]/path` or
/// the same with `http`. Displays as what git is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl {
    transport: Transport,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
    /// Written as `user@host:path`, where a path is relative to the user's home.
    scp: bool,
}

/// Why an address is refused; reads on after the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "must be an address such as git@host:path, ssh://git@host:22/path or https://host/path"
    )]
    Form,
    #[error("must be at most {MAX_URL} bytes long, not {0}")]
    Long(usize),
    #[error("must not begin with '-', which git would read as an option")]
    Dash,
    #[error("must hold no white space and no invisible character such as U+{:04X}", u32::from(*.0))]
    Character(char),
    #[error("must use ssh, https or http, not {0}")]
    Scheme(String),
    #[error("must hold no user name, password or token; put them into the git Secret")]
    Credential,
    #[error("must name a host of letters, digits, '.', '-' and '_'")]
    Host,
    #[error("must have a port from 1 to 65535")]
    Port,
    #[error("must name the ssh user with letters, digits, '.', '-' and '_'")]
    User,
    #[error(
        "must have a path to the repository, without '..', '?' and '#', that does not begin with '-'"
    )]
    Path,
}

impl RepositoryUrl {
    /// As [`str::parse`], and an absolute path of this machine is a repository too.
    pub fn parse_or_folder(text: &str) -> Result<Self, UrlError> {
        if !text.starts_with('/') {
            return text.parse();
        }
        printable(text)?;
        let path = path(text)?;
        Ok(Self {
            transport: Transport::File,
            user: None,
            host: String::new(),
            port: None,
            path,
            scp: false,
        })
    }

    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// In lower case; an IPv6 address in brackets; empty for a folder.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host`, or `host:port` where the address names one: what a token has to be meant for.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    fn scp_like(text: &str) -> Result<Self, UrlError> {
        let (user, rest) = text.split_once('@').ok_or(UrlError::Form)?;
        let (name, way) = rest.split_once(':').ok_or(UrlError::Form)?;
        Ok(Self {
            transport: Transport::Ssh,
            user: Some(login(user)?),
            host: host(name)?,
            port: None,
            path: path(way)?,
            scp: true,
        })
    }

    fn with_scheme(scheme: &str, rest: &str) -> Result<Self, UrlError> {
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "ssh" => Transport::Ssh,
            "https" => Transport::Https,
            "http" => Transport::Http,
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        let at = rest.find('/').ok_or(UrlError::Path)?;
        let (authority, way) = rest.split_at(at);
        let (user, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, it)| (Some(user), it));
        let user = match (transport, user) {
            (Transport::Ssh, user) => Some(login(user.unwrap_or(DEFAULT_USER))?),
            (_, None) => None,
            (_, Some(_)) => return Err(UrlError::Credential),
        };
        let (name, port) = host_and_port(place)?;
        let path = path(way)?;
        if path == "/" {
            return Err(UrlError::Path);
        }
        Ok(Self { transport, user, host: host(name)?, port, path, scp: false })
    }
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        printable(text)?;
        match text.split_once("://") {
            Some((scheme, rest)) => Self::with_scheme(scheme, rest),
            None => match text.split_once("::") {
                // `ext::` and its kin run commands.
                Some((helper, _)) => Err(UrlError::Scheme(helper.to_owned())),
                None => Self::scp_like(text),
            },
        }
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, user, path, scp, .. } = self;
        let user = user.as_ref().map(|it| format!("{it}@")).unwrap_or_default();
        match transport {
            Transport::File => f.write_str(path),
            _ if *scp => write!(f, "{user}{}:{path}", self.host),
            _ => write!(f, "{}://{user}{}{path}", transport.protocol(), self.authority()),
        }
    }
}

/// What no address may hold, whatever its form.
fn printable(text: &str) -> Result<(), UrlError> {
    if text.len() > MAX_URL {
        return Err(UrlError::Long(text.len()));
    }
    if text.starts_with('-') {
        return Err(UrlError::Dash);
    }
    text.chars()
        .find(|it| it.is_whitespace() || is_deceptive(*it))
        .map_or(Ok(()), |it| Err(UrlError::Character(it)))
}

fn login(user: &str) -> Result<String, UrlError> {
    if user.contains(':') {
        return Err(UrlError::Credential);
    }
    let fine = user.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_')
        && user.chars().all(of_name);
    if fine { Ok(user.to_owned()) } else { Err(UrlError::User) }
}

fn host(name: &str) -> Result<String, UrlError> {
    let literal = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let fine = match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            name.len() <= 253
                && name.starts_with(|it: char| it.is_ascii_alphanumeric())
                && name.chars().all(of_name)
                && !name.contains("..")
        }
    };
    if fine { Ok(name.to_ascii_lowercase()) } else { Err(UrlError::Host) }
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), UrlError> {
    let end = place.find(']').map_or(0, |it| it + 1);
    let (literal, rest) = place.split_at(end);
    let Some(colon) = rest.find(':') else { return Ok((place, None)) };
    let (name, port) = place.split_at(literal.len() + colon);
    let port = port.trim_start_matches(':');
    let digits = !port.is_empty() && port.chars().all(|it| it.is_ascii_digit());
    let number = port.parse().ok().filter(|it| digits && *it != 0);
    number.map_or(Err(UrlError::Port), |it| Ok((name, Some(it))))
}

fn path(way: &str) -> Result<String, UrlError> {
    let upwards = way.split('/').any(|it| it == "..");
    let fine = !way.is_empty() && !way.starts_with('-') && !way.starts_with("/-") && !upwards;
    if fine && !way.contains(['?', '#', '\\']) { Ok(way.to_owned()) } else { Err(UrlError::Path) }
}

const fn of_name(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_')
}

/// A branch name that git accepts, and that no program takes for an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);

/// Why a branch name is refused; reads on after the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BranchError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_BRANCH} bytes long, not {0}")]
    Long(usize),
    #[error("must not begin with '-', which git would read as an option")]
    Dash,
    #[error("must not hold white space, invisible characters or any of ~ ^ : ? * [ \\")]
    Character,
    #[error("must not hold '..', '@{{', '//' or an empty part, nor be '@' or HEAD")]
    Sequence,
    #[error("must have no part that begins or ends with '.' or ends with '.lock'")]
    Part,
}

impl BranchName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name of its reference.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }

    /// The branch that keeps commits which `self` did not take: `<branch>-<first 8 characters of the
    /// uid>`, and from the second try on with the attempt's number.
    #[must_use]
    pub fn kept(&self, uid: &str, attempt: Option<u32>) -> Self {
        let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let number = attempt.map(|it| format!("-{it}")).unwrap_or_default();
        Self(format!("{}-{short}{number}", self.0))
    }

    /// The branch that keeps the `number`th of what an attempt committed on branches of its own:
    /// `<branch>-<first 8 characters of the uid>-<attempt>-side-<number>`.
    #[must_use]
    pub fn beside(&self, uid: &str, attempt: u32, number: usize) -> Self {
        Self(format!("{}-side-{number}", self.kept(uid, Some(attempt)).0))
    }
}

impl FromStr for BranchName {
    type Err = BranchError;

    fn from_str(name: &str) -> Result<Self, BranchError> {
        let refused = |it: char| {
            it.is_whitespace()
                || is_deceptive(it)
                || matches!(it, '~' | '^' | ':' | '?' | '*' | '[' | '\\')
        };
        let parts = || name.split('/');
        if name.is_empty() {
            Err(BranchError::Empty)
        } else if name.len() > MAX_BRANCH {
            Err(BranchError::Long(name.len()))
        } else if name.starts_with('-') {
            Err(BranchError::Dash)
        } else if name.contains(refused) {
            Err(BranchError::Character)
        } else if name.contains("..")
            || name.contains("@{")
            || parts().any(str::is_empty)
            || matches!(name, "@" | "HEAD")
        {
            Err(BranchError::Sequence)
        } else if parts().any(|it| it.starts_with('.') || it.ends_with('.') || ends_with_lock(it)) {
            Err(BranchError::Part)
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

fn ends_with_lock(part: &str) -> bool {
    part.len()
        .checked_sub(5)
        .and_then(|at| part.get(at..))
        .is_some_and(|it| it.eq_ignore_ascii_case(".lock"))
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_git_can_use() {
        let table = [
            (
                "git@github.com:org/repo.git",
                "git@github.com:org/repo.git",
                "github.com",
                "as the original wants it",
            ),
            ("git@host:~user/repo", "git@host:~user/repo", "host", "a home in the scp form"),
            (
                "ssh://git@Host.Example:2222/org/r",
                "ssh://git@host.example:2222/org/r",
                "host.example:2222",
                "a port",
            ),
            ("ssh://host/~me/r.git", "ssh://git@host/~me/r.git", "host", "nobody named, so git"),
            ("ssh://git@[::1]:22/r", "ssh://git@[::1]:22/r", "[::1]:22", "IPv6"),
            ("HTTPS://host:8443/a/b", "https://host:8443/a/b", "host:8443", "a scheme in capitals"),
            ("http://host/a", "http://host/a", "host", "plain http parses, and gets no token"),
        ];
        for (text, shown, authority, because) in table {
            let url: RepositoryUrl = text.parse().unwrap_or_else(|it| panic!("{because}: {it}"));
            assert_eq!(
                (url.to_string().as_str(), url.authority().as_str()),
                (shown, authority),
                "{because}"
            );
            assert_eq!(shown.parse::<RepositoryUrl>().as_ref(), Ok(&url), "{because}: reads back");
        }
    }

    #[test]
    fn addresses_that_attack() {
        use UrlError as E;
        let long = format!("https://host/{}", "a".repeat(MAX_URL));
        let table = [
            ("", E::Form, "nothing"),
            ("--upload-pack=touch /x", E::Dash, "an option of git"),
            ("-oProxyCommand=x", E::Dash, "an option of ssh"),
            ("git@-oProxyCommand=x:repo", E::Host, "an option in the host's place"),
            ("ssh://-oProxyCommand=x/repo", E::Host, "the same in an address"),
            ("ssh://git@host:-1/repo", E::Port, "an option as a port"),
            ("-x@host:repo", E::Dash, "an option as a user"),
            ("ssh://-x@host/repo", E::User, "an option as a user"),
            ("git@host:-repo", E::Path, "an option as a path"),
            ("ssh://host/-repo", E::Path, "an option as a path"),
            ("ext::sh -c x", E::Character(' '), "a command"),
            ("ext::sh%20-c", E::Scheme("ext".into()), "a command without white space"),
            ("fd::17", E::Scheme("fd".into()), "a descriptor"),
            ("file:///etc", E::Scheme("file".into()), "a folder of the machine"),
            ("git://host/repo", E::Scheme("git".into()), "neither secret nor certain"),
            ("/etc", E::Form, "a path"),
            ("../repo", E::Form, "a path"),
            ("https://host/a/../b", E::Path, "upwards"),
            ("https://me:pw@host/x", E::Credential, "a password in the address"),
            ("https://ghp_x@host/x", E::Credential, "a token in the address"),
            ("ssh://git:pw@host/x", E::Credential, "a password for ssh"),
            ("https://host", E::Path, "no path"),
            ("https://host/", E::Path, "no path"),
            ("https:///x", E::Host, "no host"),
            ("https://host:0/x", E::Port, "no port"),
            ("https://host:99999/x", E::Port, "no port"),
            ("https://host:+1/x", E::Port, "a sign"),
            ("https://[::zz]/x", E::Host, "no address"),
            ("https://ho\nst/x", E::Character('\n'), "a new line"),
            ("https://host/\u{202e}x", E::Character('\u{202e}'), "reads the other way round"),
            ("https://host/x?y", E::Path, "a query"),
            (long.as_str(), E::Long(MAX_URL + 13), "too long"),
        ];
        for (text, want, because) in table {
            assert_eq!(text.parse::<RepositoryUrl>(), Err(want), "{because}");
        }
        assert!(RepositoryUrl::parse_or_folder("/srv/git/a.git").is_ok());
        assert!(RepositoryUrl::parse_or_folder("/srv/../etc").is_err());
    }

    #[test]
    fn branch_names() {
        use BranchError as E;
        let long = "b".repeat(300);
        let table = [
            ("main", None, "the usual"),
            ("feature/gt-12.3_x", None, "the usual with a bead"),
            ("größe", None, "letters of the world"),
            ("", Some(E::Empty), "nothing"),
            (long.as_str(), Some(E::Long(300)), "300 characters"),
            ("-d", Some(E::Dash), "an option"),
            ("--upload-pack=x", Some(E::Dash), "an option"),
            ("a b", Some(E::Character), "white space"),
            ("a\nb", Some(E::Character), "a new line"),
            ("a:b", Some(E::Character), "a refspec"),
            ("a\u{200b}", Some(E::Character), "an invisible character"),
            ("../main", Some(E::Sequence), "upwards"),
            ("a//b", Some(E::Sequence), "an empty part"),
            ("/a", Some(E::Sequence), "an empty part"),
            ("a/", Some(E::Sequence), "an empty part"),
            ("a@{1}", Some(E::Sequence), "a place in the reflog"),
            ("HEAD", Some(E::Sequence), "git's own"),
            ("a/.b", Some(E::Part), "a hidden part"),
            ("a.", Some(E::Part), "ends with a dot"),
            ("a.lock/b", Some(E::Part), "git's own lock"),
        ];
        for (name, want, because) in table {
            assert_eq!(name.parse::<BranchName>().err(), want, "{because}: {name:?}");
        }
    }

    #[test]
    fn the_kept_branch() {
        let branch: BranchName = "feature/x".parse().unwrap();
        assert_eq!(branch.kept("0a1b2c3d-4e5f-6789", None).as_str(), "feature/x-0a1b2c3d");
        assert_eq!(branch.kept("0a1b2c3d-4e5f-6789", Some(2)).as_str(), "feature/x-0a1b2c3d-2");
        assert_eq!(branch.kept("../;--x", None).as_str(), "feature/x-x");
    }

    proptest! {
        #[test]
        fn what_passes_is_no_option_and_reads_back(text in "[-a-z@:/.\\[\\]~0-9]{1,30}") {
            if let Ok(url) = text.parse::<RepositoryUrl>() {
                let shown = url.to_string();
                prop_assert!(!shown.starts_with('-') && !shown.contains("::") || shown.contains("://["));
                prop_assert_eq!(shown.parse::<RepositoryUrl>().unwrap(), url);
            }
        }

        #[test]
        fn a_branch_that_passes_is_one_word(name in any::<String>()) {
            if let Ok(branch) = name.parse::<BranchName>() {
                let word = branch.as_str();
                prop_assert!(!word.starts_with('-') && !word.contains(".."));
                prop_assert!(!word.contains(char::is_whitespace));
            }
        }
    }
}
