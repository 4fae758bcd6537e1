//! Lines for people, on standard error, where `kubectl logs` finds them. Never panics, as `eprintln!`
//! would, when nobody reads; never writes a control character that came from elsewhere.

use std::io::Write;

use crate::domain::untrusted::escape;

/// Says one sentence.
pub fn say(sentence: &str) {
    let line = format!("gt-runner: {}\n", escape(sentence));
    // A log that nobody can read must not end a run.
    let _unread = std::io::stderr().write_all(line.as_bytes());
}

/// Prints what was asked for.
pub fn print(text: &str) {
    let _unread = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}
