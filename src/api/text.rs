//! Texts that many objects have in common.

use std::{
    borrow::{Borrow, Cow},
    collections::HashSet,
    fmt,
    ops::Deref,
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text of which copies take no room, such as the reason of a condition. In JSON it is a string.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Arc<str>);

/// The texts that are known, each once.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashSet<Text>,
    /// Once there are so many, those that nobody has any more go.
    full: usize,
}

/// So few are not looked through.
const FEW: usize = 64;

impl Texts {
    /// Puts the known copy of a text in its place, or knows it from now on.
    pub fn share(&mut self, text: &mut Text) {
        if let Some(known) = self.known.get(&**text) {
            text.clone_from(known);
            return;
        }
        if self.known.len() >= self.full.max(FEW) {
            self.known.retain(|it| Arc::strong_count(&it.0) > 1);
            self.full = self.known.len() * 2;
            self.known.shrink_to(self.full.max(FEW));
        }
        self.known.insert(text.clone());
    }

    /// The same of all of them.
    pub fn share_all<'a>(&mut self, texts: impl IntoIterator<Item = &'a mut Text>) {
        for it in texts {
            self.share(it);
        }
    }

    /// How many are known; those that nobody has any more go once there are twice as many as were left the last time.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Text {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.as_ref().into()
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_become_one_and_what_nobody_has_any_more_is_forgotten() {
        let (mut texts, mut kept) = (Texts::default(), Vec::new());
        for _ in 0..200 {
            let mut text = Text::from("Ready");
            texts.share(&mut text);
            kept.push(text);
        }
        assert!(kept.iter().all(|it| Arc::ptr_eq(&it.0, &kept[0].0)));
        for number in 0..1000 {
            texts.share(&mut Text::from(format!("{number}")));
        }
        assert!(texts.len() <= FEW, "{} of a thousand that nobody has", texts.len());
        assert!(texts.known.contains("Ready"));
        let all: Vec<_> = (0..1000)
            .map(|number| {
                let mut text = Text::from(format!("{number}"));
                texts.share(&mut text);
                text
            })
            .collect();
        assert!(texts.len() > all.len(), "what somebody has stays");
        drop(all);
        for number in 1000..4000 {
            texts.share(&mut Text::from(format!("{number}")));
        }
        assert!(texts.len() <= FEW, "{} are left of a crowd that is gone", texts.len());
    }
}
