//! Pages of lists that are keyed by a row's id, newest first.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::StoreError;

/// From where a page goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The newest.
    Start,
    /// What is older than this id.
    OlderThan(i64),
    /// The nearest that are newer than this id (a step back).
    NewerThan(i64),
}

/// A page, newest first.
#[derive(Clone, Debug)]
pub struct Slice<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Whether there are older ones than the last.
    pub older: bool,
    /// Whether there are newer ones than the first.
    pub newer: bool,
}

impl<T> Slice<T> {
    /// The same of what is made of each row.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Slice<U> {
        Slice { rows: self.rows.into_iter().map(make).collect(), older: self.older, newer: self.newer }
    }
}

/// A page of at most `per_page` rows (the caller's to bound) of a query that ends within its `WHERE`, by `key`, its id.
pub async fn fetch<T>(
    pool: &PgPool,
    mut query: QueryBuilder<Postgres>,
    key: &str,
    from: From,
    per_page: u32,
) -> Result<Slice<T>, StoreError>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let backwards = matches!(from, From::NewerThan(_));
    match from {
        From::Start => {}
        From::OlderThan(id) => drop(query.push(format!(" AND {key} < ")).push_bind(id)),
        From::NewerThan(id) => drop(query.push(format!(" AND {key} > ")).push_bind(id)),
    }
    let order = if backwards { "" } else { " DESC" };
    // One more tells whether the list goes on.
    query.push(format!(" ORDER BY {key}{order} LIMIT ")).push_bind(i64::from(per_page) + 1);
    let mut rows: Vec<T> = query.build_query_as().fetch_all(pool).await?;
    let goes_on = rows.len() > per_page as usize;
    rows.truncate(per_page as usize);
    if backwards {
        rows.reverse();
    }
    // The side that the page came from has at least the row that the cursor names.
    Ok(if backwards {
        Slice { rows, older: true, newer: goes_on }
    } else {
        Slice { rows, older: goes_on, newer: from != From::Start }
    })
}
