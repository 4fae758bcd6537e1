//! What puts the TLS of programs in agent pods into approved settings: variables that they read, and files that those name.
//! They are settings and no fence: a program that brings cryptography of its own, or that chooses itself, is not reached.

use super::layout;

/// What the TLS of agent pods is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// What their programs do by themselves.
    #[default]
    Default,
    /// Approved versions, suites and groups.
    Fips,
}

impl TlsPolicy {
    pub const FIPS: &str = "fips";

    /// By the word of a Rig, or of an annotation; `None`: of another release.
    pub fn of(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("default") => Some(Self::Default),
            Some(Self::FIPS) => Some(Self::Fips),
            Some(_) => None,
        }
    }

    pub fn is_fips(self) -> bool {
        self == Self::Fips
    }
}

/// Suites of both versions, as OpenSSL calls them.
macro_rules! suites {
    (1.3) => {
        "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
    };
    (1.2) => {
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
    };
}

/// For programs with OpenSSL; Node.js reads a section of its own name.
const OPENSSL: &str = concat!(
    "openssl_conf = approved\nnodejs_conf = approved\n\n[approved]\nssl_conf = approved_ssl\n\n",
    "[approved_ssl]\nsystem_default = approved_tls\n\n[approved_tls]\nMinProtocol = TLSv1.2\n",
    "CipherString = ",
    suites!(1.2),
    "\nCiphersuites = ",
    suites!(1.3),
    "\nGroups = P-256:P-384\n",
);

/// For programs with `GnuTLS`, as git is on Debian. It names what is taken away.
const GNUTLS: &str = "[overrides]
disabled-version = tls1.0
disabled-version = tls1.1
disabled-version = dtls1.0
tls-disabled-cipher = chacha20-poly1305
tls-disabled-cipher = aes-128-cbc
tls-disabled-cipher = aes-256-cbc
tls-disabled-cipher = aes-128-ccm
tls-disabled-cipher = aes-256-ccm
tls-disabled-cipher = aes-128-ccm-8
tls-disabled-cipher = aes-256-ccm-8
tls-disabled-cipher = camellia-128-gcm
tls-disabled-cipher = camellia-256-gcm
tls-disabled-kx = rsa
tls-disabled-kx = dhe-rsa
tls-disabled-kx = dhe-dss
tls-disabled-group = group-x25519
tls-disabled-group = group-x448
tls-disabled-group = group-secp521r1
tls-disabled-group = group-ffdhe2048
tls-disabled-group = group-ffdhe3072
tls-disabled-group = group-ffdhe4096
tls-disabled-group = group-ffdhe6144
tls-disabled-group = group-ffdhe8192
";

/// The files, by name, that the runner lays into [`layout::TOOLS`].
pub const FILES: [(&str, &str); 2] = [("openssl.cnf", OPENSSL), ("gnutls.conf", GNUTLS)];

/// The variables of every container, and their values.
pub const VARIABLES: [(&str, &str); 5] = [
    // Go from 1.24 on; the hybrids with ML-KEM are not wanted by all who look.
    ("GODEBUG", "fips140=on,tlsmlkem=0,tlssecpmlkem=0"),
    ("OPENSSL_CONF", "/gastown/tools/openssl.cnf"),
    ("GNUTLS_SYSTEM_PRIORITY_FILE", "/gastown/tools/gnutls.conf"),
    ("GIT_SSL_VERSION", "tlsv1.2"),
    // Node.js has a list of its own beside what OpenSSL is told.
    ("NODE_OPTIONS", concat!("--tls-min-v1.2 --tls-cipher-list=", suites!(1.3), ":", suites!(1.2))),
];

/// On a pod: the policy that it is held to. The operator alone says so, or says no more.
pub const ANNOTATION: &str = "gastown.io/tls-policy";

/// Where the files are.
pub const MOUNT: layout::Mount = layout::TOOLS;

/// Whether a variable is one that the policy sets.
pub fn sets(name: &str) -> bool {
    VARIABLES.iter().any(|it| it.0 == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_variable_names_is_laid() {
        let inside = format!("{}/", MOUNT.path);
        let named: Vec<_> = VARIABLES.iter().filter_map(|it| it.1.strip_prefix(&inside)).collect();
        let laid: Vec<_> = FILES.iter().map(|it| it.0).collect();
        assert_eq!(named, laid);
    }

    #[test]
    fn a_word_of_another_release_is_no_policy() {
        assert_eq!(TlsPolicy::of(Some("fips")), Some(TlsPolicy::Fips));
        assert_eq!(TlsPolicy::of(None), Some(TlsPolicy::Default));
        assert_eq!(TlsPolicy::of(Some("strict")), None, "nobody knows how to hold it");
    }
}
