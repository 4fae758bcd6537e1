//! The task language. Whatever is not understood is refused whole, before anything is done.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Append { text: String, file: String },
    Replace { from: String, to: String, file: String },
    Create { file: String, text: String },
    Delete { file: String },
    Fill { megabytes: u64, file: String },
    Commit,
    Hunt { text: String },
    Print { text: String },
    Sleep { seconds: u64 },
    Exit { code: u8 },
    IgnoreTermination,
    Fork { count: u32 },
}

/// A word, or a text that stood in quotes.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
}

/// The steps of a task.
pub fn parse(task: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for sentence in sentences(task)? {
        let step = step(&sentence.tokens).with_context(|| {
            format!(
                "I don't understand {:?}; I know: Append \"text\" to FILE, Replace \"a\" with \"b\" in FILE, Create FILE \
                 with \"text\", Delete FILE, Commit, Print \"text\", Look for \"txet\" backwards, Sleep N, Exit N, Ignore SIGTERM, Write N MB to \
                 FILE, Fork N processes",
                sentence.text.trim()
            )
        })?;
        steps.push(step);
    }
    if steps.is_empty() {
        bail!("the task is empty");
    }
    Ok(steps)
}

#[derive(Default)]
struct Sentence {
    text: String,
    tokens: Vec<Token>,
}

/// Cuts at ends of lines and at `;`, but not inside quotes.
fn sentences(task: &str) -> Result<Vec<Sentence>> {
    let mut all = vec![Sentence::default()];
    let mut word = String::new();
    let mut letters = task.chars();
    while let Some(letter) = letters.next() {
        let Some(sentence) = all.last_mut() else { break };
        match letter {
            ';' | '\n' | '\r' => {
                end_word(&mut word, sentence);
                all.push(Sentence::default());
                continue;
            }
            '"' if word.is_empty() => {
                let text = quoted(&mut letters)
                    .with_context(|| format!("a quote is never closed in {task:?}"))?;
                write!(sentence.text, "{text:?}")?;
                sentence.tokens.push(Token::Text(text));
                continue;
            }
            it if it.is_whitespace() => end_word(&mut word, sentence),
            it => word.push(it),
        }
        sentence.text.push(letter);
    }
    if let Some(sentence) = all.last_mut() {
        end_word(&mut word, sentence);
    }
    all.retain(|it| !it.tokens.is_empty());
    all.iter_mut().for_each(drop_full_stop);
    Ok(all)
}

fn end_word(word: &mut String, sentence: &mut Sentence) {
    if !word.is_empty() {
        sentence.tokens.push(Token::Word(std::mem::take(word)));
    }
}

/// A sentence may end like one.
fn drop_full_stop(sentence: &mut Sentence) {
    if let Some(Token::Word(word)) = sentence.tokens.last_mut()
        && word.ends_with('.')
    {
        word.pop();
    }
    if sentence.tokens.last() == Some(&Token::Word(String::new())) {
        sentence.tokens.pop();
    }
}

/// What follows up to the closing quote; `None` when there is none.
fn quoted(letters: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => text.push(other),
        }
    }
}

fn step(tokens: &[Token]) -> Option<Step> {
    let is = |token: &Token, keyword: &str| matches!(token, Token::Word(it) if it.eq_ignore_ascii_case(keyword));
    let (verb, rest) = tokens.split_first()?;
    Some(match rest {
        [Token::Text(text), to, file] if is(verb, "append") && is(to, "to") => {
            Step::Append { text: text.clone(), file: name(file) }
        }
        [Token::Text(from), with, Token::Text(to), within, file]
            if is(verb, "replace") && is(with, "with") && is(within, "in") && !from.is_empty() =>
        {
            Step::Replace { from: from.clone(), to: to.clone(), file: name(file) }
        }
        [file, with, Token::Text(text)] if is(verb, "create") && is(with, "with") => {
            Step::Create { file: name(file), text: text.clone() }
        }
        [amount, unit, to, file] if is(verb, "write") && is(unit, "mb") && is(to, "to") => {
            Step::Fill { megabytes: number(amount)?, file: name(file) }
        }
        [file] if is(verb, "delete") => Step::Delete { file: name(file) },
        [] if is(verb, "commit") => Step::Commit,
        [it, Token::Text(text), how]
            if is(verb, "look") && is(it, "for") && is(how, "backwards") && !text.is_empty() =>
        {
            Step::Hunt { text: text.chars().rev().collect() }
        }
        [Token::Text(text)] if is(verb, "print") => Step::Print { text: text.clone() },
        [seconds] if is(verb, "sleep") => Step::Sleep { seconds: number(seconds)? },
        [code] if is(verb, "exit") => Step::Exit { code: number(code)? },
        [signal] if is(verb, "ignore") && is(signal, "sigterm") => Step::IgnoreTermination,
        [count, what] if is(verb, "fork") && is(what, "processes") => {
            Step::Fork { count: number(count)? }
        }
        _ => return None,
    })
}

fn name(token: &Token) -> String {
    let (Token::Word(name) | Token::Text(name)) = token;
    name.clone()
}

fn number<T: std::str::FromStr>(token: &Token) -> Option<T> {
    match token {
        Token::Word(word) => word.parse().ok(),
        Token::Text(_) => None,
    }
}

/// Flags of the agent this one stands for that take a value.
const WITH_VALUE: [&str; 12] = [
    "--output-format",
    "--input-format",
    "--model",
    "--fallback-model",
    "--max-turns",
    "--permission-mode",
    "--allowedTools",
    "--disallowedTools",
    "--append-system-prompt",
    "--mcp-config",
    "--session-id",
    "--settings",
];

/// The argument behind `--`, else the last one that is neither a flag nor a flag's value.
pub fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut task = None;
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            return arguments.next();
        } else if WITH_VALUE.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            task = Some(argument);
        }
    }
    task
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_understood() {
        let s = str::to_owned;
        let table = [
            (
                "Append \"a b\" to README.md",
                vec![Step::Append { text: s("a b"), file: s("README.md") }],
            ),
            (
                "append \"x\" to docs/a.txt.",
                vec![Step::Append { text: s("x"), file: s("docs/a.txt") }],
            ),
            (
                "Append \"a; b\\n\\\"c\\\"\" to \"a b.txt\"",
                vec![Step::Append { text: s("a; b\n\"c\""), file: s("a b.txt") }],
            ),
            (
                "Replace \"a\" with \"\" in f; Exit 3",
                vec![
                    Step::Replace { from: s("a"), to: s(""), file: s("f") },
                    Step::Exit { code: 3 },
                ],
            ),
            (
                "\n Sleep 2 \r\n\nIgnore SIGTERM\n;;",
                vec![Step::Sleep { seconds: 2 }, Step::IgnoreTermination],
            ),
            (
                "Write 5 MB to big; Fork 3 processes. ; Commit; Commit .",
                vec![
                    Step::Fill { megabytes: 5, file: s("big") },
                    Step::Fork { count: 3 },
                    Step::Commit,
                    Step::Commit,
                ],
            ),
            ("Look for \"cba\" backwards", vec![Step::Hunt { text: s("abc") }]),
            (
                "Create f with \"x\"; Delete g; Print \"p\"",
                vec![
                    Step::Create { file: s("f"), text: s("x") },
                    Step::Delete { file: s("g") },
                    Step::Print { text: s("p") },
                ],
            ),
        ];
        for (task, steps) in table {
            assert_eq!(parse(task).unwrap(), steps, "{task}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_whole() {
        let table = [
            ("", "empty"),
            (" ;\n", "empty"),
            ("Make it better", "\"Make it better\""),
            ("Append \"x\" to f; Rewrite everything", "Rewrite everything"),
            ("Append \"x to f", "never closed"),
            ("Exit 256", "Exit 256"),
            ("Sleep -1", "Sleep -1"),
            ("Replace \"\" with \"x\" in f", "Replace"),
            ("Append x to f", "Append x to f"),
        ];
        for (task, words) in table {
            let error = format!("{:#}", parse(task).unwrap_err());
            assert!(error.contains(words), "{task:?}: {error}");
        }
    }

    #[test]
    fn flags_of_the_real_one_are_ignored() {
        let of = |arguments: &[&str]| of_arguments(arguments.iter().map(|it| (*it).to_owned()));
        assert_eq!(of(&["-p", "Exit 1", "--output-format", "json"]).as_deref(), Some("Exit 1"));
        assert_eq!(
            of(&["--dangerously-skip-permissions", "--print", "Exit 2"]).as_deref(),
            Some("Exit 2")
        );
        assert_eq!(of(&["-p", "--model", "x", "--", "- Exit 3"]).as_deref(), Some("- Exit 3"));
        assert_eq!(of(&["--model=x", "--verbose"]), None);
    }
}
