//! Images that are built twice are the same: the commands that install packages leave nothing behind that says when that was.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{ARCHITECTURE, OPERATOR, Store};
use crate::generated::top;

/// What installs packages, and the files below /var in which it leaves something else each time.
const PLAYED: [(&str, &str); 2] = [
    (
        "apt-get",
        "log/apt/history.log log/apt/term.log log/dpkg.log log/alternatives.log lib/apt/lists/index cache/ldconfig/aux-cache",
    ),
    (
        "microdnf",
        "log/dnf.log log/dnf.librepo.log log/dnf.rpm.log log/hawkey.log cache/ldconfig/aux-cache",
    ),
];
const SMALL: &str = "localhost/small:dev";
const PACKAGES: &str = "localhost/packages:dev";

/// A base with a shell and its tools, so that a copy of it costs nothing.
fn small_base(store: &Store) {
    let bin = store.folder.path().join("small/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(gastown_testbed::node::images::busybox().unwrap(), bin.join("busybox")).unwrap();
    for tool in ["cat", "chmod", "chown", "find", "md5sum", "mkdir", "rm", "sh"] {
        symlink("busybox", bin.join(tool)).unwrap();
    }
    let container = store.run(&["from", "scratch"]);
    store.run(&["copy", "--quiet", &container, bin.to_str().unwrap(), "/bin"]);
    store.run(&["commit", "--quiet", "--rm", "--squash", &container, SMALL]);
}

/// As `make dist` lays programs, of which none is started here.
fn small_programs(folder: &Path) -> String {
    let into = folder.join(ARCHITECTURE);
    fs::create_dir_all(into.join("licenses")).unwrap();
    for it in ["gastown-operator", "gt-runner", "kubectl-gt", "licenses/LICENSE"] {
        fs::write(into.join(it), it).unwrap();
    }
    folder.strip_prefix(top()).unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_same_packages_make_the_same_image() {
    let test = "the_same_packages_make_the_same_image";
    let Some(store) = Store::new(test) else { return };
    let programs = PLAYED.map(|(program, files)| {
        let plays = format!(
            "#!/bin/sh\necho \"$*\" >> /installed\nfor it in {files}; do\n  mkdir -p /var/${{it%/*}}\n  \
             cat /proc/sys/kernel/random/uuid >> /var/$it\ndone\n"
        );
        (format!("/usr/local/bin/{program}"), plays)
    });
    small_base(&store);
    let users = [("/etc/passwd".to_owned(), "root:x:0:0:root:/:/bin/sh\n".to_owned())];
    store.with(&[&users[..], &programs].concat(), SMALL, PACKAGES);
    let folder = top().join("target/dist");
    fs::create_dir_all(&folder).unwrap();
    let folder = tempfile::tempdir_in(folder).unwrap();
    let dist = small_programs(folder.path());
    for edition in ["community", "enterprise"] {
        let build = || {
            let what = ("TARGETS=runner agent", OPERATOR);
            store.build_on(PACKAGES, edition, &dist, what, "");
            ["runner", "agent"].map(|name| {
                let image = format!("localhost/gastown-{name}:dev");
                let left =
                    store.said(&image, "cat /installed; find /var -type f -exec md5sum {} +");
                assert!(left.contains("install ") && left.contains(" git"), "{name}: {left}");
                (left, store.run(&["images", "--quiet", "--no-trunc", &image]))
            })
        };
        assert_eq!(build(), build(), "{edition}: the same packages, and what was left behind");
    }
}
