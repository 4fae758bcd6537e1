//! Everything that can be wrong with a spec and that the schema lets through, by field, found by the very parsers that the
//! runner uses.

use super::PodSettings;
use crate::{
    api::{
        shared::Resources,
        v1beta1::{Polecat, Repository},
    },
    domain::{
        env, exposure,
        failure::Cause,
        provenance::Provenance,
        repository::{BranchName, RepositoryUrl},
    },
};

/// Everything that can be wrong with a spec and that the schema lets through, by field.
pub(super) fn check(
    polecat: &Polecat,
    repository: &Repository,
    work_branch: &str,
    max_deadline: Option<i64>,
) -> Result<(), Cause> {
    let spec = &polecat.spec;
    let refuse = |text: String| Err(Cause::new("PodBuildFailed", text));
    if let Err(why) = repository.url.parse::<RepositoryUrl>() {
        return refuse(format!("spec.kubernetes.gitRepository: {why}"));
    }
    let branches = [
        ("spec.kubernetes.gitBranch", repository.base_branch.as_str()),
        ("spec.kubernetes.workBranch (or the one made from spec.beadID)", work_branch),
    ];
    for (field, branch) in branches {
        if let Err(why) = branch.parse::<BranchName>() {
            return refuse(format!("{field}: {why}"));
        }
    }
    if spec.limits.active_deadline_seconds <= 0 {
        return refuse("spec.kubernetes.activeDeadlineSeconds must be positive".into());
    }
    if let Some(text) = deadline_above(spec.limits.active_deadline_seconds, max_deadline) {
        return refuse(text);
    }
    if spec.limits.max_idle_seconds.is_some_and(|it| it <= 0) {
        return refuse("spec.maxIdleSeconds must be positive; leave it out for no limit".into());
    }
    if spec.agent.resources.as_ref().is_some_and(has_claims) {
        return refuse(
            "resources.claims: an agent pod has no resource claims; take them out".into(),
        );
    }
    let texts = [
        ("spec.taskDescription", spec.task.as_deref()),
        ("spec.beadID", spec.bead_id.as_deref()),
        ("spec.rig", Some(spec.rig.as_str())),
        ("spec.agentConfig.model", spec.agent.model.as_deref()),
        ("spec.agentConfig.modelProvider.endpoint", spec.agent.endpoint.as_deref()),
    ];
    texts.into_iter().try_for_each(|(field, text)| env::fits(field, text.unwrap_or_default()))?;
    if let Err(why) = Provenance::of(&polecat.metadata) {
        return refuse(why);
    }
    match exposure::exposures(spec).first() {
        Some(it) => refuse(format!("{} {}", it.field, it.message)),
        None => Ok(()),
    }
}

/// What is said where more seconds are asked for than this operator gives.
pub fn deadline_above(asked: i64, most: Option<i64>) -> Option<String> {
    let most = most.filter(|most| asked > *most)?;
    Some(format!(
        "spec.kubernetes.activeDeadlineSeconds is {asked}, and this operator allows at most {most} (--max-active-deadline); \
         ask for {most} or less"
    ))
}

pub(super) fn images(
    polecat: &Polecat,
    settings: &PodSettings,
) -> Result<(String, String, String), Cause> {
    let runner = |image: &Option<String>, flag: &str| {
        let text = format!(
            "the operator was started without {flag}; set it to an image with gt-runner, git and ssh"
        );
        image.clone().ok_or_else(|| Cause::new("RunnerImageNotSet", text))
    };
    let asked = polecat.spec.agent.image.clone().filter(|it| !it.is_empty());
    let agent =
        settings.agent_image_override.clone().or(asked).or_else(|| settings.agent_image.clone());
    let text = "no image for the agent: set spec.kubernetes.image, or start the operator with --agent-image";
    Ok((
        runner(&settings.git_image, "--runner-image")?,
        agent.ok_or_else(|| Cause::new("AgentImageNotSet", text))?,
        runner(&settings.telemetry_image, "--runner-image")?,
    ))
}

fn has_claims(resources: &Resources) -> bool {
    resources.claims.as_ref().is_some_and(|it| !it.is_empty())
}
