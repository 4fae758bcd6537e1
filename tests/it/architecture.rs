//! The house as tests: which layer may use which, that pure layers never wait, and the budgets of files and functions.
//! Blind only inside macro arguments.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gastown::domain::layout;
use syn::{
    Attribute, ExprAsync, ImplItemFn, Item, ItemFn, ItemMod, ItemUse, Signature, UseTree,
    spanned::Spanned as _,
    visit::{self, Visit},
};

/// A layer, and the layers of ours that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("domain", &["api"]),
    ("admission", &["api", "domain"]),
    ("conversion", &["api"]),
    ("cluster", &["api", "domain"]),
    ("tls", &["domain"]),
    ("otlp", &["domain", "tls"]),
    ("runner", &["domain", "otlp", "tls"]),
    ("telemetry", &["cluster", "config", "domain", "otlp"]),
];
const PURE: &[&str] = &["api", "domain", "admission", "conversion"];
const LINES_OF_A_FILE: usize = 400;
const LINES_OF_A_FUNCTION: usize = 60;

#[test]
fn layers_point_down() {
    for (layer, may_use) in LAYERS {
        let all = production(layer);
        assert!(!all.is_empty(), "no such folder: {layer}");
        for (file, found) in all {
            let strays: Vec<_> = found
                .uses
                .iter()
                .filter(|it| *it != layer && !may_use.contains(&it.as_str()))
                .collect();
            assert!(strays.is_empty(), "{}: {layer} must not use {strays:?}", file.display());
        }
        let used = used_by(layer);
        let idle: Vec<_> = may_use.iter().filter(|it| !used.contains(**it)).collect();
        assert!(idle.is_empty(), "{layer} uses no {idle:?}: it need not be allowed to");
    }
}

/// What any file of a layer uses.
fn used_by(layer: &str) -> BTreeSet<String> {
    production(layer).into_iter().flat_map(|(_, found)| found.uses).collect()
}

/// What almost every layer uses: an arrow there is left out of the picture where others that are drawn lead there.
const USED_BY_ALL: [&str; 2] = ["api", "domain"];

/// README's picture: its boxes are layers and the pod's containers, and its arrows between layers are what the code uses, both ways.
#[test]
fn the_picture_for_people_is_that_of_the_code() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let picture = text.split("```mermaid\n").nth(1).unwrap().split("```").next().unwrap();
    let layers: BTreeSet<_> = LAYERS.iter().map(|it| it.0).chain(["tasks"]).collect();
    let (mut boxes, mut drawn) = (BTreeSet::new(), BTreeSet::new());
    for line in picture.lines().map(str::trim) {
        if let Some((name, words)) = line.split_once("[\"").filter(|it| layers.contains(it.0)) {
            assert!(words.starts_with(&format!("{name}: ")), "{line}");
            boxes.insert(name);
        }
        let arrow = line.split_once(" --> ");
        drawn.extend(arrow.filter(|it| layers.contains(it.0) && layers.contains(it.1)));
    }
    assert_eq!(boxes, layers, "every layer has a box");
    // The runner is another program: what it is built of is told in words.
    for layer in layers.into_iter().filter(|it| *it != "runner") {
        let used = used_by(layer);
        let others = used.iter().map(String::as_str).filter(|it| *it != layer);
        for other in others.filter(|it| boxes.contains(it)) {
            let around = USED_BY_ALL.contains(&other) && reaches(&drawn, layer, other);
            let shown = drawn.contains(&(layer, other)) || around;
            assert!(shown, "{layer} uses {other}, and no arrow says so");
        }
        for (from, to) in drawn.iter().filter(|it| it.0 == layer) {
            assert!(used.contains(*to), "{from} uses no {to}, and an arrow says so");
        }
    }
    let runner: Vec<_> = used_by("runner").into_iter().filter(|it| it != "runner").collect();
    let built = format!("The runner is built of `{}`.", runner.join("`, `"));
    assert!(text.contains(&built), "{built}");
    for container in [layout::CLAUDE, layout::GIT_INIT, layout::TELEMETRY] {
        assert!(picture.contains(&format!("[\"{container}\"]")), "no container {container}");
    }
}

/// Whether arrows lead from one layer to another.
fn reaches(drawn: &BTreeSet<(&str, &str)>, from: &str, to: &str) -> bool {
    drawn.iter().any(|it| it.0 == from && (it.1 == to || reaches(drawn, it.1, to)))
}

#[test]
fn arrows_that_lead_there_by_others_are_seen() {
    let drawn = BTreeSet::from([("tasks", "cluster"), ("cluster", "domain"), ("domain", "api")]);
    assert!(reaches(&drawn, "tasks", "api") && reaches(&drawn, "domain", "api"));
    assert!(!reaches(&drawn, "api", "domain") && !reaches(&drawn, "tasks", "tls"));
}

#[test]
fn pure_layers_never_wait() {
    for layer in PURE {
        for (file, found) in production(layer) {
            assert_eq!(found.asyncs, 0, "{}: nothing in {layer} may be async", file.display());
        }
    }
}

#[test]
fn what_decides_speaks_only_the_hub() {
    for layer in ["domain", "admission"] {
        for (file, found) in production(layer) {
            assert!(!found.apis.contains("v1alpha1"), "{}: hub types alone", file.display());
        }
    }
}

#[test]
fn pure_layers_ask_neither_a_clock_nor_the_environment() {
    // Declared for tests alone where their folders are.
    let for_tests = ["conversion/laws", "domain/shard/model"];
    for layer in PURE {
        for (file, found) in production(layer) {
            let at = file.display().to_string();
            let is_test = for_tests.iter().any(|it| at.contains(it));
            assert!(is_test || found.outside.is_empty(), "{at}: {:?}", found.outside);
        }
    }
}

#[test]
fn files_and_functions_keep_their_budgets() {
    for (file, found) in production("") {
        let at = file.display();
        assert!(found.lines <= LINES_OF_A_FILE, "{at} has {} lines before its tests", found.lines);
        for (name, lines) in &found.functions {
            assert!(*lines <= LINES_OF_A_FUNCTION, "{at}: {name} has {lines} lines");
        }
    }
}

#[test]
fn files_of_tests_keep_the_budget_too() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.retain(|it| it.file_name().is_some_and(|it| it == "tests.rs"));
    assert!(files.len() > 3, "they are found");
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_OF_A_FILE, "{} has {lines} lines", file.display());
    }
}

/// clippy refuses a write past `cluster::writing`, since it knows whose methods are called; here is seen to it that nobody is
/// exempt whom this test does not name.
#[test]
fn only_one_file_may_ask_the_api_server_for_a_change() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = fs::read_to_string(top.join(".clippy.toml")).unwrap();
    for method in ["create", "replace", "replace_status", "patch", "patch_metadata", "delete"] {
        let rule = format!("path = \"kube::Api::{method}\"");
        assert!(rules.contains(&rule), ".clippy.toml must refuse {method}");
    }
    for method in ["request", "send"] {
        assert!(rules.contains(&format!("path = \"kube::Client::{method}\"")), "{method}");
    }
    let mut files = Vec::new();
    collect(&top.join("src"), &mut files);
    let exempt = files
        .iter()
        .filter(|it| fs::read_to_string(it).unwrap().contains("clippy::disallowed_methods"));
    let exempt = exempt.map(|it| it.strip_prefix(top.join("src")).unwrap().to_str().unwrap());
    let exempt: BTreeSet<_> = exempt.collect();
    let known = [
        "cluster/mod.rs",            // the clock
        "cluster/writing.rs",        // the one
        "conversion/laws/mod.rs",    // a test's settings
        "domain/shard/model/mod.rs", // the same
        "runner/settings.rs",        // the runner's environment
    ];
    assert_eq!(exempt, known.into(), "who else may call what .clippy.toml refuses?");
}

/// What a test says that it skips goes by `GASTOWN_REQUIRE`: one that says so by itself is left out unseen.
#[test]
fn no_test_skips_itself_past_what_is_required() {
    let (top, mut files) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    for folder in ["src", "tests/it", "tests/runner", "tests/testbed"] {
        collect(&top.join(folder), &mut files);
    }
    let says = |it: &PathBuf| {
        let text = fs::read_to_string(it).unwrap();
        text.contains(concat!("\"SKIP", " ")).then(|| it.strip_prefix(top).unwrap().to_owned())
    };
    let all: Vec<_> = files.iter().filter_map(says).collect();
    assert_eq!(all, [Path::new("tests/testbed/src/preconditions.rs")], "ask `preconditions::skip`");
}

#[test]
fn the_guard_sees_planted_offences() {
    let offence = "use crate::{api::{shared, v1alpha1::Polecat}, tasks::queue}; async fn g() {} \
                   fn f() { crate::web::x(std::time::Instant::now(), env::var_os(name)); }";
    let found = Found::of(offence);
    let uses: Vec<_> = found.uses.iter().map(String::as_str).collect();
    assert_eq!(uses, ["api", "tasks", "web"], "a grouped import and a path in an expression");
    assert_eq!(found.asyncs, 1);
    assert!(found.apis.contains("v1alpha1"), "{:?}", found.apis);
    assert_eq!(found.outside.len(), 2, "{:?}", found.outside);
    assert_eq!(
        Found::of("#[cfg(test)] mod tests { use crate::web; async fn f() {} }").uses.len(),
        0
    );
}

/// Every file of a folder below `src` and the one beside it, with what its production code holds.
fn production(folder: &str) -> Vec<(PathBuf, Found)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut files = vec![top.with_extension("rs")];
    files.retain(|it| it.exists());
    collect(&top, &mut files);
    files
        .into_iter()
        .filter(|it| it.file_name().is_some_and(|it| it != "tests.rs"))
        .map(|it| {
            let text = fs::read_to_string(&it).unwrap();
            (it, Found::of(&text))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|it| it.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// What asks the world what time it is, or what it was started with.
const OUTSIDE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "env::args",
    "env::args_os",
    "env::var",
    "env::var_os",
    "env::vars",
    "env::vars_os",
];

/// What one file's production code holds.
#[derive(Default)]
struct Found {
    uses: BTreeSet<String>,
    /// Parts of `api` that are named.
    apis: BTreeSet<String>,
    outside: BTreeSet<String>,
    asyncs: usize,
    functions: Vec<(String, usize)>,
    lines: usize,
}

impl Found {
    fn of(text: &str) -> Self {
        let file = syn::parse_file(text).unwrap();
        let mut found = Self::default();
        found.visit_file(&file);
        let tests = file.items.iter().find_map(|item| match item {
            Item::Mod(it) if it.attrs.iter().any(for_tests) => Some(it.span().start().line),
            _ => None,
        });
        found.lines = tests.unwrap_or_else(|| text.lines().count());
        found
    }

    fn function(&mut self, signature: &Signature, whole: proc_macro2::Span) {
        let lines = whole.end().line - signature.span().start().line + 1;
        self.functions.push((signature.ident.to_string(), lines));
    }

    fn root(&mut self, tree: &UseTree) {
        for (name, below) in names(tree) {
            if let Some(below) = below.filter(|_| name == "api") {
                self.apis.extend(names(below).into_iter().map(|(name, _)| name));
            }
            self.uses.insert(name);
        }
    }
}

/// The first names in a tree of imports, each with what is imported below it.
fn names(tree: &UseTree) -> Vec<(String, Option<&UseTree>)> {
    match tree {
        UseTree::Path(it) => vec![(it.ident.to_string(), Some(&*it.tree))],
        UseTree::Name(it) => vec![(it.ident.to_string(), None)],
        UseTree::Rename(it) => vec![(it.ident.to_string(), None)],
        UseTree::Glob(_) => vec![("*".into(), None)],
        UseTree::Group(group) => group.items.iter().flat_map(names).collect(),
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !module.attrs.iter().any(for_tests) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if let UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            self.root(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        if let ["crate", root, ..] = names[..] {
            self.uses.insert(root.to_owned());
        }
        if let ["crate", "api", part, ..] | ["api", part, ..] = names[..] {
            self.apis.insert(part.to_owned());
        }
        if let [.., of, what] = names[..]
            && OUTSIDE.contains(&&*format!("{of}::{what}"))
        {
            self.outside.insert(format!("{of}::{what}"));
        }
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig, function.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function(&function.sig, function.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        self.asyncs += usize::from(signature.asyncness.is_some());
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        self.asyncs += 1;
        visit::visit_expr_async(self, block);
    }
}

fn for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|it| it == "test")
}
