//! `ConversionReview` of `apiextensions.k8s.io/v1`: read without a copy, answered in pieces. While an answer goes out
//! there is the body, and one piece of a few objects; never a second list.

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    convert::{Refusal, shown},
    json, scan, weight,
};

const API_VERSION: &str = "apiextensions.k8s.io/v1";
/// Deepest nesting of a review; etcd's objects are far from it.
const DEEPEST: usize = 128;
/// A piece of an answer is sent when it has grown to this.
pub const PIECE: usize = 64 * 1024;
/// No object of Kubernetes is written in fewer bytes: its `apiVersion`, kind and name. Where there is an object is noted in fewer.
const LEAST: usize = 64;
/// So many bytes of smaller ones are nothing to speak of.
const SLACK: usize = 1024;
/// Longest uid and version of a request, in bytes; both are repeated in the answer.
const WORD: usize = 256;
/// Longest name that is looked into for a message, in bytes.
const NAME: usize = 1024;

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
    #[error("the ConversionReview's {0} is longer than {WORD} bytes")]
    Long(&'static str),
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
    objects: Objects<'a>,
}

/// Objects as they were written. A list of what is too small to be one would take more memory than its text, so its reading ends there.
#[derive(Default)]
struct Objects<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Objects<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (mut all, mut begin) = (Vec::new(), None);
                while let Some(it) = list.next_element::<&RawValue>()? {
                    let at = it.get().as_ptr() as usize;
                    let bytes = at + it.get().len() - *begin.get_or_insert(at);
                    all.push(it);
                    if all.len() * LEAST > bytes + SLACK {
                        let why = format!("request.objects has items of fewer than {LEAST} bytes");
                        return Err(A::Error::custom(why));
                    }
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(List).map(Self)
    }
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
    weight: usize,
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
        for (name, word) in [("request.uid", &uid), ("request.desiredAPIVersion", &desired)] {
            if word.len() > WORD {
                return Err(Malformed::Long(name));
            }
        }
        let begin = text.as_ptr() as usize;
        let place = |it: &RawValue| {
            let at = it.get().as_ptr() as usize - begin;
            at..at + it.get().len()
        };
        let objects: Vec<_> = objects.0.into_iter().map(place).collect();
        Ok(Self {
            weight: PIECE.min(body.len())
                + objects.len() * size_of::<Range<usize>>()
                + heaviest(text, &objects),
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

    /// Most bytes of memory that answering takes beside the body.
    pub const fn weight(&self) -> usize {
        self.weight
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
            if place.len() > PIECE / 4 {
                out.reserve(place.len() + PIECE / 4); // so that it is moved but once
            }
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

fn heaviest(text: &str, objects: &[Range<usize>]) -> usize {
    let each = objects.iter().filter_map(|it| text.get(it.clone()));
    each.map(weight::of).max().unwrap_or_default()
}

/// An object's kind, namespace and name, as far as they can be read; however large it is.
pub fn named(text: &str) -> String {
    if !text.starts_with('{') {
        return "an object".into();
    }
    let word = |object: &str, name: &str| {
        let value = scan::member(object, name).filter(|it| it.len() <= NAME);
        value.and_then(json::string).map(|it| shown(&it)).unwrap_or_default()
    };
    let metadata = scan::member(text, "metadata").unwrap_or_default();
    let (kind, namespace, name) =
        (word(text, "kind"), word(metadata, "namespace"), word(metadata, "name"));
    match (namespace.as_str(), name.as_str()) {
        (_, "") => format!("a {kind} without a name"),
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}
