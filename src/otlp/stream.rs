//! A connection, with a proxy or without. Of the proxy's answer no byte more is read than it has: what follows in one piece with
//! it is for whoever speaks through the proxy, as HTTP/2 without TLS may be spoken to at once.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How an answer's head may end.
const ENDS: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];

pub struct Stream {
    tcp: TcpStream,
    /// While the proxy's answer is read: its last bytes.
    answer: Option<[u8; 3]>,
}

impl Stream {
    pub fn direct(tcp: TcpStream) -> Self {
        Self { tcp, answer: None }
    }

    /// One whose first bytes are a proxy's answer.
    pub fn answering(tcp: TcpStream) -> Self {
        Self { tcp, answer: Some([0; 3]) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        let Some([_, before, last]) = it.answer.filter(|_| buffer.remaining() > 0) else {
            return Pin::new(&mut it.tcp).poll_read(context, buffer);
        };
        let mut one = [0];
        let mut read = ReadBuf::new(&mut one);
        ready!(Pin::new(&mut it.tcp).poll_read(context, &mut read))?;
        buffer.put_slice(read.filled());
        if let [next] = *read.filled() {
            let now = [before, last, next];
            it.answer = Some(now).filter(|now| ENDS.iter().all(|end| !now.ends_with(end)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected()
    }
}
