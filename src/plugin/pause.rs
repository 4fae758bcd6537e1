//! `kubectl gt pause` and `resume`: the annotation on a Namespace or a Rig, and a sentence on what follows from it.

use clap::Subcommand;

use crate::cluster::{pausing::Pausable, reading::Reader};

/// What is paused or resumed.
#[derive(Debug, Subcommand)]
pub enum Target {
    /// All Polecats of a namespace
    Namespace { name: String },
    /// All Polecats of a Rig, in every namespace
    Rig { name: String },
}

/// Writes the annotation; the answer says what it means.
pub async fn set(reader: &Reader, target: &Target, paused: bool) -> anyhow::Result<String> {
    let (what, word, name) = match target {
        Target::Namespace { name } => (Pausable::Namespace, "namespace", name),
        Target::Rig { name } => (Pausable::Rig, "rig", name),
    };
    reader.pause(what, name, paused).await?;
    Ok(sentence(word, name, paused))
}

fn sentence(word: &str, name: &str, paused: bool) -> String {
    let (state, after) = if paused {
        ("paused", "no Polecat of it begins; running ones go on")
    } else {
        ("resumed", "its Polecats begin again")
    };
    format!("{word}/{name} {state}: {after}\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_says_what_follows() {
        let said = super::sentence("rig", "greeter", true);
        assert_eq!(said, "rig/greeter paused: no Polecat of it begins; running ones go on\n");
        assert!(super::sentence("rig", "greeter", false).contains("resumed"));
    }
}
