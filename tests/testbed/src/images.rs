//! Container images without a builder and without a pull: a tree of files becomes one layer, and that an
//! OCI archive, which containerd imports.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{self, SHA256};
use serde_json::{Value, json};

use crate::build::hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an image's root folder holds: paths without a leading slash.
#[derive(Default)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

enum Entry {
    Folder { mode: u32, owner: (u64, u64) },
    Copy { from: PathBuf, mode: u32 },
    Text { text: String, mode: u32 },
    Link { to: PathBuf },
}

impl Tree {
    pub fn folder(&mut self, path: &str, mode: u32, owner: (u64, u64)) {
        self.insert(Path::new(path), Entry::Folder { mode, owner });
    }

    pub fn text(&mut self, path: &str, text: &str) {
        self.insert(Path::new(path), Entry::Text { text: text.to_owned(), mode: 0o644 });
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.insert(Path::new(path), Entry::Link { to: to.into() });
    }

    /// A file of this machine, as read-only data.
    pub fn file(&mut self, path: &str, from: &Path) {
        self.insert(Path::new(path), Entry::Copy { from: from.to_owned(), mode: 0o644 });
    }

    /// A program of this machine, with the shared libraries that it needs where it looks for them.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.libraries(from)?;
        self.insert(Path::new(path), Entry::Copy { from: from.to_owned(), mode: 0o755 });
        Ok(())
    }

    /// The shared libraries of a program of this machine, without it.
    pub fn libraries(&mut self, program: &Path) -> Result<()> {
        for library in shared_libraries(program)? {
            let inside = library.strip_prefix("/").unwrap_or(&library).to_owned();
            self.insert(&inside, Entry::Copy { from: library, mode: 0o755 });
        }
        Ok(())
    }

    /// Adds an entry and the folders above it.
    fn insert(&mut self, path: &Path, entry: Entry) {
        for above in path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
            let folder = Entry::Folder { mode: 0o755, owner: (0, 0) };
            self.entries.entry(above.to_owned()).or_insert(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the layer; its digest and size.
    fn write_layer(&self, path: &Path) -> Result<Blob> {
        let file =
            File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
        let mut tar = tar::Builder::new(Hashed::new(io::BufWriter::with_capacity(1 << 20, file)));
        for (path, entry) in &self.entries {
            append(&mut tar, path, entry)
                .with_context(|| format!("failed to add /{} to an image", path.display()))?;
        }
        tar.into_inner()
            .and_then(Hashed::finish)
            .with_context(|| format!("failed to write {}", path.display()))
    }
}

fn append(tar: &mut tar::Builder<impl Write>, path: &Path, entry: &Entry) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    let mut put = |kind, mode, size, (user, group): (u64, u64)| {
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(user);
        header.set_gid(group);
        header.set_mtime(0);
    };
    match entry {
        Entry::Folder { mode, owner } => {
            put(tar::EntryType::Directory, *mode, 0, *owner);
            tar.append_data(&mut header, path, io::empty())?;
        }
        Entry::Link { to } => {
            put(tar::EntryType::Symlink, 0o777, 0, (0, 0));
            tar.append_link(&mut header, path, to)?;
        }
        Entry::Text { text, mode } => {
            put(tar::EntryType::Regular, *mode, text.len() as u64, (0, 0));
            tar.append_data(&mut header, path, text.as_bytes())?;
        }
        Entry::Copy { from, mode } => {
            let file =
                File::open(from).with_context(|| format!("failed to open {}", from.display()))?;
            let size = file
                .metadata()
                .with_context(|| format!("failed to read {}", from.display()))?
                .len();
            put(tar::EntryType::Regular, *mode, size, (0, 0));
            tar.append_data(&mut header, path, file.take(size))?;
        }
    }
    Ok(())
}

/// How an image's containers are run unless a pod says otherwise.
pub struct Defaults<'a> {
    pub user: &'a str,
    pub entrypoint: &'a [&'a str],
    pub command: &'a [&'a str],
    pub folder: &'a str,
}

/// Writes an image as an OCI archive that is imported under this name.
pub fn write_archive(
    tree: &Tree,
    name: &str,
    defaults: &Defaults<'_>,
    archive: &Path,
) -> Result<()> {
    let layer_path = archive.with_extension("layer");
    let layer = tree.write_layer(&layer_path)?;
    let config = config(&layer, defaults).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Blob::of(config.as_bytes()).descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    })
    .to_string();
    let mut entry = Blob::of(manifest.as_bytes()).descriptor(MANIFEST);
    if let Some(entry) = entry.as_object_mut() {
        let names =
            json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
        entry.insert("annotations".to_owned(), names);
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut all = Tree::default();
    all.text("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    all.text("index.json", &index);
    all.text(&Blob::of(config.as_bytes()).path(), &config);
    all.text(&Blob::of(manifest.as_bytes()).path(), &manifest);
    all.file(&layer.path(), &layer_path);
    all.write_layer(archive)?; // an archive is a tar file as a layer is
    fs::remove_file(&layer_path)
        .with_context(|| format!("failed to remove {}", layer_path.display()))
}

fn config(layer: &Blob, defaults: &Defaults<'_>) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": defaults.user,
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Entrypoint": defaults.entrypoint,
            "Cmd": defaults.command,
            "WorkingDir": defaults.folder,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
    })
}

/// Something in an archive, named by its content.
struct Blob {
    sha256: String,
    size: u64,
}

impl Blob {
    fn of(bytes: &[u8]) -> Self {
        Self { sha256: hex(digest::digest(&SHA256, bytes).as_ref()), size: bytes.len() as u64 }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.sha256)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest(), "size": self.size })
    }
}

/// Digests what is written.
struct Hashed<W> {
    inner: W,
    context: digest::Context,
    size: u64,
}

impl<W: Write> Hashed<W> {
    fn new(inner: W) -> Self {
        Self { inner, context: digest::Context::new(&SHA256), size: 0 }
    }

    fn finish(mut self) -> io::Result<Blob> {
        self.inner.flush()?;
        Ok(Blob { sha256: hex(self.context.finish().as_ref()), size: self.size })
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.context.update(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether a program needs neither a loader nor shared libraries.
pub fn is_static(program: &Path) -> Result<bool> {
    Ok(shared_libraries(program)?.is_empty())
}

/// The loader and shared libraries of a program, as it names them.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    let answer = ldd
        .arg(program)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("failed to run ldd")?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let errors = String::from_utf8_lossy(&answer.stderr);
    if errors.contains("not a dynamic executable") || text.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !answer.status.success() {
        bail!("failed to find the libraries of {}: {}", program.display(), errors.trim());
    }
    parse_ldd(&text).with_context(|| format!("libraries of {}", program.display()))
}

fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("{line}");
        }
        let path = line.split_once("=>").map_or(line, |(_, path)| path.trim());
        let path = path.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldds_answer_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths =
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_ldd(text).unwrap(), paths);
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }

    #[test]
    fn an_archive_names_its_parts_by_content() {
        let folder = std::env::temp_dir().join(format!("testbed-images-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let archive = folder.join("x.tar");
        let mut tree = Tree::default();
        tree.text("etc/hello", "hello\n");
        tree.folder("home/nonroot", 0o775, (65532, 0));
        tree.link("bin/sh", "busybox");
        let defaults =
            Defaults { user: "65532:65532", entrypoint: &["/bin/sh"], command: &[], folder: "/" };
        write_archive(&tree, "localhost/x:1", &defaults, &archive).unwrap();

        let mut parts = BTreeMap::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            parts.insert(path, bytes);
        }
        fs::remove_dir_all(&folder).unwrap();
        for (path, bytes) in &parts {
            if let Some(sha256) = path.strip_prefix("blobs/sha256/").filter(|it| !it.is_empty()) {
                assert_eq!(Blob::of(bytes).sha256, sha256);
            }
        }
        let index: Value = serde_json::from_slice(&parts["index.json"]).unwrap();
        let blob =
            |digest: &Value| &parts[&digest.as_str().unwrap().replace("sha256:", "blobs/sha256/")];
        let manifest: Value =
            serde_json::from_slice(blob(&index["manifests"][0]["digest"])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"]["digest"])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = blob(&manifest["layers"][0]["digest"]);
        let mut layer = tar::Archive::new(layer.as_slice());
        let names: Vec<_> = layer
            .entries()
            .unwrap()
            .map(|it| it.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["bin", "bin/sh", "etc", "etc/hello", "home", "home/nonroot"]);
    }
}
