//! Who may read the metrics: somebody with a token that the API server knows, and with the right to `get /metrics`. Answers
//! are kept for a short while, so that a scrape costs no request; tokens are not kept, only their digests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use super::PATH;
use crate::{
    cluster::{Cluster, Error, clock::Moment},
    domain::{
        names,
        untrusted::{escape, fit},
    },
    tasks::webhooks::Asking,
};

/// How long somebody who may stays let in, and how long somebody who may not is turned away without being asked about.
const YES: Duration = Duration::from_secs(60);
const NO: Duration = Duration::from_secs(10);
/// Most callers that are known at a time, and most that are asked about at a time.
const MOST: usize = 256;
const AT_A_TIME: usize = 4;
/// Longest time for asking.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest token, in bytes; the API server's own are a tenth of it.
const LONGEST: usize = 16 * 1024;

type Key = String;

/// The door, and whom it knows.
#[derive(Debug)]
pub struct Gate {
    asking: Asking,
    known: Mutex<Known>,
    turns: Semaphore,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoToken,
    Unknown,
    /// Known by this name.
    Forbidden(String),
    Unasked,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        match self {
            Self::NoToken => {
                let said = "no token: send the header Authorization: Bearer TOKEN, with that of a service account\n";
                (StatusCode::UNAUTHORIZED, challenge, said).into_response()
            }
            Self::Unknown => {
                let said = "the API server does not know this token; is it expired, or of another cluster?\n";
                (StatusCode::UNAUTHORIZED, challenge, said).into_response()
            }
            Self::Forbidden(name) => {
                let said = format!(
                    "{name} may not get {PATH}: bind it to the ClusterRole {}\n",
                    crate::manifests::METRICS_READER
                );
                (StatusCode::FORBIDDEN, said).into_response()
            }
            Self::Unasked => {
                let said = "the API server could not be asked about this token; try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
            }
        }
    }
}

/// Lets a request through, or says why not.
pub async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.judge(token(request.headers())).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The bearer token, if there is one that may be one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fine = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST;
    fine.then_some(token)
}

impl Gate {
    pub fn new(asking: Asking) -> Self {
        Self { asking, known: Mutex::default(), turns: Semaphore::new(AT_A_TIME) }
    }

    async fn judge(&self, token: Option<&str>) -> Result<(), Refusal> {
        let token = token.ok_or(Refusal::NoToken)?;
        let key = names::sha256(token);
        if let Some(known) = self.known().about(&key, Moment::now()) {
            return known;
        }
        let asked = async {
            let _turn = self.turns.acquire().await.ok()?;
            // Somebody with the same token may have been asked about meanwhile.
            if let Some(known) = self.known().about(&key, Moment::now()) {
                return Some(known);
            }
            let verdict = match ask(self.asking.cluster()?, token).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Not asking who reads the metrics"
                    );
                    return None;
                }
            };
            self.known().keep(key, verdict.clone(), Moment::now());
            Some(verdict)
        };
        tokio::time::timeout(LIMIT, asked).await.ok().flatten().unwrap_or(Err(Refusal::Unasked))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(cluster: &Cluster, token: &str) -> Result<Result<(), Refusal>, Error> {
    let Some(who) = cluster.owner(token).await? else { return Ok(Err(Refusal::Unknown)) };
    Ok(if cluster.may_get(&who, PATH).await? {
        Ok(())
    } else {
        Err(Refusal::Forbidden(fit(&escape(&who.name), 256)))
    })
}

/// Answers by digest of the token, and until when they hold.
#[derive(Debug, Default)]
struct Known(HashMap<Key, (Moment, Result<(), Refusal>)>);

impl Known {
    fn about(&self, key: &str, now: Moment) -> Option<Result<(), Refusal>> {
        let (until, verdict) = self.0.get(key)?;
        (*until > now).then(|| verdict.clone())
    }

    /// Where there is no room, whoever would be forgotten first is forgotten now: those who may not.
    fn keep(&mut self, key: Key, verdict: Result<(), Refusal>, now: Moment) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (until, _)| *until > now);
        }
        if self.0.len() >= MOST
            && let Some(first) =
                self.0.iter().min_by_key(|(_, (until, _))| *until).map(|it| it.0.clone())
        {
            self.0.remove(&first);
        }
        let holds = if verdict.is_ok() { YES } else { NO };
        self.0.insert(key, (now + holds, verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> Key {
        names::sha256(&number.to_string())
    }

    const BEGUN: Moment = Moment::after_start(Duration::from_secs(1000));

    #[test]
    fn answers_are_forgotten_in_time() {
        let mut known = Known::default();
        known.keep(key(1), Ok(()), BEGUN);
        known.keep(key(2), Err(Refusal::Unknown), BEGUN);
        let about = |number, after| known.about(&key(number), BEGUN + Duration::from_secs(after));
        for (number, after, want, because) in [
            (1, 59, Some(Ok(())), "still let in"),
            (1, 60, None, "asked about again"),
            (2, 9, Some(Err(Refusal::Unknown)), "not asked about at once"),
            (2, 10, None, "it may have got the right meanwhile"),
            (3, 0, None, "never seen"),
        ] {
            assert_eq!(about(number, after), want, "{because}");
        }
    }

    #[test]
    fn a_flood_of_tokens_forgets_those_who_may_not_first() {
        let mut known = Known::default();
        known.keep(key(0), Ok(()), BEGUN);
        for number in 1..=2000 {
            known.keep(key(number), Err(Refusal::Unknown), BEGUN);
        }
        assert_eq!(known.0.len(), MOST, "no more are kept");
        assert_eq!(known.about(&key(0), BEGUN), Some(Ok(())), "who may read still may");
    }

    #[test]
    fn a_token_is_what_comes_after_bearer() {
        let long = format!("Bearer {}", "x".repeat(LONGEST + 1));
        for (header, want) in [
            (Some("Bearer abc"), Some("abc")),
            (Some("bearer abc "), Some("abc")),
            (Some("Basic abc"), None),
            (Some("Bearer "), None),
            (Some("Bearer"), None),
            (Some(long.as_str()), None),
            (None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(it) = header {
                headers.insert(header::AUTHORIZATION, it.parse().unwrap());
            }
            let shown = header.map(|it| it.chars().take(20).collect::<String>());
            assert_eq!(token(&headers), want, "{shown:?}");
        }
    }

    #[tokio::test]
    async fn nobody_passes_while_nobody_can_be_asked() {
        let gate = Gate::new(Asking::default());
        assert_eq!(gate.judge(None).await, Err(Refusal::NoToken));
        assert_eq!(gate.judge(Some("abc")).await, Err(Refusal::Unasked));
        assert!(gate.known().0.is_empty(), "and that is not remembered");
        for (refusal, code, word) in [
            (Refusal::NoToken, 401, "Authorization"),
            (Refusal::Unknown, 401, "does not know"),
            (Refusal::Forbidden("max".into()), 403, "max may not get /metrics"),
            (Refusal::Unasked, 503, "try again"),
        ] {
            let answer = refusal.into_response();
            let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!((answer.status().as_u16(), challenged), (code, code == 401));
            let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(word), "{body}");
        }
    }
}
