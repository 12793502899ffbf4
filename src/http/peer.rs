//! From which address a request comes: the peer's of its connection. What a header says of it is believed of those proxies
//! alone that the configuration names: else everybody could be anybody.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use super::problem::Problem;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies(Vec<Network>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: IpAddr,
    /// Of 32 or 128.
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let all = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        Some(Self { address, bits: bits.unwrap_or(all) }).filter(|network| network.bits <= all)
    }

    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros().min(32) >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros().min(128) >= self.bits
            }
            _ => false,
        }
    }
}

impl Proxies {
    /// Addresses and networks (`10.0.0.0/8`), separated by commas. `None`: one of them is neither.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|part| Network::parse(part.trim())).collect::<Option<_>>().map(Self)
    }

    /// Who asks: the last in the row who is no proxy of ours. (Whoever sent the request first can write into the header what he
    /// likes; the proxies add to its end.)
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.has(client) {
            return client;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().map(|value| value.as_bytes());
        let named: Vec<&[u8]> = values.flat_map(|value| value.split(|byte| *byte == b',')).collect();
        for name in named.into_iter().rev() {
            let Some(address) = std::str::from_utf8(name).ok().and_then(|name| address(name.trim())) else { break };
            client = address;
            if !self.has(client) {
                break;
            }
        }
        client
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(address))
    }
}

/// With or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// From which address a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(Problem::internal)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(proxies: &str, peer: &str, forwarded: &[&'static str]) -> String {
        let proxies = if proxies.is_empty() { Proxies::default() } else { Proxies::parse(proxies).expect("proxies") };
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("a value");
        let headers = forwarded.iter().map(|text| (FORWARDED_FOR, value(text))).collect();
        proxies.client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_that_is_named_is_believed() {
        for (proxies, peer, forwarded, expected) in [
            ("", "203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.0/8", "203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &[], "10.1.2.3"),
            // What the client wrote himself stands before what the proxies added.
            ("10.0.0.0/8", "10.1.2.3", &["6.6.6.6, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &["6.6.6.6, who?"], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &["\u{e9}, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &["10.4.4.4, 10.5.5.5"], "10.4.4.4"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", &["198.51.100.1:4711"], "198.51.100.1"),
            ("::1, fd00::/8", "fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("::1, fd00::/8", "::1", &["2001:db8::1"], "2001:db8::1"),
            ("0.0.0.0/0", "203.0.113.9", &["198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(client(proxies, peer, forwarded), expected, "{proxies} {peer} {forwarded:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for bad in ["10.0.0.0/33", "::/129", "proxy", "10.0.0.0/", "10.0.0.1,,10.0.0.2"] {
            assert_eq!(Proxies::parse(bad), None, "{bad}");
        }
    }
}
