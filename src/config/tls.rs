//! Settings of every TLS connection, in and out.

use clap::Args;

use crate::tls::crypto::{Profile, Wanted};

/// Cryptography.
#[derive(Clone, Debug, Args)]
pub struct Tls {
    /// Protocol versions and suites of every TLS connection. On OpenShift the servers follow the cluster's own profile where
    /// neither this nor --tls-groups says otherwise.
    #[arg(long, value_enum, default_value_t, value_name = "PROFILE")]
    pub tls_profile: Profile,
    /// Suites by IANA's names, separated by commas; only with --tls-profile=Custom.
    #[arg(long, value_delimiter = ',', value_name = "SUITE")]
    pub tls_cipher_suites: Vec<String>,
    /// Groups for key exchange by IANA's names, separated by commas; unset: X25519, secp256r1 and secp384r1, and in a FIPS
    /// build the last two. The hybrid X25519MLKEM768 is used where it is named.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    pub tls_groups: Vec<String>,
    /// Print as JSON which cryptography is in use, and exit.
    #[arg(long)]
    pub crypto_report: bool,
}

impl Tls {
    /// What the provider is made from.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            profile: self.tls_profile,
            suites: self.tls_cipher_suites.clone(),
            groups: self.tls_groups.clone(),
        }
    }

    /// Whether a cluster's own profile is followed: on OpenShift, where nothing else is asked for here.
    pub fn follows_cluster(&self) -> bool {
        self.tls_profile == Profile::Intermediate && self.tls_groups.is_empty()
    }

    /// What can't be done as asked.
    pub fn flaw(&self) -> Option<String> {
        let custom = self.tls_profile == Profile::Custom;
        (custom == self.tls_cipher_suites.is_empty())
            .then(|| "--tls-cipher-suites goes with --tls-profile=Custom, and that with it".into())
    }
}
