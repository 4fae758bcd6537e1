//! What a release consists of, pushed to a registry of the test's own, signed and verified by `make`; and whatever is changed
//! after that is refused. `GASTOWN_COSIGN` and `GASTOWN_CRANE` name the programs (`make test-sign` builds them).

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    mem,
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::json;

use crate::{
    images::Store,
    make::{make, words},
    preconditions::skip,
};

/// A program that is named by a variable.
pub fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from)
}

/// A registry on loopback, which ends with it.
pub struct Registry {
    child: Child,
    pub host: String,
}

impl Registry {
    pub fn start(crane: &Path) -> Self {
        let mut command = Command::new(crane);
        command.args(["registry", "serve", "--address", "127.0.0.1:0"]).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut lines = said.lines().map_while(Result::ok);
        let line = lines.find(|it| it.contains("serving on port ")).expect("it serves");
        // Whoever writes to a pipe that nobody reads waits.
        std::thread::spawn(move || lines.for_each(drop));
        let port = line.rsplit(' ').next().unwrap();
        Self { child, host: format!("127.0.0.1:{port}") }
    }

    /// The same behind a door at which everybody is asked who he is.
    pub fn asking(mut self) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let inside = mem::replace(&mut self.host, door.local_addr().unwrap().to_string());
        std::thread::spawn(move || {
            for caller in door.incoming().flatten() {
                let inside = inside.clone();
                std::thread::spawn(move || lets_in(caller, &inside));
            }
        });
        self
    }

    /// The file with what that door wants to hear.
    pub fn credentials(&self, folder: &Path) -> PathBuf {
        let file = folder.join("auth.json");
        let entry = json!({"auths": {&self.host: {"auth": WHO}}});
        fs::write(&file, entry.to_string()).unwrap();
        file
    }

    /// buildah with a store, that reaches it.
    pub fn buildah(&self, store: &Store) -> String {
        let settings = store.folder.path().join("registries.conf");
        let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", self.host);
        fs::write(&settings, text).unwrap();
        format!("{} --registries-conf {}", store.program(), settings.display())
    }
}

/// A user and his password, as HTTP has them.
const WHO: &str = "bWF4OnNlY3JldA==";

/// Passes a connection on whose first request says who comes; Go's clients say it with each, once they were asked.
fn lets_in(mut caller: TcpStream, inside: &str) -> io::Result<()> {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let read = caller.read(&mut chunk)?;
        // One that begins with TLS, which is tried first, is ended.
        if read == 0 || (head.is_empty() && chunk[0] == 0x16) {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..read]);
    }
    if !String::from_utf8_lossy(&head).contains(&format!("Authorization: Basic {WHO}\r\n")) {
        let asks = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"town\"\r\n";
        let ends = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        return caller.write_all(format!("{asks}{ends}").as_bytes());
    }
    let mut server = TcpStream::connect(inside)?;
    server.write_all(&head)?;
    let (mut from, mut to) = (server.try_clone()?, caller.try_clone()?);
    let answers = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    io::copy(&mut caller, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    let _ = answers.join();
    Ok(())
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Release {
    store: Store,
    registry: Registry,
    cosign: PathBuf,
    /// Where the registry asks for them.
    credentials: Option<PathBuf>,
}

impl Release {
    fn folder(&self) -> PathBuf {
        self.store.folder.path().join("release")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn image(&self, name: &str) -> String {
        format!("{}/town/gastown-{name}:1", self.registry.host)
    }

    /// Makes an image of one label, as different from any other as its text is.
    fn make_image(&self, name: &str, text: &str) {
        let container = self.store.run(&["from", "scratch"]);
        self.store.run(&["config", "--label", &format!("text={text}"), &container]);
        self.store.run(&["commit", "--quiet", "--rm", &container, &self.image(name)]);
    }

    fn buildah(&self) -> String {
        self.registry.buildah(&self.store)
    }

    fn make(&self, target: &str, key: &str) -> Output {
        let mut command = make(&["--silent", target]);
        command.arg(format!("BUILDAH={}", self.buildah()));
        command.arg(format!("IMG={}", self.image("operator")));
        command.arg(format!("RELEASE={}", self.folder().display()));
        command.arg(format!("COSIGN={}", self.cosign.display()));
        command.arg(format!("COSIGN_KEY={}", self.key(key, "key")));
        command.arg(format!("COSIGN_PUB={}", self.key(key, "pub")));
        command.env("COSIGN_PASSWORD", "of the test");
        if let Some(file) = &self.credentials {
            command.env("REGISTRY_AUTH_FILE", file).env_remove("DOCKER_CONFIG");
        }
        command.output().unwrap()
    }

    fn makes(&self, target: &str) -> String {
        let output = self.make(target, "ours");
        assert!(output.status.success(), "make {target}: {}", words(&output));
        words(&output)
    }

    fn key(&self, name: &str, half: &str) -> String {
        self.store.folder.path().join(format!("{name}.{half}")).display().to_string()
    }

    /// Runs cosign with our key where one is wanted.
    fn cosign(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.cosign);
        command.args(arguments).current_dir(self.store.folder.path());
        command.env("COSIGN_PASSWORD", "of the test").stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    }

    /// That it is refused, and for which reason.
    fn refused(&self, because: &str, reason: &str) {
        let output = self.make("verify-release", "ours");
        assert!(!output.status.success(), "{because}: {}", words(&output));
        assert!(words(&output).contains(reason), "{because}: {}", words(&output));
    }
}

/// What a release hands out in folders, and another edition's in the same ones, which is not its own to vouch for.
const BELOW: [&str; 3] = [
    "bundle/community/manifests/it.yaml",
    "catalog/community/configs/gastown-operator/catalog.yaml",
    "deploy/mirror/images-community.txt",
];
const OF_OTHERS: [&str; 3] = [
    "bundle/enterprise/manifests/it.yaml",
    "catalog/community/template.yaml",
    "deploy/mirror/images-enterprise.txt",
];

/// Three images, pushed; a bill of materials; two pairs of keys, one of which signed.
fn signed(test: &str) -> Option<Release> {
    signed_in(test, false)
}

/// The same in a registry that may ask who comes.
fn signed_in(test: &str, asking: bool) -> Option<Release> {
    let (Some(cosign), Some(crane)) = (given("GASTOWN_COSIGN"), given("GASTOWN_CRANE")) else {
        skip(test, "cosign", "no cosign and crane; make test-sign builds them");
        return None;
    };
    if !Command::new("jq").arg("--version").output().is_ok_and(|it| it.status.success()) {
        skip(test, "jq", "no jq");
        return None;
    }
    let store = Store::new(test)?;
    let mut registry = Registry::start(&crane);
    let mut credentials = None;
    if asking {
        registry = registry.asking();
        credentials = Some(registry.credentials(store.folder.path()));
    }
    let release = Release { store, registry, cosign, credentials };
    for name in ["operator", "runner", "agent"] {
        release.make_image(name, name);
    }
    release.makes("docker-push");
    release.makes("sbom");
    for name in BELOW.iter().chain(&OF_OTHERS) {
        let file = release.file(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, name).unwrap();
    }
    for name in ["ours", "theirs"] {
        release.cosign(&["generate-key-pair", "--output-key-prefix", name]);
    }
    release.makes("sign");
    Some(release)
}

#[test]
fn a_release_is_verified_by_its_key_and_refused_once_anything_of_it_is_changed() {
    let test = "a_release_is_verified_by_its_key_and_refused_once_anything_of_it_is_changed";
    let Some(release) = signed(test) else { return };
    let pushed = fs::read_to_string(release.file("pushed-community.txt")).unwrap();
    assert_eq!(pushed.lines().count(), 3, "{pushed}");
    let said = release.makes("verify-release");
    for line in pushed.lines() {
        let image = line.rsplit_once(' ').unwrap().0;
        assert!(said.contains(&format!("{image} is signed")), "{said}");
    }
    let (image, key) = (release.image("runner"), release.key("ours", "pub"));
    release.cosign(&["verify", "--key", &key, "--insecure-ignore-tlog=true", &image]);
    let output = release.make("verify-release", "theirs");
    assert!(!output.status.success(), "another's key: {}", words(&output));

    // Files: one that changed, one that came later, and a list of images that names another.
    let bill = release.file("sbom-community.spdx.json");
    let right = fs::read_to_string(&bill).unwrap();
    fs::write(&bill, right.replace("Apache-2.0", "MIT")).unwrap();
    release.refused("the bill of materials was changed", "a file is not what was signed");
    fs::write(&bill, right).unwrap();
    fs::write(release.file("gastown-operator-9.tgz"), "later").unwrap();
    release.refused("a file came later", "were not signed");
    fs::remove_file(release.file("gastown-operator-9.tgz")).unwrap();
    for name in BELOW {
        fs::write(release.file(name), "changed").unwrap();
        release.refused(name, "a file is not what was signed");
        fs::write(release.file(name), name).unwrap();
    }
    let later = release.file("bundle/community/manifests/later.yaml");
    fs::write(&later, "later").unwrap();
    release.refused("a manifest came later", "were not signed");
    fs::remove_file(later).unwrap();
    for name in OF_OTHERS {
        fs::write(release.file(name), "changed").unwrap();
    }
    release.makes("verify-release");

    // An image: another under its name, first of nobody's, then of a later release of ours.
    release.make_image("operator", "planted");
    let image = release.image("operator");
    let push = format!("{} push {image} docker://{image}", release.buildah());
    let mut words = push.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{}", crate::make::words(&output));
    release.refused("its name leads to an image of nobody's", "is not signed by that key");
    let before = fs::read_to_string(release.file("SHA256SUMS-community")).unwrap();
    let seal = fs::read_to_string(release.file("SHA256SUMS-community.sig")).unwrap();
    release.makes("docker-push");
    release.makes("sign");
    release.makes("verify-release");
    fs::write(release.file("pushed-community.txt"), pushed).unwrap();
    fs::write(release.file("SHA256SUMS-community"), before).unwrap();
    fs::write(release.file("SHA256SUMS-community.sig"), seal).unwrap();
    release.refused("its name leads to another release of ours", "by now, and not sha256:");
}

#[test]
fn a_release_is_signed_and_verified_in_a_registry_that_asks_who_comes() {
    let test = "a_release_is_signed_and_verified_in_a_registry_that_asks_who_comes";
    let Some(mut release) = signed_in(test, true) else { return };
    release.makes("verify-release");
    release.credentials = None;
    release.refused("a stranger comes", "is not signed by that key");
}

#[test]
fn an_image_whose_bill_of_materials_is_another_is_refused() {
    let test = "an_image_whose_bill_of_materials_is_another_is_refused";
    let Some(release) = signed(test) else { return };
    let other = release.store.folder.path().join("other.json");
    fs::write(&other, r#"{"spdxVersion": "SPDX-2.3", "name": "something else"}"#).unwrap();
    let pushed = fs::read_to_string(release.file("pushed-community.txt")).unwrap();
    let runner = pushed.lines().find_map(|it| it.strip_suffix(" runner")).unwrap();
    let (key, other) = (release.key("ours", "key"), other.display().to_string());
    let attest = ["attest", "--yes", "--replace", "--tlog-upload=false", "--type", "spdxjson"];
    release.cosign(&[&attest[..], &["--key", &key, "--predicate", &other, runner]].concat());
    release.refused("attested by our key, but not ours", "no bill of materials, or not sbom");
}
