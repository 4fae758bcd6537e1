//! What a pod may ask for: Pod Security as a versioned table of rows, judged on the JSON as it was sent, so that nothing a
//! typed reading would drop slips through. The same rows answer the API server, `kubectl gt check`, and the floor in CEL.

pub mod feedback;
pub mod judge;
pub mod pss;
pub mod rows;
pub mod subject;
#[cfg(test)]
mod tests;

use std::fmt;

pub use judge::Violation;
pub use rows::Level;
pub use subject::Subject;

/// The newest policy version that the table knows; what asks for a later one is held to this.
pub const NEWEST: u32 = 37;

/// A Pod Security policy: a level, as of a minor version of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub minor: u32,
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Restricted, minor: NEWEST }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v1.{}", self.level.name(), self.minor)
    }
}

impl std::str::FromStr for Standard {
    type Err = String;

    /// `restricted`, `restricted@latest`, `baseline@v1.25` or `baseline@1.25`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (level, version) = text.split_once('@').unwrap_or((text, "latest"));
        let level = match level {
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => {
                return Err(format!(
                    "{level:?} is no level of Pod Security that refuses anything: write baseline or restricted, such as \
                     restricted@v1.{NEWEST}"
                ));
            }
        };
        if version == "latest" {
            return Ok(Self { level, minor: NEWEST });
        }
        let minor = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.");
        let plain = |it: &&str| {
            it.bytes().all(|it| it.is_ascii_digit()) && (*it == "0" || !it.starts_with('0'))
        };
        let minor = minor.filter(plain).and_then(|it| it.parse::<u32>().ok());
        match minor.filter(|it| *it <= NEWEST) {
            Some(minor) => Ok(Self { level, minor }),
            None => Err(format!(
                "{version:?} is no version that is known here: write latest, or v1.0 to v1.{NEWEST}"
            )),
        }
    }
}
