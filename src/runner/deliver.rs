//! From the agent's end to the verdict: takes the bundle, pushes the work branch, keeps refused commits
//! on a branch of their own. Every step is written into a draft, so that a verdict can be given whenever
//! time is over.

use std::{cell::RefCell, time::Duration};

use tokio::time::Instant;

use super::{
    access::Access,
    args::Telemetry,
    git::Git,
    intake::{self, Clone, Taken},
    log,
    metrics::Metrics,
    paths::Paths,
    problem::Problem,
    push::{self, Outcome},
    settings::Settings,
    sign::Signer,
    telling::Telling,
};
use crate::domain::{
    layout,
    repository::BranchName,
    untrusted::head,
    verdict::{Ended, Verdict, reason, words},
};

/// Longest quotation of the remote's refusal, in bytes.
const MAX_QUOTE: usize = 600;

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
        }
    }

    fn conclude(&self, pushed: bool, reason: &str, message: String) {
        let mut draft = self.draft.borrow_mut();
        (draft.pushed, draft.reason, draft.message) = (pushed, reason.to_owned(), message);
    }

    async fn deliver(&self) -> Result<(), Problem> {
        // An agent that still runs may have written a report of its own.
        let report = if self.late.is_none() { intake::report(self.paths) } else { None };
        self.draft.borrow_mut().agent.clone_from(&report);
        self.telling.tell(&self.draft.borrow());
        let clone = Clone::open(self.paths);
        let base = clone.base().await?;
        self.draft.borrow_mut().base = Some(base.clone());
        let Some(taken) = clone.take(self.paths, &base, self.arguments.max_bundle_bytes).await?
        else {
            return Err(self.late.map_or_else(|| nothing(report.as_ref()), late));
        };
        log::say(&format!("Took {} commits up to {}", taken.commits, taken.commit));
        {
            let mut draft = self.draft.borrow_mut();
            (draft.commit, draft.commits) = (Some(taken.commit.clone()), taken.commits);
        }
        let work = self.settings.work_branch()?;
        let access = Access::prepare(self.paths, self.settings.repository(self.paths)?)?;
        let git = access.git(&self.paths.at(layout::BARE), self.paths).sparing();
        let mut push = Push { delivery: self, git, access, taken, work };
        if !push.taken.continues {
            let why = "the agent rewrote the commit that it began with, so its commits do not continue \
                       the work branch";
            push.keep(reason::HISTORY_REWRITTEN, why).await;
            return Ok(());
        }
        if let Err(problem) = clone.must_be_whole(&base, &push.taken.commit).await {
            push.keep(problem.reason, &problem.message).await;
            return Ok(());
        }
        match push.signed(&base).await {
            Ok(None) => {}
            Ok(Some(commit)) => push.replace(commit),
            Err(problem) => {
                push.keep(problem.reason, &problem.message).await;
                return Ok(());
            }
        }
        push.run().await
    }
}

/// Why there is nothing to push.
fn nothing(report: Option<&Ended>) -> Problem {
    match report.map(|it| it.handover.as_deref()) {
        None => Problem::new(
            reason::HANDOVER_MISSING,
            "the agent's container ended without handing anything over, as when it is killed or out of \
             memory; commits may be lost",
        ),
        Some(Some(words::FAILED | words::BUNDLE)) => Problem::new(
            reason::HANDOVER_FAILED,
            "the agent's container could not hand its commits over; see its log; commits may be lost",
        ),
        Some(Some(words::TOO_LARGE)) => Problem::new(
            reason::BUNDLE_TOO_LARGE,
            "the bundle of the agent's commits would be larger than its cap, so nothing was handed over and commits \
             are lost with the pod; have the agent commit less",
        ),
        Some(_) => Problem::new(reason::NOTHING_TO_PUSH, "the agent committed nothing"),
    }
}

fn late(waited: Duration) -> Problem {
    let message = format!(
        "the pod was ended, and the agent's container handed nothing over within {} s; commits may be lost",
        waited.as_secs()
    );
    Problem::new(reason::HANDOVER_LATE, message)
}

/// What a bundle that was not made at the end leaves open.
fn unless_whole(report: Option<&Ended>, late: Option<Duration>) -> String {
    let why = match (late, report.map(|it| it.handover.as_deref())) {
        (Some(waited), _) => {
            format!("ended, and did not hand over within {} s", waited.as_secs())
        }
        (None, Some(Some(words::BUNDLE))) => return String::new(),
        (None, _) => "cut off".to_owned(),
    };
    format!("; the agent's container was {why}, so commits after its last checkpoint may be lost")
}

struct Push<'a> {
    delivery: &'a Delivery<'a>,
    git: Git,
    access: Access,
    taken: Taken,
    work: BranchName,
}

impl Push<'_> {
    async fn run(&self) -> Result<(), Problem> {
        let Self { taken, work, delivery, .. } = self;
        match self.to(work).await {
            Outcome::Taken => {
                delivery.draft.borrow_mut().branch = Some(work.to_string());
                let rest = unless_whole(delivery.draft.borrow().agent.as_ref(), delivery.late);
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

    /// The tip of the same commits, signed; nothing where there is no key to sign with.
    async fn signed(&self, base: &str) -> Result<Option<String>, Problem> {
        match Signer::prepare(self.delivery.paths, self.git.clone())? {
            Some(signer) => signer.sign(base, &self.taken.commit).await.map(Some),
            None => Ok(None),
        }
    }

    fn replace(&mut self, commit: String) {
        log::say(&format!("Signed the commits up to {commit}"));
        self.delivery.draft.borrow_mut().commit = Some(commit.clone());
        self.taken.commit = commit;
    }

    async fn to(&self, branch: &BranchName) -> Outcome {
        log::say(&format!(
            "Pushing {} to branch {branch} of {}",
            self.taken.commit, self.access.repository
        ));
        self.delivery.metrics.pushing();
        push::push(&self.access, &self.git, &self.taken.commit, branch, self.delivery.until).await
    }

    /// Pushes to a branch of this Polecat's own, so that nothing is lost.
    async fn keep(&self, reason: &'static str, why: &str) {
        let Settings { uid, attempt, .. } = self.delivery.settings;
        let mut said = "GT_POLECAT_UID is not set".to_owned();
        let kept = if uid.is_empty() {
            Vec::new()
        } else {
            vec![self.work.kept(uid, None), self.work.kept(uid, Some(*attempt))]
        };
        for branch in kept {
            match self.to(&branch).await {
                Outcome::Taken => {
                    let message = format!(
                        "{why}; its commits are kept on branch {branch}: merge them from there"
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
