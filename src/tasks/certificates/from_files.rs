//! Certificates that others lay into files, as cert-manager, service-ca and OLM do: they tell API servers whom to trust as well.
//! What none of them sees to is a definition that lost its conversion: it is given back, with the bundle that definitions had
//! before, if a caller that trusts it would accept what is served. What is there is left to those who wrote it. An install plan of
//! OLM's writes definitions as they are packed, and OLM leads them here only when it installs what follows: until then, we do.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;
use tokio::sync::watch;

use super::{AGAIN, LOOK, definitions, hear};
use crate::{
    cluster::certificates::{Consumer, News, Vault, seconds},
    domain::certificates::consumers::Target,
    tasks::definitions::Unconverted,
    tls::{Files, check::Presented},
};

/// How long a definition stays without its conversion: who uninstalls switches it off on purpose, and ends us by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bundles that are remembered.
const BUNDLES: usize = 4;

/// Follows the definitions that are converted.
pub struct Follower {
    pub vault: Vault,
    /// Where calls may be led to; the certificate says which of them it is.
    pub targets: [Target; 2],
    /// Where definitions lead as they are packed.
    pub packed: Target,
    pub files: Files,
    /// Definitions whose writes are to wait.
    pub unconverted: Unconverted,
    /// Whether calls are served; who is ending gives nobody anything back.
    pub ready: watch::Receiver<bool>,
    /// Hears why who trusts what a definition says would not take what the files hold.
    pub refused: watch::Sender<Option<&'static str>>,
}

/// What is known at a time.
#[derive(Default)]
struct Known {
    heard: BTreeMap<Consumer, Value>,
    /// Since when definitions are without their conversion, and whether it was said that nothing can be done.
    lost: BTreeMap<Consumer, (Instant, bool)>,
    /// Those of which it was said that they lead nowhere, as they are packed.
    astray: BTreeSet<Consumer>,
    /// What definitions said of whom to trust, base64, the latest first.
    bundles: VecDeque<String>,
}

impl Follower {
    /// Runs until dropped.
    pub async fn follow(mut self) {
        let mut news = pin!(self.vault.told(definitions().collect()));
        let mut known = Known::default();
        loop {
            let pause = self.turn(&mut known).await;
            tokio::select! {
                told = news.next() => match told {
                    Some(told) => self.hear(&mut known, told),
                    None => return,
                },
                Ok(()) = self.ready.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            // Whatever else is there already, so that nothing is written by what is known to be old.
            while let Some(Some(told)) = news.next().now_or_never() {
                self.hear(&mut known, told);
            }
        }
    }

    fn hear(&self, known: &mut Known, told: News) {
        hear(&self.unconverted, &told);
        let News::Consumer(consumer, object) = told else { return };
        if object.as_ref().is_some_and(|it| self.targets.iter().any(|to| to.is_lost(it))) {
            known.lost.entry(consumer.clone()).or_insert((Instant::now(), false));
        } else {
            known.lost.remove(&consumer);
        }
        let said = object.as_ref().and_then(|it| self.targets.iter().find_map(|to| to.bundle(it)));
        if let Some(bundle) = said.filter(|it| !it.is_empty()) {
            known.bundles.retain(|it| it != bundle);
            known.bundles.push_front(bundle.to_owned());
            known.bundles.truncate(BUNDLES);
        }
        match object {
            Some(object) => known.heard.insert(consumer, object),
            None => known.heard.remove(&consumer),
        };
    }

    /// Puts right what nobody else does; how long until the next look, if nothing is heard before.
    async fn turn(&self, known: &mut Known) -> Duration {
        let presented = self.files.read().ok();
        let refusal = presented.as_ref().and_then(|it| self.refusal(it, known.heard.values()));
        self.refused.send_replace(refusal);
        let Some(presented) = presented.filter(|_| *self.ready.borrow()) else { return LOOK };
        let Some(target) = self.target(&presented) else { return LOOK };
        let fitting = self.fitting(target, &presented, &known.bundles);
        let mut pause = LOOK;
        for (consumer, object) in known.heard.clone() {
            let lost = known.lost.get(&consumer).map(|it| it.0.elapsed());
            if let Some(left) = lost.and_then(|it| PATIENCE.checked_sub(it)) {
                pause = pause.min(left);
                continue;
            }
            let patch = target.restore(&object, fitting.as_deref(), &self.packed);
            if !patch.is_empty() {
                pause = pause.min(self.tell(known, consumer, patch).await);
            } else if let Some((_, said @ false)) = known.lost.get_mut(&consumer) {
                *said = true;
                tracing::warn!(
                    definition = consumer.name,
                    "Its conversion can't be given back: no bundle is known under which callers would accept the \
                     certificate. Lay ca.crt beside the certificate, or apply the definition with a caBundle"
                );
            } else if !target.is_as_packed(&object, &self.packed) {
                known.astray.remove(&consumer);
            } else if known.astray.insert(consumer.clone()) {
                tracing::warn!(
                    definition = consumer.name,
                    "It leads conversions nowhere, as it was packed, and no bundle is known under which callers would \
                     accept the certificate: who installs it leads it on"
                );
            }
        }
        pause
    }

    async fn tell(&self, known: &mut Known, consumer: Consumer, patch: Vec<Value>) -> Duration {
        match self.vault.tell(&consumer, patch).await {
            Ok(object) => {
                tracing::info!(%consumer, "Wrote where its conversion is");
                self.hear(known, News::Consumer(consumer, Some(object)));
                LOOK
            }
            // It changed meanwhile, or another replica was first.
            Err(error) if error.answer().is_some_and(|it| matches!(it.0, 404 | 409 | 422)) => AGAIN,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, %consumer, "Not writing where its conversion is; it is tried again");
                LOOK
            }
        }
    }

    /// Where callers are led to under a name that the certificate is for.
    fn target(&self, presented: &Presented) -> Option<&Target> {
        let named = |it: &&Target| it.names().first().is_some_and(|it| presented.is_for(it));
        self.targets.iter().find(named)
    }

    /// Why callers who are led here, and trust what the definition says that leads them, would not take what the files hold.
    fn refusal<'a>(
        &'a self,
        presented: &Presented,
        definitions: impl Iterator<Item = &'a Value>,
    ) -> Option<&'static str> {
        let leads = |object: &'a Value| {
            let led = |to: &'a Target| Some((to, to.bundle(object).filter(|it| !it.is_empty())?));
            self.targets.iter().find_map(led)
        };
        let refuses = |(to, bundle): (&Target, &str)| {
            let bundle = BASE64_STANDARD.decode(bundle).unwrap_or_default();
            let name = to.names().into_iter().next()?;
            presented.accepted(&bundle, &name, seconds()).err()
        };
        // Most of them say the same.
        let mut all: Vec<_> = definitions.filter_map(leads).collect();
        all.dedup();
        all.into_iter().find_map(refuses).map(|it| it.reason())
    }

    /// A bundle under which callers would accept what is served, base64: of those that definitions had, else of the authority
    /// beside the certificate.
    fn fitting(
        &self,
        target: &Target,
        presented: &Presented,
        bundles: &VecDeque<String>,
    ) -> Option<String> {
        let name = target.names().into_iter().next()?;
        let beside = BASE64_STANDARD.encode(self.files.authority());
        let mut all = bundles.iter().chain([&beside]).filter(|it| !it.is_empty());
        let fits = |bundle: &&String| {
            let bundle = BASE64_STANDARD.decode(bundle).unwrap_or_default();
            presented.accepted(&bundle, &name, seconds()).is_ok()
        };
        all.find(fits).cloned()
    }
}
