//! Behind a proxy, with an authority of one's own: pods are told of both, and the API server is reached without.

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;

use crate::world::{World, until};

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

fn variable(container: &Container, name: &str) -> Option<String> {
    let found = container.env.iter().flatten().find(|it| it.name == name);
    found.and_then(|it| it.value.clone())
}

#[tokio::test]
async fn pods_get_the_operators_proxy_and_the_api_server_is_reached_without() {
    // Nobody listens there: what went through it would fail.
    let proxy = "http://127.0.0.1:9";
    let variables = [("HTTPS_PROXY", proxy), ("HTTP_PROXY", proxy), ("NO_PROXY", ".svc")];
    let flags = ["--trusted-ca-config-map=town-ca"];
    let world = World::with_variables("proxied", &FOREVER, &flags, &variables).await;
    let own = json!({"env": [{"name": "https_proxy", "value": "http://own:3128"}]});
    world.create("max", |it| it["spec"]["agentConfig"] = own).await;
    let pod = until(&world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let spec = pod.spec.unwrap();
    for it in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let agent = it.name == "claude";
        for name in ["HTTP_PROXY", "http_proxy"] {
            assert_eq!(variable(it, name).as_deref(), Some(proxy), "{}: {name}", it.name);
        }
        assert_eq!(variable(it, "NO_PROXY").as_deref(), Some(".svc"), "{}", it.name);
        let https = if agent { None } else { Some(proxy) };
        assert_eq!(variable(it, "HTTPS_PROXY").as_deref(), https, "{}", it.name);
        let lower = if agent { "http://own:3128" } else { proxy };
        assert_eq!(
            variable(it, "https_proxy").as_deref(),
            Some(lower),
            "a Polecat's own word wins"
        );
        let mounted = it.volume_mounts.iter().flatten().any(|it| it.name == "trusted-ca");
        assert!(mounted, "{} has the authorities", it.name);
    }
    let volume = spec.volumes.unwrap().into_iter().find(|it| it.name == "trusted-ca").unwrap();
    assert_eq!(volume.config_map.unwrap().name, "town-ca");
}
