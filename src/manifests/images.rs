//! Every image that an installation runs, in one list. Deployments, `relatedImages` and the lists for mirrors come from it.

use serde_json::{Value, json};

use super::operator::Edition;

/// Images as they are pulled; by tag, until a release names digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub operator: String,
    pub runner: String,
    /// That of agents, which is built where it is used: none is shipped.
    pub agent: Option<String>,
}

impl Images {
    /// What `make docker-build` calls them, before a registry is put in front.
    pub fn of(edition: Edition) -> Self {
        Self { operator: edition.operator_image(), runner: edition.runner_image(), agent: None }
    }

    /// Each with its name and the variable by which the operator is told of it; the operator's own has none.
    pub fn all(&self) -> Vec<(&'static str, Option<&'static str>, &str)> {
        let mut all = vec![
            ("gastown-operator", None, self.operator.as_str()),
            ("gastown-runner", Some("RELATED_IMAGE_RUNNER"), self.runner.as_str()),
        ];
        let agent = self.agent.as_deref();
        all.extend(agent.map(|it| ("gastown-agent", Some("RELATED_IMAGE_AGENT"), it)));
        all
    }

    /// `relatedImages` of a CSV.
    pub fn related(&self) -> Value {
        self.all().iter().map(|(name, _, image)| json!({"name": name, "image": image})).collect()
    }

    /// The operator's container with these images.
    pub fn put_into(&self, container: &mut Value) {
        let Some(container) = container.as_object_mut() else { return };
        container.insert("image".into(), json!(self.operator));
        let variables = container.entry("env").or_insert_with(|| json!([]));
        let Some(variables) = variables.as_array_mut() else { return };
        for (_, variable, image) in self.all() {
            let Some(name) = variable else { continue };
            variables.retain(|it| it.get("name").is_none_or(|it| it != name));
            variables.push(json!({"name": name, "value": image}));
        }
    }

    /// All of them are named by digest, so that a mirror can't serve another.
    pub fn are_pinned(&self) -> bool {
        self.all().iter().all(|(_, _, image)| image.contains("@sha256:"))
    }
}
