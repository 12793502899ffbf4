//! Who gets whom when many wait at once: a sparse assignment, as many pairs as possible, then the least total cost.
//!
//! Shortest augmenting paths in the manner of R. Jonker and A. Volgenant, "A shortest augmenting path algorithm for
//! dense and sparse linear assignment problems", Computing 38 (1987): rows enter one after the other; each finds, by
//! Dijkstra's algorithm over reduced costs, the cheapest way to a free column, on which earlier pairs may change.
//!
//! Not every row can have a column. Each row therefore has one more column of its own, so dear that using one fewer of
//! them beats any saving elsewhere: the cheapest complete assignment is then one with the most real pairs.
//!
//! Costs are whole numbers and ties go by column, so that the same input has the same answer everywhere.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A row may have a column at this cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Which, from 0.
    pub column: usize,
    /// Any number within ±[`MAX_COST`]; what is beyond counts as that.
    pub cost: i64,
}

/// 2^32. A million rows of it still add up exactly.
pub const MAX_COST: i64 = 1 << 32;

/// Who has whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The column of each row, if it has one.
    pub column_of: Vec<Option<usize>>,
    /// Of the pairs together.
    pub cost: i64,
}

impl Assignment {
    /// How many rows have a column.
    pub fn pairs(&self) -> usize {
        self.column_of.iter().flatten().count()
    }
}

const NOBODY: usize = usize::MAX;
const FAR: i64 = i64::MAX;

/// Matches rows with columns `0..columns`: the most pairs there can be, and of these assignments one of least cost. Of
/// a row's edges to one column the cheapest counts; edges to columns that do not exist are ignored.
///
/// With n rows, m columns and e edges O(n (e + m) log m) at worst; a row that finds a free column near by costs little
/// more than its own edges. O(n + m + e) memory.
pub fn assign(columns: usize, rows: &[Vec<Edge>]) -> Assignment {
    let mut solver = Solver::new(columns, rows);
    solver.greedy();
    for row in 0..rows.len() {
        if solver.column_of[row] == NOBODY {
            solver.augment(row);
        }
    }
    solver.answer()
}

struct Solver {
    /// Real columns; column `columns + row` is the row's own.
    columns: usize,
    /// Edges by row: `edges[first[row]..first[row + 1]]`, the row's own column last.
    first: Vec<usize>,
    edges: Vec<Edge>,
    column_of: Vec<usize>,
    row_of: Vec<usize>,
    /// Dual price of each column, never above 0; that of a free column is 0.
    price: Vec<i64>,
    /// Of the search under way; [`FAR`] where it has not come.
    distance: Vec<i64>,
    /// From which row.
    reached_by: Vec<usize>,
    settled: Vec<bool>,
    /// Columns that the search has touched.
    touched: Vec<usize>,
    queue: BinaryHeap<Reverse<(i64, usize)>>,
}

impl Solver {
    fn new(columns: usize, rows: &[Vec<Edge>]) -> Self {
        // More than any assignment's costs can differ by: one real pair more is worth it.
        let own_cost = 2 * MAX_COST * (rows.len() as i64 + 1);
        let mut first = Vec::with_capacity(rows.len() + 1);
        let mut edges = Vec::with_capacity(rows.iter().map(Vec::len).sum::<usize>() + rows.len());
        for (row, all) in rows.iter().enumerate() {
            first.push(edges.len());
            let real = all.iter().filter(|edge| edge.column < columns);
            edges.extend(real.map(|e| Edge { cost: e.cost.clamp(-MAX_COST, MAX_COST), ..*e }));
            edges.push(Edge { column: columns + row, cost: own_cost });
        }
        first.push(edges.len());
        let all = columns + rows.len();
        Self {
            columns,
            first,
            edges,
            column_of: vec![NOBODY; rows.len()],
            row_of: vec![NOBODY; all],
            price: vec![0; all],
            distance: vec![FAR; all],
            reached_by: vec![NOBODY; all],
            settled: vec![false; all],
            touched: Vec::new(),
            queue: BinaryHeap::new(),
        }
    }

    fn of_row(&self, row: usize) -> std::ops::Range<usize> {
        self.first[row]..self.first[row + 1]
    }

    /// Rows whose cheapest column is free take it: optimal so far, since every price is still 0.
    fn greedy(&mut self) {
        for row in 0..self.column_of.len() {
            let best = self.edges[self.of_row(row)].iter().min_by_key(|e| (e.cost, e.column));
            if let Some(column) = best.map(|e| e.column).filter(|&column| self.row_of[column] == NOBODY) {
                self.column_of[row] = column;
                self.row_of[column] = row;
            }
        }
    }

    /// What the row pays in the pair it has, at today's prices.
    fn own_reduced(&self, row: usize) -> i64 {
        let column = self.column_of[row];
        let cost = self.edges[self.of_row(row)].iter().filter(|e| e.column == column).map(|e| e.cost).min();
        cost.map_or(0, |cost| cost - self.price[column])
    }

    /// The cheapest way from a row without a column to a free one; pairs along it move up.
    fn augment(&mut self, start: usize) {
        let (mut row, mut so_far) = (start, 0);
        let end = loop {
            self.relax(row, so_far);
            // There is always one: the row's own column is free, or its pair has one.
            let Some(Reverse((distance, column))) = self.queue.pop() else { break NOBODY };
            if self.settled[column] {
                row = NOBODY;
                so_far = 0;
            } else {
                self.settled[column] = true;
                if self.row_of[column] == NOBODY {
                    self.reprice(distance);
                    break column;
                }
                row = self.row_of[column];
                so_far = distance - self.own_reduced(row);
            }
        };
        self.swap_along(start, end);
        for column in self.touched.drain(..) {
            self.distance[column] = FAR;
            self.settled[column] = false;
        }
        self.queue.clear();
    }

    /// Looks at the columns that a row may have instead. `so_far`: what it cost to come to the row and free it.
    fn relax(&mut self, row: usize, so_far: i64) {
        if row == NOBODY {
            return;
        }
        for at in self.of_row(row) {
            let Edge { column, cost } = self.edges[at];
            let distance = so_far + cost - self.price[column];
            if distance < self.distance[column] {
                if self.distance[column] == FAR {
                    self.touched.push(column);
                }
                self.distance[column] = distance;
                self.reached_by[column] = row;
                self.queue.push(Reverse((distance, column)));
            }
        }
    }

    /// Keeps every pair as cheap for its row as any other column would be.
    fn reprice(&mut self, shortest: i64) {
        for &column in self.touched.iter().filter(|&&column| self.settled[column]) {
            self.price[column] += self.distance[column] - shortest;
        }
    }

    fn swap_along(&mut self, start: usize, end: usize) {
        let mut column = end;
        while column != NOBODY {
            let row = self.reached_by[column];
            self.row_of[column] = row;
            let left = std::mem::replace(&mut self.column_of[row], column);
            column = if row == start { NOBODY } else { left };
        }
    }

    fn answer(&self) -> Assignment {
        let column_of: Vec<_> = self.column_of.iter().map(|&c| (c < self.columns).then_some(c)).collect();
        let cost = column_of.iter().enumerate().filter_map(|(row, column)| {
            let edges = self.edges[self.of_row(row)].iter();
            edges.filter(|e| Some(e.column) == *column).map(|e| e.cost).min()
        });
        let cost = cost.sum();
        Assignment { column_of, cost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[(usize, i64)]]) -> Vec<Vec<Edge>> {
        rows.iter().map(|row| row.iter().map(|&(column, cost)| Edge { column, cost }).collect()).collect()
    }

    #[test]
    fn the_greedy_choice_gives_way_to_the_cheaper_whole() {
        let input = rows(&[&[(0, 1), (1, 2)], &[(0, 1), (1, 9)]]);
        assert_eq!(assign(2, &input), Assignment { column_of: vec![Some(1), Some(0)], cost: 3 });
    }

    #[test]
    fn one_pair_more_is_worth_any_cost() {
        let input = rows(&[&[(0, -MAX_COST), (1, MAX_COST)], &[(0, MAX_COST)]]);
        assert_eq!(assign(2, &input), Assignment { column_of: vec![Some(1), Some(0)], cost: 2 * MAX_COST });
    }

    #[test]
    fn who_is_dearer_goes_without_and_an_earlier_row_gives_way() {
        let input = rows(&[&[(0, 5)], &[(0, 3)], &[(0, 4)]]);
        assert_eq!(assign(1, &input), Assignment { column_of: vec![None, Some(0), None], cost: 3 });
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(assign(0, &[]), Assignment { column_of: vec![], cost: 0 });
        assert_eq!(assign(0, &rows(&[&[(0, 1)], &[]])), Assignment { column_of: vec![None, None], cost: 0 });
        assert_eq!(assign(1, &rows(&[&[(0, 7), (0, 2)]])), Assignment { column_of: vec![Some(0)], cost: 2 });
    }
}
