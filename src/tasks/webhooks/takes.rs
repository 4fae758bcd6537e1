//! What a server takes up while it runs: another certificate, and other settings than this process's. What nobody could agree
//! with is not taken up: the last good settings stay, and that is told.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{ServerConfig, crypto::CryptoProvider};
use tokio::sync::watch;

use super::super::alerts::Alerts;
use crate::{
    cluster::{
        degraded::{Degraded, Matter, Why},
        meters::{Meters, NOTHING_IN_COMMON},
    },
    tls,
};

/// What a server takes up.
#[derive(Debug)]
pub struct Takes {
    pub certificate: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub provider: watch::Receiver<Option<Arc<CryptoProvider>>>,
    pub manner: tls::Manner,
    /// Counts callers that are turned away, and those that do not trust the certificate.
    pub alerts: Alerts,
    pub stand: Stand,
}

/// By which settings a server goes, and who hears where those that are asked for can't be met.
#[derive(Debug, Default)]
pub struct Stand {
    pub told: Option<(Meters, Degraded)>,
    good: Option<Arc<CryptoProvider>>,
    is_told: bool,
}

impl Stand {
    /// Of a server whose troubles are told.
    pub fn telling(meters: &Meters, degraded: &Degraded) -> Self {
        Self { told: Some((meters.clone(), degraded.clone())), ..Self::default() }
    }

    /// These can be met. What others told stays theirs.
    fn is_good(&mut self, provider: Option<Arc<CryptoProvider>>) {
        self.good = provider;
        if std::mem::take(&mut self.is_told) {
            self.say(None);
        }
    }

    fn is_degraded(&mut self, error: &anyhow::Error) {
        self.is_told = true;
        let reason = NOTHING_IN_COMMON.reason;
        let text = format!(
            "what the cluster asks for can't be served; the last good one stays: {error:#}"
        );
        self.say(Some(Why { reason, text }));
    }

    fn say(&self, why: Option<Why>) {
        let Some((meters, degraded)) = &self.told else { return };
        let flaw = meters.tls_profile_flaws.get_or_create(&NOTHING_IN_COMMON);
        flaw.set(i64::from(why.is_some()));
        degraded.say(Matter::TlsProfile, why);
    }
}

impl Takes {
    /// What is to be served now; `None` until there is a certificate. An error where nobody could agree even with the settings
    /// that were good before, or with those of this process.
    pub(super) fn now(&mut self) -> anyhow::Result<Option<Arc<ServerConfig>>> {
        let Some(config) = self.certificate.borrow_and_update().clone() else { return Ok(None) };
        let asked = self.provider.borrow_and_update().clone();
        let followed = asked.is_some();
        let made = match self.made(&config, asked.clone()) {
            Ok(made) => {
                self.stand.is_good(asked);
                made
            }
            Err(error) if followed => {
                self.stand.is_degraded(&error);
                self.made(&config, self.stand.good.clone())?
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Arc::new(made)))
    }

    fn made(
        &self,
        config: &ServerConfig,
        provider: Option<Arc<CryptoProvider>>,
    ) -> anyhow::Result<ServerConfig> {
        let made = self.manner.apply(config, provider)?;
        tls::crypto::met(&made).context(
            "with these TLS suites and groups no caller can agree on a handshake with the certificate: ask for suites that \
             fit its key, or for those of TLS 1.3, and for groups of the versions that they are of",
        )?;
        Ok(made)
    }

    /// What is to be served after the next change of either; `None` once nobody keeps certificates any more.
    pub(super) async fn next(&mut self) -> Option<Arc<ServerConfig>> {
        loop {
            tokio::select! {
                it = self.certificate.changed() => it.ok()?,
                // Who follows no cluster is gone at once.
                Ok(()) = self.provider.changed() => {}
            }
            match self.now() {
                Ok(config) => return config,
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::error!(why, "The new certificate can't be served; the last one stays");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::certificates::Book,
        tls::crypto::{Profile, Wanted, suite_name},
    };

    fn certificate() -> Arc<ServerConfig> {
        let _ = tls::install_provider();
        let mint = tls::mint::ForNames { names: vec!["a".into()], leaf_life: None };
        let book = Book::new(&mint, 1, 1_800_000_000).unwrap();
        let read = tls::check::Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes());
        Arc::new(tls::server(read.unwrap()).unwrap())
    }

    fn asks(suites: &[&str], groups: &[&str]) -> Arc<CryptoProvider> {
        let own = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let (suites, groups) = (own(suites), own(groups));
        let wanted = Wanted { profile: Profile::Custom, suites, groups };
        Arc::new(wanted.intersection())
    }

    fn suites(config: &ServerConfig) -> Vec<String> {
        config.crypto_provider().cipher_suites.iter().map(suite_name).collect()
    }

    #[test]
    fn what_nobody_could_agree_with_is_not_taken_up_and_that_is_told() {
        let (meters, degraded) = (Meters::default(), Degraded::default());
        let (live, asked) = (watch::Sender::new(Some(certificate())), watch::Sender::new(None));
        let mut takes = Takes {
            certificate: live.subscribe(),
            provider: asked.subscribe(),
            manner: tls::Manner::default(),
            alerts: Alerts::default(),
            stand: Stand::telling(&meters, &degraded),
        };
        let is_degraded = || degraded.news().borrow().contains_key(&Matter::TlsProfile);
        let usual = suites(&takes.now().unwrap().unwrap());
        assert!(usual.len() > 3 && !is_degraded(), "{usual:?}");
        let rsa = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        let ecdsa = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        let one = vec![ecdsa.to_owned()];
        for (provider, want, well, because) in [
            (Some(asks(&[rsa], &[])), &usual, false, "suites for RSA, and a key of P-256"),
            (Some(asks(&[ecdsa], &[])), &one, true, "suites for its key"),
            (Some(asks(&[ecdsa], &["X25519MLKEM768"])), &one, false, "TLS 1.2, and groups of 1.3"),
            (
                Some(asks(&[rsa], &[])),
                &one,
                false,
                "the last good one stays, not that of the start",
            ),
            (None, &usual, true, "nothing is asked for any more"),
        ] {
            asked.send_replace(provider);
            assert_eq!(&suites(&takes.now().unwrap().unwrap()), want, "{because}");
            assert_eq!(is_degraded(), !well, "{because}");
            let flaw = meters.tls_profile_flaws.get_or_create(&NOTHING_IN_COMMON).get();
            assert_eq!(flaw, i64::from(!well), "{because}");
        }
    }
}
