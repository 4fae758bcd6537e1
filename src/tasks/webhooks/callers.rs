//! Whose certificates callers are to show: their authorities are read anew when the file changes. One day the API servers' is
//! another, and whoever still went by the one before would turn all of them away. What can't be used changes nothing, and is told.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    cluster::{
        degraded::{Degraded, Matter, Why},
        meters::{Flawed, Meters},
    },
    config::Webhooks,
    tls::{self, Manner, check},
};

/// Why it is told, among what is wrong with certificates.
const FLAW: Flawed = Flawed { reason: "ClientAuthorities" };

/// What is asked of the server beside its certificate, as the settings say and the file changes, until `stop`.
pub fn manner(
    settings: &Webhooks,
    (meters, degraded): (&Meters, &Degraded),
    (servers, stop): (&mut JoinSet<anyhow::Result<()>>, &watch::Receiver<bool>),
) -> anyhow::Result<watch::Receiver<Manner>> {
    let (manner, followed) = watch::channel(settings.manner()?);
    if let Some(file) = settings.webhook_client_ca.clone() {
        let (told, mut stop) = ((meters.clone(), degraded.clone()), stop.clone());
        servers.spawn(async move {
            tokio::select! {
                () = follow(&file, &manner, told, tls::LOOK) => {}
                _ = stop.wait_for(|it| *it) => {}
            }
            Ok(())
        });
    }
    Ok(followed)
}

/// Looks again and again. The file is read, and not watched: a volume is swapped as a whole, of which a watch on a file hears
/// nothing.
async fn follow(
    file: &Path,
    manner: &watch::Sender<Manner>,
    (meters, degraded): (Meters, Degraded),
    look: Duration,
) {
    let mut seen = None;
    loop {
        let now = std::fs::read(file).ok();
        if seen.as_ref() != Some(&now) {
            let why = take(now.as_deref(), manner).err();
            meters.certificate_flaws.get_or_create(&FLAW).set(i64::from(why.is_some()));
            let why = why.map(|error| Why {
                reason: FLAW.reason,
                text: format!(
                    "the authorities in {} can't be used, and callers are asked for certificates of those before: {error:#}",
                    file.display()
                ),
            });
            degraded.say(Matter::Callers, why);
        }
        seen = Some(now);
        tokio::time::sleep(look).await;
    }
}

/// Has callers asked for certificates of these authorities from now on.
fn take(pem: Option<&[u8]>, manner: &watch::Sender<Manner>) -> anyhow::Result<()> {
    let pem = pem.ok_or_else(|| anyhow::anyhow!("it can't be read"))?;
    let authorities = Arc::new(check::authorities_in(pem)?);
    manner.send_modify(|it| {
        if let Some(callers) = &mut it.callers {
            callers.authorities = authorities;
        }
    });
    tracing::info!("Asking callers for certificates of the authorities in the file");
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ClientConfig, pki_types::PrivateKeyDer, sign::CertifiedKey};

    use super::{
        super::tests::{Hall, hall, say},
        *,
    };
    use crate::tls::crypto::Callers;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// Whether a caller with a certificate of this authority's is answered.
    async fn answers(hall: &Hall, issuer: &Authority) -> bool {
        let mut config = ClientConfig::clone(&hall.config);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["api-server".to_owned()]).unwrap();
        let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let certified = CertifiedKey::from_der(chain, key, config.crypto_provider()).unwrap();
        config.client_auth_cert_resolver =
            Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        config.resumption = rustls::client::Resumption::disabled();
        let (address, config) = (hall.address, Some(Arc::new(config)));
        let whole = "GET /validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let said = tokio::task::spawn_blocking(move || say(address, config, whole)).await;
        said.unwrap().starts_with("HTTP/1.1 405")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn authorities_of_callers_are_read_anew_when_their_file_changes() {
        let _ = tls::install_provider();
        let [first, next] = ["first", "next"].map(authority);
        let file = tempfile::NamedTempFile::new().unwrap();
        let lay = |text: &str| {
            let beside = file.path().with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, file.path()).unwrap();
        };
        lay(&first.pem());
        let authorities = Arc::new(check::authorities(file.path()).unwrap());
        let callers = Some(Callers { authorities, required: true });
        let hall = hall(Manner { callers, ..Manner::default() }).await;
        let (meters, degraded) = (Meters::default(), Degraded::default());
        let (path, told) = (file.path().to_owned(), (meters.clone(), degraded.clone()));
        let (manner, look) = (hall.manner.clone(), Duration::from_millis(5));
        let mut taken = hall.manner.subscribe();
        let following = tokio::spawn(async move { follow(&path, &manner, told, look).await });
        taken.changed().await.unwrap();
        assert!(answers(&hall, &first).await && !answers(&hall, &next).await);

        lay(&format!("{}{}", first.pem(), next.pem()));
        taken.changed().await.unwrap();
        while !answers(&hall, &next).await {}
        assert!(answers(&hall, &first).await, "both are there");
        lay(&next.pem());
        taken.changed().await.unwrap();
        while answers(&hall, &first).await {}
        assert!(answers(&hall, &next).await);

        let mut news = degraded.news();
        lay("cut short");
        let told = news.wait_for(|it| it.contains_key(&Matter::Callers)).await.unwrap().clone();
        let text = &told[&Matter::Callers].text;
        assert!(text.contains(file.path().to_str().unwrap()), "{text}");
        let flaw = || meters.certificate_flaws.get_or_create(&FLAW).get();
        assert_eq!(flaw(), 1);
        assert!(answers(&hall, &next).await, "those before stay");
        lay(&first.pem());
        news.wait_for(std::collections::BTreeMap::is_empty).await.unwrap();
        assert_eq!(flaw(), 0);
        following.abort();
    }
}
