//! How the Secret is written: the next step, what was last good, or an authority anew; and what is said where it can't be.
//!
//! A Secret that was locked (`immutable: true`) is not deleted to be made anew, though no replica can renew anything until it is.
//! No tool locks it by accident: whoever did may have meant to keep a key as evidence, or to bring a pair of his own, of which
//! this may be the only copy. What is served is good for days yet, and nobody's work is lost by asking; so a person is told the
//! command, and no replica has a right to delete Secrets. One of another type is no lock: it is written as that type.

use std::time::{Duration, Instant};

use super::{AGAIN, Keeper, LOOK, known::Known};
use crate::{
    cluster::{
        Class, Error,
        certificates::{Kept, News, seconds},
    },
    domain::certificates::Book,
};

/// The Secret is locked.
pub const IMMUTABLE: &str = "SecretImmutable";
/// The API server refuses what is written to it.
pub const REFUSED: &str = "SecretRefused";

impl Keeper {
    /// What a person does about a Secret that is locked.
    pub(super) fn way_out(&self) -> String {
        format!(
            "the Secret with the certificates is immutable, so that none can be renewed: keep a copy if what is in it is needed, then: {}. \
             A replica that runs writes what it serves into a new one",
            self.vault.deletion()
        )
    }

    /// Writes what was last good, or begins anew.
    pub(super) async fn restore(&self, known: &mut Known, kept: &Kept) -> Duration {
        if let Some(pause) = self.waits(known, kept) {
            return pause;
        }
        self.vault.hear_the_time().await;
        let now = seconds();
        let usable = known.good.clone().filter(|it| self.usable(it, it.judged_at(now)).is_ok());
        let book = usable.map_or_else(|| Book::new(&self.mint, generation(known), now), Ok);
        match book {
            Ok(book) => self.write(known, kept, &book).await,
            Err(error) => {
                let why = format!("{error:#}");
                tracing::error!(why, "Failed to make a certificate");
                AGAIN
            }
        }
    }

    /// How long nothing is written over this version, and says why.
    pub(super) fn waits(&self, known: &mut Known, over: &Kept) -> Option<Duration> {
        if over.immutable {
            known.problem(IMMUTABLE, &self.way_out());
            return Some(LOOK);
        }
        let (left, why) = known.is_turned_down(&over.resource_version, Instant::now())?;
        known.problem(REFUSED, &why);
        Some(left.min(LOOK))
    }

    pub(super) async fn write(&self, known: &mut Known, over: &Kept, book: &Book) -> Duration {
        let error = match self.vault.keep(over, book).await {
            Ok(kept) => {
                known.hear(News::Kept(Box::new(kept)));
                return Duration::ZERO;
            }
            Err(error) => error,
        };
        let pause = match error.class() {
            // Somebody else was first: the watch tells.
            Class::Conflict | Class::AlreadyExists | Class::NotFound => return AGAIN,
            Class::Refused => {
                let why = self.refusal(&error, over);
                known.problem(REFUSED, &why);
                known.turned_down(&over.resource_version, &why, Instant::now()).min(LOOK)
            }
            Class::Fenced | Class::Transient => AGAIN,
        };
        tracing::warn!(error = &error as &dyn std::error::Error, "Not keeping certificates");
        pause
    }

    /// Why nothing can be written, and what a person does about it.
    fn refusal(&self, error: &Error, over: &Kept) -> String {
        let words = error.answer().map_or_else(|| error.to_string(), |it| it.1.to_owned());
        let invalid = over.is_there() && error.answer().is_some_and(|it| it.0 == 422);
        let way_out = if invalid {
            format!(
                "if it is the Secret's type that forbids it, delete that one, and it is made anew: {}",
                self.vault.deletion()
            )
        } else {
            "docs/security.md has the rights that the operator needs; a quota or a policy may forbid it as well".into()
        };
        format!(
            "the API server refuses what is written to the Secret with the certificates ({words}); {way_out}"
        )
    }
}

/// A generation that nothing that is known of had.
fn generation(known: &Known) -> u64 {
    known.good.as_ref().map_or(1, |it| it.authority.generation + 2)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::body::Body as Answer;
    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    use super::{super::taken_back::keeper, *};
    use crate::{
        cluster::{
            certificates::Unusable,
            connect::Connection,
            degraded::{Matter, Why},
            meters::Meters,
        },
        tasks::{alerts::Alerts, certificates::Live},
        tls,
    };

    const WORDS: &str = "Secret is invalid: type: field is immutable";

    /// A keeper before an API server that takes nothing, and how often that was asked to.
    fn refused() -> (Keeper, Arc<AtomicUsize>) {
        let _ = tls::install_provider();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let answer = move |request: Request<Body>| {
            let writes = request.method() == Method::PUT;
            count.fetch_add(usize::from(writes), Ordering::SeqCst);
            async move {
                let no = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                    "code": 422, "message": WORDS,
                });
                let mut answer = Response::new(Answer::from(no.to_string()));
                *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
                answer
            }
        };
        let meters = Meters::default();
        let connection = Connection::played(answer, &meters);
        (keeper(&connection, meters, &Live::new(None), &Alerts::default()), asked)
    }

    fn read(book: Result<Book, Unusable>, version: &str) -> Kept {
        Kept { resource_version: version.into(), book, ..Kept::default() }
    }

    async fn told(keeper: &Keeper, known: &mut Known, kept: Kept) -> Why {
        known.kept = Some(kept);
        keeper.turn(known).await;
        keeper.degraded.news().borrow().get(&Matter::Certificates).cloned().unwrap()
    }

    #[tokio::test]
    async fn a_locked_secret_is_left_as_it_is_and_the_command_that_lets_it_go_is_named() {
        let (keeper, asked) = refused();
        let now = seconds();
        let book = |made| Ok(Book::new(&keeper.mint, 1, made).unwrap());
        for (kept, serves, because) in [
            (book(now), true, "it is good for days, and told in time"),
            (book(now - 6 * 24 * 3600), true, "a certificate that is to be renewed"),
            (book(now - 30 * 24 * 3600), false, "one that has ended"),
            (Err(Unusable::Unreadable), false, "somebody's own pair"),
        ] {
            let mut known = Known::nothing(&[]);
            let kept = Kept { immutable: true, ..read(kept, "7") };
            for _ in 0..7 {
                let why = told(&keeper, &mut known, kept.clone()).await;
                assert_eq!(why.reason, IMMUTABLE, "{because}");
                let way_out = "kubectl -n town delete secret gastown-operator-webhook-certificates";
                assert!(why.text.contains(way_out), "{}", why.text);
            }
            assert_eq!(!known.served.is_empty(), serves, "{because}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing is tried that can't be");
    }

    #[tokio::test]
    async fn what_is_refused_is_told_in_the_words_of_the_api_server_and_not_tried_again_and_again()
    {
        let (keeper, asked) = refused();
        let mut known = Known::nothing(&[]);
        let unusable = |version| read(Err(Unusable::Unreadable), version);
        let why = told(&keeper, &mut known, unusable("7")).await;
        assert_eq!(why.reason, REFUSED);
        assert!(why.text.contains(WORDS) && why.text.contains("delete secret"), "{}", why.text);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        for _ in 0..9 {
            known.turned_down("7", &why.text, Instant::now());
        }
        let still = told(&keeper, &mut known, unusable("7")).await;
        assert_eq!((still, asked.load(Ordering::SeqCst)), (why, 1), "it was tried often enough");
        told(&keeper, &mut known, unusable("8")).await;
        assert_eq!(asked.load(Ordering::SeqCst), 2, "somebody did something");
    }
}
