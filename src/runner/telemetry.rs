//! `telemetry`: waits for the agent's end, has its commits pushed, writes the verdict. Holds the git
//! credential, so it never opens a path under the workspace and never runs a file that the agent could
//! write.

use std::{cell::RefCell, fs, process::ExitCode, time::Duration};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::{
    pin,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    FAILED,
    args::Telemetry,
    deliver::{self, Delivery},
    last_words,
    lock::{Lock, State, Watch},
    log,
    metrics::Metrics,
    paths::Paths,
    presence::Presence,
    problem::Problem,
    settings::Settings,
    telling::Telling,
    times,
};
use crate::domain::{
    layout,
    verdict::{Times, Verdict, reason},
};

/// How often the lock is looked at: some ten system calls.
const LOOK: Duration = Duration::from_millis(200);
/// How long an agent that has not begun is waited for once the pod is told to end.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Waits, delivers, and writes the verdict.
pub async fn main(paths: &Paths, arguments: &Telemetry) -> ExitCode {
    let settings = Settings::read();
    let draft = RefCell::new(deliver::draft(settings.as_ref().ok()));
    let telling = Telling::begin(paths, settings.as_ref().ok());
    if let Err(problem) = run(paths, arguments, settings, (&draft, &telling)).await {
        let mut draft = draft.borrow_mut();
        (draft.pushed, draft.reason, draft.message) =
            (false, problem.reason.to_owned(), problem.message);
    }
    let verdict = draft.into_inner();
    log::say(&format!("Verdict: {}: {}", verdict.reason, verdict.message));
    let written = last_words::verdict(paths, &verdict);
    telling.end(&verdict).await;
    if written { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

async fn run(
    paths: &Paths,
    arguments: &Telemetry,
    settings: Result<Settings, Problem>,
    (draft, telling): (&RefCell<Verdict>, &Telling),
) -> Result<(), Problem> {
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(|it| Problem::volume("prepare", "this container", &it.into()))?;
    let listen = signal(SignalKind::terminate());
    let mut terminate =
        listen.map_err(|it| Problem::volume("listen for signals in", "this container", &it))?;
    let lock = Lock::open(paths)?;
    let metrics = Metrics::new(paths, settings.as_ref().ok());
    match metrics.serve(arguments.metrics_port).await {
        Ok(address) => log::say(&format!("Serving metrics on {address}")),
        Err(error) => log::say(&format!("Going on without metrics: {error}")),
    }
    let settings = settings?;
    // From here on the agent may begin. Dropped with this process alone.
    let presence = Presence::open(paths)?;
    let declared = presence.declare();
    declared.map_err(|it| Problem::volume("take the lock of", "this container", &it))?;
    let cloned = Times { clone: times::clone(paths), ..Times::default() };
    telling.tell(&Verdict { times: Some(cloned), ..Verdict::default() });
    let mut wait =
        Wait { paths, lock: &lock, metrics: &metrics, watch: Watch::default(), told: None };
    let handover = Duration::from_secs(arguments.handover_seconds);
    let late = wait.for_end(&mut terminate, handover).await?;
    let ended = Instant::now();
    draft.borrow_mut().times = Some(Times { handed_over: Some(times::now()), ..cloned });
    let last = Duration::from_secs(arguments.end_seconds);
    let mut until = ended + Duration::from_secs(arguments.push_seconds);
    until = wait.told.map_or(until, |told| until.min(told + last));
    let (settings, metrics) = (&settings, &metrics);
    let delivery = Delivery { paths, settings, arguments, metrics, telling, late, until, draft };
    let delivered = delivery.run();
    pin!(delivered);
    let in_time = loop {
        tokio::select! {
            () = &mut delivered => break true,
            _ = terminate.recv() => until = until.min(Instant::now() + last),
            () = sleep_until(until) => break false,
        }
    };
    let took = deliver::took(ended);
    metrics.pushed(draft.borrow().pushed, took);
    draft.borrow_mut().push_seconds = took.as_secs_f64();
    if let Some(times) = &mut draft.borrow_mut().times {
        times.pushed = Some(times::now());
    }
    // What became of the work branch stands by then where only other branches were still on their way.
    let known = in_time || !draft.borrow().reason.is_empty();
    if known { Ok(()) } else { Err(out_of_time(took)) }
}

fn out_of_time(took: Duration) -> Problem {
    let message = format!(
        "the push had not come to its end after {:.0} s, when time was over; the remote may or may not \
         have the commits; check the host, or give the push a larger reserve",
        took.as_secs_f64()
    );
    Problem::new(reason::PUSH_TIMED_OUT, message)
}

/// Waiting for the agent's end.
struct Wait<'a> {
    paths: &'a Paths,
    lock: &'a Lock,
    metrics: &'a Metrics,
    watch: Watch,
    /// When the pod was told to end.
    told: Option<Instant>,
}

impl Wait<'_> {
    /// Waits for the agent's end, and where the pod is told to end no longer than `handover` from then on: that time, where
    /// it has passed.
    async fn for_end(
        &mut self,
        terminate: &mut Signal,
        handover: Duration,
    ) -> Result<Option<Duration>, Problem> {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        loop {
            let state = self.look()?;
            if before != Some(state) {
                log::say(match state {
                    State::NotBegun => "Waiting for the agent to begin",
                    State::Running => "The agent is running",
                    State::Ended => "The agent has ended",
                });
                before = Some(state);
            }
            let waited = self.told.map(deliver::took);
            match (state, waited) {
                (State::Ended, _) => return Ok(None),
                (State::NotBegun, Some(waited)) if waited >= LAST_CHANCE.min(handover) => {
                    return Err(not_begun());
                }
                (State::Running, Some(waited)) if waited >= handover => {
                    log::say("The agent's container is late; taking its last checkpoint");
                    return Ok(Some(handover));
                }
                _ => {}
            }
            tokio::select! {
                _ = tick.tick() => {}
                _ = terminate.recv(), if self.told.is_none() => {
                    log::say("The pod was told to end; waiting for the agent's commits");
                    self.told = Some(Instant::now());
                }
            }
        }
    }

    fn look(&mut self) -> Result<State, Problem> {
        // Only `claude` writes there. The agent may remove its runner's mark, but hardly all else in time: the runner lays
        // the mark anew.
        let folder = self.paths.at(layout::HANDOVER.path);
        let trace = || fs::read_dir(folder).is_ok_and(|mut it| it.next().is_some());
        let state = self.lock.look(&mut self.watch, trace);
        let lock = self.paths.at(layout::LOCK_FILE);
        let state = state.map_err(|it| Problem::volume("look at the lock", &lock, &it))?;
        self.metrics.state(state);
        Ok(state)
    }
}

fn not_begun() -> Problem {
    let message = "the pod was ended before there was any sign that the agent's container had begun; Ready says why; \
                   should its agent have run and removed every sign, what it committed is lost";
    Problem::new(reason::NOT_BEGUN, message)
}
