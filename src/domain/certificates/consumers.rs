//! Who is told whom to trust: webhook configurations and converted definitions, and what is to be written into them.

use serde_json::{Value, json};

/// Where the API server finds our webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub service: String,
    /// Instead of the Service, such as `https://192.0.2.7:9443`.
    pub url: Option<String>,
}

impl Target {
    /// The names and addresses that a server is reached by, the one that the API server asks for first.
    pub fn names(&self) -> Vec<String> {
        let service = format!("{}.{}", self.service, self.namespace);
        let host = self.url.as_deref().and_then(host).map(Into::into);
        let names = [format!("{service}.svc"), format!("{service}.svc.cluster.local"), service];
        host.into_iter().chain(names).collect()
    }

    /// JSON patch operations that put an object right, for exactly the version that was read; none where it is right.
    /// `authority` is base64, as the API writes bytes.
    pub fn patch(&self, object: &Value, authority: &str) -> Vec<Value> {
        let wrong: Vec<Value> = configs(object)
            .into_iter()
            .filter_map(|(path, config)| {
                let want = self.wanted(config, authority)?;
                (want != *config).then(|| json!({"op": "replace", "path": path, "value": want}))
            })
            .collect();
        if wrong.is_empty() {
            return wrong;
        }
        let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
        std::iter::once(test).chain(wrong).collect()
    }

    /// What a `clientConfig` is to say; none where it leads to somebody else.
    fn wanted(&self, config: &Value, authority: &str) -> Option<Value> {
        let path = self.path(config)?;
        let mut want = config.clone();
        if let Some(url) = &self.url {
            want = json!({"url": format!("{url}{path}")});
        }
        want.as_object_mut()?.insert("caBundle".into(), authority.into());
        Some(want)
    }

    fn path(&self, config: &Value) -> Option<String> {
        let of = |key: &str| config.pointer(&format!("/service/{key}")).and_then(Value::as_str);
        if let Some(name) = of("name") {
            let ours = name == self.service
                && (self.url.is_some() || of("namespace") == Some(&self.namespace));
            return ours.then(|| of("path").unwrap_or_default().to_owned());
        }
        let url = config.get("url").and_then(Value::as_str)?;
        url.strip_prefix(self.url.as_deref()?).map(Into::into)
    }
}

/// Every `clientConfig` of an object, with its JSON pointer.
fn configs(object: &Value) -> Vec<(String, &Value)> {
    const CONVERSION: &str = "/spec/conversion/webhook/clientConfig";
    let webhooks = object.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let of_webhooks = webhooks.enumerate().filter_map(|(at, it)| {
        Some((format!("/webhooks/{at}/clientConfig"), it.get("clientConfig")?))
    });
    let of_definition = object.pointer(CONVERSION).map(|it| (CONVERSION.to_owned(), it));
    of_definition.into_iter().chain(of_webhooks).collect()
}

/// The host of a URL with a port or without.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?.split('/').next()?;
    match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => rest.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: Option<&str>) -> Target {
        Target { namespace: "town".into(), service: "hooks".into(), url: url.map(Into::into) }
    }

    fn at(namespace: &str, bundle: Option<&str>) -> Value {
        let service = json!({"name": "hooks", "namespace": namespace, "path": "/validate"});
        match bundle {
            Some(it) => json!({"service": service, "caBundle": it}),
            None => json!({"service": service}),
        }
    }

    #[test]
    fn what_is_wrong_is_put_right_and_nothing_else() {
        let object = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [
                {"clientConfig": at("town", Some("QQ=="))}, {"clientConfig": at("town", None)},
                {"clientConfig": at("elsewhere", None)}, {"clientConfig": {"url": "https://a/b"}},
                {"clientConfig": at("town", Some("Qg=="))},
            ],
            "spec": {"conversion": {"webhook": {"clientConfig": at("town", Some("Qg=="))}}},
        });
        let patch = target(None).patch(&object, "QQ==");
        let paths: Vec<_> = patch.iter().map(|it| it["path"].as_str().unwrap()).collect();
        let want = [
            "/metadata/resourceVersion",
            "/spec/conversion/webhook/clientConfig",
            "/webhooks/1/clientConfig",
            "/webhooks/4/clientConfig",
        ];
        assert_eq!(paths, want);
        let mut after = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
        json_patch::patch(&mut after, &patch).unwrap();
        assert_eq!(target(None).patch(&after, "QQ=="), Vec::<Value>::new(), "it is right now");
    }

    #[test]
    fn a_url_takes_the_place_of_the_service() {
        let object = json!({"webhooks": [{"clientConfig": at("anywhere", None)}]});
        let there = target(Some("https://192.0.2.7:9443"));
        let patch = there.patch(&object, "QQ==");
        let want = json!({"url": "https://192.0.2.7:9443/validate", "caBundle": "QQ=="});
        assert_eq!(patch[1]["value"], want);
        let after = json!({"webhooks": [{"clientConfig": want}]});
        assert_eq!(there.patch(&after, "QQ=="), Vec::<Value>::new());
        assert_eq!(there.names()[0], "192.0.2.7");
        assert_eq!(target(Some("https://[::1]:9443")).names()[0], "::1");
        assert_eq!(target(None).names()[0], "hooks.town.svc");
    }
}
