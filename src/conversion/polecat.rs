//! `Polecat` in both versions. The more specific place wins: `kubernetes.*`, then `agentConfig.*`, then the top level. An old
//! object keeps its old meaning: it is done when its agent exits with 0.

use super::{
    lens::Lens,
    table::{
        Default, Row, Table,
        Version::{V1alpha1, V1beta1},
    },
};

/// What of `kubernetes` is not about the repository has its place there only beside one.
pub const TABLE: Table = Table {
    kind: "Polecat",
    rows: &[
        Row::same("rig"),
        Row::same("desiredState"),
        Row::same("beadID"),
        Row::moved("taskDescription", "task"),
        Row::moved("kubernetes.gitRepository", "repository.url"),
        Row::moved("kubernetes.gitBranch", "repository.baseBranch"),
        Row::moved("kubernetes.workBranch", "repository.workBranch"),
        Row::moved("kubernetes.gitSecretRef", "repository.secretRef"),
        Row::moved(
            "kubernetes.sshKnownHostsConfigMapRef.name",
            "repository.knownHostsConfigMapRef.name",
        )
        .through(Lens::Filled),
        Row::moved("agent", "agent.kind"),
        Row::moved("agentConfig.provider", "agent.provider").through(Lens::Unless("\"litellm\"")),
        Row::moved("agentConfig.model", "agent.model"),
        Row::moved("agentConfig.modelProvider.endpoint", "agent.endpoint"),
        Row::moved("agentConfig.modelProvider.apiKeySecretRef", "agent.apiKeySecretRef"),
        Row::moved("kubernetes.apiKeySecretRef", "agent.anthropicKeySecretRef")
            .beside("repository"),
        Row::moved("kubernetes.claudeCredsSecretRef", "agent.credentialsSecretRef")
            .beside("repository"),
        Row::moved("kubernetes.image", "agent.image").through(Lens::Filled).beside("repository"),
        Row::moved("agentConfig.image", "agent.image").through(Lens::Filled),
        Row::moved("agentConfig.command", "agent.command"),
        Row::moved("agentConfig.args", "agent.args"),
        Row::moved("agentConfig.configMapRef.name", "agent.configMapRef.name")
            .through(Lens::Filled),
        Row::moved("agentConfig.env", "agent.env"),
        Row::moved("kubernetes.resources", "agent.resources").beside("repository"),
        Row::moved("resources", "agent.resources"),
        Row::moved("kubernetes.activeDeadlineSeconds", "limits.activeDeadlineSeconds")
            .beside("repository"),
        Row::moved("maxIdleSeconds", "limits.maxIdleSeconds"),
        Row::moved("ttlSecondsAfterFinished", "limits.ttlSecondsAfterFinished"),
    ],
    defaults: &[
        Default::of(V1alpha1, "desiredState", "\"Idle\""),
        Default::of(V1alpha1, "executionMode", "\"kubernetes\"").goes_without_saying(),
        Default::of(V1alpha1, "agent", "\"claude-code\""),
        Default::of(V1alpha1, "agentConfig.provider", "\"litellm\"").goes_without_saying(),
        Default::of(V1alpha1, "agentConfig.configMapRef.name", "\"\""),
        Default::of(V1alpha1, "kubernetes.gitBranch", "\"main\""),
        Default::of(V1alpha1, "kubernetes.activeDeadlineSeconds", "3600"),
        Default::of(V1alpha1, "kubernetes.sshKnownHostsConfigMapRef.name", "\"\""),
        Default::of(V1alpha1, "kubernetes.sshStrictHostKeyChecking", "\"yes\"")
            .goes_without_saying(),
        Default::of(V1beta1, "desiredState", "\"Idle\""),
        Default::of(V1beta1, "repository.baseBranch", "\"main\""),
        Default::of(V1beta1, "agent", r#"{"kind":"claude-code","provider":"litellm"}"#),
        Default::of(V1beta1, "agent.kind", "\"claude-code\""),
        Default::of(V1beta1, "agent.provider", "\"litellm\"").goes_without_saying(),
        Default::of(V1beta1, "limits", r#"{"activeDeadlineSeconds":3600}"#),
        Default::of(V1beta1, "limits.activeDeadlineSeconds", "3600").goes_without_saying(),
        Default::of(V1beta1, "completion", "\"ExitCode\"").goes_without_saying(),
    ],
};

#[cfg(test)]
#[path = "../../tests/bench/conversion/to_hub.rs"]
mod to_hub;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{to_hub::to_hub, *};
    use crate::{
        api::{
            v1alpha1,
            v1beta1::{PolecatObject, Provider},
        },
        conversion::{convert, kinds},
    };

    fn hub(yaml: &str) -> PolecatObject {
        let old: Value = serde_saphyr::from_str(yaml).unwrap();
        let mut out = String::new();
        convert(kinds(), &old.to_string(), "gastown.gastown.io/v1beta1", &mut out).unwrap();
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn the_more_specific_place_wins() {
        let polecat = hub(r#"
apiVersion: gastown.gastown.io/v1alpha1
kind: Polecat
metadata: {name: max, namespace: town}
spec:
  rig: greeter
  desiredState: Working
  resources: {limits: {cpu: 1}}
  agentConfig: {image: "agent:config", command: [run], provider: anthropic}
  kubernetes:
    gitRepository: git@git.example.com:town/greeter.git
    gitSecretRef: {name: key}
    image: "agent:kubernetes"
    resources: {limits: {cpu: "2"}}
"#);
        assert_eq!(polecat.spec.agent.image.as_deref(), Some("agent:kubernetes"));
        assert_eq!(polecat.spec.agent.resources.unwrap().limits.unwrap()["cpu"].0, "2");
        assert_eq!(polecat.spec.agent.command.unwrap(), ["run"]);
        assert_eq!(polecat.spec.limits.active_deadline_seconds, 3600);
        assert_eq!(polecat.spec.repository.unwrap().base_branch, "main");
    }

    /// Every field, each unlike its default.
    const WHOLE: &str = r#"
apiVersion: gastown.gastown.io/v1alpha1
kind: Polecat
metadata: {name: max, namespace: town}
spec:
  rig: greeter
  desiredState: Working
  beadID: gt-1
  taskDescription: Do it
  executionMode: kubernetes
  agent: claude-code
  agentConfig:
    provider: ollama
    model: m
    modelProvider: {endpoint: "https://llm.example.com", apiKeySecretRef: {name: llm, key: k}}
    image: "agent:config"
    command: [run]
    args: ["--fast"]
    configMapRef: {name: config}
    env: [{name: A, value: b}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]
  resources: {limits: {cpu: "1"}}
  ttlSecondsAfterFinished: 60
  maxIdleSeconds: 61
  kubernetes:
    gitRepository: git@git.example.com:town/greeter.git
    gitBranch: trunk
    workBranch: work
    gitSecretRef: {name: key}
    claudeCredsSecretRef: {name: creds}
    apiKeySecretRef: {name: anthropic, key: k}
    image: "agent:kubernetes"
    resources: {limits: {cpu: "2"}}
    activeDeadlineSeconds: 62
    sshKnownHostsConfigMapRef: {name: hosts}
    sshStrictHostKeyChecking: "yes"
"#;

    /// Paths below the spec of everything in it.
    fn paths(object: &Value, path: &str, all: &mut Vec<String>) {
        for (name, inner) in object.as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            paths(inner, &path, all);
            all.push(path);
        }
    }

    fn without(object: &Value, path: &str) -> Value {
        let mut object = object.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).and_then(Value::as_object_mut).map(|it| it.remove(name));
        object
    }

    #[test]
    fn the_table_agrees_with_the_types() {
        let whole: Value = serde_saphyr::from_str(WHOLE).unwrap();
        let mut all = Vec::new();
        paths(&whole["spec"], "/spec", &mut all);
        let mut objects = vec![whole.clone()];
        for (index, one) in all.iter().enumerate() {
            let less = without(&whole, one);
            objects.extend(all.iter().take(index).map(|other| without(&less, other)));
            objects.push(less);
            if whole.pointer(one).is_some_and(Value::is_string) {
                let mut empty = whole.clone();
                *empty.pointer_mut(one).unwrap() = Value::from("");
                objects.push(empty);
            }
        }
        let kind = kinds().iter().find(|it| it.name == "Polecat").unwrap();
        let served = &kind.to(V1beta1).source;
        let mut compared = 0;
        for object in objects {
            if !served.admits(&object["spec"]) {
                continue;
            }
            let old: v1alpha1::Polecat = serde_json::from_value(object.clone()).unwrap();
            let text = object.to_string();
            let mut out = String::new();
            convert(kinds(), &text, "gastown.gastown.io/v1beta1", &mut out).unwrap();
            let new: PolecatObject = serde_json::from_str(&out).unwrap();
            assert_eq!(new.spec, to_hub(old).spec, "of {text}: {out}");
            let mut back = String::new();
            convert(kinds(), &out, "gastown.gastown.io/v1alpha1", &mut back).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), object, "by way of {out}");
            compared += 1;
        }
        assert!(compared > 400, "{compared} objects");
    }

    #[test]
    fn the_usual_object_needs_no_annotation() {
        let object = serde_json::json!({
            "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "max"},
            "spec": {
                "rig": "greeter", "desiredState": "Working", "executionMode": "kubernetes", "agent": "claude-code",
                "taskDescription": "Do it", "agentConfig": {"provider": "litellm", "model": "m"},
                "kubernetes": {
                    "gitRepository": "git@git.example.com:town/greeter.git", "gitBranch": "main",
                    "gitSecretRef": {"name": "key"}, "image": "agent:1", "activeDeadlineSeconds": 3600,
                    "sshStrictHostKeyChecking": "yes",
                },
            },
        });
        for without in ["", "/spec/agentConfig", "/spec/kubernetes"] {
            let object =
                if without.is_empty() { object.clone() } else { self::without(&object, without) };
            let mut new = String::new();
            convert(kinds(), &object.to_string(), "gastown.gastown.io/v1beta1", &mut new).unwrap();
            assert!(!new.contains("annotations"), "without {without}: {new}");
            let mut old = String::new();
            convert(kinds(), &new, "gastown.gastown.io/v1alpha1", &mut old).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&old).unwrap(), object);
        }
    }

    #[test]
    fn an_edit_within_a_block_leaves_what_was_hidden_in_it() {
        let hidden = serde_json::json!({
            "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "max"},
            "spec": {
                "rig": "greeter",
                // Of this block v1beta1 says nothing: another image wins, and a reference without a name is none.
                "agentConfig": {"image": "hidden", "configMapRef": {"name": ""}},
                "kubernetes": {
                    "gitRepository": "git@git.example.com:town/greeter.git", "gitSecretRef": {"name": "key"}, "image": "shown",
                },
            },
        });
        let way = |object: &Value, version: &str| -> Value {
            let mut out = String::new();
            let to = format!("gastown.gastown.io/{version}");
            convert(kinds(), &object.to_string(), &to, &mut out).unwrap();
            serde_json::from_str(&out).unwrap()
        };
        let new = way(&hidden, "v1beta1");
        let mut edited = new.clone();
        edited["spec"]["agent"]["model"] = Value::from("m");
        let back = way(&edited, "v1alpha1");
        let block = &back["spec"]["agentConfig"];
        assert_eq!((&block["model"], &block["image"]), (&"m".into(), &"hidden".into()), "{back}");
        assert_eq!(block["configMapRef"]["name"], "", "{back}");

        let mut edited = new;
        drop(edited["spec"]["agent"].as_object_mut().unwrap().remove("image"));
        let back = way(&edited, "v1alpha1");
        let block = &back["spec"]["agentConfig"];
        assert_eq!(block.get("image"), None, "it does not come to life: {back}");
        assert_eq!(block["configMapRef"]["name"], "", "and the rest stays: {back}");
    }

    #[test]
    fn the_least_object_converts() {
        let polecat = hub(
            "{apiVersion: gastown.gastown.io/v1alpha1, kind: Polecat, metadata: {name: max}, spec: {rig: greeter}}",
        );
        assert_eq!(polecat.spec.repository, None);
        assert_eq!(polecat.spec.agent.provider, Provider::Litellm);
    }
}
