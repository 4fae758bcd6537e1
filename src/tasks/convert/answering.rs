//! A review that is being answered. What may take long is done beside the threads that serve other calls, as many at a time as there are
//! processors, and within the call's time; and of an answer no more is made than its caller takes.

use std::{io, sync::Arc, thread::available_parallelism};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::Stream;
use memchr::memmem;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tracing::{Instrument as _, Span};

use super::{Held, defect, plain, telling};
use crate::{
    config::Faults,
    conversion::{self, Refusal, review::Review, review::named},
};

/// A larger body is answered aside.
const LIGHT: usize = 64 << 10;
/// Longest part of an answer that is sent whole. A longer piece, of a large object, goes out in parts, so that who takes none of them
/// has no more than a few kept for him.
const PART: usize = 128 << 10;

/// Where long work is done.
#[derive(Clone)]
pub struct Aside(Arc<Semaphore>);

impl Aside {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }

    /// Does it when its turn has come; none, if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let work = move || {
            // Whoever waits for it may go; its turn ends with the work.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// Whether nothing in this body can take long: little of it, and no annotation of ours, of which a few bytes can unfold to a megabyte. A
/// name may be written with escapes.
fn is_light(body: &[u8]) -> bool {
    let has = |word: &[u8]| memmem::find(body, word).is_some();
    body.len() <= LIGHT && !has(b"-fields") && !has(br"\u00")
}

/// A review and what it takes to go on with it.
struct Work {
    review: Review,
    body: Held,
    light: bool,
    faults: Faults,
    until: Instant,
}

impl Work {
    fn piece(&mut self) -> Bytes {
        let (faults, until) = (&self.faults, self.until);
        let convert = |object: &str, to: &str, out: &mut String| -> Result<(), Refusal> {
            if Instant::now() >= until {
                return Err(Refusal::Late);
            }
            if faults.panic_on.is_some() {
                faults.strike(named(object).rsplit(['/', ' ']).next().unwrap_or_default());
            }
            conversion::convert(conversion::kinds(), object, to, out)
        };
        self.review.next_piece(&convert, &self.body.bytes).unwrap_or_default().into()
    }

    /// The next piece; none where a defect has ended it.
    async fn next(mut self, aside: &Aside) -> Option<(Self, Bytes)> {
        if self.light {
            let piece = self.piece();
            return Some((self, piece));
        }
        let work = move || {
            let piece = self.piece();
            (self, piece)
        };
        aside.run(work).await
    }
}

/// The answer: at once where it is one piece, else as a stream that is made while it is taken.
pub async fn answer(
    aside: Aside,
    faults: Faults,
    review: Review,
    body: Held,
    until: Instant,
) -> Response {
    let light = is_light(&body.bytes);
    let work = Work { review, body, light, faults, until };
    let (work, first) = match timeout_at(until, work.next(&aside)).await {
        Ok(Some(made)) => made,
        Ok(None) => return defect(),
        Err(_) => {
            return plain(StatusCode::REQUEST_TIMEOUT, "other calls took this one's time");
        }
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    if work.review.is_complete() && first.len() <= PART {
        report(&work.review);
        return (json, first).into_response();
    }
    let (parts, taken) = mpsc::channel(2);
    tokio::spawn(send(aside, work, first, parts).instrument(Span::current()));
    (json, Body::from_stream(stream(taken))).into_response()
}

/// Sends all pieces from this one on, for as long as somebody takes them and the call lasts.
async fn send(aside: Aside, mut work: Work, mut piece: Bytes, parts: mpsc::Sender<(Bytes, bool)>) {
    let until = work.until;
    loop {
        let complete = work.review.is_complete();
        let count = piece.len().div_ceil(PART);
        for (number, part) in in_parts(&piece).enumerate() {
            let last = complete && number + 1 == count;
            if !matches!(timeout_at(until, parts.send((part, last))).await, Ok(Ok(()))) {
                let objects = work.review.converted();
                tracing::warn!(objects, "Nobody took the answer to a conversion");
                return;
            }
        }
        if complete {
            return report(&work.review);
        }
        let Ok(Some(made)) = timeout_at(until, work.next(&aside)).await else {
            tracing::warn!("A conversion was ended by a defect, or other calls took its time");
            return;
        };
        (work, piece) = made;
    }
}

/// A piece that is not large, or copies of its parts: one that is kept must not keep them all.
fn in_parts(piece: &Bytes) -> impl Iterator<Item = Bytes> {
    let part = |it: &[u8]| {
        if it.len() == piece.len() { piece.clone() } else { Bytes::copy_from_slice(it) }
    };
    piece.chunks(PART).map(part)
}

/// The parts as they come. Where the last is missing, the connection ends in the middle: nobody takes that for whole.
fn stream(parts: mpsc::Receiver<(Bytes, bool)>) -> impl Stream<Item = io::Result<Bytes>> {
    futures::stream::unfold(Some(parts), |parts| async move {
        let mut parts = parts?;
        match parts.recv().await {
            Some((part, last)) => Some((Ok(part), (!last).then_some(parts))),
            None => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

fn report(review: &Review) {
    telling::converted(&Span::current(), review);
    match review.failure() {
        None => tracing::debug!(objects = review.converted(), "Converted"),
        Some(why) => tracing::warn!(objects = review.converted(), why, "A conversion failed"),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::tasks::budget::Budget;

    /// A review of one Polecat that is in the version that is asked for, or in the other.
    fn body(from: &str, text: &str, annotations: &Value) -> Vec<u8> {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": {
            "uid": "u", "desiredAPIVersion": "gastown.gastown.io/v1beta1", "objects": [{
                "apiVersion": format!("gastown.gastown.io/{from}"), "kind": "Polecat",
                "metadata": {"name": "max", "annotations": annotations}, "spec": {"rig": "r", "task": text},
            }],
        }})
        .to_string()
        .into_bytes()
    }

    async fn ask(aside: &Aside, bytes: Vec<u8>, until: Instant) -> Vec<Bytes> {
        let review = Review::read(&bytes).unwrap();
        let held = Held { bytes, share: Budget::new(1 << 20).share() };
        let answer = answer(aside.clone(), Faults::default(), review, held, until).await;
        let parts: Vec<_> = answer.into_body().into_data_stream().collect().await;
        parts.into_iter().map(Result::unwrap).collect()
    }

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(600)
    }

    #[tokio::test]
    async fn what_a_few_bytes_may_unfold_to_waits_for_its_turn_and_holds_nobody_up() {
        let aside = Aside(Arc::new(Semaphore::new(0)));
        let light = body("v1alpha1", "t", &json!({"mine": "x"}));
        assert_eq!(ask(&aside, light.clone(), soon()).await.len(), 1, "nobody waits with it");
        let text = String::from_utf8(light).unwrap();
        let heavy = [
            body("v1alpha1", "t", &json!({"gastown.io/v1beta1-fields": "deflate:"})),
            text.replace("mine", r"gastown.io/v1beta1\u002dfields").into_bytes(),
            body("v1alpha1", &"x".repeat(LIGHT), &json!({})),
        ];
        for body in heavy {
            let mut asked = Box::pin(ask(&aside, body, soon()));
            assert!(futures::poll!(&mut asked).is_pending(), "it has no turn");
            aside.0.add_permits(1);
            assert!(!asked.await.is_empty());
            aside.0.acquire().await.unwrap().forget();
        }
    }

    #[tokio::test]
    async fn a_large_object_goes_out_in_parts_that_are_copies() {
        let bytes = body("v1beta1", &"x".repeat(10 * PART), &json!({}));
        let parts = ask(&Aside::new(), bytes, soon()).await;
        assert!(parts.len() > 10 && parts.iter().all(|it| it.len() <= PART), "{}", parts.len());
        let answer: Value = serde_json::from_slice(&parts.concat()).unwrap();
        let spec = &answer["response"]["convertedObjects"][0]["spec"];
        assert_eq!(spec["task"].as_str().map(str::len), Some(10 * PART));
    }

    #[tokio::test]
    async fn nothing_is_converted_after_the_time_of_the_call() {
        let parts = ask(&Aside::new(), body("v1alpha1", "t", &json!({})), Instant::now()).await;
        let answer: Value = serde_json::from_slice(&parts.concat()).unwrap();
        let why = answer["response"]["result"]["message"].as_str().unwrap();
        assert!(why.starts_with("Polecat max (object 0)") && why.contains("time"), "{why}");
    }
}
