//! The comparison: `kube`'s `ConversionReview`, whose objects are a `Vec<Value>`, and a typed conversion between. It has no
//! annotation to think of, and drops what its types do not know.

use anyhow::{Result, anyhow, bail};
use gastown::api::{v1alpha1, v1beta1};
use kube::core::conversion::{ConversionRequest, ConversionReview};
use serde_json::Value;

/// The whole answer.
pub fn answer(body: &[u8]) -> Result<Vec<u8>> {
    let review: ConversionReview = serde_json::from_slice(body)?;
    let mut request = ConversionRequest::from_review(review).map_err(|why| anyhow!("{why}"))?;
    let objects = std::mem::take(&mut request.objects);
    let up = request.desired_api_version.ends_with("v1beta1");
    let objects: Vec<Value> =
        objects.into_iter().map(|it| convert(it, up)).collect::<Result<_>>()?;
    let response = kube::core::conversion::ConversionResponse::for_request(request);
    Ok(serde_json::to_vec(&response.success(objects).into_review())?)
}

fn convert(object: Value, up: bool) -> Result<Value> {
    match (object.get("kind").and_then(Value::as_str), up) {
        (Some("Convoy"), true) => {
            Ok(serde_json::to_value(convoy_up(serde_json::from_value(object)?))?)
        }
        (Some("Convoy"), false) => {
            Ok(serde_json::to_value(convoy_down(serde_json::from_value(object)?))?)
        }
        (kind, _) => bail!("no such kind: {kind:?}"),
    }
}

fn convoy_up(old: v1alpha1::Convoy) -> v1beta1::Convoy {
    let v1alpha1::Convoy { metadata, spec, status } = old;
    let v1alpha1::ConvoySpec { description, tracked_beads, parallelism, rig_ref } = spec;
    v1beta1::Convoy {
        metadata,
        spec: v1beta1::ConvoySpec {
            description,
            beads: tracked_beads.into_iter().map(|id| v1beta1::FollowedBead { id }).collect(),
            parallelism: Some(parallelism).filter(|it| *it > 0),
            rig_ref: rig_ref.map(|name| v1beta1::RigRef { name }),
        },
        status,
    }
}

fn convoy_down(new: v1beta1::Convoy) -> v1alpha1::Convoy {
    let v1beta1::Convoy { metadata, spec, status } = new;
    let v1beta1::ConvoySpec { description, beads, parallelism, rig_ref } = spec;
    v1alpha1::Convoy {
        metadata,
        spec: v1alpha1::ConvoySpec {
            description,
            tracked_beads: beads.into_iter().map(|it| it.id).collect(),
            parallelism: parallelism.unwrap_or_default(),
            rig_ref: rig_ref.map(|it| it.name),
        },
        status,
    }
}
