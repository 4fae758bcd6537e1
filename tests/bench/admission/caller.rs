//! Callers as API servers are: HTTP/1.1 over TLS, on connections that are kept.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{ClientConnection, StreamOwned};

use crate::{pods, servers::Server};

/// One connection, and what it asks.
pub struct Caller {
    stream: StreamOwned<ClientConnection, TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Milliseconds from when a call was due to its answer.
pub struct Latencies {
    pub p50: f64,
    pub p99: f64,
}

impl Caller {
    pub fn connect(server: &Server, body: &str) -> Result<Self> {
        let plain = TcpStream::connect(&server.address)?;
        plain.set_nodelay(true)?;
        plain.set_read_timeout(Some(Duration::from_secs(30)))?;
        let client = ClientConnection::new(server.client.clone(), "127.0.0.1".try_into()?)?;
        let head = format!(
            "POST {}?timeout=10s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            server.path,
            body.len()
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let stream = StreamOwned::new(client, plain);
        Ok(Self { stream, request, answer: Vec::new() })
    }

    /// One call; its answer stays in `answer`, with its head.
    pub fn call(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut piece = [0; 16 * 1024];
        while !whole(&self.answer)? {
            let count = self.stream.read(&mut piece)?;
            ensure!(count > 0, "the connection ended within an answer");
            self.answer.extend_from_slice(&piece[..count]);
        }
        ensure!(
            self.answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.answer)
        );
        Ok(())
    }
}

/// Whether all of an answer is there: by its length, or by its last chunk.
fn whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
    let value = |name: &str| head.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
    if let Some(length) = value("content-length:") {
        return Ok(answer.len() >= end + 4 + length.parse::<usize>()?);
    }
    ensure!(value("transfer-encoding:") == Some("chunked"), "an answer without a length");
    Ok(answer.ends_with(b"0\r\n\r\n"))
}

/// Whether a server lets a pod in.
pub fn verdict(server: &Server, body: &str) -> Result<bool> {
    let mut caller = Caller::connect(server, body)?;
    caller.call()?;
    let text = String::from_utf8_lossy(&caller.answer).replace(' ', "");
    match (text.contains("\"allowed\":true"), text.contains("\"allowed\":false")) {
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        _ => {
            bail!("{} says neither yes nor no of a pod in {}: {text}", server.name, pods::NAMESPACE)
        }
    }
}

/// Every caller calls again as soon as it has its answer; how many answers there were.
pub fn as_many_as_can_be(callers: &mut [Caller], seconds: u32) -> Result<u32> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let made = AtomicU32::new(0);
    thread::scope(|scope| {
        let all: Vec<_> = callers
            .iter_mut()
            .map(|caller| {
                scope.spawn(|| -> Result<()> {
                    while Instant::now() < until {
                        caller.call()?;
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter()
            .try_for_each(|it| it.join().map_err(|_| anyhow::anyhow!("a caller died"))?)
    })?;
    Ok(made.load(Ordering::Relaxed))
}

/// Calls are due at fixed times, whoever is late.
pub fn at_a_rate(callers: &mut [Caller], rate: u32, seconds: u32) -> Result<Latencies> {
    let (begun, calls) = (Instant::now(), rate * seconds);
    let next = AtomicU32::new(0);
    let mut latencies = thread::scope(|scope| {
        let all: Vec<_> = callers
            .iter_mut()
            .map(|caller| {
                scope.spawn(|| -> Result<Vec<f64>> {
                    let mut latencies = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= calls {
                            return Ok(latencies);
                        }
                        let due = begun + Duration::from_secs(1) * number / rate;
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        caller.call()?;
                        latencies.push(due.elapsed().as_secs_f64() * 1e3);
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for it in all {
            latencies.extend(it.join().map_err(|_| anyhow::anyhow!("a caller died"))??);
        }
        Ok::<_, anyhow::Error>(latencies)
    })?;
    latencies.sort_by(f64::total_cmp);
    let at = |hundredths: usize| latencies.get(latencies.len() * hundredths / 100).copied();
    let (p50, p99) = at(50).zip(at(99)).context("no call was made")?;
    Ok(Latencies { p50, p99 })
}
