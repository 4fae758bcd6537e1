//! Faults that tests of the very binary ask for.

/// Faults that a test asks for: the release binary is tested as it is shipped, so the switch is in it, and off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The process kills itself before the write of this number, as SIGKILL would.
    pub kill_before_write: Option<u64>,
    /// A pass or a review of an object of this name panics.
    pub panic_on: Option<String>,
}

impl Faults {
    /// Panics where a test asked for it by this object's name.
    pub fn strike(&self, name: &str) {
        assert!(self.panic_on.as_deref() != Some(name), "asked for by --test-faults");
    }
}

impl std::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for part in text.split(',').filter(|it| !it.is_empty()) {
            match part.split_once('=') {
                Some(("kill-before-write", number)) => {
                    faults.kill_before_write =
                        Some(number.parse().map_err(|_| format!("{number:?} is no number"))?);
                }
                Some(("panic-on", name)) => faults.panic_on = Some(name.to_owned()),
                _ => {
                    return Err(format!(
                        "{part:?} is no fault; kill-before-write=N or panic-on=NAME"
                    ));
                }
            }
        }
        Ok(faults)
    }
}
