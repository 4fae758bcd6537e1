//! Watches how much the agent's volumes hold. A node ends a pod at once, without time to hand over or to push, when one of
//! them outgrows its limit; the agent is ended a tenth before that. Counted as the node counts, in the background, at a bounded
//! cost.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use super::{activity::Activity, log, paths::Paths};
use crate::domain::layout;

/// Files counted in one step.
const STEP: usize = 1000;
/// After a step the watch sleeps this many times as long as the step took: it takes no more than a twentieth of a
/// processor, however many files there are. 100,000 of them are counted in four seconds; a node counts once a minute.
const REST: u32 = 19;
/// Least time between two counts.
const PAUSE: Duration = Duration::from_secs(1);
/// Folders remembered at most: an agent that nests more is counted less exactly.
const MAX_WAITING: usize = 100_000;
/// A volume is emptied for this long at most.
const FREEING: Duration = Duration::from_secs(10);

/// How much a volume may hold at most: the agent is ended at nine tenths of it. Written `/path=bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeLimit {
    path: String,
    bytes: u64,
}

impl FromStr for VolumeLimit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "must be /path=bytes, with a number of bytes from 1";
        let (path, bytes) = text.split_once('=').ok_or(form)?;
        let bytes = bytes.parse().ok().filter(|it| *it > 0).ok_or(form)?;
        if path.starts_with('/') { Ok(Self { path: path.to_owned(), bytes }) } else { Err(form) }
    }
}

/// That too much is held, and what to do about it.
#[derive(Debug)]
struct Exceeded {
    /// For people.
    said: String,
    /// Folders that hold it, where nothing in them is meant for others than the agent.
    to_empty: Vec<PathBuf>,
}

/// The watch over all of them.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    exceeded: Arc<OnceLock<Exceeded>>,
}

impl Storage {
    /// Watches until too much is held, in a thread of its own: a file system that hangs must not keep the deadline from
    /// coming. `whole` is what the pod may hold, in bytes, if that is limited.
    pub fn watch(
        paths: &Paths,
        limits: &[VolumeLimit],
        whole: Option<u64>,
        activity: &Activity,
    ) -> Self {
        let it = Self::default();
        let whole = whole.filter(|it| *it > 0);
        let volume = |limit: &VolumeLimit| (limit.clone(), PathBuf::from(paths.at(&limit.path)));
        let volumes: Vec<_> = limits.iter().map(volume).collect();
        let (exceeded, activity) = (Arc::clone(&it.exceeded), activity.clone());
        if !volumes.is_empty() {
            let (tools, clone) = (paths.at(layout::TOOLS.path), paths.at(layout::REPOSITORY));
            thread::spawn(move || {
                // What is held where we can't look: a bare clone as large as the agent's, and the tools.
                let unseen =
                    [tools, format!("{clone}/.git")].map(|it| used(it.as_ref(), u64::MAX, rest));
                let unseen: u64 = unseen.iter().sum();
                loop {
                    // A node counts the log as the pod's too.
                    if let Some(it) = look(&volumes, whole, unseen + activity.logged()) {
                        return exceeded.set(it);
                    }
                    thread::sleep(PAUSE);
                }
            });
        }
        it
    }

    /// What there is to say once too much is held.
    pub fn exceeded(&self) -> Option<&str> {
        self.exceeded.get().map(|it| it.said.as_str())
    }

    /// Empties what is nearly full, once all is handed over: a node that counts late has no reason left to end the pod
    /// before its commits are pushed. Nothing of it outlives the pod in any case.
    pub fn free(&self) {
        for root in self.exceeded.get().iter().flat_map(|it| &it.to_empty) {
            log::say(&format!("Emptying {}", root.display()));
            empty(root, Instant::now() + FREEING);
        }
    }
}

/// Counts once.
fn look(volumes: &[(VolumeLimit, PathBuf)], whole: Option<u64>, unseen: u64) -> Option<Exceeded> {
    let theirs = |limit: &VolumeLimit| limit.path != layout::HANDOVER.path;
    let mut all = unseen;
    for (limit, root) in volumes {
        let most = nine_tenths(limit.bytes);
        let used = used(root, most, rest);
        if used >= most {
            let (path, used, may) = (&limit.path, mebibytes(used), mebibytes(limit.bytes));
            return Some(Exceeded {
                said: format!("{path} held {used} MiB of the {may} MiB that its volume may hold"),
                to_empty: Some(root.clone()).filter(|_| theirs(limit)).into_iter().collect(),
            });
        }
        all = all.saturating_add(used);
    }
    let may = whole.filter(|it| all >= nine_tenths(*it))?;
    let (used, may) = (mebibytes(all), mebibytes(may));
    let agents = volumes.iter().filter(|(limit, _)| theirs(limit));
    Some(Exceeded {
        said: format!(
            "its pod, with its log, held {used} MiB of the {may} MiB that its limit of ephemeral-storage, or its node, allows"
        ),
        to_empty: agents.map(|(_, root)| root.clone()).collect(),
    })
}

const fn nine_tenths(bytes: u64) -> u64 {
    bytes - bytes / 10
}

fn rest(took: Duration) {
    thread::sleep(took * REST);
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The bytes in use below a folder; the count ends early where it has reached `most`. Rests after every step.
fn used(root: &Path, most: u64, rest: impl Fn(Duration)) -> u64 {
    let (mut waiting, mut used) = (vec![root.to_owned()], 0_u64);
    let (mut since, mut counted) = (Instant::now(), 0);
    while let Some(folder) = waiting.pop() {
        // What is gone meanwhile uses nothing.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(it) = entry.metadata() else { continue };
            // As on disk: holes count for nothing, and a file under several names counts once.
            let names = if it.is_dir() { 1 } else { it.nlink().max(1) };
            used = used.saturating_add(it.blocks().saturating_mul(512) / names);
            if it.is_dir() && waiting.len() < MAX_WAITING {
                waiting.push(entry.path());
            }
            if used >= most {
                return used;
            }
            counted += 1;
            if counted == STEP {
                rest(since.elapsed());
                (since, counted) = (Instant::now(), 0);
            }
        }
    }
    used
}

/// Removes files below a folder, and follows no link, until all are gone or time is over.
fn empty(root: &Path, until: Instant) {
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(it) if it.is_dir() && waiting.len() < MAX_WAITING => waiting.push(entry.path()),
                _ => {
                    // What can't be removed stays: this only lowers a risk.
                    let _stays = fs::remove_file(entry.path());
                }
            }
            if Instant::now() >= until {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_is_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let count = || used(root.path(), u64::MAX, |_| {});
        fs::create_dir_all(at("a/b/c")).unwrap();
        let empty = count();
        fs::write(at("a/b/c/file"), vec![1; 1 << 20]).unwrap();
        let one = count();
        assert!(
            (empty + (1 << 20)..empty + (1 << 20) + 65_536).contains(&one),
            "{empty}, then {one}"
        );
        for name in ["l1", "l2", "l3"] {
            fs::hard_link(at("a/b/c/file"), at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        fs::File::create(at("holes")).unwrap().set_len(1 << 30).unwrap();
        assert!(count() < one + 65_536, "links and holes hold nothing: {}", count());
        assert!(used(root.path(), 1 << 19, |_| {}) >= 1 << 19, "the count ends early");
        assert_eq!(used(&at("nowhere"), 1, |_| {}), 0);
    }

    #[test]
    fn it_rests_after_every_step() {
        let root = tempfile::tempdir().unwrap();
        for name in 0..=2 * STEP {
            fs::write(root.path().join(name.to_string()), "").unwrap();
        }
        let rests = std::cell::Cell::new(0);
        used(root.path(), u64::MAX, |_| rests.set(rests.get() + 1));
        assert_eq!(rests.get(), 2);
    }

    #[test]
    fn a_limit_is_a_path_and_a_number() {
        let limit: VolumeLimit = "/tmp=1048576".parse().unwrap();
        assert_eq!(limit, VolumeLimit { path: "/tmp".into(), bytes: 1 << 20 });
        for text in ["/tmp", "tmp=1", "/tmp=0", "/tmp=-1", "/tmp=1Gi", ""] {
            assert!(text.parse::<VolumeLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn emptying_follows_no_link() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("file"), "x").unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(other.path(), root.path().join("a/link")).unwrap();
        empty(root.path(), Instant::now() + Duration::from_secs(60));
        assert!(other.path().join("file").exists() && !root.path().join("a/b/file").exists());
    }

    #[test]
    fn too_much_is_nine_tenths_of_a_volume_or_of_all() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for root in [&one, &two] {
            fs::write(root.path().join("file"), vec![1; 1 << 20]).unwrap();
        }
        let told = |each: u64, whole, unseen| {
            let volume = |path: &str, root: &tempfile::TempDir| {
                (VolumeLimit { path: path.into(), bytes: each }, root.path().to_owned())
            };
            let volumes = [volume("/tmp", &one), volume(layout::HANDOVER.path, &two)];
            look(&volumes, whole, unseen).map(|it| (it.said, it.to_empty))
        };
        let (mib, root) = (1 << 20, vec![one.path().to_owned()]);
        assert_eq!(told(2 * mib, None, 0), None);
        let said = "/tmp held 1.0 MiB of the 1.0 MiB that its volume may hold";
        assert_eq!(told(mib, None, 0), Some((said.into(), root.clone())));
        assert_eq!(told(2 * mib, Some(3 * mib), 0), None, "two of three");
        let said = "its pod, with its log, held 3.0 MiB of the 3.0 MiB that its limit of ephemeral-storage, or its node, allows";
        let told = told(2 * mib, Some(3 * mib), mib);
        assert_eq!(told, Some((said.into(), root)), "what others hold counts, and is left alone");
    }
}
