//! Every page for people is held to its links and its commands: a link leads somewhere, and a command is executed by a test that
//! the table names, or marked as one that needs a cluster of the reader's.

mod commands;
mod symptoms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use self::commands::{
    COMMANDS,
    Held::{Long, Needs, Test},
};
use crate::{
    generated::top,
    make::{make, words},
    samples,
};

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

/// The one command of a page that begins so, as words.
pub fn told(page: &str, begins: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join(page)).unwrap();
    let all: Vec<_> = commands(&text).into_iter().filter(|it| it.starts_with(begins)).collect();
    let [command] = &*all else { panic!("{page}: one command {begins}: {all:?}") };
    command.split(' ').map(ToOwned::to_owned).collect()
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

/// Every source of tests, with the module that it is.
fn sources(folder: &Path, module: &str, all: &mut Vec<(String, String)>) {
    for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        let inside = format!("{module}{}::", path.file_stem().unwrap().to_string_lossy());
        if path.is_dir() {
            sources(&path, &inside, all);
        } else if path.extension().is_some_and(|it| it == "rs") {
            all.push((inside, fs::read_to_string(path).unwrap()));
        }
    }
}

/// By these a test asks for what a longer target builds or names to it, and is skipped without.
const ASKS: [&str; 6] =
    ["given(\"", "Road::start(", "signed(", "there_and_back(", "Stage::of(", "\"GASTOWN_BUILT\""];

#[test]
fn tests_that_hold_commands_are_there_and_run_where_the_table_says() {
    let mut all = Vec::new();
    sources(&top().join("tests/it"), "", &mut all);
    let find = |name: &str| {
        let begins = format!("fn {name}()");
        let (module, text) = all.iter().find(|it| it.1.contains(&begins))?;
        let body = text.split(&begins).nth(1)?.split("\n}\n").next()?;
        Some((format!("{module}{name}"), ASKS.iter().any(|it| body.contains(it))))
    };
    for (command, held) in COMMANDS {
        let (name, target) = match held {
            Test(name) => (name, None),
            Long(name, target) => (name, Some(target)),
            Needs(why) => {
                assert!(!why.is_empty(), "{command}");
                continue;
            }
        };
        let (path, asks) = find(name).unwrap_or_else(|| panic!("{command}: {name} is gone"));
        assert_eq!(asks, target.is_some(), "{command}: whether make test skips {name}");
        let Some(target) = target else { continue };
        let planned = words(&make(&["--dry-run", target]).output().unwrap());
        let mut filters = planned.split_whitespace().filter(|it| it.ends_with("::"));
        assert!(filters.any(|it| path.starts_with(it)), "{target} runs no {path}: {planned}");
    }
}

/// What begins a line that is to be run.
const PROGRAMS: [&str; 12] = [
    "buildah ",
    "cargo ",
    "cosign ",
    "curl ",
    "gastown-operator ",
    "helm ",
    "kind ",
    "kubectl ",
    "make ",
    "oc ",
    "opm ",
    "sed ",
];

/// Lines that are to be run and stand where no other test looks: in a block without their prompt, or in one that is made by
/// indenting alone.
fn unprompted(text: &str) -> Vec<String> {
    let is = |it: &&str| PROGRAMS.iter().any(|program| it.trim_start().starts_with(program));
    let mut all = Vec::new();
    for (number, part) in fenced(text).into_iter().enumerate() {
        let goes_on =
            |at: usize| at > 0 && part.lines().nth(at - 1).is_some_and(|it| it.ends_with('\\'));
        let code = |it: &str| number % 2 == 1 || it.starts_with("    ");
        let lines = part.lines().enumerate().filter(|(at, it)| code(it) && !goes_on(*at));
        all.extend(lines.map(|it| it.1).filter(is).map(ToOwned::to_owned));
    }
    all
}

#[test]
fn every_command_has_its_prompt() {
    for page in pages() {
        let found = unprompted(&fs::read_to_string(&page).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", of(&page));
    }
    let text = "x\n\n    kubectl get x\n\n```sh\nmake it \\\n  helm x\n$ kubectl y\n```\n";
    assert_eq!(unprompted(text), ["    kubectl get x", "make it \\"], "they are found");
}

/// What a page tells of the plugin within its sentences, words in capitals being the reader's.
fn mentioned(text: &str) -> Vec<String> {
    let prose = fenced(text).into_iter().step_by(2).flat_map(|it| it.split('`').skip(1).step_by(2));
    prose
        .filter(|it| it.starts_with("kubectl gt "))
        .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The plugin's own parser is asked, which refuses what it does not know before it shows its help.
#[test]
fn the_plugin_knows_what_pages_tell_it() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for command in commands(&text).into_iter().chain(mentioned(&text)) {
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
