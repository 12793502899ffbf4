//! Lists that grow, newest first, a page at a time, keyed by the rows' id.

use sqlx::AssertSqlSafe;

/// Which rows are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// `None`: the newest.
    pub edge: Option<Edge>,
    /// At most so many; the caller's to bound.
    pub per_page: u32,
}

/// From where a list goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// What is older than the row with this id.
    OlderThan(i64),
    /// The nearest that are newer than it (a step back).
    NewerThan(i64),
}

/// A page, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rows<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Whether there are older ones than the page's last.
    pub older: bool,
    /// Whether there are newer ones than the page's first.
    pub newer: bool,
}

impl Window {
    fn backwards(self) -> bool {
        matches!(self.edge, Some(Edge::NewerThan(_)))
    }

    /// To be bound as `$1`.
    pub(crate) fn bound(self) -> i64 {
        match self.edge {
            None => i64::MAX,
            Some(Edge::OlderThan(id) | Edge::NewerThan(id)) => id,
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
            Rows { rows: read, older: goes_on, newer: self.edge.is_some() }
        }
    }
}
