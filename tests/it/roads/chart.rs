//! The chart's values: each does what its comment says, wrong ones are refused with words, and those of the original are taken or
//! refused with what to say instead.

use std::{collections::BTreeSet, fs, path::Path};

use gastown::manifests::chart::FOLDER;
use gastown_testbed::tools::Tool;
use serde_json::{Value, json};

use super::{ENTERPRISE, objects, run, said, tool};
use crate::generated::top;

/// Renders a release in a namespace of its own with these values.
fn render(helm: &Path, values: &[&str]) -> std::process::Output {
    let mut arguments = vec!["template", "gt", FOLDER, "--namespace", "town"];
    for value in values {
        arguments.extend([
            if value.starts_with("file=") { "-f" } else { "--set" },
            value.trim_start_matches("file="),
        ]);
    }
    run(helm, &arguments)
}

/// Settings, and what stands in what is rendered with all of them that does not without.
const ALL: &[(&str, &str)] = &[
    ("replicaCount=5", "replicas: 5"),
    ("edition=enterprise", "-ubi9"),
    ("platform=openshift", "--platform=openshift"),
    ("global.imageRegistry=reg.example.com", "reg.example.com/a/operator@sha256:"),
    ("image.repository=a/operator", "a/operator@"),
    (
        "image.digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "@sha256:aaaa",
    ),
    ("image.pullPolicy=Always", "imagePullPolicy: Always"),
    ("runnerImage.repository=a/runner", "reg.example.com/a/runner:"),
    ("runnerImage.digest=", ""),
    ("agentImage=claude:9", "claude:9"),
    ("imagePullSecrets[0].name=pull", "- name: pull"),
    ("serviceAccount.annotations.team=one", "team: one"),
    ("serviceAccount.name=somebody", "system:serviceaccount:town:somebody"),
    ("podAnnotations.note=two", "note: two"),
    ("podLabels.tier=three", "tier: three"),
    ("podSecurityContext.fsGroup=3000", "fsGroup: 3000"),
    ("securityContext.privileged=false", "privileged: false"),
    ("resources.limits.memory=1Gi", "memory: 1Gi"),
    ("nodeSelector.disk=ssd", "disk: ssd"),
    ("tolerations[0].key=spot", "key: spot"),
    ("affinity.nodeAffinity.x=here", "x: here"),
    ("topologySpreadConstraints[0].topologyKey=rack", "topologyKey: rack"),
    ("priorityClass.name=high", "priorityClassName: \"high\""),
    ("crds.keep=false", ""),
    ("certificates.source=cert-manager", "--webhook-cert-source=files"),
    ("certificates.secretName=tls", "secretName: \"tls\""),
    ("certificates.issuerRef.name=corporate", "name: corporate"),
    ("operator.logLevel=debug", "--log-level=debug"),
    ("operator.logFormat=text", "--log-format=text"),
    ("operator.watchNamespaces={a,b}", "--watch-namespaces=a,b"),
    ("operator.paused=true", "--paused"),
    ("operator.tenancy=strict", "- --tenancy=strict"),
    ("operator.maxRunningPerNamespace=3", "--max-running-per-namespace=3"),
    ("operator.maxActiveDeadline=7200", "--max-active-deadline=7200"),
    ("operator.failover=fast", "--failover=fast"),
    ("operator.referenceAccess=enforce", "--reference-access=enforce"),
    ("operator.storageMigration=Auto", "--storage-migration=Auto"),
    ("operator.tlsProfile=Modern", "--tls-profile=Modern"),
    ("extraArgs={--push-reserve=300}", "--push-reserve=300"),
    ("extraEnv[0].name=MY_PROXY", "name: MY_PROXY"),
    ("extraVolumes[0].name=trusted", "- name: trusted"),
    ("extraVolumeMounts[0].mountPath=/etc/trusted", "mountPath: /etc/trusted"),
    ("networkPolicy.egressPorts={3128}", "port: 3128"),
    ("probes.healthPort=8082", "--health-probe-bind-address=:8082"),
    ("metrics.port=9090", "--metrics-bind-address=:9090"),
    ("metrics.serviceMonitor.enabled=true", "kind: ServiceMonitor"),
    ("metrics.prometheusRule.enabled=true", "kind: PrometheusRule"),
    ("metrics.prometheusRule.labels.watched=by-us", "watched: by-us"),
    (
        "metrics.prometheusRule.runbookUrl=https://git.example.com/runbooks/",
        "runbook_url: \"https://git.example.com/runbooks/GastownDown.md\"",
    ),
    ("metrics.dashboards.enabled=true", "gastown-operator-dashboard-fleet"),
    ("metrics.dashboards.labels.looked=at", "looked: at"),
    ("metrics.serviceMonitor.labels.release=prometheus", "release: prometheus"),
    ("extraObjects[0].kind=Extra", "kind: Extra"),
];
/// What can be left out, and a kind or name that is not there then.
const OFF: &[(&str, &str)] = &[
    ("serviceAccount.create=false", "kind: ServiceAccount\nmetadata"),
    ("rbac.create=false", "name: gastown-operator-manager-role"),
    ("rbac.create=false", "name: gastown-operator-uninstall"),
    ("rbac.people=false", "aggregate-to-view"),
    ("priorityClass.create=false", "kind: PriorityClass"),
    ("podDisruptionBudget.enabled=false", "kind: PodDisruptionBudget"),
    ("networkPolicy.enabled=false", "kind: NetworkPolicy"),
    ("metrics.enabled=false", "--metrics-bind-address"),
    ("flowSchemas.enabled=false", "kind: FlowSchema"),
    ("policies.pods=false", "name: gastown-operator-pods\n"),
    ("policies.conversion=false", "name: gastown-operator-conversion\n"),
    ("crds.enabled=false", "kind: CustomResourceDefinition"),
    ("webhooks.enabled=false", "kind: ValidatingWebhookConfiguration"),
    ("webhooks.enabled=false", "kind: MutatingWebhookConfiguration"),
];
/// What is refused, and a word of why. The last rows are values of the original.
const REFUSED: &[(&[&str], &str)] = &[
    (&["replicaCount=0"], "replicaCount"),
    (&["replicas=2"], "replicas"),
    (&["edition=ultimate"], "edition"),
    (&["image.digest=latest"], "digest"),
    (&["operator.tenancy=loose"], "tenancy"),
    (&["certificates.source=secret"], "base64 -w0 ca.crt"),
    (&["certificates.source=service-ca", "platform=kubernetes"], "OpenShift's"),
    (&["certificates.caBundle=QQ=="], "certificates.source=secret"),
    (&["metrics.secure=false", "metrics.serviceMonitor.enabled=true"], "metrics.secure=true"),
    (&["metrics.enabled=false", "metrics.serviceMonitor.enabled=true"], "metrics.enabled=true"),
    (&["metrics.port=9443"], "metrics.port: 9443 is taken"),
    (&["metrics.port=8081"], "metrics.port: 8081 is taken"),
    (&["probes.healthPort=9443"], "webhooks' port"),
    (&["metrics.prometheusRule.runbookUrl=git.example.com"], "runbookUrl"),
    (&["networkPolicy.egressPorts={0}"], "egressPorts"),
    (&["edition=enterprise", "image.tag=0.6.0"], "or take 0.6.0-ubi9"),
    (&["edition=enterprise", "runnerImage.tag=0.6.0"], "or take 0.6.0-ubi9"),
    (&["nameOverride=mine"], "leave them empty"),
    (&["fullnameOverride=mine"], "leave them empty"),
    (&["volumes.enabled=true"], "mounts nothing of a node"),
    (&["gtConfig.townRoot=/town"], "take it out"),
    (&["gtConfig.gtBinary=/bin/gt"], "take it out"),
    (&["volumes.hostPath=/x"], "take them out"),
    (&["leaderElection.enabled=false"], "always takes place"),
    (&["securityContext.runAsUser=0"], "never runs as root"),
    (&["podSecurityContext.runAsNonRoot=false"], "never runs as root"),
    (&["polecatImages.git=x"], "runnerImage"),
    (&["extraEnv[0].name=GT_PATH", "extraEnv[0].value=x"], "does not read it"),
    (&["extraEnv[0].name=POD_UID", "extraEnv[0].value=x"], "a replica knows itself by it"),
    (&["extraEnv[0].name=A", "extraEnv[1].name=A"], "A is there twice"),
    (&["metrics.secure=false", "metrics.prometheusRule.enabled=true"], "that its alerts ask for"),
    (&["metrics.dashboards.labels.grafana_dashboard=yes"], "take grafana_dashboard out"),
    (&["certificates.source=service-ca", "extraVolumes[0].name=certificates"], "another name"),
    (&["podLabels.control-plane=mine"], "podLabels: take control-plane out"),
    (&["metrics.dashboards.labels.control-plane=mine"], "metrics.dashboards.labels: take"),
    (&["podLabels.tier=3"], "podLabels"),
    (&["nodeSelector.gpu=true"], "nodeSelector"),
];

#[test]
fn every_value_does_something() {
    let Some(helm) = tool("every_value_does_something", Tool::Helm) else { return };
    let plain = said(&render(&helm, &[]));
    let text = said(&render(&helm, &ALL.iter().map(|it| it.0).collect::<Vec<_>>()));
    for (value, there) in ALL {
        if !there.is_empty() {
            assert!(text.contains(there), "{value}: {there:?} is not there");
            assert!(!plain.contains(there), "{value}: {there:?} is there without it");
        }
    }
    assert!(plain.matches("resource-policy: keep").count() > 8, "and every definition");
    assert_eq!(
        text.matches("resource-policy: keep").count(),
        2,
        "the policy and its binding alone"
    );
    let off = said(&render(&helm, &OFF.iter().map(|it| it.0).collect::<Vec<_>>()));
    for (value, gone) in OFF {
        assert!(plain.contains(gone), "{gone:?} is there without {value}");
        assert!(!off.contains(gone), "{value}: {gone:?} is there");
    }
    let tags = said(&render(&helm, &["image.tag=v7", "runnerImage.tag=v8"]));
    assert!(tags.contains("gastown-operator:v7") && tags.contains("gastown-runner:v8"));
    let digest = format!("sha256:{}", "b".repeat(64));
    let digested = said(&render(&helm, &[&format!("runnerImage.digest={digest}")]));
    assert!(digested.contains(&format!("gastown-runner@{digest}")));
    let given = ["certificates.source=secret", "certificates.caBundle=QUJD"];
    let secret = said(&render(&helm, &given));
    assert!(
        secret.matches("caBundle: \"QUJD\"").count() > 15,
        "webhooks and definitions are told whom to trust"
    );
    assert!(secret.contains("--webhook-cert-source=files") && !secret.contains("cert-manager.io"));
    let enterprise = said(&render(&helm, &[&format!("file={FOLDER}/values-enterprise.yaml")]));
    assert!(enterprise.contains("-ubi9") && enterprise.contains("--platform=openshift"));
}

/// An object with a key twice is the last one's for some programs, and refused by others.
#[test]
fn what_a_release_sets_stands_once() {
    let Some(helm) = tool("what_a_release_sets_stands_once", Tool::Helm) else { return };
    let all = objects(&said(&render(
        &helm,
        &[
            "podAnnotations.kubectl\\.kubernetes\\.io/default-container=mine",
            "extraEnv[0].name=ZONE",
            "extraEnv[0].value=here",
            "image.repository=registry.example.com/a/operator",
            "runnerImage.repository=a/runner",
            "global.imageRegistry=localhost:5000/mirror/",
            "certificates.source=cert-manager",
            "extraVolumes[0].name=trusted",
            "priorityClass.name=high",
        ],
    )));
    let template = &all["Deployment/gastown-operator-controller-manager"]["spec"]["template"];
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(*annotations, json!({"kubectl.kubernetes.io/default-container": "mine"}));
    let operator = &template["spec"]["containers"][0];
    let variables = operator["env"].as_array().unwrap();
    let zones: Vec<_> = variables.iter().filter(|it| it["name"] == "ZONE").collect();
    assert_eq!(zones, [&json!({"name": "ZONE", "value": "here"})]);
    let image = operator["image"].as_str().unwrap();
    assert!(image.starts_with("registry.example.com/a/operator:"), "it has a registry: {image}");
    let runner = variables.iter().find(|it| it["name"] == "RELATED_IMAGE_RUNNER").unwrap();
    let runner = runner["value"].as_str().unwrap();
    assert!(runner.starts_with("localhost:5000/mirror/a/runner:"), "it has none: {runner}");
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let volumes: Vec<_> = volumes.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(volumes, ["certificates", "trusted"]);
    assert!(!all.keys().any(|it| it.starts_with("PriorityClass/")), "nobody would be in it");
}

/// As people take a default away: `null` is nothing, and no error of templates.
#[test]
fn what_is_set_to_null_is_nothing() {
    let Some(helm) = tool("what_is_set_to_null_is_nothing", Tool::Helm) else { return };
    let schema = fs::read_to_string(top().join(FOLDER).join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let fields = schema["properties"].as_object().unwrap();
    let is = |it: &Value, what: &str| it["type"] == what && it.get("properties").is_none();
    let empty = fields.iter().filter(|(_, it)| is(it, "object") || is(it, "array"));
    let empty: Vec<String> = empty.map(|(name, _)| format!("{name}=null")).collect();
    assert!(empty.len() > 12, "{empty:?}");
    let texts = ["podLabels", "podAnnotations", "nodeSelector", "metrics.dashboards.labels"];
    let taken_back = texts.map(|it| format!("{it}.tier=null"));
    let inner = ["metrics.dashboards.enabled=true,metrics.dashboards.labels.tier=null".to_owned()];
    for value in empty.iter().chain(&taken_back).chain(&inner) {
        let output = render(&helm, &[value]);
        assert!(output.status.success(), "{value}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("tier"), "{value}: it is back");
    }
    for value in ["webhooks=null", "webhooks.enabled=null"] {
        let text = said(&render(&helm, &[value]));
        assert!(text.contains("kind: ValidatingWebhookConfiguration"), "{value}: nobody is asked");
    }
}

/// The first and second step of docs/certificates.md from an authority of the operator's own to one of somebody's: what the operator
/// has made itself is served as files, and a change of the bundle alone changes no pod.
#[test]
fn a_source_of_certificates_is_changed_by_way_of_the_operators_own_secret() {
    const TEST: &str = "a_source_of_certificates_is_changed_by_way_of_the_operators_own_secret";
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let kept = format!("certificates.secretName={}", gastown::manifests::CERTIFICATES);
    let page = fs::read_to_string(top().join("docs/certificates.md")).unwrap();
    assert!(page.contains(&format!("`{kept}`")), "the page says {kept}");
    let [first, second] = ["QUJD", "QUJDREVG"].map(|bundle| {
        let bundle = format!("certificates.caBundle={bundle}");
        let mut all = objects(&said(&render(
            &helm,
            &["certificates.source=secret", kept.as_str(), bundle.as_str()],
        )));
        all.remove("Deployment/gastown-operator-controller-manager").unwrap()
    });
    let pod = &first["spec"]["template"]["spec"];
    let secret = &pod["volumes"][0]["secret"]["secretName"];
    assert_eq!(*secret, gastown::manifests::CERTIFICATES, "{first:#}");
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains("--webhook-cert-source=files"), "{arguments}");
    assert_eq!(first, second, "another bundle is no other pod");
}

/// What an edition says of names that one may not have, where the release does not say it.
#[test]
fn an_edition_has_its_flags_and_a_release_that_says_otherwise_is_heard() {
    const TEST: &str = "an_edition_has_its_flags_and_a_release_that_says_otherwise_is_heard";
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let [enforce] = ENTERPRISE;
    let edition = format!("file={FOLDER}/values-enterprise.yaml");
    let (warn, off) = ("operator.referenceAccess=warn", "extraArgs={--reference-access=off}");
    let table: [(&[&str], &[&str], &str); 5] = [
        (&[], &[], "the Community edition: the operator's default"),
        (&[&edition], &[enforce], "the file for the Enterprise edition"),
        (&["edition=enterprise"], &[enforce], "that edition by its name"),
        (&["edition=enterprise", warn], &["--reference-access=warn"], "the release says it"),
        (&["edition=enterprise", off], &[enforce, "--reference-access=off"], "the last counts"),
    ];
    for (values, want, because) in table {
        let all = objects(&said(&render(&helm, values)));
        let operator = &all["Deployment/gastown-operator-controller-manager"];
        let flags = operator.pointer("/spec/template/spec/containers/0/args").unwrap();
        let flags = flags.as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        let said: Vec<_> = flags.filter(|it| it.starts_with("--reference-access")).collect();
        assert_eq!(said, want, "{because}");
    }
}

/// Names that YAML reads as something else stay names.
#[test]
fn a_release_and_a_namespace_may_be_called_by_numbers_and_words_of_yaml() {
    const TEST: &str = "a_release_and_a_namespace_may_be_called_by_numbers_and_words_of_yaml";
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let on = ["--set", "metrics.serviceMonitor.enabled=true", "--set-string"];
    for (release, namespace) in [("1234", "5678"), ("true", "null")] {
        let account = format!("serviceAccount.name={release}");
        let arguments = ["template", release, FOLDER, "--namespace", namespace];
        let text = said(&run(&helm, &[&arguments[..], &on, &[&account]].concat()));
        for (key, object) in objects(&text) {
            assert_eq!(strange(&object, ""), Vec::<String>::new(), "{key}");
        }
        assert!(text.contains(&format!("namespace: \"{namespace}\"")), "it is there");
    }
}

/// Where names, namespaces and labels are no strings.
fn strange(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(map) => {
            map.iter().flat_map(|(name, it)| strange(it, &format!("{at}/{name}"))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|it| strange(it, at)).collect(),
        Value::String(_) => Vec::new(),
        _ => {
            let ends = [
                "/namespace",
                "/name",
                "/serviceAccountName",
                "/secretName",
                "/values",
                "/namespaces",
            ];
            let of = ["/labels/", "/matchLabels/", "/selector/", "/annotations/"];
            let named =
                ends.iter().any(|it| at.ends_with(it)) | of.iter().any(|it| at.contains(it));
            (named && !at.contains("/openAPIV3Schema/"))
                .then(|| format!("{at}: {value}"))
                .into_iter()
                .collect()
        }
    }
}

#[test]
fn metrics_leave_a_pod_over_https_or_not_at_all() {
    const TEST: &str = "metrics_leave_a_pod_over_https_or_not_at_all";
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    for (values, address, reached, because) in [
        (&[][..], "--metrics-bind-address=:8443\n", true, "the original's defaults"),
        (&["metrics.secure=false"], "--metrics-bind-address=127.0.0.1:8443\n", false, "plain HTTP"),
        (&["metrics.enabled=false"], "", false, "there are none"),
    ] {
        let text = said(&render(&helm, values));
        assert!(text.contains(address), "{because}");
        assert_eq!(
            text.matches("--metrics-bind-address").count(),
            usize::from(!address.is_empty())
        );
        let all = objects(&text);
        for there in [
            "Service/gastown-operator-controller-manager-metrics-service",
            "NetworkPolicy/gastown-operator-controller-manager-metrics",
        ] {
            assert_eq!(all.contains_key(there), reached, "{because}: {there}");
        }
        assert_eq!(text.contains("- name: metrics\n"), reached, "{because}: the port");
    }
}

#[test]
fn a_monitor_trusts_who_signed_what_is_served() {
    let Some(helm) = tool("a_monitor_trusts_who_signed_what_is_served", Tool::Helm) else { return };
    for (values, want) in [
        (&[][..], "gastown-operator-webhook-certificates"),
        (&["certificates.source=cert-manager", "certificates.secretName=theirs"], "theirs"),
    ] {
        let on = [&["metrics.serviceMonitor.enabled=true"], values].concat();
        let all = objects(&said(&render(&helm, &on)));
        let monitor = &all["ServiceMonitor/gastown-operator-controller-manager-metrics-service"];
        let tls = &monitor["spec"]["endpoints"][0]["tlsConfig"];
        assert_eq!(tls["ca"]["secret"]["name"], want);
        assert_eq!(tls["serverName"], "gastown-operator-webhook-service.town.svc");
        assert!(!monitor.to_string().contains("File\""), "user-workload monitoring refuses files");
    }
}

#[test]
fn what_ends_the_conversion_comes_last_ends_in_time_and_may_do_nothing_else() {
    let test = "what_ends_the_conversion_comes_last_ends_in_time_and_may_do_nothing_else";
    let Some(helm) = tool(test, Tool::Helm) else { return };
    let values = ["image.repository=a/operator", "imagePullSecrets[0].name=pull"];
    let all = objects(&said(&render(&helm, &values)));
    let of = |kind: &str| &all[&format!("{kind}/gastown-operator-uninstall")];
    for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "Job"] {
        let hook = &of(kind)["metadata"]["annotations"];
        // Before the rest is gone, writes would be stored cut; and a hook that failed then would stop the uninstall.
        assert_eq!(hook["helm.sh/hook"], "post-delete", "{kind}");
        let weight = if kind == "Job" { "1" } else { "0" };
        assert_eq!(hook["helm.sh/hook-weight"], weight, "{kind}: rights come before who uses them");
    }
    let definitions: Vec<String> = gastown::kinds::convertible().collect();
    let rule = json!({"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
        "resourceNames": definitions, "verbs": ["get", "patch"]});
    assert_eq!(of("ClusterRole")["rules"], json!([rule]));
    let job = &of("Job")["spec"];
    let patience = job["activeDeadlineSeconds"].as_u64().unwrap();
    assert!((60..300).contains(&patience), "Helm itself waits five minutes: {patience}");
    let pod = &job["template"]["spec"];
    let operator = &all["Deployment/gastown-operator-controller-manager"]["spec"];
    let (theirs, selector) = (&operator["template"]["spec"], &operator["selector"]["matchLabels"]);
    for field in ["securityContext", "imagePullSecrets"] {
        assert_eq!(pod[field], theirs[field], "{field}");
    }
    for field in ["image", "securityContext"] {
        assert_eq!(pod["containers"][0][field], theirs["containers"][0][field], "{field}");
    }
    assert_eq!(pod.get("priorityClassName"), None, "the class is gone by then");
    let labels = &job["template"]["metadata"]["labels"];
    let mut selected = selector.as_object().unwrap().iter();
    assert!(!selected.all(|(key, it)| labels[key] == *it), "no Service leads to it: {labels}");
}

/// In a namespace where nothing may be reached that no policy lets.
#[test]
fn what_ends_the_conversion_reaches_the_api_server_as_the_operator_does() {
    let test = "what_ends_the_conversion_reaches_the_api_server_as_the_operator_does";
    let Some(helm) = tool(test, Tool::Helm) else { return };
    let all = objects(&said(&render(&helm, &["networkPolicy.egressPorts={16443}"])));
    let policy = &all["NetworkPolicy/gastown-operator-uninstall"]["spec"];
    let selected = policy["podSelector"]["matchLabels"].as_object().unwrap();
    let job = &all["Job/gastown-operator-uninstall"]["spec"]["template"]["metadata"]["labels"];
    assert!(
        !selected.is_empty() && selected.iter().all(|(key, it)| job[key] == *it),
        "{selected:?}"
    );
    let operators = &all["NetworkPolicy/gastown-operator-controller-manager-egress"]["spec"];
    assert_eq!(policy["egress"], operators["egress"]);
    assert!(policy["egress"].to_string().contains("16443"), "where API servers listen elsewhere");
    let without = objects(&said(&render(&helm, &["networkPolicy.enabled=false"])));
    assert!(!without.contains_key("NetworkPolicy/gastown-operator-uninstall"));
}

/// The schema's leaves, as a release names them.
fn leaves(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
        found.insert(at.to_owned());
        return;
    };
    for (name, field) in fields {
        assert!(field.get("description").is_some() || !at.is_empty(), "{name} has no comment");
        leaves(field, &format!("{at}{}{name}", if at.is_empty() { "" } else { "." }), found);
    }
}

#[test]
fn no_value_goes_untested() {
    let schema = fs::read_to_string(top().join(FOLDER).join("values.schema.json")).unwrap();
    let mut all = BTreeSet::new();
    leaves(&serde_json::from_str(&schema).unwrap(), "", &mut all);
    let rows = ALL
        .iter()
        .chain(OFF)
        .map(|it| it.0)
        .chain(REFUSED.iter().flat_map(|it| it.0.iter().copied()));
    let named: Vec<&str> = rows.map(|it| it.split(['=', '[']).next().unwrap()).collect();
    let covers =
        |leaf: &str| named.iter().any(|it| *it == leaf || it.starts_with(&format!("{leaf}.")));
    // The tags are asked for by themselves.
    all.retain(|it| !covers(it) && !it.ends_with("mage.tag"));
    assert!(all.is_empty(), "values without a row: {all:?}");
    assert!(named.len() > 50);
}

#[test]
fn wrong_values_are_refused_with_words() {
    let Some(helm) = tool("wrong_values_are_refused_with_words", Tool::Helm) else { return };
    for (values, why) in REFUSED {
        let output = render(&helm, values);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(why), "{values:?}: {words}");
    }
}

#[test]
fn the_chart_is_linted_and_knows_its_namespace() {
    let Some(helm) = tool("the_chart_is_linted_and_knows_its_namespace", Tool::Helm) else {
        return;
    };
    let output = run(&helm, &["lint", "--strict", FOLDER]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = said(&render(&helm, &[]));
    assert!(!text.contains("gastown-operator-system"), "another namespace than the release's");
    for (key, object) in objects(&text) {
        let namespace = object.pointer("/metadata/namespace");
        assert!(namespace.is_none_or(|it| it == "town"), "{key}: {namespace:?}");
    }
}
