//! Connections: HTTP/1.1 on each, straight from hyper to the guard.

mod silence;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::silence::{Marked, Marks};
use super::guard::Guard;
use super::problem::Problem;
use crate::clock;

/// Answers that follow each other this fast are sent together.
const TOGETHER: Duration = Duration::from_micros(40);

/// Serves whoever connects until `closing`, then waits until every request under way is answered. Sockets that were
/// upgraded are not waited for.
pub(super) async fn serve(mut listener: TcpListener, guard: Arc<Guard>, closing: CancellationToken) {
    let connections = TaskTracker::new();
    let answers = Arc::new(Answers::default());
    // What cannot be accepted is left out, and tried again a little later when it is for want of file descriptors.
    while let Some((stream, peer)) = closing.run_until_cancelled(Listener::accept(&mut listener)).await {
        let connection = Connection::new(Arc::clone(&guard), Arc::clone(&answers), peer.ip());
        connections.spawn(connection.answer_all(stream, closing.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// One client's.
struct Connection {
    guard: Arc<Guard>,
    peer: IpAddr,
    /// Of all connections.
    answers: Arc<Answers>,
    /// When this one was last answered, as [`Answers::last`].
    answered: AtomicU64,
    marks: Arc<Marks>,
}

impl Connection {
    fn new(guard: Arc<Guard>, answers: Arc<Answers>, peer: IpAddr) -> Self {
        Self { guard, peer, answers, answered: AtomicU64::default(), marks: Arc::default() }
    }

    /// Every request, one after another.
    async fn answer_all(self, stream: TcpStream, closing: CancellationToken) {
        // Answers and messages are written whole: to wait for more of them would only make them late.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection waits for full packets");
        }
        let stream = TokioIo::new(Marked::new(stream, Arc::clone(&self.marks)));
        let service = service_fn(|request| self.answer(with_body(request)).map(Ok::<_, Infallible>));
        let mut connection = pin!(http1::Builder::new().serve_connection(stream, service).with_upgrades());
        let mut silence = pin!(self.marks.silence());
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = silence.as_mut() => return,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = silence => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection broke off");
        }
    }

    async fn answer(&self, request: Request) -> Response {
        self.marks.request();
        let response = self.carry_through(request).await;
        self.marks.answer();
        response
    }

    /// The answer. A request that has to wait for it is answered by a task of its own, which ends what it began even if
    /// nobody waits any more: when thousands of sockets break off at once, each request dropped in the middle would cost the
    /// database a connection, and each of those who wait for one would begin to open it and leave in turn.
    async fn carry_through(&self, request: Request) -> Response {
        let mut answer = Box::pin(Arc::clone(&self.guard).answer(request, self.peer));
        let Some(response) = answer.as_mut().now_or_never() else {
            // Panics of handlers are answered; what ends such a task is the end of the process.
            return tokio::spawn(answer).await.unwrap_or_else(|_| Problem::internal().into_response());
        };
        // To wake a reader on this machine costs more than to answer him, and one that is awake need not be woken for each
        // answer: so whatever else is ready is answered before this is sent. Who asks alone would only wait for others.
        if self.answers.follow(&self.answered, self.answers.now()) {
            tokio::task::yield_now().await;
            self.answers.note(&self.answered, self.answers.now());
        }
        response
    }
}

/// When somebody was last answered, of all connections of a listener.
struct Answers {
    begin: Instant,
    /// Microseconds after that.
    last: AtomicU64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { begin: clock::monotonic(), last: AtomicU64::default() }
    }
}

impl Answers {
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether the answer of a connection follows closely on another's. `own`: when it was last answered itself.
    fn follow(&self, own: &AtomicU64, now: u64) -> bool {
        let (last, own_last) = (self.last.load(Ordering::Relaxed), own.load(Ordering::Relaxed));
        self.note(own, now);
        last != own_last && Duration::from_micros(now.saturating_sub(last)) < TOGETHER
    }

    /// That this connection is answered.
    fn note(&self, own: &AtomicU64, now: u64) {
        self.last.store(now, Ordering::Relaxed);
        own.store(now, Ordering::Relaxed);
    }
}

/// Most requests have none, and for none nothing is allocated.
fn with_body(request: hyper::Request<Incoming>) -> Request {
    request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    pub(super) async fn start(router: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, closing) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let server = tokio::spawn(serve(listener, Arc::new(Guard::of_none(router)), closing.clone()));
        (address, closing, server)
    }

    /// All that comes until the server ends the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer, and the end");
        text
    }

    #[tokio::test]
    async fn requests_of_a_connection_are_answered_one_after_another_with_and_without_a_body() {
        let echo = post(|body: String| async move { body });
        let (address, ..) = start(Router::new().route("/echo", echo).route("/hello", get(async || "hello"))).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let requests = "GET /hello HTTP/1.1\r\nhost: h\r\n\r\n\
            POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc\
            GET /hello HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        stream.write_all(requests.as_bytes()).await.expect("written");
        let answers = rest(stream).await;
        let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|body| &body[..3]).collect();
        assert_eq!(bodies, ["hel", "abc", "hel"], "{answers}");
    }

    #[test]
    fn an_answer_waits_for_others_only_right_after_anothers() {
        let (answers, [one, other]) = (Answers::default(), [AtomicU64::default(), AtomicU64::default()]);
        let expected = [
            (&one, 1_000, false),
            (&one, 1_010, false),
            (&other, 1_020, true),
            (&one, 1_059, true),
            (&one, 1_060, false),
            (&other, 1_100, false),
            (&one, 1_110, true),
        ];
        for (own, now, follows) in expected {
            assert_eq!(answers.follow(own, now), follows, "at {now} us");
        }
    }

    #[tokio::test]
    async fn what_was_begun_for_somebody_who_left_is_ended() {
        let (asked, answer, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, wait, done) = (Arc::clone(&asked), Arc::clone(&answer), Arc::clone(&ended));
        let slow = get(async move || {
            told.notify_one();
            wait.notified().await;
            done.notify_one();
        });
        let (address, closing, server) = start(Router::new().route("/slow", slow)).await;
        let mut leaves = TcpStream::connect(address).await.expect("a connection");
        leaves.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
        asked.notified().await;
        drop(leaves);
        // Nobody is connected any more.
        closing.cancel();
        server.await.expect("no panic");
        answer.notify_one();
        ended.notified().await;
    }

    #[tokio::test]
    async fn at_the_end_what_is_under_way_is_answered_and_what_is_idle_is_closed() {
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, wait) = (Arc::clone(&asked), Arc::clone(&answer));
        let slow = get(async move || {
            told.notify_one();
            wait.notified().await;
            "done"
        });
        let (address, closing, server) = start(Router::new().route("/slow", slow)).await;
        let idle = TcpStream::connect(address).await.expect("a connection");
        let mut busy = TcpStream::connect(address).await.expect("a connection");
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
        asked.notified().await;
        closing.cancel();
        assert_eq!(rest(idle).await, "");
        assert!(!server.is_finished(), "somebody still waits");
        answer.notify_one();
        assert!(rest(busy).await.ends_with("done"));
        server.await.expect("no panic");
        TcpStream::connect(address).await.expect_err("nobody listens");
    }
}
