//! What the agent committed on other branches: taken, signed and kept once all is over for the work branch, each by itself. What
//! can't be done with them costs nothing but them, and is said by name.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{
    bundle::MAX_REFERENCES,
    deliver::{NO_UID, Push, Signing},
    held,
    intake::{self, Clone, Opened, Other},
    log,
    paths::Paths,
    push::Outcome,
    settings::Settings,
};
use crate::domain::layout;

/// One push may take this long, however little time is left for each.
const LEAST: Duration = Duration::from_secs(5);

/// What became of them so far, in names.
#[derive(Debug, Default)]
struct Fate {
    lost: Vec<String>,
    kept: Vec<String>,
}

impl Fate {
    /// First what a person must know: a message is cut at its end.
    fn said<'a>(&'a self, open: impl Iterator<Item = &'a Other>) -> String {
        let lost: Vec<&str> =
            self.lost.iter().chain(open.map(|it| &it.name)).map(String::as_str).collect();
        let told = |what: &str, names: String| {
            let told = format!("; of the agent's other branches {what}: {names}");
            if names.is_empty() { String::new() } else { told }
        };
        told("these are lost with the pod", lost.join(", "))
            + &told("are kept", self.kept.join(", "))
    }
}

/// What is said of them where nothing could be taken for the work branch.
pub async fn lost_with_it(paths: &Paths, max_bytes: u64) -> String {
    let opened = intake::open(paths, layout::BESIDE, MAX_REFERENCES, max_bytes).await;
    let others = opened.ok().flatten().map(|it| it.others()).unwrap_or_default();
    Fate::default().said(others.iter())
}

impl Push<'_> {
    /// Keeps all that can be kept, and says in the draft where, after what it says of the work branch. `known` is what our clone
    /// had before.
    pub async fn others(&mut self, clone: &Clone, known: &[&str]) {
        let before = self.delivery.draft.borrow().message.clone();
        let max_bytes = self.delivery.arguments.max_bundle_bytes.saturating_sub(self.taken.bytes);
        let opened =
            intake::open(self.delivery.paths, layout::BESIDE, MAX_REFERENCES, max_bytes).await;
        let opened = match opened {
            Ok(None) => return,
            Ok(Some(opened)) => opened,
            Err(problem) => {
                log::say(&format!(
                    "Failed to take what was committed on other branches: {problem}"
                ));
                self.say(
                    before + "; what the agent committed on other branches is lost with the pod",
                );
                return;
            }
        };
        let all = opened.others();
        let mut fate = Fate::default();
        // Written before each step, for the case that time is over meanwhile.
        self.say(before.clone() + &fate.said(all.iter()));
        let whole = self.take(clone, opened, &all, known).await;
        let (whole, not): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| whole.contains(it));
        fate.lost.extend(not.into_iter().map(|it| it.name));
        self.learn(&whole).await;
        for (at, Other { name, commit }) in whole.iter().enumerate() {
            self.say(before.clone() + &fate.said(whole.iter().skip(at)));
            match self.keep_other(commit, at + 1, whole.len() - at).await {
                Ok(told) => fate.kept.push(format!("{name} {told}")),
                Err(said) => {
                    log::say(&format!("Failed to keep what the agent committed on {name}: {said}"));
                    fate.lost.push(name.clone());
                }
            }
        }
        self.say(before + &fate.said(std::iter::empty()));
    }

    fn say(&self, message: String) {
        self.delivery.draft.borrow_mut().message = message;
    }

    /// Puts them into our clone; answers with those of which nothing is missing.
    async fn take(
        &self,
        clone: &Clone,
        opened: Opened,
        all: &[Other],
        known: &[&str],
    ) -> Vec<Other> {
        if let Err(problem) = clone.unpack(self.delivery.paths, opened).await {
            log::say(&format!("Failed to take what was committed on other branches: {problem}"));
            return Vec::new();
        }
        let mut whole = Vec::new();
        for other in all {
            match clone.must_be_there(&other.commit, known).await {
                Ok(()) => whole.push(other.clone()),
                Err(it) => log::say(&format!("Failed to take what is on {}: {it}", other.name)),
            }
        }
        whole
    }

    /// Asks what of them the remote has: that is not signed.
    async fn learn(&mut self, others: &[Other]) {
        let Self { signing: Signing::With(_, known), access, git, delivery, .. } = self else {
            return;
        };
        let tips: Vec<&str> = others.iter().map(|it| it.commit.as_str()).collect();
        if !tips.is_empty() {
            known.extend(held::by_remote(access, git, &tips, delivery.until).await);
        }
    }

    /// Signs and pushes the one with this number in its share of the time, as one of so many that are left. Answers with where
    /// it is, or why it is lost.
    async fn keep_other(
        &mut self,
        commit: &str,
        number: usize,
        left: usize,
    ) -> Result<String, String> {
        let Settings { uid, attempt, .. } = self.delivery.settings;
        if uid.is_empty() {
            return Err(NO_UID.to_owned());
        }
        let branch = self.work.beside(uid, *attempt, number);
        let now = Instant::now();
        let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let share = self.delivery.until.saturating_duration_since(now) / left;
        let signed = self.sign_other(commit, now + share / 2).await;
        let (commit, note) = match signed {
            Ok(signed) => (signed, ""),
            Err(why) => {
                log::say(&format!("Keeping {commit} unsigned: {why}"));
                (commit.to_owned(), ", unsigned")
            }
        };
        let until = now + share;
        match timeout_at(until.max(Instant::now() + LEAST), self.to(&branch, &commit, until)).await
        {
            Ok(Outcome::Taken) => Ok(format!("on branch {branch}{note}")),
            Ok(Outcome::Rejected(said)) => Err(said),
            Ok(Outcome::Failed(problem)) => Err(problem.message),
            Err(_) => Err("the push had no end in its share of the time".to_owned()),
        }
    }

    /// The same commit where there is no key.
    async fn sign_other(&mut self, commit: &str, until: Instant) -> Result<String, String> {
        match &mut self.signing {
            Signing::Off => Ok(commit.to_owned()),
            Signing::Broken => Err("the key can't be used".to_owned()),
            Signing::With(signer, known) => {
                match timeout_at(until, signer.sign(known, commit)).await {
                    Ok(commit) => commit.map_err(|it| it.message),
                    Err(_) => Err("no time is left".to_owned()),
                }
            }
        }
    }
}
