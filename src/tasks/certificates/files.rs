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
    tls::check::Flaw,
};

/// How often the time is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Tells, until nobody serves them any more. `stands`: when what is served ends, 0 where that is not known, or why something new
/// is not served.
pub async fn judged(
    mut stands: watch::Receiver<Result<i64, &'static str>>,
    meters: Meters,
    degraded: Degraded,
) {
    let flaws = Flaws::begin(&meters);
    loop {
        let now = *stands.borrow_and_update();
        if let Ok(end) = now {
            meters.certificate_until.set(end);
        }
        let why = why(now, seconds());
        flaws.say(why.as_ref().map(|it| it.reason));
        degraded.say(Matter::Certificates, why);
        tokio::select! {
            it = stands.changed() => if it.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn why(stands: Result<i64, &'static str>, now: i64) -> Option<Why> {
    match stands {
        Err(reason) => {
            let text = "what the files hold can't be served; a good pair that was served before stays, and the log has more";
            Some(Why { reason, text: text.into() })
        }
        Ok(end) if end > 0 && now >= end => {
            let text = "the certificate in the files has ended, and no caller accepts it; who brings it must bring another";
            Some(Why { reason: Flaw::Expired.reason(), text: text.into() })
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_degraded_where_they_cannot_be_served_and_from_their_end_on() {
        let reason = |stands, now| why(stands, now).map(|it| it.reason);
        let table = [
            (Ok(100), 99, None, "it is valid"),
            (Ok(100), 100, Some("Expired"), "it has ended, and nobody touched the file"),
            (Ok(0), 100, None, "nothing was read yet"),
            (Err("KeyMismatch"), 1, Some("KeyMismatch"), "as it is told"),
        ];
        for (stands, now, want, because) in table {
            assert_eq!(reason(stands, now), want, "{because}");
        }
    }
}
