//! The demo: the samples of `deploy/`, on a control plane and a node of their own, from `kubectl apply` to the pushed
//! commit. It announces what will happen, shows it as it happens, and fails when anything is not as announced.

mod follow;
mod refusal;
mod show;
mod stage;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};

use crate::{Node, Options, Testbed, preconditions};
use follow::Ended;

/// What the samples are to come to.
const GOOD: &str = "furiosa";
const BAD: &str = "nux";

/// Runs it on this kind of node; by default a real one, or a played one where no real one can be had.
pub async fn run(asked: Option<Node>) -> Result<ExitCode> {
    if asked == Some(Node::None) {
        bail!("--node none: without a node no pod ever runs; real or kwok");
    }
    let began = Instant::now();
    let node = match asked {
        Some(it) => it,
        None => node()?,
    };
    if node == Node::Kwok {
        show::line(
            "kwok plays the pods: you will see the phases, but no agent runs and nothing is pushed.",
        );
    }
    show::heading("A control plane, a node and an operator of our own");
    let options = Options {
        node,
        replicas: 1,
        operator_flags: [
            "--runner-image=localhost/gt-runner:dev",
            "--agent-image=localhost/agent:dev",
        ]
        .map(ToOwned::to_owned)
        .into(),
        ..Options::default()
    };
    let bed = Testbed::start(options).await?;
    show::line(&format!(
        "ready after {:.1} s; node: {}",
        began.elapsed().as_secs_f64(),
        node.name()
    ));
    let outcome = play(&bed, node).await;
    let stopped = bed.stop().await;
    outcome?;
    stopped?;
    show::line(&format!(
        "\nAll as announced, in {:.0} s; nothing is left behind. To go on: deploy/samples/polecat.yaml is what {GOOD} was,\n\
         docs/failures.md has every reason that a Polecat can show, and make help lists what else there is.",
        began.elapsed().as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The real node where this machine can have one; else kwok, with a notice that can't be overlooked, unless
/// `GASTOWN_REQUIRE` says that there is a real one.
fn node() -> Result<Node> {
    let Err(missing) = preconditions::real() else { return Ok(Node::Real) };
    preconditions::may_be_missing("the demo", Node::Real, &missing)?;
    show::heading("NOTICE: no real node on this machine");
    for it in missing {
        show::line(&format!("  - {it}"));
    }
    Ok(Node::Kwok)
}

async fn play(bed: &Testbed, node: Node) -> Result<()> {
    show::heading("A small repository, and the samples");
    let stage = stage::Stage::set(bed, node).await?;
    show::line(&format!(
        "Two Polecats work on that repository. {GOOD} is to append a line to a file, and will end Done, with a commit pushed;\n\
         {BAD} asks for a branch that is not there, will end Stuck, and say why. The rest of the samples are kinds that this\n\
         release stores and does not act on yet: each of them warns so."
    ));
    if node.is_real() {
        show::line(
            "The agent is a small program of this demo's, called claude in its image: no model is asked.",
        );
    }
    refusal::show(&stage).await?;
    show::heading("kubectl apply -f deploy/samples/");
    let names = [GOOD, BAD];
    let (ends, warnings) =
        tokio::try_join!(follow::until_ended(&stage, &names), stage.apply_samples())?;
    show::heading("What became of them");
    let mut wrong = unwarned(&stage.kinds()?, &warnings);
    for end in &ends {
        show::end(end);
        wrong.extend(verdict(end, node));
    }
    show::heading("What kubectl shows");
    let table = stage.ask(&["get", "polecats"])?;
    wrong.extend(ends.iter().filter_map(|it| unshown(it, &table)));
    if node.is_real() {
        stage.ask(&["logs", &format!("polecat-{GOOD}"), "--container=claude"])?;
        show::heading("The pushed commit");
        let (branch, commit) = (said(&ends, "/branch"), said(&ends, "/commit"));
        let log = stage.pushed(&branch)?;
        show::line(&log);
        wrong.extend(unpushed(&log));
        wrong.extend(elsewhere(&commit, &stage.tip(&branch)?));
    }
    outcome(&wrong)
}

/// An error, and with it an exit code, where anything is not as announced.
fn outcome(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() { Ok(()) } else { bail!("not as announced: {}", wrong.join("; ")) }
}

/// What is wrong with how kubectl lists an end.
fn unshown(end: &Ended, table: &str) -> Option<String> {
    let row = table.lines().find(|it| it.split_whitespace().next() == Some(&end.name));
    let shown = row.is_some_and(|it| it.split_whitespace().any(|it| it == end.phase()));
    let wrong = format!("kubectl get polecats must show {} as {}", end.name, end.phase());
    (!shown).then_some(wrong)
}

/// What is wrong with the commits of the pushed branch.
fn unpushed(log: &str) -> Option<String> {
    let added = log.lines().any(|it| it == "+Good bye.");
    (!added).then(|| "the pushed branch lacks the line that the task asked for".to_owned())
}

/// What is wrong where the status names another commit than the branch is at in the repository.
fn elsewhere(commit: &str, tip: &str) -> Option<String> {
    let wrong = format!("{GOOD}: status.commit is {commit:?}, but its branch is at {tip}");
    (commit != tip).then_some(wrong)
}

/// Which kinds that this release only stores were applied without a warning.
fn unwarned(kinds: &[String], warnings: &[String]) -> Vec<String> {
    let is_said =
        |kind: &str| warnings.iter().any(|it| it.starts_with(&format!("the {kind} is stored")));
    let silent = kinds.iter().filter(|it| !is_said(it));
    silent.map(|it| format!("kubectl apply must warn that the {it} is stored only")).collect()
}

/// A field of the good one's status.
fn said(ends: &[Ended], field: &str) -> String {
    ends.iter().find(|it| it.name == GOOD).and_then(|it| it.text(field)).unwrap_or_default()
}

/// What of an end is not as announced.
fn verdict(end: &Ended, node: Node) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", end.name));
        }
    };
    if end.name == GOOD {
        want(end.phase() == "Done", "must end Done");
        if node.is_real() {
            want(end.status.pointer("/pushed") == Some(&true.into()), "must have pushed");
            want(end.text("/commit").is_some_and(|it| it.len() >= 40), "must name its commit");
        }
    } else {
        want(end.phase() == "Stuck", "must end Stuck");
        want(
            end.condition("Ready").is_some_and(|it| it.0 == "BranchNotFound"),
            "must say BranchNotFound",
        );
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn end(name: &str, status: Value) -> Ended {
        Ended { name: name.to_owned(), status, steps: Vec::new() }
    }

    fn good(change: &Value) -> Ended {
        let mut status = json!({"phase": "Done", "pushed": true, "commit": "a".repeat(40)});
        for (key, value) in change.as_object().unwrap() {
            status[key] = value.clone();
        }
        end(GOOD, status)
    }

    fn bad(phase: &str, reason: &str) -> Ended {
        let ready = json!({"type": "Ready", "status": "False", "reason": reason, "message": ""});
        end(BAD, json!({"phase": phase, "conditions": [ready]}))
    }

    #[test]
    fn what_is_not_as_announced_is_said_and_is_an_error() {
        use Node::{Kwok, Real};
        #[rustfmt::skip]
        let table = [
            (good(&json!({})),                      Real, vec![], "as announced"),
            (good(&json!({"phase": "Stuck"})),      Real, vec!["must end Done"], "the wrong phase"),
            (good(&json!({"phase": "Working"})),    Kwok, vec!["must end Done"], "played or not"),
            (good(&json!({"pushed": false})),       Real, vec!["must have pushed"], "nothing was pushed"),
            (good(&json!({"pushed": null})),        Real, vec!["must have pushed"], "nobody knows whether"),
            (good(&json!({"commit": null})),        Real, vec!["must name its commit"], "no commit"),
            (good(&json!({"commit": "abc1234"})),   Real, vec!["must name its commit"], "not the whole of it"),
            (good(&json!({"pushed": null, "commit": null})), Kwok, vec![], "where pods are played nobody pushes"),
            (bad("Stuck", "BranchNotFound"),        Real, vec![], "it fails as announced"),
            (bad("Done", "PodSucceeded"),           Real, vec!["must end Stuck", "must say BranchNotFound"], "the one that should fail did not"),
            (bad("Stuck", "CloneFailed"),           Kwok, vec!["must say BranchNotFound"], "for another reason"),
            (end(BAD, json!({"phase": "Stuck"})),   Real, vec!["must say BranchNotFound"], "for none"),
        ];
        for (end, node, want, because) in table {
            let want: Vec<_> = want.iter().map(|it| format!("{}: {it}", end.name)).collect();
            let wrong = verdict(&end, node);
            assert_eq!(wrong, want, "{because}");
            let said = outcome(&wrong).map_err(|it| it.to_string());
            assert_eq!(said.is_ok(), want.is_empty(), "{because}: {said:?}");
        }
    }

    #[test]
    fn what_kubectl_and_git_show_is_compared_too() {
        let end = good(&json!({}));
        let shown = "NAME     RIG      PHASE\nfuriosa  greeter  Done\nnux      greeter  Stuck\n";
        assert_eq!(unshown(&end, shown), None);
        for table in [
            "",
            "furiosa  greeter  Working\n",
            "furiosa-2  greeter  Done\n",
            "nux  greeter  Done\n",
        ] {
            let wrong = unshown(&end, table).unwrap();
            assert!(wrong.contains("must show furiosa as Done"), "{table:?}: {wrong}");
        }
        assert_eq!(elsewhere("aaaa", "aaaa"), None);
        assert!(elsewhere("aaaa", "bbbb").is_some_and(|it| it.contains("at bbbb")));
        let kinds = ["Rig", "Convoy"].map(str::to_owned);
        let warnings =
            kinds.clone().map(|it| format!("the {it} is stored, and nothing comes of it"));
        assert_eq!(unwarned(&kinds, &warnings), [""; 0]);
        let wrong = unwarned(&kinds, &warnings[..1]);
        assert!(matches!(&wrong[..], [it] if it.contains("the Convoy")), "{wrong:?}");
        assert_eq!(unpushed("commit a\n\n+++ b/greeting.txt\n Hello.\n+Good bye.\n"), None);
        for log in ["", "commit a\n\n Good bye.\n", "commit a\n\n-Good bye.\n"] {
            assert!(unpushed(log).is_some(), "{log:?}");
        }
    }
}
