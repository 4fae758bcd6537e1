//! What the operator may do about versions in storage: read its own definitions, write their status, and have the API server
//! migrate. What it may write of its own kinds it needs for its work anyway.

use serde_json::{Value, json};

use crate::{
    cluster::storage::served,
    kinds::{KINDS, convertible},
};

/// The rules that say so, for the operator's role. Only what is made anew can't be narrowed by name.
pub fn rules() -> [Value; 4] {
    let definitions: Vec<String> = convertible().collect();
    let two = KINDS.iter().filter(|it| it.beta.is_some());
    let migrations: Vec<String> = two.map(|it| served::name(it.plural)).collect();
    let (group, plural) = (served::GROUP, served::PLURAL);
    let status = "customresourcedefinitions/status";
    [
        json!({
            "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
            "resourceNames": definitions, "verbs": ["get", "list", "watch"],
        }),
        json!({
            "apiGroups": ["apiextensions.k8s.io"], "resources": [status],
            "resourceNames": definitions, "verbs": ["patch"],
        }),
        json!({
            "apiGroups": [group], "resources": [plural],
            "resourceNames": migrations, "verbs": ["get", "list", "watch", "delete"],
        }),
        json!({"apiGroups": [group], "resources": [plural], "verbs": ["create"]}),
    ]
}
