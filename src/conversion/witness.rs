//! `Witness` in both versions.

use super::{
    lens::Lens,
    table::{Default, Row, Table, Version},
};

pub const TABLE: Table = Table {
    kind: "Witness",
    rows: &[
        Row::moved("rigRef", "rigRef.name"),
        Row::moved("healthCheckInterval", "healthCheckIntervalSeconds").through(Lens::Seconds),
        Row::moved("stuckThreshold", "stuckThresholdSeconds").through(Lens::Seconds),
        Row::same("escalationTarget"),
    ],
    defaults: &[
        Default::of(Version::V1alpha1, "healthCheckInterval", "\"30s\""),
        Default::of(Version::V1alpha1, "stuckThreshold", "\"15m\""),
        Default::of(Version::V1alpha1, "escalationTarget", "\"mayor\""),
        Default::of(Version::V1beta1, "healthCheckIntervalSeconds", "30"),
        Default::of(Version::V1beta1, "stuckThresholdSeconds", "900"),
        Default::of(Version::V1beta1, "escalationTarget", "\"mayor\""),
    ],
};
