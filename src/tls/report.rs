//! What cryptography is in use, for people and auditors, and the proof that a FIPS build asks of itself. No claim is made
//! beyond what it says.

use std::sync::Arc;

use rustls::{RootCertStore, server::ResolvesServerCertUsingSni};
use serde::Serialize;

use super::crypto;

/// The module that a FIPS build links: its number and its release. Another one may need other [`WORDS`], so a change of it
/// is one of these two lines as well.
const MODULE: (u32, &str) = (4, "4.2.0");
const WORDS: &str =
    "FIPS-capable build: links AWS-LC FIPS 4.x, which is on NIST's Modules In Process list";

/// What is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Configs {
    pub client: bool,
    pub server: bool,
}

impl Report {
    /// Asks the module that is linked, and rustls of the provider that is installed.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let provider = crypto::installed()?;
        let no_certificate = Arc::new(ResolvesServerCertUsingSni::new());
        let server =
            crypto::server(Arc::clone(&provider), None)?.with_cert_resolver(no_certificate);
        let client = crypto::client(RootCertStore::empty())?;
        let fips_mode = ::aws_lc_rs::try_fips_mode().is_ok();
        let version = |it: &rustls::SupportedCipherSuite| format!("{:?}", it.version().version);
        let mut versions: Vec<String> = provider.cipher_suites.iter().map(version).collect();
        versions.dedup();
        let kernel = std::fs::read_to_string("/proc/sys/crypto/fips_enabled").unwrap_or_default();
        Ok(Self {
            module: if fips_mode { "AWS-LC FIPS" } else { "AWS-LC" },
            version: ::aws_lc_rs::awslc_version(),
            fips_module: ::aws_lc_rs::fips_version(),
            fips_mode,
            configs: Configs { client: client.fips(), server: server.fips() },
            kernel_fips: kernel.trim() == "1",
            protocol_versions: versions,
            cipher_suites: provider.cipher_suites.iter().map(crypto::suite_name).collect(),
            groups: provider.kx_groups.iter().map(|it| crypto::group_name(*it)).collect(),
            words: if fips_mode { WORDS } else { "not a FIPS build" },
        })
    }

    /// What is missing of the proof that this is the module that was built for, and nothing but it is used.
    pub fn unproven(&self) -> Option<String> {
        let (number, release) = MODULE;
        let built_for = || format!("module {number} of release {release} was built for");
        if !self.fips_mode {
            Some("the module does not run in FIPS mode".into())
        } else if self.fips_module != Some(number) || self.version != release {
            Some(built_for())
        } else if !self.configs.client {
            Some("clients may use what is not approved".into())
        } else if !self.configs.server {
            Some("servers may use what is not approved".into())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::crypto::{Wanted, install};

    #[test]
    fn the_report_claims_no_more_than_the_module_says() {
        let _ = install(&Wanted::default());
        let report = Report::of_this_process().unwrap();
        let fips = cfg!(feature = "fips");
        assert_eq!(report.fips_mode, fips);
        assert_eq!(report.configs, Configs { client: fips, server: fips });
        assert_eq!(report.unproven().is_none(), fips, "{:?}", report.unproven());
        let text = serde_json::to_string(&report).unwrap().to_lowercase();
        assert!(!text.contains("validated") && !text.contains("certified"), "{text}");
        assert!(text.contains("aws-lc") && text.contains("tlsv1_3"), "{text}");
        let x25519 = report.groups.iter().any(|it| it == "X25519");
        assert_ne!(x25519, fips, "X25519 is in no FIPS build: {:?}", report.groups);
    }

    #[test]
    fn whatever_is_missing_of_the_proof_is_named() {
        let _ = install(&Wanted::default());
        let (number, release) = MODULE;
        let proven = Report {
            fips_mode: true,
            fips_module: Some(number),
            version: release,
            configs: Configs { client: true, server: true },
            ..Report::of_this_process().unwrap()
        };
        assert_eq!(proven.unproven(), None);
        let configs = proven.configs;
        let table = [
            (Report { fips_mode: false, ..proven.clone() }, "FIPS mode"),
            (Report { fips_module: Some(number - 1), ..proven.clone() }, "was built for"),
            (Report { fips_module: None, ..proven.clone() }, "was built for"),
            (Report { version: "4.1.0", ..proven.clone() }, release),
            (Report { configs: Configs { client: false, ..configs }, ..proven.clone() }, "clients"),
            (Report { configs: Configs { server: false, ..configs }, ..proven.clone() }, "servers"),
        ];
        for (report, want) in table {
            let said = report.unproven().unwrap();
            assert!(said.contains(want), "{want}: {said}");
        }
    }

    /// Another module, or another release of it, is something that people are told of: the two lines above, the docs.
    #[test]
    fn the_module_that_is_named_is_the_one_that_the_lock_file_names() {
        let lock = include_str!("../../Cargo.lock");
        let (_, after) = lock.split_once("name = \"aws-lc-fips-sys\"\nversion = \"").unwrap();
        assert_eq!(
            after.split('"').next().unwrap(),
            "0.14.4",
            "look up what it links, then change MODULE, WORDS, docs/certificates.md and this"
        );
        let page = include_str!("../../docs/certificates.md");
        assert!(page.contains(&format!("AWS-LC FIPS {}.x", MODULE.0)), "the page names it too");
    }
}
