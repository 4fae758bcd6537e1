//! `BeadStore` in both versions.

use super::{
    lens::Lens,
    table::{Default, Row, Table, Version},
};

pub const TABLE: Table = Table {
    kind: "BeadStore",
    rows: &[
        Row::moved("rigRef", "rigRef.name"),
        Row::same("prefix"),
        Row::same("gitSecretRef"),
        Row::moved("syncInterval", "syncIntervalSeconds").through(Lens::Seconds),
    ],
    defaults: &[
        Default::of(Version::V1alpha1, "syncInterval", "\"5m\""),
        Default::of(Version::V1beta1, "syncIntervalSeconds", "300"),
    ],
};
