//! What `telemetry` is told of, so that it can tell of a run by itself: a collector, and its place in the trace. Nothing that the
//! agent is told, and no secret.

use k8s_openapi::api::core::v1::Pod;

use super::fragments::Identity;
use crate::{
    api::v1beta1::Polecat,
    domain::{
        env,
        layout::{self, env as var},
        names,
        trace::{Context, Run, Sampler},
    },
};

/// Where pods tell of their runs, and of which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The whole address, for spans by OTLP over HTTP.
    pub endpoint: String,
    /// What else is said of who tells, as `OTEL_RESOURCE_ATTRIBUTES` has it.
    pub resource: String,
    /// Which runs are recorded; the others are told of by nobody.
    pub sampler: Sampler,
}

/// The pod of an attempt that is recorded, with a collector; any other as it was.
pub(super) fn told(mut pod: Pod, of: &Polecat, attempt: i32, telling: Option<&Telling>) -> Pod {
    let run = Run::of_whole(of, attempt);
    let recorded = telling.filter(|it| it.sampler.samples(run.trace, run.sampled));
    let (Some(telling), Some(spec)) = (recorded, pod.spec.as_mut()) else { return pod };
    let Some(it) = spec.containers.iter_mut().find(|it| it.name == layout::TELEMETRY) else {
        return pod;
    };
    let Identity { name, namespace, .. } = Identity::of(of);
    let variables = it.env.get_or_insert_default();
    variables.extend([
        env::value(var::OTLP_ENDPOINT, &telling.endpoint),
        env::value(var::TRACEPARENT, &run.at(run.root).to_string()),
        env::value(var::NAMESPACE, namespace),
        env::value(var::POD, &names::pod(name, attempt)),
        env::field(var::POD_UID, "metadata.uid"),
    ]);
    let more = [
        (var::OTLP_RESOURCE, Some(&*telling.resource)),
        (var::MODEL, of.spec.agent.model.as_deref()),
    ];
    let more = more.into_iter().filter_map(|(name, text)| Some((name, text?)));
    variables.extend(more.filter(|it| !it.1.is_empty()).map(|(name, text)| env::value(name, text)));
    pod
}

/// The pod of an attempt that is recorded, with the place of its run in a trace, where its own admission is told of; any other as it was.
pub(super) fn placed(mut pod: Pod, of: &Polecat, attempt: i32, recorded: Option<Sampler>) -> Pod {
    let Some(sampler) = recorded else { return pod };
    let run = Run::of_whole(of, attempt);
    if sampler.samples(run.trace, run.sampled) {
        let place = Context { sampled: true, ..run.at(run.root) };
        let all = pod.metadata.annotations.get_or_insert_default();
        all.insert(names::TRACEPARENT.into(), place.to_string());
    }
    pod
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};

    use super::*;

    fn pod(telling: Option<&Telling>, of: &Polecat) -> [Vec<EnvVar>; 2] {
        let container = |name: &str| Container { name: name.into(), ..Container::default() };
        let containers = vec![container(layout::CLAUDE), container(layout::TELEMETRY)];
        let spec = PodSpec { containers, ..PodSpec::default() };
        let pod = told(Pod { spec: Some(spec), ..Pod::default() }, of, 2, telling);
        let containers: [Container; 2] = pod.spec.unwrap().containers.try_into().unwrap();
        containers.map(|it| it.env.unwrap_or_default())
    }

    #[test]
    fn telemetry_alone_is_told_of_a_collector_and_only_of_runs_that_are_recorded() {
        let mut polecat = Polecat::default();
        polecat.metadata.name = Some("max".into());
        polecat.metadata.namespace = Some("town".into());
        polecat.metadata.uid = Some("u".into());
        polecat.spec.agent.model = Some("opus".into());
        let telling = |sampler: &str| Telling {
            endpoint: "http://collector:4318/v1/traces".into(),
            resource: String::new(),
            sampler: Sampler::named(sampler, None).unwrap(),
        };
        let [claude, telemetry] = pod(Some(&telling("always_on")), &polecat);
        assert_eq!(claude, [], "an agent is told of none by us");
        let says = |name: &str| {
            let of = telemetry.iter().find(|it| it.name == name);
            of.and_then(|it| it.value.clone())
        };
        let run = Run::of_whole(&polecat, 2);
        let at = Context::parse(&says(var::TRACEPARENT).unwrap()).unwrap();
        assert_eq!((at.trace, at.span, at.sampled), (run.trace, run.root, true));
        assert_eq!(says(var::POD), Some(names::pod("max", 2)));
        assert_eq!(says(var::MODEL).as_deref(), Some("opus"));
        assert_eq!(says(var::OTLP_RESOURCE), None, "nothing is said where there is nothing to say");
        let uid = telemetry.iter().find(|it| it.name == var::POD_UID).unwrap();
        let from = uid.value_from.clone().unwrap().field_ref.unwrap();
        assert_eq!(from.field_path, "metadata.uid");
        for none in [None, Some(&telling("always_off"))] {
            assert_eq!(pod(none, &polecat), [vec![], vec![]]);
        }
    }

    #[test]
    fn a_pod_says_where_its_run_is_in_a_trace_if_that_is_recorded() {
        let polecat = Polecat::default();
        let place = |sampler: Option<&str>| {
            let sampler = sampler.map(|it| Sampler::named(it, None).unwrap());
            let pod = placed(Pod::default(), &polecat, 2, sampler);
            pod.metadata.annotations.map(|it| it[names::TRACEPARENT].clone())
        };
        let run = Run::of_whole(&polecat, 2);
        assert_eq!(place(Some("always_on")), Some(run.at(run.root).to_string()));
        assert_eq!((place(Some("always_off")), place(None)), (None, None));
    }

    /// What hangs on a span that nobody tells of is found by nobody.
    #[test]
    fn an_agent_is_told_whether_its_run_is_recorded() {
        use crate::domain::pod::{
            PodSettings, agent_pod,
            tests::{polecat, settings},
        };
        let flag = |stamped: Option<&str>, sampler: Option<&str>| {
            let mut it = polecat();
            let context =
                |flag| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flag}");
            it.metadata.annotations =
                stamped.map(|flag| [(names::TRACEPARENT.to_owned(), context(flag))].into());
            let recorded = sampler.map(|it| Sampler::named(it, Some("0")).unwrap());
            let settings = PodSettings { recorded, ..settings() };
            let spec = agent_pod(&it, 1, &settings).unwrap().spec.unwrap();
            let claude = spec.containers.into_iter().find(|it| it.name == layout::CLAUDE).unwrap();
            let of = claude.env.unwrap().into_iter().find(|it| it.name == var::TRACEPARENT);
            Context::parse(&of.unwrap().value.unwrap()).unwrap().sampled
        };
        #[rustfmt::skip]
        let table = [
            (None, Some("parentbased_always_on"), true, "past the stamping, and told of"),
            (None, Some("parentbased_always_off"), false, "past the stamping, and told of by nobody"),
            (None, Some("traceidratio"), false, "none of a share of nothing"),
            (Some("01"), Some("parentbased_always_off"), true, "whoever began the trace has decided"),
            (Some("00"), Some("parentbased_always_on"), false, "against it too"),
            (Some("01"), Some("always_off"), false, "a sampler that follows nobody"),
            (Some("00"), Some("always_on"), true, "neither way"),
            (Some("00"), None, false, "an operator that tells of nothing leaves what was decided"),
            (None, None, true, "or what an agent would do by itself"),
        ];
        for (stamped, sampler, want, because) in table {
            assert_eq!(flag(stamped, sampler), want, "{because}");
        }
    }
}
