//! What keeps Polecats from beginning, as this replica sees it: pauses from the caches of Namespaces and Rigs, a Rig's
//! rules, slots from the one book of this scope. Makes no request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use serde::Deserialize;

use crate::{
    api::v1beta1::Polecat,
    cluster::{
        Cluster,
        cache::{self, Key},
        wire::{Compact, Meta},
    },
    domain::{
        brake::{self, Hold},
        exposure,
        failure::Cause,
        lent::Lent,
        pod::PodSettings,
        pod_brief::{PodBrief, PodPhase},
        polecat::Brief,
        shard::wishes::ANNOTATION,
        slots::{Slots, Standing},
        tenancy,
    },
};

/// The book of slots of one scope. Whoever locks it may read the caches, never the other way round.
#[derive(Debug, Default)]
pub struct Book(Mutex<Slots>);

impl Book {
    fn open(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The book of git credentials of one scope.
#[derive(Debug, Default)]
pub struct Credentials(Mutex<Lent>);

impl Credentials {
    fn open(&self) -> MutexGuard<'_, Lent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Why this Polecat may not begin now; `None`: it may, and its slot is taken.
    pub(super) fn hold(&self, brief: &Brief) -> Option<Hold> {
        if let Some(pause) = self.pause(brief) {
            return Some(pause);
        }
        let limit = self.settings.max_running_per_namespace?;
        let (namespace, name) = (&*brief.namespace, &*brief.name);
        let claimed = self.slots.open().claim(namespace, name, &brief.place(), limit);
        (!claimed).then(|| Hold::Full { namespace: namespace.to_owned(), limit })
    }

    /// What pauses this Polecat, if anything does.
    fn pause(&self, brief: &Brief) -> Option<Hold> {
        let namespace = Key::new("", &brief.namespace);
        let rig = Key::new("", &brief.rig);
        if self.settings.paused {
            Some(Hold::Operator)
        } else if self.caches.namespaces.get(&namespace).is_some_and(|it| it.paused) {
            Some(Hold::Namespace(brief.namespace.to_string()))
        } else if self.caches.rigs.get(&rig).is_some_and(|it| it.paused) {
            Some(Hold::Rig(brief.rig.to_string()))
        } else {
            self.forbidden(brief).map(Hold::Forbidden)
        }
    }

    /// Why its Rig does not let this Polecat begin.
    fn forbidden(&self, brief: &Brief) -> Option<Cause> {
        let rig = self.caches.rigs.get(&Key::new("", &brief.rig));
        let rules = rig.as_deref().map(|it| &it.rules);
        let house = self.settings.house;
        let all = tenancy::forbidden(&brief.rig, rules, &brief.namespace, &brief.wishes, house);
        tenancy::cause(&all)
    }

    /// Why its agent may not have what it names: another Polecat of its namespace clones with it.
    pub(super) fn borrowed(&self, brief: &Brief, whole: &Polecat) -> Option<Hold> {
        let mut book = self.caches.credentials.open();
        let of = |secret: &str| book.user(&brief.namespace, secret, &brief.name).map(str::to_owned);
        let found = exposure::borrowed(&whole.spec, of)?;
        book.refuse(&brief.namespace, &brief.name);
        let text = format!("{} {}", found.field, found.message);
        Some(Hold::Forbidden(Cause::known("PodBuildFailed", text)))
    }

    /// Enters into the book which git credential the cache says a Polecat has. Returns who may begin because of that.
    pub fn note_credential(&self, key: &Key) -> Vec<Key> {
        // Read under the lock, so that the last to enter it enters the newest.
        let mut book = self.caches.credentials.open();
        let brief = self.caches.polecats.get(key);
        let known = brief.as_deref().and_then(|it| it.credential.as_ref());
        let next = book.note(&key.namespace, &key.name, known, brief.is_some());
        next.iter().map(|name| Key::new(&key.namespace, name)).collect()
    }

    /// The settings of a Polecat's pod: its Rig may hold it to more than the operator does.
    pub(super) fn settings_of(&self, brief: &Brief) -> Arc<PodSettings> {
        let rig = self.caches.rigs.get(&Key::new("", &brief.rig));
        let policy = self.settings.house.tls_policy(rig.as_deref().map(|it| &it.rules));
        if policy == self.settings.house.tls_policy {
            return Arc::clone(&self.settings);
        }
        let mut settings = PodSettings::clone(&self.settings);
        settings.house.tls_policy = policy;
        Arc::new(settings)
    }

    /// Enters into the book what the cache has of a Polecat. `passed`: a pass over it has ended and left nothing open.
    /// Returns who may begin because of that.
    pub fn note_polecat(&self, key: &Key, passed: bool) -> Vec<Key> {
        let Some(limit) = self.settings.max_running_per_namespace else { return Vec::new() };
        // Read under the lock, so that the last to enter it enters the newest.
        let mut slots = self.slots.open();
        let brief = self.caches.polecats.get(key);
        let standing = match brief.as_deref().map(|it| (it.standing(), it)) {
            Some((Standing::InLine(_), it)) if self.pause(it).is_some() => Standing::Out,
            Some((standing, _)) => standing,
            None => Standing::Out,
        };
        let next = slots.note(&key.namespace, &key.name, standing, passed, limit);
        next.iter().map(|name| Key::new(&key.namespace, name)).collect()
    }

    /// Enters into the book what the cache has of a pod. Returns who may begin because of that.
    pub fn note_pod(&self, pod: &Key) -> Vec<Key> {
        let Some(limit) = self.settings.max_running_per_namespace else { return Vec::new() };
        let mut slots = self.slots.open();
        let brief = self.caches.pods.get(pod);
        let owner = brief.as_deref().filter(|it| lives(it)).and_then(|it| it.owner.as_ref());
        let owner = owner.filter(|it| it.is_polecat()).map(|it| &*it.name);
        let next = slots.note_pod(&pod.namespace, &pod.name, owner, limit);
        next.iter().map(|name| Key::new(&pod.namespace, name)).collect()
    }

    /// Forgets what was noted of namespaces that are no longer looked at.
    pub fn forget_namespaces(&self, is: impl Fn(&str) -> bool) {
        self.slots.open().forget_where(&is);
        self.caches.credentials.open().forget_where(&is);
        self.forget_crowd(&is);
    }

    /// Polecats that a pause of their Namespace or Rig concerns, in the order in which they may begin.
    pub fn concerned(&self, by: impl Fn(&Brief) -> bool) -> Vec<Key> {
        let mut all = self.caches.polecats.all();
        all.retain(|it| by(it) && it.minds_a_pause());
        all.sort_by_key(|it| it.place());
        let keys: Vec<Key> = all.iter().map(|it| cache::key(&**it)).collect();
        for key in &keys {
            self.note_polecat(key, false);
        }
        keys
    }
}

/// Telemetry of the original's goes on for ever, so its pods live as long as their agent.
const fn lives(pod: &PodBrief) -> bool {
    let over = matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed)
        || (pod.by_original && pod.claude.ended());
    !over
}

/// A Namespace, of which only the metadata is asked for.
#[derive(Debug, Deserialize)]
pub struct NamespaceWire {
    metadata: Meta,
}

impl Compact for brake::Namespace {
    type Kind = Namespace;
    type Wire = NamespaceWire;
    const METADATA_ONLY: bool = true;

    fn from_wire(wire: NamespaceWire) -> Self {
        let meta = kube::core::ObjectMeta::from(wire.metadata);
        let boxed = |it: Option<String>| it.unwrap_or_default().into();
        Self {
            paused: brake::pauses(meta.annotations.as_ref()),
            shard: meta
                .annotations
                .as_ref()
                .and_then(|it| it.get(ANNOTATION))
                .map(|it| it.as_str().into()),
            name: boxed(meta.name),
            uid: boxed(meta.uid),
            resource_version: boxed(meta.resource_version),
        }
    }
    fn place(&self) -> (&str, &str) {
        ("", &self.name)
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}
