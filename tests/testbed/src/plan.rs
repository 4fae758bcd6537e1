//! What the outer process asks of the inner one, and what that reports back: plain data that crosses as JSON.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Git, Node, net::Block, tools::Tools};

/// Everything that has to be known to start a control plane and a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub node: Node,
    /// etcd makes every write durable.
    pub fsync: bool,
    /// The API server's own storage migration is switched on.
    pub storage_migration: bool,
    /// The minor version of Kubernetes, such as `36`.
    pub minor: u32,
    /// The audit log's file.
    pub audit: PathBuf,
    /// Addresses, when enclosed in namespaces; otherwise everything is on loopback.
    pub block: Option<Block>,
    /// The cgroup of the node's pods.
    pub cgroup: String,
    pub tools: Tools,
    /// What goes into the images of the real node.
    pub programs: Option<Programs>,
    /// Who enforces network policies on the real node.
    pub enforcer: Option<PathBuf>,
}

/// Our own programs in the images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    pub runner: PathBuf,
    pub agent: PathBuf,
}

impl Plan {
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join("plan.json");
        fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("failed to write {}", path.display()))
    }

    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("plan.json");
        let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no plan of a testbed", path.display()))
    }
}

/// What the inner process says, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The namespaces are there: the link can be made. Answered by the line `linked`.
    Enclosed,
    /// Everything runs.
    Ready { git: Option<Box<Git>> },
    /// An order (`stop PROGRAM`, `start PROGRAM`) was carried out.
    Obeyed { order: String },
    /// An order was not carried out, and why.
    Refused { order: String, message: String },
    /// It can't go on; the process ends.
    Failed { message: String },
}
