//! Time for the head of each request of a connection of HTTP/1.1: a caller may rest between two of them for as long as API
//! servers keep connections, but once its next one has begun, the head is there soon or the connection ends.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::{Request, Response, Version};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tower::Service;

use super::seats::Seat;

/// Where a connection stands, as its stream and its service see it.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<Stand>>);

#[derive(Clone, Copy, Debug, Default)]
enum Stand {
    /// A request is under way; whatever comes is of its body. Also before the first one, which the server bounds by itself.
    #[default]
    UnderWay,
    /// The last request was answered.
    AtRest,
    /// The head of the next one has begun.
    Begun(Instant),
}

impl Heads {
    fn stand(&self) -> MutexGuard<'_, Stand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come; where they begin a head, since when.
    fn came(&self) {
        let mut stand = self.stand();
        if matches!(*stand, Stand::AtRest) {
            *stand = Stand::Begun(Instant::now());
        }
    }

    fn begun(&self) -> Option<Instant> {
        match *self.stand() {
            Stand::Begun(since) => Some(since),
            Stand::AtRest | Stand::UnderWay => None,
        }
    }
}

/// A stream that holds its place for as long as it is there, and ends where a head takes longer than this.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    _seat: Seat,
    heads: Heads,
    patience: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub const fn new(stream: S, seat: Seat, heads: Heads, patience: Duration) -> Self {
        Self { stream, _seat: seat, heads, patience, alarm: None }
    }

    /// Whether the head that has begun is late; who waits for it is woken when it becomes so.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(begun) = self.heads.begun() else {
            self.alarm = None;
            return Poll::Pending;
        };
        let until = begun + self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        alarm.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, into)?.is_pending() {
            ready!(self.poll_late(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if into.filled().len() > before {
            self.heads.came();
            // Byte after byte is no way to more time.
            if self.heads.begun().is_some_and(|it| it.elapsed() >= self.patience) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection's service, which sees where heads end and answers begin.
#[derive(Clone, Debug)]
pub struct Answering<S> {
    pub service: S,
    pub heads: Heads,
}

impl<S, I, O> Service<Request<I>> for Answering<S>
where
    S: Service<Request<I>, Response = Response<O>, Future: Send + 'static>,
{
    type Response = Response<O>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<O>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let heads = self.heads.clone();
        *heads.stand() = Stand::UnderWay;
        // Those of HTTP/2 come all at once, and have bounds of their own.
        let one_by_one = request.version() < Version::HTTP_2;
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if one_by_one {
                *heads.stand() = Stand::AtRest;
            }
            answer
        })
    }
}
