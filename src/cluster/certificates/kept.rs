//! The Secret with our certificates, as it is read and as it is written. What is in it is ours alone; what it is (its type) and
//! what others say of it (labels, annotations, owners, finalizers) stays as they made it: an API server takes no other type, and
//! a copy that is kept of it, or a tool that applied it, goes by the rest.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::core::ObjectMeta;

use super::WISH;
use crate::domain::certificates::Book;

/// What the whole book is kept under, beside the names that others know.
const BOOK: &str = "book.json";

/// The Secret as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Empty where there is none.
    pub resource_version: String,
    pub wish: String,
    /// Or why there is none that can be used.
    pub book: Result<Book, Unusable>,
    /// Somebody locked it: no API server lets its content be changed any more, nor the lock be taken away.
    pub immutable: bool,
    pub others: Others,
}

/// What others say of it. It is never printed: what kubectl applied is told by an annotation, keys and all.
#[derive(Clone, Default, PartialEq)]
pub struct Others {
    type_: Option<String>,
    metadata: ObjectMeta,
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Others")
    }
}

impl Default for Kept {
    fn default() -> Self {
        let (resource_version, wish) = (String::new(), String::new());
        let (book, others) = (Err(Unusable::Missing), Others::default());
        Self { resource_version, wish, book, immutable: false, others }
    }
}

/// Why there is no book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    Missing,
    Unreadable,
    /// Its parts do not say the same.
    Foreign,
}

impl Unusable {
    /// All that [`Self::reason`] says.
    pub const REASONS: [&str; 3] = ["SecretMissing", "SecretUnreadable", "SecretChangedByOthers"];

    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "SecretMissing",
            Self::Unreadable => "SecretUnreadable",
            Self::Foreign => "SecretChangedByOthers",
        }
    }
}

impl Kept {
    pub fn read(secret: &Secret) -> Self {
        let meta = &secret.metadata;
        let mut annotations = meta.annotations.clone().unwrap_or_default();
        let wish = annotations.remove(WISH).unwrap_or_default();
        let metadata = ObjectMeta {
            labels: meta.labels.clone(),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: meta.owner_references.clone(),
            finalizers: meta.finalizers.clone(),
            ..ObjectMeta::default()
        };
        Self {
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            wish,
            book: book(secret),
            immutable: secret.immutable == Some(true),
            others: Others { type_: secret.type_.clone(), metadata },
        }
    }

    /// Whether there is a Secret at all.
    pub const fn is_there(&self) -> bool {
        !self.resource_version.is_empty()
    }

    /// The Secret of this name with another book in it, for exactly the version that was read.
    pub(super) fn with(&self, book: &Book, (namespace, name): (&str, &str)) -> Secret {
        let text = |it: &str| ByteString(it.as_bytes().to_vec());
        let whole = serde_json::to_string(book).unwrap_or_default();
        let data = [
            ("tls.crt", text(&book.chain())),
            ("tls.key", text(&book.leaf.key.0)),
            ("ca.crt", text(&book.bundle())),
            (BOOK, text(&whole)),
        ];
        let Others { type_, metadata } = self.others.clone();
        let mut annotations: BTreeMap<_, _> = metadata.annotations.unwrap_or_default();
        if !self.wish.is_empty() {
            annotations.insert(WISH.to_owned(), self.wish.clone());
        }
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                resource_version: self.is_there().then(|| self.resource_version.clone()),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..metadata
            },
            data: Some(data.into_iter().map(|(key, it)| (key.to_owned(), it)).collect()),
            type_,
            ..Secret::default()
        }
    }
}

fn book(secret: &Secret) -> Result<Book, Unusable> {
    let data = secret.data.as_ref().filter(|it| !it.is_empty()).ok_or(Unusable::Missing)?;
    let part = |key: &str| data.get(key).map(|it| it.0.as_slice()).unwrap_or_default();
    let book: Book = serde_json::from_slice(part(BOOK)).map_err(|_| Unusable::Unreadable)?;
    let same = part("tls.crt") == book.chain().as_bytes()
        && part("tls.key") == book.leaf.key.0.as_bytes()
        && part("ca.crt") == book.bundle().as_bytes();
    if same { Ok(book) } else { Err(Unusable::Foreign) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::certificates::{Authority, Key, Leaf, Life, Phase};

    const AT: (&str, &str) = ("town", "certificates");

    fn some_book() -> Book {
        let life = Life { from: 0, until: 9 };
        let (certificate, key) = ("authority".to_owned(), Key("a".into()));
        Book {
            phase: Phase::Steady,
            since: 0,
            hold: 0,
            backs: 0,
            granted: String::new(),
            authority: Authority { generation: 1, certificate, key, life },
            leaf: Leaf { certificate: "leaf".into(), key: Key("l".into()), life },
            next: None,
            before: None,
            retired: Vec::new(),
        }
    }

    fn read(secret: Value) -> Kept {
        Kept::read(&serde_json::from_value(secret).unwrap())
    }

    #[test]
    fn what_others_say_of_the_secret_stays_and_what_is_in_it_is_ours() {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"});
        let theirs = json!({
            "name": "certificates", "namespace": "town", "resourceVersion": "7",
            "labels": {"team": "hooks"}, "annotations": {"note": "theirs", WISH: "once more"},
            "ownerReferences": [owner], "finalizers": ["example.com/kept"],
        });
        let mut there = theirs.clone();
        there["managedFields"] = json!([{"manager": "kubectl"}]);
        there["uid"] = json!("u-1");
        let kept = read(json!({
            "metadata": there, "type": "kubernetes.io/tls",
            "data": {"tls.crt": "dGhlaXJz", "tls.key": "dGhlaXJz"},
        }));
        assert_eq!(kept.book, Err(Unusable::Unreadable));
        assert_eq!(kept.wish, "once more");
        let book = some_book();
        let written = kept.with(&book, AT);
        let said = serde_json::to_value(&written).unwrap();
        assert_eq!(said["metadata"], theirs);
        assert_eq!(said["type"], "kubernetes.io/tls", "an API server takes no other");
        let data: Vec<_> = said["data"].as_object().unwrap().keys().collect();
        assert_eq!(data, ["book.json", "ca.crt", "tls.crt", "tls.key"]);
        assert_eq!(Kept::read(&written).book, Ok(book));
    }

    #[test]
    fn a_secret_that_is_not_there_is_made_as_the_api_server_makes_one() {
        let written = serde_json::to_value(Kept::default().with(&some_book(), AT)).unwrap();
        assert_eq!(written["metadata"], json!({"name": "certificates", "namespace": "town"}));
        assert_eq!((&written["type"], &written["immutable"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn a_lock_is_seen() {
        let locked = |immutable| read(json!({"metadata": {}, "immutable": immutable})).immutable;
        assert_eq!([json!(true), json!(false), Value::Null].map(locked), [true, false, false]);
    }
}
