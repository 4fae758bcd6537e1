//! Makes certificates: P-384 authorities of a year that can sign for our names and nothing else, P-256 leaves of a week.

use std::net::IpAddr;

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use time::OffsetDateTime;

use crate::domain::certificates::{Authority, Key, Leaf, Life, Mint};

/// How far a certificate reaches back, so that a clock that is slow takes it too, in seconds.
const BACK: i64 = 600;
const AUTHORITY: i64 = 365 * 24 * 3600;
const LEAF: i64 = 7 * 24 * 3600;

/// Makes certificates for a server that is reached by these names and addresses, the first being the one it is called by.
#[derive(Clone, Debug)]
pub struct ForNames {
    pub names: Vec<String>,
    /// Seconds that a leaf is valid; unset: a week.
    pub leaf_life: Option<i64>,
}

impl Mint for ForNames {
    type Error = anyhow::Error;

    fn authority(&self, generation: u64, now: i64) -> anyhow::Result<Authority> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let life = Life { from: now - BACK, until: now + AUTHORITY };
        let certificate = self.authority_of(generation, life)?.self_signed(&key)?.pem();
        Ok(Authority { generation, certificate, key: Key(key.serialize_pem()), life })
    }

    fn cross(&self, of: &Authority, by: &Authority) -> anyhow::Result<String> {
        let life = Life { from: of.life.from, until: of.life.until.min(by.life.until) };
        let params = self.authority_of(of.generation, life)?;
        Ok(params.signed_by(&KeyPair::from_pem(&of.key.0)?, &self.issuer(by)?)?.pem())
    }

    fn leaf(&self, by: &Authority, now: i64) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let until = (now + self.leaf_life.unwrap_or(LEAF)).min(by.life.until);
        let life = Life { from: now - BACK, until };
        let mut params = valid(CertificateParams::new(self.names.clone())?, life)?;
        params.distinguished_name = called(self.names.first().map_or("gastown", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer(by)?)?.pem();
        Ok(Leaf { certificate, key: Key(key.serialize_pem()), life })
    }
}

impl ForNames {
    /// No path length: a chain through a cross-signed authority would be refused for it.
    fn authority_of(&self, generation: u64, life: Life) -> anyhow::Result<CertificateParams> {
        let mut params = valid(CertificateParams::default(), life)?;
        params.distinguished_name = called(&format!("Gas Town webhooks {generation}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(self.constraints());
        Ok(params)
    }

    /// Whoever steals the key can be nobody but us.
    fn constraints(&self) -> NameConstraints {
        let subtree = |name: &String| match name.parse() {
            Ok(address) => GeneralSubtree::IpAddress(only(address)),
            Err(_) => GeneralSubtree::DnsName(name.clone()),
        };
        let permitted: Vec<_> = self.names.iter().map(subtree).collect();
        let addresses = permitted.iter().any(|it| matches!(it, GeneralSubtree::IpAddress(_)));
        // A sort of name that no constraint speaks of may be anything.
        let everywhere = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
        let excluded = everywhere.into_iter().filter(|_| !addresses).map(GeneralSubtree::IpAddress);
        NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded.collect() }
    }

    /// Rebuilt from what names it; of the rest nothing goes into what it signs.
    fn issuer(&self, by: &Authority) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let params = self.authority_of(by.generation, by.life)?;
        Ok(Issuer::new(params, KeyPair::from_pem(&by.key.0)?))
    }
}

fn only(address: IpAddr) -> CidrSubnet {
    match address {
        IpAddr::V4(it) => CidrSubnet::V4(it.octets(), [255; 4]),
        IpAddr::V6(it) => CidrSubnet::V6(it.octets(), [255; 16]),
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    called
}

/// With times and a random serial number of 128 bits.
fn valid(mut params: CertificateParams, life: Life) -> anyhow::Result<CertificateParams> {
    let mut serial = [0_u8; 16];
    rand::fill(&mut serial)
        .map_err(|_| anyhow::anyhow!("the random number generator gave nothing"))?;
    serial[0] &= 0x7f; // it is a positive number
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = OffsetDateTime::from_unix_timestamp(life.from)?;
    params.not_after = OffsetDateTime::from_unix_timestamp(life.until)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
