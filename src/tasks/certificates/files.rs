//! How certificates from files stand, told again and again: one ends without a change of its file.

use std::time::Duration;

use tokio::sync::watch;

use super::Flaws;
use crate::{
    cluster::{
        certificates::seconds,
        degraded::{Degraded, Matter, Why},
        meters::Meters,
    },
    tls::{Stand, check::Flaw},
};

/// How often the time is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Tells, until nobody serves them any more. `stands`: how what is served stands; `refusals`: why a caller that trusts what is
/// published would not take what the files hold.
pub async fn judged(
    (mut stands, mut refusals): (watch::Receiver<Stand>, watch::Receiver<Option<&'static str>>),
    meters: Meters,
    degraded: Degraded,
) {
    let flaws = Flaws::begin(&meters);
    loop {
        let (now, refused) = (*stands.borrow_and_update(), *refusals.borrow_and_update());
        meters.certificate_until.set(now.until);
        let why = why(now, refused, seconds());
        flaws.say(why.as_ref().map(|it| it.reason));
        degraded.say(Matter::Certificates, why);
        tokio::select! {
            it = stands.changed() => if it.is_err() { return },
            Ok(()) = refusals.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn why(stand: Stand, refused: Option<&'static str>, now: i64) -> Option<Why> {
    let ended = stand.until > 0 && now >= stand.until;
    let (reason, text) = if let Some(reason) = stand.reason {
        let text = "what the files hold is of no use to callers; a good pair that was served before stays while it is valid, and the log has more";
        (reason, text)
    } else if ended {
        let text = "the certificate in the files has ended, and no caller accepts it; who brings it must bring another";
        (Flaw::Expired.reason(), text)
    } else {
        let text = "who goes by the bundle of a definition does not accept the certificate in the files; who brings the one must bring the other";
        (refused?, text)
    };
    Some(Why { reason, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_degraded_where_they_cannot_be_served_and_from_their_end_on() {
        let stand = |until, reason| Stand { until, reason };
        let table = [
            (stand(100, None), None, 99, None, "it is valid"),
            (
                stand(100, None),
                None,
                100,
                Some("Expired"),
                "it has ended, and nobody touched the file",
            ),
            (Stand::default(), None, 100, None, "nothing was read yet"),
            (stand(9, Some("KeyMismatch")), None, 1, Some("KeyMismatch"), "as it is told"),
            (stand(9, None), Some("Untrusted"), 1, Some("Untrusted"), "another authority's bundle"),
            (
                stand(9, Some("WrongName")),
                Some("Untrusted"),
                1,
                Some("WrongName"),
                "first things first",
            ),
        ];
        for (stand, refused, now, want, because) in table {
            assert_eq!(why(stand, refused, now).map(|it| it.reason), want, "{because}");
        }
    }
}
