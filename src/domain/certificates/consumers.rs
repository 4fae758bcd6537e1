//! Who is told whom to trust: webhook configurations and converted definitions, and what is to be written into them. A
//! definition that says of several versions that nobody converts them (it was applied anew without its conversion, say) is
//! told the whole of it: until then the API server relabels objects, and what it stores is cut. Where certificates come from
//! others, these tell API servers whom to trust: then only what is missing is written.

use serde_json::{Value, json};

/// Where definitions send what is to be converted.
const CONVERT: &str = "/convert";
/// Where a definition has its bundle.
const BUNDLE: &str = "/spec/conversion/webhook/clientConfig/caBundle";

/// Annotations by which others are asked to write the bundle into a definition: cert-manager, and OpenShift's service-ca.
pub const INJECTORS: [&str; 4] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
    "service.beta.openshift.io/inject-cabundle",
];

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
        let wrong: Vec<Value> = if self.is_lost(object) {
            vec![self.whole(Some(authority))]
        } else {
            let configs = configs(object).into_iter();
            let wrong = configs.filter_map(|(path, config)| {
                let want = self.wanted(config, authority)?;
                (want != *config).then(|| json!({"op": "replace", "path": path, "value": want}))
            });
            wrong.collect()
        };
        over(object, wrong)
    }

    /// The same of a definition where others write bundles: gives a conversion back that is gone, or as it is `packed`, and a bundle
    /// where there is none and nobody is asked to write one. A bundle that is there stays. `authority` is one that is known to fit,
    /// if any is; without it nothing is given back that nobody would complete.
    pub fn restore(&self, object: &Value, authority: Option<&str>, packed: &Target) -> Vec<Value> {
        let injected = is_injected(object);
        let there = object.pointer(BUNDLE).and_then(Value::as_str).filter(|it| !it.is_empty());
        let wrong = if self.is_lost(object) {
            let bundle = there.or(authority);
            if bundle.is_some() || injected { vec![self.whole(bundle)] } else { Vec::new() }
        } else if self.is_as_packed(object, packed) {
            authority.map(|it| self.whole(Some(it))).into_iter().collect()
        } else {
            let empty = there.is_none() && !injected && self.bundle(object).is_some();
            let missing = authority.filter(|_| empty);
            missing
                .map(|it| json!({"op": "add", "path": BUNDLE, "value": it}))
                .into_iter()
                .collect()
        };
        over(object, wrong)
    }

    /// The same of a definition that nobody is to be asked to convert any more; none where it does not lead to us.
    pub fn end(&self, object: &Value) -> Vec<Value> {
        let off =
            json!({"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}});
        let ours = self.bundle(object).is_some();
        over(object, ours.then_some(off).into_iter().collect())
    }

    /// What a definition says of whom to trust, empty where it says nothing; `None` where it does not lead to us.
    pub fn bundle<'a>(&self, object: &'a Value) -> Option<&'a str> {
        let config = object.pointer("/spec/conversion/webhook/clientConfig")?;
        self.path(config)?;
        Some(config.get("caBundle").and_then(Value::as_str).unwrap_or_default())
    }

    /// Whether a definition is led where those of a package are, which is not here, and nobody is told whom to trust there, nor asked
    /// to tell it: an install plan of an Operator Lifecycle Manager replaces definitions before it leads them anywhere.
    pub fn is_as_packed(&self, object: &Value, packed: &Target) -> bool {
        packed != self && packed.bundle(object) == Some("") && !is_injected(object)
    }

    /// Writes the whole of a definition's conversion.
    fn whole(&self, authority: Option<&str>) -> Value {
        json!({"op": "add", "path": "/spec/conversion", "value": self.conversion(authority)})
    }

    /// Whether a definition's conversion is gone, or leads to us with calls that we do not answer. One that leads to somebody
    /// else is theirs.
    pub fn is_lost(&self, object: &Value) -> bool {
        if is_unconverted(object) {
            return true;
        }
        let Some(webhook) = object.pointer("/spec/conversion/webhook") else { return false };
        let path = webhook.get("clientConfig").and_then(|it| self.path(it));
        let versions = webhook.get("conversionReviewVersions").and_then(Value::as_array);
        let asks_as_we_answer = versions.is_some_and(|it| it.iter().any(|it| it == "v1"));
        path.is_some_and(|it| it != CONVERT || !asks_as_we_answer)
    }

    /// What a definition is to say of its conversion.
    fn conversion(&self, authority: Option<&str>) -> Value {
        let mut config = self.url.as_ref().map_or_else(
            || {
                let (name, namespace) = (&self.service, &self.namespace);
                json!({"service": {"name": name, "namespace": namespace, "path": CONVERT, "port": 443}})
            },
            |url| json!({"url": format!("{url}{CONVERT}")}),
        );
        if let (Some(bundle), Some(config)) = (authority, config.as_object_mut()) {
            config.insert("caBundle".into(), bundle.into());
        }
        json!({
            "strategy": "Webhook",
            "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
        })
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

/// Operations for exactly the version that was read.
fn over(object: &Value, operations: Vec<Value>) -> Vec<Value> {
    if operations.is_empty() {
        return operations;
    }
    let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
    std::iter::once(test).chain(operations).collect()
}

/// Whether somebody else is asked to write a definition's bundle.
fn is_injected(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.is_some_and(|all| INJECTORS.iter().any(|it| all.contains_key(*it)))
}

/// Whether a definition has several versions and nobody who converts between them, so that a write may be stored cut.
pub fn is_unconverted(object: &Value) -> bool {
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).map_or(0, Vec::len);
    let strategy = object.pointer("/spec/conversion/strategy").and_then(Value::as_str);
    versions > 1 && strategy != Some("Webhook")
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
            "spec": {"conversion": {"webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {"caBundle": "Qg==", "service": {"name": "hooks", "namespace": "town", "path": "/convert"}},
            }}},
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
    fn a_conversion_that_is_gone_is_written_whole() {
        let two = json!([{"name": "v1beta1"}, {"name": "v1alpha1"}]);
        let ours = target(None).conversion(Some("QQ=="));
        let changed = |field: &str, to: Value| {
            let mut it = ours.clone();
            *it.pointer_mut(field).unwrap() = to;
            it
        };
        let (service, at) =
            ("/webhook/clientConfig/service/name", "/webhook/clientConfig/service/path");
        let asked = "/webhook/conversionReviewVersions";
        let table = [
            (two.clone(), Value::Null, true, "it was applied anew without"),
            (two.clone(), json!({"strategy": "None"}), true, "as the API server fills that in"),
            (json!([{"name": "v1alpha1"}]), json!({"strategy": "None"}), false, "one version"),
            (Value::Null, Value::Null, false, "no definition at all"),
            (two.clone(), ours.clone(), false, "it is as we write it"),
            (two.clone(), changed(asked, json!(["v1beta1"])), true, "we do not answer those"),
            (two.clone(), changed(at, json!("/")), true, "nobody converts there"),
            (two, changed(service, json!("theirs")), false, "somebody else converts"),
        ];
        for (versions, conversion, want, because) in table {
            let object = json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"versions": versions, "conversion": conversion},
            });
            let patch = target(None).patch(&object, "QQ==");
            let whole = patch.get(1).map(|it| (&it["path"], &it["value"]));
            let wanted = (&json!("/spec/conversion"), &ours);
            assert_eq!(whole, want.then_some(wanted), "{because}");
        }
        let there = target(Some("https://192.0.2.7:9443")).conversion(Some("QQ=="));
        let url = there.pointer("/webhook/clientConfig/url");
        assert_eq!(url, Some(&json!("https://192.0.2.7:9443/convert")));
    }

    #[test]
    fn who_only_restores_leaves_bundles_to_those_who_write_them() {
        let stanza = |bundle: Option<&str>, path: &str| {
            let mut it = target(None).conversion(bundle);
            it["webhook"]["clientConfig"]["service"]["path"] = path.into();
            it
        };
        let (none, right) = (json!({"strategy": "None"}), |it| stanza(it, CONVERT));
        let mut theirs = right(None);
        theirs["webhook"]["clientConfig"]["service"]["name"] = "theirs".into();
        let there = Target { namespace: "elsewhere".into(), ..target(None) };
        let packed = |bundle| there.conversion(bundle);
        let (asked, nobody) = (Some(INJECTORS[0]), None);
        let (fits, unknown) = (Some("QQ=="), None);
        #[rustfmt::skip]
        let table = [
            (&none, nobody, fits, Some(right(fits)), "it is given back whole"),
            (&none, asked, fits, Some(right(fits)), "who is asked as well finds what he would write"),
            (&none, asked, unknown, Some(right(None)), "who is asked completes it"),
            (&none, nobody, unknown, None, "nobody would complete it, and reads would fail"),
            (&stanza(Some("Qg=="), "/"), nobody, fits, Some(right(Some("Qg=="))), "what is there stays"),
            (&right(Some("Qg==")), nobody, fits, None, "another bundle is theirs who wrote it"),
            (&right(None), asked, fits, None, "who is asked writes it"),
            (&right(None), nobody, fits, Some(right(fits)), "nobody else writes it"),
            (&right(None), nobody, unknown, None, "there is nothing to write"),
            (&theirs, nobody, fits, None, "it leads to somebody else"),
            (&packed(None), nobody, fits, Some(right(fits)), "an install plan left it so"),
            (&packed(None), nobody, unknown, None, "there is nothing to write into it"),
            (&packed(None), asked, fits, None, "who is asked writes it there"),
            (&packed(fits), nobody, fits, None, "somebody is trusted there"),
        ];
        for (conversion, annotation, fitting, want, because) in table {
            let annotations: Value = annotation.into_iter().map(|it| (it, "x")).collect();
            let mut object = json!({
                "metadata": {"resourceVersion": "7", "annotations": annotations},
                "spec": {"versions": [{"name": "v1beta1"}, {"name": "v1alpha1"}], "conversion": conversion},
            });
            let patch = target(None).restore(&object, fitting, &there);
            let here = target(None).restore(&object, fitting, &target(None));
            assert!(*conversion == packed(None) || here == patch, "{because}: packed for here");
            assert_eq!(patch.is_empty(), want.is_none(), "{because}");
            let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            let after = &object["spec"]["conversion"];
            assert_eq!(after, want.as_ref().unwrap_or(conversion), "{because}");
        }
    }

    #[test]
    fn who_goes_ends_what_leads_to_him_alone() {
        let by = |service: &str, url: Option<&str>| {
            let mut to = target(url);
            to.service = service.into();
            to.conversion(Some("QQ=="))
        };
        let url = "https://192.0.2.7:9443";
        let table = [
            (by("hooks", None), None, true, "it leads to us"),
            (json!({"strategy": "None"}), None, false, "it is ended"),
            (by("theirs", None), None, false, "somebody else took over"),
            (by("hooks", Some(url)), Some(url), true, "by a URL"),
            (by("hooks", Some(url)), None, false, "by one that is not ours"),
        ];
        for (conversion, at, want, because) in table {
            let mut object = json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"conversion": conversion},
            });
            let patch = target(at).end(&object);
            assert_eq!(patch.is_empty(), !want, "{because}");
            let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            let ended = json!({"strategy": "None"});
            let after = if want { &ended } else { &conversion };
            assert_eq!(&object["spec"]["conversion"], after, "{because}");
        }
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
