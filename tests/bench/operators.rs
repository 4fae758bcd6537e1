//! The two that are compared, each as a process with a user name of its own for every run.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use gastown_testbed::{Operator, OperatorOptions};

use crate::{
    options::{Options, Version},
    town::{self, Town},
};

/// How long an operator may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whose operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Original,
}

impl fmt::Display for Whose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ours => "ours",
            Self::Original => "original",
        })
    }
}

impl Whose {
    /// The program; `None` for an original that was not given.
    pub fn program(self, options: &Options) -> Option<PathBuf> {
        match self {
            Self::Ours => Some(options.operator.clone()),
            Self::Original => options.original.clone(),
        }
    }

    /// The version in which Polecats are asked of it, and watched.
    pub fn version(self, options: &Options) -> Version {
        match self {
            Self::Ours => options.ours_in,
            Self::Original => Version::V1alpha1,
        }
    }

    /// Starts it, with default settings but for what it needs to run here; without webhooks, unless the town wants them.
    pub async fn start(self, town: &Town, program: PathBuf, round: usize) -> Result<Operator> {
        let name = format!("{self}-{round}");
        let mut environment = town.environment.clone();
        let flags: &[&str] = match self {
            Self::Ours if town.webhooks => {
                environment.push(("GASTOWN_OWN_USER".to_owned(), name.clone()));
                &["--runner-image=registry.example.com/runner:1"]
            }
            Self::Ours => &["--disable-webhooks", "--runner-image=registry.example.com/runner:1"],
            Self::Original => {
                &["--disable-webhooks", "--metrics-bind-address=0", "--health-probe-bind-address=0"]
            }
        };
        let options = OperatorOptions {
            program: Some(program),
            name,
            flags: flags.iter().map(|&it| it.to_owned()).collect(),
            // The original has its own, wider roles.
            group: match self {
                Self::Ours => OperatorOptions::default().group,
                Self::Original => "system:masters".to_owned(),
            },
            only_these_flags: self == Self::Original,
            environment,
            ..OperatorOptions::default()
        };
        let operator = Operator::start(&town.testbed, options).await?;
        if town.webhooks {
            town::put_before(&town.testbed, &operator).await?;
        }
        Ok(operator)
    }
}

/// Ends it in good order. One that has ended by itself is an error.
pub async fn stop(operator: &Operator) -> Result<()> {
    if let Some(code) = operator.ended() {
        bail!(
            "{} ended by itself with {code}; its log is {}",
            operator.name,
            operator.log.display()
        );
    }
    operator.terminate(PATIENCE).await.map(drop).context("failed to stop the operator")
}
