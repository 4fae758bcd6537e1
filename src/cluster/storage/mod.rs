//! Migrates what lies in storage in an older version: every object is written once as it is, then the older version is
//! taken out of the definition's stored ones. The API server's own `StorageVersionMigration` does the writing where it is
//! served ([`served`]), else we do (`own`). Never changes an object, never takes a version out before all is written.
//!
//! May be interrupted at any moment and be under way twice: a write of what is written already is none, every write names
//! the version of the object that it was made for, and the end is a compare-and-swap on the very definition that it began
//! with.

mod own;
pub mod served;
mod wire;

use std::{
    fmt,
    time::{Duration, Instant},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Resource as _,
    api::{GetParams, ListParams, Patch, PatchParams},
    core::Request,
};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{
    cluster::{
        Class, Cluster, Error, cache::Key, guard::Lapsed, now, request::Built, wire::Watched,
    },
    domain::storage::{Definition, Mark, Standing},
};
use wire::List;

/// API servers hear of a new storage version by watch: until all have, one of them may still write the old one.
pub const SETTLE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });
/// How long a request is tried again that the API server can't take at the moment.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is begun anew because the definition changed meanwhile.
const ROUNDS: usize = 5;
/// The resource's word in metrics, and for faults that tests ask for.
const OBJECTS: &str = "storage";
const DEFINITIONS: &str = "customresourcedefinitions";
/// Who wrote, in managed fields.
const FIELD_MANAGER: &str = "gastown-storage";

/// What one migration is about, and who hears of it.
pub struct Migration<'a> {
    pub cluster: &'a Cluster,
    /// The definition's name, such as `polecats.gastown.gastown.io`.
    pub name: &'a str,
    /// Most objects a second that we write ourselves.
    pub rate: u32,
    pub tell: &'a (dyn Fn(&Step) + Send + Sync),
}

/// What is told of a migration under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begins with the first object.
    Begins { old: Vec<String>, storage: String },
    /// Goes on where it was interrupted.
    GoesOn { written: u64 },
    /// The API server's own migration was asked for.
    AskedFor { name: String },
    /// That did not end well, so we write ourselves.
    ByOurselves { why: String },
    /// So many written, so many to go.
    Wrote { written: u64, left: Option<u64> },
    /// The API server could not take a request; it is tried again.
    Waits { why: String },
    /// The definition changed, so all of it counts for nothing.
    Anew,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is no such definition.
    Missing,
    /// Nothing lies in an older version.
    Nothing { storage: String },
    /// All lies in the storage version now. `written`: by us; `None`: by the API server's own migration.
    Migrated { storage: String, written: Option<u64> },
    /// The conversion is switched off: nothing was touched.
    Unconverted { old: Vec<String> },
    /// Some objects could not be written, so all stored versions stay.
    Refused { count: u64, first: Vec<String> },
    /// The definition changed too often.
    Restless,
}

/// What became of writing everything once.
#[derive(Debug, Default)]
struct Round {
    written: Option<u64>,
    refused: u64,
    first: Vec<String>,
}

impl Migration<'_> {
    /// Migrates what is to be migrated; not sooner than [`SETTLE`] after the storage version changed.
    pub async fn run(&self) -> Result<Ending, Error> {
        for _ in 0..ROUNDS {
            let Some(begun) = self.definition().await? else { return Ok(Ending::Missing) };
            let storage = begun.storage.clone();
            let old = match begun.standing() {
                Standing::Settled => return Ok(Ending::Nothing { storage }),
                Standing::Unconverted(old) => return Ok(Ending::Unconverted { old }),
                Standing::Behind(old) => old,
            };
            let step = match begun.progress() {
                Some(it) => Step::GoesOn { written: it.written },
                None => Step::Begins { old, storage },
            };
            (self.tell)(&step);
            let round = self.write_everything(&begun).await?;
            if let Some(ending) = self.end(&begun, round).await? {
                return Ok(ending);
            }
            (self.tell)(&Step::Anew);
            tokio::time::sleep(SETTLE).await;
        }
        Ok(Ending::Restless)
    }

    /// Makes a version the storage version. Objects stay as they lie; `false`: it is not served.
    pub async fn store_as(&self, version: &str) -> Result<bool, Error> {
        loop {
            let Some(found) = self.definition().await? else { return Ok(false) };
            if found.storage == version {
                return Ok(true);
            }
            let patch = found.stored_as(version).and_then(|it| serde_json::from_value(it).ok());
            let Some(patch) = patch.map(Patch::<()>::Json) else { return Ok(false) };
            let attempt = format!("make {version} the storage version of {}", self.name);
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            let build = || definitions().patch(self.name, &params, &patch);
            match self.write::<IgnoredAny>(DEFINITIONS, &attempt, build).await {
                Err(error) if error.class() == Class::Conflict => {}
                other => return other.map(|_| true),
            }
        }
    }

    /// The definition as it is now.
    pub async fn definition(&self) -> Result<Option<Definition>, Error> {
        let attempt = format!("get CustomResourceDefinition {}", self.name);
        let build = || definitions().get(self.name, &GetParams::default());
        match self.read::<Watched<Definition>>(DEFINITIONS, &attempt, build).await {
            Ok(it) => {
                it.content.map(Some).map_err(|why| Error::Build { attempt, source: why.into() })
            }
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many objects there are.
    pub async fn count(&self, of: &Definition) -> Result<u64, Error> {
        let params = ListParams::default().limit(1);
        let attempt = format!("count {}", of.plural);
        let build = || objects(of, &of.storage, None).list_metadata(&params);
        let list: List<IgnoredAny> = self.read(OBJECTS, &attempt, build).await?;
        let more = list.metadata.remaining_item_count.and_then(|it| u64::try_from(it).ok());
        Ok(list.items.len() as u64 + more.unwrap_or_default())
    }

    /// Reads every object in a version, and says how many there are: one that can't be converted is an error that names it.
    pub async fn readable(&self, of: &Definition, version: &str) -> Result<u64, Error> {
        let attempt = format!("read every one of {} as {version}", of.plural);
        let (mut read, mut params) = (0, ListParams::default().limit(own::PAGE));
        loop {
            let build = || objects(of, version, None).list(&params);
            let list: List<IgnoredAny> =
                self.cluster.read(OBJECTS, || attempt.clone(), build()).await?;
            read += list.items.len() as u64;
            match list.next() {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(read),
            }
        }
    }

    /// Has every object written once, by whoever can.
    async fn write_everything(&self, begun: &Definition) -> Result<Round, Error> {
        // One of ours that was interrupted is nearer to its end.
        if begun.progress().is_none()
            && let Some(version) = self.served().await?
        {
            match self.by_api_server(begun, version).await? {
                Ok(()) => return Ok(Round::default()),
                Err(why) => (self.tell)(&Step::ByOurselves { why }),
            }
        }
        self.write_all(begun).await
    }

    /// Says on the definition how it ended; `None`: that has changed, and it is all to be done again.
    async fn end(&self, begun: &Definition, round: Round) -> Result<Option<Ending>, Error> {
        let Round { written, refused, first } = round;
        loop {
            let Some(found) = self.definition().await? else { return Ok(Some(Ending::Missing)) };
            if !found.is_still(begun) {
                return Ok(None);
            }
            let (mark, ending) = if refused > 0 {
                let ending = Ending::Refused { count: refused, first: first.clone() };
                (Mark::Refused(refused, first.clone()), ending)
            } else {
                let ending = Ending::Migrated { storage: found.storage.clone(), written };
                (Mark::Done, ending)
            };
            match self.mark(&found, &mark).await {
                Err(error) if error.class() == Class::Conflict => {}
                other => return other.map(|()| Some(ending)),
            }
        }
    }

    /// Writes how it stands into the status of the definition, as that was read.
    async fn mark(&self, found: &Definition, mark: &Mark) -> Result<(), Error> {
        let patch = Patch::Merge(found.marked(mark, now()));
        let attempt = format!("write the status of CustomResourceDefinition {}", self.name);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let build = || definitions().patch_subresource("status", self.name, &params, &patch);
        self.write::<IgnoredAny>(DEFINITIONS, &attempt, build).await.map(drop)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: &str,
        build: impl Fn() -> Built + Send,
    ) -> Result<T, Error> {
        let mut tries = Tries::new();
        loop {
            let answer = self.cluster.read(resource, || attempt.to_owned(), build()).await;
            match self.again(&mut tries, answer).await {
                Some(answer) => return answer,
                None => tries.failed += 1,
            }
        }
    }

    async fn write<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: &str,
        build: impl Fn() -> Built + Send,
    ) -> Result<T, Error> {
        let (mut tries, key) = (Tries::new(), Key::new("", self.name));
        loop {
            // A pass for each write: who closes the shard waits for no more than that.
            let Some(entered) = self.cluster.ownership.enter(&key) else {
                return Err(Error::Fenced {
                    attempt: attempt.to_owned(),
                    source: Lapsed::GivenAway,
                });
            };
            let cluster = self.cluster.under(entered.guard());
            let answer = cluster.write(resource, || attempt.to_owned(), build()).await;
            drop(entered);
            match self.again(&mut tries, answer).await {
                Some(answer) => return answer,
                None => tries.failed += 1,
            }
        }
    }

    /// Waits before the next try; gives the answer back where there is to be none.
    async fn again<T>(
        &self,
        tries: &mut Tries,
        answer: Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        let Err(error) = answer else { return Some(answer) };
        match error.class() {
            Class::Fenced => self.cluster.ownership.allowed().await,
            Class::Transient if !error.has_expired() && tries.since.elapsed() < PATIENCE => {
                if tries.failed == 0 {
                    (self.tell)(&Step::Waits { why: chain(&error) });
                }
                tokio::time::sleep(tries.pause()).await;
            }
            _ => return Some(Err(error)),
        }
        None
    }
}

/// How often a request has failed, since when.
struct Tries {
    failed: u32,
    since: Instant,
}

impl Tries {
    fn new() -> Self {
        Self { failed: 0, since: Instant::now() }
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(100).saturating_mul(1 << self.failed.min(10)).min(LONGEST_PAUSE)
    }
}

/// An error with its causes, in one line.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn definitions() -> Request {
    Request::new(CustomResourceDefinition::url_path(&(), None))
}

/// Objects in a version: those of a namespace, or all.
fn objects(of: &Definition, version: &str, namespace: Option<&str>) -> Request {
    let (group, plural) = (&of.group, &of.plural);
    let within = namespace.map(|it| format!("namespaces/{it}/")).unwrap_or_default();
    Request::new(format!("/apis/{group}/{version}/{within}{plural}"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { old, storage } => {
                write!(f, "objects may lie in {}; writes them as {storage}", old.join(", "))
            }
            Self::GoesOn { written } => {
                write!(f, "goes on where it was interrupted, after {written} objects")
            }
            Self::AskedFor { name } => {
                write!(f, "asked the API server for it: StorageVersionMigration {name}")
            }
            Self::ByOurselves { why } => {
                write!(
                    f,
                    "the API server's own migration came to nothing ({why}); objects are written one by one"
                )
            }
            Self::Wrote { written, left: Some(left) } => {
                write!(f, "{written} written, {left} to go")
            }
            Self::Wrote { written, left: None } => write!(f, "{written} written"),
            Self::Waits { why } => write!(f, "tries again: {why}"),
            Self::Anew => write!(f, "the definition changed meanwhile; begins anew"),
        }
    }
}

#[cfg(test)]
mod tests;
