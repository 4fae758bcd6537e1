//! Who may reach the operator's pods, and whom they reach. Agents' pods are none of its business: they live in namespaces of
//! others, and reach what their work needs.

use serde_json::{Value, json};

use super::{
    NAMESPACE,
    operator::{HEALTH_PORT, METRICS, WEBHOOK_PORT, selector},
};

/// Where API servers listen: behind the Service, as kubeadm and kind have it, as minikube has it.
const API_SERVERS: [u16; 3] = [443, 6443, 8443];
/// Where names are answered; the second is OpenShift's.
const NAMES: [u16; 2] = [53, 5353];
/// Where collectors of traces, metrics and logs listen: OTLP over gRPC and over HTTP.
pub const COLLECTORS: [u16; 2] = [4317, 4318];

/// One for what comes in, one for what goes out.
pub fn policies() -> [Value; 2] {
    let tcp = |port: u16| json!({"port": port, "protocol": "TCP"});
    let udp = |port: u16| json!({"port": port, "protocol": "UDP"});
    let names: Vec<Value> = NAMES.into_iter().flat_map(|port| [udp(port), tcp(port)]).collect();
    // API servers and kubelets call from addresses of the hosts, which no selector names.
    let comes_in = json!([{"ports": [tcp(WEBHOOK_PORT), tcp(HEALTH_PORT)]}]);
    let goes_out = json!([
        {"ports": names},
        {"ports": API_SERVERS.map(tcp)},
        {"ports": COLLECTORS.map(tcp)},
    ]);
    [
        policy("gastown-operator-controller-manager-ingress", "Ingress", "ingress", &comes_in),
        policy("gastown-operator-controller-manager-egress", "Egress", "egress", &goes_out),
    ]
}

/// Who may ask for metrics: namespaces with the original's label, and those of OpenShift's monitoring, which nobody labels.
pub fn metrics() -> Value {
    let theirs = ["openshift-monitoring", "openshift-user-workload-monitoring"];
    let from = json!([
        {"namespaceSelector": {"matchLabels": {"metrics": "enabled"}}},
        {"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": theirs},
        ]}},
    ]);
    let comes_in = json!([{"from": from, "ports": [{"port": METRICS, "protocol": "TCP"}]}]);
    policy("gastown-operator-controller-manager-metrics", "Ingress", "ingress", &comes_in)
}

fn policy(name: &str, sort: &str, field: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": selector()}, "policyTypes": [sort], field: rules},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifests::{METRICS_SERVICE, installed, operator::METRICS_PORT};

    type Ports = BTreeSet<(String, u64)>;

    /// All that is installed, and the Deployment's container.
    fn everything() -> (Vec<Value>, Value) {
        let all = installed(NAMESPACE).unwrap();
        let deployment = all.iter().find(|it| it["kind"] == "Deployment").unwrap();
        let container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
        (all, container)
    }

    fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
        all.iter().filter(|it| it["kind"] == kind).collect()
    }

    fn items(value: &Value) -> &[Value] {
        value.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// A port of a pod, by number or by the name that its container has for it.
    fn number(port: &Value, container: &Value) -> u64 {
        let named = || items(&container["ports"]).iter().find(|it| it["name"] == *port);
        port.as_u64().unwrap_or_else(|| named().unwrap()["containerPort"].as_u64().unwrap())
    }

    /// What policies of a direction open, each rule's ports with whom it lets through (nothing: everybody).
    fn opened(all: &[Value], container: &Value, direction: &str) -> Vec<(Ports, Value)> {
        let policies = of_kind(all, "NetworkPolicy");
        let rules = policies.iter().flat_map(|it| items(&it["spec"][direction]));
        let rule = |rule: &Value| {
            let ports = items(&rule["ports"]).iter().map(|it| {
                let protocol = it["protocol"].as_str().unwrap().to_owned();
                (protocol, number(&it["port"], container))
            });
            (
                ports.collect(),
                if direction == "ingress" { &rule["from"] } else { &rule["to"] }.clone(),
            )
        };
        rules.map(rule).collect()
    }

    /// Webhooks and conversion by their Service, metrics by theirs, and kubelets by the probes.
    #[test]
    fn what_calls_the_operator_comes_in_and_nothing_else_does() {
        let (all, container) = everything();
        let services = of_kind(&all, "Service");
        let behind = |name: &Value, port: &Value| {
            let service = services.iter().find(|it| it["metadata"]["name"] == *name).unwrap();
            let ports = items(&service["spec"]["ports"]);
            let port = ports.iter().find(|it| it["port"] == *port).unwrap();
            (port["protocol"].as_str().unwrap().to_owned(), number(&port["targetPort"], &container))
        };
        let mut called = Ports::new();
        for it in &all {
            let conversion = &it["spec"]["conversion"]["webhook"];
            for webhook in items(&it["webhooks"]).iter().chain([conversion]) {
                let service = &webhook["clientConfig"]["service"];
                if !service.is_null() {
                    called.insert(behind(&service["name"], &service["port"]));
                }
            }
        }
        assert_eq!(called.len(), 1, "all of them by one port");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = number(&container[probe]["httpGet"]["port"], &container);
            called.insert(("TCP".into(), port));
        }
        // API servers and kubelets have addresses of hosts.
        let (some, everybody): (Vec<_>, Vec<_>) =
            opened(&all, &container, "ingress").into_iter().partition(|it| it.1.is_array());
        let everybody: Ports = everybody.into_iter().flat_map(|it| it.0).collect();
        assert_eq!(everybody, called);
        let metrics = services.iter().find(|it| it["metadata"]["name"] == METRICS_SERVICE).unwrap();
        let scraped = items(&metrics["spec"]["ports"]).iter();
        let scraped: Ports =
            scraped.map(|it| behind(&metrics["metadata"]["name"], &it["port"])).collect();
        assert_eq!(some.into_iter().flat_map(|it| it.0).collect::<Ports>(), scraped);
        let listens = items(&container["ports"]).iter();
        let listens: Ports =
            listens.map(|it| ("TCP".into(), it["containerPort"].as_u64().unwrap())).collect();
        assert_eq!(listens, &called | &scraped, "a port that nobody gets to");
    }

    #[test]
    fn policies_are_about_the_operators_pods() {
        let (all, _) = everything();
        let deployment = of_kind(&all, "Deployment")[0];
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let policies = of_kind(&all, "NetworkPolicy");
        assert_eq!(policies.len(), 3);
        for policy in policies {
            assert_eq!(policy["metadata"]["namespace"], deployment["metadata"]["namespace"]);
            let chosen = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
            assert!(!chosen.is_empty(), "agents may run in the same namespace");
            assert!(chosen.iter().all(|(key, value)| labels[key] == *value), "{chosen:?}");
        }
    }

    /// What the operator asks, with where that listens: behind the Service where a network counts before translation, else as who
    /// set up the cluster chose.
    #[test]
    fn what_the_operator_asks_is_reached_wherever_it_listens_and_the_page_says_so() {
        let (all, container) = everything();
        let out = opened(&all, &container, "egress");
        assert!(out.iter().all(|it| it.1.is_null()), "addresses are nobody's to know: {out:?}");
        let out: Ports = out.into_iter().flat_map(|it| it.0).collect();
        let wanted = [
            ("UDP", 53, "CoreDNS"),
            ("TCP", 53, "an answer too long for UDP"),
            ("UDP", 5353, "OpenShift's DNS"),
            ("TCP", 5353, "OpenShift's DNS, too long for UDP"),
            ("TCP", 443, "the Service kubernetes, a collector with a public address"),
            ("TCP", 6443, "API servers of kubeadm, kind, OpenShift"),
            ("TCP", 8443, "API servers of minikube"),
            ("TCP", 4317, "OTLP over gRPC"),
            ("TCP", 4318, "OTLP over HTTP"),
        ];
        for (protocol, port, what) in wanted {
            assert!(out.contains(&(protocol.into(), port)), "{protocol} {port} is closed: {what}");
        }
        assert_eq!(out.len(), wanted.len(), "nothing else: {out:?}");
        let page = include_str!("../../docs/install.md");
        let row = page.lines().find(|it| it.starts_with("| NetworkPolicies |")).unwrap();
        let said: BTreeSet<u64> =
            row.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect();
        let ours = out.into_iter().map(|it| it.1);
        let ours = ours.chain([WEBHOOK_PORT, HEALTH_PORT, METRICS_PORT].map(u64::from));
        assert_eq!(said, ours.collect::<BTreeSet<_>>(), "{row}");
    }

    /// Who follows docs/tracing.md is not stopped by our own policy.
    #[test]
    fn the_collector_of_the_page_is_reached() {
        let page = include_str!("../../docs/tracing.md");
        let endpoint = page.split("OTEL_EXPORTER_OTLP_ENDPOINT=http://").nth(1).unwrap();
        let host = endpoint.split_whitespace().next().unwrap();
        let (_, documented) = host.split_once(':').unwrap();
        let documented: u16 = documented.parse().unwrap();
        let [_, egress] = policies();
        let rules = egress["spec"]["egress"].as_array().unwrap();
        let ports = rules.iter().flat_map(|it| it["ports"].as_array().unwrap());
        let open: Vec<_> =
            ports.filter(|it| it["protocol"] == "TCP").map(|it| &it["port"]).collect();
        for port in [documented, 4317, 4318] {
            assert!(open.iter().any(|it| **it == port), "{port} is closed: {open:?}");
        }
        assert!(page.contains("networkPolicy.egressPorts"), "and it says how others are reached");
    }
}
