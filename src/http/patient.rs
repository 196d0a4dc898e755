//! Connections to people: what is sent to one who does not read is bounded, in bytes and in time.
//!
//! A stream has no end that a time-out could be set for, and a body is not asked for more while its
//! connection is full; so it is the connection that notices.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket},
    time::{Sleep, sleep},
};

/// How long nothing may be taken of what is sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much the kernel keeps for one connection, in bytes: it would go up to megabytes.
const SEND_BUFFER: u32 = 64 * 1024;
const BACKLOG: u32 = 1_024;

/// A connection that ends when nothing is taken of what is sent.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    late: Option<Pin<Box<Sleep>>>,
}

/// Listens there for people.
///
/// # Errors
/// When that is not possible.
pub fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // What is accepted has it, too.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

impl<T> Connection<T> {
    /// Over `io`.
    pub fn new(io: T) -> Self {
        Self { io, late: None }
    }

    /// What came of a write.
    fn written<R>(
        &mut self,
        outcome: Poll<io::Result<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.late = None;
            return outcome;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nothing_is_taken_of_ends() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut connection = Connection::new(ours);
        let error = connection.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_goes_on() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut connection = Connection::new(ours);
        let reads = async {
            let mut read = [0; 8];
            for _ in 0..4 {
                tokio::time::advance(PATIENCE.mul_f64(0.9)).await;
                theirs.read_exact(&mut read).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(connection.write_all(&[0; 32]), reads);
        written.unwrap();
    }
}
