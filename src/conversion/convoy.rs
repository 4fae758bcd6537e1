//! `Convoy` in both versions.

use super::{
    lens::Lens,
    table::{Default, Row, Table, Version},
};

pub const TABLE: Table = Table {
    kind: "Convoy",
    rows: &[
        Row::same("description"),
        Row::moved("trackedBeads", "beads").through(Lens::Each("id")),
        Row::same("parallelism").through(Lens::Positive),
        Row::moved("rigRef", "rigRef.name"),
    ],
    defaults: &[Default::of(Version::V1alpha1, "parallelism", "0").goes_without_saying()],
};
