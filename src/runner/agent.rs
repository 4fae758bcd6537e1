//! `claude`: runs the agent beside no credential of git or the cluster, ends it in time, ends what it
//! left running, and hands its commits over. Its exit code is the agent's.

use std::{
    ffi::OsString,
    fs, io,
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{
    activity::Activity,
    args::Claude,
    checkpoint::Checkpoints,
    files,
    handover::{self, Handover},
    last_words, leftovers,
    lock::Lock,
    log,
    paths::Paths,
    presence::Presence,
    problem::Problem,
    settings::Settings,
    storage::Storage,
    supervise::{self, End, Limits, Stop, Told},
    times, tokens,
    tools::Start,
};
use crate::domain::{
    fields, layout,
    verdict::{Ended, reason},
};

/// Exit codes as shells have them.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Of an agent that was ended and says that all is well: 128 and SIGTERM.
const ENDED: i32 = 143;
/// The same where there was none yet.
const TOLD_TO_END: u8 = 143;
/// The agent's subscription.
const CREDENTIALS: &str = ".credentials.json";
const MAX_CREDENTIALS: u64 = 1024 * 1024;

/// Runs the agent, and leaves a word where that fails or its time was over.
pub async fn main(paths: &Paths, arguments: Claude) -> ExitCode {
    match run(paths, arguments).await {
        Ok((end, storage, handed_over)) => {
            say_why(paths, end, &storage, handed_over);
            ExitCode::from(u8::try_from(end.code).unwrap_or(u8::MAX))
        }
        Err((problem, code)) => {
            last_words::leave(paths, &problem);
            ExitCode::from(code)
        }
    }
}

/// How the agent ended, what its volumes held, and whether what it had committed is handed over.
async fn run(paths: &Paths, arguments: Claude) -> Result<(End, Storage, bool), (Problem, u8)> {
    let failed = |it| (it, super::FAILED);
    let here = |doing: &str, it: &io::Error| failed(Problem::volume(doing, "this container", it));
    protect().map_err(failed)?;
    let mut told = Told::listen().map_err(|it| here("listen for signals in", &it))?;
    last_words::begin(paths);
    // Not before the lock is taken: what waits has not begun.
    let presence = Presence::open(paths).map_err(failed)?;
    presence.wait(&mut told).await.map_err(|it| (it, TOLD_TO_END))?;
    let lock = Lock::open(paths).map_err(failed)?;
    lock.hold().map_err(|it| here("take the lock of", &it))?;
    handover::mark_begun(paths);
    let start = Start::read(paths).map_err(failed)?;
    let settings = Settings::read().map_err(failed)?;
    copy_credentials(paths).map_err(failed)?;
    let command =
        command(paths, &settings, &arguments.command, arguments.default_agent).map_err(failed)?;
    let program = command.get_program().to_owned();
    let activity = Activity::begin();
    activity.watch(paths);
    log::say(&format!("Starting {}", program.display()));
    let handover = Handover::new(paths, &start, arguments.max_bundle_bytes);
    let running = match supervise::start(command, &activity) {
        Ok(it) => it,
        Err(error) => {
            let (problem, code) = not_started(&program, &error);
            let ended = Ended { exit_code: code.into(), ..Ended::default() };
            handover.make(ended).await;
            return Err((problem, code));
        }
    };
    let mut checkpoints = Checkpoints::new(paths, &start, &arguments);
    let (volumes, whole) = (&arguments.volume_limits, arguments.storage_limit);
    let storage = Storage::watch(paths, volumes, whole, &activity);
    let now_and_then = || {
        checkpoints.look();
        handover::keep_mark(paths);
        storage.exceeded().map(|_| Stop::StorageExceeded)
    };
    let end = running.supervise(told, limits(&arguments), &activity, now_and_then).await;
    activity.end();
    let end = settle(end);
    let handed_over = handover.make(report(end, running.last_line().as_deref())).await;
    if handed_over && !matches!(end.stopped, Some(Stop::Terminated | Stop::StorageExceeded)) {
        handover.say_what_is_uncommitted().await;
    }
    drop(lock); // held until here: a free lock says that all is handed over
    if handed_over && end.stopped == Some(Stop::StorageExceeded) {
        storage.free();
    }
    Ok((end, storage, handed_over))
}

fn limits(arguments: &Claude) -> Limits {
    let max_idle = Duration::from_secs(arguments.max_idle_seconds);
    Limits {
        deadline: Duration::from_secs(arguments.deadline_seconds),
        max_idle: Some(max_idle).filter(|it| !it.is_zero()),
        grace: Duration::from_secs(arguments.grace_seconds),
    }
}

/// Ends whatever the agent left, and takes no success from one that had to be ended.
fn settle(mut end: End) -> End {
    if !leftovers::end() {
        log::say("Some processes that the agent left can't be killed");
    }
    if end.stopped.is_some() && end.code == 0 {
        end.code = ENDED;
    }
    let seconds = end.ran.as_secs_f64();
    log::say(&format!("The agent ended with code {} after {seconds:.1} s", end.code));
    end
}

fn report(end: End, last_line: Option<&str>) -> Ended {
    Ended {
        exit_code: end.code,
        stopped: end.stopped.map(|it| it.word().to_owned()),
        seconds: end.ran.as_secs_f64(),
        tokens: last_line.and_then(tokens::reported),
        handover: None,
        span: Some(times::of(end.ran)),
    }
}

/// Keeps the agent, which is the same user, from tracing us, and keeps what it orphans with us.
fn protect() -> Result<(), Problem> {
    let protected = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| leftovers::adopt_orphans());
    protected.map_err(|it| Problem::volume("prepare", "this container", &it.into()))
}

/// The agent with its arguments, as a list.
fn command(
    paths: &Paths,
    settings: &Settings,
    words: &[OsString],
    default_agent: bool,
) -> Result<Command, Problem> {
    let folder = paths.at(layout::REPOSITORY);
    fs::metadata(&folder).map_err(|it| Problem::volume("enter", &folder, &it))?;
    let own = words.split_first().filter(|_| !default_agent);
    let mut command = if let Some((program, rest)) = own {
        let mut command = Command::new(program);
        command.args(rest);
        command
    } else {
        let mut command = Command::new("claude");
        command.args(["-p", "--dangerously-skip-permissions"]).args(words);
        // A task may begin with a dash, as a list does, and is no option.
        command.args(Some("--").filter(|end| words.iter().all(|it| it != end)));
        command.arg(prompt(settings));
        command
    };
    command.current_dir(&folder).env("HOME", paths.home()).env("PWD", &folder);
    Ok(command)
}

/// What the agent is asked to do.
fn prompt(settings: &Settings) -> String {
    let Settings { issue, task, .. } = settings;
    let issue = if issue.is_empty() { String::new() } else { format!("Issue: {issue}\n\n") };
    format!(
        "{issue}{task}\n\nCommit your work with git on the branch that is checked out. Do not push and do \
         not open a merge request: what you commit is pushed for you when you have finished, and what you \
         do not commit is lost."
    )
}

fn copy_credentials(paths: &Paths) -> Result<(), Problem> {
    let from = paths.at(&format!("{}/{CREDENTIALS}", layout::CLAUDE_CREDS.path));
    let Some(text) =
        files::read(&from, MAX_CREDENTIALS).map_err(|it| Problem::volume("read", &from, &it))?
    else {
        if fs::metadata(paths.at(layout::CLAUDE_CREDS.path)).is_ok() {
            log::say(&format!(
                "The Secret of {} has no key {CREDENTIALS}, so nothing was copied into the agent's home; it is in {}",
                fields::CREDENTIALS,
                layout::CLAUDE_CREDS.path
            ));
        }
        return Ok(());
    };
    let folder = format!("{}/.claude", paths.home());
    let to = format!("{folder}/{CREDENTIALS}");
    let written =
        files::private_folder(&folder).and_then(|()| files::write(&to, text.as_bytes(), 0o600));
    written.map_err(|it| Problem::volume("write", &to, &it))
}

fn not_started(program: &OsString, error: &io::Error) -> (Problem, u8) {
    let name = program.display();
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!(
            "the agent's image has no program {name}, or not the interpreter that it names; use an image \
             that has it, set {}, or name another program, set {}",
            fields::IMAGE,
            fields::COMMAND
        );
        return (Problem::new(reason::AGENT_NOT_FOUND, message), NOT_FOUND);
    }
    let message = format!(
        "the agent's program {name} can't be run: {error}; check its mode and its architecture"
    );
    (Problem::new(reason::AGENT_NOT_EXECUTABLE, message), NOT_EXECUTABLE)
}

/// The agent could write the termination message too, so it is written over in any case.
fn say_why(paths: &Paths, end: End, storage: &Storage, handed_over: bool) {
    let (reason, why, advice) = match end.stopped {
        None if end.code == 0 => return last_words::clear(paths),
        None => return last_words::failed(paths, end.code),
        Some(Stop::Deadline) => (
            reason::DEADLINE_EXCEEDED,
            "at spec.limits.activeDeadlineSeconds (v1alpha1: spec.kubernetes.activeDeadlineSeconds)".to_owned(),
            "; give it more time or a smaller task",
        ),
        Some(Stop::IdleTimeout) => (
            reason::IDLE_TIMEOUT,
            "because it did nothing for spec.limits.maxIdleSeconds (v1alpha1: spec.maxIdleSeconds)".to_owned(),
            "; see its log for what it waited for",
        ),
        Some(Stop::StorageExceeded) => {
            let what = storage.exceeded().unwrap_or("its volumes were nearly full");
            (
                reason::STORAGE_EXCEEDED,
                format!("because {what}, and the node ends a pod at once that holds more"),
                "; have it keep less, or remove what it no longer needs",
            )
        }
        Some(Stop::Terminated) => {
            (reason::TERMINATED, "because its pod was told to end".to_owned(), "")
        }
    };
    let commits = if handed_over {
        "what it had committed is handed over"
    } else {
        "what it had committed could not be handed over and may be lost, all but its last checkpoint"
    };
    let message = format!("the agent was ended {why}; {commits}{advice}");
    last_words::leave(paths, &Problem::new(reason, message));
}
