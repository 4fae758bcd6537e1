//! Certificates by OpenShift's service-ca: the chart's and kustomize's are the same, and what one part asks for the others take.

use gastown::{
    kinds::KINDS,
    manifests::{METRICS_SERVICE, NAMESPACE, WEBHOOK_SERVICE, chart::FOLDER},
};
use gastown_testbed::tools::Tool;
use serde_json::json;

use super::{
    CHART, ENTERPRISE, by_name, cert_manager::with_component, drift, flags_beside, objects, run,
    said, tool,
};

const COMPONENT: &str = "../service-ca";
const INJECTED: &str = "service.beta.openshift.io/inject-cabundle";
const WANTED: &str = "service.beta.openshift.io/serving-cert-secret-name";
const OPERATOR: &str = "Deployment/gastown-operator-controller-manager";

#[test]
fn the_chart_has_service_ca_do_what_the_component_does() {
    const TEST: &str = "the_chart_has_service_ca_do_what_the_component_does";
    let (Some(kubectl), Some(helm)) = (tool(TEST, Tool::Kubectl), tool(TEST, Tool::Helm)) else {
        return;
    };
    let render = |values: &str| {
        let chart = ["template", "gastown-operator", FOLDER, "-n", NAMESPACE];
        let asked = ["--set", "certificates.source=service-ca", "--set", values];
        run(&helm, &[&chart[..], &asked].concat())
    };
    let chart = |values: &str| by_name(objects(&said(&render(values))));
    for edition in ["community", "enterprise"] {
        let road = by_name(with_component(&kubectl, COMPONENT, &format!("../{edition}")));
        let (strays, _) = drift(&road, &chart(&format!("edition={edition}")), &CHART);
        assert!(strays.is_empty(), "{edition}:\n{}", strays.join("\n"));
        let told = road.values().filter(|it| it["metadata"]["annotations"][INJECTED] == "true");
        assert_eq!(told.count(), KINDS.len() + 4, "definitions and webhooks");
        let service = &road[&format!("Service/{WEBHOOK_SERVICE}")]["metadata"]["annotations"];
        let pod = &road[OPERATOR]["spec"]["template"]["spec"];
        assert_eq!(service[WANTED], pod["volumes"][0]["secret"]["secretName"], "it is mounted");
        let flags = &pod["containers"][0]["args"];
        assert!(flags.as_array().unwrap().contains(&json!("--webhook-cert-source=files")));
    }
    let road = by_name(with_component(&kubectl, COMPONENT, "../community, ../monitoring"));
    let monitors = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true";
    let (strays, _) = drift(&road, &chart(monitors), &CHART);
    assert!(strays.is_empty(), "with monitors:\n{}", strays.join("\n"));
    let monitor = &road[&format!("ServiceMonitor/{METRICS_SERVICE}")];
    let trusted = &monitor["spec"]["endpoints"][0]["tlsConfig"]["ca"];
    let bundle = json!({"key": "service-ca.crt", "name": "openshift-service-ca.crt"});
    assert_eq!(trusted, &json!({"configMap": bundle}), "the Secret has no authority");
    let refused = render("platform=kubernetes");
    assert!(!refused.status.success(), "nobody would make the Secret there");
}

#[test]
fn an_edition_keeps_its_flags_with_certificates_by_service_ca() {
    const TEST: &str = "an_edition_keeps_its_flags_with_certificates_by_service_ca";
    let Some(kubectl) = tool(TEST, Tool::Kubectl) else { return };
    let [community, enterprise] =
        ["../community", "../enterprise"].map(|it| with_component(&kubectl, COMPONENT, it));
    assert_eq!(flags_beside(&community, &enterprise), ENTERPRISE);
}
