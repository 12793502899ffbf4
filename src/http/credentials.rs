//! The token of a request, from wherever its route allows it.

use std::borrow::Cow;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::access::TokenIn;
use super::auth::bearer;

/// The name of the field that carries a token in a URL or a form.
const FIELD: &str = "token";

/// The cookie of the live map.
pub(super) const COOKIE: &str = "spacall_ops";

/// Where a browser says that a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A form with a token in it is shorter, bytes.
const FORM_LIMIT: usize = 4_096;

/// The token. One in the URL is taken out of it, whether or not another is used: nothing behind this sees it.
pub(super) fn take(request: &mut Request, from: TokenIn) -> Option<Cow<'_, str>> {
    let in_url = if from == TokenIn::Url { out_of_url(request) } else { None };
    let headers = request.headers();
    let other = || match from {
        TokenIn::Header | TokenIn::Form => None,
        TokenIn::Password => password(headers),
        TokenIn::Url => password(headers).or(in_url),
        TokenIn::Cookie => cookie(headers),
        TokenIn::PageCookie => cookie(headers).filter(|_| is_surely_own_page(headers)),
    };
    bearer(headers).map(Cow::Borrowed).or_else(|| other().map(Cow::Owned))
}

/// Puts the token of a form that this service's own page has sent where every other token is. A body that is no such form
/// is left out: nobody behind this reads it.
pub(super) async fn out_of_form(request: Request) -> Request {
    let (mut head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = content_type.starts_with(b"application/x-www-form-urlencoded");
    if is_form
        && is_own_page(&head.headers)
        && !head.headers.contains_key(header::AUTHORIZATION)
        && let Ok(form) = to_bytes(body, FORM_LIMIT).await
        && let Some((_, token)) = form_urlencoded::parse(&form).find(|(name, _)| name == FIELD)
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
    {
        value.set_sensitive(true);
        head.headers.insert(header::AUTHORIZATION, value);
    }
    Request::from_parts(head, Body::empty())
}

/// The token in the live map's cookie, unless another site's page has made the browser send it.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == COOKIE)?;
    (!token.is_empty() && is_own_page(headers)).then(|| token.to_owned())
}

/// Not told by a page of elsewhere. Over plain HTTP browsers say only the page's origin, and that not of everything; who says
/// nothing at all may be a program, and is guarded by `SameSite` alone.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    match headers.get(FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => is_from_here(headers, header::ORIGIN).unwrap_or(true),
    }
}

/// Told by a page of this very service, which a page of elsewhere cannot have a browser say.
fn is_surely_own_page(headers: &HeaderMap) -> bool {
    match headers.get(FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => {
            [header::ORIGIN, header::REFERER].into_iter().find_map(|name| is_from_here(headers, name)) == Some(true)
        }
    }
}

/// Whether the page that a header names is of the host that is asked. `None`: it names none.
fn is_from_here(headers: &HeaderMap, name: HeaderName) -> Option<bool> {
    let page = headers.get(name)?.to_str().ok().and_then(|page| page.parse::<Uri>().ok());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    Some(
        page.as_ref()
            .and_then(Uri::authority)
            .map(|authority| authority.as_str())
            .zip(host)
            .is_some_and(|(a, b)| a == b),
    )
}

/// Names the other ways in a 401, besides the bearer header that every one names.
pub(super) fn challenge(mut response: Response, from: TokenIn) -> Response {
    if from.takes_password() && response.headers().contains_key(header::WWW_AUTHENTICATE) {
        let basic = HeaderValue::from_static("Basic realm=\"spacall\", charset=\"UTF-8\"");
        response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
    }
    response
}

/// The password of `Authorization: Basic`; the user's name is the app's own affair.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

fn out_of_url(request: &mut Request) -> Option<String> {
    let query = request.uri().query()?;
    let (mut token, mut rest) = (None, form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == FIELD {
            token = Some(value.into_owned());
        } else {
            rest.append_pair(&name, &value);
        }
    }
    let token = token?;
    *request.uri_mut() = without(request.uri(), &rest.finish());
    (!token.is_empty()).then_some(token)
}

fn without(uri: &Uri, query: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    // What the serializer writes is a query; if it were none, a URL without one is safe too.
    parts.path_and_query = PathAndQuery::try_from(format!("{}?{query}", uri.path())).ok();
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, authorization: Option<&str>) -> Request {
        let mut builder = Request::builder().uri(url);
        if let Some(value) = authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder.body(Body::empty()).expect("a request")
    }

    #[test]
    fn a_token_is_taken_only_from_where_the_route_allows_it() {
        let basic = format!("Basic {}", STANDARD.encode("phone:7|a:b"));
        let (url, plain) = ("http://h/x?lat=1&token=9%7Cu", "http://h/x?lat=1");
        for (url, authorization, header, password, anywhere) in [
            (plain, Some("Bearer 1|h"), Some("1|h"), Some("1|h"), Some("1|h")),
            (plain, Some(basic.as_str()), None, Some("7|a:b"), Some("7|a:b")),
            (url, None, None, None, Some("9|u")),
            (url, Some("Bearer 1|h"), Some("1|h"), Some("1|h"), Some("1|h")),
            (plain, Some("Basic !"), None, None, None),
            ("http://h/x?token=", None, None, None, None),
        ] {
            for (from, expected) in [(TokenIn::Header, header), (TokenIn::Password, password), (TokenIn::Url, anywhere)]
            {
                let mut request = request(url, authorization);
                let taken = take(&mut request, from);
                assert_eq!(taken.as_deref(), expected, "{url} {authorization:?} {from:?}");
            }
        }
    }

    fn with(headers: &[(HeaderName, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value"))).collect()
    }

    #[test]
    fn the_maps_cookie_is_taken_among_others_but_not_for_a_page_of_elsewhere() {
        let (mine, other) = ((header::COOKIE, "a=1; spacall_ops=7|x; b=2"), (header::COOKIE, "xspacall_ops=8|y"));
        let site = |site| (FETCH_SITE, site);
        for (headers, token) in [
            (&[mine.clone()][..], Some("7|x")),
            (&[other.clone(), mine.clone()], Some("7|x")),
            (&[other], None),
            (&[(header::COOKIE, "spacall_ops=")], None),
            (&[mine.clone(), site("same-origin")], Some("7|x")),
            (&[mine.clone(), site("none")], Some("7|x")),
            (&[mine.clone(), site("same-site")], None),
            (&[mine, site("cross-site")], None),
        ] {
            assert_eq!(cookie(&with(headers)).as_deref(), token, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_forms_token_is_taken_from_the_own_page_and_no_longer_one_is_read() {
        let form = "application/x-www-form-urlencoded";
        let long = format!("token={}", "x".repeat(FORM_LIMIT));
        for (kind, site, body, token) in [
            (form, None, "a=1&token=+7%7Cx+", Some("7|x")),
            ("application/x-www-form-urlencoded; charset=utf-8", Some("same-origin"), "token=7%7Cx", Some("7|x")),
            (form, Some("cross-site"), "token=7%7Cx", None),
            ("text/plain", None, "token=7%7Cx", None),
            (form, None, "token=", None),
            (form, None, "token=a%0Ab", None),
            (form, None, &long, None),
        ] {
            let mut builder = Request::post("/ops").header(header::CONTENT_TYPE, kind);
            if let Some(site) = site {
                builder = builder.header(FETCH_SITE, site);
            }
            let request = builder.body(Body::from(body.to_owned())).expect("a request");
            let request = out_of_form(request).await;
            assert_eq!(bearer(request.headers()), token, "{kind} {site:?} {body:.20}");
        }
    }

    #[test]
    fn a_token_in_the_url_is_gone_from_it_even_when_another_is_used() {
        for authorization in [None, Some("Bearer 1|h")] {
            let mut request = request("http://h/x?a=1%2B1&token=9%7Csecret&b=&token=again", authorization);
            take(&mut request, TokenIn::Url).expect("a token");
            assert_eq!(request.uri().to_string(), "http://h/x?a=1%2B1&b=");
        }
    }
}
