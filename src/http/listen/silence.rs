//! Connections on which nothing happens are ended: one that brings half a request and no more, one whose answer is not
//! read, one that is kept for requests that do not come.
//!
//! No clock is read and no timer set for a request: what gets on leaves a mark, and every few seconds each connection looks
//! whether there is a new one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Between two looks: a head that was begun before one and is not whole at the next will not be waited for.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Looks without a mark that end any connection: 75 to 90 s, longer than the 60 s that proxies keep theirs, so that it is they
/// who end them and no request crosses the end.
const QUIET_LOOKS: u32 = 5;

/// What a connection did since the last look.
#[derive(Default)]
pub(super) struct Marks {
    /// A request came whole or was answered, or bytes of an answer were taken.
    got_on: AtomicBool,
    /// The client sent bytes of a request that is not whole.
    half: AtomicBool,
    /// A handler is at it: until the guard gives it up, long before a connection is too quiet.
    at_work: AtomicBool,
}

impl Marks {
    /// The head of a request is whole.
    pub(super) fn request(&self) {
        self.half.store(false, Ordering::Relaxed);
        self.at_work.store(true, Ordering::Relaxed);
        self.got_on.store(true, Ordering::Relaxed);
    }

    /// There is an answer to it.
    pub(super) fn answer(&self) {
        self.at_work.store(false, Ordering::Relaxed);
        self.got_on.store(true, Ordering::Relaxed);
    }

    /// Waits until the connection has done nothing for too long.
    pub(super) async fn silence(&self) {
        let (mut quiet, mut was_half) = (0, false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            quiet = if self.got_on.swap(false, Ordering::Relaxed) { 0 } else { quiet + 1 };
            let half = self.half.load(Ordering::Relaxed);
            if quiet >= QUIET_LOOKS || (quiet > 0 && half && was_half) {
                return;
            }
            was_half = half;
        }
    }
}

/// A client's stream that leaves marks.
pub(super) struct Marked {
    stream: TcpStream,
    marks: Arc<Marks>,
}

impl Marked {
    /// To leave its marks there.
    pub(super) fn new(stream: TcpStream, marks: Arc<Marks>) -> Self {
        Self { stream, marks }
    }

    fn wrote(&self, bytes: usize) -> usize {
        if bytes > 0 {
            self.marks.got_on.store(true, Ordering::Relaxed);
        }
        bytes
    }
}

impl AsyncRead for Marked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        // What comes while a handler is at it is its request's body.
        if buf.filled().len() > before && !self.marks.at_work.load(Ordering::Relaxed) {
            self.marks.half.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Marked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        Poll::Ready(Ok(self.wrote(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.wrote(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    //! The clock is the runtime's: it goes on only while all wait. The sockets are real.

    use std::convert::Infallible;
    use std::ops::Range;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{sleep, timeout};

    use super::super::tests::start;
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    const SECOND: Duration = Duration::from_secs(1);

    /// To a server with this router, after these bytes were sent.
    async fn connected(router: Router, sent: &[u8]) -> TcpStream {
        let (address, ..) = start(router).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("sent at once");
        send(&mut stream, sent).await;
        stream
    }

    /// The clock would jump ahead as soon as all wait, also for bytes that have come: first everybody takes them.
    async fn send(stream: &mut TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).await.expect("written");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// The next bytes, if there are any before the end or the time is up.
    async fn read(stream: &mut TcpStream, within: Duration) -> Option<io::Result<usize>> {
        timeout(within, stream.read(&mut [0; 65_536])).await.ok()
    }

    async fn is_ended(stream: &mut TcpStream, between: Range<u32>) {
        let early = read(stream, between.start * SECOND).await;
        assert!(early.is_none(), "within {} s: {early:?}", between.start);
        let end = read(stream, (between.end - between.start) * SECOND).await;
        assert!(matches!(end, Some(Ok(0) | Err(_))), "after {} s: {end:?}", between.end);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_waited_for() {
        for half in [&b"G"[..], &HEAD[..HEAD.len() - 1]] {
            let mut stream = connected(Router::new(), half).await;
            is_ended(&mut stream, 14..31).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_gains_no_time() {
        let mut stream = connected(Router::new(), b"GET /").await;
        for _ in 0..6 {
            sleep(5 * SECOND).await;
            // It may have ended already.
            _ = stream.write_all(b"a").await;
        }
        let end = read(&mut stream, SECOND).await;
        assert!(matches!(end, Some(Ok(0) | Err(_))), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_two_parts_is_waited_for_whenever_somebody_looks() {
        let mut stream = connected(Router::new().route("/", get(async || ())), b"").await;
        let (half, rest) = HEAD.split_at(9);
        for _ in 0..3 {
            // Around the looks at 15 s, 30 s and 45 s: each part begins 15.25 s after the one before.
            sleep(14 * SECOND + SECOND / 2).await;
            send(&mut stream, half).await;
            sleep(SECOND / 4 * 3).await;
            send(&mut stream, rest).await;
            assert!(matches!(read(&mut stream, SECOND).await, Some(Ok(1..))), "an answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_75_seconds_after_each_answer_and_not_for_ever() {
        let mut stream = connected(Router::new().route("/", get(async || ())), b"").await;
        for _ in 0..3 {
            sleep(74 * SECOND).await;
            send(&mut stream, HEAD).await;
            assert!(matches!(read(&mut stream, SECOND).await, Some(Ok(1..))), "an answer");
        }
        is_ended(&mut stream, 74..91).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_his_answer_is_left() {
        const LENGTH: usize = 64 << 20;
        let large = get(async || Bytes::from_static(&[b'x'; LENGTH]));
        let mut stream = connected(Router::new().route("/", large), HEAD).await;
        sleep(91 * SECOND).await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < LENGTH, "the rest was not sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_slowly_is_waited_for_as_long_as_its_handler_waits() {
        let length = post(async |body: Bytes| body.len().to_string());
        let mut stream = connected(Router::new().route("/", length), b"").await;
        // Just before a look, so that the next one falls into the body.
        sleep(14 * SECOND).await;
        send(&mut stream, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\n").await;
        for _ in 0..6 {
            sleep(4 * SECOND).await;
            send(&mut stream, b"a").await;
        }
        assert!(matches!(read(&mut stream, SECOND).await, Some(Ok(1..))), "an answer");
        is_ended(&mut stream, 74..91).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_now_and_then_says_something_goes_on() {
        let alive = get(async || {
            let said = stream::unfold((), async |()| {
                sleep(20 * SECOND).await;
                Some((Ok::<_, Infallible>(":\n\n"), ()))
            });
            Body::from_stream(said)
        });
        let mut stream = connected(Router::new().route("/", alive), HEAD).await;
        for _ in 0..20 {
            assert!(matches!(read(&mut stream, 21 * SECOND).await, Some(Ok(1..))), "it lives");
        }
    }
}
