//! What pods are held to at the door.

use clap::{Args, ValueEnum, builder::PossibleValuesParser};

use crate::admission::pods::{Platform, RuntimeClasses, Standard, ours::SWITCHABLE};

/// Whose cluster it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlatformChoice {
    /// OpenShift where the API server serves security.openshift.io
    #[default]
    Auto,
    Kubernetes,
    Openshift,
}

/// What pods are held to at the door.
#[derive(Clone, Debug, Args)]
pub struct PodRules {
    /// On OpenShift a pod is also held to the security context constraint that would be chosen.
    #[arg(long, env = "GASTOWN_PLATFORM", value_enum, default_value_t)]
    pub platform: PlatformChoice,
    /// Pod Security that pods are held to, such as restricted@v1.34.
    #[arg(
        long,
        env = "GASTOWN_POD_POLICY",
        default_value = "restricted@latest",
        value_name = "LEVEL@VERSION"
    )]
    pub pod_policy: Standard,
    /// Rules of ours that do not hold, separated by commas.
    #[arg(long, env = "GASTOWN_POD_EXCEPTIONS", value_delimiter = ',', value_name = "RULE", value_parser = PossibleValuesParser::new(SWITCHABLE))]
    pub pod_exceptions: Vec<String>,
    /// Runtime classes, separated by commas, that pods may name; unset: any.
    #[arg(long, env = "GASTOWN_RUNTIME_CLASSES", value_delimiter = ',', value_name = "NAME", value_parser = RuntimeClasses::named)]
    pub runtime_classes: Vec<String>,
    /// Users, separated by commas, who may give a pod the label of a Polecat's; unset: the operator's service account.
    #[arg(long, env = "GASTOWN_OWN_USER", value_delimiter = ',', value_name = "USER")]
    pub own_user: Vec<String>,
}

impl PodRules {
    /// The platform, where it is not to be found out.
    pub const fn known_platform(&self) -> Option<Platform> {
        match self.platform {
            PlatformChoice::Auto => None,
            PlatformChoice::Kubernetes => Some(Platform::Kubernetes),
            PlatformChoice::Openshift => Some(Platform::OpenShift),
        }
    }

    /// The same, with what was found out.
    pub const fn found(&mut self, platform: Platform) {
        self.platform = match platform {
            Platform::Kubernetes => PlatformChoice::Kubernetes,
            Platform::OpenShift => PlatformChoice::Openshift,
        };
    }

    /// The runtime classes that pods may name. Asked once for each use: they are kept for as long as this process.
    pub fn runtime_classes(&self) -> RuntimeClasses {
        RuntimeClasses::of(self.runtime_classes.clone())
    }

    /// The exceptions as the table names them.
    pub fn exceptions(&self) -> Vec<&'static str> {
        SWITCHABLE
            .into_iter()
            .filter(|it| self.pod_exceptions.iter().any(|asked| asked == it))
            .collect()
    }
}
