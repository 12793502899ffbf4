//! The assignment against an oracle: `pathfinding`'s Kuhn-Munkres over the complete matrix.

use pathfinding::kuhn_munkres::kuhn_munkres_min;
use pathfinding::matrix::Matrix;
use proptest::collection::vec;
use proptest::prelude::*;
use spacall::core::assignment::{Assignment, Edge, MAX_COST, assign};

/// Dearer than any assignment of these sizes: a missing edge is taken when there is no other way only.
const MISSING: i64 = 1 << 44;

/// How many pairs there can be, and what they cost at least.
fn oracle(columns: usize, rows: &[Vec<Edge>]) -> (usize, i64) {
    let width = columns.max(rows.len());
    if rows.is_empty() || width == 0 {
        return (0, 0);
    }
    let mut matrix = Matrix::new(rows.len(), width, MISSING);
    for (row, edges) in rows.iter().enumerate() {
        for edge in edges {
            let at = &mut matrix[(row, edge.column)];
            *at = (*at).min(edge.cost);
        }
    }
    let (_, chosen) = kuhn_munkres_min(&matrix);
    let costs = chosen.iter().enumerate().map(|(row, &column)| matrix[(row, column)]).filter(|&cost| cost < MISSING);
    costs.fold((0, 0), |(pairs, sum), cost| (pairs + 1, sum + cost))
}

/// Everybody's pair is one of their edges, and no column is given twice.
fn is_possible(columns: usize, rows: &[Vec<Edge>], assignment: &Assignment) {
    let mut taken = vec![false; columns];
    assert_eq!(assignment.column_of.len(), rows.len());
    for (edges, column) in rows.iter().zip(&assignment.column_of) {
        if let Some(column) = *column {
            assert!(edges.iter().any(|edge| edge.column == column), "column {column} is no edge");
            assert!(!std::mem::replace(&mut taken[column], true), "column {column} is given twice");
        }
    }
}

fn graphs(rows: usize, columns: usize, degree: usize, cost: i64) -> impl Strategy<Value = (usize, Vec<Vec<Edge>>)> {
    (1..=columns).prop_flat_map(move |columns| {
        let edge = (0..columns, -cost..=cost).prop_map(|(column, cost)| Edge { column, cost });
        (Just(columns), vec(vec(edge, 0..=degree), 0..=rows))
    })
}

fn agrees(columns: usize, rows: &[Vec<Edge>]) {
    let assignment = assign(columns, rows);
    is_possible(columns, rows, &assignment);
    assert_eq!((assignment.pairs(), assignment.cost), oracle(columns, rows));
    assert_eq!(assign(columns, rows), assignment, "the same input has the same answer");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn small_graphs_agree_with_the_oracle((columns, rows) in graphs(7, 7, 4, 9)) {
        agrees(columns, &rows);
    }

    #[test]
    fn scarce_columns_agree_with_the_oracle((columns, rows) in graphs(24, 8, 5, 1_000)) {
        agrees(columns, &rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn larger_graphs_agree_with_the_oracle((columns, rows) in graphs(60, 80, 8, MAX_COST)) {
        agrees(columns, &rows);
    }
}
