//! Hand-over folders that somebody else filled: bundles and reports that are none.

use std::{fs, os::unix::fs::symlink, path::Path};

use gastown::domain::{
    layout,
    verdict::{Verdict, reason},
};

use crate::{
    hostile::commit_of_tree,
    pod::{Pod, git},
};

type Fill = fn(&Pod, &Path);

/// What `telemetry` makes of a hand-over folder that somebody else filled, after the agent's container
/// was killed.
fn forged(fill: impl FnOnce(&Pod, &Path), options: &[&str]) -> (Pod, Verdict) {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let folder = pod.volume(layout::HANDOVER);
    fs::write(folder.join("begun"), "").unwrap();
    fill(&pod, &folder);
    pod.telemetry(options).end().succeeded();
    let verdict = pod.verdict();
    (pod, verdict)
}

/// Commits in the agent's clone, and makes a bundle of our shape with git's help.
fn bundle(pod: &Pod, folder: &Path, prepare: &[&[&str]], arguments: &[&str]) {
    let repository = pod.volume(layout::WORKSPACE).join("repo");
    for arguments in prepare {
        git(&repository, arguments);
    }
    let path = folder.join("work.bundle").display().to_string();
    let all: Vec<&str> = ["bundle", "create", "--quiet"].iter().chain(arguments).copied().collect();
    git(
        &repository,
        &all.iter().map(|it| if *it == "FILE" { path.as_str() } else { it }).collect::<Vec<_>>(),
    );
}

/// A bundle of one empty commit, as the runner makes it.
fn one(pod: &Pod, folder: &Path) {
    bundle(pod, folder, &[ONE, NAME], &["FILE", HANDED_OVER, "^HEAD~1"]);
}

const HANDED_OVER: &str = "refs/gastown/handover";
const ONE: &[&str] = &["commit", "--quiet", "--allow-empty", "-m", "forged"];
const NAME: &[&str] = &["update-ref", HANDED_OVER, "HEAD"];

#[test]
fn a_bundle_that_was_left_before_the_end_is_taken() {
    let (pod, verdict) = forged(one, &[]);
    assert_eq!((verdict.reason.as_str(), verdict.agent), (reason::PUSHED, None));
    assert_eq!(pod.head("fix/x"), verdict.commit);
}

fn references_without_end(pod: &Pod, folder: &Path) {
    let names: Vec<String> = (0..10).map(|it| format!("refs/heads/b{it}")).collect();
    let branches: Vec<[&str; 3]> = names.iter().map(|it| ["update-ref", it, "HEAD"]).collect();
    let prepare: Vec<&[&str]> =
        [ONE].into_iter().chain(branches.iter().map(|it| &it[..])).collect();
    let all: Vec<&str> =
        ["FILE"].into_iter().chain(names.iter().map(String::as_str)).chain(["^HEAD~1"]).collect();
    bundle(pod, folder, &prepare, &all);
}

fn link(pod: &Pod, folder: &Path) {
    one(pod, folder);
    fs::rename(folder.join("work.bundle"), pod.path("elsewhere")).unwrap();
    symlink(pod.path("elsewhere"), folder.join("work.bundle")).unwrap();
}

fn pipe(_: &Pod, folder: &Path) {
    let (file, kind) = (folder.join("work.bundle"), rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, file, kind, 0o600.into(), 0).unwrap();
}

fn cut_short(pod: &Pod, folder: &Path) {
    one(pod, folder);
    change(folder, |bytes| bytes.truncate(bytes.len() - 21));
}

fn flipped_bits(pod: &Pod, folder: &Path) {
    one(pod, folder);
    change(folder, |bytes| {
        let at = bytes.len() - 30;
        bytes[at] ^= 0xff;
    });
}

/// Says that it needs nothing, and holds the tip alone.
fn hollow(pod: &Pod, folder: &Path) {
    bundle(pod, folder, &[ONE, ONE, NAME], &["FILE", HANDED_OVER, "^HEAD~1"]);
    change(folder, |bytes| {
        let from = bytes.iter().position(|it| *it == b'-').unwrap();
        let length = bytes[from..].iter().position(|it| *it == b'\n').unwrap() + 1;
        bytes.drain(from..from + length);
    });
}

fn change(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = folder.join("work.bundle");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn dot_git(pod: &Pod, folder: &Path) {
    let commit = commit_of_tree(&pod.volume(layout::WORKSPACE).join("repo"), ".git");
    let name: &[&str] = &["update-ref", HANDED_OVER, &commit];
    bundle(pod, folder, &[name], &["FILE", HANDED_OVER, "^HEAD"]);
}

fn tag(pod: &Pod, folder: &Path) {
    let prepare: [&[&str]; 3] =
        [ONE, &["tag", "-a", "-m", "t", "t"], &["update-ref", HANDED_OVER, "t"]];
    bundle(pod, folder, &prepare, &["FILE", HANDED_OVER, "^HEAD~1"]);
}

#[test]
fn whatever_is_no_bundle_of_ours_is_refused() {
    let table: [(Fill, &str); 12] = [
        (link, "a link, were it to a bundle"),
        (|_, it| symlink("/dev/zero", it.join("work.bundle")).unwrap(), "a link to a device"),
        (|_, it| fs::create_dir(it.join("work.bundle")).unwrap(), "a folder"),
        (pipe, "a pipe that nobody writes into"),
        (|_, it| fs::write(it.join("work.bundle"), "").unwrap(), "nothing"),
        (|_, it| fs::write(it.join("work.bundle"), vec![0xff; 100_000]).unwrap(), "noise"),
        (references_without_end, "more references than are taken"),
        (cut_short, "a pack that is cut short"),
        (flipped_bits, "a pack with flipped bits"),
        (hollow, "a parent that is nowhere"),
        (dot_git, "a tree that writes into .git"),
        (tag, "a tag where a commit is due"),
    ];
    for (fill, because) in table {
        let (pod, verdict) = forged(fill, &[]);
        let told = (verdict.reason.as_str(), verdict.pushed);
        assert_eq!(told, (reason::BUNDLE_REFUSED, false), "{because}: {verdict:?}");
        assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, None), "{because}");
    }
}

#[test]
fn whatever_is_handed_over_beside_the_work_branch_costs_it_nothing() {
    let table: [(Fill, &str); 5] = [
        (link, "a link, were it to a bundle"),
        (|_, it| fs::write(it.join("work.bundle"), vec![0xff; 100_000]).unwrap(), "noise"),
        (flipped_bits, "a pack with flipped bits"),
        (hollow, "a parent that is nowhere"),
        (tag, "a tag where a commit is due"),
    ];
    for (fill, because) in table {
        let fill = |pod: &Pod, folder: &Path| {
            one(pod, folder);
            fs::rename(folder.join("work.bundle"), pod.path("good")).unwrap();
            fill(pod, folder);
            fs::rename(folder.join("work.bundle"), folder.join("beside.bundle")).unwrap();
            fs::rename(pod.path("good"), folder.join("work.bundle")).unwrap();
        };
        let (pod, verdict) = forged(fill, &[]);
        let told = (verdict.reason.as_str(), verdict.pushed);
        assert_eq!(told, (reason::PUSHED, true), "{because}: {verdict:?}");
        assert!(verdict.message.contains("lost with the pod"), "{because}: {}", verdict.message);
        assert_eq!(pod.head("fix/x"), verdict.commit, "{because}");
        assert_eq!(pod.head("fix/x-0a1b2c3d-1-side-1"), None, "{because}");
    }
}

#[test]
fn what_is_lost_with_a_bundle_that_is_refused_is_said_by_name() {
    let fill = |pod: &Pod, folder: &Path| {
        one(pod, folder);
        fs::rename(folder.join("work.bundle"), folder.join("beside.bundle")).unwrap();
        fs::write(folder.join("work.bundle"), "noise").unwrap();
    };
    let (pod, verdict) = forged(fill, &[]);
    assert_eq!(verdict.reason, reason::BUNDLE_REFUSED, "{verdict:?}");
    let says = "these are lost with the pod: refs/gastown/handover";
    assert!(verdict.message.contains(says), "{}", verdict.message);
    assert_eq!(pod.head("fix/x-0a1b2c3d-1-side-1"), None);
}

#[test]
fn both_bundles_share_one_cap() {
    let fill = |pod: &Pod, folder: &Path| {
        one(pod, folder);
        fs::copy(folder.join("work.bundle"), folder.join("beside.bundle")).unwrap();
    };
    let size =
        |pod: &Pod| fs::metadata(pod.volume(layout::HANDOVER).join("work.bundle")).unwrap().len();
    let (pod, whole) = forged(fill, &[]);
    assert!(whole.message.contains("are kept: refs/gastown/handover"), "{}", whole.message);
    let cap = (size(&pod) + size(&pod) / 2).to_string();
    let (_, verdict) = forged(fill, &["--max-bundle-bytes", &cap]);
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert!(verdict.message.contains("other branches is lost"), "{}", verdict.message);
}

#[test]
fn a_branch_with_a_deceptive_name_is_kept_and_named_as_text() {
    let name = "ghp_0123456789abcdefghij\u{202e}ereh";
    let fill = |pod: &Pod, folder: &Path| {
        let side = format!("refs/heads/{name}");
        let prepare: [&[&str]; 3] = [ONE, &["update-ref", &side, "HEAD"], ONE];
        bundle(pod, folder, &prepare, &["FILE", &side, "^HEAD~2"]);
        fs::rename(folder.join("work.bundle"), folder.join("beside.bundle")).unwrap();
        bundle(pod, folder, &[], &["FILE", "refs/heads/fix/x", "^HEAD~2"]);
    };
    let (pod, verdict) = forged(fill, &[]);
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert!(pod.head("fix/x-0a1b2c3d-1-side-1").is_some(), "{verdict:?}");
    let said = verdict.message;
    assert!(said.contains("[removed]") && !said.contains("ghp_"), "{said}");
    assert!(!said.contains('\u{202e}'), "{said:?}");
}

#[test]
fn a_huge_bundle_is_refused_before_it_is_read() {
    let fill = |_: &Pod, it: &Path| {
        let file = fs::File::create(it.join("work.bundle")).unwrap();
        file.set_len(1 << 40).unwrap(); // a terabyte that takes no room
    };
    let (pod, verdict) = forged(fill, &[]);
    assert_eq!(verdict.reason, reason::BUNDLE_TOO_LARGE);
    assert!(!pod.volume(layout::DELIVERY).join("intake.bundle").exists());
    let small = ["--max-bundle-bytes", "64"];
    assert_eq!(forged(one, &small).1.reason, reason::BUNDLE_TOO_LARGE);
}

#[test]
fn a_bundle_that_would_burst_the_memory_is_refused() {
    let fill = |pod: &Pod, folder: &Path| {
        let repository = pod.volume(layout::WORKSPACE).join("repo");
        let name = "a".repeat(70_000_000); // a commit's message, which git holds in memory whole
        fs::write(repository.with_file_name("message"), name).unwrap();
        let message = repository.with_file_name("message").display().to_string();
        let commit: &[&str] = &["commit", "--quiet", "--allow-empty", "-F", &message];
        bundle(pod, folder, &[commit, NAME], &["FILE", HANDED_OVER, "^HEAD~1"]);
        assert!(fs::metadata(folder.join("work.bundle")).unwrap().len() < 2_000_000);
    };
    let (_, verdict) = forged(fill, &[]);
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::BUNDLE_REFUSED, false));
}

/// What the report says of the agent's exit code and of who ended it.
type Claim = Option<(i32, Option<&'static str>)>;

#[test]
fn a_forged_report_is_no_more_than_a_claim() {
    let (link, large) = ("\u{1}link", " ".repeat(20_000));
    let markup = r#"{"exitCode":0,"seconds":1e300,"stopped":"<b>x</b>","handover":"Evil"}"#;
    let table: [(&str, Claim, &str); 6] = [
        (link, None, "a link, were it to a report"),
        (&large, None, "too large"),
        (r#"{"exitCode":0}"#, None, "no report"),
        (r#"{"exitCode":0,"seconds":1,"pushed":true}"#, None, "a field that we don't know"),
        (markup, Some((0, None)), "words that we don't know"),
        (
            r#"{"exitCode":-9,"seconds":1,"stopped":"Deadline"}"#,
            Some((-9, Some("Deadline"))),
            "as good as a true one",
        ),
    ];
    for (text, want, because) in table {
        let fill = |pod: &Pod, folder: &Path| {
            let report = folder.join("ended.json");
            if text == link {
                let elsewhere = pod.path("elsewhere");
                fs::write(&elsewhere, r#"{"exitCode":0,"seconds":1}"#).unwrap();
                symlink(elsewhere, report).unwrap();
            } else {
                fs::write(report, text).unwrap();
            }
        };
        let (_, verdict) = forged(fill, &[]);
        let got = verdict.agent.as_ref().map(|it| (it.exit_code, it.stopped.as_deref()));
        assert_eq!(got, want, "{because}: {verdict:?}");
        assert!(!verdict.pushed, "{because}");
    }
}
