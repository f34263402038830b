//! One table in three formats: terminal, Markdown, CSV.

use comfy_table::{CellAlignment, LineStyle, TableStyle, presets};

/// A value in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A fraction, shown in percent with one decimal; NaN is unknown and stays empty.
    Score(f64),
    /// A count.
    Count(u64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Cell {
    /// The text that people read.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Score(score) if score.is_nan() => String::new(),
            Self::Score(score) => decimal(100.0 * score),
            Self::Count(count) => count.to_string(),
        }
    }

    fn stored(&self, decimals: Option<usize>) -> String {
        match (self, decimals) {
            (Self::Score(score), _) if score.is_nan() => String::new(),
            (Self::Score(score), Some(decimals)) => format!("{score:.decimals$}"),
            (Self::Score(score), None) => score.to_string(),
            _ => self.shown(),
        }
    }
}

/// With one decimal; what is rounded to nothing has no sign.
pub fn decimal(value: f64) -> String {
    let text = format!("{value:.1}");
    if text == "-0.0" { "0.0".into() } else { text }
}

/// Lines above, below and under the header, as papers set tables.
const RULES: TableStyle = TableStyle {
    header_separator: LineStyle::none().fill('─').junction('─'),
    row_separator: LineStyle::none(),
    ..presets::UTF8_HORIZONTAL_ONLY
};

/// Columns and rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Decimals of scores in CSV files; all of them where unset.
    decimals: Option<usize>,
}

impl Table {
    /// An empty table.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { columns, rows: Vec::new(), decimals: None }
    }

    /// Sets the decimals of scores in CSV files.
    #[must_use]
    pub fn with_decimals(self, decimals: usize) -> Self {
        Self { decimals: Some(decimals), ..self }
    }

    /// Appends a row.
    pub fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// With an arrow at every column of scores that points to where better is: ↓ for the loss that
    /// a decay is, ↑ for all others.
    #[must_use]
    pub fn with_arrows(mut self) -> Self {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let score = |row: &Vec<Cell>| matches!(row.get(index), Some(Cell::Score(_)));
            if self.rows.iter().any(score) {
                column.push_str(if column.ends_with("Decay") { " ↓" } else { " ↑" });
            }
        }
        self
    }

    /// For a terminal; scores in percent.
    pub fn text(&self) -> String {
        self.drawn(RULES)
    }

    /// For a README; scores in percent.
    pub fn markdown(&self) -> String {
        self.drawn(presets::ASCII_MARKDOWN)
    }

    fn drawn(&self, style: TableStyle) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::shown));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let words = |row: &Vec<Cell>| matches!(row.get(index), Some(Cell::Text(_)));
            if !self.rows.iter().any(words) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// For programs; scores as fractions.
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail, and every row has the header's length.
        let _ = writer.write_record(&self.columns);
        for row in &self.rows {
            let _ = writer.write_record(row.iter().map(|cell| cell.stored(self.decimals)));
        }
        writer.into_inner().map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["Sequence", "J-Mean", "Frames"]);
        table.push(vec!["a, b_1".into(), Cell::Score(0.12345), Cell::Count(7)]);
        table.push(vec!["c_1".into(), Cell::Score(f64::NAN), Cell::Count(0)]);
        table
    }

    #[test]
    fn csv_holds_fractions_and_leaves_the_unknown_empty() {
        assert_eq!(table().csv(), "Sequence,J-Mean,Frames\n\"a, b_1\",0.12345,7\nc_1,,0\n");
        assert!(table().with_decimals(3).csv().contains("0.123,7"));
    }

    #[test]
    fn nothing_has_no_sign() {
        let shown = [-0.0004, 0.0004, -0.0, -0.0006].map(|score| Cell::Score(score).shown());
        assert_eq!(shown, ["0.0", "0.0", "0.0", "-0.1"]);
    }

    #[test]
    fn arrows_stand_at_scores_alone() {
        let mut table = Table::new(["encoder", "J-Mean", "J-Decay", "Frames"]);
        table.push(vec!["a".into(), Cell::Score(0.5), Cell::Score(0.1), Cell::Count(7)]);
        assert_eq!(table.with_arrows().columns(), ["encoder", "J-Mean ↑", "J-Decay ↓", "Frames"]);
    }

    #[test]
    fn people_read_percent() {
        insta::assert_snapshot!(table().markdown(), @r"
        | Sequence | J-Mean | Frames |
        |----------|--------|--------|
        | a, b_1   |   12.3 |      7 |
        | c_1      |        |      0 |
        ");
    }
}
