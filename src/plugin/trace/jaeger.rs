//! Asks Jaeger, by the third version of its interface, which others speak too.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;

use super::{Asked, Shown};
use crate::{
    domain::untrusted::fit,
    otlp::{
        http::{Http, trusting},
        proxy::Proxies,
    },
};

const MOST: usize = 64 << 20;
const LIMIT: Duration = Duration::from_secs(30);
/// Of a name that somebody told the collector as much is shown, in bytes.
const NAME: usize = 128;

/// The spans of a trace.
pub async fn ask(base: &str, trace: &str, asked: &Asked) -> anyhow::Result<Vec<Shown>> {
    let url = format!("{}/api/v3/traces/{trace}", base.trim_end_matches('/'));
    let trust = trusting(asked.jaeger_ca.as_deref(), None)?;
    let proxies = Proxies::of(&asked.proxies.outside());
    let http = Http::new(trust, asked.jaeger_token_file.clone(), MOST, proxies);
    let mut request = http::Request::get(&url).header("accept", "application/json");
    if let Some(tenant) = &asked.jaeger_tenant {
        request = request.header("x-tenant", tenant).header("x-scope-orgid", tenant);
    }
    let request = request.body(Bytes::new()).with_context(|| format!("--jaeger {base}"))?;
    let answer = tokio::time::timeout(LIMIT, http.send(request)).await;
    let answer =
        answer.with_context(|| format!("{url} did not answer in {} s", LIMIT.as_secs()))?;
    let answer = answer.with_context(|| format!("failed to ask {url}"))?;
    let code = answer.status();
    anyhow::ensure!(
        code != 404,
        "Jaeger at {base} has no trace {trace} (yet): is it the one that the operator sends to?"
    );
    anyhow::ensure!(code.is_success(), "{url} answered {code}");
    spans(answer.body()).with_context(|| {
        format!("{url} answered, but not as Jaeger does; is the path prefix right?")
    })
}

/// One or more JSON objects, each with spans in OpenTelemetry's shape.
pub fn spans(body: &[u8]) -> anyhow::Result<Vec<Shown>> {
    let mut all = Vec::new();
    for part in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        let part = part?;
        let result = part.get("result").unwrap_or(&part);
        let of =
            result.get("resourceSpans").and_then(Value::as_array).context("no resourceSpans")?;
        for resource in of {
            let service = attribute(resource.get("resource"), "service.name");
            for scope in list(resource, "scopeSpans") {
                all.extend(list(scope, "spans").iter().map(|it| shown(it, &service)));
            }
        }
    }
    Ok(all)
}

/// Anybody may tell a collector anything, and a terminal obeys what it is shown: names come on one line, without control characters.
fn shown(span: &Value, service: &str) -> Shown {
    let text = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let time = |key: &str| text(key).parse().unwrap_or(0);
    let code = span.pointer("/status/code");
    let failed = code.is_some_and(|it| it == 2 || it == "STATUS_CODE_ERROR");
    Shown {
        id: text("spanId"),
        parent: text("parentSpanId"),
        name: fit(&text("name"), NAME),
        service: fit(service, NAME),
        from: time("startTimeUnixNano"),
        to: time("endTimeUnixNano"),
        failed,
        depth: 0,
    }
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn attribute(of: Option<&Value>, key: &str) -> String {
    let all = of.map(|it| list(it, "attributes")).unwrap_or_default();
    let found = all.iter().find(|it| it.get("key").is_some_and(|it| it == key));
    let text = found.and_then(|it| it.pointer("/value/stringValue")).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_read_in_one_piece_or_more_and_another_page_is_none() {
        let part = |id: &str| {
            json!({"result": {"resourceSpans": [{
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "gastown-operator"}}]},
                "scopeSpans": [{"spans": [{"spanId": id, "parentSpanId": "", "name": "reconcile",
                    "startTimeUnixNano": "5", "endTimeUnixNano": "9", "status": {"code": 2}}]}],
            }]}})
            .to_string()
        };
        let found = spans(format!("{}\n{}", part("a"), part("b")).as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        let one = &found[0];
        assert_eq!(
            (one.service.as_str(), one.from, one.to, one.failed),
            ("gastown-operator", 5, 9, true)
        );
        let forged = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a\u{7}b"}}]},
            "scopeSpans": [{"spans": [{"spanId": "a", "name": "\u{1b}[2Jx\ny".to_owned() + &"z".repeat(999)}]}],
        }]});
        let found = spans(forged.to_string().as_bytes()).unwrap();
        let (name, service) = (&found[0].name, &found[0].service);
        assert!(name.starts_with("\\u{1b}[2Jx\\ny") && name.len() <= NAME, "one line: {name}");
        assert!(!service.contains(char::is_control), "{service}");
        assert!(spans(b"<!doctype html>").is_err() && spans(b"{}").is_err());
    }
}
