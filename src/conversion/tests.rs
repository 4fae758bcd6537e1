//! Conversion of a made-up kind that has every difficulty at once.
#![expect(clippy::needless_pass_by_value, reason = "objects are written in place")]

mod hostile;
mod reviews;

use serde_json::{Value, json};

use super::{
    convert,
    effort::in_proportion,
    lens::Lens,
    review::Review,
    schema::Schema,
    table::{Default, Kind, Row, Table, Version},
};

const TABLE: Table = Table {
    kind: "Widget",
    rows: &[
        Row::same("size"),
        Row::moved("rig", "rigRef.name"),
        Row::moved("pod.image", "agent.image").through(Lens::Filled).beside("repository"),
        Row::moved("image", "agent.image").through(Lens::Filled),
        Row::moved("pod.url", "repository.url"),
        Row::moved("interval", "intervalSeconds").through(Lens::Seconds),
        Row::moved("mode", "mode").through(Lens::Words(&[("yes", "Strict"), ("no", "Loose")])),
    ],
    defaults: &[
        Default {
            version: Version::V1alpha1,
            path: "where",
            text: "\"here\"",
            goes_without_saying: true,
        },
        Default {
            version: Version::V1alpha1,
            path: "pod.check",
            text: "\"yes\"",
            goes_without_saying: true,
        },
        Default {
            version: Version::V1beta1,
            path: "completion",
            text: "\"ExitCode\"",
            goes_without_saying: true,
        },
    ],
};

fn widget() -> Vec<Kind> {
    let alpha = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "rig": {"type": "string"}, "image": {"type": "string"},
        "where": {"type": "string"}, "interval": {"type": "string"}, "mode": {"type": "string"},
        "pod": {"type": "object", "properties": {
            "image": {"type": "string"}, "url": {"type": "string"}, "check": {"type": "string"},
        }},
    }});
    let beta = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "rigRef": {"type": "object", "properties": {"name": {"type": "string"}}},
        "agent": {"type": "object", "properties": {"image": {"type": "string"}, "grade": {"type": "integer", "maximum": 9}}},
        "repository": {"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string"}, "depth": {"type": "integer", "minimum": 1},
        }},
        "intervalSeconds": {"type": "integer", "minimum": 0},
        "mode": {"type": "string", "enum": ["Strict", "Loose", "Both"]},
        "completion": {"type": "string", "enum": ["ExitCode", "Push"]},
        "notes": {"type": "array", "items": {"type": "string", "maxLength": 9000}},
    }});
    vec![Kind::new(&TABLE, Schema::read(&alpha), Schema::read(&beta))]
}

fn api(version: &str) -> String {
    format!("gastown.gastown.io/{version}")
}

fn object(version: &str, spec: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": api(version), "kind": "Widget",
        "metadata": {"name": "w", "annotations": annotations, "managedFields": [{"manager": "m"}]},
        "spec": spec, "status": {"phase": "Done", "attempt": 3},
    })
}

fn to(version: &str, object: &Value) -> Value {
    let mut out = String::new();
    convert(&widget(), &object.to_string(), &api(version), &mut out).unwrap();
    serde_json::from_str(&out).unwrap()
}

fn up(object: &Value) -> Value {
    to("v1beta1", object)
}

fn down(object: &Value) -> Value {
    to("v1alpha1", object)
}

fn note(object: &Value) -> String {
    let all = &object["metadata"]["annotations"];
    let ours = ["gastown.io/v1beta1-fields", "gastown.io/v1alpha1-fields"];
    ours.iter().filter_map(|it| all[it].as_str()).collect()
}

#[test]
fn fields_move_and_the_usual_object_needs_no_annotation() {
    let old = object(
        "v1alpha1",
        json!({"size": 1, "rig": "r", "where": "here", "interval": "30s", "mode": "yes",
            "pod": {"url": "u", "image": "i", "check": "yes"}, "unknown": [null]}),
        json!({"mine": "x"}),
    );
    let new = up(&old);
    let want = json!({"size": 1, "rigRef": {"name": "r"}, "agent": {"image": "i"}, "repository": {"url": "u"},
        "intervalSeconds": 30, "mode": "Strict", "completion": "ExitCode", "unknown": [null]});
    assert_eq!(new["spec"], want);
    assert_eq!(new["apiVersion"], "gastown.gastown.io/v1beta1");
    for same in ["metadata", "status"] {
        assert_eq!(new[same], old[same], "{same} is not touched");
    }
    assert_eq!(down(&new), old);
}

#[test]
fn what_a_version_cannot_say_rides_and_comes_back() {
    let table = [
        ("v1beta1", json!({"completion": "Push"}), "a field of its own"),
        (
            "v1beta1",
            json!({"mode": "Both", "completion": "ExitCode"}),
            "a word that the other lacks",
        ),
        (
            "v1beta1",
            json!({"repository": {"url": "u", "depth": 2}, "completion": null}),
            "inside, and null",
        ),
        ("v1beta1", json!({"agent": {"grade": 3}}), "alone in its parent, and without the default"),
        ("v1beta1", json!({"rigRef": {}, "agent": null}), "an empty object, a null one"),
        ("v1beta1", json!({"notes": ["a/b~c\"\\\u{1}é"]}), "odd characters"),
        ("v1beta1", json!({"size": {"x": 1}}), "wrong types"),
        ("v1alpha1", json!({"image": "a", "pod": {"url": "u", "image": "b"}}), "a shadowed field"),
        (
            "v1alpha1",
            json!({"image": "a", "pod": {"url": "u", "image": ""}}),
            "an empty one beside it",
        ),
        ("v1alpha1", json!({"interval": "1500ms", "mode": "what"}), "values without a word"),
        ("v1alpha1", json!({"interval": "1m0s"}), "another way to say it"),
        ("v1alpha1", json!({"pod": {}}), "an empty object"),
        ("v1alpha1", json!({"where": "there", "pod": {"check": "no"}}), "not the default"),
        ("v1alpha1", json!({"pod": {"strange": {"deep": null}}, "new/er": 1.50}), "unknown fields"),
        ("v1alpha1", json!(null), "no spec"),
        ("v1alpha1", json!({}), "an empty one"),
    ];
    for (version, spec, because) in table {
        let one = object(version, spec, json!({"mine": "x"}));
        let other = if version == "v1beta1" { down(&one) } else { up(&one) };
        assert_eq!(to(version, &other), one, "{because}: by way of {other:#}");
        assert_eq!(other["status"], one["status"], "{because}: the status never rides");
    }
}

#[test]
fn only_what_is_lost_rides() {
    let one = object("v1beta1", json!({"rigRef": {"name": "r"}, "completion": "Push"}), json!({}));
    let was = super::delta::hash("\"ExitCode\"");
    let want = format!(r#"{{"change":{{"/spec/completion":["{was}","Push"]}}}}"#);
    assert_eq!(note(&down(&one)), want);
}

#[test]
fn an_edit_in_the_other_version_wins() {
    let edit = |version: &str, spec: Value, change: &dyn Fn(&mut Value)| {
        let one = object(version, spec, json!({}));
        let mut other = if version == "v1beta1" { down(&one) } else { up(&one) };
        change(&mut other["spec"]);
        let back = to(version, &other);
        assert_eq!(note(&back), "", "nothing stale is left");
        back["spec"].clone()
    };
    let both =
        json!({"mode": "Both", "completion": "Push", "repository": {"url": "u", "depth": 2}});
    assert_eq!(
        edit("v1beta1", both.clone(), &|it| it["mode"] = json!("yes")),
        json!({"mode": "Strict", "completion": "Push", "repository": {"url": "u", "depth": 2}}),
        "one field was edited, the others stay"
    );
    assert_eq!(
        edit("v1beta1", both.clone(), &|it| drop(it.as_object_mut().unwrap().remove("pod"))),
        json!({"mode": "Both", "completion": "Push"}),
        "what hung on a block goes with it"
    );
    assert_eq!(
        edit("v1beta1", both, &|it| it["pod"]["url"] = json!("v")),
        json!({"mode": "Both", "completion": "Push", "repository": {"url": "v", "depth": 2}}),
        "an edit beside it leaves it alone"
    );
    let shadowed =
        json!({"image": "a", "where": "here", "pod": {"url": "u", "image": "b", "check": "yes"}});
    assert_eq!(
        edit("v1alpha1", shadowed.clone(), &|it| it["agent"]["image"] = json!("c")),
        json!({"image": "a", "where": "here", "pod": {"url": "u", "image": "c", "check": "yes"}}),
        "the field that counts is the one that is edited"
    );
    assert_eq!(
        edit("v1alpha1", shadowed, &|it| drop(it.as_object_mut().unwrap().remove("agent"))),
        json!({"where": "here", "pod": {"url": "u", "check": "yes"}}),
        "what was shadowed does not come to life"
    );
}

#[test]
fn a_forged_annotation_adds_nothing_that_the_bounds_refuse() {
    let base = json!({"rig": "r", "where": "here", "pod": {"url": "u", "check": "yes"}});
    let plain = up(&object("v1alpha1", base.clone(), json!({})))["spec"].clone();
    let inert = [
        ("{", "no JSON"),
        (r#"{"add":{"/status/attempt":9}}"#, "not the spec"),
        (r#"{"add":{"/metadata/name":"x"}}"#, "not the spec"),
        (r#"{"add":{"/spec/privileged":true}}"#, "an unknown field"),
        (r#"{"add":{"/spec/agent":{"grade":3,"root":true}}}"#, "an unknown field inside"),
        (r#"{"add":{"/spec/repository/depth":0}}"#, "below its bound"),
        (r#"{"add":{"/spec/agent":{"grade":10}}}"#, "above its bound"),
        (r#"{"add":{"/spec/completion":"Never"}}"#, "not a choice"),
        (r#"{"add":{"/spec/completion":"Push"},"add":{}}"#, "a field twice"),
        (r#"{"add":{"/spec/notes":["x"]},"more":1}"#, "a word of another release"),
        (r#"{"remove":{"/spec/repository/url":"0000000000000000"}}"#, "a required field"),
        ("deflate:AAAA", "nothing to unfold"),
    ];
    for (text, because) in inert {
        let one = object("v1alpha1", base.clone(), json!({"gastown.io/v1beta1-fields": text}));
        let new = up(&one);
        assert_eq!(new["spec"], plain, "{because}: {text}");
        assert_eq!(down(&new), one, "{because}: carried along: {new:#}");
    }
    let contradicts = [
        (r#"{"add":{"/spec/agent":{"image":"evil"}}}"#, "a field that v1alpha1 can say itself"),
        (r#"{"add":{"/spec/size":9}}"#, "the same in its own place"),
        (r#"{"add":{"/spec/completion":"Push"}}"#, "there is something else there"),
        (
            r#"{"change":{"/spec/completion":["0000000000000000","Push"]}}"#,
            "there was something else there",
        ),
    ];
    for (text, because) in contradicts {
        let one = object("v1alpha1", base.clone(), json!({"gastown.io/v1beta1-fields": text}));
        assert_eq!(up(&one)["spec"], plain, "{because}: {text}");
        assert_eq!(note(&up(&one)), "", "{because}");
    }
    let mixed = r#"{"add":{"/spec/agent":{"grade":9},"/spec/privileged":true}}"#;
    let one = object("v1alpha1", base, json!({"gastown.io/v1beta1-fields": mixed}));
    assert_eq!(up(&one)["spec"]["agent"], json!({"grade": 9}), "what is in order is applied");
    assert_eq!(down(&up(&one)), one, "and the rest is still there");
}

#[test]
fn an_annotation_under_the_other_name_is_carried_too() {
    let one = object(
        "v1beta1",
        json!({"completion": "Push"}),
        json!({"gastown.io/v1beta1-fields": r#"{"add":{"/spec/agent":{"grade":1}}}"#, "gastown.io/v1alpha1-fields": "junk"}),
    );
    let old = down(&one);
    assert_eq!(up(&old), one, "by way of {old:#}");
    let mut edited = up(&old);
    edited["spec"]["notes"] = json!(["new"]);
    assert_eq!(up(&down(&edited)), edited);
}

#[test]
fn a_small_annotation_never_makes_more_than_an_object_may_have() {
    let much = Some("x".repeat(300_000));
    let half = Some("x".repeat(140_000));
    let none = super::delta::Delta::default;
    let table = [
        (super::delta::Delta { own: much.clone(), ..none() }, 0, "under the one name"),
        (super::delta::Delta { kept: much, ..none() }, 0, "under the other"),
        (super::delta::Delta { own: half.clone(), kept: half.clone(), ..none() }, 0, "together"),
        (super::delta::Delta { own: half, ..none() }, 130_000, "beside others"),
    ];
    for (delta, others, because) in table {
        let annotations =
            json!({"mine": "y".repeat(others), "gastown.io/v1alpha1-fields": delta.encode()});
        let one = object("v1beta1", json!({"completion": "ExitCode"}), annotations);
        let old = down(&one);
        let all = old["metadata"]["annotations"].as_object().unwrap();
        let size: usize =
            all.iter().map(|(name, it)| name.len() + it.as_str().unwrap().len()).sum();
        assert!(size <= 256 * 1024, "{because}: {size} bytes, which no API server hands out");
        assert_eq!(up(&old), one, "{because}: and it is carried along");
    }
}

#[test]
fn what_is_lost_of_a_large_map_is_found_without_a_search_for_each_name() {
    let many = |count: usize| -> Value {
        (0..count)
            .map(|it| (format!("key-{it}"), json!(1)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    in_proportion(10_000, |count| {
        let texts = [count, count + 1].map(|it| json!({"labels": many(it)}).to_string());
        let mut both = texts.each_ref().map(|it| super::json::Members::parse(it).unwrap());
        let [whole, back] = &mut both;
        let lost = super::delta::lost(whole, back).unwrap();
        assert_eq!(lost.remove.len(), 1, "{:?}", lost.add.keys());
    });
}

#[test]
fn long_ones_are_compressed_and_too_long_ones_refused() {
    let words = |count: usize, seed: u64| {
        let mut state = seed;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{state:016x}")
        };
        json!((0..count).map(|_| word()).collect::<Vec<_>>())
    };
    let long =
        object("v1beta1", json!({"completion": "ExitCode", "notes": words(1000, 1)}), json!({}));
    let old = down(&long);
    let size = note(&old).len();
    assert!(note(&old).starts_with("deflate:") && size < 15_000, "{size} bytes for 19,000");
    assert_eq!(up(&old), up(&down(&up(&old))));
    assert_eq!(up(&old)["spec"], long["spec"]);

    let refusal = |object: &Value| {
        let mut out = String::new();
        convert(&widget(), &object.to_string(), &api("v1alpha1"), &mut out).unwrap_err().to_string()
    };
    let much =
        object("v1beta1", json!({"completion": "ExitCode", "notes": words(20_000, 2)}), json!({}));
    let told = refusal(&much);
    assert!(told.contains("gastown.io/v1beta1-fields") && told.contains("at most 65536"), "{told}");
    let full = json!({"mine": "x".repeat(262_090)});
    let told =
        refusal(&object("v1beta1", json!({"completion": "Push", "notes": ["n"]}), full.clone()));
    assert!(told.contains("make those fields or the other annotations smaller"), "{told}");
    let fine = object("v1beta1", json!({"completion": "ExitCode", "size": 1}), full);
    assert_eq!(up(&down(&fine)), fine, "full annotations are no harm where nothing is lost");
    let bomb = super::delta::Delta {
        under: Some("0".repeat(2_000_000)),
        ..super::delta::Delta::default()
    };
    assert_eq!(super::delta::Delta::decode(&bomb.encode()), None, "unfolds to too much");
}

#[test]
fn the_same_input_gives_the_same_bytes_whatever_the_layout() {
    let one = object(
        "v1beta1",
        json!({"completion": "Push", "notes": ["a"], "agent": {"grade": 1}}),
        json!({}),
    );
    let bytes = |text: &str| {
        let mut out = String::new();
        convert(&widget(), text, &api("v1alpha1"), &mut out).unwrap();
        out
    };
    assert_eq!(bytes(&one.to_string()), bytes(&one.to_string()));
    let pretty: Value = serde_json::from_str(&bytes(&format!("{one:#}"))).unwrap();
    assert_eq!(pretty["spec"], down(&one)["spec"]);
}

#[test]
fn what_cannot_be_converted_is_told() {
    let table = [
        (
            r#"{"apiVersion":"gastown.gastown.io/v1alpha1","kind":"Widget","spec":{"rig":1,"rig":2}}"#,
            "\"rig\" twice",
        ),
        (r#"{"kind":"Widget"}"#, "no apiVersion"),
        (r#"{"apiVersion":"gastown.gastown.io/v1alpha1","kind":"Gadget"}"#, "kind Gadget"),
        (r#"{"apiVersion":"other/v1alpha1","kind":"Widget"}"#, "between other/v1alpha1 and"),
        (
            r#"{"apiVersion":"gastown.gastown.io/v1alpha1","kind":"Widget","metadata":1,"spec":{"image":"","where":"x"}}"#,
            "metadata is not an object",
        ),
    ];
    for (text, want) in table {
        let mut out = String::new();
        let told = convert(&widget(), text, &api("v1beta1"), &mut out).unwrap_err().to_string();
        assert!(told.contains(want) && out.is_empty(), "{text}: {told}");
    }
}
