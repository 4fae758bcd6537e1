//! Where everything is: the layout's paths below one root. A test's root stands for a container's file
//! system.

use crate::domain::layout;

/// All paths that the runner uses.
#[derive(Clone, Debug)]
pub struct Paths {
    root: String,
}

impl Paths {
    /// `root` is `/` in a container.
    pub fn new(root: &str) -> Self {
        Self { root: root.trim_end_matches('/').to_owned() }
    }

    /// True in a container, where no repository may be a folder of the machine.
    pub const fn is_container(&self) -> bool {
        self.root.is_empty()
    }

    /// A path of the layout.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// The home of whoever runs: another volume in every container.
    pub fn home(&self) -> String {
        self.at(layout::HOME.path)
    }

    /// What the runner keeps in its own home: never mounted by the agent in `git-init` and `telemetry`.
    pub fn own(&self, name: &str) -> String {
        format!("{}/.gastown/{name}", self.home())
    }

    /// The bundle once it is ours.
    pub fn intake(&self) -> String {
        self.at(&format!("{}/intake.bundle", layout::DELIVERY.path))
    }

    /// A key of the git Secret.
    pub fn credential(&self, key: &str) -> String {
        self.at(&format!("{}/{key}", layout::GIT_CREDS.path))
    }
}
