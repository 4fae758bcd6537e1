//! A Polecat that came back: from a backup, or as an export of one that had run. What it did before, or since that backup was
//! made, is not known, so it begins nothing until a person says that it shall run.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use super::{Brief, Seen, left};
use crate::{
    api::{
        shared::Condition,
        v1beta1::{DesiredState, Phase, PolecatStatus},
    },
    domain::{
        conditions::{AVAILABLE, Conditions, DEGRADED, Is, PROGRESSING, READY, RESTORED, WORKING},
        failure::Cause,
        names,
        plan::{Next, Plan},
    },
};

/// How long a restored object is left alone: Velero creates it first and writes its status, if it was asked to, a moment
/// later; a status of ours in between would keep that from being written.
const SETTLE: Duration = Duration::from_secs(3);
/// Reasons of `Restored` while it is held.
const BACKUP: &str = "RestoredFromBackup";
const EXPORT: &str = "RestoredFromExport";
/// Reason of `Restored` once a person said that it shall run.
const RELEASED: &str = "Released";

/// How a Polecat came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It is new.
    #[default]
    New,
    /// Velero restored it.
    Backup,
    /// It was applied with the status of an earlier run.
    Export,
    /// It came back, and was told to run.
    Resumed,
    /// It was told to run, and no mark says that it came back.
    Told,
}

impl Origin {
    /// By the marks on the object.
    pub fn of(meta: &ObjectMeta) -> Self {
        let has = |map: &Option<BTreeMap<String, String>>, key: &str| {
            map.as_ref().is_some_and(|it| it.contains_key(key))
        };
        let resume = meta.annotations.as_ref().and_then(|it| it.get(names::RESUME));
        let told = resume.is_some_and(|it| it == "true");
        let origin = if has(&meta.annotations, names::RESTORED_FROM) {
            Self::Export
        } else if has(&meta.labels, names::VELERO_RESTORE) {
            Self::Backup
        } else {
            return if told { Self::Told } else { Self::New };
        };
        if told { Self::Resumed } else { origin }
    }

    const fn word(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::New | Self::Resumed | Self::Told => None,
            Self::Backup => Some((BACKUP, "it was restored from a backup without its status")),
            Self::Export => Some((EXPORT, "it was applied with the status of an earlier run")),
        }
    }
}

impl Brief {
    /// Why it may not begin: it came back, and nobody has said that it shall run. A status that came along is as old as the
    /// backup.
    pub(super) fn restored(&self) -> Option<Cause> {
        let (reason, what) = self.came_by().word()?;
        if self.is_released() || self.desired != DesiredState::Working {
            return None;
        }
        let what = match self.status.attempt {
            Some(last) => format!(
                "it was restored from a backup that knows of attempt {last}, so it may have run since and is held"
            ),
            None => format!("{what}, so it may have run before and is held"),
        };
        let text = format!(
            "{what}; to run it, annotate it with {}=true, or set desiredState to Idle and back to Working",
            names::RESUME
        );
        Some(Cause::new(reason, text))
    }

    /// Whether the attempt that its status calls begun is one from before it came back.
    pub(super) fn begun_before(&self) -> bool {
        self.came_by() != Origin::New && !self.is_released()
    }

    /// How it came back, by its marks, or by what its status says of it in this life: whoever takes the marks away has not told
    /// it to run.
    fn came_by(&self) -> Origin {
        let here = |it: &Condition| self.is_of_this_life(it) && it.status == "True";
        let held = self.status.conditions.iter().find(|it| it.type_ == RESTORED && here(it));
        match (self.origin, held.map(|it| it.reason.as_str())) {
            (Origin::New, Some(EXPORT)) => Origin::Export,
            (Origin::New, Some(_)) => Origin::Backup,
            (Origin::Told, Some(_)) => Origin::Resumed,
            (Origin::Told, None) => Origin::New,
            (origin, _) => origin,
        }
    }

    /// A word that a backup brought along is older than the object itself.
    fn is_of_this_life(&self, it: &Condition) -> bool {
        let at = it.last_transition_time.0.as_second();
        self.created_at.map(Timestamp::as_second).is_none_or(|here| at >= here)
    }

    /// It was told to run since it came back.
    fn is_released(&self) -> bool {
        let told = |it: &Condition| {
            it.type_ == RESTORED && it.status == "False" && self.is_of_this_life(it)
        };
        self.status.conditions.iter().any(told)
    }

    /// It waits to be told.
    pub(super) fn held_back(&self, seen: &Seen, cause: &Cause) -> Plan<PolecatStatus> {
        let wait = left(self.created_at, SETTLE, seen.now);
        if !wait.is_zero() {
            let mut plan = Plan::only(self.status.clone());
            plan.next = Next::After(wait);
            return plan;
        }
        // The condition `Restored` says how it came back; that it waits for a word is one thing, under one name.
        let told = Cause::new(RESTORED, cause.message.clone());
        self.complain(held(self, seen.now, cause), &told)
    }

    /// Notes that it was told: by `Idle` or `Terminated`, or by the annotation.
    pub(super) fn release(&self, mut status: PolecatStatus, now: Timestamp) -> PolecatStatus {
        let message = match (self.came_by(), self.desired) {
            (Origin::Resumed, DesiredState::Working) => {
                "it came back, and was told to run by annotation"
            }
            (
                Origin::Resumed | Origin::Backup | Origin::Export,
                DesiredState::Idle | DesiredState::Terminated,
            ) => "it came back, and runs when desiredState is set to Working",
            _ => return status,
        };
        if !self.is_released() {
            let list = &mut status.conditions;
            // The API server's clock may be ahead of ours: a word of this life is not older than the object.
            let now = self.created_at.map_or(now, |it| now.max(it));
            let mut it = Conditions { list, generation: self.generation, now };
            it.remove(RESTORED); // one of an earlier life would keep its time
            it.set(RESTORED, Is::False, RELEASED, message);
        }
        status
    }
}

fn held(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Idle;
    let another_life = |it: &Condition| it.type_ == RESTORED && !brief.is_of_this_life(it);
    status.conditions.retain(|it| !another_life(it)); // it would keep its time
    // The API server's clock may be ahead of ours: what is said in this life is not older than the object.
    let now = brief.created_at.map_or(now, |it| now.max(it));
    let mut it = Conditions { list: &mut status.conditions, generation: brief.generation, now };
    it.set(RESTORED, Is::True, &cause.reason, &cause.message);
    it.set(READY, Is::False, RESTORED, &cause.message);
    for type_ in [WORKING, PROGRESSING, AVAILABLE] {
        it.set(type_, Is::False, RESTORED, &cause.message);
    }
    it.set(DEGRADED, Is::False, "Healthy", &cause.message);
    status
}
