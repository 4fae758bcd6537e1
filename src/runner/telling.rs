//! Tells a collector what happens in this pod, where the operator names one: every stage of the run once it is over. The operator
//! tells of them again at the end of the run, from the verdict and under the same ids, so nothing rests on it; and nobody waits
//! for it, but the end of `telemetry` for a moment.

use std::{collections::HashSet, path::Path, time::Duration};

use http::HeaderMap;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    log,
    paths::Paths,
    settings::{Collector, Settings},
};
use crate::{
    domain::{layout, polecat::InPod, trace::SpanId, verdict::Verdict},
    otlp::{
        self, MAX_ANSWER, Outcome, Post,
        http::{Http, trusting},
        proxy::Proxies,
        spans,
    },
    tls::crypto::{self, Profile, Wanted},
};

/// How long one sending may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the container stays for the last one, with the verdict already written.
const LAST: Duration = Duration::from_secs(1);
/// Approved ones, whatever the policy of the pod's TLS.
const SUITES: [&str; 6] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];
const GROUPS: [&str; 2] = ["secp256r1", "secp384r1"];

/// What tells, if anything does.
pub struct Telling(Option<Task>);

struct Task {
    drafts: watch::Sender<Verdict>,
    sending: JoinHandle<()>,
}

impl Telling {
    /// Begins to tell of the drafts of a verdict, where there is a collector; nothing is connected yet.
    pub fn begin(paths: &Paths, settings: Option<&Settings>) -> Self {
        let found = settings.and_then(|it| Some((it, it.collector()?)));
        Self(found.and_then(|(settings, collector)| {
            let sender = Sender::new(paths, settings, collector);
            let sender = sender
                .map_err(|error| log::say(&format!("Telling no collector of the run: {error:#}")))
                .ok()?;
            let (drafts, other) = watch::channel(Verdict::default());
            Some(Task { drafts, sending: tokio::spawn(sender.run(other)) })
        }))
    }

    /// Tells what is known by now. Waits for nobody.
    pub fn tell(&self, draft: &Verdict) {
        if let Some(it) = &self.0 {
            it.drafts.send_replace(draft.clone());
        }
    }

    /// Tells the rest, in a bounded time.
    pub async fn end(self, verdict: &Verdict) {
        self.tell(verdict);
        let Some(Task { drafts, mut sending }) = self.0 else { return };
        drop(drafts); // ends it once it has sent
        if timeout(LAST, &mut sending).await.is_err() {
            log::say("The collector takes long; the operator tells it of the rest");
            sending.abort();
        }
    }
}

/// What is sent, and where to.
struct Sender {
    post: Post,
    resource: Resource,
    collector: Collector,
    polecat: String,
    uid: String,
    attempt: i32,
}

impl Sender {
    fn new(paths: &Paths, settings: &Settings, collector: Collector) -> anyhow::Result<Self> {
        crypto::install(&Wanted {
            profile: Profile::Custom,
            suites: SUITES.map(Into::into).into(),
            groups: GROUPS.map(Into::into).into(),
        })?;
        let bundle = paths.at(layout::TRUSTED_BUNDLE);
        let authority = Some(Path::new(&bundle)).filter(|it| it.exists());
        let trust = trusting(authority, None)?;
        let http = Http::new(trust, None, MAX_ANSWER, Proxies::of(&collector.outside));
        Ok(Self {
            post: Post::new(http, collector.endpoint.clone(), false),
            resource: otlp::runner(&collector.resource),
            polecat: settings.polecat.clone(),
            uid: settings.uid.clone(),
            attempt: settings.attempt.try_into()?,
            collector,
        })
    }

    /// What was not taken goes along with what comes next.
    async fn run(self, mut drafts: watch::Receiver<Verdict>) {
        let mut taken = HashSet::new();
        while drafts.changed().await.is_ok() {
            let draft = drafts.borrow_and_update().clone();
            if let Err(why) = self.send(&draft, &mut taken).await {
                log::say(&format!("The collector did not take what it was told of the run: {why}"));
            }
        }
    }

    async fn send(&self, draft: &Verdict, taken: &mut HashSet<SpanId>) -> Result<(), String> {
        let mut told = self.place().told(draft);
        told.retain(|it| !taken.contains(&it.id));
        if told.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = told.iter().map(|it| it.id).collect();
        let request = spans::request([(self.resource.clone(), told)]);
        let sent = self.post.send(HeaderMap::new(), request.encode_to_vec());
        match timeout(PATIENCE, sent).await {
            Ok(Ok(Outcome::Taken(0))) => taken.extend(ids),
            Ok(Ok(Outcome::Taken(_))) => return Err("it took a part alone".into()),
            Ok(Ok(Outcome::Busy { why, .. } | Outcome::Refused(why))) => return Err(why),
            Ok(Ok(Outcome::Unknown)) => return Err("it takes no traces there".into()),
            Ok(Ok(Outcome::NoAnswer)) | Err(_) => return Err("it did not answer in time".into()),
            Ok(Err(error)) => return Err(format!("{error:#}")),
        }
        Ok(())
    }

    fn place(&self) -> InPod<'_> {
        InPod {
            trace: self.collector.root.trace,
            root: self.collector.root.span,
            namespace: &self.collector.namespace,
            name: &self.polecat,
            uid: &self.uid,
            attempt: self.attempt,
            pod: &self.collector.pod,
            pod_uid: &self.collector.pod_uid,
            model: Some(&self.collector.model),
        }
    }
}
