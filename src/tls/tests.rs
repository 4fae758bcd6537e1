//! Every handshake that our servers may be asked for: versions, suites, groups and kinds of keys, by rustls in memory and by
//! openssl over a socket. What is refused is refused by name.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use gastown_testbed::preconditions::skip;
use rcgen::{
    CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256,
};
use rustls::{
    ClientConfig, ClientConnection, Error, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection, SignatureAlgorithm, SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
};

use super::{
    check::{Presented, certificates},
    crypto::{Profile, Wanted, group_name, suite_name},
    install_provider, server_by,
};

const NAME: &str = "hooks.town.svc";
const FIPS: bool = cfg!(feature = "fips");

/// A certificate for [`NAME`] with its key, and who signed it.
struct Leaf {
    kind: SignatureAlgorithm,
    certificate: String,
    key: String,
    authority: String,
}

impl Leaf {
    fn presented(&self) -> Presented {
        Presented::read(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(self.authority.as_bytes()).unwrap());
        roots
    }
}

/// Of every kind that may be served.
fn leaves() -> Vec<Leaf> {
    let _ = install_provider();
    let authority = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap().pem();
    let issuer = Issuer::new(params, authority);
    let kinds = [
        (SignatureAlgorithm::ECDSA, &PKCS_ECDSA_P256_SHA256),
        (SignatureAlgorithm::ECDSA, &PKCS_ECDSA_P384_SHA384),
        (SignatureAlgorithm::RSA, &PKCS_RSA_SHA256),
        (SignatureAlgorithm::ED25519, &PKCS_ED25519),
    ];
    let made = kinds.into_iter().filter(|(kind, _)| !FIPS || *kind != SignatureAlgorithm::ED25519);
    made.map(|(kind, algorithm)| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Leaf { kind, certificate, key: key.serialize_pem(), authority: root.clone() }
    })
    .collect()
}

/// A caller that offers one suite, and so one version, and one group.
fn caller(
    suite: SupportedCipherSuite,
    group: &'static dyn SupportedKxGroup,
    leaf: &Leaf,
) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    provider.kx_groups = vec![group];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[suite.version()]).unwrap();
    builder.with_root_certificates(leaf.roots()).with_no_client_auth()
}

/// Version, suite and group that both agree on, or who refused and with which name.
fn meet(server: ServerConfig, client: ClientConfig) -> Result<String, String> {
    let name = NAME.try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let said = |it: Error| format!("{it:?}");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().map_err(said)?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().map_err(said)?;
    }
    Ok(agreed(&server))
}

fn agreed(server: &ServerConnection) -> String {
    let suite = server.negotiated_cipher_suite().unwrap();
    let group = server.negotiated_key_exchange_group().unwrap();
    format!("{:?} {} {}", suite.version().version, suite_name(&suite), group_name(group))
}

/// What our server does with a caller, by what it has: nothing, or the name that it refuses with.
fn refusal(
    server: &CryptoProvider,
    suite: SupportedCipherSuite,
    group: NamedGroup,
    leaf: SignatureAlgorithm,
) -> Option<&'static str> {
    let version = suite.version().version;
    let speaks = server.cipher_suites.iter().any(|it| it.version().version == version);
    let fits = match suite {
        SupportedCipherSuite::Tls13(_) => true,
        // ECDSA in the name of a suite stands for Ed25519 too.
        SupportedCipherSuite::Tls12(_) => {
            suite_name(&suite).contains("ECDHE_RSA") == (leaf == SignatureAlgorithm::RSA)
        }
    };
    if !speaks {
        Some("PeerIncompatible(Tls12NotOfferedOrEnabled)")
    } else if !server.kx_groups.iter().any(|it| it.name() == group) {
        Some("PeerIncompatible(NoKxGroupsInCommon)")
    } else if !fits || !server.cipher_suites.contains(&suite) {
        Some("PeerIncompatible(NoCipherSuitesInCommon)")
    } else {
        None
    }
}

#[test]
fn a_handshake_ends_as_versions_suites_groups_and_keys_say() {
    let custom = |suites: &[&str], groups: &[&str]| Wanted {
        profile: if suites.is_empty() { Profile::Intermediate } else { Profile::Custom },
        suites: suites.iter().map(|it| (*it).into()).collect(),
        groups: groups.iter().map(|it| (*it).into()).collect(),
    };
    let servers = [
        Wanted::default(),
        Wanted { profile: Profile::Modern, ..Wanted::default() },
        custom(&["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], &["secp384r1"]),
        custom(&[], &["X25519MLKEM768", "secp256r1"]),
    ];
    let (mut met, mut refused) = (0, 0);
    for wanted in servers {
        let provider = Arc::new(wanted.provider().unwrap());
        for leaf in leaves() {
            for suite in aws_lc_rs::ALL_CIPHER_SUITES {
                let version = suite.version().version;
                // A hybrid is of TLS 1.3: a caller with nothing else for 1.2 offers no group at all.
                let usable =
                    aws_lc_rs::ALL_KX_GROUPS.iter().filter(|it| it.usable_for_version(version));
                for group in usable {
                    let server = server_by(Arc::clone(&provider), leaf.presented()).unwrap();
                    let outcome = meet(server, caller(*suite, *group, &leaf));
                    let offered = format!("{} {}", suite_name(suite), group_name(*group));
                    let because = format!("{wanted:?}, {:?}: {offered}", leaf.kind);
                    match refusal(&provider, *suite, group.name(), leaf.kind) {
                        None => {
                            let said = outcome.unwrap_or_else(|why| panic!("{because}: {why}"));
                            assert!(said.ends_with(&offered), "{because}: {said}");
                            met += 1;
                        }
                        Some(want) => {
                            assert_eq!(outcome.unwrap_err(), want, "{because}");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{met} handshakes, {refused} refused by name");
    assert!(met > 30 && refused > 100, "{met} met, {refused} refused");
}

/// `openssl`, or `None` where there is none.
fn openssl(arguments: &[&str], input: &str, configuration: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin:/usr/local/bin");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), configuration).unwrap();
    if !configuration.is_empty() {
        command.env("OPENSSL_CONF", file.path());
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match piped.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip("handshakes by openssl", "openssl", "there is no openssl").unwrap();
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A server on loopback that says how each handshake ended.
fn listening(config: ServerConfig) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, ends) = mpsc::channel();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut outcome = Ok(());
            while server.is_handshaking() && outcome.is_ok() {
                outcome = server.complete_io(&mut stream).map(drop);
            }
            let told = match outcome {
                Ok(()) => agreed(&server),
                Err(error) => {
                    let cause = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
                    cause.map_or_else(|| error.to_string(), |it| format!("{it:?}"))
                }
            };
            if said.send(told).is_err() {
                return;
            }
        }
    });
    (port, ends)
}

/// No RFC 7627: without it a session may be mixed up with another one.
const NO_EMS: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = it\n[it]\n\
                      Options = -ExtendedMasterSecret\n";

/// Each profile with each kind of key, by openssl as it comes and by TLS 1.2 alone.
#[test]
fn openssl_meets_every_profile_with_every_kind_of_key() {
    let aes = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let custom = Wanted {
        profile: Profile::Custom,
        suites: vec![aes.to_owned()],
        groups: vec!["secp384r1".to_owned()],
    };
    let modern = Wanted { profile: Profile::Modern, ..Wanted::default() };
    for (wanted, versions) in
        [(Wanted::default(), ["1.2", "1.3"]), (modern, ["", "1.3"]), (custom, ["1.2", ""])]
    {
        let provider = Arc::new(wanted.provider().unwrap());
        for leaf in leaves() {
            let (port, ends) =
                listening(server_by(Arc::clone(&provider), leaf.presented()).unwrap());
            let to = format!("127.0.0.1:{port}");
            for (asked, version) in ["-tls1_2", "-tls1_3"].into_iter().zip(versions) {
                let because = format!("{:?}, {:?}: {asked}", wanted.profile, leaf.kind);
                let asked = ["s_client", "-brief", "-connect", &to, "-servername", NAME, asked];
                let Some(said) = openssl(&asked, "", "") else { return };
                let told = ends.recv_timeout(std::time::Duration::from_secs(60));
                let told = told.unwrap_or_else(|_| panic!("{because}: it did not call: {said}"));
                let fits =
                    leaf.kind != SignatureAlgorithm::RSA || wanted.profile != Profile::Custom;
                let want = match version {
                    "" => "PeerIncompatible",
                    _ if !fits => "NoCipherSuitesInCommon",
                    "1.2" => "TLSv1_2",
                    _ => "TLSv1_3",
                };
                assert!(told.contains(want), "{because}: {told}\n{said}");
            }
        }
    }
}

#[test]
fn openssl_is_served_and_refused_alike() {
    let leaf = leaves().swap_remove(0);
    let provider = Arc::new(Wanted::default().provider().unwrap());
    let (port, ends) = listening(server_by(provider, leaf.presented()).unwrap());
    let to = format!("127.0.0.1:{port}");
    let fips = |name: &'static str, else_: &'static str| if FIPS { name } else { else_ };
    let (suites, groups) = ("NoCipherSuitesInCommon", "NoKxGroupsInCommon");
    #[rustfmt::skip]
    let table: [(&[&str], &str, &str, &str); 16] = [
        (&[], "", "TLSv1_3", "as it comes"),
        (&["-tls1_2"], "", "TLSv1_2", "TLS 1.2"),
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "", "SignatureAlgorithmsExtensionRequired", "TLS 1.1"),
        (&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "", "SignatureAlgorithmsExtensionRequired", "TLS 1.0"),
        (&["-groups", "P-256"], "", "secp256r1", "P-256"),
        (&["-groups", "P-384"], "", "secp384r1", "P-384"),
        (&["-groups", "X25519"], "", fips(groups, "X25519"), "X25519 alone"),
        (&["-groups", "P-521"], "", groups, "a group that rustls does not have"),
        (&["-tls1_2", "-groups", "X448"], "", groups, "the same in TLS 1.2"),
        (&["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "", fips(suites, "CHACHA20"), "ChaCha20"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "", fips(suites, "CHACHA20"), "ChaCha20 in TLS 1.2"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "", "AES_256_GCM", "AES-256"),
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256"], "", groups, "key exchange by RSA names no group"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "", suites, "CBC"),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "", suites, "another kind of key"),
        (&["-tls1_2"], NO_EMS, fips("ExtendedMasterSecretExtensionRequired", "TLSv1_2"), "no extended master secret"),
    ];
    for (arguments, configuration, want, because) in table {
        let all = ["s_client", "-brief", "-connect", &to, "-servername", NAME];
        let asked: Vec<_> = all.iter().chain(arguments).copied().collect();
        let Some(said) = openssl(&asked, "", configuration) else { return };
        let told = ends.recv_timeout(std::time::Duration::from_secs(60));
        let told = told.unwrap_or_else(|_| panic!("{because}: it did not call: {said}"));
        assert!(told.contains(want), "{because}: {told}\n{said}");
    }
}

/// A certificate of a year from openssl, with a key as its arguments say.
fn made_by_openssl(key: &[&str], digest: &str) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (key_file, certificate) = (path("key"), path("certificate"));
    let made: Vec<_> = ["genpkey", "-out", &key_file].iter().chain(key).copied().collect();
    openssl(&made, "", "")?;
    let subject = format!("subjectAltName=DNS:{NAME}");
    #[rustfmt::skip]
    let asked = ["req", "-x509", "-key", &key_file, "-out", &certificate, "-subj", "/CN=x", digest, "-addext", &subject];
    let said = openssl(&asked, "", "[req]\ndistinguished_name = it\n[it]\n")?;
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_else(|_| panic!("{said}"));
    Some((read(&certificate), read(&key_file)))
}

#[test]
fn keys_and_signatures_that_are_too_weak_are_not_served() {
    let _ = install_provider();
    let rsa = |bits: &'static str| ["-algorithm", "RSA", "-pkeyopt", bits];
    let Some((certificate, key)) = made_by_openssl(&rsa("rsa_keygen_bits:1024"), "-sha256") else {
        return;
    };
    let told = Presented::read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert_eq!(told.reason(), "WeakKey", "RSA of 1024 bits: {told}");
    let (certificate, key) = made_by_openssl(&rsa("rsa_keygen_bits:2048"), "-sha1").unwrap();
    let told = Presented::read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert_eq!(told.reason(), "WeakSignature", "signed by SHA-1: {told}");
    let (certificate, key) = made_by_openssl(&rsa("rsa_keygen_bits:2048"), "-sha256").unwrap();
    let fine = Presented::read(certificate.as_bytes(), key.as_bytes());
    assert!(fine.is_ok(), "{:?}", fine.err());
    let (certificate, key) = made_by_openssl(&["-algorithm", "ED25519"], "-sha256").unwrap();
    let told = Presented::read(certificate.as_bytes(), key.as_bytes());
    let reason = told.err().map(|it| it.reason());
    assert_eq!(reason, FIPS.then_some("WeakKey"), "Ed25519 is in no FIPS build");
}
