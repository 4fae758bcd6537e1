//! Connections that come to nothing: callers that are turned away, by the reason, and handshakes that callers break off because
//! they do not trust what we present, which tell after a switch to another certificate that it has to be taken back.

pub mod heads;
pub mod seats;

use std::{io, sync::Arc, time::Duration};

use axum_server::accept::Accept;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Ready, ready},
};
use prometheus_client::metrics::{counter::Counter, family::Family};
use rustls::{AlertDescription as Alert, CertificateError, Error, PeerIncompatible as Without};
use tokio::{io::BufReader, net::TcpStream, sync::watch};

use self::{
    heads::{Answering, Heads, Timed},
    seats::Seats,
};
use crate::cluster::meters::{Flawed, Meters};

/// How many there were.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    distrust: Arc<watch::Sender<u64>>,
    distrusted: Counter,
    turned_away: Family<Flawed, Counter>,
}

impl Alerts {
    /// Counted by meters as well.
    pub fn counted(meters: &Meters) -> Self {
        Self {
            distrust: Arc::default(),
            distrusted: meters.distrusted.clone(),
            turned_away: meters.turned_away.clone(),
        }
    }

    /// Callers that did not trust the certificate.
    pub fn count(&self) -> u64 {
        *self.distrust.borrow()
    }

    /// Tells of each of them from now on.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.distrust.subscribe()
    }

    fn note(&self, error: &io::Error) {
        if distrusts(error) {
            self.distrust.send_modify(|it| *it += 1);
            self.distrusted.inc();
        } else {
            self.turn_away(reason(error));
        }
    }

    fn turn_away(&self, reason: &'static str) {
        self.turned_away.get_or_create(&Flawed { reason }).inc();
    }
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|it| it.downcast_ref::<Error>())
}

/// Whether a caller said that our certificate is none that it takes.
fn distrusts(error: &io::Error) -> bool {
    matches!(
        cause(error),
        Some(Error::AlertReceived(
            Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::UnsupportedCertificate
        ))
    )
}

/// Why a handshake came to nothing; one of [`TURNED_AWAY`](crate::cluster::meters::TURNED_AWAY).
fn reason(error: &io::Error) -> &'static str {
    use CertificateError as Bad;
    match cause(error) {
        Some(Error::PeerIncompatible(without)) => match without {
            Without::NoCipherSuitesInCommon => "suite",
            Without::NoKxGroupsInCommon
            | Without::NamedGroupsExtensionRequired
            | Without::KeyShareExtensionRequired => "group",
            Without::ExtendedMasterSecretExtensionRequired => "no-extended-master-secret",
            // What a caller of TLS 1.1 or older does not have; the others are those of versions by name.
            Without::SignatureAlgorithmsExtensionRequired
            | Without::SupportedVersionsExtensionRequired
            | Without::ServerTlsVersionIsDisabledByOurConfig
            | Without::Tls12NotOffered
            | Without::Tls12NotOfferedOrEnabled => "version",
            _ => "other",
        },
        Some(Error::NoCertificatesPresented) => "client-certificate-missing",
        Some(Error::InvalidCertificate(bad)) => match bad {
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => "client-certificate-expired",
            Bad::UnknownIssuer | Bad::BadSignature => "client-certificate-unknown",
            _ => "client-certificate-unfit",
        },
        None if error.kind() == io::ErrorKind::TimedOut => "late",
        _ => "other",
    }
}

/// Takes in what came by records of TLS, of which the largest has 16 KiB and what is around it: rustls by itself asks for a
/// quarter of that at a time.
#[derive(Clone, Copy, Debug)]
pub struct ByRecord;

impl<S> Accept<TcpStream, S> for ByRecord {
    type Stream = BufReader<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        const RECORD: usize = (16 << 10) + 512;
        ready(Ok((BufReader::with_capacity(RECORD, stream), service)))
    }
}

/// Accepts as another does, as long as there are places, and counts.
#[derive(Clone, Debug)]
pub struct Counting<A> {
    pub inner: A,
    pub alerts: Alerts,
    pub seats: Seats,
    /// Longest time for the head of a request that has begun.
    pub patience: Duration,
}

impl<A, S> Accept<TcpStream, S> for Counting<A>
where
    A: Accept<TcpStream, S, Future: Send + 'static>,
{
    type Stream = Timed<A::Stream>;
    type Service = Answering<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // Who is gone already has no address.
        let seat = stream.peer_addr().map(|it| self.seats.take(it.ip()));
        // An answer is written at once and waits for nothing.
        let _ = stream.set_nodelay(true);
        let (alerts, patience) = (self.alerts.clone(), self.patience);
        let accepted = match seat {
            Ok(Some(seat)) => Ok((self.inner.accept(stream, service), seat)),
            Ok(None) => {
                alerts.turn_away("too-many");
                Err(io::Error::other("no place is left for another connection"))
            }
            Err(error) => Err(error),
        };
        let counted = async move {
            let (accepted, seat) = accepted?;
            let outcome = accepted.await;
            if let Err(error) = &outcome {
                alerts.note(error);
            }
            outcome.map(|(stream, service)| {
                let heads = Heads::default();
                let stream = Timed::new(stream, seat, heads.clone(), patience);
                (stream, Answering { service, heads })
            })
        };
        counted.boxed()
    }
}

#[cfg(test)]
mod tests {
    use axum_server::accept::DefaultAcceptor;
    use tokio::net::TcpListener;

    use super::*;
    use crate::cluster::meters::TURNED_AWAY;

    #[test]
    fn every_reason_is_counted_from_zero() {
        let of = |it: Error| reason(&io::Error::new(io::ErrorKind::InvalidData, it));
        let all = [
            of(Error::PeerIncompatible(Without::NoCipherSuitesInCommon)),
            of(Error::PeerIncompatible(Without::NoKxGroupsInCommon)),
            of(Error::PeerIncompatible(Without::ExtendedMasterSecretExtensionRequired)),
            of(Error::PeerIncompatible(Without::SignatureAlgorithmsExtensionRequired)),
            of(Error::NoCertificatesPresented),
            of(Error::InvalidCertificate(CertificateError::Expired)),
            of(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            of(Error::InvalidCertificate(CertificateError::InvalidPurpose)),
            reason(&io::ErrorKind::TimedOut.into()),
            "too-many",
            of(Error::DecryptError),
        ];
        assert_eq!(all.len(), TURNED_AWAY.len());
        for (it, row) in all.iter().zip(TURNED_AWAY) {
            assert_eq!(*it, row);
        }
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_turned_away_and_counted() {
        let meters = Meters::default();
        let counting = Counting {
            inner: DefaultAcceptor,
            alerts: Alerts::counted(&meters),
            seats: Seats::new(9, 1),
            patience: Duration::from_secs(5),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let come = async || {
            let caller = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            (counting.accept(stream, ()).await, caller)
        };
        let first = come().await;
        assert!(first.0.is_ok());
        assert!(come().await.0.is_err(), "its address has one place");
        let counted = meters.turned_away.get_or_create(&Flawed { reason: "too-many" }).get();
        assert_eq!(counted, 1);
        drop(first);
        assert!(come().await.0.is_ok(), "the place was given back");
    }
}
