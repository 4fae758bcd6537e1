//! Both OLM bundles as they lie in the repository: the rules that its tools and catalogs have for them, as far as a file can
//! keep them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gastown::{
    kinds::KINDS,
    manifests::olm::{SCORECARD, graph::RELEASES},
};
use serde_json::Value;

use crate::{generated::top, roads::ENTERPRISE};

/// Kinds that OLM installs from a bundle.
const SUPPORTED: [&str; 14] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterServiceVersion",
    "ConfigMap",
    "ConsolePlugin",
    "CustomResourceDefinition",
    "PodDisruptionBudget",
    "PriorityClass",
    "PrometheusRule",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceMonitor",
];

/// What is promised on OpenShift, and the test that holds it.
const HELD: [(&str, &str, &str); 3] = [
    ("disconnected", include_str!("bundle.rs"), "every_image_is_a_related_one"),
    (
        "proxy-aware",
        include_str!("proxied.rs"),
        "pods_get_the_operators_proxy_and_the_api_server_is_reached_without",
    ),
    (
        "tls-profiles",
        include_str!("tls_profile.rs"),
        "the_clusters_tls_profile_is_followed_while_calls_go_on",
    ),
];

/// A bundle as its files say it.
struct Bundle {
    edition: &'static str,
    csv: Value,
    manifests: Vec<(PathBuf, Value)>,
    annotations: Value,
}

impl Bundle {
    fn all() -> Vec<Self> {
        ["community", "enterprise"].map(Self::read).into()
    }

    fn read(edition: &'static str) -> Self {
        let folder = top().join("bundle").join(edition);
        let yaml = |it: &Path| -> Value {
            let text =
                fs::read_to_string(it).unwrap_or_else(|why| panic!("{}: {why}", it.display()));
            serde_saphyr::from_str(&text).unwrap()
        };
        let inside: BTreeSet<_> = entries(&folder).iter().map(|it| name(it)).collect();
        let want = BTreeSet::from(["manifests", "metadata", "tests"].map(ToOwned::to_owned));
        assert_eq!(inside, want, "{edition}: loaders walk what they are given");
        let paths = entries(&folder.join("manifests"));
        let manifests: Vec<_> = paths.into_iter().map(|it| (it.clone(), yaml(&it))).collect();
        let csv = manifests.iter().find(|(_, it)| it["kind"] == "ClusterServiceVersion");
        let csv = csv.unwrap().1.clone();
        let annotations = yaml(&folder.join("metadata/annotations.yaml"))["annotations"].take();
        Self { edition, csv, manifests, annotations }
    }

    fn of(&self, kind: &str) -> Vec<&Value> {
        self.manifests.iter().map(|it| &it.1).filter(|it| it["kind"] == kind).collect()
    }

    fn note(&self, key: &str) -> &str {
        self.csv["metadata"]["annotations"][key].as_str().unwrap_or_default()
    }

    fn owned(&self) -> &[Value] {
        list(&self.csv["spec"]["customresourcedefinitions"]["owned"])
    }

    fn deployments(&self) -> &[Value] {
        list(&self.csv["spec"]["install"]["spec"]["deployments"])
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    all.sort();
    all
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

/// A name in DNS, of labels that are joined by dots.
fn is_subdomain(name: &str) -> bool {
    let label = |it: &str| {
        let fine = |at: char| at.is_ascii_lowercase() || at.is_ascii_digit() || at == '-';
        !it.is_empty() && it.chars().all(fine) && !it.starts_with('-') && !it.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `registry/path:tag` or `@digest`, as images are pulled.
fn is_image(image: &str) -> bool {
    let fine = |at: char| at.is_ascii_alphanumeric() || "-._/:@".contains(at);
    let last = image.rsplit('/').next().unwrap_or_default();
    !image.is_empty()
        && image.chars().all(fine)
        && last.contains([':', '@'])
        && !last.ends_with(":latest")
}

#[test]
fn a_bundle_is_called_by_its_package_and_version() {
    for it in Bundle::all() {
        let name = text(&it.csv["metadata"]["name"]);
        assert_eq!(name, format!("gastown-operator.v{}", env!("CARGO_PKG_VERSION")));
        assert!(is_subdomain(name) && name.len() <= 63, "{name}: it becomes a label, too");
        assert_eq!(it.csv["spec"]["version"], env!("CARGO_PKG_VERSION"));
        let bundle = |key: &str| {
            text(&it.annotations[format!("operators.operatorframework.io.bundle.{key}.v1")])
                .to_owned()
        };
        assert_eq!(bundle("package"), "gastown-operator", "one package, whatever the edition");
        assert_eq!(bundle("mediatype"), "registry+v1");
        assert_eq!(bundle("manifests"), "manifests/");
        assert_eq!(bundle("metadata"), "metadata/");
        assert!(bundle("channels").split(',').any(|it| it == bundle("channel.default")));
    }
}

/// The words by which catalogs sort and show it.
#[test]
fn what_a_catalog_shows_is_there() {
    let levels =
        ["Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"];
    for it in Bundle::all() {
        let spec = &it.csv["spec"];
        let display = text(&spec["displayName"]);
        assert!((3..=50).contains(&display.len()), "{display}");
        assert!(
            text(&spec["description"]).len() >= 20 && text(&spec["provider"]["name"]).len() >= 3
        );
        for maintainer in list(&spec["maintainers"]) {
            assert!(
                text(&maintainer["email"]).contains('@') && !text(&maintainer["name"]).is_empty()
            );
        }
        assert!(!list(&spec["maintainers"]).is_empty() && !list(&spec["links"]).is_empty());
        for link in list(&spec["links"]) {
            assert!(text(&link["url"]).starts_with("https://") && !text(&link["name"]).is_empty());
        }
        let icons = list(&spec["icon"]);
        assert!(icons.len() == 1 && icons[0]["mediatype"] == "image/svg+xml", "{icons:?}");
        let icon = BASE64_STANDARD.decode(text(&icons[0]["base64data"])).unwrap();
        assert!(icon.starts_with(b"<svg"), "it is what it says");
        assert!(levels.contains(&it.note("capabilities")));
        for category in it.note("categories").split(", ") {
            assert!(["AI/Machine Learning", "Developer Tools"].contains(&category), "{category}");
        }
        for key in ["containerImage", "createdAt", "description", "support"] {
            assert!(!it.note(key).is_empty(), "{key}");
        }
        assert_eq!(it.note("repository"), "", "who releases it says where its sources are");
        let original = |it: &Value| text(&it["name"]).contains("The Go original");
        assert!(list(&spec["links"]).iter().any(original), "whose place it takes");
        let namespace: Value =
            serde_json::from_str(it.note("operatorframework.io/suggested-namespace-template"))
                .unwrap();
        let labels = &namespace["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted", "{namespace}");
        let annotated = it.csv["metadata"]["annotations"].as_object().unwrap();
        for key in annotated.keys() {
            assert!(!key.eq_ignore_ascii_case("olm.skiprange") || key == "olm.skipRange", "{key}");
        }
    }
}

#[test]
fn a_converted_kind_leaves_all_namespaces_as_the_only_mode() {
    for it in Bundle::all() {
        let modes: BTreeMap<_, _> = list(&it.csv["spec"]["installModes"])
            .iter()
            .map(|it| (text(&it["type"]), it["supported"] == true))
            .collect();
        let all = ["AllNamespaces", "MultiNamespace", "OwnNamespace", "SingleNamespace"];
        assert_eq!(modes.keys().copied().collect::<Vec<_>>(), all, "each once");
        let supported: Vec<_> = modes.iter().filter(|it| *it.1).map(|it| *it.0).collect();
        assert_eq!(supported, ["AllNamespaces"]);
    }
}

/// Both ways, by name, version and kind.
#[test]
fn owned_definitions_are_those_in_the_bundle() {
    for it in Bundle::all() {
        let mut there = BTreeSet::new();
        for definition in it.of("CustomResourceDefinition") {
            let spec = &definition["spec"];
            for version in list(&spec["versions"]).iter().filter(|it| it["served"] == true) {
                let name = text(&definition["metadata"]["name"]);
                there.insert((name, text(&version["name"]), text(&spec["names"]["kind"])));
                let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
                assert!(schema.is_object(), "{name}: a schema of its spec");
            }
        }
        let owned = it
            .owned()
            .iter()
            .map(|it| (text(&it["name"]), text(&it["version"]), text(&it["kind"])));
        assert_eq!(owned.clone().collect::<BTreeSet<_>>(), there, "{}", it.edition);
        assert_eq!(owned.count(), there.len(), "each once");
        for entry in it.owned() {
            let name = text(&entry["name"]);
            assert!(!text(&entry["description"]).is_empty(), "{name}: a description");
            assert!(!text(&entry["displayName"]).is_empty(), "{name}: a name for people");
            assert!(!list(&entry["resources"]).is_empty(), "{name}: what is made for it");
        }
    }
}

#[test]
fn every_served_version_has_an_example_and_every_field_of_it_a_descriptor() {
    for it in Bundle::all() {
        let examples: Vec<Value> = serde_json::from_str(it.note("alm-examples")).unwrap();
        for entry in it.owned() {
            let (_, group) = text(&entry["name"]).split_once('.').unwrap();
            let version = format!("{group}/{}", text(&entry["version"]));
            let mine = examples
                .iter()
                .find(|it| it["apiVersion"] == version && it["kind"] == entry["kind"]);
            let mine = mine.unwrap_or_else(|| panic!("no example of {} {version}", entry["kind"]));
            for (part, key) in [("spec", "specDescriptors"), ("status", "statusDescriptors")] {
                let described: BTreeSet<_> =
                    list(&entry[key]).iter().map(|it| text(&it["path"])).collect();
                for field in mine[part].as_object().into_iter().flatten().map(|it| it.0) {
                    assert!(
                        described.contains(field.as_str()),
                        "{} {version}: {part}.{field}",
                        entry["kind"]
                    );
                }
                for it in list(&entry[key]) {
                    assert!(!text(&it["description"]).is_empty(), "{version}: {it}");
                }
            }
        }
        let owned: BTreeSet<_> = it.owned().iter().map(|it| text(&it["kind"])).collect();
        for example in &examples {
            assert!(
                owned.contains(text(&example["kind"])),
                "an example of somebody else's: {example}"
            );
            let kept =
                example["metadata"]["annotations"].as_object().map_or(0, serde_json::Map::len);
            assert_eq!(kept, 0, "what one version cannot say is no example: {example}");
        }
    }
}

#[test]
fn the_console_shows_where_a_trace_is_as_a_link() {
    for it in Bundle::all() {
        let owned = it.owned();
        let polecats: Vec<_> = owned.iter().filter(|it| it["kind"] == "Polecat").collect();
        assert_eq!(polecats.len(), 2, "in both versions");
        for entry in polecats {
            let trace =
                list(&entry["statusDescriptors"]).iter().find(|it| it["path"] == "trace.url");
            let shown = trace.map(|it| texts(&it["x-descriptors"]));
            assert_eq!(shown, Some(vec!["urn:alm:descriptor:org.w3:link"]), "{}", entry["version"]);
        }
    }
}

#[test]
fn nothing_is_in_a_bundle_that_it_may_not_hold() {
    for it in Bundle::all() {
        for (path, manifest) in &it.manifests {
            let kind = text(&manifest["kind"]);
            assert!(SUPPORTED.contains(&kind), "{}: {kind}", path.display());
            assert!(
                manifest["metadata"].get("namespace").is_none(),
                "{}: any namespace",
                path.display()
            );
        }
        for budget in it.of("PodDisruptionBudget") {
            let spec = &budget["spec"];
            for extreme in [&spec["maxUnavailable"], &spec["minAvailable"]] {
                assert!(!["0", "\"0%\"", "\"100%\""].contains(&&*extreme.to_string()), "{budget}");
            }
        }
        let packed: usize = it.manifests.iter().map(|it| packed(&fs::read(&it.0).unwrap())).sum();
        assert!(packed < 850 << 10, "{}: {packed} bytes of a MiB", it.edition);
    }
}

fn packed(bytes: &[u8]) -> usize {
    use std::io::Write as _;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().len()
}

#[test]
fn versions_of_kubernetes_and_openshift_agree() {
    // Which Kubernetes an OpenShift is made of.
    let known = [("v4.18", 31), ("v4.19", 32), ("v4.20", 33), ("v4.21", 34)];
    for it in Bundle::all() {
        let kubernetes = text(&it.csv["spec"]["minKubeVersion"]);
        let parts: Vec<u32> = kubernetes.split('.').map(|it| it.parse().unwrap()).collect();
        assert!(parts.len() == 3 && parts[0] == 1, "{kubernetes}");
        let range = text(&it.annotations["com.redhat.openshift.versions"]);
        let lowest = range.split('-').next().unwrap();
        let (_, minor) = known.iter().find(|it| it.0 == lowest).unwrap();
        assert!(parts[1] <= *minor, "{kubernetes} is above the Kubernetes of OpenShift {lowest}");
        // Other roads ask for the same.
        let chart = fs::read_to_string("charts/gastown-operator/Chart.yaml").unwrap();
        assert!(chart.contains(&format!(">={kubernetes}-0")), "{chart}");
        let said = format!(
            "Kubernetes {}.{} or later (or OpenShift {})",
            parts[0],
            parts[1],
            lowest.trim_start_matches('v')
        );
        let page = fs::read_to_string("docs/install.md").unwrap();
        assert!(page.contains(&said), "{said}");
    }
}

#[test]
fn every_image_is_a_related_one() {
    for it in Bundle::all() {
        let related: BTreeMap<_, _> = list(&it.csv["spec"]["relatedImages"])
            .iter()
            .map(|it| (text(&it["name"]), text(&it["image"])))
            .collect();
        assert!(
            related.keys().all(|it| !it.is_empty()) && related.values().all(|it| is_image(it)),
            "{related:?}"
        );
        let mut used = Vec::new();
        for deployment in it.deployments() {
            let pod = &deployment["spec"]["template"]["spec"];
            for container in ["initContainers", "containers"].iter().flat_map(|it| list(&pod[*it]))
            {
                used.push(text(&container["image"]));
                let images = list(&container["env"])
                    .iter()
                    .filter(|it| text(&it["name"]).starts_with("RELATED_IMAGE_"));
                used.extend(images.map(|it| text(&it["value"])));
                for amount in ["cpu", "memory"] {
                    assert!(
                        container["resources"]["requests"][amount].is_string(),
                        "{amount} is asked for"
                    );
                }
            }
        }
        used.push(it.note("containerImage"));
        let used: BTreeSet<_> = used.into_iter().collect();
        let known: BTreeSet<_> = related.values().copied().collect();
        assert_eq!(used, known, "{}", it.edition);
        let pinned = known.iter().all(|it| it.contains("@sha256:"));
        assert_eq!(it.note("features.operators.openshift.io/disconnected"), pinned.to_string());
    }
}

#[test]
fn what_openshift_asks_of_an_operator_is_answered_and_nothing_is_promised_that_no_test_holds() {
    let asked = [
        "disconnected",
        "fips-compliant",
        "proxy-aware",
        "tls-profiles",
        "token-auth-aws",
        "token-auth-azure",
        "token-auth-gcp",
    ];
    for (feature, file, test) in HELD {
        assert!(file.contains(&format!("fn {test}(")), "{feature}: its test is gone");
    }
    for it in Bundle::all() {
        for feature in asked {
            let value = it.note(&format!("features.operators.openshift.io/{feature}"));
            assert!(["true", "false"].contains(&value), "{feature}: {value:?}");
            let held = HELD.iter().find(|it| it.0 == feature);
            assert!(value == "false" || held.is_some(), "{feature} names its test first");
        }
        let words =
            it.manifests.iter().map(|it| it.1.to_string()).collect::<String>().to_lowercase();
        for claim in ["fips validated", "fips-validated", "fips certified", "red hat certified"] {
            assert!(!words.contains(claim), "{}: {claim}", it.edition);
        }
    }
}

fn rules(part: &Value) -> Vec<&Value> {
    list(part).iter().flat_map(|it| list(&it["rules"])).collect()
}

#[test]
fn rights_are_no_wider_than_the_roles_and_the_policies() {
    let role = |kind: &str| {
        let file = fs::read_to_string(top().join("deploy/rbac/role.yaml")).unwrap();
        let all: Vec<Value> =
            file.split("---\n").map(|it| serde_saphyr::from_str(it).unwrap()).collect();
        list(&all.iter().find(|it| it["kind"] == kind).unwrap()["rules"]).to_vec()
    };
    for it in Bundle::all() {
        let spec = &it.csv["spec"]["install"]["spec"];
        for (part, kind) in [("clusterPermissions", "ClusterRole"), ("permissions", "Role")] {
            let mut allowed = role(kind);
            if kind == "ClusterRole" {
                // Which OLM installs nowhere.
                allowed.extend(gastown::manifests::policies::rules());
                let args =
                    &it.deployments()[0]["spec"]["template"]["spec"]["containers"][0]["args"];
                assert!(texts(args).contains(&"--apply-policies"), "the rights are for that");
            }
            let asked = rules(&spec[part]);
            assert!(!asked.is_empty());
            for rule in &asked {
                assert!(allowed.contains(rule), "{}: {part}: {rule}", it.edition);
                let names = |key: &str| texts(&rule[key]);
                assert!(
                    !names("apiGroups").contains(&"*") && !names("resources").contains(&"*"),
                    "{rule}"
                );
                let writes =
                    ["create", "patch", "update", "*"].iter().any(|it| names("verbs").contains(it));
                if names("resources").contains(&"customresourcedefinitions") && writes {
                    // To give a conversion back; the rest of a definition is OLM's.
                    assert_eq!(names("verbs"), ["patch"], "{rule}");
                    assert!(!names("resourceNames").is_empty(), "{rule}");
                }
                assert!(!names("resources").contains(&"secrets"), "certificates are OLM's: {rule}");
                assert!(!names("resources").contains(&"securitycontextconstraints"), "{rule}");
            }
            let others = allowed.iter().filter(|it| !asked.contains(it));
            for rule in others {
                let resources = texts(&rule["resources"]);
                let ours = ["secrets", "polecats"];
                let known = resources
                    .iter()
                    .all(|it| ours.contains(it) || it.ends_with("webhookconfigurations"));
                assert!(known, "left out though it is no certificate's: {rule}");
            }
        }
    }
}

/// What OLM itself asks when it installs; no tool asks it before.
#[test]
fn webhooks_of_all_three_sorts_are_what_olm_installs() {
    for it in Bundle::all() {
        let deployments: BTreeSet<_> =
            it.deployments().iter().map(|it| text(&it["name"])).collect();
        let owned: BTreeSet<_> = it.owned().iter().map(|it| text(&it["name"])).collect();
        let mut names = BTreeSet::new();
        let mut sorts = BTreeSet::new();
        let mut converted = Vec::new();
        for webhook in list(&it.csv["spec"]["webhookdefinitions"]) {
            let (sort, name) = (text(&webhook["type"]), text(&webhook["generateName"]));
            sorts.insert(sort);
            assert!(names.insert((sort, name)), "{sort} {name} twice");
            assert!(is_subdomain(name), "{name}");
            assert!(deployments.contains(text(&webhook["deploymentName"])), "{name}");
            assert_eq!(webhook["containerPort"], 443, "{name}");
            assert_eq!(webhook["targetPort"], 9443, "{name}");
            assert!(text(&webhook["webhookPath"]).starts_with('/'), "{name}");
            assert_eq!(texts(&webhook["admissionReviewVersions"]), ["v1"], "{name}");
            assert_eq!(webhook["sideEffects"], "None", "{name}");
            converted.extend(texts(&webhook["conversionCRDs"]));
            if sort == "ConversionWebhook" {
                continue;
            }
            assert!(!list(&webhook["rules"]).is_empty(), "{name}");
            for rule in list(&webhook["rules"]) {
                let groups = texts(&rule["apiGroups"]);
                for group in ["*", "operators.coreos.com", "admissionregistration.k8s.io"] {
                    assert!(!groups.contains(&group), "{name}: {group}");
                }
                let ours = groups.iter().all(|it| KINDS.iter().any(|kind| kind.group == *it));
                let label = &webhook["objectSelector"]["matchExpressions"][0];
                let labelled =
                    label["key"] == "gastown.io/polecat" && label["operator"] == "Exists";
                assert!(ours || labelled, "{name} would hear of everybody's objects");
            }
        }
        let all = ["ConversionWebhook", "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"];
        assert_eq!(sorts.into_iter().collect::<Vec<_>>(), all);
        assert!(converted.iter().all(|it| owned.contains(it)), "{converted:?}");
        let two: BTreeSet<_> = gastown::kinds::convertible().collect();
        assert_eq!(converted.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>(), two);
        assert_eq!(converted.len(), two.len(), "one webhook a definition");
    }
}

/// All roads install the very same pods, but for where certificates come from, and what an edition is started with alone.
#[test]
fn the_deployment_is_that_of_the_other_roads() {
    let file = fs::read_to_string(top().join("deploy/base/operator.yaml")).unwrap();
    let all: Vec<Value> =
        file.split("---\n").map(|it| serde_saphyr::from_str(it).unwrap()).collect();
    let other = all.iter().find(|it| it["kind"] == "Deployment").unwrap();
    for it in Bundle::all() {
        let [mine] = it.deployments() else { panic!("one Deployment") };
        assert_eq!(mine["name"], other["metadata"]["name"]);
        let (mut mine, mut other) = (mine["spec"].clone(), other["spec"].clone());
        let at = "/template/spec/containers/0/args";
        let own = "--webhook-cert-source=own";
        let arguments = other.pointer_mut(at).unwrap().as_array_mut().unwrap();
        let source = arguments.iter_mut().find(|it| **it == own).unwrap();
        *source = "--webhook-cert-source=files".into(); // which OLM brings
        if it.edition == "enterprise" {
            arguments.extend(ENTERPRISE.map(Value::from));
        }
        arguments.push("--apply-policies".into()); // which it does not
        for spec in [&mut mine, &mut other] {
            let container = spec.pointer_mut("/template/spec/containers/0").unwrap();
            container["image"].take();
            let named = |it: &Value| text(&it["name"]).starts_with("RELATED_IMAGE_");
            container["env"].as_array_mut().unwrap().retain(|it| !named(it));
            let pod = spec.pointer("/template/spec").unwrap();
            for fixed in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(!pod.to_string().contains(fixed), "OpenShift chooses: {fixed}");
            }
        }
        assert_eq!(mine, other, "{}", it.edition);
    }
}

/// Every image that is written anywhere is one of those that are mirrored.
#[test]
fn the_lists_for_mirrors_name_every_image() {
    for it in Bundle::all() {
        let related: BTreeSet<_> =
            list(&it.csv["spec"]["relatedImages"]).iter().map(|it| text(&it["image"])).collect();
        let read = |it: &str| fs::read_to_string(top().join(it)).unwrap();
        let list_of = read(&format!("deploy/mirror/images-{}.txt", it.edition));
        let listed: BTreeSet<_> = list_of.lines().filter(|it| !it.starts_with('#')).collect();
        // What OLM finds them by is pulled, too, and is in no bundle.
        let by_olm = ["bundle", "catalog"].map(|part| {
            format!("gastown-operator-{part}:v{}-{}", env!("CARGO_PKG_VERSION"), it.edition)
        });
        let wanted = related.iter().copied().chain(by_olm.iter().map(String::as_str));
        assert_eq!(listed, wanted.chain([SCORECARD]).collect(), "{}", it.edition);
        let set: Value =
            serde_saphyr::from_str(&read(&format!("deploy/mirror/imageset-{}.yaml", it.edition)))
                .unwrap();
        let additional: BTreeSet<_> =
            list(&set["mirror"]["additionalImages"]).iter().map(|it| text(&it["name"])).collect();
        assert_eq!(additional, related, "{}", it.edition);
        let operators = list(&set["mirror"]["operators"]);
        let [catalog] = operators else { panic!("one catalog: {operators:?}") };
        assert!(is_image(text(&catalog["catalog"])), "{catalog}");
        let packages = list(&catalog["packages"]);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0]["name"], "gastown-operator");
    }
    let community = &Bundle::read("community").csv["spec"]["relatedImages"];
    let known: BTreeSet<_> = list(community).iter().map(|it| text(&it["image"])).collect();
    let mut seen = BTreeSet::new();
    for folder in ["crds", "webhooks", "deploy", "bundle", "charts"] {
        images_below(&top().join(folder), &mut seen);
    }
    assert!(seen.iter().any(|it| it.starts_with("gastown-runner:")), "they are found: {seen:?}");
    // A catalog names the bundles' own images, which are built with them.
    for edition in ["community", "enterprise"] {
        for version in RELEASES {
            let bundle = format!("gastown-operator-bundle:v{version}-{edition}");
            assert!(seen.remove(&bundle), "{bundle}: {seen:?}");
        }
    }
    let enterprise = &Bundle::read("enterprise").csv["spec"]["relatedImages"];
    let known: BTreeSet<_> =
        known.into_iter().chain(list(enterprise).iter().map(|it| text(&it["image"]))).collect();
    assert!(seen.remove(SCORECARD), "what a bundle is tested by: {seen:?}");
    let strangers: Vec<_> = seen.iter().filter(|it| !known.contains(it.as_str())).collect();
    assert!(strangers.is_empty(), "in no list for mirrors: {strangers:?}");
}

/// Images in YAML files, but for lists for mirrors, which are compared whole, the chart's tests, and what a release fills in.
fn images_below(folder: &Path, seen: &mut BTreeSet<String>) {
    for path in entries(folder) {
        // What begins with a dot was made by a test or by `make deploy`, and may go meanwhile.
        let name = name(&path);
        if name.starts_with('.') || name == "mirror" || path.ends_with("gastown-operator/tests") {
            continue;
        }
        if path.is_dir() {
            images_below(&path, seen);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.lines().map(|it| it.trim().trim_start_matches("- ")).collect();
            for (line, after) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
                let keys =
                    ["image: ", "containerImage: ", "operators.openshift.io/must-gather-image: "];
                let image = keys.iter().find_map(|it| line.strip_prefix(it)).or_else(|| {
                    let related = line.starts_with("name: RELATED_IMAGE_");
                    after.strip_prefix("value: ").filter(|_| related)
                });
                let image = image.map(|it| it.trim_matches('"')).filter(|it| !it.contains("{{"));
                seen.extend(image.filter(|it| !it.is_empty()).map(ToOwned::to_owned));
            }
        }
    }
}
