//! Laravel's cursor pages.

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

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::asked(parts, DEFAULT_PER_PAGE)
    }
}

impl IntoParams for PageQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        params(DEFAULT_PER_PAGE)
    }
}

fn params(default: i64) -> Vec<Parameter> {
    let described = |name, description: String, schema| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
        parameter.description(Some(description)).schema(Some(schema)).build()
    };
    vec![
        described("cursor", "`next_cursor` or `prev_cursor` of an earlier answer".to_owned(), String::schema()),
        described("per_page", format!("1 to {LARGEST_PER_PAGE}; {default} if not given"), u32::schema()),
    ]
}

impl PageQuery {
    fn asked(parts: &Parts, default: i64) -> Result<Self, Problem> {
        let mut fields = Fields::of_query(parts.uri.query().unwrap_or_default());
        let cursor = fields.optional("cursor", Cursor::parse);
        let per_page = fields.optional("per_page", read::integer(1, LARGEST_PER_PAGE)).unwrap_or(default);
        let path = own_url(&parts.uri, &parts.headers);
        let filters = filters(&parts.uri);
        fields.finish(Some(Self { cursor, per_page: u32::try_from(per_page).unwrap_or_default(), path, filters }))
    }

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

/// A page of a list that is short by nature and read whole: its cursors are places in it, and all that fits a page is on one if it
/// is not asked for otherwise.
pub struct WholeList(PageQuery);

impl<S: Send + Sync> FromRequestParts<S> for WholeList {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        PageQuery::asked(parts, LARGEST_PER_PAGE).map(Self)
    }
}

impl IntoParams for WholeList {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        params(LARGEST_PER_PAGE)
    }
}

impl WholeList {
    /// The page that is asked for, of the whole list.
    pub fn page<T>(self, mut list: Vec<T>) -> Page<T> {
        let Self(query) = self;
        let (all, wanted) = (list.len(), query.per_page as usize);
        let place = |nth: i64| usize::try_from(nth).unwrap_or(usize::MAX).min(all);
        let (begin, end) = match query.cursor {
            None => (0, wanted.min(all)),
            Some(Cursor::After(nth)) => (place(nth), place(nth).saturating_add(wanted).min(all)),
            Some(Cursor::Before(nth)) => (place(nth - 1).saturating_sub(wanted), place(nth - 1)),
        };
        let cursor = |nth: usize| i64::try_from(nth).unwrap_or(i64::MAX);
        let next = (1..all).contains(&end).then(|| Cursor::After(cursor(end)));
        let prev = (begin > 0).then(|| Cursor::Before(cursor(begin + 1)));
        list.truncate(end);
        list.drain(..begin);
        query.page(list, next, prev)
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
    fn a_list_that_was_read_whole_is_walked_to_its_end_and_back_by_its_links() {
        let page = |query: &str| {
            let uri: Uri = format!("/v1/roles?{query}").parse().expect("a URI");
            let (parts, ()) = axum::http::Request::builder().uri(uri).body(()).expect("a request").into_parts();
            WholeList(PageQuery::asked(&parts, LARGEST_PER_PAGE).expect("a page")).page((1..=5).collect::<Vec<_>>())
        };
        let (mut query, mut read) = ("per_page=2&all=1".to_owned(), Vec::new());
        let walked = |url: Option<String>| url.map(|url| url.split_once('?').expect("a query").1.to_owned());
        let last = loop {
            let page = page(&query);
            assert_eq!(page.per_page, 2);
            read.push(page.data.clone());
            match walked(page.next_page_url.clone()) {
                Some(next) => query = next,
                None => break page,
            }
        };
        assert_eq!(read, [vec![1, 2], vec![3, 4], vec![5]]);
        let before = page(&walked(last.prev_page_url).expect("a page before"));
        let first = page(&walked(before.prev_page_url.clone()).expect("a page before"));
        assert_eq!((before.data, before.next_cursor.as_deref()), (vec![3, 4], Some("a4")));
        assert_eq!((first.data, first.prev_cursor, first.next_cursor.as_deref()), (vec![1, 2], None, Some("a2")));
        let whole = page("");
        assert_eq!((whole.data.len(), whole.per_page, whole.next_cursor, whole.prev_cursor), (5, 100, None, None));
        for (beyond, prev, next) in [("a9", Some("b6"), None), ("b1", None, None), ("a5", Some("b6"), None)] {
            let page = page(&format!("cursor={beyond}"));
            assert!(page.data.is_empty(), "{beyond}");
            assert_eq!((page.prev_cursor.as_deref(), page.next_cursor.as_deref()), (prev, next), "{beyond}");
        }
        assert_eq!(page(&format!("cursor=b{}&per_page=1", i64::MAX)).data, [5]);
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
