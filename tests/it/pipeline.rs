//! `.gitlab-ci.yml`: every image from the own registry and in the lock file, jobs that install nothing, and the schema; and
//! the script that copies those images.

mod unprivileged;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    generated::top,
    images::{OWN, locked},
    make::{make, words},
    preconditions::skip,
};

/// Keys of the top level that are no jobs.
const NO_JOBS: [&str; 5] = ["variables", "stages", "workflow", "default", "include"];

pub fn pipeline() -> Value {
    let text = fs::read_to_string(top().join(".gitlab-ci.yml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// What of a pipeline reaches for anything that the own registry does not serve, or does what nobody could do elsewhere.
fn flaws(pipeline: &Value) -> Vec<String> {
    let mut flaws = Vec::new();
    visit(pipeline, "", &mut |at, key, it| match key {
        "include" => flaws.push(format!("{at}: what it brings is not seen here")),
        "variables" => flaws.extend(given(pipeline, at, it)),
        "matrix" => {
            let rows = it.as_array().into_iter().flatten();
            flaws.extend(rows.flat_map(|it| given(pipeline, at, it)));
        }
        _ => {}
    });
    for (job, body) in pipeline.as_object().unwrap() {
        let services = body["services"].as_array().cloned().unwrap_or_default();
        for image in body.get("image").into_iter().chain(&services) {
            let image = image.as_str().or(image["name"].as_str()).unwrap_or_default();
            flaws.extend(foreign(pipeline, image).map(|it| format!("{job}: image {it}")));
        }
        if !NO_JOBS.contains(&job.as_str()) {
            flaws.extend(lines(body).into_iter().filter_map(|it| stray(job, &it)));
        }
    }
    flaws
}

/// Everything below a key, with the path to it.
fn visit(value: &Value, at: &str, found: &mut impl FnMut(&str, &str, &Value)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, it)| {
            let at = format!("{at}/{key}");
            found(&at, key, it);
            visit(it, &at, found);
        }),
        Value::Array(items) => items.iter().for_each(|it| visit(it, at, found)),
        _ => {}
    }
}

/// What is wrong with variables of the pipeline, a job, a rule or a matrix: any of them decides which images are pulled, since the
/// nearest one counts, also for those that `image:` names.
fn given(pipeline: &Value, at: &str, variables: &Value) -> Vec<String> {
    let mut flaws = Vec::new();
    for (name, value) in variables.as_object().into_iter().flatten() {
        let values = match value {
            Value::Array(all) => all.clone(),
            Value::Object(it) => it.get("value").into_iter().cloned().collect(),
            one => vec![one.clone()],
        };
        for value in values.iter().map(|it| it.as_str().unwrap_or_default()) {
            let arguments = value.split("--build-arg").skip(1).filter_map(|it| {
                it.trim_start_matches(['=', ' ']).split_whitespace().next()?.split_once('=')
            });
            let set = [(name.as_str(), value)]
                .into_iter()
                .filter(|_| at != "/variables" || name != REGISTRY);
            for (name, value) in set.chain(arguments) {
                let names_image = name.ends_with("_IMAGE") || name.ends_with("_BASE");
                let found = match name {
                    REGISTRY => Some(value.to_owned()),
                    _ if names_image => foreign(pipeline, value),
                    _ => None,
                };
                flaws.extend(found.map(|it| format!("{at}: {name} is {it}")));
            }
        }
    }
    flaws
}

/// The variable of the one registry, which is set once.
const REGISTRY: &str = "DPR_REGISTRY";

/// An image that is not of the own registry, or no row of the lock file. A variable of the pipeline stands for what it is, if it is
/// called as those are that are held to the same.
fn foreign(pipeline: &Value, image: &str) -> Option<String> {
    let name = image.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
    let name = name.filter(|it| it.ends_with("_IMAGE"));
    let whole = name.and_then(|it| pipeline["variables"][it].as_str()).unwrap_or(image);
    let known =
        whole.strip_prefix(OWN).is_some_and(|it| locked().iter().any(|[row, ..]| row == it));
    (!known).then(|| whole.to_owned())
}

/// What a job runs.
pub fn lines(job: &Value) -> Vec<String> {
    let parts = ["before_script", "script", "after_script"];
    let lines = parts.iter().filter_map(|it| job[*it].as_array()).flatten();
    lines.map(|it| it.as_str().unwrap_or_default().to_owned()).collect()
}

/// A line that is neither a target of make nor a script of ours.
fn stray(job: &str, line: &str) -> Option<String> {
    let words: Vec<_> = line.split(' ').collect();
    let target = fs::read_to_string(top().join("Makefile")).unwrap();
    let fine = match words.as_slice() {
        ["make", it] => target.lines().any(|line| line.starts_with(&format!("{it}:"))),
        [it] => Path::new(it).extension().is_some_and(|it| it == "sh") && top().join(it).is_file(),
        _ => false,
    };
    (!fine).then(|| format!("{job}: runs {line:?}"))
}

#[test]
fn every_image_is_the_own_registrys_and_jobs_run_what_anybody_can() {
    let found = flaws(&pipeline());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_rule_sees_planted_offences() {
    type Edit = fn(&mut Value);
    let table: [(Edit, &str); 17] = [
        (|it| it["lint:rust"]["image"] = json!("rust:1.95"), "an image of elsewhere"),
        (|it| it["lint:rust"]["image"] = json!({"name": "docker.io/library/rust:1"}), "by name"),
        (
            |it| it["lint:rust"]["image"] = json!("${DPR_REGISTRY}/ci-images/rust:1.0"),
            "no row of the lock",
        ),
        (
            |it| it["lint:rust"]["image"] = json!("${CI_REGISTRY}/ci-images/rust:1.95-bookworm"),
            "another registry",
        ),
        (|it| it["default"]["image"] = json!("alpine:3"), "the default's"),
        (|it| it["test:all"]["services"] = json!(["docker:24-dind"]), "a service"),
        (|it| it["include"] = json!([{"template": "Security/SAST.gitlab-ci.yml"}]), "a template"),
        (|it| it["variables"]["NODE_IMAGE"] = json!("node:22"), "a variable"),
        (|it| it["lint:rust"]["before_script"] = json!(["apk add git"]), "an installation"),
        (
            |it| {
                it["build:toolchain"]["variables"]["BUILD_ARGS"] =
                    json!("--build-arg RUST_IMAGE=rust:1");
            },
            "the FROM of an image that is built",
        ),
        (|it| it["lint:rust"]["variables"]["TOOLCHAIN_IMAGE"] = json!("rust:1.95"), "a job's"),
        (|it| it["lint:rust"]["variables"]["DPR_REGISTRY"] = json!("docker.io"), "of a job"),
        (
            |it| it["build:images"]["parallel"]["matrix"][0]["DPR_REGISTRY"] = json!(["docker.io"]),
            "another registry for one of several",
        ),
        (
            |it| it["variables"]["BUILD_ARGS"] = json!("--build-arg RUST_IMAGE=rust:1"),
            "the FROM of all that is built",
        ),
        (
            |it| {
                it["workflow"]["rules"][0]["variables"]["BUILD_ARGS"] =
                    json!("--build-arg=DPR_REGISTRY=docker.io");
            },
            "their registry, by a rule",
        ),
        (
            |it| it["scan:images"]["variables"]["AGENT_BASE"] = json!({"value": "node:22"}),
            "what an agent is added to",
        ),
        (
            |it| it["lint:rust"]["trigger"] = json!({"include": "child.yml"}),
            "a pipeline of its own",
        ),
    ];
    for (edit, because) in table {
        let mut changed = pipeline();
        edit(&mut changed);
        assert_eq!(flaws(&changed).len(), 1, "{because}: {:#?}", flaws(&changed));
    }
}

#[test]
fn the_users_variables_keep_their_names_and_are_used() {
    let whole = pipeline();
    let text = fs::read_to_string(top().join(".gitlab-ci.yml")).unwrap();
    let registry = "dprusocplvjmp01.deepsky.lab:5000";
    assert_eq!(whole["variables"]["DPR_REGISTRY"], registry);
    for (name, image) in [
        ("GO_IMAGE", "golang:"),
        ("GO_LINT_IMAGE", "golangci-lint:"),
        ("KUBECTL_IMAGE", "k8s:"),
        ("YAMLLINT_IMAGE", "yamllint:"),
    ] {
        let value = whole["variables"][name].as_str().unwrap();
        assert!(value.starts_with(&format!("{OWN}{image}")), "{name}: {value}");
        assert!(text.contains(&format!("${{{name}}}")), "nothing uses {name}");
    }
    assert_eq!(whole["stages"], json!(["lint", "test", "build", "scan", "bundle", "release"]));
    let editions = &whole["build:images"]["parallel"]["matrix"][0]["EDITION"];
    assert_eq!(*editions, json!(["community", "enterprise"]));
}

/// The first golangci-lint whose images are built by Go 1.N, by its CHANGELOG: an older one refuses to read a module that asks for
/// that Go.
const FIRST_FOR_GO: [(u32, (u32, u32)); 3] = [(25, (2, 4)), (26, (2, 9)), (27, (2, 13))];

/// The two leading numbers of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.trim_start_matches('v').split(['.', '-']).map(|it| it.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Folders below tests with a file of this name, as find sorts them.
fn folders_with(name: &str) -> Vec<PathBuf> {
    let (mut folders, mut ahead) = (Vec::new(), vec![top().join("tests")]);
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            } else if entry.file_name() == name {
                folders.push(folder.clone());
            }
        }
    }
    folders.sort();
    assert!(folders.len() > 3, "{folders:?}");
    folders
}

#[test]
fn what_reads_go_is_as_new_as_the_newest_go_that_a_module_asks_for() {
    let asked = folders_with("go.mod").into_iter().map(|folder| {
        let text = fs::read_to_string(folder.join("go.mod")).unwrap();
        let line = text.lines().find_map(|it| it.strip_prefix("go "));
        version(line.unwrap_or_else(|| panic!("{}: no go line", folder.display())))
    });
    let newest = asked.max().unwrap();
    let whole = pipeline();
    let tag = |name: &str| {
        let image = whole["variables"][name].as_str().unwrap();
        version(image.rsplit_once(':').unwrap().1)
    };
    assert!(tag("GO_IMAGE") >= newest, "GO_IMAGE builds what asks for Go {newest:?}");
    let first = FIRST_FOR_GO.iter().find(|it| (1, it.0) == newest).map(|it| it.1);
    let first = first.unwrap_or_else(|| panic!("FIRST_FOR_GO: say which knows Go {newest:?}"));
    assert!(tag("GO_LINT_IMAGE") >= first, "GO_LINT_IMAGE knows Go {newest:?} from {first:?} on");
}

#[test]
fn every_go_program_is_linted() {
    let folder = tempfile::tempdir().unwrap();
    let note = "#!/bin/sh\n[ \"$1\" != run ] || pwd >> \"${0%/*}/asked\"\n";
    for program in ["gofmt", "golangci-lint"] {
        gastown_testbed::program::write(&folder.path().join(program), note).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = make(&["lint-go"]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked.lines().map(PathBuf::from).collect::<Vec<_>>(), folders_with("main.go"));
}

/// What pushes, signs or changes a cluster is not broken off half way, nor done again by itself; what starts buildah or the
/// node is where that can be; and what is cached below the project goes into no image.
#[test]
fn jobs_run_where_they_can_and_a_release_runs_once() {
    let whole = pipeline();
    for job in ["deploy", "release:images", "release:packages", "release:sign"] {
        assert_eq!(whole[job]["interruptible"], json!(false), "{job}");
        assert_eq!(whole[job]["retry"], json!(0), "{job}");
    }
    let privileged = [
        "test",
        "test-full",
        "docker-build",
        "docker-push",
        "scan-images",
        "test-bundle",
        "toolchain-image",
        "bundle",
        "catalog",
        "plugin",
    ];
    for (job, body) in whole.as_object().unwrap() {
        let needs = lines(body)
            .iter()
            .any(|it| it.strip_prefix("make ").is_some_and(|target| privileged.contains(&target)));
        let tags = body["tags"].as_array().cloned().unwrap_or_default();
        assert_eq!(needs, tags.contains(&json!("gastown-node")), "{job}: {tags:?}");
    }
    let ignored = fs::read_to_string(top().join(".dockerignore")).unwrap();
    let folders = whole["variables"].as_object().unwrap().values().filter_map(|it| {
        it.as_str()?.strip_prefix("${CI_PROJECT_DIR}")?.split('/').nth(1).map(|it| format!("/{it}"))
    });
    let folders: Vec<_> = folders.collect();
    assert_eq!(folders.len(), 3, "{folders:?}");
    for folder in folders {
        assert!(ignored.lines().any(|it| it == folder), "{folder} is not in .dockerignore");
    }
}

/// What takes hours is run by a schedule alone, and there nothing of it is skipped.
#[test]
fn the_long_tests_run_by_a_schedule() {
    let whole = pipeline();
    let scheduled = json!({"if": "$CI_PIPELINE_SOURCE == \"schedule\""});
    assert!(whole["workflow"]["rules"].as_array().unwrap().contains(&scheduled));
    let long = &whole["test:full"];
    assert_eq!(lines(long)[0], "make test-full");
    assert_eq!(long["rules"], json!([scheduled]), "at no other time");
    let required = |job: &str| whole[job]["variables"]["GASTOWN_REQUIRE"].clone();
    assert_eq!(required("test:full"), required("test:all"));
    assert_eq!(long["variables"]["GIT_DEPTH"], "0", "the release before is built of its commit");
    let text = fs::read_to_string(top().join("Makefile")).unwrap();
    let (_, recipe) = text.split_once("\ntest-full:").unwrap();
    let at = |target: &str| recipe.find(&format!("no-print-directory {target}\n")).unwrap();
    assert!(at("test-upgrade") < at("test-network"), "what matters more is not behind a firewall");
}

/// A program of Python's, on the path or where `make prepare` puts it.
pub fn python(program: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    folders.push(top().join("target/python/bin"));
    folders.into_iter().map(|it| it.join(program)).find(|it| it.is_file())
}

#[test]
fn the_pipeline_keeps_the_schema_of_gitlab() {
    let test = "the_pipeline_keeps_the_schema_of_gitlab";
    let Some(program) = python("check-jsonschema") else {
        skip(test, "check-jsonschema", "no check-jsonschema; PyPI has it");
        return;
    };
    let check = |file: &Path| {
        let mut command = Command::new(&program);
        command.args(["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]);
        command.arg(file).stdin(Stdio::null()).output().unwrap()
    };
    let output = check(&top().join(".gitlab-ci.yml"));
    assert!(output.status.success(), "{}", words(&output));
    let mut broken = pipeline();
    broken["lint:rust"]["stage"] = json!({"no": "stage"});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yml");
    fs::write(&file, broken.to_string()).unwrap();
    assert!(!check(&file).status.success(), "it can refuse");
}

/// A skopeo that notes what it is asked, and has a registry that lacks one image.
const SKOPEO: &str = r#"#!/bin/sh
echo "$@" >> "${0%/*}/asked"
case "$*" in
  *tls-verify*) exit 9 ;;
  "inspect "*/ci-images/debian:*) exit 1 ;;
  "inspect "*) echo "manifest of ${*##*docker://*/}" ;;
esac
"#;

/// Runs the script on a lock file of its own; what it said, and what skopeo was asked.
fn mirror(argument: &[&str], lock: &Path) -> (Output, String) {
    let folder = lock.parent().unwrap();
    let skopeo = folder.join("skopeo");
    gastown_testbed::program::write(&skopeo, SKOPEO).unwrap();
    fs::write(folder.join("asked"), "").unwrap();
    let mut command = Command::new(top().join("deploy/mirror/mirror-ci-images.sh"));
    command.args(argument).env("LOCK", lock).env("SKOPEO", skopeo).env("DPR_REGISTRY", "dpr:5000");
    let output = command.env_remove("CERT_DIR").stdin(Stdio::null()).output().unwrap();
    (output, fs::read_to_string(folder.join("asked")).unwrap())
}

#[test]
fn images_are_mirrored_by_digest_where_there_is_one_and_what_is_missing_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lock");
    let digest = format!("sha256:{}", "a".repeat(64));
    let rows = format!(
        "# A comment\nrust:1 docker.io/library/rust:1 {digest}\ndebian:12 docker.io/library/debian:12 unresolved\n\
         tools:1 built unresolved\n"
    );
    fs::write(&file, &rows).unwrap();
    let (output, asked) = mirror(&[], &file);
    assert!(output.status.success(), "{}", words(&output));
    let copies: Vec<_> = asked.lines().collect();
    let by_digest = format!(
        "copy --all --preserve-digests docker://docker.io/library/rust@{digest} docker://dpr:5000/ci-images/rust:1"
    );
    let by_tag = "copy --all --preserve-digests docker://docker.io/library/debian:12 docker://dpr:5000/ci-images/debian:12";
    assert_eq!(copies, [&*by_digest, by_tag], "what is built here comes from nowhere");

    let (output, _) = mirror(&["--check"], &file);
    let said = words(&output);
    assert!(!output.status.success() && said.contains("missing: debian:12"), "{said}");
    assert!(said.contains("other digest: rust:1 is sha256:"), "{said}");
    assert!(!said.contains("tools:1"), "that one is there: {said}");

    let (output, _) = mirror(&["--digests"], &file);
    let said = words(&output);
    assert!(!output.status.success(), "{said}");
    assert_eq!(said, "unresolved: debian:12\nunresolved: tools:1\n");

    let (output, _) = mirror(&["--resolve"], &file);
    assert!(output.status.success(), "{}", words(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# A comment\nrust:1 ") && !text.contains(&digest), "{text}");
    assert_eq!(text.matches("unresolved").count(), 0, "each of them answered: {text}");
}

#[test]
fn a_release_stands_on_digests_alone() {
    let unresolved: Vec<_> = locked().into_iter().filter(|it| it[2] == "unresolved").collect();
    let output = make(&["release-check"]).output().unwrap();
    assert_eq!(output.status.success(), unresolved.is_empty(), "{}", words(&output));
    for [name, ..] in &unresolved {
        assert!(words(&output).contains(&format!("unresolved: {name}")), "{}", words(&output));
    }
    let release = &pipeline()["release:images"]["needs"];
    assert!(release.as_array().unwrap().contains(&json!("release:digests")), "{release}");
}

/// What is pushed is what chart, kustomize and mirror lists name: by the version, which is the tag.
#[test]
fn a_release_has_the_names_that_every_road_installs() {
    let version = env!("CARGO_PKG_VERSION");
    let whole = pipeline();
    let job = &whole["release:images"];
    let mut editions = Vec::new();
    for row in job["parallel"]["matrix"].as_array().unwrap() {
        let edition = row["EDITION"].as_str().unwrap();
        let suffix = row["SUFFIX"][0].as_str().unwrap();
        let image = job["variables"]["IMG"].as_str().unwrap();
        let image = image.replace("${CI_COMMIT_TAG}", version).replace("${SUFFIX}", suffix);
        let image = image.replace("${RELEASE_REPOSITORY}", "registry.example.com/town");
        let mut command = Command::new(top().join("deploy/images/build.sh"));
        command.arg("names").env("EDITION", edition).env("IMG", &image).env_remove("RUNNER_IMG");
        let pushed = words(&command.env("TARGETS", "operator runner").output().unwrap());
        let list = top().join(format!("deploy/mirror/images-{edition}.txt"));
        let list = fs::read_to_string(list).unwrap();
        let listed = list.lines().filter(|it| !it.starts_with('#'));
        let (by_olm, wanted): (Vec<_>, Vec<_>) = listed.partition(|it| it.contains(":v"));
        let named = job["variables"]["BUNDLE_IMG"].as_str().unwrap().rsplit('/').next().unwrap();
        let named = named.replace("${CI_COMMIT_TAG}", version).replace("${EDITION}", edition);
        assert!(by_olm.contains(&&*named), "{named}: {by_olm:?}");
        let pushed = pushed.replace("registry.example.com/town/", "");
        assert_eq!(pushed.lines().collect::<Vec<_>>(), wanted, "{edition}");
        editions.push(edition.to_owned());
    }
    assert_eq!(editions, ["community", "enterprise"]);
    let checked = |tag: &str| make(&["release-check"]).env("CI_COMMIT_TAG", tag).output().unwrap();
    let wrong = words(&checked("v0.0.1"));
    assert!(!checked("v0.0.1").status.success(), "{wrong}");
    assert!(wrong.contains(&format!("v0.0.1 and the version in Cargo.toml {version}")), "{wrong}");
    assert!(!words(&checked(version)).contains("the tag is"), "{}", words(&checked(version)));
}

/// What cargo-llvm-cov says at last, by the fixtures of its own tests: without and with branches, and where it counts other things.
#[test]
fn the_share_of_covered_lines_is_found_in_what_is_said_of_it() {
    let whole = pipeline();
    let pattern = whole["test:coverage"]["coverage"].as_str().unwrap();
    let pattern = pattern.strip_prefix('/').and_then(|it| it.strip_suffix('/')).unwrap();
    let pattern = regex::Regex::new(pattern).unwrap();
    for (line, share, because) in [
        ("TOTAL   8   2   75.00%   1   0   100.00%   7   2   71.43%   0   0   -", "71.43", "lines"),
        ("TOTAL 40 9 77.50% 6 1 83.33% 51 12 76.47% 10 4 60.00%", "76.47", "lines, with branches"),
        ("TOTAL 2 0 100.00% 1 0 100.00% 3 0 100.00% 0 0 -", "100.00", "all"),
        ("src/TOTAL.rs 8 2 75.00% 1 0 100.00% 7 2 71.43% 0 0 -", "", "a file's"),
        ("test result: ok. 12 passed; 0 failed", "", "no line of a report"),
    ] {
        let found = pattern.captures(line).map(|it| it[1].to_owned());
        assert_eq!(found.unwrap_or_default(), share, "{because}: {line}");
    }
}

/// What CI shows of a run comes from the tests' own words.
#[test]
fn a_report_tells_what_passed_failed_and_was_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("test.log");
    let said = "     Running unittests src/lib.rs (target/debug/deps/x)\ntest a::fine ... ok\n\
                SKIP b: no <node>\ntest a::b ... ok\ntest a::bad ... FAILED\n\nfailures:\n\n---- a::bad stdout ----\n\
                left: 1 & 2\n\nfailures:\n    a::bad\n\ntest result: FAILED. 2 passed; 1 failed\n";
    fs::write(&log, said).unwrap();
    let output = Command::new(top().join("tests/tools/junit.sh")).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let report = words(&output);
    for part in [
        r#"tests="3" failures="1""#,
        r#"<testcase classname="src/lib.rs" name="a::fine"></testcase>"#,
        r#"<skipped message="no &lt;node&gt;"/>"#,
        "<failure>left: 1 &amp; 2\n",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
}
