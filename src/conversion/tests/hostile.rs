//! Objects that are as large as an API server takes, made to keep a conversion busy: it takes in proportion to their size.

use super::*;
use crate::conversion::{
    convert::{Refusal, tries},
    delta::{Delta, hash},
};

const LABELS: Table = Table { kind: "Widget", rows: &[Row::same("labels")], defaults: &[] };
/// Members of a large object, half a megabyte of them.
const MANY: usize = 20_000;

fn kinds() -> Vec<Kind> {
    let spec = json!({"type": "object", "properties": {
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    vec![Kind::new(&LABELS, Schema::read(&spec), Schema::read(&spec))]
}

fn labels(from: usize, to: usize) -> Value {
    let all = (from..to).map(|it| (format!("label-number-{it:05}"), json!("v")));
    all.collect::<serde_json::Map<_, _>>().into()
}

/// Converts, and says what became of the labels.
fn labelled(object: &Value) -> Value {
    let (mut out, text) = (String::new(), object.to_string());
    convert(&kinds(), &text, &api("v1beta1"), &mut out).unwrap();
    serde_json::from_str::<Value>(&out).unwrap()["spec"].take()
}

fn forged(spec: Value, delta: &Delta) -> Value {
    object("v1alpha1", spec, json!({"gastown.io/v1beta1-fields": delta.encode()}))
}

fn path(number: usize) -> String {
    format!("/spec/labels/label-number-{number:05}")
}

#[test]
fn fields_that_neither_version_knows_are_carried_however_many_there_are() {
    in_proportion(MANY, |many| {
        let spec = labels(0, many);
        assert_eq!(labelled(&object("v1alpha1", spec.clone(), json!({}))), spec);
    });
}

#[test]
fn entries_that_contradict_the_object_are_not_tried_one_by_one() {
    for which in 0..3 {
        in_proportion(MANY, |many| {
            let spec = json!({"labels": labels(0, many)});
            let object = forged(spec.clone(), &contradicting(which, many));
            assert_eq!(labelled(&object), spec, "what the object says counts");
        });
    }
}

/// So many additions, changes or removals that do not fit to an object with all its labels.
fn contradicting(which: usize, many: usize) -> Delta {
    let (was, quarter) = (hash("\"v\""), many / 4);
    let mut delta = Delta::default();
    match which {
        0 => {
            let added = |it| (path(it), "\"new\"".to_owned());
            delta.add = (many..many + quarter).map(added).collect();
        }
        1 => {
            let changed = |it| (path(it), (was.clone(), "\"x\"".to_owned()));
            delta.change = (quarter..2 * quarter).map(changed).collect();
        }
        _ => delta.remove = (0..quarter).map(|it| (path(it), was.clone())).collect(),
    }
    delta
}

/// An API server counts what annotations hold, and sends some of it as escapes of six bytes each.
#[test]
fn escapes_of_other_annotations_take_no_room_from_ours() {
    let new =
        object("v1beta1", json!({"completion": "Push"}), json!({"mine": "<".repeat(200_000)}));
    let (sent, mut out) = (new.to_string().replace('<', r"\u003c"), String::new());
    assert!(sent.len() > 1_200_000);
    convert(&widget(), &sent, &api("v1alpha1"), &mut out).unwrap();
    let old: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(up(&old)["spec"]["completion"], "Push");
}

/// Of 64 KiB it may unfold to a megabyte, on an object of a few bytes.
#[test]
fn an_annotation_that_unfolds_to_much_is_tried_as_rarely_as_a_large_object() {
    let notes = |size: usize| {
        let text = json!(["x".repeat(size / 40)]).to_string();
        let add = (0..40).map(|it| (format!("/spec/notes-{it}"), text.clone()));
        Delta { add: add.collect(), ..Delta::default() }
    };
    let [small, large] = [10, 1_000_000].map(notes);
    assert!(large.encode().len() < 64 * 1024);
    assert_eq!(tries(100, &small), tries(10_000, &small), "both are small");
    assert_eq!(tries(100, &large), tries(1_000_000, &small));
    assert!(10 * tries(100, &large) < tries(100, &small));
    let mut few = large;
    few.add.retain(|path, _| path.ends_with('0'));
    assert!(tries(1_000_000, &few) >= 64, "no honest one has many entries");
    assert!(tries(3_000_000, &few) < 64, "and no object is as large");
}

/// By halves: with one of many that contradicts, all others are restored within the tries that a large object has.
#[test]
fn one_entry_that_contradicts_takes_no_other_one_along() {
    let (large, spec) = ("x".repeat(1_000_000), json!({"size": 1, "rig": "r"}));
    for padding in ["", &large] {
        let mut spec = spec.clone();
        spec["padding"] = json!(padding);
        let hidden = [
            ("/spec/agent", r#"{"grade":1}"#),
            ("/spec/completion", "\"Push\""),
            ("/spec/mode", "\"Both\""),
            ("/spec/notes", r#"["n"]"#),
            ("/spec/repository", r#"{"url":"u","depth":2}"#),
        ];
        let add = hidden.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let new = up(&forged(spec, &Delta { add: add.into(), ..Delta::default() }));
        assert_eq!(new["spec"]["agent"], json!({"grade": 1}));
        assert_eq!(new["spec"]["mode"], "Both");
        assert_eq!(new["spec"]["notes"], json!(["n"]));
        assert_eq!(new["spec"].get("repository"), None, "v1alpha1 would show its url");
    }
}

/// Whoever keeps an object by a finalizer while it is being deleted may fill its annotations, since no webhook is asked then.
#[test]
fn what_is_being_deleted_keeps_nobody_from_reading_the_others() {
    let spec = json!({"size": 1, "mode": "Both", "notes": ["n"]});
    let full = json!({"note": "x".repeat(256 * 1024 - "note".len())});
    let mut text = object("v1beta1", spec, full.clone());
    let convert = |it: &Value| {
        let mut out = String::new();
        convert(&widget(), &it.to_string(), &api("v1alpha1"), &mut out).map(|()| out)
    };
    let why = convert(&text).unwrap_err();
    assert!(matches!(why, Refusal::TooLarge { .. }), "{why}");
    text["metadata"]["deletionTimestamp"] = json!("2026-11-29T10:00:00Z");
    let old: Value = serde_json::from_str(&convert(&text).unwrap()).unwrap();
    assert_eq!(old["metadata"]["annotations"], full, "what does not fit is left out");
    assert_eq!(old["spec"]["size"], 1);
}
