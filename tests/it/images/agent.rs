//! `make agent-image` as a customer's site runs it, to the end: npm and pip play, and put a program where theirs would.

use std::path::Path;

use super::{Store, base};
use crate::make::{make, words};

/// What both leave behind: a program, what they were asked, and of npm a cache.
const PLAYS: &str = "#!/bin/sh
echo \"$0 $*\" >> /asked-for
mkdir -p \"$HOME/.npm\" /usr/local/bin
printf '#!/bin/sh\\necho at your service\\n' > /usr/local/bin/played-agent
chmod 755 /usr/local/bin/played-agent
";
const BASE: &str = "localhost/languages:dev";
const IMAGE: &str = "localhost/agent:dev";

/// The base of this machine's own, with npm and pip.
fn make_base(store: &Store) {
    base(store, Path::new(env!("CARGO_BIN_EXE_gt-runner")));
    let programs = ["npm", "pip"].map(|it| (format!("/usr/local/bin/{it}"), PLAYS.to_owned()));
    store.with(&programs, super::BASE, BASE);
}

#[test]
fn an_agent_is_added_to_the_base_and_any_user_of_group_0_runs_it() {
    let test = "an_agent_is_added_to_the_base_and_any_user_of_group_0_runs_it";
    let Some(store) = Store::new(test) else { return };
    make_base(&store);
    for (edition, agent, mirror, label, asked) in [
        (
            "community",
            "AGENT_NPM=@vendor/agent@1.2.3",
            "NPM_REGISTRY=https://npm.example.com",
            "npm:@vendor/agent@1.2.3",
            "npm install --global --no-fund --no-audit --registry=https://npm.example.com @vendor/agent@1.2.3",
        ),
        (
            "enterprise",
            "AGENT_PIP=agent==1.2.3",
            "PIP_INDEX=https://pip.example.com",
            "pip:agent==1.2.3",
            "pip install --no-cache-dir --no-input --index-url=https://pip.example.com agent==1.2.3",
        ),
    ] {
        let mut command = make(&["agent-image", agent, mirror, &format!("EDITION={edition}")]);
        command.arg(format!("BUILDAH={}", store.program()));
        command.args([format!("AGENT_BASE={BASE}"), format!("AGENT_IMG={IMAGE}")]);
        // Words are parted by blanks, so there is none in the command.
        command.env("BUILD_ARGS", "--build-arg INSTALL=echo${IFS}$@>/asked");
        let output = command.env("BUILDAH_ISOLATION", "chroot").output().unwrap();
        assert!(output.status.success(), "{edition}: {}", words(&output));
        let config = store.inspect(IMAGE)["config"].take();
        assert_eq!(config["User"], "65532:65532", "{edition}");
        assert_eq!(config["Labels"]["io.gastown.agent"], label, "{edition}");
        let said = store.said(IMAGE, "played-agent; touch ~/x; cat /asked-for; ls -a ~ /licenses");
        assert!(said.contains("at your service"), "{edition}: {said}");
        assert!(said.contains(&format!("/{asked}")), "{edition}: {said}");
        assert!(said.contains("LICENSE"), "{edition}: {said}");
        assert!(edition == "enterprise" || !said.contains(".npm\n"), "{edition}: {said}");
    }
}
