//! Handshakes that callers break off because they do not trust what we present: what tells, after a switch to another
//! certificate, that it has to be taken back.

use std::{io, sync::Arc};

use axum_server::accept::Accept;
use futures::{FutureExt as _, future::BoxFuture};
use prometheus_client::metrics::counter::Counter;
use rustls::{AlertDescription as Alert, Error};
use tokio::sync::watch;

/// How many there were.
#[derive(Clone, Debug, Default)]
pub struct Alerts(Arc<watch::Sender<u64>>, Counter);

impl Alerts {
    /// Counted by a meter as well.
    pub fn counted(counter: Counter) -> Self {
        Self(Arc::default(), counter)
    }

    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Tells of each from now on.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn note(&self, error: &io::Error) {
        if distrusts(error) {
            self.0.send_modify(|it| *it += 1);
            self.1.inc();
        }
    }
}

/// Whether a caller said that our certificate is none that it takes.
fn distrusts(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    matches!(
        cause,
        Some(Error::AlertReceived(
            Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::UnsupportedCertificate
        ))
    )
}

/// Accepts as another does, and counts.
#[derive(Clone, Debug)]
pub struct Counting<A> {
    pub inner: A,
    pub alerts: Alerts,
}

impl<A, I, S> Accept<I, S> for Counting<A>
where
    A: Accept<I, S, Future: Send + 'static>,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(A::Stream, A::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (accepted, alerts) = (self.inner.accept(stream, service), self.alerts.clone());
        let counted = async move {
            let outcome = accepted.await;
            if let Err(error) = &outcome {
                alerts.note(error);
            }
            outcome
        };
        counted.boxed()
    }
}
