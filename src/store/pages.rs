//! Lists by pages: newest first, keyed by a column that is unique within the list.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Encode, FromRow, PgPool, Postgres, QueryBuilder, Type};

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// From where.
    pub from: From,
    /// At most so many; the caller's to bound.
    pub per_page: u32,
}

/// A page, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rows<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Whether there are older ones than the last.
    pub older: bool,
    /// Whether there are newer ones than the first.
    pub newer: bool,
}

impl<T> Rows<T> {
    /// The same of what is made of each row.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Rows<U> {
        Rows { rows: self.rows.into_iter().map(make).collect(), older: self.older, newer: self.newer }
    }
}

impl Ask {
    fn backwards(self) -> bool {
        matches!(self.from, From::NewerThan(_))
    }

    /// To be bound as `$1`.
    pub(crate) fn bound(self) -> i64 {
        match self.from {
            From::Start => i64::MAX,
            From::OlderThan(key) | From::NewerThan(key) => key,
        }
    }

    /// To be bound as `$2`: one more tells whether the list goes on.
    pub(crate) fn limit(self) -> i64 {
        i64::from(self.per_page) + 1
    }

    /// `select` (with a WHERE, its own parameters from `$3` on), of these rows only, in the order in which they are to be
    /// read. `id` is the column that keys them.
    pub(crate) fn of(self, select: &'static str, id: &'static str) -> AssertSqlSafe<String> {
        let (beyond, order) = if self.backwards() { (">", "ASC") } else { ("<", "DESC") };
        AssertSqlSafe(format!("{select} AND {id} {beyond} $1 ORDER BY {id} {order} LIMIT $2"))
    }

    /// What was read, as a page.
    pub(crate) fn rows<T>(self, mut read: Vec<T>) -> Rows<T> {
        let wanted = self.per_page as usize;
        let goes_on = read.len() > wanted;
        read.truncate(wanted);
        // The side that the page came from has at least the row that the cursor names.
        if self.backwards() {
            read.reverse();
            Rows { rows: read, older: true, newer: goes_on }
        } else {
            Rows { rows: read, older: goes_on, newer: self.from != From::Start }
        }
    }
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
    let order = match ask.from {
        From::Start => " DESC",
        From::OlderThan(at) => {
            select.push(" AND ").push(key).push(" < ").push_bind(bound(at));
            " DESC"
        }
        From::NewerThan(at) => {
            select.push(" AND ").push(key).push(" > ").push_bind(bound(at));
            ""
        }
    };
    select.push(" ORDER BY ").push(key).push(order).push(" LIMIT ").push_bind(ask.limit());
    Ok(ask.rows(select.build_query_as().fetch_all(pool).await?))
}
