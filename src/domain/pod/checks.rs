//! Everything that can be wrong with a spec and that the schema lets through, by field, found by the very parsers that the
//! runner uses.

use super::PodSettings;
use crate::{
    api::{
        shared::Resources,
        v1beta1::{Polecat, PolecatSpec},
    },
    domain::{
        env,
        exposure::{self, Exposure},
        failure::Cause,
        fields, layout, names,
        provenance::Provenance,
        references,
        repository::{BranchName, RepositoryUrl},
    },
};

/// What makes an image of an agent where it is used: none is shipped, since agents are other people's programs.
pub const BUILD_AGENT: &str = "`make agent-image AGENT_NPM=package@version`";

/// The first thing that is wrong with a Polecat.
pub(super) fn check(polecat: &Polecat, max_deadline: Option<i64>) -> Result<(), Cause> {
    let name = polecat.metadata.name.as_deref().unwrap_or_default();
    let refuse = |text: String| Err(Cause::known("PodBuildFailed", text));
    if let Some(Exposure { field, message }) = flaws(&polecat.spec, name, max_deadline).first() {
        return refuse(format!("{field} {message}"));
    }
    if let Err(why) = Provenance::of(&polecat.metadata) {
        return refuse(why);
    }
    match exposure::exposures(&polecat.spec).first() {
        Some(it) => refuse(format!("{} {}", it.field, it.message)),
        None => Ok(()),
    }
}

/// Everything that can be wrong with a spec and that the schema lets through, by field. `name` is empty where it is still
/// to be made.
pub fn flaws(spec: &PolecatSpec, name: &str, max_deadline: Option<i64>) -> Vec<Exposure> {
    let flaw = |field: &str, message: String| Exposure { field: field.to_owned(), message };
    let mut all = Vec::new();
    if let Some(it) = &spec.repository {
        let url = it.url.parse::<RepositoryUrl>().err();
        all.extend(url.map(|why| flaw(fields::URL, why.to_string())));
        let base = it.base_branch.parse::<BranchName>().err();
        all.extend(base.map(|why| flaw(fields::BASE_BRANCH, why.to_string())));
        all.extend(work_branch(spec, it.work_branch.as_deref(), name));
    }
    let deadline = spec.limits.active_deadline_seconds;
    if spec.repository.is_some() && deadline <= 0 {
        all.push(flaw(fields::DEADLINE, "must be positive".into()));
    }
    let above = deadline_above(deadline, max_deadline);
    all.extend(above.map(|message| flaw(fields::DEADLINE, message)));
    if spec.agent.resources.as_ref().is_some_and(has_claims) {
        let message = "must be left out: an agent pod has no resource claims".into();
        all.push(flaw(fields::CLAIMS, message));
    }
    let texts = [
        (fields::TASK, spec.task.as_deref()),
        ("spec.beadID", spec.bead_id.as_deref()),
        ("spec.rig", Some(spec.rig.as_str())),
        (fields::MODEL, spec.agent.model.as_deref()),
        (fields::ENDPOINT, spec.agent.endpoint.as_deref()),
    ];
    all.extend(references::misnamed(spec));
    let misfit = |(field, text): (&str, Option<&str>)| {
        env::misfit(text.unwrap_or_default()).map(|message| flaw(field, message))
    };
    all.extend(texts.into_iter().filter_map(misfit));
    all
}

/// What is wrong with the branch that is to be pushed, by the field that names it.
fn work_branch(spec: &PolecatSpec, asked: Option<&str>, name: &str) -> Option<Exposure> {
    let bead = spec.bead_id.as_deref().filter(|it| !it.is_empty());
    let field = match (asked.filter(|it| !it.is_empty()), bead) {
        (Some(_), _) => fields::WORK_BRANCH,
        (None, Some(_)) => "spec.beadID",
        (None, None) if name.is_empty() => return None,
        (None, None) => "metadata.name",
    };
    let branch = names::work_branch(asked, bead, name);
    let why = branch.parse::<BranchName>().err()?;
    let message = if asked.is_some_and(|it| !it.is_empty()) {
        why.to_string()
    } else {
        format!("names the work branch, which {why}; set {}", fields::WORK_BRANCH)
    };
    Some(Exposure { field: field.to_owned(), message })
}

/// What is said where more seconds are asked for than this operator gives.
fn deadline_above(asked: i64, most: Option<i64>) -> Option<String> {
    let most = most.filter(|most| asked > *most)?;
    Some(format!(
        "is {asked}, and this operator allows at most {most} (--max-active-deadline); ask for {most} or less"
    ))
}

/// What is said of times that v1alpha1 takes and the runner does not: people write them for "never".
pub fn capped(spec: &PolecatSpec) -> Vec<String> {
    let limits = &spec.limits;
    let idle = limits.max_idle_seconds.map(i64::from);
    let times =
        [(fields::DEADLINE, Some(limits.active_deadline_seconds)), (fields::MAX_IDLE, idle)];
    let say = |(field, seconds): (&str, Option<i64>)| {
        let seconds = seconds.filter(|it| *it > layout::MAX_SECONDS.into())?;
        Some(format!("{field} is {seconds} and counts as {}, a year", layout::MAX_SECONDS))
    };
    times.into_iter().filter_map(say).collect()
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
    let text = format!(
        "no image for the agent: set {}, or start the operator with --agent-image (RELATED_IMAGE_AGENT); {BUILD_AGENT} builds \
         one",
        fields::IMAGE
    );
    Ok((
        runner(&settings.git_image, "--runner-image")?,
        agent.ok_or_else(|| Cause::new("AgentImageNotSet", text))?,
        runner(&settings.telemetry_image, "--runner-image")?,
    ))
}

fn has_claims(resources: &Resources) -> bool {
    resources.claims.as_ref().is_some_and(|it| !it.is_empty())
}
