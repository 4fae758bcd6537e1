//! Every page for people is held to its links and its commands: a link leads somewhere, and a command is executed by a test that
//! the table names, or marked as one that needs a cluster of the reader's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{generated::top, samples};

/// Who executes a command.
enum Held {
    /// The test of this name.
    Test(&'static str),
    /// Nobody here: why it takes a cluster, a registry or a machine that tests have not.
    Needs(&'static str),
}
use Held::{Needs, Test};

const KIND: &str = "a container engine";

/// Beginnings of commands as they stand behind a prompt, the first that fits.
const COMMANDS: &[(&str, Held)] = &[
    ("make demo", Needs("is a step of `.ci/run` by itself")),
    ("make test", Needs("is a step of `.ci/run` by itself")),
    ("make deploy", Test("make_deploy_brings_three_replicas_that_update_and_go_without_a_trace")),
    ("make undeploy", Test("deploy_applies_an_edition_and_undeploy_leaves_what_people_have")),
    ("make uninstall", Test("install_installs_and_uninstall_asks_first")),
    ("make docker-build", Test("docker_build_and_push_do_what_their_arguments_say")),
    ("make docker-push", Test("docker_build_and_push_do_what_their_arguments_say")),
    (
        "make verify-release",
        Test("a_release_is_verified_by_its_key_and_refused_once_anything_of_it_is_changed"),
    ),
    (
        "cosign verify ",
        Test("a_release_is_verified_by_its_key_and_refused_once_anything_of_it_is_changed"),
    ),
    ("make agent-image", Test("an_agents_image_is_pinned")),
    ("make bundle ", Test("a_bundle_of_a_release_names_digests_everywhere")),
    ("make bundle-push", Test("a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served")),
    (
        "opm alpha render-template",
        Test("a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served"),
    ),
    (
        "deploy/mirror/mirror-ci-images.sh",
        Test("images_are_mirrored_by_digest_where_there_is_one_and_what_is_missing_is_listed"),
    ),
    ("kubectl gt doctor", Test("a_healthy_installation_is_told_from_one_with_faults")),
    (
        "kubectl gt pause namespace",
        Test("a_paused_namespace_begins_nothing_and_touches_nothing_that_runs"),
    ),
    (
        "kubectl gt resume namespace",
        Test("a_paused_namespace_begins_nothing_and_touches_nothing_that_runs"),
    ),
    ("kubectl gt pause rig", Test("a_paused_rig_holds_its_own_polecats_alone")),
    (
        "kubectl gt shards",
        Test("a_person_sees_the_shards_and_splits_one_when_the_last_change_is_done"),
    ),
    (
        "kubectl gt storage",
        Test("the_way_back_ends_where_the_originals_own_definitions_apply_again"),
    ),
    ("kubectl gt ", Needs("runs of one's own to look at")),
    ("kubectl get polecats", Needs("is what `make demo` prints")),
    ("kubectl -n town get polecats", Needs("is what `make demo` prints")),
    (
        "kubectl annotate polecat furiosa gastown.io/resume",
        Test("an_export_of_a_finished_polecat_is_held_and_runs_when_told"),
    ),
    (
        "kubectl -n town apply -f deploy/optional/missing-secrets.yaml",
        Test("a_missing_secret_is_told_with_its_line_where_a_role_lets_the_operator_look"),
    ),
    (
        "kubectl -n town apply -f polecat.yaml",
        Test("a_missing_secret_is_told_with_its_line_where_a_role_lets_the_operator_look"),
    ),
    ("cat kustomization.yaml", Needs("shows a file")),
    (
        "kubectl apply --server-side --force-conflicts -k .",
        Needs("a cluster; `make deploy` does the same with an overlay of its own"),
    ),
    ("sed ", Test("one_file_is_what_kustomize_makes_of_the_community_edition")),
    ("helm rollback ", Test("helm_upgrades_an_older_release_under_load_and_rolls_back")),
    (
        "helm ",
        Test("helm_upgrades_a_release_of_the_original_and_leaves_the_definitions_when_it_goes"),
    ),
    ("kind ", Needs(KIND)),
    ("kubectl -n town create secret docker-registry", Needs("a registry that asks who pulls")),
    ("kubectl -n town patch serviceaccount default", Needs("a registry that asks who pulls")),
    ("make install run", Needs("a cluster that reaches the reader's machine")),
    (
        "cargo build --locked --release --bin kubectl-gt",
        Test("a_healthy_installation_is_told_from_one_with_faults"),
    ),
    ("install target/release/kubectl-gt", Needs("a folder on the reader's `PATH`")),
    ("buildah push ", Needs("images that are built on a registry's bases")),
    (
        "kubectl -n town create secret generic git-",
        Test("typed_secrets_and_every_form_of_address_push"),
    ),
    ("kubectl -n town create configmap trusted-ca", Needs("OpenShift, which fills it in")),
    ("kubectl -n town label configmap trusted-ca", Needs("OpenShift, which fills it in")),
    (
        "kubectl -n gastown-operator-system create serviceaccount reader",
        Test("metrics_are_read_by_who_may_and_by_nobody_else"),
    ),
    (
        "kubectl create clusterrolebinding reader",
        Test("metrics_are_read_by_who_may_and_by_nobody_else"),
    ),
    (
        "kubectl -n gastown-operator-system port-forward",
        Needs("a cluster with the operator in pods"),
    ),
    ("curl ", Test("metrics_are_read_by_who_may_and_by_nobody_else")),
    ("kubectl apply -k deploy/monitoring", Test("the_chart_monitors_as_kustomize_does")),
    (
        "kubectl -n gastown-operator-system scale deployment",
        Needs("a cluster with the operator in pods"),
    ),
    ("kubectl -n gastown-operator-system get lease", Needs("a cluster with the original")),
    (
        "kubectl apply --server-side --force-conflicts -f crds/",
        Test("the_crds_apply_client_side_and_then_server_side"),
    ),
    ("kubectl delete witnesses,refineries", Needs("a cluster with the original's objects")),
    (
        "cargo run --bin manifests -- --storage-version",
        Test("definitions_that_are_written_to_store_v1alpha1_lead_back_as_well"),
    ),
    ("kubectl get crd -o custom-columns", Needs("reads a cluster")),
    (
        "kubectl delete validatingadmissionpolic",
        Test("make_deploy_takes_the_place_of_the_original_under_load_and_gives_it_back"),
    ),
    ("kubectl label namespace gastown-operator-system", Needs("a cluster with a release")),
    ("for it in $(kubectl get crd", Needs("a cluster with a release")),
];

/// Pages, with the chart's.
fn pages() -> Vec<PathBuf> {
    let mut all = samples::pages();
    all.push(top().join("charts/gastown-operator/README.md"));
    all
}

fn of(page: &Path) -> String {
    page.strip_prefix(top()).unwrap().display().to_string()
}

/// A page's parts: odd ones lie between fences.
fn fenced(text: &str) -> Vec<&str> {
    text.split("```").collect()
}

/// Commands of a page behind prompts, lines that go on joined, without their comments.
fn commands(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for block in fenced(text).into_iter().skip(1).step_by(2) {
        let mut lines = block.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let Some(mut line) = line.strip_prefix("$ ").map(ToOwned::to_owned) else { continue };
            while let Some(begun) = line.strip_suffix('\\') {
                line = format!("{} {}", begun.trim_end(), lines.next().unwrap());
            }
            all.push(line.split(" #").next().unwrap().trim().to_owned());
        }
    }
    all
}

/// A heading's anchor, as pages are shown.
fn anchor(heading: &str) -> String {
    let kept = |it: &char| it.is_alphanumeric() || " -_".contains(*it);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let outside = fenced(text).into_iter().step_by(2);
    let headings = outside.flat_map(str::lines).filter(|it| it.starts_with('#'));
    let mut seen = BTreeMap::<String, usize>::new();
    let mut all = BTreeSet::new();
    for heading in headings {
        let name = anchor(heading.trim_start_matches('#').trim());
        let before = seen.entry(name.clone()).or_default();
        all.insert(if *before == 0 { name } else { format!("{name}-{before}") });
        *before += 1;
    }
    all
}

/// Where a page's links lead to, outside of what is shown as code.
fn links(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in fenced(text).into_iter().step_by(2) {
        // Between backquotes is code, too.
        let prose: String = part.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            all.extend(rest.split_once(')').map(|it| it.0.to_owned()));
        }
    }
    all
}

/// Why a link leads nowhere.
fn stray(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") {
        return (!link.starts_with("https://")).then(|| "not https".to_owned());
    }
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if !target.exists() {
        return Some("no such file".to_owned());
    }
    let found = place.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(place);
    (!found).then(|| "no such heading".to_owned())
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let (mut strays, mut count) = (Vec::new(), 0);
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            strays.extend(stray(&page, &link).map(|why| format!("{}: {link}: {why}", of(&page))));
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
    assert!(count > 80, "they are found: {count}");
}

#[test]
fn every_command_of_the_pages_is_executed_by_a_test_or_needs_a_cluster() {
    let (mut strays, mut used) = (Vec::new(), BTreeSet::new());
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            // Variables that go before it belong to it.
            let words = command.split_inclusive(' ');
            let bare: String = words
                .skip_while(|it| it.split_once('=').is_some_and(|it| it.0.to_uppercase() == it.0))
                .collect();
            let bare = if command.starts_with("BUILD_ARGS=") {
                command.split_once("\" ").unwrap().1.to_owned()
            } else {
                bare
            };
            match COMMANDS.iter().position(|it| format!("{bare} ").starts_with(it.0)) {
                Some(row) => _ = used.insert(row),
                None => strays.push(format!("{}: {command}", of(&page))),
            }
        }
    }
    assert!(strays.is_empty(), "in no row of the table:\n{}", strays.join("\n"));
    let idle: Vec<_> =
        (0..COMMANDS.len()).filter(|it| !used.contains(it)).map(|it| COMMANDS[it].0).collect();
    assert!(idle.is_empty(), "on no page: {idle:?}");
}

/// Every source of tests.
fn sources(folder: &Path, all: &mut String) {
    for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|it| it == "rs") {
            *all += &fs::read_to_string(path).unwrap();
        }
    }
}

#[test]
fn tests_that_hold_commands_are_there() {
    let mut all = String::new();
    sources(&top().join("tests/it"), &mut all);
    for (command, held) in COMMANDS {
        match held {
            Test(name) => {
                assert!(all.contains(&format!("fn {name}()")), "{command}: {name} is gone");
            }
            Needs(why) => assert!(!why.is_empty(), "{command}"),
        }
    }
}

/// The plugin's own parser is asked, which refuses what it does not know before it shows its help.
#[test]
fn the_plugin_knows_what_pages_tell_it() {
    let mut count = 0;
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let Some(arguments) = command.strip_prefix("kubectl gt ") else { continue };
            let arguments = arguments.split(['|', '>']).next().unwrap().split_whitespace();
            let mut program = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
            let output = program.args(arguments).arg("--help").env_clear().output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {command}: {words}", of(&page));
            count += 1;
        }
    }
    assert!(count > 8, "they are found: {count}");
    let unknown = ["shards", "--no-such-flag", "--help"];
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-gt")).args(unknown).output().unwrap();
    assert!(!output.status.success(), "an unknown one is refused");
}

#[test]
fn every_key_of_the_git_secret_is_told() {
    use gastown::domain::layout::keys;
    let page = fs::read_to_string(top().join("docs/runs.md")).unwrap();
    let part = page.split("## The git Secret").nth(1).unwrap().split("\n## ").next().unwrap();
    let source = fs::read_to_string(top().join("src/domain/layout.rs")).unwrap();
    let list = source.split("pub mod keys {").nth(1).unwrap();
    let known: Vec<_> =
        list.split("&str = \"").skip(1).map(|it| it.split('"').next().unwrap()).collect();
    assert!(known.contains(&keys::SIGNING_KEY) && known.len() == 10, "they are found: {known:?}");
    let untold: Vec<_> = known.iter().filter(|it| !part.contains(&format!("`{it}`"))).collect();
    assert!(untold.is_empty(), "{untold:?}");
}

#[test]
fn files_that_commands_name_are_there() {
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            for word in command.split_whitespace() {
                let ours = ["deploy/", "charts/", "crds/", "bundle/", "tests/"];
                if ours.iter().any(|it| word.starts_with(it)) {
                    assert!(top().join(word).exists(), "{}: {command}: no {word}", of(&page));
                }
            }
        }
    }
}

#[test]
fn what_leads_nowhere_is_found() {
    let page = top().join("docs/install.md");
    for (link, why) in [
        ("nowhere.md", Some("no such file")),
        ("upgrade.md#nothing", Some("no such heading")),
        ("http://example.com", Some("not https")),
        ("upgrade.md#back-again", None),
        ("#helm", None),
    ] {
        assert_eq!(stray(&page, link).as_deref(), why, "{link}");
    }
    let text = "# One `two`, three\n```console\n$ a \\\n    b   # c\nsaid\n$ d\n```\n## One two\n## One two\n[x](y) `[z](w)`";
    assert_eq!(commands(text), ["a b", "d"]);
    assert_eq!(links(text), ["y"]);
    let want = ["one-two", "one-two-1", "one-two-three"].map(ToOwned::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(want));
}
