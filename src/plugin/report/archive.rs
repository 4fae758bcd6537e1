//! A report as it is written: a packed archive, or files in a folder. Only what was redacted goes in.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use flate2::{Compression, write::GzEncoder};

use crate::{
    domain::redaction::Redacted,
    plugin::{Output, polecat::encode},
};

/// What everything is in.
const TOP: &str = "gastown-report";
/// For who made it alone: names of people and repositories are in it.
const MODE: u32 = 0o600;

/// Where a report goes.
pub struct Archive {
    to: To,
    /// Seconds since 1970: the age of every file in it.
    at: u64,
    files: usize,
}

enum To {
    Packed(Box<tar::Builder<GzEncoder<File>>>),
    Folder(PathBuf),
}

impl Archive {
    /// `to` is a folder that is there, or a file to be made: `NAME.tgz` or `NAME.tar.gz`.
    pub fn create(to: &Path, at: u64) -> anyhow::Result<Self> {
        let shown = to.display();
        if to.is_dir() {
            return Ok(Self { to: To::Folder(to.to_owned()), at, files: 0 });
        }
        let name = to.to_string_lossy();
        if !name.ends_with(".tgz") && !name.ends_with(".tar.gz") {
            bail!(
                "{shown} is no folder that is there, and no name of an archive; write one such as report.tgz"
            );
        }
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(to);
        let file = opened.with_context(|| format!("{shown} can't be written"))?;
        let packed = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self { to: To::Packed(Box::new(packed)), at, files: 0 })
    }

    /// A text as it is.
    pub fn text(&mut self, path: &str, redacted: &Redacted) -> anyhow::Result<()> {
        self.put(path, &redacted.text())
    }

    /// An object as YAML.
    pub fn yaml(&mut self, path: &str, redacted: &Redacted) -> anyhow::Result<()> {
        self.put(path, &encode(redacted.value(), Output::Yaml)?)
    }

    fn put(&mut self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = format!("{TOP}/{}", safe(path));
        let written = match &mut self.to {
            To::Packed(packed) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len().try_into()?);
                header.set_mode(MODE);
                header.set_mtime(self.at);
                packed.append_data(&mut header, &path, text.as_bytes())
            }
            To::Folder(folder) => {
                let file = folder.join(&path);
                let made = file.parent().map_or(Ok(()), fs::create_dir_all);
                made.and_then(|()| fs::write(&file, text))
            }
        };
        self.files += 1;
        written.with_context(|| format!("{path} of the report can't be written"))
    }

    /// Closes it; how many files it has.
    pub fn finish(self) -> anyhow::Result<usize> {
        if let To::Packed(packed) = self.to {
            let mut file = packed.into_inner()?.finish()?;
            file.flush()?;
        }
        Ok(self.files)
    }
}

/// Names come from a cluster: none leads out of the folder.
fn safe(path: &str) -> String {
    let fine = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let part = |it: &str| {
        let name: String = it.chars().map(|it| if fine(it) { it } else { '_' }).collect();
        if name.starts_with('.') { format!("_{name}") } else { name }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::redaction::Redaction;

    #[test]
    fn names_lead_nowhere() {
        assert_eq!(safe("a/../b c/.x"), "a/_../b_c/_.x");
    }

    #[test]
    fn an_archive_and_a_folder_have_the_same_files() {
        let folder = tempfile::tempdir().unwrap();
        let (packed, plain) = (folder.path().join("r.tgz"), folder.path().join("plain"));
        fs::create_dir(&plain).unwrap();
        for to in [&packed, &plain] {
            let mut archive = Archive::create(to, 1_800_000_000).unwrap();
            let redaction = Redaction::default();
            archive.yaml("objects/a.yaml", &redaction.of(&json!({"a": "b"}))).unwrap();
            archive.text("a.log", &redaction.of_text("one\ntwo\n")).unwrap();
            assert_eq!(archive.finish().unwrap(), 2);
        }
        let read = flate2::read::GzDecoder::new(File::open(&packed).unwrap());
        tar::Archive::new(read).unpack(folder.path().join("unpacked")).unwrap();
        for top in ["unpacked", "plain"] {
            let top = folder.path().join(top).join(TOP);
            assert_eq!(fs::read_to_string(top.join("a.log")).unwrap(), "one\ntwo\n");
            assert_eq!(fs::read_to_string(top.join("objects/a.yaml")).unwrap().trim(), "a: b");
        }
        let error = Archive::create(&folder.path().join("x"), 0).err().unwrap().to_string();
        assert!(error.contains("report.tgz"), "{error}");
    }
}
