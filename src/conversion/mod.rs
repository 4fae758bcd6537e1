//! Old shape to new shape and back: pure, and total for every object that a served schema accepts.
//!
//! **The mapping is data.** A kind has a table of rows, written by hand: a path in `v1alpha1`, the path in `v1beta1`, and
//! a lens for the value ([`table`], [`lens`]). Everything else follows from them and from the two schemas:
//!
//! - What a row names moves; what neither version knows stays where it is. Values stay the text that came in ([`json`]),
//!   so unknown fields, nulls and odd numbers survive, and nothing is read that need not be.
//! - *Lost* is, by definition, what a conversion there and back would not bring back. Just that rides in one annotation
//!   on the other version's object ([`delta`]): `gastown.io/v1beta1-fields` on a v1alpha1 object,
//!   `gastown.io/v1alpha1-fields` on a v1beta1 one. So every lens and every row may lose something, and no object does.
//! - **An edit in the version that an object is written in wins.** A change rides with a hash of what came back in its
//!   stead, so that it is seen when somebody has touched that since; and whatever the annotation adds, the object must
//!   say the same in the version that was written, or the addition is dropped.
//! - **The annotation is anybody's text.** Of it only paths below `spec` that the target's schema knows are applied, with
//!   values within its bounds; the rest is carried along inert, and is there again after the way back.
//! - The status is one shape in both versions and never rides: whoever writes the main resource can neither drop nor forge
//!   what happened. Labels, other annotations and managed fields are not touched.
//! - The same input gives the same bytes; longer annotations than 4 KiB are compressed, more than 64 KiB (or than the
//!   256 KiB that Kubernetes gives to all annotations) is refused with the reason.
//!
//! A full replace in the older version without the annotation drops those fields, as it drops any field it leaves out.
//!
//! [`review`] is the `ConversionReview` around it: one object at a time, from the body straight to the answer.

mod bead_store;
mod convert;
mod convoy;
pub mod delta;
pub mod json;
pub mod lens;
mod metadata;
pub mod polecat;
mod refinery;
pub mod review;
mod rig;
pub mod scan;
pub mod schema;
pub mod table;
mod weight;
mod witness;

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::api::{
    schema::{bounded, derived},
    v1alpha1, v1beta1,
};

pub use convert::{Refusal, convert};

/// A kind in both versions: its table, and where its schemas come from.
#[derive(Debug)]
pub struct Pair {
    pub table: &'static table::Table,
    pub alpha: fn() -> CustomResourceDefinition,
    pub beta: fn() -> CustomResourceDefinition,
}

macro_rules! pairs {
    ($($table:ident: $alpha:ident, $beta:ident;)*) => {
        /// The kinds that have two versions.
        pub const PAIRS: &[Pair] = &[$(Pair {
            table: &$table::TABLE,
            alpha: derived::<v1alpha1::$alpha>,
            beta: bounded::<v1beta1::$beta>,
        }),*];
    };
}

pairs! {
    polecat: Polecat, PolecatObject;
    rig: Rig, Rig;
    convoy: Convoy, Convoy;
    witness: Witness, Witness;
    refinery: Refinery, Refinery;
    bead_store: BeadStore, BeadStore;
}

/// The kinds that have two versions, ready to be converted.
pub fn kinds() -> &'static [table::Kind] {
    static KINDS: OnceLock<Vec<table::Kind>> = OnceLock::new();
    let ready = |it: &Pair| {
        let spec = |crd: fn() -> _| schema::Schema::read(&part(&crd(), "spec"));
        table::Kind::new(it.table, spec(it.alpha), spec(it.beta))
    };
    KINDS.get_or_init(|| PAIRS.iter().map(ready).collect())
}

/// A part of the schema of the only version of a definition.
pub fn part(crd: &CustomResourceDefinition, name: &str) -> Value {
    let version = crd.spec.versions.first().and_then(|it| it.schema.as_ref());
    let whole = version.and_then(|it| it.open_api_v3_schema.as_ref());
    let part = whole.and_then(|it| it.properties.as_ref()?.get(name));
    serde_json::to_value(part).unwrap_or_default()
}

#[cfg(test)]
mod effort;
#[cfg(test)]
pub mod laws;
#[cfg(test)]
mod tests;
