//! A [`Table`] in a page: rows sort by a click on, or Enter at, a column's name.

use maud::{Markup, html};

use crate::report::{Cell, Table};

/// How a table is shown beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Whether rows sort; pointless for a single one.
    pub sorted: bool,
    /// The column of scores (from 0) whose cells show a bar as long as the score.
    pub bar: Option<usize>,
}

/// Tables of more rows than this scroll in a box of their own.
const LONG: usize = 40;

/// A table with its caption, in a box that scrolls by itself where it is wider than the page. The
/// first column names the row; the others stand right where all that they hold is numbers.
pub(crate) fn table(caption: &str, table: &Table, look: Look) -> Markup {
    let words = |cell: &Cell| match cell {
        Cell::Text(text) => !text.is_empty() && text.parse::<f64>().is_err(),
        Cell::Score(_) | Cell::Count(_) => false,
    };
    let text = |column: usize| table.rows().iter().filter_map(|row| row.get(column)).any(words);
    let class = |column: usize| if text(column) { "text" } else { "number" };
    html! {
        div.scroll.long[table.rows().len() > LONG] role="region" aria-label=(caption) tabindex="0" {
            table.sortable[look.sorted] {
                caption { span { (caption) } }
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
        let mut of = Table::new(["clip", "J&F", "frames", "seconds"]);
        of.push(vec!["<dog>".into(), Cell::Score(0.12345), Cell::Count(7), "1.5".into()]);
        of.push(vec!["cat".into(), Cell::Score(f64::NAN), Cell::Count(0), "".into()]);
        let look = Look { sorted: true, bar: Some(1) };
        let html = table("Clips & more", &of, look).into_string();
        for part in [
            "<caption><span>Clips &amp; more</span></caption>",
            r#"<th class="text" scope="col"><button type="button">clip</button></th>"#,
            r#"<th class="number" scope="col"><button type="button">J&amp;F</button></th>"#,
            r#"<th class="text" scope="row">&lt;dog&gt;</th>"#,
            r#"<td class="bar number" data-sort="0.12345" style="--share:12.3%">12.3</td>"#,
            r#"<td class="number"></td><td class="number">0</td>"#,
            r#"<td class="number">1.5</td>"#,
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        let plain = table("One", &of, Look::default()).into_string();
        assert!(!plain.contains("<button") && !plain.contains("--share"), "{plain}");
    }
}
