//! The digest of an image, kept as the 32 bytes that it is: there are three of them for every pod in the cache.

use std::fmt;

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest in an image's id, which may have a name before it.
    pub fn of_image(id: &str) -> Option<Self> {
        let hex = id.get(id.rfind("sha256:")?..)?.strip_prefix("sha256:")?;
        let lower = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(lower) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_kept_without_the_name_before_it() {
        let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let of = |text: &str| Digest::of_image(text).map(|it| it.to_string());
        assert_eq!(of(&format!("registry.example.com/i@{digest}")).as_deref(), Some(digest));
        assert_eq!(of(digest).as_deref(), Some(digest));
        let upper = digest.to_uppercase().replace("SHA", "sha");
        for bad in ["", "i:1", "sha256:9f86", "sha256:é", &upper] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
