//! What the page on kind has people load into its nodes: files of images, made where nothing was built yet, and anew after a change.

use std::{fs, process::Command};

use gastown_testbed::tools::on_path;

use super::Store;
use crate::{generated::top, make::words};

/// The commands of the page that make them, without those of kind.
fn commands() -> String {
    let page = fs::read_to_string(top().join("docs/install.md")).unwrap();
    let part = page.split("## kind and minikube").nth(1).unwrap().split("\n## ").next().unwrap();
    let lines = part.lines().filter_map(|it| it.strip_prefix("$ "));
    let made: Vec<_> =
        lines.filter(|it| it.contains("target/") && !it.starts_with("kind ")).collect();
    assert!(made.iter().filter(|it| it.starts_with("buildah push ")).count() == 2, "{made:?}");
    made.join("\n")
}

#[test]
fn archives_for_kind_are_made_in_a_fresh_clone_and_again_after_a_change() {
    let test = "archives_for_kind_are_made_in_a_fresh_clone_and_again_after_a_change";
    let Some(store) = Store::new(test) else { return };
    let (clone, bin) = (store.folder.path().join("clone"), store.folder.path().join("bin"));
    for it in [&clone, &bin] {
        fs::create_dir(it).unwrap();
    }
    let program =
        store.program().replacen("buildah", on_path("buildah").unwrap().to_str().unwrap(), 1);
    let with_a_store = format!("#!/bin/sh\nexec {program} \"$@\"\n");
    gastown_testbed::program::write(&bin.join("buildah"), with_a_store).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for time in ["fresh-clone", "after-a-change"] {
        for name in ["operator", "runner"] {
            let container = store.run(&["from", "scratch"]);
            store.run(&["config", "--label", &format!("made={time}"), &container]);
            let image = format!("localhost/gastown-{name}:{}", env!("CARGO_PKG_VERSION"));
            store.run(&["commit", "--quiet", "--rm", &container, &image]);
        }
        let mut shell = Command::new("bash");
        shell.args(["-ec", &commands()]).current_dir(&clone).env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{time}: {}", words(&output));
        for name in ["operator", "runner"] {
            let archive = fs::read(clone.join(format!("target/{name}.tar"))).unwrap();
            let archive = String::from_utf8_lossy(&archive).into_owned();
            assert!(archive.contains(time), "{time}: {name}.tar holds another image");
        }
    }
}
