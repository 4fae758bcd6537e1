//! What docs/install.md shows of kustomize is what kustomize takes, and keeps each edition to its own images.

use std::fs;

use gastown::manifests::operator::DEPLOYMENT;
use gastown_testbed::tools::Tool;
use serde_json::Value;

use super::{objects, run, said, tool};
use crate::generated::top;

#[test]
fn the_pages_overlays_render_and_mix_no_editions() {
    let Some(kubectl) = tool("the_pages_overlays_render_and_mix_no_editions", Tool::Kubectl) else {
        return;
    };
    let page = fs::read_to_string(top().join("docs/install.md")).unwrap();
    let blocks: Vec<_> = page.split("$ cat kustomization.yaml\n").skip(1).collect();
    assert_eq!(blocks.len(), 2, "one for each edition");
    for (block, (edition, suffix)) in
        blocks.iter().zip([("community", ""), ("enterprise", "-ubi9")])
    {
        let text = block.split("```").next().unwrap();
        // Bases lie beside the folder instead of in a repository.
        let own = |line: &str| match line.split_once("//deploy/") {
            Some((_, base)) => format!("- ../{}", base.split('?').next().unwrap()),
            None => line.to_owned(),
        };
        let text: Vec<_> = text.lines().map(own).collect();
        let folder = tempfile::Builder::new().prefix(".overlay.").tempdir_in(top().join("deploy"));
        let folder = folder.unwrap();
        fs::write(folder.path().join("kustomization.yaml"), text.join("\n")).unwrap();
        let folder = folder.path().to_string_lossy();
        let all = objects(&said(&run(&kubectl, &["kustomize", &folder])));
        let container =
            &all[&format!("Deployment/{DEPLOYMENT}")]["spec"]["template"]["spec"]["containers"][0];
        let version = format!("{}{suffix}", env!("CARGO_PKG_VERSION"));
        let image = format!("registry.example.com/gastown-operator:{version}");
        assert_eq!(container["image"], image, "{edition}");
        let variables = container["env"].as_array().unwrap();
        let of = |name: &str| -> &Value {
            &variables.iter().find(|it| it["name"] == name).unwrap()["value"]
        };
        let runner = format!("registry.example.com/gastown-runner:{version}");
        assert_eq!(*of("RELATED_IMAGE_RUNNER"), runner, "{edition}");
        assert_eq!(*of("RELATED_IMAGE_AGENT"), "registry.example.com/claude:1", "{edition}");
    }
}

/// Also where somebody else's annotations are there already, as with certificates by cert-manager.
#[test]
fn the_pages_patch_keeps_definitions_and_what_keeps_objects_whole() {
    const TEST: &str = "the_pages_patch_keeps_definitions_and_what_keeps_objects_whole";
    let Some(kubectl) = tool(TEST, Tool::Kubectl) else { return };
    let page = fs::read_to_string(top().join("docs/install.md")).unwrap();
    let block = page.split("$ cat kept.yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (patch, patches) = block.split_once("$ tail -n 3 kustomization.yaml\n").unwrap();
    let folder = tempfile::Builder::new().prefix(".overlay.").tempdir_in(top().join("deploy"));
    let folder = folder.unwrap();
    let text = format!("resources: [../community]\ncomponents: [../cert-manager]\n{patches}");
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    fs::write(folder.path().join("kept.yaml"), patch).unwrap();
    let folder = folder.path().to_string_lossy();
    let all = objects(&said(&run(&kubectl, &["kustomize", &folder])));
    for (key, object) in &all {
        let annotations = &object["metadata"]["annotations"];
        let kept = annotations["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
            && annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled";
        let definition = key.starts_with("CustomResourceDefinition/");
        assert_eq!(kept, definition || key.ends_with("/gastown-operator-conversion"), "{key}");
        assert!(!definition || annotations["cert-manager.io/inject-ca-from"].is_string(), "{key}");
    }
}
