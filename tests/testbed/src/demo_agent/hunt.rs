//! Looks for a text in everything that this process can reach: what it was told, every file of its containers and volumes,
//! and what the kernel shows of other processes. Told backwards, so that the question is not its own answer.

use std::{
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// A larger file is looked at up to here.
const MOST: u64 = 64 << 20;
/// What the kernel shows of a process and could hold a secret. `root` leads to its files, `fd` to what it has open.
const OF_A_PROCESS: [&str; 4] = ["environ", "cmdline", "root", "fd"];

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that could be read.
    pub files: u64,
    /// Where the text stands.
    pub places: Vec<String>,
}

/// Looks everywhere.
pub fn everywhere(text: &str) -> Found {
    let mut found = Found::default();
    for (name, value) in env::vars_os() {
        found.look_at(&format!("variable {}", name.display()), value.as_encoded_bytes(), text);
    }
    // Files of the kernel's own are no place for a user's secret, and some never end.
    below(Path::new("/"), &["/proc", "/sys"], text, &mut found);
    for process in entries(Path::new("/proc")).filter(|it| is_process(it)) {
        for name in OF_A_PROCESS {
            let path = process.join(name);
            match name {
                "root" if !is_own_root(&path) => below(&path, &[], text, &mut found),
                "root" => {}
                "fd" => entries(&path).for_each(|it| found.read(&it, text)),
                _ => found.read(&path, text),
            }
        }
    }
    found
}

impl Found {
    fn look_at(&mut self, place: &str, bytes: &[u8], text: &str) {
        if String::from_utf8_lossy(bytes).contains(text) {
            self.places.push(place.to_owned());
        }
    }

    fn read(&mut self, path: &Path, text: &str) {
        if !fs::metadata(path).is_ok_and(|it| it.is_file()) {
            return; // a pipe or a device may never end
        }
        let Ok(file) = File::open(path) else { return };
        let mut bytes = Vec::new();
        if file.take(MOST).read_to_end(&mut bytes).is_ok() {
            self.files += 1;
            self.look_at(&path.display().to_string(), &bytes, text);
        }
    }
}

fn below(root: &Path, except: &[&str], text: &str, found: &mut Found) {
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for path in entries(&folder).filter(|it| !except.iter().any(|no| it == Path::new(no))) {
            match fs::symlink_metadata(&path) {
                Ok(it) if it.is_dir() => waiting.push(path),
                Ok(it) if it.is_file() => found.read(&path, text),
                _ => {} // a link leads to what is looked at anyway
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path())
}

fn is_process(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    !name.is_empty() && name.bytes().all(|it| it.is_ascii_digit())
}

/// The files of another container would be other ones.
fn is_own_root(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    of(path).is_none_or(|it| Some(it) == of(Path::new("/")))
}
