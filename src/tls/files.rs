//! A certificate in files that others lay there: served also after they change, for as long as callers would take it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio::sync::watch;

use super::{
    check::{Flaw, Presented},
    crypto, server, validity,
};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(5);

/// The time, in seconds since 1970, by which certificates are judged, and how often files are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: fn() -> i64,
    pub look: Duration,
}

/// The files of a server certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// Reads chain and key. The error says which file, and what is wrong with it.
    pub fn load(&self) -> anyhow::Result<ServerConfig> {
        server(self.read()?)
    }

    /// The same, as it is before a server has it.
    pub fn read(&self) -> anyhow::Result<Presented> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))
        };
        let presented = Presented::read(&read(&self.certificate)?, &read(&self.key)?);
        presented.with_context(|| format!("{certificate} and {key} can't be served"))
    }

    /// The authority that was laid beside the certificate, in PEM, as cert-manager does; empty where there is none.
    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.certificate.with_file_name("ca.crt")).unwrap_or_default()
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.certificate.exists()
    }

    /// Serves what the files hold, also after they change; a bad change is logged, and the last good pair stays for as long as
    /// it is valid. The files are read anew, and not watched: a Secret's volume is swapped as a whole, of which a watch on a file
    /// hears nothing. `names`: by which callers may come; a pair for none of them does not replace one for any. `told` hears how
    /// that stands.
    pub async fn serve(
        &self,
        live: watch::Sender<Option<Arc<ServerConfig>>>,
        (names, clock): (&[String], Clock),
        told: impl Fn(Stand) + Send,
    ) {
        let (mut seen, mut served) = (None, Served::default());
        loop {
            let now = self.print();
            let changed = seen.as_ref() != Some(&now);
            // One that is not valid yet will be, without a change of the files.
            if changed || served.waits {
                let reason = served.take(self.read(), names, (clock.now)(), &live);
                if let (Some(reason), true) = (reason, changed) {
                    let file = self.certificate.display();
                    tracing::warn!(reason, %file, "The new certificate is of no use to callers");
                }
                told(Stand { until: served.until, reason });
            }
            seen = Some(now);
            tokio::time::sleep(clock.look).await;
        }
    }

    /// What tells one state of the files from another: their bytes.
    fn print(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (std::fs::read(&self.certificate).ok(), std::fs::read(&self.key).ok())
    }
}

/// How the certificate in files stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// When what is served ends, in seconds since 1970; 0 where that is not known, or nothing is served.
    pub until: i64,
    /// Why what the files hold is not served, or is of no use.
    pub reason: Option<&'static str>,
}

/// What is served of files.
#[derive(Default)]
struct Served {
    until: i64,
    reason: Option<&'static str>,
    /// Whether it is for a name by which callers may come.
    fits: bool,
    /// Whether what the files hold is to be looked at again although they stay as they are.
    waits: bool,
}

impl Served {
    /// Takes up what was read, unless callers would take what is served instead of it; what is wrong with it.
    fn take(
        &mut self,
        read: anyhow::Result<Presented>,
        names: &[String],
        now: i64,
        live: &watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Option<&'static str> {
        self.waits = false;
        let read = read.and_then(|it| {
            let valid = it.chain.first().and_then(validity::of).unwrap_or_default();
            let fits = names.iter().any(|name| it.is_for(name));
            let config = server(it)?;
            // The first one goes on all the same: that nobody can agree with it ends the start, which says so.
            if live.borrow().is_some() {
                let flaw = |error| Flaw::Other(format!("{}: {error}", crypto::UNMET));
                crypto::met(&config).map_err(flaw)?;
            }
            Ok((valid, fits, config))
        });
        let ((from, until), fits, config) = match read {
            Ok(it) => it,
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(why, "The new certificate can't be used; the last good one stays");
                return Some(error.downcast_ref().map_or("Unreadable", Flaw::reason));
            }
        };
        self.waits = now < from;
        let reason = if self.waits {
            Some(Flaw::NotValidYet.reason())
        } else if until != 0 && now >= until {
            Some(Flaw::Expired.reason())
        } else {
            // Where callers come by other names, nobody here knows them.
            (self.fits && !fits).then_some(Flaw::WrongName(String::new()).reason())
        };
        if reason.is_none() || self.reason.is_some() || now >= self.until {
            live.send_replace(Some(Arc::new(config)));
            tracing::info!(until, "Serving a certificate");
            (self.until, self.reason, self.fits) = (until, reason, fits);
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::{domain::certificates::Book, tls::mint::ForNames};

    /// 2027, when the certificates of these tests are made.
    const NOW: i64 = 1_800_000_000;
    static TIME: AtomicI64 = AtomicI64::new(NOW);

    #[tokio::test]
    async fn files_tell_when_what_they_hold_ends_and_why_it_is_not_served() {
        crate::tls::install_provider().unwrap_or_default();
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let of = |name: &str, made| {
            let mint = ForNames { names: vec![name.to_owned()], leaf_life: None };
            Book::new(&mint, 1, made).unwrap()
        };
        let (day, book) = (24 * 3600, of("a", NOW));
        lay_file(&files.certificate, &book.chain());
        lay_file(&files.key, &book.leaf.key.0);
        let (say, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (live, paths) = (tokio::sync::watch::Sender::new(None), files.clone());
        let served = live.subscribe();
        let clock = Clock {
            now: || TIME.load(Ordering::SeqCst),
            look: std::time::Duration::from_millis(5),
        };
        let serving = tokio::spawn(async move {
            let names = ["other".to_owned(), "a".to_owned()];
            files.serve(live, (&names, clock), |it| say.send(it).unwrap()).await;
        });
        let now = || served.borrow().clone().map(|it| Arc::as_ptr(&it) as usize);
        let until = book.leaf.life.until;
        let well = Stand { until, reason: None };
        assert_eq!(told.recv().await, Some(well));
        // Both files at once would be seen half.
        let mut lay = async |book: &Book| {
            lay_file(&paths.certificate, &book.chain());
            lay_file(&paths.key, &book.leaf.key.0);
            loop {
                let stand = told.recv().await.unwrap();
                if stand.reason != Some("KeyMismatch") {
                    return stand;
                }
            }
        };
        let good = now();
        for (name, made, reason) in [
            ("stranger", NOW, "WrongName"),
            ("a", NOW - 30 * day, "Expired"),
            ("a", NOW + day, "NotValidYet"),
        ] {
            let useless = of(name, made);
            assert_eq!(lay(&useless).await, Stand { until, reason: Some(reason) });
            assert_eq!(now(), good, "{reason}: callers take what was served, and it stays");
        }
        // It becomes valid, and nobody touches the files.
        TIME.store(NOW + day, Ordering::SeqCst);
        let later = loop {
            let stand = told.recv().await.unwrap();
            if stand.reason.is_none() {
                break stand;
            }
        };
        assert!(later.until > until && now() != good, "{later:?}");
        lay_file(&paths.certificate, "cut short");
        let stand = Stand { reason: Some("Unreadable"), ..later };
        assert_eq!(told.recv().await, Some(stand), "the last good one stays");
        serving.abort();
    }

    /// As a whole, as a Secret's volume is swapped.
    fn lay_file(path: &Path, text: &str) {
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, path).unwrap();
    }
}
