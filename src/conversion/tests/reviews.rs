//! `ConversionReview`, as the API server writes it.

use super::*;
use crate::conversion::effort::of;

/// As the API server writes one, with a response that says nothing yet.
fn review(desired: &str, objects: &[Value]) -> Value {
    json!({
        "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u-1", "desiredAPIVersion": desired, "objects": objects},
    })
}

fn answer(review: &Value) -> Value {
    let body = review.to_string();
    let kinds = widget();
    let convert = |text: &str, to: &str, out: &mut String| convert(&kinds, text, to, out);
    let mut review = Review::read(body.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = review.next_piece(&convert, body.as_bytes()) {
        bytes.extend(piece);
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_batch_is_its_objects_one_by_one_and_in_order() {
    let of = |number: usize| {
        let version = if number.is_multiple_of(3) { "v1beta1" } else { "v1alpha1" };
        let mut one =
            object(version, json!({"size": number, "completion": "x".repeat(number)}), json!({}));
        one["metadata"]["name"] = json!(format!("w-{number}"));
        one
    };
    let objects: Vec<_> = (0..500).map(of).collect();
    let answer = answer(&review(&api("v1beta1"), &objects));
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["result"], json!({"status": "Success"}));
    let singles: Vec<_> = objects.iter().map(up).collect();
    assert_eq!(
        answer["response"]["convertedObjects"],
        json!(singles),
        "mixed versions in one call"
    );
    assert_eq!(singles[3], objects[3], "one that is there already is passed through");
}

#[test]
fn an_empty_list_is_answered_by_one() {
    let response = answer(&review(&api("v1beta1"), &[]))["response"].clone();
    let want = json!({"uid": "u-1", "convertedObjects": [], "result": {"status": "Success"}});
    assert_eq!(response, want);
}

#[test]
fn a_failure_names_its_object_and_why() {
    let fine = object("v1alpha1", json!({}), json!({}));
    let mut other = fine.clone();
    other["kind"] = json!("Gadget");
    other["metadata"] = json!({"namespace": "town", "name": "max"});
    let told = answer(&review(&api("v1beta1"), &[fine, other]))["response"]["result"].clone();
    assert_eq!(told["status"], "Failure");
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("Gadget town/max (object 1) can't be converted to"), "{message}");
    assert!(message.contains("kind Gadget"), "{message}");
}

/// Before anything is made of it that takes more memory than its text.
#[test]
fn an_object_that_no_api_server_stores_is_refused_by_its_name() {
    let head = r#"{"kind":"Widget","metadata":{"name":"w","namespace":"town"},"apiVersion":"gastown.gastown.io/v1alpha1","spec":{"#;
    let table = [
        (format!(r#"{head}"notes":"{}"}}}}"#, "x".repeat(16 << 20)), "16777"),
        (format!("{head}\"\":0{}}}}}", ",\"\":0".repeat(250_000)), "250007 fields"),
    ];
    for (object, want) in table {
        let request = format!(
            r#"{{"uid":"u-1","desiredAPIVersion":"{}","objects":[{object}]}}"#,
            api("v1beta1")
        );
        let body = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{request}}}"#
        );
        let mut review = Review::read(body.as_bytes()).unwrap();
        assert!(review.weight() < 200_000, "nothing is made of it: {}", review.weight());
        let kinds = widget();
        let convert = |text: &str, to: &str, out: &mut String| convert(&kinds, text, to, out);
        let spent = of(|| {
            let answer = review.next_piece(&convert, body.as_bytes()).unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let told = answer["response"]["result"]["message"].as_str().unwrap();
            assert!(told.starts_with("Widget town/w (object 0)") && told.contains(want), "{told}");
        });
        assert_eq!(spent, 0, "it was not split");
    }
}

#[test]
fn what_many_small_fields_take_is_told_before() {
    let weight = |spec: Value| {
        let body = review(&api("v1beta1"), &[object("v1alpha1", spec, json!({}))]).to_string();
        (Review::read(body.as_bytes()).unwrap().weight(), body.len())
    };
    let (text, bytes) = weight(json!({"text": "x".repeat(1_000_000)}));
    assert!((bytes..bytes + 100_000).contains(&text), "{text}");
    let many: serde_json::Map<_, _> = (0..100_000).map(|it| (it.to_string(), json!(0))).collect();
    let (many, _) = weight(json!(many));
    assert!(many > 100_000_000, "{many}");
}

#[test]
fn what_is_no_review_is_told_so() {
    let fine = review("v", &[]);
    let without = |path: &str| {
        let mut it = fine.clone();
        it["request"].as_object_mut().unwrap().remove(path);
        it.to_string()
    };
    let table = [
        (String::new(), "EOF", "nothing"),
        ("{".into(), "EOF", "cut short"),
        ("[]".into(), "no ConversionReview", "a list"),
        ("{}".into(), "not  of ", "an empty object"),
        (without("uid"), "no request.uid", "no uid"),
        (without("desiredAPIVersion"), "no request.desiredAPIVersion", "no version"),
        (
            fine.to_string().replace("/v1\"", "/v1beta1\""),
            "of apiextensions.k8s.io/v1beta1",
            "another version",
        ),
        (
            fine.to_string().replace("ConversionReview", "AdmissionReview"),
            "AdmissionReview of",
            "another kind",
        ),
        (
            r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview"}"#.into(),
            "no request",
            "no request",
        ),
        (
            fine.to_string().replace(r#""uid":"u-1""#, r#""uid":"u-1","uid":"u-2""#),
            "duplicate field",
            "a field twice",
        ),
        (fine.to_string().replace("[]", "7"), "no ConversionReview", "objects of another type"),
        (
            fine.to_string().replace("[]", &format!("[{}0]", "0,".repeat(1_000_000))),
            "fewer than 64 bytes",
            "a list of what is no objects",
        ),
        (fine.to_string().replace("u-1", &"u".repeat(257)), "uid is longer", "a long uid"),
        (review(&"v".repeat(257), &[]).to_string(), "Version is longer", "a long version"),
        (
            fine.to_string().replace("[]", &format!("[{}{}]", "[".repeat(200), "]".repeat(200))),
            "deeper",
            "deep",
        ),
        ("[".repeat(1_000_000), "deeper", "very deep"),
    ];
    for (body, want, because) in table {
        let told = Review::read(body.as_bytes()).unwrap_err().to_string();
        assert!(told.contains(want), "{because}: {told}");
        assert!(told.len() < 300, "{because}: the body is not echoed: {told}");
    }
    assert!(Review::read(b"{\"kind\":\"\xff\"}").is_err(), "no UTF-8");
}

#[test]
fn a_panic_is_that_reviews_failure() {
    let body = review(&api("v1beta1"), &[object("v1alpha1", json!({}), json!({}))]).to_string();
    let mut review = Review::read(body.as_bytes()).unwrap();
    let broken = |_: &str, _: &str, out: &mut String| {
        out.push_str("half an obj");
        panic!("as a defect would")
    };
    let bytes = review.next_piece(&broken, body.as_bytes()).unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer["response"]["convertedObjects"], json!([]));
    let told = answer["response"]["result"]["message"].as_str().unwrap();
    assert!(told.contains("Widget w (object 0)") && told.contains("defect"), "{told}");
}
