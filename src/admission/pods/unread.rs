//! What of an object no rule looks at, and so is not taken in: most of what a pod is made of. A list of what is left out, and
//! not of what is read, so that whatever is new is read.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// What is left out below some object, and what is known of the objects in it. Of a list, each entry is meant.
#[derive(Debug)]
struct Part {
    unread: &'static [&'static str],
    parts: &'static [(&'static str, &'static Part)],
}

/// A pod, what makes pods, and a template in it.
static OBJECT: Part = Part {
    unread: &["status"],
    parts: &[("metadata", &METADATA), ("spec", &SPEC), ("template", &OBJECT)],
};
static METADATA: Part = Part { unread: &["managedFields"], parts: &[] };
static SPEC: Part = Part {
    unread: &["affinity", "imagePullSecrets", "topologySpreadConstraints"],
    parts: &[
        ("initContainers", &CONTAINER),
        ("containers", &CONTAINER),
        ("ephemeralContainers", &CONTAINER),
        ("template", &OBJECT),
        ("jobTemplate", &OBJECT),
    ],
};
static CONTAINER: Part = Part {
    unread: &["args", "command", "env", "envFrom", "imagePullPolicy", "workingDir"],
    parts: &[("resources", &RESOURCES), ("volumeMounts", &MOUNT)],
};
static RESOURCES: Part = Part { unread: &["limits", "requests"], parts: &[] };
static MOUNT: Part = Part { unread: &["mountPath", "name", "readOnly", "subPath"], parts: &[] };

/// Reads an object without what no rule looks at, unless it is one that is held to a TLS policy: see
/// [`super::approved::holds`].
///
/// # Errors
/// What is no JSON, also in what is left out.
pub fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Reading(&OBJECT).deserialize(from).map(Some)
}

/// Reads one part.
#[derive(Clone, Copy)]
struct Reading(&'static Part);

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = all.next_key()? {
            if self.0.unread.contains(&&*key) {
                all.next_value::<IgnoredAny>()?;
                continue;
            }
            let part = self.0.parts.iter().find(|it| it.0 == key);
            let value = match part {
                Some((_, part)) => all.next_value_seed(Self(part))?,
                None => all.next_value()?,
            };
            map.insert(key.into_owned(), value);
        }
        Ok(map.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(it) = all.next_element_seed(self)? {
            list.push(it);
        }
        Ok(list.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }
}

/// A key, which is only kept where its value is.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, it: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(it)))
            }

            fn visit_str<E: Error>(self, it: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(it.to_owned())))
            }
        }
        from.deserialize_str(Keys)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::pods::{
        ours, pss,
        rows::{At, Row},
        scc,
    };

    fn read(object: &Value) -> Value {
        let text = object.to_string();
        super::object(&mut serde_json::Deserializer::from_str(&text)).unwrap().unwrap()
    }

    /// An object in which something stands at a path, whose lists have two entries.
    fn at(path: &str) -> Value {
        path.rsplit('.').fold(json!(7), |inner, step| match step.strip_suffix("[*]") {
            Some(key) => json!({key: [inner, inner]}),
            None => json!({step: inner}),
        })
    }

    #[test]
    fn whatever_a_row_looks_at_is_read() {
        let tables = [pss::ROWS, ours::ROWS, scc::SHARED, scc::OWN_USERS];
        let rows: Vec<&Row> = tables.into_iter().flatten().collect();
        assert!(rows.len() > 50, "{}", rows.len());
        for (row, demand) in rows.iter().flat_map(|it| it.demands.iter().map(|one| (it.id, one))) {
            let in_pods = matches!(demand.at, At::Pod | At::Both | At::Inherited);
            let in_containers = matches!(demand.at, At::Containers | At::Both | At::Inherited);
            let lists = ["initContainers", "containers", "ephemeralContainers"];
            let pods = in_pods.then(|| format!("spec.{}", demand.path)).into_iter();
            let containers = lists.map(|it| format!("spec.{it}[*].{}", demand.path));
            for path in pods.chain(containers.into_iter().filter(|_| in_containers)) {
                for prefix in ["", "spec.template.", "spec.jobTemplate.spec.template."] {
                    let whole = at(&format!("{prefix}{path}"));
                    assert_eq!(read(&whole), whole, "{row}");
                }
            }
        }
    }

    #[test]
    fn what_no_rule_looks_at_is_left_out_and_all_else_is_as_it_was() {
        let kept = json!({
            "kind": "Pod", "metadata": {"name": "a\"b", "labels": {"status": "x"}},
            "spec": {"containers": [{
                "name": "a", "image": "i", "securityContext": {"env": [], "runAsUser": -1, "x": 1.5},
                "resources": {"claims": [{"name": "c"}]}, "volumeMounts": [{"mountPropagation": null}, {}],
                "lifecycle": {"command": true}, "strange": {"env": u64::MAX},
            }], "volumes": [{"name": "v", "status": {}}], "hostNetwork": false},
            "other": [[], "text", null],
        });
        let mut whole = kept.clone();
        whole["status"] = json!({"phase": "Running"});
        whole["metadata"]["managedFields"] = json!([{"manager": "x"}]);
        whole["spec"]["affinity"] = json!({"nodeAffinity": {}});
        let container = &mut whole["spec"]["containers"][0];
        container["env"] = json!([{"name": "A", "value": "b"}]);
        container["command"] = json!(["sh"]);
        container["resources"]["limits"] = json!({"cpu": 1});
        container["volumeMounts"][1] = json!({"name": "v", "mountPath": "/a"});
        assert_eq!(read(&whole), kept);
    }

    #[test]
    fn what_is_left_out_must_be_json_too() {
        for text in [
            r#"{"status":{"a":}}"#,
            r#"{"status":[1}"#,
            "{\"status\":\"a\nb\"}",
            r#"{"status":01}"#,
        ] {
            let read = super::object(&mut serde_json::Deserializer::from_str(text));
            assert!(read.is_err(), "{text}");
        }
    }
}
