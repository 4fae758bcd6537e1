//! Files: written whole or not at all, read up to a limit. What the agent could have written is opened
//! only by [`open_plain`], which follows no link and waits for nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Writes `bytes` beside `path` and renames: a reader sees all of it or nothing. What stood at `path` is
/// replaced.
pub fn write(path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = format!("{path}.new");
    remove(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&beside, path)
}

/// A folder that only its owner may enter, with its parents.
pub fn private_folder(path: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes whatever is there: a file, a link, a folder with all that is in it.
pub fn remove(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let removed = match fs::symlink_metadata(path) {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Removes what a folder holds but some plain files, and keeps the folder: it may be a mount.
pub fn clear(folder: &str, but: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kept = but.iter().any(|it| entry.path() == Path::new(it));
        if !kept || !entry.file_type()?.is_file() {
            remove(entry.path())?;
        }
    }
    Ok(())
}

/// Copies a folder of ours with all that is in it into another, which is made where it is not there.
pub fn copy_tree(from: &str, to: &str) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| io::Error::other("a file name that is no text"))?;
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        if entry.file_type()?.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Copies a file of ours, where there is one.
pub fn copy_if_there(from: &str, to: &str) -> io::Result<()> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(drop),
    }
}

/// The text of a file that one of us wrote or the kubelet mounted; none where there is no such file.
pub fn read(path: impl AsRef<Path>, max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(it) => it,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    bounded(file, max).map(Some)
}

/// Opens a plain file that somebody hostile may have put there: no link, no pipe, no device; never waits.
pub fn open_plain(path: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(careful()?).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
}

/// Opens a file to set its times, and creates it where there is none; as careful as [`open_plain`].
pub fn open_to_touch(path: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).custom_flags(careful()?).open(path)
}

fn careful() -> io::Result<i32> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    i32::try_from(flags.bits()).map_err(io::Error::other)
}

/// The text of such a file.
pub fn read_plain(path: &str, max: u64) -> io::Result<String> {
    bounded(open_plain(path)?, max)
}

fn bounded(file: File, max: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        Err(io::Error::other(format!("it is larger than {max} bytes")))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        fs::write(at("plain"), "text").unwrap();
        std::os::unix::fs::symlink(at("plain"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert_eq!(read_plain(&at("plain"), 4).unwrap(), "text");
        for (name, because) in [
            ("link", "a link"),
            ("folder", "a folder"),
            ("pipe", "a pipe, at once"),
            ("none", "nothing"),
        ] {
            assert!(open_plain(&at(name)).is_err(), "{because}");
        }
        assert!(read_plain(&at("plain"), 3).is_err(), "larger than asked for");
    }

    #[test]
    fn writing_replaces_whatever_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it").to_string_lossy().into_owned();
        std::os::unix::fs::symlink("/nowhere/at/all", format!("{path}.new")).unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path, 10).unwrap().as_deref(), Some("two"));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path, 10).unwrap(), None);
    }
}
