//! `kubectl gt log-level`: what all replicas log from now on, by an annotation of the map that they all watch.

use clap::Args;

use crate::{cluster::reading::Reader, domain::log_level};

/// What is logged.
#[derive(Debug, Args)]
pub struct Asked {
    /// A level, or directives such as `info,gastown::tasks=debug`; unset: shows what is asked for
    directives: Option<String>,
    /// Back to what each replica was started with
    #[arg(long, conflicts_with = "directives")]
    reset: bool,
}

/// Shows or changes it; the answer says what holds then.
pub async fn run(reader: &Reader, namespace: &str, asked: &Asked) -> anyhow::Result<String> {
    if let Some(flaw) = asked.directives.as_deref().and_then(log_level::flaw) {
        anyhow::bail!(flaw);
    }
    if asked.reset || asked.directives.is_some() {
        reader.set_log_level(namespace, asked.directives.as_deref()).await?;
    }
    Ok(sentence(reader.log_level(namespace).await?.as_deref()))
}

fn sentence(wish: Option<&str>) -> String {
    match wish {
        Some(it) => format!("every replica logs by {it}, until kubectl gt log-level --reset\n"),
        None => "every replica logs by what it was started with (LOG_LEVEL, --log-level)\n".into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_says_how_to_go_back() {
        let said = super::sentence(Some("info,gastown::tasks=debug"));
        assert!(said.contains("info,gastown::tasks=debug") && said.contains("--reset"), "{said}");
        assert!(super::sentence(None).contains("LOG_LEVEL"));
    }
}
