//! `Rig` in both versions.

use super::table::{Default, Row, Table, Version};

pub const TABLE: Table = Table {
    kind: "Rig",
    rows: &[
        Row::moved("gitURL", "repository.url"),
        Row::same("beadsPrefix"),
        Row::same("settings.namepoolTheme"),
        Row::same("settings.maxPolecats"),
    ],
    defaults: &[
        Default::of(Version::V1alpha1, "settings.maxPolecats", "8"),
        Default::of(Version::V1beta1, "settings.maxPolecats", "8"),
    ],
};
