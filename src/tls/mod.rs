//! Certificates of our servers: one provider, one function that makes every server configuration, reloaded when the
//! files change. Private keys are never logged.

pub mod check;
pub mod cluster_profile;
pub mod crypto;
pub mod mint;
pub mod report;
#[cfg(test)]
mod tests;
pub mod validity;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustls::{ServerConfig, crypto::CryptoProvider};
use tokio::sync::watch;

use check::{Flaw, Presented};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Installs the usual provider, for programs without settings for it.
pub fn install_provider() -> anyhow::Result<()> {
    crypto::install(&crypto::Wanted::default()).map(drop)
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

    /// Serves what the files hold, also after they change; a bad change is logged and the last good pair stays. The files
    /// are read anew, and not watched: a Secret's volume is swapped as a whole, of which a watch on a file hears nothing.
    /// `told` hears when what is served ends, in seconds since 1970, or why something new is not.
    pub async fn serve(
        &self,
        live: watch::Sender<Option<Arc<ServerConfig>>>,
        told: impl Fn(Result<i64, &'static str>) + Send,
    ) {
        self.follow(LOOK, live, told).await;
    }

    async fn follow(
        &self,
        look: Duration,
        live: watch::Sender<Option<Arc<ServerConfig>>>,
        told: impl Fn(Result<i64, &'static str>) + Send,
    ) {
        let mut last = None;
        loop {
            let now = self.print();
            if last.as_ref() != Some(&now) {
                let new = self.read().and_then(|it| {
                    let until = it.chain.first().and_then(validity::until);
                    Ok((server(it)?, until))
                });
                match new {
                    Ok((config, until)) => {
                        live.send_replace(Some(Arc::new(config)));
                        told(Ok(until.unwrap_or_default()));
                        tracing::info!(file = %self.certificate.display(), "Serving a certificate");
                    }
                    Err(error) => {
                        let why = format!("{error:#}");
                        told(Err(error.downcast_ref().map_or("Unreadable", Flaw::reason)));
                        tracing::warn!(
                            why,
                            "The new certificate can't be used; the last good one stays"
                        );
                    }
                }
                last = Some(now);
            }
            tokio::time::sleep(look).await;
        }
    }

    /// What tells one state of the files from another: their bytes.
    fn print(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (std::fs::read(&self.certificate).ok(), std::fs::read(&self.key).ok())
    }
}

/// The one function that every server's configuration comes from.
pub fn server(presented: Presented) -> anyhow::Result<ServerConfig> {
    server_by(crypto::installed()?, presented)
}

/// The same by another provider than this process's.
pub fn server_by(
    provider: Arc<CryptoProvider>,
    presented: Presented,
) -> anyhow::Result<ServerConfig> {
    let mut config =
        crypto::server(provider, None)?.with_single_cert(presented.chain, presented.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    crypto::proven("the server", config.fips())?;
    Ok(config)
}

/// What is asked of a server beside its certificate.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub http2: bool,
    pub callers: Option<crypto::Callers>,
}

impl Manner {
    /// A server with the same certificate in this manner, by this provider or by that of this process.
    pub fn apply(
        &self,
        config: &ServerConfig,
        provider: Option<Arc<CryptoProvider>>,
    ) -> anyhow::Result<ServerConfig> {
        let provider = provider.map_or_else(crypto::installed, Ok)?;
        let resolver = Arc::clone(&config.cert_resolver);
        let mut other =
            crypto::server(provider, self.callers.as_ref())?.with_cert_resolver(resolver);
        let newer = self.http2.then(|| b"h2".to_vec());
        other.alpn_protocols = newer.into_iter().chain([b"http/1.1".to_vec()]).collect();
        crypto::proven("the server", other.fips())?;
        Ok(other)
    }
}

/// A few random bytes; none where there are none to be had.
pub fn chance() -> Option<[u8; 4]> {
    let mut bytes = [0; 4];
    ::aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}

/// Random hex, fresh in each process: tells two lives of one pod apart.
pub fn nonce() -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 8];
    ::aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the random number generator gave nothing"))?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
