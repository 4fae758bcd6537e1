//! Files, folders and the standard input as objects, each with the file that it is from. What can't be read is kept as a
//! sentence that says where, what and how to mend it. Beside manifests a folder has files that are none (values of a chart,
//! settings of a pipeline): what says neither an apiVersion nor a kind is left out there, and said; who names a file means it.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{admission::pods::Subject, domain::untrusted};

/// Longest name in a message, in bytes.
const NAMED: usize = 253;
/// Endings of the files that are read from a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Most documents of one file, of a thousand nodes each.
const MOST: usize = 100_000;

/// One object of a file.
#[derive(Debug)]
pub struct Object {
    /// As it was asked for; `-` for the standard input.
    pub file: String,
    pub kind: String,
    pub json: Value,
}

impl Object {
    /// Kind and name.
    pub fn called(&self) -> String {
        let metadata = |key: &str| {
            self.json.get("metadata").and_then(|it| it.get(key)).and_then(Value::as_str)
        };
        let name = metadata("name").or(metadata("generateName")).unwrap_or("without a name");
        format!("{} {}", untrusted::fit(&self.kind, NAMED), untrusted::fit(name, NAMED))
    }

    /// The pod in it.
    pub fn subject(&self) -> Result<Option<Subject<'_>>, String> {
        let version = self.json.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if !matches!(group, "" | "apps" | "batch" | "extensions") {
            return Ok(None);
        }
        Subject::of(&self.kind, &self.json)
    }
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub struct Input {
    pub objects: Vec<Object>,
    pub problems: Vec<String>,
    /// What is left out.
    pub notes: Vec<String>,
    /// Lists that hold nothing, which is all allowed.
    empty: usize,
    /// Whether a folder is being read.
    in_folder: bool,
}

/// Reads it all; nothing that is wrong in one file keeps another from being read.
pub fn read(names: &[String]) -> Input {
    let mut input = Input::default();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            match std::io::stdin().read_to_string(&mut text) {
                Ok(_) => input.text(name, &text),
                Err(why) => {
                    input.problems.push(format!("-: the standard input can't be read: {why}"));
                }
            }
        } else if Path::new(name).is_dir() {
            input.folder(Path::new(name));
        } else {
            input.file(Path::new(name));
        }
    }
    input
}

/// The one Namespace of a file.
pub fn namespace(file: &str) -> Result<Value, String> {
    let mut input = read(&[file.to_owned()]);
    if let Some(problem) = input.problems.pop() {
        return Err(problem);
    }
    match (input.objects.pop(), input.objects.is_empty()) {
        (Some(Object { kind, json, .. }), true) if kind == "Namespace" => Ok(json),
        _ => Err(format!(
            "{file}: must hold one Namespace, as kubectl get namespace NAME -o yaml prints it"
        )),
    }
}

impl Input {
    fn folder(&mut self, folder: &Path) {
        let mut files = Vec::new();
        if let Err(why) = collect(folder, &mut files) {
            self.problems.push(format!("{}: can't be read: {why}", folder.display()));
            return;
        }
        files.sort();
        if files.is_empty() {
            let text = format!(
                "{}: no file in it ends in .yaml, .yml or .json; name the file itself",
                folder.display()
            );
            self.problems.push(text);
        }
        let before = self.count();
        self.in_folder = true;
        for file in &files {
            self.file(file);
        }
        self.in_folder = false;
        if before == self.count() && !files.is_empty() {
            let text = format!("{}: no file in it holds an object of Kubernetes", folder.display());
            self.problems.push(text);
        }
    }

    /// How much has come of what was read, but for what is left out.
    const fn count(&self) -> usize {
        self.objects.len() + self.problems.len() + self.empty
    }

    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => self.text(&name, &text),
            Err(why) => {
                self.problems.push(format!("{name}: can't be read: {why}; is the path right?"));
            }
        }
    }

    fn text(&mut self, file: &str, text: &str) {
        let documents = match parse(file, text) {
            Ok(documents) => documents,
            Err(why) => return self.problems.push(format!("{file}: {why}")),
        };
        let before = self.count() + self.notes.len();
        for (at, document) in documents.into_iter().enumerate() {
            if !document.is_null() {
                self.object(file, &format!("document {}", at + 1), document, None);
            }
        }
        if before == self.count() + self.notes.len() {
            if self.in_folder {
                return self.notes.push(format!("{file} is left out: there is nothing in it"));
            }
            self.problems.push(format!(
                "{file}: there is no object in it; give it a Pod, or an object with a pod template"
            ));
        }
    }

    fn object(&mut self, file: &str, place: &str, mut json: Value, kind_of_list: Option<&str>) {
        let kind = json.get("kind").and_then(Value::as_str).or(kind_of_list).map(str::to_owned);
        let version = json.get("apiVersion").and_then(Value::as_str);
        let Some(kind) =
            kind.filter(|it| !it.is_empty() && (version.is_some() || kind_of_list.is_some()))
        else {
            if self.in_folder && json.get("kind").is_none() && json.get("apiVersion").is_none() {
                let text = "is left out: it has neither an apiVersion nor a kind";
                return self.notes.push(format!("{file}: {place} {text}"));
            }
            let text = format!(
                "{file}: {place} is no object of Kubernetes: it must have an apiVersion and a kind"
            );
            return self.problems.push(text);
        };
        let items = json.get_mut("items").map(Value::take);
        match (kind.strip_suffix("List"), items) {
            (Some(of), Some(Value::Array(items))) => {
                self.empty += usize::from(items.is_empty());
                for (at, item) in items.into_iter().enumerate() {
                    self.object(
                        file,
                        &format!("{place}, items[{at}]"),
                        item,
                        (!of.is_empty()).then_some(of),
                    );
                }
            }
            (Some(_), _) => {
                self.problems.push(format!("{file}: {place}: items of a {kind} must be a list"));
            }
            (None, _) => self.objects.push(Object { file: file.to_owned(), kind, json }),
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let wanted = path
            .extension()
            .is_some_and(|it| ENDINGS.iter().any(|ending| it.eq_ignore_ascii_case(ending)));
        // Links to folders are not followed: they may lead back.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if wanted && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The documents of a file: JSON values one after another, or YAML as kubectl reads it.
fn parse(file: &str, text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('{') {
        let all: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(text).into_iter().collect();
        match all {
            Ok(all) => return Ok(all),
            Err(why) if Path::new(file).extension().is_some_and(|it| it == "json") => {
                return Err(format!("is no JSON: {why}; correct it there"));
            }
            // YAML may begin so too.
            Err(_) => {}
        }
    }
    // As kubectl: a number that begins with 0 is an octal one.
    // What helm prints of many releases is long; what is no manifest at all still ends somewhere.
    let budget = serde_saphyr::budget! {
        max_documents: MOST, max_events: MOST * 1000, max_nodes: MOST * 1000,
    };
    let options = serde_saphyr::options! { legacy_octal_numbers: true, budget: budget };
    let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    parsed.map_err(|why| format!("is no YAML: {}; correct it there", first_line(&why.to_string())))
}

/// The parser draws the place below its first line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ")
}
