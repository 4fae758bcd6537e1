//! What `prepare.sh` looks for is all that tests, the demo and `.ci/run` start: a program that a test begins to start fails
//! here until it is installed there, or named as what has to be there first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use syn::{
    Expr, ExprCall, ExprLit, ExprTuple, Lit, Macro,
    punctuated::Punctuated,
    visit::{self, Visit},
};

use crate::pipeline::pipeline;

/// Calls that take the name of a program and start it or look for it.
const TAKE_A_PROGRAM: &[&str] = &["new", "has", "on_path"];
/// What the runner starts in a pod is the image's, and in a test is written by the test.
const OF_THE_IMAGE: &[&str] = &["claude"];
/// Scripts that the two commands and `.ci/run` start, themselves or by a test.
const SCRIPTS: &[&str] = &[
    ".ci/run",
    "tests/tools/deny.sh",
    "tests/tools/glibc.sh",
    "tests/tools/junit.sh",
    "tests/tools/notices.sh",
    "tests/tools/promql.sh",
    "tests/tools/run-tests.sh",
    "tests/tools/sbom.sh",
];
/// What scripts may use that is no part of every Debian.
const NOT_EVERYWHERE: &[&str] = &[
    "buildah", "cmake", "cosign", "curl", "gcc", "git", "go", "helm", "jq", "make", "nm", "node",
    "npm", "objdump", "openssl", "perl", "pip", "python3", "readelf", "rsync", "skopeo", "socat",
    "ssh", "unzip", "wget", "xxd", "zip",
];
/// What longer tests demand before they begin, with the package that brings it to the pipeline's image.
const DEMANDED: &[(&str, &str)] = &[
    ("cmake", "cmake"),
    ("go", COPIED),
    ("ipset", "ipset"),
    ("iptables", "iptables"),
    ("nm", "binutils"),
    ("openssl", "openssl"),
    ("readelf", "binutils"),
    ("strip", "binutils"),
];
/// Of no package: from the image of Go.
const COPIED: &str = "/usr/local/go/";
/// What the pipeline's jobs may be without, and why nothing vanishes unseen by that.
const NOT_IN_THE_PIPELINE: &[(&str, &str)] = &[
    ("go-original", "nobody gives the pipeline the Go original's program"),
    ("mount-namespace", "asked for beside that program alone"),
    ("promql", "make test-alerts builds it, and requires it"),
    ("scc", "make test-scc builds it, and requires it"),
];

pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The package that brings what `prepare.sh` looks for.
pub struct Package {
    /// `-` where Debian has none that is new enough.
    pub name: String,
    /// Every Debian has it.
    everywhere: bool,
}

/// What `prepare.sh` looks for, with the package that brings it.
pub fn listed() -> BTreeMap<String, Package> {
    let output = Command::new(top().join("tests/tools/prepare.sh")).arg("--list").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let package = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let (program, name, more) = (words[0].to_owned(), words[1].to_owned(), &words[2..]);
        assert!(matches!(more, [] | ["everywhere"]), "{line}");
        (program, Package { name, everywhere: !more.is_empty() })
    };
    text.lines().map(package).collect()
}

#[test]
fn what_tests_start_is_prepared() {
    let listed = listed();
    let mut files = Vec::new();
    for folder in ["tests/it", "tests/runner", "tests/testbed", "src/runner", "src/tls"] {
        rust_files(&top().join(folder), &mut files);
    }
    let mut started = BTreeSet::new();
    for file in files {
        for program in Programs::of(&fs::read_to_string(&file).unwrap()) {
            let at = file.strip_prefix(top()).unwrap().display();
            assert!(
                listed.contains_key(&program),
                "{at} starts {program}, which tests/tools/prepare.sh neither installs nor names"
            );
            started.insert(program);
        }
    }
    for known in
        ["git", "openssl", "perl", "prlimit", "ssh-keygen", "unshare", "containerd", "curl"]
    {
        assert!(started.contains(known), "{known} is started, and was not found: {started:?}");
    }
}

#[test]
fn what_scripts_use_is_prepared() {
    let listed = listed();
    for script in SCRIPTS {
        for program in used(&fs::read_to_string(top().join(script)).unwrap()) {
            assert!(listed.contains_key(program), "{script} uses {program}, which is not prepared");
        }
    }
}

/// The stage of the image that jobs of the pipeline run in, an instruction a line.
fn toolchain() -> Vec<String> {
    let text = fs::read_to_string(top().join("Dockerfile")).unwrap();
    let stage = text.split(" AS toolchain\n").nth(1).unwrap().replace("\\\n", " ");
    stage.lines().map(ToOwned::to_owned).collect()
}

/// What that image installs.
fn installed() -> BTreeSet<String> {
    let stage = toolchain();
    let line = stage.iter().find(|it| it.starts_with("RUN ") && it.contains("\" install "));
    let packages = line.unwrap().split("\" install ").nth(1).unwrap();
    packages.split_whitespace().map(ToOwned::to_owned).collect()
}

/// Jobs of the pipeline install nothing, so all that would be installed is in their image, but for what every Debian has.
#[test]
fn the_pipelines_image_has_all_that_is_prepared() {
    let installed = installed();
    let all = listed().into_values().filter(|it| it.name != "-" && !it.everywhere);
    let mut wanted: BTreeSet<_> = all.map(|it| it.name).collect();
    wanted.insert("python3-venv".to_owned()); // with python3, for the environment of Python's programs
    assert!(wanted.len() > 20, "{wanted:?}");
    let lacking: Vec<_> = wanted.difference(&installed).collect();
    assert!(lacking.is_empty(), "the stage toolchain of Dockerfile lacks {lacking:?}");
}

/// So is what a longer test ends for want of, after hours of the others.
#[test]
fn the_pipelines_image_has_all_that_longer_tests_demand() {
    let (installed, stage) = (installed(), toolchain());
    let mut all = BTreeSet::new();
    for file in ["Makefile", "tests/tools/test-fips.sh"] {
        let text = fs::read_to_string(top().join(file)).unwrap();
        let found = demanded(&text);
        assert!(!found.is_empty(), "{file} demands nothing");
        all.extend(found);
    }
    let known: BTreeSet<_> = DEMANDED.iter().map(|it| it.0.to_owned()).collect();
    assert_eq!(all, known, "DEMANDED has the package of each");
    for (program, package) in DEMANDED {
        let has = if *package == COPIED {
            stage.iter().any(|it| it.starts_with("COPY --from=go ") && it.ends_with(COPIED))
        } else {
            installed.contains(*package)
        };
        assert!(has, "the stage toolchain of Dockerfile lacks {package}, which has {program}");
    }
}

/// What tests skip themselves for, but for what has a target of its own.
fn skipped_for() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["tests/it", "tests/runner", "tests/testbed"] {
        rust_files(&top().join(folder), &mut files);
    }
    let mut words = BTreeSet::new();
    for file in files {
        let mut skips = Skips::default();
        skips.visit_file(&syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap());
        words.extend(skips.0);
    }
    assert!(words.len() > 10 && words.contains("sshd"), "they are found: {words:?}");
    // Named by a variable where they are skipped for.
    words
        .extend(["curl", "openssl", "nodejs", "kwok", "node", "kubectl", "helm"].map(String::from));
    for elsewhere in [
        "built",
        "cosign",
        "faults",
        "fips",
        "go-original-source",
        "jaeger",
        "kube-router",
        "olm",
        "opm",
        "previous",
    ] {
        words.remove(elsewhere); // minutes or more, by a target of their own
    }
    words
}

/// A test that skips itself for want of something is one that `.ci/run` must not let skip where that is there.
#[test]
fn ci_requires_what_tests_can_be_skipped_for() {
    let text = fs::read_to_string(top().join(".ci/run")).unwrap();
    let required: BTreeSet<_> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).collect();
    assert!(text.trim_end().ends_with("make test"), "what it prints last are the skips, by reason");
    let words = skipped_for();
    let forgotten: Vec<_> = words.iter().filter(|it| !required.contains(it.as_str())).collect();
    assert!(
        forgotten.is_empty(),
        ".ci/run requires none of {forgotten:?}, even where they are there"
    );
}

/// And the pipeline, in whose image all of it is, not at all.
#[test]
fn the_pipeline_requires_what_tests_can_be_skipped_for() {
    let mut words = skipped_for();
    for (lacking, because) in NOT_IN_THE_PIPELINE {
        assert!(words.remove(*lacking), "no test is skipped for {lacking}: {because}");
    }
    let whole = pipeline();
    for job in ["test:all", "test:full"] {
        let required = whole[job]["variables"]["GASTOWN_REQUIRE"].as_str().unwrap();
        let required: BTreeSet<_> = required.split(',').map(ToOwned::to_owned).collect();
        assert_eq!(required, words, "{job} requires what its image and its runner have");
    }
}

/// What it requires a real node for is what a testbed asks before it raises one.
#[test]
fn ci_requires_a_node_by_what_a_testbed_asks() {
    let text = fs::read_to_string(top().join(".ci/run")).unwrap();
    let (_, rest) = text.split_once("can_have_node() {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let words: BTreeSet<_> =
        body.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).collect();
    let programs = gastown_testbed::preconditions::PROGRAMS.iter().map(|it| it.0);
    let others = [
        "ip",
        "busybox",
        "git-remote-http",
        "libnss_wrapper.so",
        "ca-certificates.crt",
        "CapEff",
        "cgroup.subtree_control",
    ];
    for it in programs.chain(others) {
        assert!(words.contains(it), ".ci/run requires a real node without asking for {it}");
    }
}

#[test]
fn a_program_that_nobody_prepares_is_found() {
    let planted = r#"
        fn f() {
            Command::new("strace").arg("-f");
            if !has("gdb") { return; }
            let by = ["rev-parse", "-f"];
            let callers = vec![("wget", vec!["wget", "-q", &url])];
            Command::new("git").args(["rev-parse", "--verify"]);
        }
    "#;
    let found = Programs::of(planted);
    assert_eq!(found, ["gdb", "git", "strace", "wget"].map(String::from).into());
    let script = "# jq is only spoken of\nif command -v wget; then openssl version | tee x; fi\necho 'no curling'";
    assert_eq!(used(script), ["openssl", "wget"].into());
    let recipe = "\t@for it in ipset gdb; do PATH=x command -v $$it || exit 1; done\n\
                  for users in need; do\n  echo; done\n";
    assert_eq!(demanded(recipe), ["gdb", "ipset"].map(String::from).into());
}

/// Every file of Rust below a folder, but for this one.
pub fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("prepared.rs") {
            files.push(path);
        }
    }
}

/// The words of a script, but for its comments, that are names of programs which are not everywhere.
fn used(script: &str) -> BTreeSet<&'static str> {
    let lines = script.lines().filter(|it| !it.trim_start().starts_with('#'));
    let words: BTreeSet<_> = lines
        .flat_map(|it| it.split(|c: char| !c.is_ascii_alphanumeric() && !"-_./".contains(c)))
        .collect();
    NOT_EVERYWHERE.iter().copied().filter(|it| words.contains(it)).collect()
}

/// The programs that a loop of a recipe or script looks for.
fn demanded(text: &str) -> BTreeSet<String> {
    let loops = text.split("for ").skip(1).filter_map(|it| {
        let (_, rest) = it.split_once(" in ")?;
        let (programs, body) = rest.split_once("; do")?;
        let looks = !programs.contains('\n') && body.contains("command -v $");
        looks.then_some(programs)
    });
    loops.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect()
}

/// Programs that Rust code starts or looks for by name.
#[derive(Default)]
struct Programs(BTreeSet<String>);

impl Programs {
    fn of(text: &str) -> BTreeSet<String> {
        let mut programs = Self::default();
        programs.visit_file(&syn::parse_file(text).unwrap());
        programs.0
    }

    /// One word in lower case that is no path of the test's own.
    fn add(&mut self, word: &str) {
        let word = word.strip_prefix("/bin/").unwrap_or(word);
        let is = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if OF_THE_IMAGE.contains(&word) {
            return;
        }
        if !word.is_empty() && word.chars().all(is) && !word.starts_with('-') {
            self.0.insert(word.to_owned());
        }
    }
}

impl<'ast> Visit<'ast> for Programs {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
            && TAKE_A_PROGRAM.contains(&last.ident.to_string().as_str())
            // `new` of a command alone.
            && (last.ident != "new" || path.path.segments.iter().any(|it| it.ident == "Command"))
            && let Some(word) = call.args.first().and_then(text)
        {
            self.add(&word);
        }
        visit::visit_expr_call(self, call);
    }

    /// A caller by name, with the words that start it.
    fn visit_expr_tuple(&mut self, tuple: &'ast ExprTuple) {
        let mut parts = tuple.elems.iter();
        if let (Some(name), Some(Expr::Macro(words))) = (parts.next().and_then(text), parts.next())
            && parsed(&words.mac).first().and_then(text).as_ref() == Some(&name)
        {
            self.add(&name);
        }
        visit::visit_expr_tuple(self, tuple);
    }

    fn visit_macro(&mut self, it: &'ast Macro) {
        for it in parsed(it) {
            self.visit_expr(&it);
        }
    }
}

/// What a macro is given, where that is a list of expressions.
fn parsed(it: &Macro) -> Vec<Expr> {
    let words = it.parse_body_with(Punctuated::<Expr, syn::Token![,]>::parse_terminated);
    words.map(|it| it.into_iter().collect()).unwrap_or_default()
}

/// What tests say is missing when they skip themselves.
#[derive(Default)]
struct Skips(BTreeSet<String>);

impl<'ast> Visit<'ast> for Skips {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && path.path.segments.last().is_some_and(|it| it.ident == "skip")
        {
            self.0.extend(call.args.iter().nth(1).and_then(text));
        }
        visit::visit_expr_call(self, call);
    }
}

fn text(it: &Expr) -> Option<String> {
    match it {
        Expr::Lit(ExprLit { lit: Lit::Str(it), .. }) => Some(it.value()),
        _ => None,
    }
}
