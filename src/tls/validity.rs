//! When a certificate is valid, whoever made it.

use jiff::{civil::DateTime, tz::TimeZone};
use rustls::pki_types::CertificateDer;

/// Tags of DER, as far as they stand before the time.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const SHORT_YEAR: u8 = 0x17;
const LONG_YEAR: u8 = 0x18;

/// The first and the last second in which it is valid, in seconds since 1970; none where it is no certificate of X.509.
pub fn of(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (whole, _) = expected(certificate, SEQUENCE)?;
    let (mut rest, _) = expected(whole, SEQUENCE)?;
    if let Some((_, after)) = expected(rest, VERSION) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = expected(rest, tag)?.1;
    }
    let (times, _) = expected(rest, SEQUENCE)?;
    let (tag, begin, rest) = element(times)?;
    let from = seconds(tag, begin)?;
    let (tag, end, _) = element(rest)?;
    Some((from, seconds(tag, end)?))
}

/// A time as DER has it.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        LONG_YEAR => text.to_owned(),
        // RFC 5280: from 50 on in the last century.
        SHORT_YEAR if text.get(..2)? >= "50" => format!("19{text}"),
        SHORT_YEAR => format!("20{text}"),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// What is in an element of this tag, and what comes after it.
fn expected(from: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(from).filter(|it| it.0 == tag).map(|(_, inside, after)| (inside, after))
}

/// Tag, inside and what comes after.
fn element(from: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = from.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ ..=0x7f => (short, rest),
        // How many bytes have the length.
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((*tag, inside, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::certificates::Book, tls::check};

    #[test]
    fn both_ends_are_read_from_certificates_of_any_length_of_year() {
        let _ = crate::tls::crypto::install(&crate::tls::crypto::Wanted::default());
        // From 2050 on years have four digits.
        for made in [1_800_000_000, 2_600_000_000] {
            let mint = crate::tls::mint::ForNames { names: vec!["a".into()], leaf_life: None };
            let book = Book::new(&mint, 1, made).unwrap();
            let chain = check::certificates(book.chain().as_bytes()).unwrap();
            let life = book.leaf.life;
            assert_eq!(of(&chain[0]), Some((life.from, life.until)));
            for cut in [0, 1, 4, 40, chain[0].len() - 1] {
                assert_eq!(of(&CertificateDer::from(&chain[0][..cut])), None, "{cut} bytes");
            }
        }
        assert_eq!(of(&CertificateDer::from(&b"no certificate"[..])), None);
    }
}
