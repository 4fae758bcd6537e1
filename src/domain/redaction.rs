//! What may leave a cluster: one function, [`Redaction::of`], that every object and every line of a log goes through before it
//! is written into a report. What it takes out is told by names (of fields, variables, flags, headers), by shape (tokens, keys,
//! credentials in addresses, words of chance), and by what it was told of: a secret in one place is one everywhere. It rather
//! takes too much.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::untrusted::{REMOVED, Scrubber};

/// What was redacted; nothing else makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Redacted(Value);

impl Redacted {
    pub const fn value(&self) -> &Value {
        &self.0
    }

    /// A text as it is, anything else as JSON.
    pub fn text(&self) -> String {
        match &self.0 {
            Value::String(it) => it.clone(),
            other => format!("{other:#}\n"),
        }
    }
}

/// Parts of names of what is secret, in lower case and without what stands between words.
const SECRET: [&str; 18] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "bearer",
    "jwt",
    "dockercfg",
    "dockerconfig",
    "kubeconfig",
    "connectionstring",
];
/// Whole names.
const SECRET_NAMES: [&str; 7] = ["auth", "pat", "pin", "sig", "signature", "dsn", "cabundle"];
/// How names end of what says where a secret is, or something about it.
const ABOUT: [&str; 12] = [
    "ref", "refs", "name", "names", "file", "path", "dir", "policy", "digest", "sha256", "seconds",
    "host",
];
/// Keys that open nothing.
const PLAIN_KEYS: [&str; 3] = ["topologykey", "publickey", "labelkey"];
/// Parts of names of what an agent is told.
const PROMPTS: [&str; 3] = ["prompt", "taskdescription", "instructions"];
/// Annotations that hold other fields once more, some of them where nobody can look into them.
const COPIES: [&str; 3] = ["last-applied-configuration", "v1alpha1-fields", "v1beta1-fields"];
/// Shorter values and lines, where they are said again elsewhere, would take innocent words out.
const MIN_VALUE: usize = 8;
const MIN_LINE: usize = 16;
/// Lines of a key but the last are longer.
const MIN_KEY_LINE: usize = 20;
/// An argument with spaces of at least this length may be what an agent is told.
const MIN_SAID: usize = 24;
/// Objects in texts in objects, and so on, are followed so far.
const DEPTH: usize = 16;

/// `Authorization: Basic x y`, to the end of the line or of the quotes.
static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]*(?:token|key|secret|auth)";
    Regex::new(&format!(r#"(?i)\b({names})(\\?["']?[ \t]*[:=][ \t]*\\?["']?)([^"'\\\r\n]+)"#)).ok()
});
/// `name=` and `"name": "`, before a value.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"([A-Za-z0-9_.-]{2,64})(\\?["']?[ \t]*[=:][ \t]*\\?["']?)"#).ok()
});
/// `--name `, before a value.
static FLAG: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(--?[A-Za-z][A-Za-z0-9-]*)([ \t]+\\?["']?)"#).ok());
/// `-u name:password`, as curl has it.
static USER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"((?:^|\s)(?:-u|--user))(\s+|=)(\S+:\S+)").ok());
/// Words that may be of chance.
static WORD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"()()([A-Za-z0-9+/_=-]{24,})").ok());

/// What is taken out.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    known: Scrubber,
}

impl Redaction {
    /// Knows the secrets and prompts that these objects say, wherever else they are said.
    pub fn knowing<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut found = Vec::new();
        for it in objects {
            learn("", "", it, &mut found);
        }
        Self { known: Scrubber::new(found) }
    }

    /// The one function: an object, or a text of one line or many.
    pub fn of(&self, value: &Value) -> Redacted {
        Redacted(self.walk("", "", value, 0))
    }

    /// The same of a text.
    pub fn of_text(&self, text: &str) -> Redacted {
        Redacted(Value::String(self.text(text, 0)))
    }

    fn walk(&self, within: &str, key: &str, value: &Value, depth: usize) -> Value {
        let removed = || Value::String(REMOVED.into());
        match value {
            _ if depth > DEPTH => removed(),
            Value::Object(it) => Value::Object(self.object(key, it, depth + 1)),
            Value::Array(all) if matches!(key, "args" | "command") => {
                Value::Array(self.arguments(all, depth + 1))
            }
            Value::Array(all) => {
                let each = all.iter().map(|it| self.walk(within, key, it, depth + 1));
                Value::Array(each.collect())
            }
            Value::String(it) if it.is_empty() => value.clone(),
            Value::String(_) if hides(within, key) => removed(),
            Value::String(it) => Value::String(self.text(it, depth + 1)),
            Value::Number(_) if plain(key).contains("passw") => removed(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn object(&self, key: &str, it: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let is_secret = it.get("kind").is_some_and(|it| it == "Secret");
        let named = variable(it).unwrap_or_default();
        let mut kept = Map::new();
        // Who wrote which field is long, and nobody's business.
        for (name, value) in it.iter().filter(|(name, _)| *name != "managedFields") {
            let value = match value {
                Value::Object(all) if is_secret && matches!(&**name, "data" | "stringData") => {
                    let gone = |it: &String| (it.clone(), Value::String(REMOVED.into()));
                    Value::Object(all.keys().map(gone).collect())
                }
                _ if name == "value" && hides("", named) => Value::String(REMOVED.into()),
                _ => self.walk(key, name, value, depth),
            };
            kept.insert(name.clone(), value);
        }
        kept
    }

    /// Arguments of a program: what follows a flag of a secret name, and what may be said to an agent, leaves.
    fn arguments(&self, all: &[Value], depth: usize) -> Vec<Value> {
        let mut secret = false;
        let mut kept = Vec::new();
        for it in all {
            let text = it.as_str().unwrap_or_default();
            let said = text.len() >= MIN_SAID && text.contains(char::is_whitespace);
            kept.push(if (secret && !text.starts_with('-')) || said {
                Value::String(REMOVED.into())
            } else {
                self.walk("", "", it, depth)
            });
            secret = text.starts_with('-') && !text.contains('=') && is_secret(text);
        }
        kept
    }

    /// A line may be an object, as those of our logs are. What is none is read together: a key has many lines.
    fn text(&self, text: &str, depth: usize) -> String {
        let (mut kept, mut block) = (Vec::new(), Vec::new());
        for line in text.split('\n') {
            let object = if line.trim_start().starts_with(['{', '[']) {
                serde_json::from_str(line).ok()
            } else {
                None
            };
            match object {
                Some(it @ (Value::Object(_) | Value::Array(_))) => {
                    if !block.is_empty() {
                        kept.push(self.block(&std::mem::take(&mut block).join("\n")));
                    }
                    kept.push(self.walk("", "", &it, depth + 1).to_string());
                }
                _ => block.push(line),
            }
        }
        if !block.is_empty() {
            kept.push(self.block(&block.join("\n")));
        }
        kept.join("\n")
    }

    fn block(&self, text: &str) -> String {
        let text = without_tails(&self.known.scrub(text));
        let text = replaced(&HEADER, &text, |_, _| true);
        let text = without_values(&NAME, &text);
        let text = without_values(&FLAG, &text);
        let text = replaced(&USER, &text, |_, _| true);
        replaced(&WORD, &text, |_, word| is_of_chance(word))
    }
}

/// Takes out the third group where its name, the first, and itself say so.
fn replaced(
    pattern: &LazyLock<Option<Regex>>,
    text: &str,
    goes: impl Fn(&str, &str) -> bool,
) -> String {
    // One that does not compile, which a test excludes, lets nothing through.
    let Some(pattern) = &**pattern else { return REMOVED.into() };
    let part = |it: &Captures<'_>, at| it.get(at).map_or(String::new(), |it| it.as_str().into());
    let put = |it: &Captures<'_>| {
        let (name, value) = (part(it, 1), part(it, 3));
        let kept = if value != REMOVED && goes(&name, &value) { REMOVED } else { &value };
        format!("{name}{}{kept}", part(it, 2))
    };
    pattern.replace_all(text, put).into_owned()
}

/// Without the values of secret names. What is before a value is never taken for one.
fn without_values(names: &LazyLock<Option<Regex>>, text: &str) -> String {
    let Some(names) = &**names else { return REMOVED.into() };
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = names.captures(rest) {
        let part = |at| found.get(at).map_or("", |it| it.as_str());
        let end = found.get(0).map_or(rest.len(), |it| it.end());
        let quote = part(2).chars().next_back().filter(|it| matches!(it, '"' | '\''));
        let (before, after) = rest.split_at(end);
        kept.push_str(before);
        let value = if is_secret(part(1)) { value(after, quote) } else { "" };
        kept.push_str(if value.is_empty() { "" } else { REMOVED });
        rest = after.get(value.len()..).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

/// The value that a text begins with: up to its quote, or as far as there is no space.
fn value(text: &str, quote: Option<char>) -> &str {
    if text.starts_with(REMOVED) || (quote.is_none() && text.starts_with('-')) {
        return "";
    }
    let end = match quote {
        Some(quote) => text.find([quote, '\n', '\\']),
        None => text.find(|it: char| it.is_whitespace() || matches!(it, '"' | '\'' | '\\' | '&')),
    };
    let value = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    if quote.is_some() { value } else { value.trim_end_matches([',', ';', ')', '}', ']', '>']) }
}

/// Without the end of a key whose beginning is not there, as where a log is cut.
fn without_tails(text: &str) -> String {
    if !text.contains("-----END") {
        return text.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let of_key = |it: char| it.is_ascii_alphanumeric() || matches!(it, '+' | '/' | '=');
    for line in text.split('\n') {
        if line.trim_start().starts_with("-----END") {
            // The last line of a key may be short.
            let mut least = 1;
            let of_key =
                |it: &str, least| it.trim().len() >= least && it.trim().chars().all(of_key);
            while kept.last().is_some_and(|it| of_key(it, least)) {
                kept.pop();
                least = MIN_KEY_LINE;
            }
            kept.push(REMOVED);
        } else {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// A name in lower case, without what stands between words.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

fn is_secret(name: &str) -> bool {
    let plain = plain(name);
    if ABOUT.iter().any(|it| plain.ends_with(it)) {
        return false;
    }
    let key = plain.len() > "key".len() && plain.ends_with("key");
    // Of requests, such as OTEL_EXPORTER_OTLP_HEADERS: they prove who asks.
    let headers = plain.ends_with("headers");
    SECRET.iter().any(|it| plain.contains(it))
        || SECRET_NAMES.contains(&&*plain)
        || headers
        || (key && !PLAIN_KEYS.contains(&&*plain))
}

/// Whether what has this name, in an object under that one, is what an agent is told.
fn is_prompt(within: &str, key: &str) -> bool {
    let plain = plain(key);
    (within == "spec" && key == "task") || PROMPTS.iter().any(|it| plain.contains(it))
}

fn hides(within: &str, key: &str) -> bool {
    let copy = within == "annotations" && COPIES.iter().any(|it| key.ends_with(it));
    copy || is_secret(key) || is_prompt(within, key)
}

/// The name of an environment variable, where this is one.
fn variable(it: &Map<String, Value>) -> Option<&str> {
    it.get("value")?;
    it.get("name")?.as_str()
}

/// Small and large letters and digits, mixed over a length that no name has. Paths are judged by their parts.
fn is_of_chance(word: &str) -> bool {
    let mixed = |it: &str| {
        let count = |is: fn(&u8) -> bool| it.bytes().filter(is).count();
        let (small, large) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
        it.len() >= 20 && small > 1 && large > 1 && count(u8::is_ascii_digit) > 1
    };
    if word.starts_with('/') { word.split('/').any(mixed) } else { mixed(word) }
}

/// Secrets and prompts that an object says.
fn learn<'a>(within: &str, key: &str, value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(it) => {
            let named = variable(it).unwrap_or_default();
            for (name, value) in it {
                let name = if name == "value" && hides("", named) { named } else { name };
                learn(key, name, value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|it| learn(within, key, it, found)),
        Value::String(it) if is_prompt(within, key) => {
            found.extend(it.lines().map(str::trim).filter(|it| it.len() >= MIN_LINE));
        }
        Value::String(it) if is_secret(key) && it.len() >= MIN_VALUE => found.push(it),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for it in [&HEADER, &NAME, &FLAG, &USER, &WORD] {
            assert!(it.is_some());
        }
    }

    #[test]
    fn texts_lose_their_secrets_and_nothing_else() {
        let table = [
            ("pushed 1f3870be274f6c49b3e31a0c6728957f to main", None, "a commit"),
            ("reason=NodeLost uid=7c9e6679-7425-40de-944b-e07fc1f90ae7", None, "names and ids"),
            ("image@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15", None, "a digest"),
            ("read /var/run/secrets/kubernetes.io/serviceaccount/namespace", None, "a path"),
            ("--token-file /etc/token --git-secret-ref git-key", None, "where they are"),
            ("suites TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", None, "no word of chance"),
            ("password=hunter2", Some("password=[removed]"), "a short one"),
            ("DB_PASSWORD: \"hunter2\"", Some("DB_PASSWORD: \"[removed]\""), "with quotes"),
            ("a: password: hunter2", Some("a: password: [removed]"), "behind another name"),
            (
                "secret=\"correct horse\" x",
                Some("secret=\"[removed]\" x"),
                "all that is in the quotes",
            ),
            ("(token=a,b)", Some("(token=[removed])"), "rather too much"),
            ("?a=1&access_token=abc&b=2", Some("?a=1&access_token=[removed]&b=2"), "in a query"),
            ("login --password hunter2 x", Some("login --password [removed] x"), "behind a flag"),
            ("curl -u bob:hunter2 x", Some("curl -u [removed] x"), "as curl has it"),
            ("Authorization: Digest a b", Some("Authorization: [removed]"), "a whole header"),
            ("Cookie: a=b; c=d", Some("Cookie: [removed]"), "all of it"),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX12", Some("[removed]"), "of chance"),
            (
                "https://bob:pw@git.example.com/x",
                Some("https://[removed]@git.example.com/x"),
                "in an address",
            ),
            (
                "{\"api_key\":\"abc\",\"level\":\"INFO\",\"n\":1}",
                Some("{\"api_key\":\"[removed]\",\"level\":\"INFO\",\"n\":1}"),
                "a field of a line of JSON",
            ),
            (
                "begun\nb3BlbnNzaC1rZXktdjEAAAA\nQUJD\n-----END RSA PRIVATE KEY-----\nended",
                Some("begun\n[removed]\nended"),
                "the end of a key, where a log is cut",
            ),
        ];
        for (text, want, because) in table {
            let got = Redaction::default().of_text(text);
            assert_eq!(got.text(), want.unwrap_or(text), "{because}");
        }
    }

    #[test]
    fn objects_lose_what_their_names_tell_and_what_is_said_elsewhere() {
        let pod = json!({
            "kind": "Pod",
            "metadata": {
                "name": "polecat-max",
                "managedFields": [{"manager": "x"}],
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"a\":1}",
                    "gastown.io/v1alpha1-fields": "7VZNb9s4E",
                    "example.com/deploy-token": "abc",
                    "gastown.io/requested-by": "grace",
                },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "claude",
                    "args": ["-p", "Make the greeting say what time it is", "--api-key", "abc", "-v"],
                    "env": [
                        {"name": "OPENAI_API_KEY", "value": "correct horse"},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "llm", "key": "key"}}},
                        {"name": "GT_TASK_DESCRIPTION", "value": "Do this thing for me\nok"},
                        {"name": "GT_BRANCH", "value": "feature/x"},
                        {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "x-team=hcaik_01hqk4k20cjeh63wca8vva5stw"},
                    ],
                }],
            },
            "status": {"message": "it said: correct horse, Do this thing for me"},
        });
        let got = Redaction::knowing([&pod]).of(&pod);
        let it = got.value();
        let annotations = &it["metadata"]["annotations"];
        for name in [
            "kubectl.kubernetes.io/last-applied-configuration",
            "gastown.io/v1alpha1-fields",
            "example.com/deploy-token",
        ] {
            assert_eq!(annotations[name], REMOVED, "{name}");
        }
        assert_eq!(annotations["gastown.io/requested-by"], "grace");
        assert_eq!(it["metadata"].get("managedFields"), None);
        let container = &it["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["-p", REMOVED, "--api-key", REMOVED, "-v"]));
        let env = &container["env"];
        assert_eq!((&env[0]["value"], &env[2]["value"]), (&json!(REMOVED), &json!(REMOVED)));
        assert_eq!(env[1], pod["spec"]["containers"][0]["env"][1], "a reference is no secret");
        assert_eq!((&env[3]["value"], &env[4]["value"]), (&json!("feature/x"), &json!(REMOVED)));
        assert_eq!(it["status"]["message"], "it said: [removed], [removed]");
        assert_eq!(it["spec"]["automountServiceAccountToken"], false);
    }

    #[test]
    fn a_secret_is_a_list_of_keys() {
        let secret =
            json!({"kind": "Secret", "data": {"user": "Ym9i"}, "stringData": {"x": "plain"}});
        let got = Redaction::default().of(&secret);
        assert_eq!(got.value()["data"], json!({"user": REMOVED}));
        assert_eq!(got.value()["stringData"], json!({"x": REMOVED}));
    }

    #[test]
    fn what_is_nested_without_end_is_taken_out() {
        let deep = (0..40).fold(json!("x"), |inner, _| json!([inner]));
        assert!(Redaction::default().of(&deep).text().contains(REMOVED));
    }

    proptest! {
        #[test]
        fn what_a_secret_name_names_never_stays(
            name in "[a-zA-Z]{0,8}(password|Token|_SECRET|ApiKey)",
            secret in "[a-zA-Z0-9]{12,40}",
            before in "[a-z {}\"=:\n]{0,40}",
        ) {
            let redaction = Redaction::default();
            let object = json!({"spec": {"x": [{name.clone(): secret.clone()}]}});
            prop_assert!(!redaction.of(&object).text().contains(&secret));
            let text = format!("{before} {name}={secret}\n{object}");
            let got = redaction.of_text(&text).text();
            prop_assert!(!got.contains(&secret), "{}", got);
        }
    }
}
