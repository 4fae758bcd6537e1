//! What the demo prints.

use std::io::Write as _;

use super::follow::Ended;

pub fn heading(text: &str) {
    line(&format!("\n== {text}"));
}

pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A Polecat's end: its phase, its conditions as a person would read them, and the time of each step.
pub fn end(end: &Ended) {
    line(&format!("\n{}: {}", end.name, end.phase()));
    for type_ in ["Ready", "Pushed"] {
        if let Some((reason, message)) = end.condition(type_) {
            line(&format!("  {type_:<8} {reason}: {message}"));
        }
    }
    let facts = [
        ("commit", "/commit"),
        ("branch", "/branch"),
        ("attempt", "/attempt"),
        ("exit code", "/exitCode"),
    ];
    let told: Vec<_> =
        facts.iter().filter_map(|(name, at)| Some(format!("{name} {}", end.text(at)?))).collect();
    line(&format!("  {}", told.join(", ")));
    let proofs = [
        ("base", "/baseCommit"),
        ("task sha256", "/taskSHA256"),
        ("agent's image", "/imageDigests/claude"),
    ];
    let proven: Vec<_> =
        proofs.iter().filter_map(|(name, at)| Some(format!("{name} {}", end.text(at)?))).collect();
    if !proven.is_empty() {
        line(&format!("  {}", proven.join("\n  ")));
    }
    let steps: Vec<_> =
        end.steps.iter().map(|(step, after)| format!("{after:.1} {step}")).collect();
    line(&format!("  seconds after kubectl apply began: {}", steps.join(", ")));
}
