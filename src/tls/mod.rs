//! Certificates of our servers: one provider, one function that makes every server configuration, reloaded when the
//! files change. Private keys are never logged.

pub mod check;
pub mod cluster_profile;
pub mod crypto;
mod files;
pub mod mint;
pub mod report;
#[cfg(test)]
mod tests;
pub mod validity;

use std::sync::Arc;

use rustls::{ServerConfig, crypto::CryptoProvider};

use check::Presented;
pub use files::{Clock, Files, LOOK, Stand};

/// Installs the usual provider, for programs without settings for it.
pub fn install_provider() -> anyhow::Result<()> {
    crypto::install(&crypto::Wanted::default()).map(drop)
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
