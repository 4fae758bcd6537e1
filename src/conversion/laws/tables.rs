//! A table leaves no field out, and says every default that the API server would fill in.

use super::case::Case;
use crate::conversion::table::{Row, Version};

pub fn hold(kind: &str) {
    let case = Case::of(kind);
    let table = case.pair.table;
    for version in [Version::V1alpha1, Version::V1beta1] {
        let schema = case.schema(version);
        let path = |row: &Row| row.path(version);
        let known = |path: &str| schema.at(&path.split('.').collect::<Vec<_>>()).is_some();
        for row in table.rows {
            assert!(known(path(row)), "{version:?} has no field {}", path(row));
        }
        let mut filled = case.spec(version).defaults();
        let mut said: Vec<(String, serde_json::Value)> = Vec::new();
        for it in table.defaults.iter().filter(|it| it.version == version) {
            assert!(known(it.path), "{version:?} has no field {}", it.path);
            said.push((it.path.to_owned(), serde_json::from_str(it.text).unwrap()));
        }
        filled.sort_by(|a, b| a.0.cmp(&b.0));
        said.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(said, filled, "defaults of {version:?}: the table's, and the schema's");
    }
    for leaf in case.schema(Version::V1alpha1).leaves() {
        let row = table.rows.iter().any(|it| covers(it.path(Version::V1alpha1), &leaf));
        let silent = table
            .defaults
            .iter()
            .any(|it| it.version == Version::V1alpha1 && it.goes_without_saying && it.path == leaf);
        assert!(row || silent, "v1beta1 has no place for {leaf}: the hub holds every field");
    }
}

fn covers(path: &str, leaf: &str) -> bool {
    leaf.strip_prefix(path).is_some_and(|it| it.is_empty() || it.starts_with('.'))
}
