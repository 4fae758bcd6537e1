//! One certificate authority for each testbed, and a certificate for each client, so that the audit log
//! tells clients apart. Keys never leave the testbed's folder.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The group whose members may do anything without any role.
pub const MASTERS: &str = "system:masters";

/// Signs certificates. Kept in a folder, so that another process can go on signing with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, both PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// Makes a new one and writes `ca.crt` and `ca.key`.
    pub fn create(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate().context("failed to make a CA key")?;
        let parameters = authority_parameters();
        let certificate = parameters.self_signed(&key).context("failed to sign the CA")?.pem();
        write_secret(&folder.join("ca.key"), &key.serialize_pem())?;
        write_secret(&folder.join("ca.crt"), &certificate)?;
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// Takes up the one that [`Authority::create`] wrote.
    pub fn open(folder: &Path) -> Result<Self> {
        let key = KeyPair::from_pem(&read(&folder.join("ca.key"))?)
            .context("ca.key of the testbed is no key")?;
        Ok(Self {
            issuer: Issuer::new(authority_parameters(), key),
            certificate: read(&folder.join("ca.crt"))?,
        })
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// For a client: the name becomes the user, the organisation its group.
    pub fn client(&self, name: &str, group: Option<&str>) -> Result<Pair> {
        self.sign(name, group, &[])
    }

    /// For a server that is reached by these names and addresses; good as a client too (kubelet, API server).
    pub fn server(&self, name: &str, group: Option<&str>, reached_by: &[String]) -> Result<Pair> {
        self.sign(name, group, reached_by)
    }

    fn sign(&self, name: &str, group: Option<&str>, reached_by: &[String]) -> Result<Pair> {
        let mut parameters =
            CertificateParams::new(reached_by).with_context(|| format!("names of {name}"))?;
        parameters.distinguished_name.remove(DnType::CommonName);
        parameters.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            parameters.distinguished_name.push(DnType::OrganizationName, group);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !reached_by.is_empty() {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key =
            KeyPair::generate().with_context(|| format!("failed to make a key for {name}"))?;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("failed to sign the certificate of {name}"))?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let paths = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        write_secret(&paths.0, &self.certificate)?;
        write_secret(&paths.1, &self.key)?;
        Ok(paths)
    }
}

/// The key that signs ServiceAccount tokens: `sa.key` and `sa.pub`.
pub fn service_account_key(folder: &Path) -> Result<()> {
    let key = KeyPair::generate().context("failed to make the ServiceAccount key")?;
    write_secret(&folder.join("sa.key"), &key.serialize_pem())?;
    write_secret(&folder.join("sa.pub"), &key.public_key_pem())
}

/// Always the same, so that a key alone is enough to take up an authority.
fn authority_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.remove(DnType::CommonName);
    parameters.distinguished_name.push(DnType::CommonName, "gastown-testbed");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::CrlSign,
    ];
    parameters
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file =
        options.open(path).with_context(|| format!("failed to create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}
