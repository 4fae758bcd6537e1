//! Certificates of our servers: one provider, one function that makes every server configuration, reloaded when the
//! files change. Private keys are never logged.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Installs the one crypto provider; first thing in `main`.
pub fn install_provider() -> anyhow::Result<()> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
    ];
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed before"))
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
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("no private key can be read from {}", self.key.display()))?;
        let provider =
            CryptoProvider::get_default().context("no crypto provider is installed")?.clone();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .with_context(|| {
                format!(
                    "{} and {} don't go together",
                    self.certificate.display(),
                    self.key.display()
                )
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Serves what the files hold, also after they change; a bad change is logged and the last good pair stays.
    pub async fn serve(&self, live: RustlsConfig) {
        let mut last = self.print();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.print();
            if now == last {
                continue;
            }
            match self.load() {
                Ok(config) => {
                    live.reload_from_config(Arc::new(config));
                    last = now;
                    tracing::info!(file = %self.certificate.display(), "Serving a new certificate");
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::warn!(
                        why,
                        "The new certificate can't be used; the last good one stays"
                    );
                }
            }
        }
    }

    /// What tells one state of the files from another: their bytes.
    fn print(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (std::fs::read(&self.certificate).ok(), std::fs::read(&self.key).ok())
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("no certificate can be read from {}", path.display()))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} holds no valid PEM certificate", path.display()))?;
    anyhow::ensure!(!chain.is_empty(), "{} holds no certificate", path.display());
    Ok(chain)
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
