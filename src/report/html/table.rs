//! A [`Table`] in a page: rows sort by a click on, or Enter at, a column's name.

use maud::{Markup, html};

use crate::report::{Cell, Table};

/// How a table is shown beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Whether rows sort; pointless for a single one.
    pub sorted: bool,
    /// The column of scores (from 0) whose cells show a bar as long as the score.
    pub bar: Option<usize>,
}

/// A table with its caption, in a box that scrolls by itself where it is wider than the page. The
/// first column names the row; the others stand right where none of their cells is text.
pub fn table(caption: &str, table: &Table, look: Look) -> Markup {
    let text = |column: usize| {
        table.rows().iter().any(|row| matches!(row.get(column), Some(Cell::Text(_))))
    };
    let class = |column: usize| if text(column) { "text" } else { "number" };
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table.sortable[look.sorted] {
                caption { (caption) }
                thead {
                    tr {
                        @for (column, name) in table.columns().iter().enumerate() {
                            th.(class(column)) scope="col" {
                                @if look.sorted { button type="button" { (name) } }
                                @else { (name) }
                            }
                        }
                    }
                }
                tbody { @for row in table.rows() { (self::row(row, look.bar, &class)) } }
            }
        }
    }
}

fn row(row: &[Cell], bar: Option<usize>, class: &impl Fn(usize) -> &'static str) -> Markup {
    html! {
        tr {
            @for (column, cell) in row.iter().enumerate() {
                @if column == 0 {
                    th.(class(column)) scope="row" { (cell.shown()) }
                } @else if let (Some(share), true) = (share(cell), bar == Some(column)) {
                    td.bar.(class(column)) data-sort=[sorted_by(cell)]
                        style={ "--share:" (format!("{share:.1}")) "%" } { (cell.shown()) }
                } @else {
                    td.(class(column)) data-sort=[sorted_by(cell)] { (cell.shown()) }
                }
            }
        }
    }
}

/// The length of a score's bar in percent.
fn share(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Score(score) if !score.is_nan() => Some(100.0 * score.clamp(0.0, 1.0)),
        _ => None,
    }
}

/// What rows are sorted by where that is not the text shown: scores at full precision.
fn sorted_by(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Score(score) if !score.is_nan() => Some(*score),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_names_and_bars() {
        let mut of = Table::new(["clip", "J&F", "frames"]);
        of.push(vec!["<dog>".into(), Cell::Score(0.12345), Cell::Count(7)]);
        of.push(vec!["cat".into(), Cell::Score(f64::NAN), Cell::Count(0)]);
        let look = Look { sorted: true, bar: Some(1) };
        let html = table("Clips & more", &of, look).into_string();
        insta::assert_snapshot!(html.replace("><", ">\n<"), @"");
        let plain = table("One", &of, Look::default()).into_string();
        assert!(!plain.contains("<button") && !plain.contains("--share"), "{plain}");
    }
}
