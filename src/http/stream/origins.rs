//! Which web pages may open the websocket. A browser names the page in `Origin`, which the page cannot change; apps send
//! none, and need none: without a browser there is no page that acts in somebody's name.

use axum::http::{HeaderMap, header};

/// Pages of this service itself, and those that are listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origins {
    every: bool,
    /// `scheme://host[:port]`, in small letters.
    listed: Vec<String>,
}

impl Origins {
    /// `https://app.example,http://localhost:3000`, or `*` for every page. `None`: one of them is no origin.
    pub fn parse(text: &str) -> Option<Self> {
        let mut origins = Self::default();
        for word in text.split(',').map(str::trim) {
            let host = ["https://", "http://"].iter().find_map(|scheme| word.strip_prefix(scheme));
            match host {
                _ if word == "*" => origins.every = true,
                Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']) => {
                    origins.listed.push(word.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
        Some(origins)
    }

    /// Whether a request with these headers may go on. More than one `Origin`, or `null` (a sandboxed or local page), is
    /// nobody's.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        if self.every {
            return true;
        }
        let Some(origin) = origin.to_str().ok().filter(|_| origins.next().is_none()) else { return false };
        let origin = origin.to_ascii_lowercase();
        self.listed.contains(&origin) || is_own(&origin, headers)
    }
}

/// A page that this host served. The scheme is a proxy's affair, and not known here.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_page = origin.split_once("://").map(|(_, host)| host);
    of_page.is_some_and(|page| host.is_some_and(|host| host.eq_ignore_ascii_case(page)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn admits(origins: &Origins, given: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("api.spacall.example:8443"));
        for origin in given {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        origins.admit(&headers)
    }

    #[test]
    fn apps_own_pages_and_listed_pages_are_admitted_and_no_others() {
        let none = Origins::default();
        let listed = Origins::parse("https://App.example, http://localhost:3000").expect("origins");
        for (given, by_none, by_list) in [
            (&[][..], true, true),
            (&["https://api.spacall.example:8443"], true, true),
            (&["https://api.spacall.example"], false, false),
            (&["https://app.example"], false, true),
            (&["http://app.example"], false, false),
            (&["http://localhost:3000"], false, true),
            (&["https://app.example.evil"], false, false),
            (&["null"], false, false),
            (&["https://app.example", "https://evil.example"], false, false),
        ] {
            assert_eq!((admits(&none, given), admits(&listed, given)), (by_none, by_list), "{given:?}");
        }
        assert!(admits(&Origins::parse("*").expect("every page"), &["https://evil.example"]));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in ["app.example", "https://", "https://a/b", "https://a,", "ftp://a", "https://*.a"] {
            assert_eq!(Origins::parse(text), None, "{text}");
        }
    }
}
