//! Whole runs: clone, agent, push, verdict.

use gastown::domain::{layout, verdict::reason};

use crate::pod::{Pod, git};

pub const COMMIT: &str = "echo more >> README.md && git commit -q -a -m 'Do it'";

#[test]
fn what_the_agent_commits_is_pushed() {
    let pod = Pod::new();
    let base = pod.head("main").unwrap();
    let (agent, verdict) = pod.run(&format!("{COMMIT} && echo out && echo err >&2"));
    assert_eq!(agent.succeeded().stdout, "out\n");
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert_eq!((verdict.branch.as_deref(), verdict.commits), (Some("fix/x"), 1));
    assert_eq!((verdict.commit, verdict.base.as_deref()), (pod.head("fix/x"), Some(base.as_str())));
    let hash = "8af08d741b31f5a2192f16914c5cfa109072a010c0e8206bf3d55e134f82f1a8";
    assert_eq!(verdict.task_sha256.as_deref(), Some(hash), "of the words `Do it`");
    assert_eq!(
        pod.log("fix/x", "%an <%ae>").lines().next(),
        Some("Gas Town Polecat <polecat@gastown.io>")
    );
    assert_eq!(
        pod.log("fix/x", "%B").trim_end().lines().take(4).collect::<Vec<_>>(),
        ["Do it", "", "Polecat: furiosa", "Bead: gt-1"]
    );
    assert_eq!(pod.last_words(layout::CLAUDE), "");
    assert_eq!(git(&pod.remote(), &["fsck", "--strict", "--no-dangling"]), "");
}
