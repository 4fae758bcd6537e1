//! Programs are found or built: once, whole, and one at a time. Go is played by a script here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A cache, and a `go` that builds programs which say nothing but their version.
struct Workshop(PathBuf);

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The version that a file of pins requires.
fn pinned(pins: &'static str, module: &str) -> &'static str {
    let line =
        pins.lines().find_map(|it| it.trim().trim_start_matches("require ").strip_prefix(module));
    line.unwrap().trim().trim_start_matches('v').split(' ').next().unwrap()
}

fn kubernetes() -> &'static str {
    pinned(include_str!("../../../tools/go.mod"), "k8s.io/kubernetes ")
}

fn etcd() -> &'static str {
    pinned(include_str!("../../../tools/go.mod"), "go.etcd.io/etcd/server/v3 ")
}

fn kwok() -> &'static str {
    pinned(include_str!("../../../tools/kwok/go.mod"), "sigs.k8s.io/kwok ")
}

/// Notes when it begins and ends; takes its time, so that two at once would be seen to overlap.
const GO: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
echo "begin $out" >> "$WORKSHOP/log"
sleep 0.05
printf '#!/bin/sh\necho "%s"\n' "$VERSIONS" > "$out"
chmod +x "$out"
echo "end $out" >> "$WORKSHOP/log"
"#;

/// The same for a version that is not the pinned one: it knows that version's own go.mod, and finds a newer etcd for it.
const GO_FOR_ANOTHER: &str = r#"#!/bin/sh
echo "$1 $PWD" >> "$WORKSHOP/asked"
case $1 in
  mod) echo "{\"GoMod\": \"$WORKSHOP/theirs.mod\"}"; exit;;
  list) sed -i 's|\(etcd/server/v3\) v.*|\1 v3.99.1|' go.mod; echo sums > go.sum; exit;;
esac
while [ $# -gt 0 ]; do
  [ "$1" = -o ] && out=$2
  [ "$1" = -ldflags ] && flags=$2
  shift
done
echo "begin $out" >> "$WORKSHOP/log"
sleep 0.05
printf '#!/bin/sh\necho "%s"\n' "$flags" > "$out"
chmod +x "$out"
echo "end $out" >> "$WORKSHOP/log"
"#;

/// As another version of Kubernetes has it.
const THEIR_MOD: &str = "module k8s.io/kubernetes\n\nrequire go.etcd.io/etcd/server/v3 v3.99.0\n\nreplace (\n\t\
    k8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/newer => ./staging/src/k8s.io/newer\n)\n";

/// A version that nothing here pins.
const ANOTHER: &str = "1.99.2";

impl Workshop {
    /// Where Go knows another version of Kubernetes, too.
    fn with_another(name: &str) -> Self {
        let workshop = Self::new(name);
        gastown_testbed::program::write(&workshop.0.join("bin/go"), GO_FOR_ANOTHER).unwrap();
        fs::write(workshop.0.join("theirs.mod"), THEIR_MOD).unwrap();
        workshop
    }

    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("testbed-tools-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).unwrap();
        let go = path.join("bin/go");
        gastown_testbed::program::write(&go, GO).unwrap();
        Self(path)
    }

    fn tools(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        let path = format!("{}:/usr/bin:/bin", self.0.join("bin").display());
        command
            .arg("tools")
            .env("PATH", path)
            .env("XDG_CACHE_HOME", &self.0)
            .env("WORKSHOP", &self.0);
        command.env("VERSIONS", format!("v{} {} v{}", kubernetes(), etcd(), kwok()));
        command.env_remove("KUBEBUILDER_ASSETS").env_remove("TESTBED_KUBERNETES");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn log(&self) -> Vec<String> {
        fs::read_to_string(self.0.join("log"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn found(child: Child) -> Vec<(String, PathBuf)> {
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let text = String::from_utf8(answer.stdout).unwrap();
    text.lines()
        .map(|it| it.split_once(' ').unwrap())
        .map(|(name, path)| (name.to_owned(), path.into()))
        .collect()
}

#[test]
fn two_that_ask_at_once_build_once() {
    let workshop = Workshop::new("once");
    let [one, other] = [workshop.tools().spawn().unwrap(), workshop.tools().spawn().unwrap()];
    let (one, other) = (found(one), found(other));
    assert_eq!(one, other);
    assert!(one.iter().any(|(name, _)| name == "kube-apiserver"), "{one:?}");
    let log = workshop.log();
    assert_eq!(log.len(), 2 * one.len(), "each program is built once: {log:#?}");
    for pair in log.chunks(2) {
        assert_eq!(
            pair[0].strip_prefix("begin "),
            pair[1].strip_prefix("end "),
            "two builds at once"
        );
        let built = Path::new(pair[0].strip_prefix("begin ").unwrap());
        assert!(!built.exists(), "a build does not write where the program is looked for");
    }
    assert!(one.iter().all(|(_, path)| path.is_file()));
}

/// One asks for the pinned Kubernetes, the other for another one: no program of the one is any of the other's.
#[test]
fn two_that_ask_for_different_programs_build_one_at_a_time() {
    let workshop = Workshop::with_another("different");
    let pinned = workshop.tools().spawn().unwrap();
    let another = workshop.tools().env("TESTBED_KUBERNETES", ANOTHER).spawn().unwrap();
    found(pinned);
    found(another);
    let log = workshop.log();
    for pair in log.chunks(2) {
        let (begun, ended) = (pair[0].strip_prefix("begin "), pair[1].strip_prefix("end "));
        assert!(begun.is_some() && begun == ended, "two builds at once: {log:#?}");
    }
    for version in [kubernetes(), ANOTHER] {
        let folder = format!("/k8s-{version}/bin/");
        let built = log.iter().filter(|it| it.contains(&folder)).count();
        assert_eq!(built, 2 * 7, "each program of Kubernetes {version} was built once: {log:#?}");
    }
}

#[test]
fn another_kubernetes_has_its_own_folder_and_modules_and_is_found_out_once() {
    let workshop = Workshop::with_another("another");
    let child = workshop.tools().env("TESTBED_KUBERNETES", format!("v{ANOTHER}")).spawn().unwrap();
    let answer = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{words}");
    assert!(words.contains("building etcd 3.99.1"), "the etcd that Go found for it: {words}");
    assert!(words.contains(&format!("building kube-apiserver {ANOTHER}")), "{words}");
    let cache = workshop.0.join("gastown-testbed");
    let folder = cache.join(format!("k8s-{ANOTHER}"));
    let go_mod = fs::read_to_string(folder.join("src/go.mod")).unwrap();
    for line in [
        &format!("k8s.io/kubernetes v{ANOTHER}"),
        "k8s.io/api => k8s.io/api v0.99.2",
        "k8s.io/newer => k8s.io/newer v0.99.2",
        "go.etcd.io/etcd/server/v3 v3.99.1",
    ] {
        assert!(go_mod.contains(line), "{line} is missing in: {go_mod}");
    }
    assert_eq!(fs::read_to_string(folder.join("src/go.sum")).unwrap(), "sums\n", "its own sums");
    let server = fs::read_to_string(folder.join("bin/kube-apiserver")).unwrap();
    let told = format!("gitVersion=v{ANOTHER} -X k8s.io/component-base/version.gitMajor=1");
    assert!(server.contains(&told), "it says which it is: {server}");
    assert!(!cache.join(format!("k8s-{}", kubernetes())).exists(), "the pinned one is left alone");

    let asked = fs::read_to_string(workshop.0.join("asked")).unwrap();
    let finding: Vec<_> = asked.lines().filter(|it| !it.starts_with("build ")).collect();
    let source = folder.join("src").display().to_string();
    assert_eq!(finding, [format!("mod {source}"), format!("list {source}")], "before the first");
    found(workshop.tools().env("TESTBED_KUBERNETES", ANOTHER).spawn().unwrap());
    let again = fs::read_to_string(workshop.0.join("asked")).unwrap();
    assert_eq!(again, asked, "the second start takes all of it from the cache");
}

#[test]
fn what_lies_in_the_cache_is_taken_if_it_is_of_the_right_version() {
    let workshop = Workshop::new("adopt");
    let all = found(workshop.tools().spawn().unwrap());
    let built = workshop.log().len();
    let pins = workshop.0.join(format!("gastown-testbed/kwok-{}/pins", kwok()));
    fs::remove_dir_all(&pins).unwrap();
    found(workshop.tools().spawn().unwrap());
    assert_eq!(workshop.log().len(), built, "a program without a note says its version itself");

    let (_, program) = all.iter().find(|(name, _)| name == "kwok").unwrap();
    fs::remove_dir_all(&pins).unwrap();
    gastown_testbed::program::write(program, "#!/bin/sh\necho v0.0.1\n").unwrap();
    found(workshop.tools().spawn().unwrap());
    assert_eq!(workshop.log().len(), built + 2, "another version is built anew");

    fs::write(pins.join("kwok"), "other pins").unwrap();
    found(workshop.tools().spawn().unwrap());
    assert_eq!(workshop.log().len(), built + 4, "a changed pin is built anew");
}

/// A folder with programs that say this.
fn assets(workshop: &Workshop, says: &str) -> PathBuf {
    let assets = workshop.0.join("assets");
    fs::create_dir_all(&assets).unwrap();
    for name in ["etcd", "kube-apiserver", "kubectl", "kubelet"] {
        let path = assets.join(name);
        gastown_testbed::program::write(&path, format!("#!/bin/sh\necho {says}\n")).unwrap();
    }
    assets
}

fn taken_from(folder: &Path, all: &[(String, PathBuf)]) -> Vec<String> {
    let taken = all.iter().filter(|(_, it)| it.starts_with(folder));
    let mut names: Vec<_> = taken.map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// Of the same minor version; only the last number differs.
fn sibling_of(version: &str) -> String {
    format!("{}.99", version.rsplit_once('.').unwrap().0)
}

#[test]
fn assets_that_fit_come_first() {
    let workshop = Workshop::new("assets");
    let versions = [kubernetes(), etcd()].map(sibling_of);
    for (says, want) in [
        (format!("v{}", versions[0]), vec!["kube-apiserver", "kubectl"]),
        (format!("etcd Version: {}", versions[1]), vec!["etcd"]),
    ] {
        let folder = assets(&workshop, &says);
        let all = found(workshop.tools().env("KUBEBUILDER_ASSETS", &folder).spawn().unwrap());
        assert_eq!(taken_from(&folder, &all), want, "{says}: a kubelet never is");
    }
}

#[test]
fn assets_of_another_version_are_not_used_and_it_is_said_why() {
    let workshop = Workshop::new("unfit");
    for (says, word) in
        [("v1.2.3", "is kube-apiserver 1.2.3, but"), ("nothing", "does not say its version")]
    {
        let folder = assets(&workshop, says);
        let answer = workshop.tools().env("KUBEBUILDER_ASSETS", &folder).output().unwrap();
        let words = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success() && words.contains(word), "{says}: {words}");
        let paths = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(!paths.contains("assets"), "{says}: {paths}");
    }
    let answer = workshop.tools().env("KUBEBUILDER_ASSETS", assets(&workshop, "v1.2.3")).output();
    let words = String::from_utf8_lossy(&answer.unwrap().stderr).into_owned();
    assert!(words.contains("TESTBED_KUBERNETES=1.2.3"), "the way out is named: {words}");
}

#[test]
fn a_program_that_can_not_be_built_is_named_with_three_ways_to_supply_it() {
    let workshop = Workshop::new("broken");
    let broken = "#!/bin/sh\necho no disk left >&2\nexit 1\n";
    gastown_testbed::program::write(&workshop.0.join("bin/go"), broken).unwrap();
    let answer = workshop.tools().output().unwrap();
    assert!(!answer.status.success());
    let words = String::from_utf8_lossy(&answer.stderr);
    for word in [
        &format!("kube-apiserver {}", kubernetes()),
        "KUBEBUILDER_ASSETS",
        "put the program at",
        "testbed tools",
        "no disk left",
    ] {
        assert!(words.contains(word), "{word} is missing in: {words}");
    }
    let bin = workshop.0.join(format!("gastown-testbed/k8s-{}/bin", kubernetes()));
    assert_eq!(fs::read_dir(bin).unwrap().count(), 0, "nothing half-made is left");
}

#[test]
fn a_version_that_is_none_is_refused() {
    let workshop = Workshop::new("version");
    let answer = workshop.tools().env("TESTBED_KUBERNETES", "../1.2.3").output().unwrap();
    assert!(String::from_utf8_lossy(&answer.stderr).contains("not a version of Kubernetes"));
    assert!(!answer.status.success());
}
