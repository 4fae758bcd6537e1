//! The comparison: `kube`'s `ConversionReview`, whose objects are a `Vec<Value>`, and a typed conversion between. It has no
//! annotation to think of, and drops what its types do not know.

use anyhow::{Result, anyhow, bail};
use gastown::api::{
    shared::ConfigMapRef,
    v1alpha1::{
        self,
        polecat::{AgentConfig, KubernetesSpec, ModelProvider},
    },
    v1beta1,
};
use kube::core::conversion::{ConversionRequest, ConversionReview};
use serde_json::Value;

use crate::to_hub::to_hub;

/// The whole answer.
pub fn answer(body: &[u8]) -> Result<Vec<u8>> {
    let review: ConversionReview = serde_json::from_slice(body)?;
    let mut request = ConversionRequest::from_review(review).map_err(|why| anyhow!("{why}"))?;
    let objects = std::mem::take(&mut request.objects);
    let up = request.desired_api_version.ends_with("v1beta1");
    let objects: Vec<Value> =
        objects.into_iter().map(|it| convert(it, up)).collect::<Result<_>>()?;
    let response = kube::core::conversion::ConversionResponse::for_request(request);
    Ok(serde_json::to_vec(&response.success(objects).into_review())?)
}

fn convert(object: Value, up: bool) -> Result<Value> {
    match (object.get("kind").and_then(Value::as_str), up) {
        (Some("Convoy"), true) => {
            Ok(serde_json::to_value(convoy_up(serde_json::from_value(object)?))?)
        }
        (Some("Convoy"), false) => {
            Ok(serde_json::to_value(convoy_down(serde_json::from_value(object)?))?)
        }
        (Some("Polecat"), true) => {
            Ok(serde_json::to_value(polecat_up(serde_json::from_value(object)?))?)
        }
        (Some("Polecat"), false) => {
            Ok(serde_json::to_value(polecat_down(serde_json::from_value(object)?))?)
        }
        (kind, _) => bail!("no such kind: {kind:?}"),
    }
}

fn convoy_up(old: v1alpha1::Convoy) -> v1beta1::Convoy {
    let v1alpha1::Convoy { metadata, spec, status } = old;
    let v1alpha1::ConvoySpec { description, tracked_beads, parallelism, rig_ref } = spec;
    v1beta1::Convoy {
        metadata,
        spec: v1beta1::ConvoySpec {
            description,
            beads: tracked_beads.into_iter().map(|id| v1beta1::FollowedBead { id }).collect(),
            parallelism: Some(parallelism).filter(|it| *it > 0),
            rig_ref: rig_ref.map(|name| v1beta1::RigRef { name }),
        },
        status,
    }
}

fn convoy_down(new: v1beta1::Convoy) -> v1alpha1::Convoy {
    let v1beta1::Convoy { metadata, spec, status } = new;
    let v1beta1::ConvoySpec { description, beads, parallelism, rig_ref } = spec;
    v1alpha1::Convoy {
        metadata,
        spec: v1alpha1::ConvoySpec {
            description,
            tracked_beads: beads.into_iter().map(|it| it.id).collect(),
            parallelism: parallelism.unwrap_or_default(),
            rig_ref: rig_ref.map(|it| it.name),
        },
        status,
    }
}

fn polecat_up(mut old: v1alpha1::Polecat) -> v1beta1::PolecatObject {
    let status = old.status.take();
    let v1beta1::Polecat { metadata, spec, .. } = to_hub(old);
    v1beta1::PolecatObject { metadata, spec, status }
}

fn polecat_down(new: v1beta1::PolecatObject) -> v1alpha1::Polecat {
    let v1beta1::PolecatObject { metadata, spec, status } = new;
    let v1beta1::PolecatSpec {
        rig,
        desired_state,
        bead_id,
        task,
        repository,
        agent,
        limits,
        completion: _,
    } = spec;
    let named = |it: v1beta1::ConfigMapRef| ConfigMapRef { name: it.name };
    let kubernetes = repository.map(|it| KubernetesSpec {
        git_repository: it.url,
        git_branch: it.base_branch,
        work_branch: it.work_branch,
        git_secret_ref: it.secret_ref,
        claude_creds_secret_ref: agent.credentials_secret_ref,
        api_key_secret_ref: agent.anthropic_key_secret_ref,
        image: agent.image,
        resources: agent.resources,
        active_deadline_seconds: limits.active_deadline_seconds,
        ssh_known_hosts_config_map_ref: it.known_hosts_config_map_ref.map(named),
        ssh_strict_host_key_checking: v1alpha1::polecat::StrictHostKeyChecking::Yes,
    });
    let agent_config = AgentConfig {
        provider: agent.provider,
        model: agent.model,
        model_provider: Some(ModelProvider {
            endpoint: agent.endpoint,
            api_key_secret_ref: agent.api_key_secret_ref,
        }),
        image: None,
        command: agent.command,
        args: agent.args,
        config_map_ref: agent.config_map_ref.map(named),
        env: agent.env,
    };
    v1alpha1::Polecat {
        metadata,
        spec: v1alpha1::PolecatSpec {
            rig,
            desired_state,
            bead_id,
            task_description: task,
            execution_mode: v1alpha1::polecat::ExecutionMode::Kubernetes,
            agent: agent.kind,
            agent_config: Some(agent_config),
            resources: None,
            ttl_seconds_after_finished: limits.ttl_seconds_after_finished,
            max_idle_seconds: limits.max_idle_seconds,
            kubernetes,
        },
        status,
    }
}
