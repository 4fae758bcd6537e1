//! From the agent's end to the verdict: takes the bundle, pushes the work branch, keeps refused commits
//! on a branch of their own; other branches come after that. Every step is written into a draft, so that a verdict can be given whenever
//! time is over.

use std::{cell::RefCell, time::Duration};

use tokio::time::Instant;

use super::{
    access::Access,
    args::Telemetry,
    beside,
    git::Git,
    held,
    intake::{Clone, Taken},
    log,
    metrics::Metrics,
    paths::Paths,
    problem::Problem,
    push::{self, Outcome},
    report::Report,
    settings::Settings,
    sign::Signer,
    telling::Telling,
};
use crate::domain::{
    layout,
    repository::BranchName,
    untrusted::head,
    verdict::{Verdict, reason, words},
};

/// Longest quotation of the remote's refusal, in bytes.
const MAX_QUOTE: usize = 600;

pub const NO_UID: &str = "GT_POLECAT_UID is not set";

/// What is to be delivered, and how.
pub struct Delivery<'a> {
    pub paths: &'a Paths,
    pub settings: &'a Settings,
    pub arguments: &'a Telemetry,
    pub metrics: &'a Metrics,
    pub telling: &'a Telling,
    /// How long the hand-over was waited for in vain: what is there is its last checkpoint.
    pub late: Option<Duration>,
    /// No new try begins after it.
    pub until: Instant,
    pub draft: &'a RefCell<Verdict>,
}

/// A verdict of which only the task is known.
pub fn draft(settings: Option<&Settings>) -> Verdict {
    let task_sha256 = settings.map(|it| it.task_sha256.clone()).filter(|it| !it.is_empty());
    Verdict { v: 1, task_sha256, ..Verdict::default() }
}

impl Delivery<'_> {
    /// Delivers, and leaves what became of it in the draft.
    pub async fn run(&self) {
        if let Err(problem) = self.deliver().await {
            self.conclude(false, problem.reason, problem.message);
            let lost = beside::lost_with_it(self.paths, self.arguments.max_bundle_bytes).await;
            self.draft.borrow_mut().message.push_str(&lost);
        }
    }

    fn conclude(&self, pushed: bool, reason: &str, message: String) {
        let mut draft = self.draft.borrow_mut();
        (draft.pushed, draft.reason, draft.message) = (pushed, reason.to_owned(), message);
    }

    async fn deliver(&self) -> Result<(), Problem> {
        // An agent that still runs may have written a report of its own.
        let report = if self.late.is_none() { Report::read(self.paths) } else { None };
        self.draft.borrow_mut().agent = report.as_ref().map(|it| it.ended.clone());
        self.telling.tell(&self.draft.borrow());
        let clone = Clone::open(self.paths);
        let base = clone.base().await?;
        self.draft.borrow_mut().base = Some(base.clone());
        let work = self.settings.work_branch()?;
        let max_bytes = self.arguments.max_bundle_bytes;
        let Some(taken) = clone.take(self.paths, &base, &work, max_bytes).await? else {
            return Err(self.late.map_or_else(|| nothing(report.as_ref()), late));
        };
        log::say(&format!("Took {} commits up to {}", taken.commits, taken.commit));
        {
            let mut draft = self.draft.borrow_mut();
            (draft.commit, draft.commits) = (Some(taken.commit.clone()), taken.commits);
        }
        let access = Access::prepare(self.paths, self.settings.repository(self.paths)?)?;
        let git = access.git(&self.paths.at(layout::BARE), self.paths).sparing();
        let handed_over = taken.commit.clone();
        let (unsigned, signing) = (None, Signing::Off);
        let delivery = self;
        let mut push = Push { delivery, report, git, access, taken, work, signing, unsigned };
        if let Err(problem) = push.first(&clone, &base).await {
            self.conclude(false, problem.reason, problem.message);
        }
        push.others(&clone, &[&base, &handed_over]).await;
        Ok(())
    }
}

/// Why there is nothing to push.
fn nothing(report: Option<&Report>) -> Problem {
    match report.map(|it| it.ended.handover.as_deref()) {
        None => Problem::new(
            reason::HANDOVER_MISSING,
            "the agent's container ended without handing anything over, as when it is killed or out of \
             memory; commits may be lost",
        ),
        Some(Some(words::FAILED | words::BUNDLE)) => Problem::new(
            reason::HANDOVER_FAILED,
            format!(
                "the agent's container could not hand its commits over{}; see its log; commits may be lost",
                in_brackets(report)
            ),
        ),
        Some(Some(words::TOO_LARGE)) => Problem::new(
            reason::BUNDLE_TOO_LARGE,
            "the bundle of the agent's commits would be larger than its cap, so nothing was handed over and commits \
             are lost with the pod; have the agent commit less",
        ),
        Some(_) => Problem::new(reason::NOTHING_TO_PUSH, "the agent committed nothing"),
    }
}

/// The branches that were not handed over, where their names are known.
fn in_brackets(report: Option<&Report>) -> String {
    let names = report.map(|it| it.not_handed_over.join(", ")).unwrap_or_default();
    if names.is_empty() { names } else { format!(" ({names})") }
}

fn late(waited: Duration) -> Problem {
    let message = format!(
        "the pod was ended, and the agent's container handed nothing over within {} s; commits may be lost",
        waited.as_secs()
    );
    Problem::new(reason::HANDOVER_LATE, message)
}

/// What a bundle that was not made at the end leaves open.
fn unless_whole(report: Option<&Report>, late: Option<Duration>) -> String {
    let why = match (late, report.map(|it| it.ended.handover.as_deref())) {
        (Some(waited), _) => {
            format!("ended, and did not hand over within {} s", waited.as_secs())
        }
        (None, Some(Some(words::BUNDLE))) => return String::new(),
        (None, Some(Some(words::PARTLY))) => {
            return format!(
                "; not all of the agent's other branches could be handed over{}: see the log of container claude; commits on them \
                 may be lost",
                in_brackets(report)
            );
        }
        (None, _) => "cut off".to_owned(),
    };
    format!("; the agent's container was {why}, so commits after its last checkpoint may be lost")
}

/// Pushes what was taken.
pub struct Push<'a> {
    pub delivery: &'a Delivery<'a>,
    report: Option<Report>,
    pub git: Git,
    pub access: Access,
    pub taken: Taken,
    pub work: BranchName,
    pub signing: Signing,
    /// Why the commits are not signed, though there is a key.
    unsigned: Option<Problem>,
}

/// Whether what is pushed is signed before.
pub enum Signing {
    /// There is no key.
    Off,
    /// There is one that can't be used.
    Broken,
    /// With it, all that these commits do not contain.
    With(Signer, Vec<String>),
}

impl Push<'_> {
    /// What is for the work branch, or would be if the agent had committed it there.
    async fn first(&mut self, clone: &Clone, base: &str) -> Result<(), Problem> {
        if let Err(problem) = self.sign(base).await {
            log::say(&format!("Keeping the commits unsigned: {problem}"));
            self.unsigned = Some(problem);
        }
        if let Some(name) = &self.taken.elsewhere {
            let why = format!(
                "the agent committed on {name} alone, and left the work branch checked out as it was"
            );
            self.keep(reason::COMMITTED_ELSEWHERE, &why).await;
        } else if !self.taken.continues {
            let why = "the agent rewrote the commit that it began with, so its commits do not continue \
                       the work branch";
            self.keep(reason::HISTORY_REWRITTEN, why).await;
        } else if let Err(problem) = clone.must_be_whole(base, &self.taken.commit).await {
            self.keep(problem.reason, &problem.message).await;
        } else if let Some(problem) = self.unsigned.take() {
            self.keep(problem.reason, &problem.message).await;
        } else {
            return self.run().await;
        }
        Ok(())
    }

    async fn run(&self) -> Result<(), Problem> {
        let Self { taken, work, delivery, .. } = self;
        match self.to(work, &taken.commit, delivery.until).await {
            Outcome::Taken => {
                delivery.draft.borrow_mut().branch = Some(work.to_string());
                let rest = self.rest();
                let message = format!("pushed to branch {work}; commits: {}{rest}", taken.commits);
                delivery.conclude(true, reason::PUSHED, message);
                Ok(())
            }
            Outcome::Rejected(said) => {
                let why =
                    format!("the remote did not take branch {work}: {}", head(&said, MAX_QUOTE));
                self.keep(reason::PUSH_REJECTED, &why).await;
                Ok(())
            }
            Outcome::Failed(problem) => Err(problem),
        }
    }

    /// Puts signed commits in the place of those that the agent made, where there is a key to sign with: all of them, or
    /// none where it fails.
    async fn sign(&mut self, base: &str) -> Result<(), Problem> {
        let Self { delivery, access, git, taken, signing, .. } = self;
        *signing = Signing::Broken;
        let Some(mut signer) = Signer::prepare(delivery.paths, git.clone())? else {
            *signing = Signing::Off;
            return Ok(());
        };
        let mut known = held::by_remote(access, git, &[&taken.commit], delivery.until).await;
        known.push(base.to_owned());
        let commit = signer.sign(&known, &taken.commit).await;
        *signing = Signing::With(signer, known);
        taken.commit = commit?;
        log::say(&format!("Signed the commits up to {}", taken.commit));
        delivery.draft.borrow_mut().commit = Some(taken.commit.clone());
        Ok(())
    }

    /// Pushes no longer than that.
    pub async fn to(&self, branch: &BranchName, commit: &str, until: Instant) -> Outcome {
        log::say(&format!("Pushing {commit} to branch {branch} of {}", self.access.repository));
        self.delivery.metrics.pushing();
        push::push(&self.access, &self.git, commit, branch, until).await
    }

    /// What the bundle leaves open.
    fn rest(&self) -> String {
        unless_whole(self.report.as_ref(), self.delivery.late)
    }

    /// Pushes to a branch of this Polecat's own, so that nothing is lost.
    async fn keep(&self, reason: &'static str, why: &str) {
        let Settings { uid, attempt, .. } = self.delivery.settings;
        let mut said = NO_UID.to_owned();
        let kept = if uid.is_empty() {
            Vec::new()
        } else {
            vec![self.work.kept(uid, None), self.work.kept(uid, Some(*attempt))]
        };
        for branch in kept {
            match self.to(&branch, &self.taken.commit, self.delivery.until).await {
                Outcome::Taken => {
                    let unsigned =
                        self.unsigned.iter().map(|it| format!("; unsigned: {}", it.message));
                    let unsigned: String = unsigned.collect();
                    let rest = self.rest();
                    let message = format!(
                        "{why}; its commits are kept on branch {branch}: merge them from there{unsigned}{rest}"
                    );
                    self.delivery.draft.borrow_mut().branch = Some(branch.to_string());
                    self.delivery.conclude(false, reason, message);
                    return;
                }
                Outcome::Rejected(it) => head(&it, MAX_QUOTE / 2).clone_into(&mut said),
                Outcome::Failed(problem) => {
                    head(&problem.message, MAX_QUOTE / 2).clone_into(&mut said);
                    break;
                }
            }
        }
        let branch = self.work.kept(uid, None);
        let message = format!(
            "{why}; nor could they be kept on branch {branch}: {said}; the commits are lost with the pod"
        );
        self.delivery.conclude(false, reason, message);
    }
}

/// Rounds for people.
pub fn took(since: Instant) -> Duration {
    Instant::now().saturating_duration_since(since)
}
