//! Follows what an OpenShift cluster asks of the TLS of its components: the servers take it up without a restart. What can't be
//! met with anything at all changes nothing, and is told as Degraded.

use std::{pin::pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use rustls::crypto::CryptoProvider;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    cluster::{
        cluster_tls::ClusterTls,
        degraded::{Degraded, Matter, Why},
        meters::{Meters, NOTHING_IN_COMMON},
    },
    tls::{
        cluster_profile::{self, Followed},
        crypto::{group_name, suite_name},
    },
};

/// What servers take instead of this process's provider.
pub type Followers = watch::Sender<Option<Arc<CryptoProvider>>>;

/// Follows the cluster's TLS profile, where it has one, until `stop`.
pub async fn follow_cluster(
    cluster: ClusterTls,
    servers: Followers,
    told: (Meters, Degraded),
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let follow = async {
        if cluster.is_there().await {
            follow(cluster.news(), servers, told).await;
        }
    };
    tokio::select! {
        _ = stop.wait_for(|it| *it) => return Ok(()),
        () = follow => {}
    }
    // A server that ends would end them all.
    let _ = stop.wait_for(|it| *it).await;
    Ok(())
}

/// Follows until the stream ends, which a watch never does.
pub async fn follow(
    asked: impl Stream<Item = Option<Value>>,
    servers: Followers,
    (meters, degraded): (Meters, Degraded),
) {
    let mut asked = pin!(asked);
    while let Some(object) = asked.next().await {
        take(&cluster_profile::of(object.as_ref()), &servers, (&meters, &degraded));
    }
}

fn take(followed: &Followed, servers: &Followers, (meters, degraded): (&Meters, &Degraded)) {
    for note in &followed.notes {
        tracing::warn!(note, "The cluster's TLS profile");
    }
    let provider = followed.wanted.intersection();
    let suites: Vec<_> = provider.cipher_suites.iter().map(suite_name).collect();
    let groups: Vec<_> = provider.kx_groups.iter().map(|it| group_name(*it)).collect();
    let (suites, groups) = (suites.join(","), groups.join(","));
    if suites.is_empty() || groups.is_empty() {
        meters.tls_profile_flaws.get_or_create(&NOTHING_IN_COMMON).set(1);
        let left = |it: &str| if it.is_empty() { "none".to_owned() } else { it.to_owned() };
        let text = format!(
            "of the cluster's TLS profile nothing is left that can be used (suites: {}; groups: {}); the last good one stays",
            left(&suites),
            left(&groups)
        );
        let reason = NOTHING_IN_COMMON.reason;
        degraded.say(Matter::TlsProfile, Some(Why { reason, text }));
        return;
    }
    meters.tls_profile_flaws.get_or_create(&NOTHING_IN_COMMON).set(0);
    degraded.say(Matter::TlsProfile, None);
    tracing::info!(suites, groups, "Following the cluster's TLS profile");
    servers.send_replace(Some(Arc::new(provider)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(servers: &Followers) -> Option<Vec<String>> {
        let it = servers.borrow();
        it.as_ref().map(|it| it.cipher_suites.iter().map(suite_name).collect())
    }

    #[tokio::test]
    async fn what_has_nothing_in_common_leaves_the_last_good_one() {
        let asked = |ciphers: &[&str]| {
            Some(json!({"spec": {"tlsAdherence": "StrictAllComponents", "tlsSecurityProfile": {
                "type": "Custom", "custom": {"ciphers": ciphers, "minTLSVersion": "VersionTLS12"},
            }}}))
        };
        let (servers, meters) = (Followers::new(None), Meters::default());
        let flaw = || meters.tls_profile_flaws.get_or_create(&NOTHING_IN_COMMON).get();
        let follow = async |object| {
            let told = (meters.clone(), Degraded::default());
            follow(futures::stream::iter([object]), servers.clone(), told).await;
        };
        follow(asked(&["TLS_AES_256_GCM_SHA384"])).await;
        let good = Some(vec!["TLS_AES_256_GCM_SHA384".to_owned()]);
        assert_eq!((names(&servers), flaw()), (good.clone(), 0));
        follow(asked(&["AES128-SHA"])).await;
        assert_eq!((names(&servers), flaw()), (good, 1), "it stays, and that is told");
        follow(None).await;
        assert!(names(&servers).unwrap().len() > 3, "without an object the usual ones");
        assert_eq!(flaw(), 0);
    }
}
