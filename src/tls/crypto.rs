//! The one seam of cryptography: the provider that every client and server of this process takes, made from settings. TLS
//! versions follow from its suites.

use std::{io, net::Ipv4Addr, sync::Arc};

use anyhow::Context as _;
use clap::ValueEnum;
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::ServerName,
    server::WebPkiClientVerifier,
};

use super::{check::Presented, report::Report};

/// Groups where none are asked for. The hybrid one with ML-KEM is used where it is asked for.
const GROUPS: [NamedGroup; 3] = [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// A named set of protocol versions and suites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Profile {
    /// TLS 1.2 and 1.3.
    #[default]
    Intermediate,
    /// TLS 1.3 alone.
    Modern,
    /// The suites and groups that are named.
    Custom,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub profile: Profile,
    /// By IANA's names; only with [`Profile::Custom`].
    pub suites: Vec<String>,
    /// By IANA's names; empty: the usual ones.
    pub groups: Vec<String>,
}

/// Installs the provider; first thing in `main`. A FIPS build that can't prove what it is does not start.
pub fn install(wanted: &Wanted) -> anyhow::Result<Report> {
    wanted
        .provider()?
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed before"))?;
    let report = Report::of_this_process()?;
    if cfg!(feature = "fips")
        && let Some(why) = report.unproven()
    {
        let found = serde_json::to_string(&report)?;
        anyhow::bail!(
            "this build uses FIPS cryptography or none, and can't prove it: {why}; found {found}"
        );
    }
    Ok(report)
}

impl Wanted {
    /// What rustls has of what is asked for, in the order in which it is asked for. A name that it does not have is refused.
    pub fn provider(&self) -> anyhow::Result<CryptoProvider> {
        let suites = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|it| (suite_name(it), it.fips()));
        let groups = aws_lc_rs::ALL_KX_GROUPS.iter().map(|it| (group_name(*it), it.fips()));
        let (suites, groups): (Vec<_>, Vec<_>) = (suites.collect(), groups.collect());
        known("--tls-cipher-suites", &self.suites, &suites)?;
        known("--tls-groups", &self.groups, &groups)?;
        let provider = self.intersection();
        left("--tls-cipher-suites", provider.cipher_suites.len(), &suites)?;
        left("--tls-groups", provider.kx_groups.len(), &groups)?;
        let fits = |it: &SupportedCipherSuite| {
            let version = it.version().version;
            provider.kx_groups.iter().any(|it| it.usable_for_version(version))
        };
        anyhow::ensure!(
            provider.cipher_suites.iter().any(fits),
            "no group of --tls-groups is of a version that --tls-cipher-suites leave: the hybrid is of TLS 1.3; name secp256r1 \
             beside it, or a suite of TLS 1.3"
        );
        Ok(provider)
    }

    /// The same, where names that rustls does not have count for nothing; what is left may be none.
    pub fn intersection(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        let is_modern = |it: &SupportedCipherSuite| it.version() == &rustls::version::TLS13;
        match self.profile {
            Profile::Intermediate => {}
            Profile::Modern => provider.cipher_suites.retain(is_modern),
            Profile::Custom => {
                let asked = |it: &SupportedCipherSuite| named(&self.suites, &suite_name(it));
                provider.cipher_suites.retain(asked);
            }
        }
        let find = |want: &str| {
            let all = aws_lc_rs::ALL_KX_GROUPS.iter().copied();
            all.into_iter().find(|it| want.eq_ignore_ascii_case(&group_name(*it)))
        };
        provider.kx_groups = if self.groups.is_empty() {
            GROUPS.iter().filter_map(|want| find(&format!("{want:?}"))).collect()
        } else {
            self.groups.iter().filter_map(|it| find(it)).collect()
        };
        if cfg!(feature = "fips") {
            provider.kx_groups.retain(|it: &&dyn SupportedKxGroup| it.fips());
            provider.cipher_suites.retain(SupportedCipherSuite::fips);
        }
        provider
    }
}

fn named(all: &[String], name: &str) -> bool {
    all.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// A name, and whether it is approved.
type Name = (String, bool);

/// One that is misspelt would be missing in silence.
fn known(flag: &str, asked: &[String], there: &[Name]) -> anyhow::Result<()> {
    let is = |name: &str| there.iter().any(|it| it.0.eq_ignore_ascii_case(name));
    let unknown: Vec<_> = asked.iter().filter(|it| !is(it)).cloned().collect();
    let unknown = unknown.join(", ");
    anyhow::ensure!(
        unknown.is_empty(),
        "{flag}: there is no {unknown}; there are {}",
        usable(there)
    );
    Ok(())
}

fn left(flag: &str, count: usize, there: &[Name]) -> anyhow::Result<()> {
    anyhow::ensure!(count > 0, "nothing is left of {flag}: name some of {}", usable(there));
    Ok(())
}

/// What this build may use.
fn usable(there: &[Name]) -> String {
    let fit = there.iter().filter(|it| it.1 || !cfg!(feature = "fips"));
    fit.map(|it| it.0.as_str()).collect::<Vec<_>>().join(", ")
}

/// As IANA calls it.
pub fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// As IANA calls it.
pub fn group_name(group: &dyn SupportedKxGroup) -> String {
    format!("{:?}", group.name())
}

/// The beginning of every server's configuration.
pub fn server(
    provider: Arc<CryptoProvider>,
    callers: Option<&Callers>,
) -> anyhow::Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&VERSIONS)?;
    let Some(Callers { authorities, required }) = callers else {
        return Ok(builder.with_no_client_auth());
    };
    let check = WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), provider);
    let check = if *required { check } else { check.allow_unauthenticated() };
    Ok(builder.with_client_cert_verifier(check.build()?))
}

/// Whose certificates callers are to show.
#[derive(Clone, Debug)]
pub struct Callers {
    pub authorities: Arc<RootCertStore>,
    /// Who shows none is turned away; else only who shows another's.
    pub required: bool,
}

/// A client's configuration that trusts these authorities. The client of the API server takes the same provider by itself.
pub fn client(roots: RootCertStore) -> anyhow::Result<ClientConfig> {
    client_that_shows(roots, None)
}

/// The same of one that shows a certificate where it is asked for one.
pub fn client_that_shows(
    roots: RootCertStore,
    own: Option<Presented>,
) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(installed()?);
    let builder = builder.with_protocol_versions(&VERSIONS)?.with_root_certificates(roots);
    let config = match own {
        Some(it) => builder.with_client_auth_cert(it.chain, it.key)?,
        None => builder.with_no_client_auth(),
    };
    proven("a client", config.fips())?;
    Ok(config)
}

/// What is wrong, and what to do, where nobody can.
pub const UNMET: &str = "with these TLS suites and groups no caller can agree on a handshake with the certificate: ask for suites that \
                         fit its key, or for those of TLS 1.3, and for groups of the versions that they are of";

/// Whether anybody can agree on a handshake with a server: a caller who has all that there is says hello to it, in memory.
pub fn met(server: &ServerConfig) -> Result<(), rustls::Error> {
    let mut all = aws_lc_rs::default_provider();
    all.cipher_suites = aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
    all.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
    if cfg!(feature = "fips") {
        // The server has no others either.
        all.kx_groups.retain(|it: &&dyn SupportedKxGroup| it.fips());
        all.cipher_suites.retain(SupportedCipherSuite::fips);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(all));
    let caller = builder
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let mut caller = ClientConnection::new(Arc::new(caller), name)?;
    let mut server = ServerConnection::new(Arc::new(server.clone()))?;
    let mut hello = Vec::new();
    let unsaid = |it: io::Error| rustls::Error::General(it.to_string());
    caller.write_tls(&mut hello).map_err(unsaid)?;
    server.read_tls(&mut hello.as_slice()).map_err(unsaid)?;
    // Who does not agree says so at once; nobody looks at the answer.
    server.process_new_packets().map(drop)
}

/// Refuses a configuration that a FIPS build may not use.
pub fn proven(what: &str, fips: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        fips || !cfg!(feature = "fips"),
        "{what} may use what is not approved, and this build uses FIPS cryptography or none"
    );
    Ok(())
}

/// The provider of this process.
pub fn installed() -> anyhow::Result<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().context("no crypto provider is installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &Wanted) -> (Vec<String>, Vec<String>) {
        let it = wanted.provider().unwrap();
        let groups = it.kx_groups.iter().map(|it| group_name(*it)).collect();
        (it.cipher_suites.iter().map(suite_name).collect(), groups)
    }

    #[test]
    fn a_profile_says_which_suites_and_groups_there_are() {
        let (suites, groups) = names(&Wanted::default());
        assert!(suites.iter().any(|it| it.contains("ECDHE")), "TLS 1.2 too: {suites:?}");
        assert!(
            !groups.iter().any(|it| it.contains("MLKEM")),
            "the hybrid is asked for: {groups:?}"
        );
        let modern = Wanted { profile: Profile::Modern, ..Wanted::default() };
        assert!(!names(&modern).0.iter().any(|it| it.contains("ECDHE")), "TLS 1.3 alone");
        let custom = Wanted {
            profile: Profile::Custom,
            suites: vec!["TLS_AES_256_GCM_SHA384".into()],
            groups: vec!["secp384r1".into(), "X25519MLKEM768".into()],
        };
        let want = (
            vec!["TLS_AES_256_GCM_SHA384".to_owned()],
            vec!["secp384r1".to_owned(), "X25519MLKEM768".to_owned()],
        );
        assert_eq!(names(&custom), want, "as asked, in that order");
    }

    #[test]
    fn what_there_is_not_is_refused_and_told_what_there_is() {
        let nothing = Wanted { profile: Profile::Custom, ..Wanted::default() };
        let told = nothing.provider().unwrap_err().to_string();
        assert!(told.contains("--tls-cipher-suites") && told.contains("TLS_AES_128_GCM"), "{told}");
        let asked = || vec!["secp256r1".to_owned(), "secp257r1".into()];
        let groups = Wanted { groups: asked(), ..Wanted::default() };
        let told = groups.provider().unwrap_err().to_string();
        let there = told.contains("--tls-groups") && told.contains("secp384r1");
        assert!(there && told.contains("no secp257r1"), "one of two is misspelt: {told}");
        let apart = Wanted {
            profile: Profile::Custom,
            suites: vec!["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into()],
            groups: vec!["X25519MLKEM768".into()],
        };
        let told = apart.provider().map(drop).unwrap_err().to_string();
        // A FIPS build has nothing left of these groups.
        assert!(told.contains("--tls-groups"), "suites of TLS 1.2, a group of 1.3: {told}");
        let suites = vec!["TLS_RSA_WITH_3DES_EDE_CBC_SHA".into(), "TLS_AES_128_GCM_SHA256".into()];
        let suites = Wanted { profile: Profile::Custom, suites, ..Wanted::default() };
        let told = suites.provider().unwrap_err().to_string();
        assert!(told.contains("no TLS_RSA_WITH_3DES_EDE_CBC_SHA;"), "{told}");
        let left = suites.intersection().cipher_suites;
        assert_eq!(left.iter().map(suite_name).collect::<Vec<_>>(), ["TLS_AES_128_GCM_SHA256"]);
        let left = groups.intersection().kx_groups.len();
        assert_eq!(left, 1, "of what a cluster asks for, what is known counts");
    }
}
