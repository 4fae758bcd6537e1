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
