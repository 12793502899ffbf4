//! HTTP/1.1 on kept connections, as bare as a client can be: on a machine with two cores a comfortable one would
//! measure itself.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use spacall::wire::roster::Roster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Asking, NEAREST, Peer, RADIUS_KM, Told, drive, places};

#[derive(Clone, Debug, Args)]
pub(crate) struct Http {
    #[command(flatten)]
    asking: Asking,
    /// Of the server, on this machine
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// What `spacall seed fleet` wrote
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Ask as the admin, who is answered from exact positions; else as the first customer
    #[arg(long)]
    exact: bool,
    /// What is looked for
    #[arg(long, default_value = "swedish-massage")]
    service: String,
}

/// Longest answer that is understood.
const ANSWER_BYTES: usize = 128 * 1_024;

pub(super) async fn ask(options: &Http) -> Result<Told> {
    let roster = Roster::read(&options.tokens)?;
    let people = if options.exact { &roster.admins } else { &roster.customers };
    let token = &people.first().context("the tokens file has nobody to ask as")?.token;
    let request = |place: spacall::core::geo::LatLng| {
        format!(
            "GET /v1/therapists/nearby?latitude={:.7}&longitude={:.7}&service={}&radius_km={RADIUS_KM}&limit={NEAREST} \
             HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            place.latitude(),
            place.longitude(),
            options.service,
            options.address,
        )
    };
    let requests: Arc<Vec<String>> = Arc::new(places(&options.asking)?.into_iter().map(request).collect());
    let mut peers = Vec::new();
    for _ in 0..options.asking.connections {
        let stream = TcpStream::connect(&options.address)
            .await
            .with_context(|| format!("--address {} does not answer", options.address))?;
        stream.set_nodelay(true)?;
        peers.push(Connection { stream, requests: Arc::clone(&requests), answer: vec![0; ANSWER_BYTES] });
    }
    drive(peers, &options.asking).await
}

struct Connection {
    stream: TcpStream,
    requests: Arc<Vec<String>>,
    answer: Vec<u8>,
}

impl Peer for Connection {
    async fn ask(&mut self, nth: usize) -> Result<usize> {
        self.stream.write_all(self.requests[nth % self.requests.len()].as_bytes()).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                bail!(
                    "the connection ended in the middle of an answer, or the answer is longer than {ANSWER_BYTES} bytes"
                );
            }
            filled += read;
            if let Some(length) = length(&self.answer[..filled])?
                && filled >= length
            {
                return Ok(length);
            }
        }
    }
}

/// The length of the whole answer once its head is there.
///
/// # Errors
/// When it is not 200, or does not say how long it is.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..head])?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the server says: {}", head.lines().next().unwrap_or_default());
    }
    let field = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = field.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("an answer without content-length")?;
    Ok(Some(head.len() + 4 + length.parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn an_answer_is_whole_when_its_head_and_its_body_are_there() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(length(answer.as_bytes()).ok().flatten(), Some(answer.len()));
        assert_eq!(length(&answer.as_bytes()[..30]).ok().flatten(), None);
        assert!(length(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
