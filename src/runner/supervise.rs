//! Runs one program to its end, or to the end of its time: signals forwarded, children reaped, output
//! passed on. Decides nothing about what the program did.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpgid, kill_process, kill_process_group, wait,
};
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{activity::Activity, leftovers, log, tokens::LastLine};
use crate::domain::verdict::words;

/// What is passed on at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// How often idleness is judged.
const TICK: Duration = Duration::from_millis(500);
/// Between two rounds of killing, and how long they go on: a process that hangs in the kernel must not keep the others'
/// commits.
const AGAIN: Duration = Duration::from_millis(20);
const KILLING: Duration = Duration::from_secs(5);
const SHORT_GRACE: Duration = Duration::from_secs(2);
/// Of a program that was killed: 128 and SIGKILL.
const KILLED: i32 = 137;
/// How long the end of the output is waited for once nobody is left who could write.
const DRAIN: Duration = Duration::from_secs(2);

/// How long the program may run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub deadline: Duration,
    pub max_idle: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Limits {
    /// Who fills a volume is given no time to fill it whole.
    fn grace_after(&self, stop: Stop) -> Duration {
        if stop == Stop::StorageExceeded { self.grace.min(SHORT_GRACE) } else { self.grace }
    }
}

/// Why a program was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Deadline,
    IdleTimeout,
    StorageExceeded,
    Terminated,
}

impl Stop {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deadline => words::DEADLINE,
            Self::IdleTimeout => words::IDLE_TIMEOUT,
            Self::StorageExceeded => words::STORAGE_EXCEEDED,
            Self::Terminated => words::TERMINATED,
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Its exit code; 128 and the signal's number where one ended it.
    pub code: i32,
    pub stopped: Option<Stop>,
    pub ran: Duration,
}

/// What the container is told, listened to from before the program starts: the first process of a
/// container loses a signal that it has no handler for.
pub struct Told {
    child: Signals,
    terminate: Signals,
    interrupt: Signals,
    others: Others,
}

impl Told {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            others: Others::listen()?,
        })
    }

    /// Waits until the container is told to end.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Signals that mean nothing to us, and may mean something to the program.
struct Others([(Signal, Signals); 4]);

impl Others {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            (Signal::HUP, signal(SignalKind::hangup())?),
            (Signal::QUIT, signal(SignalKind::quit())?),
            (Signal::USR1, signal(SignalKind::user_defined1())?),
            (Signal::USR2, signal(SignalKind::user_defined2())?),
        ]))
    }

    async fn next(&mut self) -> Signal {
        let [hangup, quit, first, second] = &mut self.0;
        tokio::select! {
            _ = hangup.1.recv() => hangup.0,
            _ = quit.1.recv() => quit.0,
            _ = first.1.recv() => first.0,
            _ = second.1.recv() => second.0,
        }
    }
}

/// A program on its way, with what passes its output on.
pub struct Running {
    pid: Pid,
    since: Instant,
    output: mpsc::Receiver<Option<LastLine>>,
}

/// Starts a program in a process group of its own.
pub fn start(mut command: Command, activity: &Activity) -> std::io::Result<Running> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let since = Instant::now();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::other("the program has no process id"))?;
    let (done, output) = mpsc::channel();
    if let Some(stream) = child.stdout.take() {
        pass_on(stream, std::io::stdout(), activity, done.clone(), true);
    }
    if let Some(stream) = child.stderr.take() {
        pass_on(stream, std::io::stderr(), activity, done, false);
    }
    Ok(Running { pid, since, output }) // not waited for through `child`: orphans are reaped in the same place
}

impl Running {
    /// Waits for the program's end, and brings it about when its time is over, or when `now_and_then`, which is called
    /// meanwhile, says so.
    pub async fn supervise(
        &self,
        mut told: Told,
        limits: Limits,
        activity: &Activity,
        mut now_and_then: impl FnMut() -> Option<Stop>,
    ) -> End {
        let mut tick = interval(TICK.min(limits.max_idle.unwrap_or(TICK)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stopped = None;
        let mut kill_at = None;
        let mut give_up_at = None;
        loop {
            if let Some(code) = self.reap() {
                return End { code, stopped, ran: self.since.elapsed() };
            }
            let idle = || limits.max_idle.is_some_and(|it| activity.idle() >= it);
            let due = tokio::select! {
                _ = told.child.recv() => None,
                _ = told.terminate.recv() => Some(Stop::Terminated),
                _ = told.interrupt.recv() => Some(Stop::Terminated),
                other = told.others.next() => {
                    self.tell(other);
                    None
                }
                () = sleep_until(self.since + limits.deadline), if stopped.is_none() => Some(Stop::Deadline),
                _ = tick.tick(), if stopped.is_none() => {
                    now_and_then().or_else(|| idle().then_some(Stop::IdleTimeout))
                }
                () = sleep_until(kill_at.unwrap_or(self.since)), if kill_at.is_some() => {
                    let now = Instant::now();
                    if now >= *give_up_at.get_or_insert(now + KILLING) {
                        return End { code: KILLED, stopped, ran: self.since.elapsed() };
                    }
                    leftovers::kill(); // whatever group the program has moved to
                    kill_at = Some(now + AGAIN);
                    None
                }
            };
            if let (Some(stop), None) = (due, stopped) {
                log::say(&format!("Ending the agent: {}", stop.word()));
                // Once, since many programs take a second one for "at once".
                self.tell(Signal::TERM);
                stopped = Some(stop);
                kill_at = Some(Instant::now() + limits.grace_after(stop));
            }
        }
    }

    /// Waits until all output is passed on, once nobody is left who could write, and answers with the
    /// last line of standard output.
    pub fn last_line(&self) -> Option<String> {
        let ends = (0..2).map_while(|_| self.output.recv_timeout(DRAIN).ok());
        ends.flatten().last().and_then(LastLine::into_text)
    }

    /// Sends a signal to the program and its group. What is gone needs none.
    fn tell(&self, signal: Signal) {
        let _gone = kill_process_group(self.pid, signal);
        if getpgid(Some(self.pid)) != Ok(self.pid) {
            let _gone = kill_process(self.pid, signal);
        }
    }

    /// Takes the ends of all children that ended; the program's own is the answer.
    fn reap(&self) -> Option<i32> {
        let mut code = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                code = Some(exit_code(status));
            }
        }
        code
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|it| 128 + it)).unwrap_or(255)
}

/// Copies one stream to another in a thread of its own, so that a log that nobody reads delays no deadline.
fn pass_on(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    activity: &Activity,
    done: mpsc::Sender<Option<LastLine>>,
    wanted: bool,
) {
    let activity = activity.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let mut last = wanted.then(LastLine::default);
        loop {
            let chunk = match from.read(&mut buffer) {
                Ok(read @ 1..) => buffer.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => break,
            };
            activity.note_output(chunk);
            if let Some(last) = &mut last {
                last.push(chunk);
            }
            // Who reads the log is not the agent's concern: it must not end for want of a reader.
            let _unread = to.write_all(chunk).and_then(|()| to.flush());
        }
        let _gone = done.send(last);
    });
}
