//! What the operator tells the runner through the environment, read once and checked. Everything in it
//! may be hostile.

use std::{env::VarError, str::FromStr};

use super::{paths::Paths, problem::Problem};
use crate::domain::{
    fields,
    layout::env,
    pod::Outside,
    repository::{BranchName, RepositoryUrl},
    trace::Context,
    untrusted,
    verdict::reason,
};

/// Author of the agent's commits where nobody says otherwise: as in the original.
const AUTHOR_NAME: &str = "Gas Town Polecat";
const AUTHOR_EMAIL: &str = "polecat@gastown.io";
/// Longest value of a trailer and of an author's name, in bytes.
const MAX_LINE: usize = 200;

/// What the run is about.
#[derive(Clone, Debug)]
pub struct Settings {
    pub polecat: String,
    pub uid: String,
    pub rig: String,
    pub issue: String,
    pub attempt: u32,
    pub task: String,
    /// Where only this is told of the task.
    pub task_sha256: String,
    pub author_name: String,
    pub author_email: String,
    pub requested_by: String,
    pub trace: String,
    variable: fn(&str) -> Result<String, VarError>,
}

/// A collector that is told of the run, and what it is told of the pod beside the rest.
pub struct Collector {
    /// The whole address.
    pub endpoint: String,
    /// The run's root.
    pub root: Context,
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    pub resource: String,
    pub model: String,
    /// Proxies on the way.
    pub outside: Outside,
}

impl Settings {
    /// Reads the environment.
    pub fn read() -> Result<Self, Problem> {
        Self::from(variable)
    }

    fn from(variable: fn(&str) -> Result<String, VarError>) -> Result<Self, Problem> {
        let text = |name: &str| match variable(name) {
            Ok(it) => Ok(it),
            Err(VarError::NotPresent) => Ok(String::new()),
            Err(VarError::NotUnicode(_)) => Err(invalid(name, "is not UTF-8")),
        };
        let line = |name: &str| text(name).map(|it| one_line(&it));
        let attempt = text(env::ATTEMPT)?;
        let attempt = if attempt.is_empty() { Ok(1) } else { attempt.parse() };
        Ok(Self {
            polecat: line(env::POLECAT)?,
            uid: line(env::POLECAT_UID)?,
            rig: line(env::RIG)?,
            issue: line(env::ISSUE)?,
            attempt: attempt.map_err(|_| invalid(env::ATTEMPT, "is no number from 1"))?,
            task: text(env::TASK_DESCRIPTION)?,
            task_sha256: line(env::TASK_SHA256)?,
            author_name: author(env::AUTHOR_NAME, text(env::AUTHOR_NAME)?, AUTHOR_NAME)?,
            author_email: author(env::AUTHOR_EMAIL, text(env::AUTHOR_EMAIL)?, AUTHOR_EMAIL)?,
            requested_by: line(env::REQUESTED_BY)?,
            trace: line(env::TRACE)?,
            variable,
        })
    }

    /// The repository. In a container it is never a folder of the machine.
    pub fn repository(&self, paths: &Paths) -> Result<RepositoryUrl, Problem> {
        let text = self.required(env::GIT_REPOSITORY)?;
        let parse = if paths.is_container() {
            RepositoryUrl::from_str
        } else {
            RepositoryUrl::parse_or_folder
        };
        parse(&text).map_err(|error| {
            let message =
                format!("{} {error}; it is {:?}", fields::URL, untrusted::fit(&text, MAX_LINE));
            Problem::new(reason::REPOSITORY_INVALID, message)
        })
    }

    /// The branch to start from.
    pub fn branch(&self) -> Result<BranchName, Problem> {
        self.parse_branch(env::GIT_BRANCH, fields::BASE_BRANCH)
    }

    /// The branch that is pushed.
    pub fn work_branch(&self) -> Result<BranchName, Problem> {
        self.parse_branch(env::WORK_BRANCH, fields::WORK_BRANCH)
    }

    /// The collector, where the operator names one.
    pub fn collector(&self) -> Option<Collector> {
        let set = |name: &str| (self.variable)(name).ok().filter(|it| !it.is_empty());
        let either = |name: &str| set(name).or_else(|| set(&name.to_lowercase()));
        Some(Collector {
            endpoint: set(env::OTLP_ENDPOINT)?,
            root: Context::parse(&set(env::TRACEPARENT)?)?,
            namespace: set(env::NAMESPACE)?,
            pod: set(env::POD)?,
            pod_uid: set(env::POD_UID)?,
            resource: set(env::OTLP_RESOURCE).unwrap_or_default(),
            model: set(env::MODEL).unwrap_or_default(),
            outside: Outside {
                http_proxy: either("HTTP_PROXY"),
                https_proxy: either("HTTPS_PROXY"),
                no_proxy: either("NO_PROXY"),
                trusted_ca: None,
            },
        })
    }

    fn parse_branch(&self, variable: &str, field: &str) -> Result<BranchName, Problem> {
        let name = self.required(variable)?;
        name.parse().map_err(|error| {
            let message = format!("{field} {error}; it is {:?}", untrusted::fit(&name, MAX_LINE));
            Problem::new(reason::BRANCH_INVALID, message)
        })
    }

    fn required(&self, name: &str) -> Result<String, Problem> {
        match (self.variable)(name) {
            Ok(it) if !it.is_empty() => Ok(it),
            Ok(_) | Err(VarError::NotPresent) => Err(invalid(name, "is not set")),
            Err(VarError::NotUnicode(_)) => Err(invalid(name, "is not UTF-8")),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the runner reads its environment"
)]
fn variable(name: &str) -> Result<String, VarError> {
    std::env::var(name)
}

fn invalid(name: &str, what: &str) -> Problem {
    let message = format!(
        "the environment variable {name} {what}; the operator sets it when it builds the pod"
    );
    Problem::new(reason::SETTING_INVALID, message)
}

fn one_line(text: &str) -> String {
    untrusted::head(untrusted::escape(text.trim()).as_str(), MAX_LINE).to_owned()
}

/// git refuses these characters in an identity, or drops them silently.
fn author(name: &str, text: String, default: &str) -> Result<String, Problem> {
    if text.is_empty() {
        return Ok(default.to_owned());
    }
    let refused = |it: char| untrusted::is_deceptive(it) || matches!(it, '<' | '>');
    if text.contains(refused) || text.len() > MAX_LINE || text.trim().is_empty() {
        return Err(invalid(name, "must be one line of at most 200 bytes without '<' and '>'"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_hostile_is_named() {
        let hostile = |name: &str| match name {
            env::POLECAT => Ok("a\nBead: forged".to_owned()),
            env::GIT_REPOSITORY => Ok("--upload-pack=x".to_owned()),
            env::GIT_BRANCH => Ok("/srv".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let settings = Settings::from(hostile).unwrap();
        assert_eq!(settings.polecat, "a\\nBead: forged", "no second line of trailers");
        assert_eq!((settings.author_name.as_str(), settings.attempt), (AUTHOR_NAME, 1));
        let said = settings.repository(&Paths::new("/")).unwrap_err();
        assert_eq!(said.reason, reason::REPOSITORY_INVALID);
        assert!(
            said.message.starts_with(&format!("{} must not begin with '-'", fields::URL)),
            "{said}"
        );
        assert_eq!(settings.branch().unwrap_err().reason, reason::BRANCH_INVALID);
        assert_eq!(settings.work_branch().unwrap_err().reason, reason::SETTING_INVALID);
    }

    #[test]
    fn a_folder_is_a_repository_only_outside_a_container() {
        let folder = |name: &str| match name {
            env::GIT_REPOSITORY => Ok("/srv/a.git".to_owned()),
            env::AUTHOR_NAME => Err(VarError::NotPresent),
            _ => Ok("1".to_owned()),
        };
        let settings = Settings::from(folder).unwrap();
        assert_eq!(
            settings.repository(&Paths::new("/")).unwrap_err().reason,
            reason::REPOSITORY_INVALID
        );
        assert!(settings.repository(&Paths::new("/tmp/x")).is_ok());
    }

    #[test]
    fn an_author_is_one_line() {
        assert!(author("A", "a <b".into(), "d").is_err());
        assert!(author("A", "a\nb".into(), "d").is_err());
        assert_eq!(author("A", String::new(), "d").unwrap(), "d");
    }
}
