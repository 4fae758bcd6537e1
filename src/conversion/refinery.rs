//! `Refinery` in both versions.

use super::{
    lens::Lens,
    table::{Default, Row, Table, Version},
};

pub const TABLE: Table = Table {
    kind: "Refinery",
    rows: &[
        Row::moved("rigRef", "rigRef.name"),
        Row::same("targetBranch"),
        Row::same("testCommand").through(Lens::Filled),
        Row::same("parallelism"),
        Row::same("gitSecretRef"),
    ],
    defaults: &[
        Default::of(Version::V1alpha1, "targetBranch", "\"main\""),
        Default::of(Version::V1alpha1, "parallelism", "1"),
        Default::of(Version::V1beta1, "targetBranch", "\"main\""),
        Default::of(Version::V1beta1, "parallelism", "1"),
    ],
};
