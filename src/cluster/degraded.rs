//! What this replica does by the last good state of it, since what it should go by can't be used: told in the log, in
//! the Lease of its session, and by an Event where it lasts. Who mends it sees it there without this replica's log.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// What can be degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    /// The certificate of the webhooks, and the bundles that lead to it.
    Certificates,
    /// The map of shards.
    ShardMap,
    /// What an OpenShift cluster asks of TLS.
    TlsProfile,
    /// The same for the metrics, where they have a certificate of their own.
    MetricsTls,
    /// Whose certificates callers are to show.
    Callers,
}

impl Matter {
    /// Its word, for people and for what reads Leases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::ShardMap => "shard-map",
            Self::TlsProfile => "tls-profile",
            Self::MetricsTls => "metrics-tls",
            Self::Callers => "callers",
        }
    }
}

/// Why it is: the reason is a label of the metric, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub text: String,
}

/// Everything that is degraded at a time.
pub type Troubles = BTreeMap<Matter, Why>;

/// How everything stands, from whoever sees to it. Metrics are that one's as well.
#[derive(Clone, Debug)]
pub struct Degraded(Arc<watch::Sender<Troubles>>);

impl Default for Degraded {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Troubles::new())))
    }
}

impl Degraded {
    /// Takes in how a matter stands; `None`: well. Only another reason is news.
    pub fn say(&self, matter: Matter, why: Option<Why>) {
        let reason = why.as_ref().map(|it| it.reason);
        let news = self.0.send_if_modified(|all| {
            if all.get(&matter).map(|it| it.reason) == reason {
                return false;
            }
            match why.clone() {
                Some(why) => drop(all.insert(matter, why)),
                None => drop(all.remove(&matter)),
            }
            true
        });
        let matter = matter.name();
        match why {
            Some(Why { reason, text }) if news => {
                tracing::warn!(matter, reason, "Degraded: {text}");
            }
            None if news => tracing::info!(matter, "In order again"),
            Some(_) | None => {}
        }
    }

    pub fn news(&self) -> watch::Receiver<Troubles> {
        self.0.subscribe()
    }
}

/// A line for each, as a session's Lease has them.
pub fn lines(all: &Troubles) -> Vec<String> {
    let line = |(matter, why): (&Matter, &Why)| {
        format!("{} {}: {}", matter.name(), why.reason, why.text.replace('\n', " "))
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_reason_is_news() {
        let degraded = Degraded::default();
        let mut news = degraded.news();
        let why = |reason| Some(Why { reason, text: "it is\nthis".into() });
        degraded.say(Matter::Certificates, None);
        assert!(!news.has_changed().unwrap(), "it was well before");
        degraded.say(Matter::Certificates, why("Expired"));
        assert_eq!(lines(&news.borrow_and_update()), ["certificates Expired: it is this"]);
        degraded.say(Matter::Certificates, why("Expired"));
        assert!(!news.has_changed().unwrap(), "that was said");
        degraded.say(Matter::Certificates, why("WrongName"));
        degraded.say(Matter::TlsProfile, why("NothingInCommon"));
        assert_eq!(news.borrow_and_update().len(), 2);
        degraded.say(Matter::Certificates, None);
        assert_eq!(lines(&news.borrow_and_update()), ["tls-profile NothingInCommon: it is this"]);
    }
}
