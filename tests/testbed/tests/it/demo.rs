//! The demo where pods are played. Where they run, `.ci/run` shows it.

use std::process::{Command, Stdio};

#[test]
fn the_demo_without_a_real_node_comes_to_what_it_announces() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let demo = demo.args(["demo", "--node=kwok"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&demo.stdout);
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{said}\n{errors}");
    for line in [
        "kwok plays the pods",
        "polecat.gastown.gastown.io/furiosa created",
        "furiosa: Done",
        "nux: Stuck",
        "$ kubectl -n town get polecats",
        "All as announced",
    ] {
        assert!(said.contains(line), "{line} is missing in:\n{said}");
    }
    assert!(!errors.contains("error"), "{errors}");
}

#[test]
fn a_demo_without_any_node_is_refused() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let demo = demo.args(["demo", "--node=none"]).output().unwrap();
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(!demo.status.success() && errors.contains("real or kwok"), "{errors}");
}
