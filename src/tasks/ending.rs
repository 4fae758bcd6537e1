//! What is done once the operator was taken away: definitions that had it convert say that nobody does, so that what lies in
//! storage is read without a webhook. The policy of `manifests::switched_off` keeps objects whole from then on.

use std::time::Duration;

use tokio::sync::watch;

use super::{certificates::definitions, connected};
use crate::{
    cluster::{
        Error,
        certificates::{Consumer, Vault},
        meters::Meters,
    },
    config::Config,
    domain::certificates::consumers::{Target, is_unconverted},
    manifests,
};

/// How long what fails is tried again: rights that were just given, and definitions that were just changed, take a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon.
const AGAIN: Duration = Duration::from_millis(500);

/// Ends the conversion of every definition that leads to this operator; an error names those that could not be written in
/// time.
pub async fn run(config: &Config, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    // It is over before anybody could scrape it.
    let meters = Meters::default();
    let connection = connected(config, &config.identity(String::new()).pod, &meters).await?;
    let namespace = config.own_namespace();
    let vault = Vault::new(&connection, &namespace, manifests::CERTIFICATES);
    let (service, url) = (manifests::WEBHOOK_SERVICE.into(), config.webhooks.webhook_url.clone());
    let target = Target { namespace, service, url };
    let (mut left, mut why) = (definitions().collect::<Vec<_>>(), String::new());
    let ended = tokio::select! {
        ended = tokio::time::timeout(PATIENCE, all(&vault, &target, &mut left, &mut why)) => ended.is_ok(),
        _ = stop.wait_for(|it| *it) => false,
    };
    let names: Vec<&str> = left.iter().map(|it| it.name.as_str()).collect();
    anyhow::ensure!(
        ended,
        "these definitions still ask for conversions: {}{why}. Run it again, or patch them: \
         kubectl patch crd NAME --type=merge -p '{{\"spec\":{{\"conversion\":{{\"strategy\":\"None\",\"webhook\":null}}}}}}'",
        names.join(", ")
    );
    Ok(())
}

/// Until nothing is left; why something was, the last time.
async fn all(vault: &Vault, target: &Target, left: &mut Vec<Consumer>, why: &mut String) {
    loop {
        let mut failed = Vec::new();
        for consumer in left.iter() {
            if let Err(error) = end(vault, target, consumer).await {
                let error = anyhow::Error::from(error);
                tracing::warn!(%consumer, "It is tried again: {error:#}");
                *why = format!(" ({error:#})");
                failed.push(consumer.clone());
            }
        }
        *left = failed;
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn end(vault: &Vault, target: &Target, consumer: &Consumer) -> Result<(), Error> {
    let Some(object) = vault.read(consumer).await? else { return Ok(()) };
    let patch = target.end(&object);
    if is_unconverted(&object) {
        vault.disown(consumer).await?;
        tracing::info!(definition = consumer.name, "It asks nobody");
    } else if patch.is_empty() {
        let ours = format!("{}/{}", target.namespace, target.service);
        tracing::warn!(
            definition = consumer.name,
            "It asks somebody else than {ours}, and is left alone: GASTOWN_NAMESPACE and --webhook-url say who we are"
        );
    } else {
        vault.tell(consumer, patch).await?;
        vault.disown(consumer).await?;
        tracing::info!(definition = consumer.name, "Nobody is asked to convert any more");
    }
    Ok(())
}
