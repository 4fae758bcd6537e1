//! Words that people read: a field is called as v1beta1 calls it, with v1alpha1's name behind where that is another.

use std::{collections::BTreeMap, fs, path::Path};

use gastown::conversion::{self, polecat::TABLE, table::Version};
use proc_macro2::{TokenStream, TokenTree};

/// Where nobody is told anything, or in the words of one version.
const APART: [&str; 4] = ["src/api", "src/conversion", "src/manifests", "src/kinds"];

fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let shown = path.to_str().unwrap().to_owned();
        if APART.iter().any(|it| shown.starts_with(it)) {
            continue;
        }
        if path.is_dir() {
            if !shown.ends_with("/tests") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|it| it == "rs") && !shown.ends_with("/tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.insert(shown, production.to_owned());
        }
    }
}

/// Every text of a source, also those within macros.
fn texts(tokens: TokenStream, found: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(it) => texts(it.stream(), found),
            TokenTree::Literal(it) => {
                found.extend(syn::parse_str::<syn::LitStr>(&it.to_string()).map(|it| it.value()));
            }
            _ => {}
        }
    }
}

/// A path and what is below it.
fn below<'p>(path: &'p str, outer: &str) -> Option<&'p str> {
    path.strip_prefix(outer).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What v1beta1 calls a field of v1alpha1, or the object that it is in.
fn in_hub(alpha: &str) -> Option<String> {
    TABLE.rows.iter().find_map(|row| {
        let (old, new) = (row.path(Version::V1alpha1), row.path(Version::V1beta1));
        let whole = below(alpha, old).map(|rest| format!("{new}{rest}"));
        whole.or_else(|| {
            let rest = below(old, alpha)?;
            Some(new.strip_suffix(rest).unwrap_or(new.split('.').next()?).to_owned())
        })
    })
}

/// A path of v1beta1, whatever it would be in v1alpha1.
fn is_hub(path: &str) -> bool {
    let polecat = conversion::kinds().iter().find(|it| it.name == TABLE.kind).unwrap();
    let mut schema = Some(&*polecat.to(Version::V1beta1).target);
    for name in path.split('.') {
        let name = name.split('[').next().unwrap();
        match schema.filter(|it| it.has_parts()).map(|it| it.member(name)) {
            None => return true, // below what has no parts of ours
            Some(None) => return false,
            Some(inner) => schema = inner,
        }
    }
    true
}

/// The path at the end of a text, or at its beginning.
fn path_at(text: &str, end: bool) -> String {
    let of_path = |it: &char| it.is_ascii_alphanumeric() || ".[]{}_".contains(*it);
    if end {
        let back: String = text.chars().rev().take_while(of_path).collect();
        back.chars().rev().collect()
    } else {
        text.chars().take_while(of_path).collect()
    }
}

#[test]
fn both_names_of_a_field_are_the_tables_and_none_is_named_by_v1alpha1_alone() {
    const OPEN: &str = " (v1alpha1: spec.";
    let mut files = BTreeMap::new();
    sources(Path::new("src"), &mut files);
    let (mut pairs, mut lonely) = (0, Vec::new());
    for (file, source) in &files {
        let mut said = Vec::new();
        texts(source.parse().unwrap(), &mut said);
        for text in &said {
            for (at, _) in text.match_indices(OPEN) {
                let hub = path_at(&text[..at], true);
                let alpha = path_at(&text[at + OPEN.len()..], false);
                let want = in_hub(&alpha).unwrap_or_else(|| panic!("{file}: no field {alpha}"));
                assert_eq!(hub, format!("spec.{want}"), "{file}: what v1beta1 calls {alpha}");
                pairs += 1;
            }
            for (at, _) in text.match_indices("spec.") {
                if text[..at].ends_with("(v1alpha1: ") {
                    continue;
                }
                let path = path_at(&text[at + "spec.".len()..], false);
                let path = path.trim_end_matches('.');
                if !is_hub(path) && in_hub(path).is_some_and(|it| it != path) {
                    lonely.push(format!("{file}: spec.{path}"));
                }
            }
        }
    }
    assert!(pairs > 30, "{pairs} were found");
    assert!(lonely.is_empty(), "named by v1alpha1 alone; see src/domain/fields.rs: {lonely:#?}");
}
