//! One measurement, in a process that does nothing else.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use gastown::{
    cluster::spans::Spans,
    conversion::{self, review::Review},
    tasks::{budget::Budget, convert},
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tower::ServiceExt as _;

use crate::{What, typed};

/// What one measurement says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds of one processor.
    pub seconds: f64,
    /// Most memory at a time, beyond what there was before. The body is part of it where it arrived meanwhile.
    pub peak: usize,
    /// Bytes of the answer.
    pub answer: usize,
    /// Microseconds of single calls by the clock: half of them, 99 of 100, all.
    pub single: [f64; 3],
}

pub fn one(what: What, file: &Path) -> Result<Figures> {
    // The tables and schemas are made ready once for a process, before its first call.
    ensure!(!conversion::kinds().is_empty(), "there are kinds to convert");
    if what == What::Route {
        return route(file);
    }
    let body = fs::read(file)?;
    if what == What::Single {
        return single(&body);
    }
    let memory = Memory::now()?;
    let began = processor(ClockId::ThreadCPUTime);
    let answer = match what {
        What::Typed => typed::answer(&body)?.len(),
        _ => pieces(&body, |_| ())?,
    };
    let seconds = processor(ClockId::ThreadCPUTime) - began;
    Ok(Figures { seconds, peak: memory.peak()?, answer, ..Figures::default() })
}

/// Our whole answer.
pub fn review(body: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    pieces(body, |piece| answer.extend_from_slice(piece))?;
    Ok(answer)
}

/// Our answer as it goes out; how many bytes it has.
fn pieces(body: &[u8], mut taken: impl FnMut(&[u8])) -> Result<usize> {
    let kinds = conversion::kinds();
    let each =
        |object: &str, to: &str, out: &mut String| conversion::convert(kinds, object, to, out);
    let mut review = Review::read(body)?;
    let mut bytes = 0;
    while let Some(piece) = review.next_piece(&each, body) {
        bytes += piece.len();
        taken(&piece);
    }
    ensure!(review.failure().is_none(), "{:?}", review.failure());
    Ok(bytes)
}

/// Single calls with the first of these objects: each as an API server sends it.
fn single(body: &[u8]) -> Result<Figures> {
    let review: Singles<'_> = serde_json::from_slice(body)?;
    let request = review.request;
    let calls: Vec<String> = request
        .objects
        .iter()
        .map(|object| {
            format!(
                r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"u","desiredAPIVersion":"{}","objects":[{}]}}}}"#,
                request.desired, object.get()
            )
        })
        .collect();
    let mut times = Vec::with_capacity(calls.len());
    let mut answer = 0;
    for call in &calls {
        let began = Instant::now();
        answer += pieces(call.as_bytes(), |_| ())?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |per_mille: usize| times.get(times.len() * per_mille / 1000).or(times.last()).copied();
    let single = [at(500), at(990), at(1000)].map(Option::unwrap_or_default);
    Ok(Figures { answer, single, ..Figures::default() })
}

#[derive(Deserialize)]
struct Singles<'a> {
    #[serde(borrow)]
    request: Asked<'a>,
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(rename = "desiredAPIVersion")]
    desired: &'a str,
    #[serde(borrow)]
    objects: Vec<&'a RawValue>,
}

/// Behind the route, with the body from a file in parts of 16 KiB, as a connection brings it.
fn route(file: &Path) -> Result<Figures> {
    let length = fs::metadata(file)?.len();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let routes = convert::routes(
            Budget::new(512 << 20),
            "".parse().unwrap_or_default(),
            Spans::default(),
        );
        let memory = Memory::now()?;
        let began = processor(ClockId::ProcessCPUTime);
        let file = tokio::fs::File::open(file).await?;
        let parts = futures::stream::unfold(file, |mut file| async {
            let mut part = vec![0; 16 << 10];
            let read = tokio::io::AsyncReadExt::read(&mut file, &mut part).await;
            match read {
                Ok(0) => None,
                Ok(count) => {
                    part.truncate(count);
                    Some((Ok(Bytes::from(part)), file))
                }
                Err(error) => Some((Err(error), file)),
            }
        });
        let request = http::Request::post("/convert")
            .header("content-type", "application/json")
            .header("content-length", length)
            .body(Body::from_stream(parts))?;
        let response = routes.oneshot(request).await?;
        ensure!(response.status() == 200, "{}", response.status());
        let mut stream = response.into_body().into_data_stream();
        let mut answer = 0;
        while let Some(piece) = stream.next().await {
            answer += piece?.len();
        }
        let seconds = processor(ClockId::ProcessCPUTime) - began;
        Ok(Figures { seconds, peak: memory.peak()?, answer, ..Figures::default() })
    })
}

/// Seconds of the processor that were used so far.
#[expect(clippy::cast_precision_loss, reason = "a bench runs for minutes")]
fn processor(clock: ClockId) -> f64 {
    let it = clock_gettime(clock);
    it.tv_sec as f64 + it.tv_nsec as f64 / 1e9
}

/// The memory of this process before something.
struct Memory(usize);

impl Memory {
    fn now() -> Result<Self> {
        // Makes the highest what there is now.
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self(of("VmRSS:")?))
    }

    /// The most beyond it since.
    fn peak(&self) -> Result<usize> {
        Ok(of("VmHWM:")?.saturating_sub(self.0))
    }
}

fn of(name: &str) -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix(name)).context("no such line")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
