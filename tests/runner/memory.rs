//! What a container may hold is little, and a container that holds more is killed at once, with all that it was about to hand
//! over or to push.

use gastown::domain::{layout, verdict::reason};

use crate::pod::{Pod, Process, git, has, skip};

/// So many bytes of memory of its own may a process have here: less than git takes by itself for these files.
const LIMIT: &str = "--data=40000000:40000000";
/// Six files that nothing can make smaller, each as large as git still looks for likeness in.
const FILES: &str = "for i in 0 1 2 3 4 5; do head -c 4000000 /dev/urandom > $i; done";
/// Nobody tries to make them smaller, which takes long.
const FAST: &str = "core.compression=0";

#[test]
fn large_files_are_handed_over_and_pushed_in_little_memory() {
    const TEST: &str = "large_files_are_handed_over_and_pushed_in_little_memory";
    if !has("prlimit") {
        return skip(TEST, "prlimit", "prlimit is not installed");
    }
    let pod = Pod::new();
    let seed = pod.path("seed");
    let made = std::process::Command::new("sh").current_dir(&seed).args(["-c", FILES]).status();
    assert!(made.unwrap().success());
    git(&seed, &["-c", FAST, "add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "large"]);
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    pod.git_init().succeeded();
    let runner = pod.own_runner();
    let by = ["prlimit", LIMIT, &runner];
    let script = format!("{FILES}; git -c {FAST} add . && git commit -q -m other");
    let (push, work) =
        (["telemetry", "--metrics-port", "0"], ["claude", "--", "sh", "-c", &script]);
    let telemetry = Process::start(pod.command_by(&by, layout::TELEMETRY, &push));
    let agent = Process::start(pod.command_by(&by, layout::CLAUDE, &work)).end();
    let telemetry = telemetry.end();
    let verdict = pod.verdict();
    let said = (&agent.stderr, &telemetry.stderr, &verdict);
    assert_eq!((verdict.reason.as_str(), agent.code()), (reason::PUSHED, 0), "{said:#?}");
    assert_eq!(pod.head("fix/x"), verdict.commit);
}
