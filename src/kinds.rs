//! THE table: a row per kind. Its schema, its admission, its permissions and its short doc come from here, and every
//! generated file from this.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{CustomResourceExt as _, core::ObjectMeta};
use serde_json::Value;

use crate::{
    admission::{self, Asked, Request, Verdict},
    api::{
        GROUP,
        fleet::{self, ClientPod},
        shared::QUANTITY,
        v1alpha1::{self, BeadStore, Convoy, Polecat, Refinery, Rig, Witness},
        v1beta1,
    },
    conversion,
    domain::stored::Stored,
};

/// A kind that we serve.
pub struct Kind {
    pub group: &'static str,
    /// The version that admission is asked in.
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
    pub crd: fn() -> CustomResourceDefinition,
    /// What admission makes of a create or an update.
    pub admit: fn(&Asked<'_>) -> Verdict,
    /// What the operator does with objects of this kind.
    pub verbs: &'static [&'static str],
    /// The controller of this kind is in this release.
    pub reconciled: bool,
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind: "Polecat",
        plural: "polecats",
        doc: "One disposable worker: clones a repository, lets an agent work on one task, pushes the work branch.",
        crd: || finish(Polecat::crd(), Spec::Optional),
        admit: |asked| admit_on_hub(asked, polecat_spec, admission::polecat::admit),
        verbs: &["get", "list", "watch", "patch", "delete"],
        reconciled: true,
    },
    Kind {
        doc: "A project: its repository, its bead prefix, its settings.",
        crd: || finish(Rig::crd(), Spec::Optional),
        admit: |asked| admission::rig::admit(asked.sent),
        ..stored::<Rig>("Rig", "rigs")
    },
    Kind {
        doc: "A batch of beads that are followed together until all are done.",
        crd: || finish(Convoy::crd(), Spec::Optional),
        ..stored::<Convoy>("Convoy", "convoys")
    },
    Kind {
        doc: "Looks after the health of a Rig's Polecats in its own namespace.",
        crd: || finish(Witness::crd(), Spec::Required),
        ..stored::<Witness>("Witness", "witnesses")
    },
    Kind {
        doc: "Merges the finished work of a Rig's Polecats, one branch after another.",
        crd: || finish(Refinery::crd(), Spec::Required),
        ..stored::<Refinery>("Refinery", "refineries")
    },
    Kind {
        doc: "The beads (issues) of a Rig, kept in its repository.",
        crd: || finish(BeadStore::crd(), Spec::Required),
        ..stored::<BeadStore>("BeadStore", "beadstores")
    },
    Kind {
        group: fleet::GROUP,
        version: "v1",
        doc: "One gptme server for one client.",
        crd: || finish(ClientPod::crd(), Spec::Optional),
        ..stored::<ClientPod>("ClientPod", "clientpods")
    },
];

/// Whether an object may be without its spec, as in the original.
#[derive(Clone, Copy, PartialEq)]
enum Spec {
    Optional,
    Required,
}

/// A row of a kind whose controller is not in this release.
const fn stored<K: Stored>(kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind,
        plural,
        doc: "",
        crd: CustomResourceDefinition::default,
        admit: |_| admission::stored::admit::<K>(),
        verbs: &["get", "list", "watch", "patch"],
        reconciled: false,
    }
}

/// What the operator does with objects that are not ours: group, resource, verbs, why.
pub const FOREIGN: &[(&str, &str, &[&str], &str)] = &[
    ("", "namespaces", &["list", "watch"], "metadata only: whether an annotation pauses one"),
    ("", "resourcequotas", &["list", "watch"], "when there is room for a pod that was refused"),
    ("", "pods", &["get", "list", "watch", "create", "delete"], "one pod per attempt of a Polecat"),
    (
        "",
        "events",
        &["list", "create"],
        "Warnings on our objects; whether a pod that is gone ever had a node",
    ),
];

/// A row by group and plural name.
pub fn find(group: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.group == group && it.plural == plural)
}

/// Asks with the hub's shape of the spec, whatever version was sent. An object that is none is left to the schema, which
/// refuses it after us.
fn admit_on_hub<S>(
    asked: &Asked<'_>,
    spec: fn(&Value) -> Option<S>,
    admit: fn(&Request<'_, S>) -> Verdict,
) -> Verdict {
    let Some(new) = spec(asked.sent) else { return Verdict::default() };
    admit(&Request { asked: *asked, new, old: asked.stored.and_then(spec) })
}

/// The spec of a served Polecat in the hub's shape. Its status is not read: a client may send anything there.
fn polecat_spec(served: &Value) -> Option<v1beta1::PolecatSpec> {
    let spec = match served.get("spec") {
        None | Some(Value::Null) => v1alpha1::PolecatSpec::default(),
        Some(it) => serde_json::from_value(it.clone()).ok()?,
    };
    Some(
        conversion::polecat::to_hub(Polecat {
            metadata: ObjectMeta::default(),
            spec,
            status: None,
        })
        .spec,
    )
}

/// The derived CRD in the original's shape.
fn finish(mut crd: CustomResourceDefinition, spec: Spec) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|it| it.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        schema.title = None;
        if let (Some(required), Spec::Optional) = (&mut schema.required, spec) {
            required.retain(|it| it != "spec");
        }
        schema.required = schema.required.take().filter(|it| !it.is_empty());
        schema.properties.iter_mut().flatten().for_each(|(name, it)| settle(name, it));
    }
    crd
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
