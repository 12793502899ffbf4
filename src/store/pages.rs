//! Lists by pages: newest first, keyed by a column that is unique within the list.

use sqlx::postgres::PgRow;
use sqlx::{Encode, FromRow, PgPool, Postgres, QueryBuilder, Type};

use super::StoreError;

/// From where a page goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The newest.
    Start,
    /// What is older than the row with this key.
    OlderThan(i64),
    /// The nearest that are newer than the row with this key (a step back).
    NewerThan(i64),
}

/// What page is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// From where.
    pub from: From,
    /// At most so many; the caller's to bound.
    pub per_page: u32,
}

/// A page, newest first.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Whether there are older ones than the last.
    pub older: bool,
    /// Whether there are newer ones than the first.
    pub newer: bool,
}

/// Reads a page of what `select` finds: it ends with a condition. `key`: the column; `bound`: of a key as a cursor has it.
pub(crate) async fn read<'q, T, K>(
    pool: &PgPool,
    mut select: QueryBuilder<Postgres>,
    key: &'static str,
    bound: impl Fn(i64) -> K,
    ask: Ask,
) -> Result<Rows<T>, StoreError>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    K: Encode<'q, Postgres> + Type<Postgres> + Send + 'q,
{
    let (order, backwards) = match ask.from {
        From::Start => (" DESC", false),
        From::OlderThan(at) => {
            select.push(" AND ").push(key).push(" < ").push_bind(bound(at));
            (" DESC", false)
        }
        From::NewerThan(at) => {
            select.push(" AND ").push(key).push(" > ").push_bind(bound(at));
            ("", true)
        }
    };
    // One more tells whether the list goes on.
    let most = i64::from(ask.per_page) + 1;
    select.push(" ORDER BY ").push(key).push(order).push(" LIMIT ").push_bind(most);
    let mut rows: Vec<T> = select.build_query_as().fetch_all(pool).await?;
    let goes_on = rows.len() > ask.per_page as usize;
    rows.truncate(ask.per_page as usize);
    if backwards {
        rows.reverse();
    }
    // The side that the page came from has at least the row that the cursor names.
    Ok(if backwards {
        Rows { rows, older: true, newer: goes_on }
    } else {
        Rows { rows, older: goes_on, newer: ask.from != From::Start }
    })
}
