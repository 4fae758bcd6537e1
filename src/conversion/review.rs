//! `ConversionReview` of `apiextensions.k8s.io/v1`: read without a copy, answered in pieces. While an answer goes out
//! there is the body, and one piece of a few objects; never a second list.

use std::{
    borrow::Cow,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    convert::{Refusal, shown},
    json::{self, Members},
    scan,
};

const API_VERSION: &str = "apiextensions.k8s.io/v1";
/// Deepest nesting of a review; etcd's objects are far from it.
const DEEPEST: usize = 128;
/// A piece of an answer is sent when it has grown to this.
const PIECE: usize = 64 * 1024;

/// Why a body is no review that could be answered as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the body is no ConversionReview: {0}")]
    Json(String),
    #[error("the body is nested deeper than {DEEPEST} levels")]
    Deep,
    #[error("send a ConversionReview of {API_VERSION}, not {0}")]
    Foreign(String),
    #[error("the ConversionReview has no {0}")]
    Without(&'static str),
}

/// The API server sends an empty `response` with its request: whatever is in it is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, rename = "desiredAPIVersion", default)]
    desired: Cow<'a, str>,
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

/// Appends an object, the first, as the version that is named second says it.
pub type Convert<'c> = dyn Fn(&str, &str, &mut String) -> Result<(), Refusal> + Sync + 'c;

/// A review that is being answered.
#[derive(Debug)]
pub struct Review {
    uid: String,
    desired: String,
    /// Where its objects are in the body.
    objects: std::vec::IntoIter<Range<usize>>,
    stage: Stage,
    converted: usize,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Objects,
    End,
}

impl Review {
    /// Reads a review's envelope.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        // Before anything is parsed: what is skipped over is not counted by the parser.
        if scan::depth(body) > DEEPEST {
            return Err(Malformed::Deep);
        }
        let text = std::str::from_utf8(body).map_err(|it| Malformed::Json(it.to_string()))?;
        let Envelope { api_version, kind, request } =
            serde_json::from_str(text).map_err(|it| Malformed::Json(it.to_string()))?;
        if api_version != API_VERSION || kind != "ConversionReview" {
            return Err(Malformed::Foreign(format!("{} of {}", shown(&kind), shown(&api_version))));
        }
        let Request { uid, desired, objects } = request.ok_or(Malformed::Without("request"))?;
        if uid.is_empty() {
            return Err(Malformed::Without("request.uid"));
        }
        if desired.is_empty() {
            return Err(Malformed::Without("request.desiredAPIVersion"));
        }
        let begin = text.as_ptr() as usize;
        let place = |it: &RawValue| {
            let at = it.get().as_ptr() as usize - begin;
            at..at + it.get().len()
        };
        let objects: Vec<_> = objects.into_iter().map(place).collect();
        Ok(Self {
            uid: uid.into_owned(),
            desired: desired.into_owned(),
            objects: objects.into_iter(),
            stage: Stage::Begin,
            converted: 0,
            failure: None,
        })
    }

    /// Where its object is in the body, if there is one alone; before any was converted.
    pub fn only(&self) -> Option<Range<usize>> {
        match self.objects.as_slice() {
            [it] => Some(it.clone()),
            _ => None,
        }
    }

    /// The version that is asked for.
    pub fn desired(&self) -> &str {
        &self.desired
    }

    /// Nothing of the answer is left.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::End
    }

    /// How many were converted.
    pub const fn converted(&self) -> usize {
        self.converted
    }

    /// Why the review failed, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The next piece of the answer to this review, which was read from `body`; none after the last.
    pub fn next_piece(&mut self, convert: &Convert<'_>, body: &[u8]) -> Option<Vec<u8>> {
        let mut out = String::new();
        if self.stage == Stage::Begin {
            out.reserve(PIECE.min(body.len()) + PIECE / 4);
            out.push_str(r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":"#);
            json::quote(&self.uid, &mut out);
            out.push_str(r#","convertedObjects":["#);
            self.stage = Stage::Objects;
        } else if self.stage == Stage::Objects {
            out.reserve(PIECE + PIECE / 4);
        } else {
            return None;
        }
        while out.len() < PIECE {
            let Some(place) = self.objects.next() else {
                self.end(&mut out);
                break;
            };
            let length = out.len();
            if self.converted > 0 {
                out.push(',');
            }
            if let Err(why) = self.one(convert, body.get(place).unwrap_or_default(), &mut out) {
                out.truncate(length);
                self.failure = Some(why);
                self.end(&mut out);
                break;
            }
            self.converted += 1;
        }
        Some(out.into_bytes())
    }

    /// Converts one object; a panic is this review's failure and no one else's.
    fn one(&self, convert: &Convert<'_>, object: &[u8], out: &mut String) -> Result<(), String> {
        let text = std::str::from_utf8(object).map_err(|it| it.to_string())?;
        let outcome = catch_unwind(AssertUnwindSafe(|| convert(text, &self.desired, out)));
        let why = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => "a defect in the conversion; please report it".to_owned(),
        };
        let index = self.converted;
        Err(format!(
            "{} (object {index}) can't be converted to {}: {why}",
            named(text),
            shown(&self.desired)
        ))
    }

    fn end(&mut self, out: &mut String) {
        self.stage = Stage::End;
        self.objects = Vec::new().into_iter();
        out.push_str(r#"],"result":{"#);
        match &self.failure {
            None => out.push_str(r#""status":"Success""#),
            Some(why) => {
                out.push_str(r#""status":"Failure","message":"#);
                json::quote(why, out);
            }
        }
        out.push_str("}}}");
    }
}

/// An object's kind, namespace and name, as far as they can be read.
pub fn named(text: &str) -> String {
    let Ok(mut object) = Members::parse(text) else { return "an object".into() };
    let mut word = |path: &[&str]| {
        let value = object.at(path).ok().flatten().map(|it| it.value.to_text());
        value.as_deref().and_then(json::string).map(|it| shown(&it)).unwrap_or_default()
    };
    let (kind, namespace, name) =
        (word(&["kind"]), word(&["metadata", "namespace"]), word(&["metadata", "name"]));
    match (namespace.as_str(), name.as_str()) {
        (_, "") => format!("a {kind} without a name"),
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}
