//! The token of a request, from wherever its route allows it.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::access::TokenIn;
use super::auth::bearer;

/// The name of the field that carries a token in a URL.
const FIELD: &str = "token";

/// The token. One in the URL is taken out of it, whether or not another is used: nothing behind this sees it.
pub(super) fn take(request: &mut Request, from: TokenIn) -> Option<Cow<'_, str>> {
    let in_url = if from >= TokenIn::Url { out_of_url(request) } else { None };
    let headers = request.headers();
    let password = || if from >= TokenIn::Password { password(headers) } else { None };
    bearer(headers).map(Cow::Borrowed).or_else(|| password().or(in_url).map(Cow::Owned))
}

/// Names the other ways in a 401, besides the bearer header that every one names.
pub(super) fn challenge(mut response: Response, from: TokenIn) -> Response {
    if from >= TokenIn::Password && response.headers().contains_key(header::WWW_AUTHENTICATE) {
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
    use axum::body::Body;

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

    #[test]
    fn a_token_in_the_url_is_gone_from_it_even_when_another_is_used() {
        for authorization in [None, Some("Bearer 1|h")] {
            let mut request = request("http://h/x?a=1%2B1&token=9%7Csecret&b=&token=again", authorization);
            take(&mut request, TokenIn::Url).expect("a token");
            assert_eq!(request.uri().to_string(), "http://h/x?a=1%2B1&b=");
        }
    }
}
