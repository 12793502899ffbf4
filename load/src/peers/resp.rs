//! Redis and Tile38: both speak RESP 2, of which a client needs little.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use spacall::core::geo::LatLng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Asking, NEAREST, Peer, RADIUS_KM, Told, drive, places};

#[derive(Clone, Debug, Args)]
pub(crate) struct Resp {
    #[command(flatten)]
    asking: Asking,
    /// Whose commands
    #[arg(long, value_enum)]
    kind: Kind,
    /// Path of a unix socket, or HOST:PORT
    #[arg(long)]
    address: String,
    /// Load these first: lines of id,latitude,longitude
    #[arg(long, value_name = "FILE")]
    points: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// GEOADD, GEOSEARCH
    Redis,
    /// SET, NEARBY
    Tile38,
}

impl Kind {
    fn question(self, place: LatLng) -> Vec<u8> {
        let (latitude, longitude) = (format!("{:.7}", place.latitude()), format!("{:.7}", place.longitude()));
        let (count, metres) = (NEAREST.to_string(), (RADIUS_KM * 1_000).to_string());
        match self {
            Self::Redis => command(&[
                "GEOSEARCH",
                "fleet",
                "FROMLONLAT",
                &longitude,
                &latitude,
                "BYRADIUS",
                &metres,
                "m",
                "ASC",
                "COUNT",
                &count,
                "WITHDIST",
            ]),
            Self::Tile38 => command(&[
                "NEARBY", "fleet", "LIMIT", &count, "DISTANCE", "POINTS", "POINT", &latitude, &longitude, &metres,
            ]),
        }
    }

    fn put(self, id: &str, latitude: &str, longitude: &str) -> Vec<u8> {
        match self {
            Self::Redis => command(&["GEOADD", "fleet", longitude, latitude, id]),
            Self::Tile38 => command(&["SET", "fleet", id, "POINT", latitude, longitude]),
        }
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

pub(super) async fn ask(options: &Resp) -> Result<Told> {
    let places = places(&options.asking)?;
    let questions = Arc::new(places.into_iter().map(|place| options.kind.question(place)).collect::<Vec<_>>());
    if let Some(points) = &options.points {
        let mut connection = Connection::open(&options.address, &questions).await?;
        load(&mut connection, options.kind, points).await?;
    }
    let mut peers = Vec::new();
    for _ in 0..options.asking.connections {
        peers.push(Connection::open(&options.address, &questions).await?);
    }
    drive(peers, &options.asking).await
}

/// Points sent before their answers are waited for.
const AT_ONCE: usize = 1_000;

async fn load(connection: &mut Connection, kind: Kind, points: &PathBuf) -> Result<()> {
    let at = points.display();
    let text = fs::read_to_string(points).with_context(|| format!("--points {at}"))?;
    let lines: Vec<&str> = text.lines().collect();
    for lines in lines.chunks(AT_ONCE) {
        let mut commands = Vec::new();
        for line in lines {
            let mut fields = line.split(',').map(str::trim);
            let (Some(id), Some(latitude), Some(longitude)) = (fields.next(), fields.next(), fields.next()) else {
                bail!("--points {at}: {line:?} is not id,latitude,longitude");
            };
            commands.extend(kind.put(id, latitude, longitude));
        }
        connection.exchange(&commands, lines.len()).await?;
    }
    Ok(())
}

struct Connection {
    stream: Stream,
    questions: Arc<Vec<Vec<u8>>>,
    answer: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    async fn open(address: &str, questions: &Arc<Vec<Vec<u8>>>) -> Result<Self> {
        let stream = if address.contains('/') {
            UnixStream::connect(address).await.map(Stream::Unix)
        } else {
            TcpStream::connect(address).await.and_then(|tcp| tcp.set_nodelay(true).map(|()| Stream::Tcp(tcp)))
        };
        let stream = stream.with_context(|| format!("--address {address} does not answer"))?;
        Ok(Self { stream, questions: Arc::clone(questions), answer: vec![0; 1 << 20] })
    }

    /// Sends commands and waits for so many answers; the length of them.
    async fn exchange(&mut self, commands: &[u8], answers: usize) -> Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(commands).await?,
            Stream::Unix(stream) => stream.write_all(commands).await?,
        }
        let (mut filled, mut upto, mut seen) = (0, 0, 0);
        while seen < answers {
            let room = &mut self.answer[filled..];
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(room).await?,
                Stream::Unix(stream) => stream.read(room).await?,
            };
            if read == 0 {
                bail!("the connection ended in the middle of an answer");
            }
            filled += read;
            while let Some(length) = length(&self.answer[upto..filled])? {
                upto += length;
                seen += 1;
            }
        }
        Ok(filled)
    }
}

impl Peer for Connection {
    async fn ask(&mut self, nth: usize) -> Result<usize> {
        let questions = Arc::clone(&self.questions);
        self.exchange(&questions[nth % questions.len()], 1).await
    }
}

/// The length of the first answer if all of it is there.
///
/// # Errors
/// When it is an error, or no RESP.
fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end])?;
    let after = end + 2;
    let (kind, rest) = line.split_at_checked(1).context("an empty line where an answer should begin")?;
    match kind {
        "+" | ":" => Ok(Some(after)),
        "-" => bail!("the server says: {rest}"),
        "$" => {
            let whole = after + usize::try_from(rest.parse::<i64>()?).map_or(0, |length| length + 2);
            Ok((bytes.len() >= whole).then_some(whole))
        }
        "*" => {
            let mut at = after;
            for _ in 0..rest.parse::<i64>()? {
                match length(&bytes[at..])? {
                    Some(one) => at += one,
                    None => return Ok(None),
                }
            }
            Ok(Some(at))
        }
        other => bail!("{other:?} begins no answer of RESP 2"),
    }
}

#[cfg(test)]
mod tests {
    use super::{command, length};

    #[test]
    fn a_command_is_an_array_of_texts() {
        assert_eq!(command(&["GET", "x"]), b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n");
    }

    #[test]
    fn an_answer_is_whole_when_its_last_part_is_there() {
        for whole in
            ["+OK\r\n", ":12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*0\r\n", "*2\r\n*2\r\n$1\r\na\r\n$3\r\n1.5\r\n:1\r\n"]
        {
            assert_eq!(length(whole.as_bytes()).ok().flatten(), Some(whole.len()), "{whole:?}");
            assert_eq!(length(&whole.as_bytes()[..whole.len() - 1]).ok().flatten(), None, "{whole:?}");
        }
        assert!(length(b"-ERR no\r\n").is_err() && length(b"what?\r\n").is_err());
    }
}
