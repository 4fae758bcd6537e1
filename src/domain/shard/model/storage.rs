//! The API server: compare-and-swap on Leases and objects, and the log that watches read.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    lease::Record,
    shard::{
        ShardId,
        seen::{Session, Shard},
    },
};

pub type Name = Box<str>;
/// Uid and version that a write was computed from.
pub type Over = Option<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Session(Session),
    Shard(ShardId, Shard),
}

impl Kept {
    pub fn record(&self) -> &Record {
        match self {
            Self::Session(it) => &it.record,
            Self::Shard(_, it) => &it.record,
        }
    }

    pub fn record_mut(&mut self) -> &mut Record {
        match self {
            Self::Session(it) => &mut it.record,
            Self::Shard(_, it) => &mut it.record,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Put {
        name: Name,
        over: Over,
        kept: Kept,
    },
    Get(Name),
    Sessions,
    Delete {
        name: Name,
        over: Over,
    },
    /// A write of an object in a namespace, by the owner of a shard.
    Write {
        namespace: usize,
        version: u64,
        shard: ShardId,
        epoch: i32,
    },
}

#[derive(Clone, Debug)]
pub enum Answer {
    Accepted(Kept),
    Read(Option<Kept>),
    Sessions(Vec<(Name, Session)>),
    Done,
    Refused,
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    pub version: u64,
    by: Option<(ShardId, i32)>,
}

#[derive(Clone, Debug, Default)]
pub struct Storage {
    pub leases: BTreeMap<Name, Kept>,
    pub log: Vec<(Name, Option<Kept>)>,
    pub objects: Vec<Object>,
    pub version: u64,
    /// The highest epoch that a shard's Lease ever had.
    pub epochs: BTreeMap<ShardId, i32>,
    /// Shards whose Lease was deleted or put back from an old copy: who never saw it can't know its epoch, so that they may
    /// begin anew with the next write of ours.
    pub forgotten: BTreeSet<ShardId>,
    /// Rules that were broken.
    pub broken: Vec<String>,
}

impl Storage {
    pub fn serve(&mut self, op: &Op) -> Answer {
        match op {
            Op::Put { name, over, kept } => {
                let there = self.leases.get(name).map(|it| key(it.record()));
                if there != *over {
                    return Answer::Refused;
                }
                if let Kept::Shard(id, it) = kept {
                    self.begins_anew(*id);
                    self.rises(*id, it);
                }
                Answer::Accepted(self.keep(name, kept.clone()))
            }
            Op::Get(name) => Answer::Read(self.leases.get(name).cloned()),
            Op::Sessions => {
                let session = |(name, it): (&Name, &Kept)| match it {
                    Kept::Session(it) => Some((name.clone(), it.clone())),
                    Kept::Shard(..) => None,
                };
                Answer::Sessions(self.leases.iter().filter_map(session).collect())
            }
            Op::Delete { name, over } => {
                if self.leases.get(name).map(|it| key(it.record())) != *over {
                    return Answer::Refused;
                }
                self.delete(name);
                Answer::Done
            }
            Op::Write { namespace, version, shard, epoch } => {
                let object = &mut self.objects[*namespace];
                if object.version != *version {
                    return Answer::Refused;
                }
                if let Some((of, before)) = object.by
                    && of == *shard
                    && before > *epoch
                {
                    self.broken.push(format!(
                        "namespace {namespace} was written under epoch {epoch} after {before} of shard {shard}"
                    ));
                }
                object.version += 1;
                object.by = Some((*shard, *epoch));
                Answer::Done
            }
        }
    }

    /// Epochs of what we write never go back, nor come twice for two owners.
    fn rises(&mut self, id: ShardId, it: &Shard) {
        let highest = self.epochs.entry(id).or_default();
        if it.record.transitions < *highest {
            let epoch = it.record.transitions;
            self.broken.push(format!("epoch {epoch} of shard {id} follows {highest}"));
        }
        *highest = it.record.transitions.max(*highest);
    }

    /// Takes a write in, whoever made it.
    pub fn keep(&mut self, name: &Name, mut kept: Kept) -> Kept {
        self.version += 1;
        let uid = self.leases.get(name).map(|it| it.record().uid.clone());
        let record = kept.record_mut();
        record.uid = uid.unwrap_or_else(|| self.version.to_string());
        record.resource_version = self.version.to_string();
        self.leases.insert(name.clone(), kept.clone());
        self.log.push((name.clone(), Some(kept.clone())));
        kept
    }

    pub fn delete(&mut self, name: &Name) {
        if self.leases.remove(name).is_some() {
            self.version += 1;
            self.log.push((name.clone(), None));
        }
    }

    fn begins_anew(&mut self, id: ShardId) {
        if self.forgotten.remove(&id) {
            self.epochs.remove(&id);
            let of_it = |it: &&mut Object| it.by.is_some_and(|(of, _)| of == id);
            self.objects.iter_mut().filter(of_it).for_each(|it| it.by = None);
        }
    }

    /// Somebody deletes a Lease by hand.
    pub fn loses(&mut self, name: &Name) {
        if let Some(Kept::Shard(id, _)) = self.leases.get(name) {
            self.forgotten.insert(*id);
        }
        self.delete(name);
    }

    /// Somebody puts an old copy of a Lease back.
    pub fn puts_back(&mut self, name: &Name, old: Kept) {
        if let Kept::Shard(id, _) = &old {
            self.forgotten.insert(*id);
        }
        self.keep(name, old);
    }

    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        match self.leases.get(&shard_name(id))? {
            Kept::Shard(_, it) => Some(it),
            Kept::Session(_) => None,
        }
    }
}

pub fn key(record: &Record) -> (String, String) {
    (record.uid.clone(), record.resource_version.clone())
}

pub fn shard_name(id: ShardId) -> Name {
    format!("shard-{id}").into()
}
