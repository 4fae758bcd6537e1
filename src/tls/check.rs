//! Whether a caller would accept what a server presents, and the reason where not; asked before anything is served.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    CertificateError, Error, RootCertStore, SignatureAlgorithm,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _, verify_server_name},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

/// Why what is there can't be served. Its words are metric labels and reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("there is no certificate")]
    Missing,
    #[error("the certificate is no PEM, or cut short")]
    Unreadable,
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotValidYet,
    #[error("the certificate is not for {0}")]
    WrongName(String),
    #[error("the certificate does not lead to what callers trust")]
    Untrusted,
    #[error("the key is too weak: serve one of P-256, P-384, or RSA of 2048 bits or more")]
    WeakKey,
    #[error("a certificate is signed by way of SHA-1 or MD5, which no caller accepts")]
    WeakSignature,
    #[error("the certificate can't be used: {0}")]
    Other(String),
}

impl Flaw {
    /// All that [`Self::reason`] says.
    pub const REASONS: [&str; 10] = [
        "Missing",
        "Unreadable",
        "KeyMismatch",
        "Expired",
        "NotValidYet",
        "WrongName",
        "Untrusted",
        "WeakKey",
        "WeakSignature",
        "Unusable",
    ];

    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Unreadable => "Unreadable",
            Self::KeyMismatch => "KeyMismatch",
            Self::Expired => "Expired",
            Self::NotValidYet => "NotValidYet",
            Self::WrongName(_) => "WrongName",
            Self::Untrusted => "Untrusted",
            Self::WeakKey => "WeakKey",
            Self::WeakSignature => "WeakSignature",
            Self::Other(_) => "Unusable",
        }
    }
}

const ED25519: SignatureAlgorithm = SignatureAlgorithm::ED25519;
/// Algorithms as certificates name them: RSA keys; RSA with MD5 and with SHA-1, and ECDSA with SHA-1.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const WEAK_SIGNATURES: [&[u8]; 3] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04",
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05",
    b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01",
];

/// A chain with its key.
#[derive(Debug)]
pub struct Presented {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Presented {
    /// Reads PEM.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Flaw::Unreadable)?;
        let provider = CryptoProvider::get_default().ok_or(Flaw::Unreadable)?;
        if chain.iter().any(|it| holds(it, &WEAK_SIGNATURES)) {
            return Err(Flaw::WeakSignature);
        }
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), provider) {
            Ok(it) if cfg!(feature = "fips") && it.key.algorithm() == ED25519 => Err(Flaw::WeakKey),
            Ok(_) => Ok(Self { chain, key }),
            // A key of RSA that is not taken is one that is too short: it could be read as a key.
            Err(Error::General(_)) if chain.first().is_some_and(|it| holds(it, &[RSA])) => {
                Err(Flaw::WeakKey)
            }
            Err(Error::InconsistentKeys(_)) => Err(Flaw::KeyMismatch),
            Err(Error::InvalidCertificate(_)) => Err(Flaw::Unreadable),
            Err(error) => Err(Flaw::Other(error.to_string())),
        }
    }

    /// Whether it is for a server of this name, whoever signed it.
    pub fn is_for(&self, name: &str) -> bool {
        let leaf = self.chain.first().and_then(|it| ParsedCertificate::try_from(it).ok());
        let name = ServerName::try_from(name).ok();
        leaf.zip(name).is_some_and(|(leaf, name)| verify_server_name(&leaf, &name).is_ok())
    }

    /// Whether who trusts this bundle would accept it under a name, at a time in seconds since 1970.
    pub fn accepted(&self, bundle: &[u8], name: &str, now: i64) -> Result<(), Flaw> {
        accepted(&self.chain, bundle, name, now)
    }
}

/// Whether who trusts this bundle, PEM, would accept a chain under a name, at a time in seconds since 1970.
pub fn accepted(
    chain: &[CertificateDer<'_>],
    bundle: &[u8],
    name: &str,
    now: i64,
) -> Result<(), Flaw> {
    let (Some((leaf, others)), Some(provider)) =
        (chain.split_first(), CryptoProvider::get_default())
    else {
        return Err(Flaw::Missing);
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(bundle)?);
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|_| Flaw::Untrusted)?;
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| Flaw::Other(format!("{name:?} is no name")))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.max(0).unsigned_abs()));
    let outcome = verifier.verify_server_cert(leaf, others, &server, &[], time);
    outcome.map(drop).map_err(|error| flaw(error, name))
}

/// Whether a certificate names one of these algorithms.
fn holds(certificate: &CertificateDer<'_>, names: &[&[u8]]) -> bool {
    names.iter().any(|it| memchr::memmem::find(certificate, it).is_some())
}

fn flaw(error: Error, name: &str) -> Flaw {
    use CertificateError as Bad;
    match error {
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => Flaw::Expired,
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            Flaw::NotValidYet
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            Flaw::WrongName(name.into())
        }
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Flaw::Untrusted,
        error => Flaw::Other(error.to_string()),
    }
}

/// The certificates of a PEM text: at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    if pem.is_empty() {
        return Err(Flaw::Missing);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|it| !it.is_empty()).ok_or(Flaw::Unreadable)
}

/// SHA-256 of a certificate, as lower-case hex.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    use std::fmt::Write as _;
    let digest = digest(&SHA256, certificate);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The authorities of a PEM file: at least one, and each of them one that can be used.
pub fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let file = path.display();
    let pem = std::fs::read(path).with_context(|| format!("{file} can't be read"))?;
    authorities_in(&pem).with_context(|| format!("{file}"))
}

/// The same of a PEM text.
pub fn authorities_in(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    for it in certificates(pem)? {
        authorities.add(it).context("it holds what is no authority")?;
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::certificates::{Book, Canary, Mint as _, Seen, Step},
        tls::mint::ForNames,
    };

    const NAME: &str = "hooks.town.svc";
    const NOW: i64 = 1_800_000_000;

    fn mint(names: &[&str]) -> ForNames {
        // Tests of one process share it.
        let _ = crate::tls::crypto::install(&crate::tls::crypto::Wanted::default());
        ForNames { names: names.iter().map(|it| (*it).into()).collect(), leaf_life: None }
    }

    fn presented(book: &Book) -> Presented {
        Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_rotation_serves_is_accepted_under_every_bundle_of_it() {
        let mint = mint(&[NAME, "127.0.0.1"]);
        let seen = Seen {
            now: NOW,
            published: true,
            canary: Canary::Passed,
            wish: "1",
            retire_after: Some(5),
            settle: 0,
        };
        let first = Book::new(&mint, 1, NOW).unwrap();
        let step = |book: &Book, step| book.after(step, &seen, &mint).unwrap();
        let published = step(&step(&first, Step::Prepare), Step::Publish);
        let switched = step(&published, Step::Switch);
        let later = Seen { now: NOW + 9, ..seen };
        let retired = step(&switched, Step::Confirm).after(Step::Retire, &later, &mint).unwrap();
        for (bundle, because) in [(&first, "old"), (&published, "both"), (&retired, "new")] {
            let bundle = bundle.bundle();
            for name in [NAME, "127.0.0.1"] {
                let accepted = presented(&switched).accepted(bundle.as_bytes(), name, NOW);
                assert_eq!(accepted, Ok(()), "{because}, as {name}");
            }
        }
        let alone =
            Presented::read(switched.leaf.certificate.as_bytes(), switched.leaf.key.0.as_bytes());
        let told = alone.unwrap().accepted(first.bundle().as_bytes(), NAME, NOW);
        assert_eq!(told, Err(Flaw::Untrusted), "without the cross-signed certificate");
        assert_eq!(retired.chain(), switched.leaf.certificate, "nobody needs it any more");
    }

    #[test]
    fn every_bad_state_has_its_reason() {
        let mint = mint(&[NAME]);
        let (book, other) = (Book::new(&mint, 1, NOW).unwrap(), Book::new(&mint, 1, NOW).unwrap());
        let (chain, key) = (book.chain(), book.leaf.key.0.clone());
        let read = |chain: &str, key: &str| Presented::read(chain.as_bytes(), key.as_bytes());
        assert_eq!(read("", &key).unwrap_err(), Flaw::Missing);
        assert_eq!(read(&chain[..chain.len() / 2], &key).unwrap_err(), Flaw::Unreadable);
        assert_eq!(read(&chain, "no key").unwrap_err(), Flaw::Unreadable);
        assert_eq!(read(&chain, &other.leaf.key.0).unwrap_err(), Flaw::KeyMismatch);
        let (it, bundle) = (presented(&book), book.bundle());
        let ask = |name: &str, now| it.accepted(bundle.as_bytes(), name, now);
        assert_eq!(ask(NAME, NOW), Ok(()));
        assert_eq!(ask(NAME, NOW + 8 * 24 * 3600), Err(Flaw::Expired));
        assert_eq!(ask(NAME, NOW - 3600), Err(Flaw::NotValidYet));
        assert_eq!(ask("other.town.svc", NOW), Err(Flaw::WrongName("other.town.svc".into())));
        let stranger = it.accepted(other.bundle().as_bytes(), NAME, NOW);
        assert_eq!(stranger, Err(Flaw::Untrusted), "another authority of the same name");
    }

    #[test]
    fn a_stolen_authority_can_be_nobody_else() {
        let ours = mint(&[NAME]);
        let book = Book::new(&ours, 1, NOW).unwrap();
        for name in ["kubernetes.default.svc", "10.96.0.1"] {
            let leaf = mint(&[name]).leaf(&book.authority, NOW).unwrap();
            let forged =
                Presented::read(leaf.certificate.as_bytes(), leaf.key.0.as_bytes()).unwrap();
            let told = forged.accepted(book.bundle().as_bytes(), name, NOW);
            assert!(told.is_err(), "{name} was accepted");
        }
    }
}
