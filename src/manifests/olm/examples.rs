//! `alm-examples`: the samples, in every version that is served.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{conversion, kinds::KINDS};

const SAMPLES: [&str; 7] = [
    include_str!("../../../deploy/samples/polecat.yaml"),
    include_str!("../../../deploy/samples/rig.yaml"),
    include_str!("../../../deploy/samples/convoy.yaml"),
    include_str!("../../../deploy/samples/witness.yaml"),
    include_str!("../../../deploy/samples/refinery.yaml"),
    include_str!("../../../deploy/samples/bead-store.yaml"),
    include_str!("../../../deploy/samples/client-pod.yaml"),
];

/// One example of each served version of each kind.
pub fn all() -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for sample in SAMPLES {
        let sample: Value = serde_saphyr::from_str(sample)?;
        let hub = in_hub(&sample)?;
        all.push(sample);
        all.extend(hub);
    }
    all.push(map());
    Ok(all)
}

/// The same object in v1beta1, where that is served, by the conversion that the API server asks.
fn in_hub(sample: &Value) -> anyhow::Result<Option<Value>> {
    let text = |path: &str| sample.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let kind = KINDS.iter().find(|it| it.kind == text("/kind")).context("a kind of ours")?;
    let Some((group, _)) = text("/apiVersion").split_once('/').filter(|_| kind.beta.is_some())
    else {
        return Ok(None);
    };
    let mut hub = String::new();
    let version = format!("{group}/v1beta1");
    conversion::convert(conversion::kinds(), &sample.to_string(), &version, &mut hub)
        .map_err(|why| anyhow::anyhow!("a sample can't be converted: {why}"))?;
    let mut hub: Value = serde_json::from_str(&hub)?;
    if let Some(metadata) = hub.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations"); // what v1alpha1 alone can say
    }
    Ok(Some(hub))
}

/// The operator makes the map itself; this one is to be read.
fn map() -> Value {
    let kind = KINDS.iter().find(|it| it.inner).map(|it| (it.group, it.version, it.kind));
    let (group, version, kind) = kind.unwrap_or_default();
    json!({
        "apiVersion": format!("{group}/{version}"),
        "kind": kind,
        "metadata": {"name": "gastown"},
        "spec": {
            "version": 1,
            "shards": [{"id": 0, "buckets": ["0-511"]}, {"id": 1, "buckets": ["512-1023"]}],
        },
    })
}
