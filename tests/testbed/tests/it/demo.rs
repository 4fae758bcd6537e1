//! The demo where pods are played. Where they run, `.ci/run` shows it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

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

/// Its played pods would not do what their Namespace says.
#[test]
fn a_demo_with_a_kubernetes_that_plays_no_scripts_is_refused_by_name() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let demo =
        demo.args(["demo", "--node=kwok"]).env("TESTBED_KUBERNETES", "1.31.4").output().unwrap();
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(!demo.status.success() && errors.contains("Kubernetes 1.32 or later"), "{errors}");
}

/// Of a Kubernetes that is none no node can be had, whatever else a machine has.
#[test]
fn a_demo_where_a_real_node_is_required_never_comes_down_to_a_played_one() {
    let demo = |required: &str| {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"));
        demo.arg("demo").env("TESTBED_KUBERNETES", "none").env("GASTOWN_REQUIRE", required);
        let demo = demo.stdin(Stdio::null()).output().unwrap();
        assert!(!demo.status.success(), "nor can a played one");
        [demo.stdout, demo.stderr].map(|it| String::from_utf8(it).unwrap())
    };
    let [said, errors] = demo("release,node");
    assert!(errors.contains("the demo needs what GASTOWN_REQUIRE=release,node says"), "{errors}");
    assert!(!said.contains("NOTICE") && !said.contains("kwok"), "{said}");
    let [said, _] = demo("release,kwok");
    assert!(said.contains("NOTICE: no real node") && said.contains("kwok plays"), "{said}");
}

/// In a checkout whose first sample asks for no pod, which is Stuck where Done is announced.
#[test]
fn a_demo_that_comes_to_something_else_ends_with_an_error_that_says_what() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let copy = std::env::temp_dir().join(format!("testbed-demo-{}", std::process::id()));
    let samples = copy.join("deploy/samples");
    fs::create_dir_all(&samples).unwrap();
    for name in ["crds", "webhooks", "deploy/base", "deploy/priority", "deploy/rbac"] {
        symlink(checkout.join(name), copy.join(name)).unwrap();
    }
    for entry in fs::read_dir(checkout.join("deploy/samples")).unwrap().flatten() {
        fs::copy(entry.path(), samples.join(entry.file_name())).unwrap();
    }
    let text = fs::read_to_string(samples.join("polecat.yaml")).unwrap();
    let (without, _) = text.split_once("  kubernetes:\n").unwrap();
    fs::write(samples.join("polecat.yaml"), without).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"));
    demo.args(["demo", "--node=kwok"]).current_dir(&copy).stdin(Stdio::null());
    let demo = demo.output().unwrap();
    fs::remove_dir_all(&copy).unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert_eq!(demo.status.code(), Some(1), "{said}\n{errors}");
    assert!(errors.contains("not as announced: furiosa: must end Done"), "{said}\n{errors}");
    assert!(said.contains("furiosa: Stuck") && !said.contains("All as announced"), "{said}");
}
