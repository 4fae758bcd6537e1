//! What lints the pipeline runs where nobody gives privileges, so it leaves out the tests that start buildah.

use std::{fs, path::Path};

use syn::{
    Expr, ExprCall, ItemFn,
    visit::{self, Visit},
};

use crate::{generated::top, prepared::rust_files};

/// Which tests a target of make runs: those with one of the first words in their names, and none of the second.
struct Filter {
    taken: Vec<String>,
    skipped: Vec<String>,
}

impl Filter {
    /// As `make lint-pipeline` has it.
    fn of_the_lint() -> Self {
        let text = fs::read_to_string(top().join("Makefile")).unwrap();
        let text = text.replace("\\\n", " ");
        let (_, rest) = text.split_once("\nlint-pipeline:").unwrap();
        let (_, words) = rest.lines().nth(1).unwrap().split_once(" -- ").unwrap();
        let mut filter = Self { taken: Vec::new(), skipped: Vec::new() };
        for word in words.split_whitespace() {
            match word.strip_prefix("--skip=") {
                Some(it) => filter.skipped.push(it.to_owned()),
                None => filter.taken.push(word.to_owned()),
            }
        }
        filter
    }

    fn runs(&self, test: &str) -> bool {
        let has = |words: &[String]| words.iter().any(|it| test.contains(it));
        has(&self.taken) && !has(&self.skipped)
    }
}

/// The tests of a file, each with how often it makes a store of buildah's.
#[derive(Default)]
struct Tests {
    all: Vec<(String, usize)>,
    stores: usize,
}

impl Tests {
    fn of(text: &str) -> Self {
        let mut tests = Self::default();
        tests.visit_file(&syn::parse_file(text).unwrap());
        tests
    }

    /// Those that start buildah: all, where something makes a store that is no test.
    fn privileged(&self) -> impl Iterator<Item = &str> {
        let made: usize = self.all.iter().map(|it| it.1).sum();
        let beside = self.stores > made;
        self.all.iter().filter(move |it| beside || it.1 > 0).map(|it| it.0.as_str())
    }
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let before = self.stores;
        visit::visit_item_fn(self, item);
        let last = |it: &syn::Attribute| it.path().segments.last().map(|it| it.ident.to_string());
        if item.attrs.iter().any(|it| last(it).as_deref() == Some("test")) {
            self.all.push((item.sig.ident.to_string(), self.stores - before));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func {
            let names: Vec<_> = path.path.segments.iter().map(|it| it.ident.to_string()).collect();
            self.stores += usize::from(names.ends_with(&["Store".to_owned(), "new".to_owned()]));
        }
        visit::visit_expr_call(self, call);
    }
}

/// As the test binary names the tests of a file.
fn module(file: &Path) -> String {
    let path = file.strip_prefix(top().join("tests/it")).unwrap().with_extension("");
    path.to_string_lossy().replace('/', "::")
}

#[test]
fn what_starts_buildah_is_left_out_of_the_lint() {
    let lint = Filter::of_the_lint();
    let mut files = Vec::new();
    rust_files(&top().join("tests/it"), &mut files);
    let (mut run, mut left_out) = (0, 0);
    for file in files {
        let (tests, module) = (Tests::of(&fs::read_to_string(&file).unwrap()), module(&file));
        let named = |it: &str| format!("{module}::{it}");
        run += tests.all.iter().filter(|it| lint.runs(&named(&it.0))).count();
        for test in tests.privileged().map(named) {
            assert!(!lint.runs(&test), "make lint-pipeline runs {test}, which starts buildah");
            left_out += usize::from(test.starts_with("images::"));
        }
    }
    assert!(run > 20, "the lint still runs the others: {run}");
    assert!(left_out >= 4, "they are found: {left_out}");
}

#[test]
fn who_starts_buildah_is_found() {
    let of = |text: &str| Tests::of(text).privileged().map(ToOwned::to_owned).collect::<Vec<_>>();
    let direct = "#[test] fn a() { let Some(it) = images::Store::new(x) else { return }; } \
                  #[tokio::test] async fn b() { Other::new(); Store::of(x); }";
    assert_eq!(of(direct), ["a"]);
    let beside = "fn store() -> Option<Store> { Some(Store::new(x)?) } #[test] fn a() { store(); }";
    assert_eq!(of(beside), ["a"], "by another function of its file");
    assert!(of("#[test] fn a() {}").is_empty());
}
