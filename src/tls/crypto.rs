//! The one seam of cryptography: the provider that every client and server of this process takes, made from settings, and
//! proof of what it is. TLS versions follow from its suites.

use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use rustls::{
    ClientConfig, NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    server::ResolvesServerCertUsingSni,
};
use serde::Serialize;

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

/// What is in use, for people and auditors. No claim is made beyond what it says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub module: &'static str,
    pub version: &'static str,
    pub fips_module: Option<u32>,
    /// The module says that it runs in FIPS mode.
    pub fips_mode: bool,
    /// What rustls says of the configurations that it is given.
    pub configs: Configs,
    /// Whether the kernel was booted in FIPS mode; the module does not ask for it.
    pub kernel_fips: bool,
    pub protocol_versions: Vec<String>,
    pub cipher_suites: Vec<String>,
    pub groups: Vec<String>,
    pub words: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Configs {
    pub client: bool,
    pub server: bool,
}

/// Installs the provider; first thing in `main`. A FIPS build that can't prove what it is does not start.
pub fn install(wanted: &Wanted) -> anyhow::Result<Report> {
    provider(wanted)?
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed before"))?;
    let report = report()?;
    let proven = report.fips_mode && report.configs.client && report.configs.server;
    anyhow::ensure!(
        proven || !cfg!(feature = "fips"),
        "this build uses FIPS cryptography or none, and can't prove it: {}",
        serde_json::to_string(&report)?
    );
    Ok(report)
}

/// What rustls has of what is asked for, in the order in which it is asked for.
fn provider(wanted: &Wanted) -> anyhow::Result<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let is_modern = |it: &SupportedCipherSuite| it.version() == &rustls::version::TLS13;
    match wanted.profile {
        Profile::Intermediate => {}
        Profile::Modern => provider.cipher_suites.retain(is_modern),
        Profile::Custom => {
            let known = |it: &SupportedCipherSuite| {
                wanted.suites.iter().any(|want| want.eq_ignore_ascii_case(&suite_name(it)))
            };
            provider.cipher_suites.retain(known);
        }
    }
    let all = aws_lc_rs::ALL_KX_GROUPS;
    let find = |want: &str| {
        all.iter().copied().find(|it| want.eq_ignore_ascii_case(&format!("{:?}", it.name())))
    };
    provider.kx_groups = if wanted.groups.is_empty() {
        GROUPS.iter().filter_map(|want| find(&format!("{want:?}"))).collect()
    } else {
        wanted.groups.iter().filter_map(|it| find(it)).collect()
    };
    if cfg!(feature = "fips") {
        provider.kx_groups.retain(|it: &&dyn SupportedKxGroup| it.fips());
        provider.cipher_suites.retain(SupportedCipherSuite::fips);
    }
    anyhow::ensure!(
        !provider.cipher_suites.is_empty(),
        "nothing is left of --tls-cipher-suites: name some of {}",
        aws_lc_rs::ALL_CIPHER_SUITES.iter().map(suite_name).collect::<Vec<_>>().join(", ")
    );
    anyhow::ensure!(
        !provider.kx_groups.is_empty(),
        "nothing is left of --tls-groups: name some of {}",
        all.iter().map(|it| format!("{:?}", it.name())).collect::<Vec<_>>().join(", ")
    );
    Ok(provider)
}

/// As IANA calls it.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// The beginning of every server's configuration.
pub fn server()
-> anyhow::Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>> {
    let builder = ServerConfig::builder_with_provider(installed()?);
    Ok(builder.with_protocol_versions(&VERSIONS)?.with_no_client_auth())
}

/// A client's configuration that trusts these authorities. The client of the API server takes the same provider by itself.
pub fn client(roots: RootCertStore) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(installed()?);
    Ok(builder
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn installed() -> anyhow::Result<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().context("no crypto provider is installed")
}

/// What the installed provider is.
pub fn report() -> anyhow::Result<Report> {
    let provider = installed()?;
    let no_certificate = Arc::new(ResolvesServerCertUsingSni::new());
    let server = server()?.with_cert_resolver(no_certificate);
    let client = client(RootCertStore::empty())?;
    let fips_mode = ::aws_lc_rs::try_fips_mode().is_ok();
    let mut versions: Vec<String> =
        provider.cipher_suites.iter().map(|it| format!("{:?}", it.version().version)).collect();
    versions.dedup();
    let kernel = std::fs::read_to_string("/proc/sys/crypto/fips_enabled").unwrap_or_default();
    Ok(Report {
        module: if fips_mode { "AWS-LC FIPS" } else { "AWS-LC" },
        version: ::aws_lc_rs::awslc_version(),
        fips_module: ::aws_lc_rs::fips_version(),
        fips_mode,
        configs: Configs { client: client.fips(), server: server.fips() },
        kernel_fips: kernel.trim() == "1",
        protocol_versions: versions,
        cipher_suites: provider.cipher_suites.iter().map(suite_name).collect(),
        groups: provider.kx_groups.iter().map(|it| format!("{:?}", it.name())).collect(),
        words: if fips_mode {
            "FIPS-capable build: links AWS-LC FIPS 4.x, which is on NIST's Modules In Process list"
        } else {
            "not a FIPS build"
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &Wanted) -> (Vec<String>, Vec<String>) {
        let it = provider(wanted).unwrap();
        let groups = it.kx_groups.iter().map(|it| format!("{:?}", it.name())).collect();
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
            suites: vec!["TLS_AES_256_GCM_SHA384".into(), "TLS_RSA_WITH_3DES_EDE_CBC_SHA".into()],
            groups: vec!["secp384r1".into(), "X25519MLKEM768".into(), "brainpool".into()],
        };
        let want = (
            vec!["TLS_AES_256_GCM_SHA384".to_owned()],
            vec!["secp384r1".to_owned(), "X25519MLKEM768".to_owned()],
        );
        assert_eq!(names(&custom), want, "what is known of it, as asked");
    }

    #[test]
    fn an_empty_set_is_refused_and_names_what_there_is() {
        let nothing = Wanted { profile: Profile::Custom, ..Wanted::default() };
        let told = provider(&nothing).unwrap_err().to_string();
        assert!(told.contains("--tls-cipher-suites") && told.contains("TLS_AES_128_GCM"), "{told}");
        let groups = Wanted { groups: vec!["sect163k1".into()], ..Wanted::default() };
        let told = provider(&groups).unwrap_err().to_string();
        assert!(told.contains("--tls-groups") && told.contains("secp256r1"), "{told}");
    }

    #[test]
    fn the_report_claims_no_more_than_the_module_says() {
        let _ = install(&Wanted::default());
        let report = report().unwrap();
        assert_eq!(report.fips_mode, cfg!(feature = "fips"));
        assert_eq!(report.configs.server, cfg!(feature = "fips"));
        let text = serde_json::to_string(&report).unwrap().to_lowercase();
        assert!(!text.contains("validated") && !text.contains("certified"), "{text}");
        assert!(text.contains("aws-lc") && text.contains("tlsv1_3"), "{text}");
    }
}
