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
    let node = asked.unwrap_or_else(node);
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

/// The real node where this machine can have one; else kwok, with a notice that can't be overlooked.
fn node() -> Node {
    let Err(missing) = preconditions::real() else { return Node::Real };
    show::heading("NOTICE: no real node on this machine");
    for it in missing {
        show::line(&format!("  - {it}"));
    }
    Node::Kwok
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
    let (ends, ()) = tokio::try_join!(follow::until_ended(&stage, &names), stage.apply_samples())?;
    show::heading("What became of them");
    let mut wrong = Vec::new();
    for end in &ends {
        show::end(end);
        wrong.extend(verdict(end, node));
    }
    show::heading("What kubectl shows");
    let table = stage.ask(&["get", "polecats"])?;
    for end in &ends {
        let row = table.lines().find(|it| it.starts_with(&end.name)).unwrap_or_default();
        if !row.contains(&end.phase()) {
            wrong.push(format!("kubectl get polecats must show {} as {}", end.name, end.phase()));
        }
    }
    if node.is_real() {
        stage.ask(&["logs", &format!("polecat-{GOOD}"), "--container=claude"])?;
        show::heading("The pushed commit");
        let log = stage.pushed(&branch(&ends))?;
        show::line(&log);
        if !log.contains("+Good bye.") {
            wrong.push("the pushed branch lacks the line that the task asked for".to_owned());
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("not as announced: {}", wrong.join("; ")) }
}

fn branch(ends: &[Ended]) -> String {
    ends.iter().find(|it| it.name == GOOD).and_then(|it| it.text("/branch")).unwrap_or_default()
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
