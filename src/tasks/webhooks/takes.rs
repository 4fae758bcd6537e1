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
        meters::{Flawed, Meters, NOTHING_FOR_METRICS, NOTHING_IN_COMMON},
    },
    tls,
};

/// What a server takes up.
#[derive(Debug)]
pub struct Takes {
    pub certificate: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub provider: watch::Receiver<Option<Arc<CryptoProvider>>>,
    /// Whose certificates callers are to show may change.
    pub manner: watch::Receiver<tls::Manner>,
    /// Counts callers that are turned away, and those that do not trust the certificate.
    pub alerts: Alerts,
    pub stand: Stand,
}

/// By which settings a server goes, and who hears where those that are asked for can't be met.
#[derive(Debug, Default)]
pub struct Stand {
    told: Option<Told>,
    good: Option<Arc<CryptoProvider>>,
    is_told: bool,
}

/// Who hears, and of whose settings: servers with certificates of their own may go by others than each other.
#[derive(Debug)]
struct Told {
    meters: Meters,
    degraded: Degraded,
    matter: Matter,
    flaw: Flawed,
}

impl Stand {
    /// Of the server whose troubles are those of the cluster's profile.
    pub fn telling(meters: &Meters, degraded: &Degraded) -> Self {
        Self::about((Matter::TlsProfile, NOTHING_IN_COMMON), meters, degraded)
    }

    /// Of the metrics', where they have a certificate of their own.
    pub fn of_metrics(meters: &Meters, degraded: &Degraded) -> Self {
        Self::about((Matter::MetricsTls, NOTHING_FOR_METRICS), meters, degraded)
    }

    fn about((matter, flaw): (Matter, Flawed), meters: &Meters, degraded: &Degraded) -> Self {
        let (meters, degraded) = (meters.clone(), degraded.clone());
        Self { told: Some(Told { meters, degraded, matter, flaw }), ..Self::default() }
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
        self.say(Some(format!(
            "what the cluster asks for can't be served; the last good one stays, if the certificate goes with it: {error:#}"
        )));
    }

    fn say(&self, why: Option<String>) {
        let Some(Told { meters, degraded, matter, flaw }) = &self.told else { return };
        meters.tls_profile_flaws.get_or_create(flaw).set(i64::from(why.is_some()));
        degraded.say(*matter, why.map(|text| Why { reason: flaw.reason, text }));
    }
}

impl Takes {
    /// What is to be served now; `None` until there is a certificate. An error where nobody could agree even with the settings
    /// that were good before, nor with those of this process.
    pub(super) fn now(&mut self) -> anyhow::Result<Option<Arc<ServerConfig>>> {
        let Some(config) = self.certificate.borrow_and_update().clone() else { return Ok(None) };
        let asked = self.provider.borrow_and_update().clone();
        let manner = self.manner.borrow_and_update().clone();
        let followed = asked.is_some();
        let by = |provider| made(&manner, &config, provider);
        let made = match by(asked.clone()) {
            Ok(made) => {
                self.stand.is_good(asked);
                made
            }
            Err(error) if followed => {
                self.stand.is_degraded(&error);
                // Nor need another certificate go with what was good for the one before: else that one would end, and nobody
                // be answered. A replica that begins now serves it by the settings of the process as well.
                by(self.stand.good.clone()).or_else(|_| by(None))?
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Arc::new(made)))
    }

    /// What is to be served after the next change of any of them; `None` once nobody keeps certificates any more.
    pub(super) async fn next(&mut self) -> Option<Arc<ServerConfig>> {
        loop {
            tokio::select! {
                it = self.certificate.changed() => it.ok()?,
                // Who follows no cluster, or no file, is gone at once.
                Ok(()) = self.provider.changed() => {}
                Ok(()) = self.manner.changed() => {}
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

fn made(
    manner: &tls::Manner,
    config: &ServerConfig,
    provider: Option<Arc<CryptoProvider>>,
) -> anyhow::Result<ServerConfig> {
    let made = manner.apply(config, provider)?;
    tls::crypto::met(&made).context(tls::crypto::UNMET)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{
        domain::certificates::Book,
        tls::crypto::{Profile, Wanted, suite_name},
    };

    /// Presents nothing, so that nobody can agree on anything.
    #[derive(Debug)]
    struct Nobody;

    impl rustls::server::ResolvesServerCert for Nobody {
        fn resolve(
            &self,
            _: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }

    fn unmet() -> Arc<ServerConfig> {
        let builder = tls::crypto::server(tls::crypto::installed().unwrap(), None).unwrap();
        Arc::new(builder.with_cert_resolver(Arc::new(Nobody)))
    }

    fn of_rsa() -> Arc<ServerConfig> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let made = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key);
        let (chain, key) = (made.unwrap().pem(), key.serialize_pem());
        let read = tls::check::Presented::read(chain.as_bytes(), key.as_bytes());
        Arc::new(tls::server(read.unwrap()).unwrap())
    }

    fn takes(
        live: &watch::Sender<Option<Arc<ServerConfig>>>,
        asked: &watch::Sender<Option<Arc<CryptoProvider>>>,
        (meters, degraded): (&Meters, &Degraded),
    ) -> Takes {
        Takes {
            certificate: live.subscribe(),
            provider: asked.subscribe(),
            manner: watch::Sender::new(tls::Manner::default()).subscribe(),
            alerts: Alerts::default(),
            stand: Stand::telling(meters, degraded),
        }
    }

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
        let mut takes = takes(&live, &asked, (&meters, &degraded));
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

    #[test]
    fn a_certificate_that_does_not_go_with_what_is_asked_for_is_served_as_at_the_start_and_that_is_told()
     {
        let (meters, degraded) = (Meters::default(), Degraded::default());
        let (live, asked) = (watch::Sender::new(Some(certificate())), watch::Sender::new(None));
        let mut takes = takes(&live, &asked, (&meters, &degraded));
        let is_degraded = || degraded.news().borrow().contains_key(&Matter::TlsProfile);
        let usual = suites(&takes.now().unwrap().unwrap());
        let ecdsa = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        asked.send_replace(Some(asks(&[ecdsa], &[])));
        let followed = suites(&takes.next().now_or_never().flatten().unwrap());
        assert_eq!((followed, is_degraded()), (vec![ecdsa.to_owned()], false));
        live.send_replace(Some(of_rsa()));
        let served = takes.next().now_or_never().flatten().expect("the new certificate is served");
        assert_eq!((suites(&served), is_degraded()), (usual, true));
        live.send_replace(Some(certificate()));
        let served = takes.next().now_or_never().flatten().unwrap();
        assert_eq!((suites(&served), is_degraded()), (vec![ecdsa.to_owned()], false));
    }

    #[test]
    fn what_nobody_could_agree_with_at_all_is_an_error_and_the_next_one_is_served() {
        let (meters, degraded) = (Meters::default(), Degraded::default());
        let (live, asked) = (watch::Sender::new(Some(certificate())), watch::Sender::new(None));
        let mut takes = takes(&live, &asked, (&meters, &degraded));
        assert!(takes.now().unwrap().is_some());
        live.send_replace(Some(unmet()));
        assert!(takes.next().now_or_never().is_none(), "the last one stays");
        let told = format!("{:#}", takes.now().unwrap_err());
        assert!(told.contains("ask for suites that fit its key"), "{told}");
        live.send_replace(Some(certificate()));
        assert!(takes.next().now_or_never().flatten().is_some(), "one that can be served again");
        assert!(degraded.news().borrow().is_empty(), "the cluster asked for nothing");
    }
}
