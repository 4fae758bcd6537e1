//! In which words Polecats are asked for.

use clap::ValueEnum;

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    V1alpha1,
    V1beta1,
}

impl Version {
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1beta1 => "v1beta1",
        }
    }
}
