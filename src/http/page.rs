//! Laravel's cursor pages.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use serde::Serialize;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema};

use super::extract::{Fields, Given, read};
use super::problem::Problem;
use crate::store::pages::{Ask, From, Rows};

/// As many as Laravel's paginator gives.
const DEFAULT_PER_PAGE: i64 = 15;
const LARGEST_PER_PAGE: i64 = 100;

/// A page of a list, as Laravel's `cursorPaginate` answers it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// In the order of the list.
    pub data: Vec<T>,
    /// Of the list, without a query.
    pub path: String,
    /// At most so many in `data`.
    pub per_page: u32,
    /// Give it back as `cursor`; null on the last page.
    pub next_cursor: Option<String>,
    /// The same for the page before.
    pub prev_cursor: Option<String>,
    /// Where the next page is.
    pub next_page_url: Option<String>,
    /// Where the page before is.
    pub prev_page_url: Option<String>,
}

impl<T> Page<T> {
    /// The same page of what its rows are shown as.
    pub fn map<U>(self, shown: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(shown).collect(),
            path: self.path,
            per_page: self.per_page,
            next_cursor: self.next_cursor,
            prev_cursor: self.prev_cursor,
            next_page_url: self.next_page_url,
            prev_page_url: self.prev_page_url,
        }
    }
}

/// Where a page begins: opaque to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cursor {
    /// After (older than) the row with this id.
    After(i64),
    /// Before (newer than) the row with this id.
    Before(i64),
}

impl Cursor {
    fn parse(given: Given<'_>) -> Result<Self, String> {
        let text = read::text(32)(given).unwrap_or_default();
        let id = |digits: &str| digits.parse().ok().filter(|id: &i64| *id > 0);
        let cursor = match text.split_at_checked(1) {
            Some(("a", digits)) => id(digits).map(Self::After),
            Some(("b", digits)) => id(digits).map(Self::Before),
            _ => None,
        };
        cursor.ok_or_else(|| "must be a cursor from an earlier answer".to_owned())
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(id) => write!(f, "a{id}"),
            Self::Before(id) => write!(f, "b{id}"),
        }
    }
}

/// What page is asked for: `?cursor&per_page`.
pub struct PageQuery {
    /// `None`: the first.
    cursor: Option<Cursor>,
    /// 1 to 100.
    per_page: u32,
    path: String,
    /// What else was asked: the links ask for it too.
    filters: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut fields = Fields::from_request_parts(parts, state).await?;
        let cursor = fields.optional("cursor", Cursor::parse);
        let per_page = fields.optional("per_page", read::integer(1, LARGEST_PER_PAGE)).unwrap_or(DEFAULT_PER_PAGE);
        let path = own_url(&parts.uri, &parts.headers);
        let filters = filters(&parts.uri);
        fields.finish(Some(Self { cursor, per_page: u32::try_from(per_page).unwrap_or_default(), path, filters }))
    }
}

impl IntoParams for PageQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let described = |name, description, schema| {
            let parameter =
                ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
            parameter.description(Some(description)).schema(Some(schema)).build()
        };
        vec![
            described("cursor", "`next_cursor` or `prev_cursor` of an earlier answer", String::schema()),
            described("per_page", "1 to 100; 15 if not given", u32::schema()),
        ]
    }
}

impl PageQuery {
    /// The rows that it asks for, of a list keyed by id.
    pub const fn ask(&self) -> Ask {
        let from = match self.cursor {
            None => From::Start,
            Some(Cursor::After(id)) => From::OlderThan(id),
            Some(Cursor::Before(id)) => From::NewerThan(id),
        };
        Ask { from, per_page: self.per_page }
    }

    /// Their page, with its links. `id`: what keys a row.
    pub fn of<T>(self, read: Rows<T>, id: impl Fn(&T) -> i64) -> Page<T> {
        let next = read.rows.last().filter(|_| read.older).map(|row| Cursor::After(id(row)));
        let prev = read.rows.first().filter(|_| read.newer).map(|row| Cursor::Before(id(row)));
        self.page(read.rows, next, prev)
    }

    fn page<T>(self, data: Vec<T>, next: Option<Cursor>, prev: Option<Cursor>) -> Page<T> {
        let url = |cursor: Option<Cursor>| {
            cursor.map(|c| format!("{}?cursor={c}&per_page={}{}", self.path, self.per_page, self.filters))
        };
        Page {
            data,
            next_page_url: url(next),
            prev_page_url: url(prev),
            next_cursor: next.map(|c| c.to_string()),
            prev_cursor: prev.map(|c| c.to_string()),
            per_page: self.per_page,
            path: self.path,
        }
    }
}

/// A list that is short enough to be answered whole, whatever page is asked for.
pub struct WholeList {
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for WholeList {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { path: own_url(&parts.uri, &parts.headers) })
    }
}

impl WholeList {
    /// Its one page.
    pub fn page<T>(self, data: Vec<T>) -> Page<T> {
        let usual = u32::try_from(DEFAULT_PER_PAGE).unwrap_or_default();
        let per_page = u32::try_from(data.len()).unwrap_or(u32::MAX).max(usual);
        PageQuery { cursor: None, per_page, path: self.path, filters: String::new() }.page(data, None, None)
    }
}

/// The fields of a query that do not say which page, each after a `&`.
fn filters(uri: &Uri) -> String {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let others = pairs.filter(|(name, value)| !value.is_empty() && !["cursor", "per_page"].contains(&name.as_ref()));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
    if query.is_empty() { query } else { format!("&{query}") }
}

/// The URL that was asked for, as far as the request tells, without its query.
fn own_url(uri: &Uri, headers: &HeaderMap) -> String {
    let plain = |value: &str| value.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| plain(value));
    let scheme =
        if text(header::HeaderName::from_static("x-forwarded-proto")) == Some("https") { "https" } else { "http" };
    match text(header::HOST) {
        Some(host) => format!("{scheme}://{host}{}", uri.path()),
        None => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_nothing_else_is_one() {
        for cursor in [Cursor::After(15), Cursor::Before(1)] {
            assert_eq!(Cursor::parse(Given::Text(&cursor.to_string())), Ok(cursor));
        }
        for bad in ["a", "a0", "a-1", "c5", "15", "é5"] {
            assert!(Cursor::parse(Given::Text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_lead_back_to_where_the_question_came_in() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, header::HeaderValue::from_static("api.spacall.test:8080"));
        let path = own_url(&Uri::from_static("/v1/bookings?per_page=2"), &headers);
        let filters = filters(&Uri::from_static("/v1/bookings?cursor=a9&per_page=2&status=a%26b&empty="));
        let page =
            PageQuery { cursor: None, per_page: 2, path, filters }.page(vec![1, 2], Some(Cursor::After(2)), None);
        assert_eq!(page.path, "http://api.spacall.test:8080/v1/bookings");
        assert_eq!(
            page.next_page_url.as_deref(),
            Some("http://api.spacall.test:8080/v1/bookings?cursor=a2&per_page=2&status=a%26b")
        );
        assert_eq!(page.prev_page_url, None);
    }
}
