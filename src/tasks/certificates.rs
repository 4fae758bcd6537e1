//! Our own certificates: keeps the Secret in order, serves what it holds, and puts right whoever is told whom to trust. Every
//! replica does all of it; who writes first has the step, and the others see it.

mod files;
mod flaws;
mod from_files;
mod keeping;
mod known;
#[cfg(test)]
mod taken_back;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::Instrument as _;

use self::{
    flaws::Flaws,
    known::{Heard, Known},
};
use super::{alerts::Alerts, definitions::Unconverted};
use crate::{
    cluster::{
        Class,
        certificates::{Consumer, Kept, News, Sort, Vault, seconds},
        connect::Connection,
        degraded::{Degraded, Matter, Why},
        live,
        meters::Meters,
    },
    config::Config,
    domain::certificates::{Book, Canary, Phase, SETTLE, Seen, Step, consumers::Target},
    kinds, manifests,
    tls::{
        self,
        check::{Flaw, Presented},
        mint::ForNames,
    },
};

/// How often the time is looked at, in case it was put forward.
const LOOK: Duration = Duration::from_secs(10);
/// How soon something that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon another canary is sent where one did not come through.
const CANARY: Duration = Duration::from_secs(2);
/// What is served, from the first certificate on.
pub type Live = watch::Sender<Option<Arc<ServerConfig>>>;

/// Sees to it, until it is dropped, that there is a certificate: from files, or from an authority of our own. With files,
/// who laid them sees to the bundles. `ready`: whether calls are served, and we are not about to end.
pub fn keep(
    config: &Config,
    connection: &Connection,
    (meters, degraded): (&Meters, &Degraded),
    (live, alerts, unconverted): (Live, Alerts, Unconverted),
    ready: watch::Receiver<bool>,
) -> anyhow::Result<BoxFuture<'static, ()>> {
    let it = &config.webhooks;
    let vault = Vault::new(connection, &config.own_namespace(), manifests::CERTIFICATES);
    let to = |service: &str, url| Target {
        namespace: config.own_namespace(),
        service: service.into(),
        url,
    };
    if let Some(files) = it.files()? {
        let (ours, olms) = (manifests::WEBHOOK_SERVICE, manifests::olm::webhook_service());
        let targets = [to(ours, None), to(&olms, None)];
        let names: Vec<_> = targets.iter().filter_map(|it| it.names().into_iter().next()).collect();
        let (stand, stands) = watch::channel(tls::Stand::default());
        let (refused, refusals) = watch::channel(None);
        let files_of = files.clone();
        let packed = Target { namespace: manifests::NAMESPACE.into(), ..to(ours, None) };
        let follower = from_files::Follower {
            vault,
            targets,
            packed,
            files: files_of,
            unconverted,
            ready,
            refused,
        };
        let told = move |it| _ = stand.send_replace(it);
        let judged = files::judged((stands, refusals), meters.clone(), degraded.clone());
        let all = async move {
            let clock = tls::Clock { now: seconds, look: tls::LOOK };
            _ = tokio::join!(files.serve(live, (&names, clock), told), judged, follower.follow());
        };
        return Ok(all.boxed());
    }
    let target = to(manifests::WEBHOOK_SERVICE, it.webhook_url.clone());
    let keeper = Keeper {
        vault,
        mint: ForNames { names: target.names(), leaf_life: it.test_leaf_seconds },
        target,
        live,
        alerts,
        unconverted,
        flaws: Flaws::begin(meters),
        meters: meters.clone(),
        degraded: degraded.clone(),
        retire_after: it.test_retire_seconds,
        settle: it.test_settle_seconds.unwrap_or(SETTLE),
    };
    Ok(keeper.run().boxed())
}

/// Keeps certificates of our own.
struct Keeper {
    vault: Vault,
    mint: ForNames,
    target: Target,
    live: Live,
    /// Callers of this replica that did not trust what it served.
    alerts: Alerts,
    /// Definitions whose writes are to wait.
    unconverted: Unconverted,
    meters: Meters,
    flaws: Flaws,
    degraded: Degraded,
    retire_after: Option<i64>,
    settle: i64,
}

impl Keeper {
    /// Runs until dropped.
    async fn run(self) {
        let all = consumers();
        let mut known = Known::nothing(&all);
        let mut news = pin!(self.vault.news(all));
        let mut alerts = self.alerts.news();
        loop {
            let pause = self.turn(&mut known).await;
            tokio::select! {
                told = news.next() => match told {
                    Some(told) => {
                        hear(&self.unconverted, &told);
                        known.hear(told);
                    }
                    None => return,
                },
                Ok(()) = alerts.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            // Whatever else is there already, so that nothing is written by what is known to be old.
            while let Some(Some(told)) = news.next().now_or_never() {
                hear(&self.unconverted, &told);
                known.hear(told);
            }
        }
    }

    /// Looks at everything once, and says what is wrong; how long until the next look, if nothing is heard before.
    async fn turn(&self, known: &mut Known) -> Duration {
        let pause = self.look(known).await;
        let why = known.problem.take().map(|(reason, text)| Why { reason, text });
        self.flaws.say(why.as_ref().map(|it| it.reason));
        self.degraded.say(Matter::Certificates, why);
        pause
    }

    async fn look(&self, known: &mut Known) -> Duration {
        let Some(kept) = known.kept.clone() else { return LOOK };
        if kept.immutable {
            known.problem(keeping::IMMUTABLE, &self.way_out()); // whatever is worse is said instead of it
        }
        let book = match &kept.book {
            Ok(book) => book.clone(),
            Err(why) => {
                known.problem(why.reason(), "The Secret with the certificates is put right");
                return self.restore(known, &kept).await;
            }
        };
        if let Some(until) = book.has_no_room_until(&self.seen(known, &kept)) {
            known.has_no_room(until); // whatever else is wrong is said instead of it
        }
        if book.judged_at(seconds()) > seconds() {
            known.problem(
                Flaw::NotValidYet.reason(),
                "By the API server's clock what is served is not valid yet: another replica goes by an API server whose clock is ahead of that",
            );
        }
        if let Err(flaw) = self.serve(known, &book) {
            known.problem(flaw.reason(), "What the Secret holds can't be served");
            if book.due(&self.seen(known, &kept)).is_none() {
                return self.restore(known, &kept).await;
            }
        }
        let told = self.tell(known, &book).await;
        let awaited = self.listen(known, &kept, &book).await;
        let seen = self.seen(known, &kept);
        if seen.now < book.hold {
            known.problem("SwitchTakenBack", "API servers did not accept the last new certificate");
        }
        if awaited && seen.canary == Canary::Refused && book.phase != Phase::Switched {
            known.problem(
                "CanaryRefused",
                "An API server does not accept what is served, so nothing else is",
            );
        }
        match self.due(known, &kept, &book).await {
            Some(step) => self.step(known, &kept, &book, step).await,
            None if awaited => told.unwrap_or(CANARY),
            None => told.unwrap_or(LOOK).min(until(book.wakes(self.settle) - seen.now)),
        }
    }

    /// The step that is due by the API server's clock: this node's may have been put wrong since anybody looked.
    async fn due(&self, known: &Known, kept: &Kept, book: &Book) -> Option<Step> {
        book.due(&self.seen(known, kept))?;
        self.vault.hear_the_time().await;
        book.due(&self.seen(known, kept))
    }

    /// Whether calls come through, by a canary where one is awaited, and by what callers say; whether one was.
    async fn listen(&self, known: &mut Known, kept: &Kept, book: &Book) -> bool {
        let settled = book.has_settled(&self.seen(known, kept));
        // What came through at once says nothing of what is taken later, nor of other replicas.
        if settled && !std::mem::replace(&mut known.settled, true) && known.canary == Canary::Passed
        {
            known.canary = Canary::Untold;
        }
        let awaited = book.awaits_canary(&self.seen(known, kept));
        if awaited {
            known.canary = self.vault.canary().await;
        }
        // An API server said it of this very certificate, whatever another one says of the canary.
        let distrusted = self.alerts.count() > known.alerts;
        if book.phase == Phase::Switched && book.believes_callers() && distrusted {
            known.canary = Canary::Refused;
        }
        awaited
    }

    fn seen<'a>(&self, known: &Known, kept: &'a Kept) -> Seen<'a> {
        let bundle = kept.book.as_ref().map(encoded).unwrap_or_default();
        let right = |it: &Heard| match it {
            Heard::Nothing => false,
            Heard::Gone => true,
            Heard::There(object) => self.target.patch(object, &bundle).is_empty(),
        };
        Seen {
            now: seconds(),
            published: known.consumers.values().all(right),
            canary: known.canary,
            wish: &kept.wish,
            retire_after: self.retire_after,
            settle: self.settle,
        }
    }

    async fn step(&self, known: &mut Known, kept: &Kept, book: &Book, step: Step) -> Duration {
        if let Some(pause) = self.waits(known, kept) {
            return pause;
        }
        if step == Step::Anew && !known.begins_anew(Instant::now()) {
            known.problem(
                "ClocksDiffer",
                "Replicas replace each other's authority: the clocks of API servers differ by more than a day",
            );
            return LOOK;
        }
        let made = book.after(step, &self.seen(known, kept), &self.mint);
        let span = live::live_span!(
            "step of certificates",
            gastown.certificates.step = ?step,
            gastown.certificates.generation = tracing::field::Empty,
        );
        let span = live::begun(span, None);
        match made {
            Ok(next) => {
                span.record("gastown.certificates.generation", next.authority.generation);
                tracing::info!(?step, generation = next.authority.generation, "Taking a step");
                self.write(known, kept, &next).instrument(span).await
            }
            Err(error) => {
                let why = format!("{error:#}");
                live::failed(&span, "CertificateNotMade");
                tracing::error!(why, ?step, "Failed to make a certificate");
                AGAIN
            }
        }
    }

    /// Swaps what is served, if a caller would accept it; calls under way are not touched.
    fn serve(&self, known: &mut Known, book: &Book) -> Result<(), Flaw> {
        let presented = self.usable(book, book.judged_at(seconds()))?;
        known.good = Some(book.clone());
        let chain = book.chain();
        if known.served != chain {
            let config = tls::server(presented).map_err(|it| Flaw::Other(format!("{it:#}")))?;
            self.live.send_replace(Some(Arc::new(config)));
            let generation = book.authority.generation;
            tracing::info!(generation, until = book.leaf.life.until, "Serving a certificate");
            self.meters.certificate_until.set(book.leaf.life.until);
            self.meters.certificate_generation.set(generation.try_into().unwrap_or(i64::MAX));
            known.served = chain;
            known.alerts = self.alerts.count();
        }
        Ok(())
    }

    fn usable(&self, book: &Book, now: i64) -> Result<Presented, Flaw> {
        let presented = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes())?;
        for name in &self.mint.names {
            presented.accepted(book.bundle().as_bytes(), name, now)?;
        }
        Ok(presented)
    }

    /// Puts right whoever says something else; how long until the next look, if something is left.
    async fn tell(&self, known: &mut Known, book: &Book) -> Option<Duration> {
        let bundle = encoded(book);
        let mut left = None;
        let wrong: Vec<_> = known
            .consumers
            .iter()
            .filter_map(|(it, heard)| {
                let Heard::There(object) = heard else { return None };
                let patch = self.target.patch(object, &bundle);
                (!patch.is_empty()).then(|| (it.clone(), patch))
            })
            .collect();
        for (consumer, patch) in wrong {
            if known.fight(&consumer, &bundle, Instant::now()) {
                known.problem(
                    "BundleFoughtOver",
                    &format!("{consumer} is changed by somebody else again and again"),
                );
                left = Some(LOOK);
                continue;
            }
            match self.vault.tell(&consumer, patch).await {
                Ok(object) => {
                    known.won(&consumer, Instant::now());
                    self.unconverted.hear(&consumer.name, Some(&object), Instant::now());
                    tracing::info!(%consumer, "Wrote the bundle of our authority");
                    known.consumers.insert(consumer, Heard::There(object));
                }
                // It changed meanwhile, or another replica was first.
                Err(error)
                    if matches!(
                        error.class(),
                        Class::Conflict | Class::NotFound | Class::Refused
                    ) =>
                {
                    left = Some(AGAIN);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Not writing the bundle"
                    );
                    left = Some(AGAIN);
                }
            }
        }
        left
    }
}

/// Takes in what is told of a definition.
fn hear(unconverted: &Unconverted, told: &News) {
    if let News::Consumer(Consumer { sort: Sort::Definition, name }, object) = told {
        unconverted.hear(name, object.as_ref(), Instant::now());
    }
}

/// A span of seconds that may be over, as one that is worth waiting for.
fn until(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(0).unsigned_abs()).max(AGAIN)
}

/// A bundle as the API writes bytes.
fn encoded(book: &Book) -> String {
    BASE64_STANDARD.encode(book.bundle())
}

fn consumers() -> Vec<Consumer> {
    let configurations = [
        (Sort::Mutating, manifests::MUTATING.to_owned()),
        (Sort::Mutating, manifests::PODS_MUTATING.to_owned()),
        (Sort::Validating, manifests::VALIDATING.to_owned()),
        (Sort::Validating, manifests::PODS_VALIDATING.to_owned()),
    ];
    let configurations = configurations.into_iter().map(|(sort, name)| Consumer { sort, name });
    configurations.chain(definitions()).collect()
}

/// The definitions that are converted.
pub(super) fn definitions() -> impl Iterator<Item = Consumer> {
    kinds::convertible().map(|name| Consumer { sort: Sort::Definition, name })
}
