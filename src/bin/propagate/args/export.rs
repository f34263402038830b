//! The arguments that export a table.

use std::path::{Path, PathBuf};

use clap::Args;

/// Where the table goes beside the terminal; `-` is stdout, which then holds nothing else.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Export")]
pub(crate) struct ExportArgs {
    /// Write the table as Markdown, ready to paste, with arrows for the better direction; - is
    /// stdout
    #[arg(long, value_name = "FILE|-")]
    pub(crate) export_markdown: Option<PathBuf>,
    /// Write the table as CSV, scores as fractions; - is stdout
    #[arg(long, value_name = "FILE|-")]
    pub(crate) export_csv: Option<PathBuf>,
    /// Write the scores and all settings behind them as JSON; - is stdout
    #[arg(long, value_name = "FILE|-")]
    pub(crate) export_json: Option<PathBuf>,
}

impl ExportArgs {
    /// The files asked for, in the order Markdown, CSV, JSON.
    pub(crate) fn files(&self) -> [Option<&Path>; 3] {
        [&self.export_markdown, &self.export_csv, &self.export_json].map(Option::as_deref)
    }
}
