//! Settings of every TLS connection, in and out.

use clap::Args;

use crate::tls::crypto::{Profile, Wanted};

/// Cryptography.
#[derive(Clone, Debug, Args)]
pub struct Tls {
    /// Protocol versions and suites of every TLS connection; unset: Intermediate, and on OpenShift the servers follow the
    /// cluster's own profile, where --tls-groups says nothing either.
    #[arg(long, env = "GASTOWN_TLS_PROFILE", value_enum, value_name = "PROFILE")]
    pub tls_profile: Option<Profile>,
    /// Suites by IANA's names, separated by commas; only with --tls-profile=Custom.
    #[arg(long, env = "GASTOWN_TLS_CIPHER_SUITES", value_delimiter = ',', value_name = "SUITE")]
    pub tls_cipher_suites: Vec<String>,
    /// Groups for key exchange by IANA's names, separated by commas; unset: X25519, secp256r1 and secp384r1, and in a FIPS
    /// build the last two. The hybrid X25519MLKEM768 is used where it is named.
    #[arg(long, env = "GASTOWN_TLS_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    pub tls_groups: Vec<String>,
    /// Print as JSON which cryptography is in use, and exit.
    #[arg(long)]
    pub crypto_report: bool,
}

impl Tls {
    /// What the provider is made from.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            profile: self.tls_profile.unwrap_or_default(),
            suites: self.tls_cipher_suites.clone(),
            groups: self.tls_groups.clone(),
        }
    }

    /// Whether a cluster's own profile is followed: on OpenShift, where nothing is asked for here. Whoever asks for what is usual
    /// anyway asks for it to stay.
    pub const fn follows_cluster(&self) -> bool {
        self.tls_profile.is_none() && self.tls_groups.is_empty()
    }

    /// What can't be done as asked.
    pub fn flaw(&self) -> Option<String> {
        let custom = self.tls_profile == Some(Profile::Custom);
        (custom == self.tls_cipher_suites.is_empty())
            .then(|| "--tls-cipher-suites goes with --tls-profile=Custom, and that with it".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        tls: Tls,
    }

    fn parsed(args: &[&str]) -> Tls {
        Alone::parse_from(std::iter::once(&"x").chain(args)).tls
    }

    #[test]
    fn the_cluster_is_followed_where_nothing_is_asked_for() {
        for (args, follows) in [
            (&[][..], true),
            (&["--tls-profile=Intermediate"], false),
            (&["--tls-profile=Modern"], false),
            (&["--tls-groups=secp384r1"], false),
        ] {
            assert_eq!(parsed(args).follows_cluster(), follows, "{args:?}");
        }
        assert_eq!(parsed(&[]).wanted().profile, Profile::Intermediate);
    }

    /// A subscription of OLM's sets variables alone. `PATH` stands for one that is set, since a test sets none for its process.
    #[test]
    fn what_a_variable_asks_for_counts_as_well() {
        let variable = |id: &str| {
            let command = Alone::command();
            let found = command.get_arguments().find(|it| it.get_id() == id).unwrap();
            found.get_env().unwrap().to_owned()
        };
        assert_eq!(variable("tls_profile"), "GASTOWN_TLS_PROFILE");
        assert_eq!(variable("tls_cipher_suites"), "GASTOWN_TLS_CIPHER_SUITES");
        assert_eq!(variable("tls_groups"), "GASTOWN_TLS_GROUPS");
        let command = Alone::command().mut_arg("tls_groups", |it| it.env("PATH"));
        let tls = Alone::from_arg_matches(&command.get_matches_from(["x"])).unwrap().tls;
        assert!(!tls.tls_groups.is_empty() && !tls.follows_cluster());
    }
}
