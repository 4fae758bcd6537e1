//! The images of both editions: what their files say, what the script makes of its arguments, and, where buildah is, what
//! is built of them on a base that is made of this machine's own Debian.

mod again;
mod agent;
mod archives;
mod context;
mod named;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    generated::top,
    make::{make, words},
    pipeline::python,
    preconditions::{release_binary, skip},
};

const FILES: [&str; 2] = ["Dockerfile", "Dockerfile.ubi9"];
/// What a catalog's image is built by.
const CATALOG: &str = "deploy/catalog/Dockerfile";
/// What every image of ours comes from.
pub const OWN: &str = "${DPR_REGISTRY}/ci-images/";

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// A stage of a file: what it begins with, and its instructions with their words.
struct Stage {
    name: String,
    base: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    fn all(&self, instruction: &str) -> impl Iterator<Item = &str> {
        let mine = self.instructions.iter().filter(move |(it, _)| it == instruction);
        mine.map(|(_, words)| words.as_str())
    }
}

/// Arguments above the first stage, and the stages.
fn parsed(file: &str) -> (BTreeMap<String, String>, Vec<Stage>) {
    let text = text(file);
    let lines = text.lines().filter(|it| !it.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let (mut arguments, mut stages) = (BTreeMap::new(), Vec::<Stage>::new());
    for line in joined.lines().filter(|it| !it.trim().is_empty()) {
        let (instruction, words) = line.split_once(' ').unwrap();
        match (instruction, stages.last_mut()) {
            ("FROM", _) => {
                let (base, name) = words.split_once(" AS ").unwrap();
                let (base, name) = (base.to_owned(), name.to_owned());
                stages.push(Stage { name, base, instructions: Vec::new() });
            }
            ("ARG", None) => {
                let (name, value) = words.split_once('=').unwrap();
                arguments.insert(name.to_owned(), value.to_owned());
            }
            (_, Some(stage)) => stage.instructions.push((instruction.into(), words.into())),
            (other, None) => panic!("{file}: {other} before the first FROM"),
        }
    }
    (arguments, stages)
}

/// Rows of the lock file: name, source, digest.
pub fn locked() -> Vec<[String; 3]> {
    let text = text("deploy/mirror/ci-images.lock");
    let rows = text.lines().filter(|it| !it.starts_with('#') && !it.is_empty());
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().map(ToOwned::to_owned).collect();
        words.try_into().unwrap_or_else(|_| panic!("three words: {line}"))
    };
    rows.map(row).collect()
}

#[test]
fn every_base_is_an_argument_that_the_own_registry_serves() {
    let names: BTreeSet<_> = locked().into_iter().map(|[name, ..]| name).collect();
    for file in FILES.into_iter().chain([CATALOG]) {
        let (arguments, stages) = parsed(file);
        let mut known = BTreeSet::from(["scratch".to_owned()]);
        for stage in &stages {
            let argument = stage.base.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
            let at = format!("{file}: stage {}", stage.name);
            match argument.map(|it| (it, arguments[it].as_str())) {
                None => assert!(known.contains(&stage.base), "{at}: {} is fixed", stage.base),
                Some(("BINARIES", default)) => assert!(known.contains(default), "{at}: {default}"),
                Some((name, default)) => {
                    let image = default.strip_prefix(OWN);
                    let image = image.unwrap_or_else(|| panic!("{at}: {name} is {default}"));
                    assert!(names.contains(image), "{at}: {image} is not in the lock file");
                }
            }
            known.insert(stage.name.clone());
        }
        let registry = &arguments["DPR_REGISTRY"];
        assert_eq!(registry, "dprusocplvjmp01.deepsky.lab:5000", "{file}");
    }
}

#[test]
fn the_lock_file_invents_nothing() {
    let rows = locked();
    let names: BTreeSet<_> = rows.iter().map(|[name, ..]| name).collect();
    assert_eq!(names.len(), rows.len(), "each name once");
    let users = FILES.into_iter().chain([CATALOG, "deploy/images/build.sh", ".gitlab-ci.yml"]);
    let used: String = users.map(text).collect();
    for [name, source, digest] in &rows {
        let (_, tag) = name.split_once(':').unwrap_or_else(|| panic!("{name} has no tag"));
        assert!(tag != "latest" && !source.ends_with(":latest"), "{name}: latest is no version");
        let hex = digest
            .strip_prefix("sha256:")
            .is_some_and(|it| it.len() == 64 && it.bytes().all(|it| it.is_ascii_hexdigit()));
        assert!(digest == "unresolved" || hex, "{name}: {digest} is no digest");
        assert!(used.contains(name.as_str()), "nothing uses {name}");
        // Who makes those calls them by yamllint's major version alone.
        let of_yamllint = source.starts_with("docker.io/cytopia/yamllint:");
        assert!(!of_yamllint || tag.parse::<u32>().is_ok(), "{name}: nobody publishes that tag");
    }
}

#[test]
fn what_is_shipped_runs_as_nobody_and_carries_its_licence() {
    for file in FILES {
        let (_, stages) = parsed(file);
        let find = |name: &str| stages.iter().find(|it| it.name == name).unwrap();
        for name in ["operator", "runner", "agent", "agent-npm", "agent-pip"] {
            let stage = find(name);
            let last = stage.all("USER").last().unwrap_or_default();
            let user: u32 = last.split(':').next().unwrap().parse().unwrap_or(0);
            assert!(user > 0, "{file}: {name} ends as USER {last:?}");
            let base = stages.iter().find(|it| it.name == stage.base);
            let licences = [Some(stage), base].into_iter().flatten();
            let mut copies = licences.flat_map(|it| it.all("COPY"));
            assert!(copies.any(|it| it.contains(" /licenses/")), "{file}: {name}: no licence");
        }
        for stage in &stages {
            let commands: String = stage.all("RUN").collect();
            // Of the packages that one stage installs for tests, curl is one.
            let words = ["curl -", "curl $", "curl \"", "wget", "https://", "http://"];
            for word in words {
                assert!(!commands.contains(word), "{file}: {} fetches by {word}", stage.name);
            }
        }
        let operator = find("operator");
        assert_eq!(operator.all("RUN").count(), 0, "{file}: a base without a shell is enough");
    }
}

#[test]
fn the_enterprise_images_have_the_labels_that_certification_asks_for() {
    let (_, stages) = parsed("Dockerfile.ubi9");
    for name in ["operator", "runner", "agent"] {
        let stage = stages.iter().find(|it| it.name == name).unwrap();
        let labels: String = stage.all("LABEL").collect();
        for label in
            ["name", "vendor", "version", "release", "summary", "description", "maintainer"]
        {
            let value = labels.split(&format!(" {label}=\"")).nth(1);
            let value = value.or_else(|| labels.strip_prefix(&format!("{label}=\"")));
            let value = value.and_then(|it| it.split('"').next()).unwrap_or_default();
            assert!(!value.is_empty(), "{name}: no label {label}");
            let trademark = value.to_lowercase().replace([' ', '-'], "").contains("redhat");
            assert!(!trademark, "{name}: {label} is {value}: that is not ours to say");
        }
    }
}

/// make with a buildah that only says what it is asked to do.
fn asked(arguments: &[&str]) -> Output {
    make(&["--silent", "BUILDAH=echo buildah"]).args(arguments).output().unwrap()
}

#[test]
fn docker_build_and_push_do_what_their_arguments_say() {
    let image = "IMG=registry.example.com:5000/town/gastown-operator:7";
    let one = asked(&["docker-build", "EDITION=enterprise", image, "DPR_REGISTRY=mirror:5000"]);
    let said = words(&one);
    assert!(one.status.success(), "{said}");
    for (target, name) in [("operator", "operator"), ("runner", "runner"), ("agent", "agent")] {
        let tag = format!("--tag registry.example.com:5000/town/gastown-{name}:7");
        let line = said.lines().find(|it| it.contains(&format!("--target {target} "))).unwrap();
        assert!(line.starts_with("buildah build "), "{line}");
        let want = ["--file Dockerfile.ubi9", "DPR_REGISTRY=mirror:5000", &tag, "--timestamp "];
        for it in want {
            assert!(line.contains(it), "{it}: {line}");
        }
    }
    let both = "PLATFORMS=linux/amd64,linux/arm64";
    let said = words(&asked(&["docker-build", "TARGETS=operator", image, both]));
    assert!(said.contains("--file Dockerfile ") && said.contains("--manifest registry"), "{said}");
    assert!(said.contains("--platform linux/amd64,linux/arm64"), "{said}");
    let said = words(&asked(&["docker-push", "TARGETS=runner", image, both]));
    let runner = "registry.example.com:5000/town/gastown-runner:7";
    let line = said.lines().find(|it| it.starts_with("buildah manifest push --all ")).unwrap();
    assert!(line.ends_with(&format!(" {runner} docker://{runner}")), "{line}");
    assert!(said.contains(&format!("did not say which digest {runner} has")), "to sign it: {said}");
    let digest = format!("IMG=registry.example.com/gastown-operator@sha256:{}", "a".repeat(64));
    let no = asked(&["docker-push", "TARGETS=runner", &digest]);
    assert!(!no.status.success(), "which runner goes with a digest is not known: {}", words(&no));
    assert!(words(&no).contains("give RUNNER_IMG as well"), "{}", words(&no));
    let no = make(&["docker-build", "BUILDAH=echo"])
        .env("CI_COMMIT_TAG", env!("CARGO_PKG_VERSION"))
        .env("GIT_DIR", "/nowhere")
        .output()
        .unwrap();
    assert!(!no.status.success(), "a release says of which commit it is: {}", words(&no));
    assert!(words(&no).contains("does not say which commit"), "{}", words(&no));
    let no = asked(&["docker-build", "EDITION=deluxe"]);
    assert!(
        !no.status.success() && words(&no).contains("community or enterprise"),
        "{}",
        words(&no)
    );
}

/// What jobs run in belongs to no release, so whoever signs one is not told of it.
#[test]
fn the_toolchains_image_is_pushed_to_where_jobs_look_for_it() {
    let release = tempfile::tempdir().unwrap();
    let folder = format!("RELEASE={}", release.path().display());
    for (edition, suffix) in [("community", ""), ("enterprise", "-ubi9")] {
        let edition = format!("EDITION={edition}");
        let image = format!("mirror:5000/ci-images/gastown-toolchain{suffix}:1.95");
        let of = |target| words(&asked(&[target, &edition, "DPR_REGISTRY=mirror:5000", &folder]));
        let built = of("toolchain-image");
        assert!(built.contains(&format!("--tag {image} ")), "{built}");
        let pushed = of("toolchain-push");
        assert!(pushed.contains(&format!(" {image} docker://{image}")), "{pushed}");
    }
    assert_eq!(fs::read_dir(release.path()).unwrap().count(), 0, "nothing is noted there");
}

#[test]
fn an_agents_image_is_pinned() {
    for (argument, why) in [
        ("AGENT_NPM=@vendor/agent", "no version"),
        ("AGENT_NPM=@vendor/agent@latest", "a tag that moves"),
        ("AGENT_NPM=@vendor/agent@^1.2.0", "a range"),
        ("AGENT_NPM=agent@1.2.3; id", "a command"),
        ("AGENT_PIP=agent", "no version"),
        ("AGENT_PIP=agent>=1.2", "a range"),
    ] {
        let no = asked(&["agent-image", argument]);
        assert!(!no.status.success(), "{why}: {argument}");
        assert!(words(&no).contains("is not pinned"), "{why}: {}", words(&no));
    }
    assert!(!asked(&["agent-image"]).status.success(), "which agent?");
    assert!(
        !asked(&["agent-image", "AGENT_NPM=a@1.0.0", "AGENT_PIP=a==1"]).status.success(),
        "both"
    );
    let said = words(&asked(&[
        "agent-image",
        "AGENT_NPM=@vendor/agent@1.2.3",
        "IMG=r/gastown-operator:7",
    ]));
    for part in ["--target agent-npm", "AGENT_NPM=@vendor/agent@1.2.3", "ci-images/node:22"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("--tag r/gastown-agent:7-vendor-agent-1.2.3"), "{said}");
    pushes_and_names_it(&said, "r/gastown-agent:7-vendor-agent-1.2.3");
    let said = words(&asked(&["agent-image", "AGENT_PIP=agent==1.2", "EDITION=enterprise"]));
    assert!(said.contains("--target agent-pip") && said.contains("ubi9-python-312"), "{said}");
}

/// What is said at last leads on: the command that it names pushes the image, and nothing that is deployed changes beside it.
fn pushes_and_names_it(said: &str, image: &str) {
    let push = said.lines().find_map(|it| it.split_once("push it: make ")).unwrap().1;
    let pushed = words(&asked(&push.split(' ').collect::<Vec<_>>()));
    assert!(pushed.contains(&format!(" {image} docker://{image}")), "{push}: {pushed}");
    let deploy = said.lines().find(|it| it.contains("make deploy")).unwrap();
    assert!(deploy.contains("beside the EDITION and IMG"), "alone it would name others: {deploy}");
}

fn glibc(program: &Path, most: &str) -> Output {
    let script = top().join("tests/tools/glibc.sh");
    Command::new(script).arg(program).arg(most).stdin(Stdio::null()).output().unwrap()
}

/// The release is the same program but for its cryptography; the Enterprise build runs this script on itself (`make dist`), and
/// `make test-fips` on the program that it builds. Headers of a newer glibc than Debian 12's have C code ask for newer symbols,
/// so only there it is no fault.
#[test]
fn no_symbol_is_newer_than_the_glibc_of_ubi_9() {
    let test = "no_symbol_is_newer_than_the_glibc_of_ubi_9";
    let Some(program) = release_binary(test) else { return };
    // Which version that is depends on who built it; that it is found, and held to, does not.
    let audit = glibc(&program, "9999");
    assert!(audit.status.success(), "{}", words(&audit));
    let said = words(&audit);
    let needs = said.split("needs GLIBC ").nth(1).and_then(|it| it.split_whitespace().next());
    let needs = needs.unwrap_or_else(|| panic!("it says what it found: {said}"));
    let audit = glibc(&program, needs);
    assert!(audit.status.success(), "{}", words(&audit));
    let here = Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
    let here = words(&here).trim().rsplit('.').next().and_then(|it| it.parse::<u32>().ok());
    if here.is_some_and(|it| it <= 36) {
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-gt"));
        for it in [&*program, plugin, Path::new(env!("CARGO_BIN_EXE_gt-runner"))] {
            let audit = glibc(it, "2.34");
            assert!(audit.status.success(), "{}", words(&audit));
        }
    } else {
        let why = "headers of a newer glibc than Debian 12's: no program is held to 2.34 here";
        skip(test, "glibc", why);
    }
    let audit = glibc(&program, "2.2");
    assert!(!audit.status.success(), "it needs {needs}");
    assert!(words(&audit).contains("@GLIBC_2."), "it names them: {}", words(&audit));
    let audit = glibc(&program, "static");
    assert!(!audit.status.success(), "{}", words(&audit));
}

#[test]
fn a_bill_of_materials_names_what_an_edition_links_by_checksum() {
    let test = "a_bill_of_materials_names_what_an_edition_links_by_checksum";
    if !Command::new("jq").arg("--version").output().is_ok_and(|it| it.status.success()) {
        skip(test, "jq", "no jq");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sbom.json");
    let mut names = Vec::new();
    for edition in ["community", "enterprise"] {
        let mut command = Command::new(top().join("tests/tools/sbom.sh"));
        let output = command.arg(edition).arg(&file).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        keeps_to_spdx(test, &file);
        let bill: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(bill["spdxVersion"], "SPDX-2.3");
        let (own, linked) = bill["packages"].as_array().unwrap().split_first().unwrap();
        assert_eq!(own["versionInfo"], env!("CARGO_PKG_VERSION"));
        for it in linked {
            let sum = it["checksums"][0]["checksumValue"].as_str().unwrap_or_default();
            assert_eq!(sum.len(), 64, "{it}");
        }
        let related = bill["relationships"].as_array().unwrap().len();
        assert_eq!(related, linked.len() + 1, "each is related to the program");
        names.push(linked.iter().map(|it| it["name"].to_string()).collect::<BTreeSet<_>>());
    }
    let has = |at: usize, it: &str| names[at].contains(&format!("{it:?}"));
    assert!(has(0, "kube") && !has(0, "aws-lc-fips-sys"), "Community links no FIPS module");
    assert!(has(1, "aws-lc-fips-sys"), "Enterprise does");
    assert!(!has(0, "proptest"), "nor is anything there that tests alone need");
}

/// SPDX's own tool takes it, and not one with a licence that is none.
fn keeps_to_spdx(test: &str, file: &Path) {
    let Some(program) = python("pyspdxtools") else {
        return skip(test, "pyspdxtools", "no pyspdxtools; PyPI has it in spdx-tools");
    };
    let check = |file: &Path| Command::new(&program).arg("--infile").arg(file).output().unwrap();
    let output = check(file);
    assert!(output.status.success(), "{}", words(&output));
    let broken = file.with_extension("broken.json");
    let bill = fs::read_to_string(file).unwrap();
    fs::write(&broken, bill.replace("\"Apache-2.0\"", "\"no licence!\"")).unwrap();
    assert!(!check(&broken).status.success(), "it can refuse");
}

const OPERATOR: &str = "localhost/gastown-operator:dev";
/// What images of tests stand on, and what has authorities where UBI's minimal has them, and nothing else.
const BASE: &str = "localhost/base:dev";
const TRUSTING: &str = "localhost/trusting:dev";
/// Where that is, and what is there.
const TRUSTED: &str = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
const AUTHORITIES: &str = "# Whom UBI trusts";

/// buildah with storage of its own, which goes with it.
pub struct Store {
    pub folder: tempfile::TempDir,
}

impl Store {
    pub fn new(test: &str) -> Option<Self> {
        let found = Command::new("buildah").arg("--version").stdin(Stdio::null()).output();
        if !found.is_ok_and(|it| it.status.success()) {
            skip(test, "buildah", "no buildah; the Debian package buildah has it");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip(test, "root", "buildah's chroots want root");
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    pub fn program(&self) -> String {
        let at = self.folder.path().display();
        format!("buildah --root {at}/store --runroot {at}/run --storage-driver vfs")
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let program = self.program();
        let mut words = program.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments).env("BUILDAH_ISOLATION", "chroot");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", self::words(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Builds an edition's images by make, on a base that has what they would install; `operator` is the operator's.
    pub fn build(&self, edition: &str, dist: &str, what: (&str, &str)) {
        // Words are parted by blanks, so there is none in the command.
        let install = "--build-arg INSTALL=echo${IFS}$@>/asked";
        self.build_on(BASE, edition, dist, what, install);
    }

    /// The same on another base, with more arguments for buildah.
    fn build_on(
        &self,
        base: &str,
        edition: &str,
        dist: &str,
        (targets, operator): (&str, &str),
        more: &str,
    ) {
        let mut command = make(&["docker-build", targets]);
        let bases = ["OPERATOR", "RUNNER", "AGENT"]
            .map(|it| format!("--build-arg {it}_BASE={base}"))
            .join(" ");
        let trust = format!("--build-arg TRUST_BASE={TRUSTING}");
        let arguments = format!("{bases} {trust} --build-arg DIST={dist} {more}");
        command.arg(format!("BUILDAH={}", self.program())).arg(format!("EDITION={edition}"));
        command.args(["BINARIES=prebuilt", &format!("IMG={operator}")]);
        command.env("BUILD_ARGS", arguments).env("BUILDAH_ISOLATION", "chroot");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{edition}: {}", self::words(&output));
    }

    fn inspect(&self, image: &str) -> Value {
        let found = self.run(&["inspect", "--type", "image", image]);
        serde_json::from_str::<Value>(&found).unwrap()["OCIv1"].take()
    }

    /// Makes an image of another one and these files, which are programs or may be read as such.
    fn with(&self, files: &[(String, String)], base: &str, image: &str) {
        let container = self.run(&["from", base]);
        for (path, text) in files {
            let file = self.folder.path().join("added");
            gastown_testbed::program::write(&file, text).unwrap();
            self.run(&["copy", "--quiet", &container, file.to_str().unwrap(), path]);
        }
        self.run(&["commit", "--quiet", "--rm", "--squash", &container, image]);
    }

    /// Runs a line in a container of an image.
    pub fn said(&self, image: &str, line: &str) -> String {
        let container = self.run(&["from", image]);
        let said =
            self.run(&["run", "--user", "123456:0", &container, "--", "/bin/sh", "-ec", line]);
        self.run(&["rm", &container]);
        said
    }
}

/// As images name this machine's.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The programs where `make dist` would put them; the folder, as seen from the checkout.
pub fn dist(folder: &Path, [operator, runner, plugin]: [&Path; 3]) -> String {
    let into = folder.join(ARCHITECTURE);
    fs::create_dir_all(into.join("licenses")).unwrap();
    fs::copy(operator, into.join("gastown-operator")).unwrap();
    fs::copy(runner, into.join("gt-runner")).unwrap();
    fs::copy(plugin, into.join("kubectl-gt")).unwrap();
    fs::copy(top().join("LICENSE"), into.join("licenses/LICENSE")).unwrap();
    let mut notices = Command::new(top().join("tests/tools/notices.sh"));
    let output = notices.arg(into.join("licenses/THIRD-PARTY-NOTICES")).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    folder.strip_prefix(top()).unwrap().to_string_lossy().into_owned()
}

/// The base of this machine's own programs and libraries, and beside it what has authorities.
pub fn base(store: &Store, operator: &Path) {
    let archive = store.folder.path().join("base.tar");
    let programs = [operator.to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_gt-runner"))];
    gastown_testbed::node::images::write_base(&programs, BASE, &archive).unwrap();
    let id = store.run(&["pull", "--quiet", &format!("oci-archive:{}", archive.display())]);
    store.run(&["tag", &id, BASE]);
    store.with(&[(TRUSTED.to_owned(), AUTHORITIES.to_owned())], "scratch", TRUSTING);
}

#[test]
fn both_editions_are_built_and_are_what_their_files_say() {
    let test = "both_editions_are_built_and_are_what_their_files_say";
    let Some(operator) = release_binary(test) else { return };
    let Some(store) = Store::new(test) else { return };
    base(&store, &operator);
    let folder = top().join("target/dist");
    fs::create_dir_all(&folder).unwrap();
    let folder = tempfile::tempdir_in(folder).unwrap();
    let [runner, plugin] = [env!("CARGO_BIN_EXE_gt-runner"), env!("CARGO_BIN_EXE_kubectl-gt")];
    let dist = dist(folder.path(), [&operator, runner.as_ref(), plugin.as_ref()]);
    for edition in ["community", "enterprise"] {
        store.build(edition, &dist, ("TARGETS=operator runner agent", OPERATOR));
        let image = |name: &str| format!("localhost/gastown-{name}:dev");
        for name in ["operator", "runner", "agent"] {
            let config = store.inspect(&image(name))["config"].take();
            assert_eq!(config["User"], "65532:65532", "{edition}: {name}");
            let version = if edition == "enterprise" {
                "version"
            } else {
                "org.opencontainers.image.version"
            };
            assert_eq!(config["Labels"][version], env!("CARGO_PKG_VERSION"), "{edition}: {name}");
            let licences = store.said(&image(name), "cat /licenses/*");
            assert!(licences.contains("Apache License"), "{edition}: {name}");
            let notices = licences.contains("aws-lc-rs");
            assert_eq!(notices, name != "agent", "{edition}: {name}: of what is linked in");
            let layers =
                store.inspect(&image(name))["rootfs"]["diff_ids"].as_array().unwrap().len();
            assert!(layers <= 40, "{edition}: {name} has {layers} layers");
        }
        let said = store.said(&image("operator"), "gastown-operator --version");
        assert!(said.contains(env!("CARGO_PKG_VERSION")), "{edition}: {said}");
        if edition == "enterprise" {
            let said = store.said(&image("operator"), &format!("cat {TRUSTED}"));
            assert_eq!(said, AUTHORITIES, "micro has none");
        }
        let said = store.said(
            &image("runner"),
            "gt-runner --version; git --version; gather --help; cat /asked",
        );
        let client = if edition == "enterprise" { "openssh-clients" } else { "openssh-client" };
        assert!(said.contains("git version") && said.contains(client), "{edition}: {said}");
        assert!(said.contains("--operator-namespace"), "{edition}: must-gather: {said}");
        let look = "touch ~/x; echo $HOME; cat /asked; find / -xdev -type f -perm -1 || true";
        let said = store.said(&image("agent"), look);
        assert!(said.contains("/home/nonroot"), "any user of group 0 has a home: {said}");
        assert!(said.contains("git") && !said.contains("gt-runner"), "{edition}: {said}");
        for agent in ["claude", "codex", "gemini", "opencode", "aider"] {
            assert!(!said.contains(agent), "{edition}: no vendor's program is in it: {agent}");
        }
        let first = store.run(&["images", "--quiet", "--no-trunc", &image("operator")]);
        store.build(edition, &dist, ("TARGETS=operator", OPERATOR));
        let again = store.run(&["images", "--quiet", "--no-trunc", &image("operator")]);
        assert_eq!(first, again, "{edition}: the same sources make the same image");
    }
    let size = compressed(&store, OPERATOR);
    assert!(size < 27_000_000, "{size} bytes beside the base: 40 MB with one of 13 MB");
}

/// Compressed bytes of an image's layers but for those of the base.
fn compressed(store: &Store, image: &str) -> u64 {
    let size = |image: &str, name: &str| {
        let folder = store.folder.path().join(name);
        store.run(&["push", "--quiet", image, &format!("oci:{}:x", folder.display())]);
        let files = fs::read_dir(folder.join("blobs/sha256")).unwrap();
        files.map(|it| it.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    size(image, "whole") - size(BASE, "base")
}
