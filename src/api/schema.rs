//! The schema of a served version, from the derived one: in the shape of Go's tools, and bounded where it is the hub's.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::api::shared::QUANTITY;

/// A kind's definition as the Go original would have it: no bound but those that its type says.
pub fn derived<K: CustomResourceExt>() -> CustomResourceDefinition {
    let mut crd = K::crd();
    for schema in schemas(&mut crd) {
        schema.title = None;
        schema.properties.iter_mut().flatten().for_each(|(name, it)| settle(name, it));
    }
    crd
}

/// A kind's definition in the hub: every text, list and map has an end.
pub fn bounded<K: CustomResourceExt>() -> CustomResourceDefinition {
    let mut crd = derived::<K>();
    for schema in schemas(&mut crd) {
        for (name, part) in schema.properties.iter_mut().flatten() {
            let most = if name == "status" { &OF_STATUS } else { &OF_SPEC };
            bound(name, part, most);
        }
    }
    crd
}

fn schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let schemas = crd.spec.versions.iter_mut().filter_map(|it| it.schema.as_mut());
    schemas.filter_map(|it| it.open_api_v3_schema.as_mut())
}

/// Ends for what its type gives none.
struct Most {
    text: i64,
    items: i64,
    members: i64,
}

const OF_SPEC: Most = Most { text: 4096, items: 256, members: 64 };
/// Wide: what the operator has to say of an unbounded v1alpha1 spec must find its place.
const OF_STATUS: Most = Most { text: 131_072, items: 65_536, members: 1024 };
/// Longest name of a Kubernetes object, and longest key of a Secret or ConfigMap.
const NAME: i64 = 253;
/// Longest value of a variable: what Linux takes, less the longest name.
const VARIABLE: i64 = 130_816;
/// Longest amount or moment.
const WORD: i64 = 64;

/// Gives an end to everything that has none. `around` is the name of the field that this is in.
fn bound(around: &str, schema: &mut JSONSchemaProps, most: &Most) {
    let text = schema.type_.as_deref() == Some("string") && schema.enum_.is_none();
    let amount = schema.x_kubernetes_int_or_string == Some(true);
    if amount || schema.format.as_deref() == Some("date-time") {
        schema.max_length.get_or_insert(WORD);
    } else if text {
        schema.max_length.get_or_insert(most.text);
    }
    if schema.type_.as_deref() == Some("array") {
        schema.max_items.get_or_insert(most.items);
    }
    for (name, inner) in schema.properties.iter_mut().flatten() {
        match (around, name.as_str()) {
            (around, "name" | "key") if around.ends_with("Ref") || around == "env" => {
                inner.max_length.get_or_insert(NAME);
                if inner.default.is_none() {
                    inner.min_length.get_or_insert(1);
                }
            }
            ("env", "value") => drop(inner.max_length.get_or_insert(VARIABLE)),
            _ => {}
        }
        bound(name, inner, most);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(it)) = &mut schema.items {
        bound(around, it, most);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(it)) = &mut schema.additional_properties {
        schema.max_properties.get_or_insert(most.members);
        bound(around, it, most);
    }
}

/// Mends what the derive makes otherwise than Go's tools: `nullable` on optional fields and null among their values,
/// quantities, and the reference types of Kubernetes, whose name may be left out there.
fn settle(name: &str, schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|it| !it.0.is_null());
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        let of = |type_: &str| JSONSchemaProps {
            type_: Some(type_.into()),
            ..JSONSchemaProps::default()
        };
        schema.any_of = Some(vec![of("integer"), of("string")]);
        schema.pattern = Some(QUANTITY.into());
    }
    if matches!(name, "configMapKeyRef" | "secretKeyRef") {
        schema.required = Some(vec!["key".into()]);
        if let Some(it) = schema.properties.as_mut().and_then(|it| it.get_mut("name")) {
            it.default = Some(JSON("".into()));
        }
    }
    if name == "fileKeyRef"
        && let Some(it) = schema.properties.as_mut().and_then(|it| it.get_mut("optional"))
    {
        it.default = Some(JSON(false.into()));
    }
    if matches!(
        name,
        "configMapKeyRef" | "secretKeyRef" | "fieldRef" | "resourceFieldRef" | "fileKeyRef"
    ) {
        schema.x_kubernetes_map_type = Some("atomic".into());
    }
    schema.properties.iter_mut().flatten().for_each(|(name, it)| settle(name, it));
    if let Some(JSONSchemaPropsOrArray::Schema(it)) = &mut schema.items {
        settle("", it);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(it)) = &mut schema.additional_properties {
        settle("", it);
    }
}
