//! `--export-markdown`, `--export-csv`, `--export-json`: a table in other formats.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cropmae::files;
use cropmae::report::Table;
use serde_json::Value;

use crate::args::{ExportArgs, OutputArgs};
use crate::common::flags::flagged;
use crate::common::targets::{Inputs, place};
use crate::common::usage::usage;
use crate::show;

/// Whether stdout belongs to an export, and the usual table does not go there.
pub(crate) fn takes_stdout(args: &ExportArgs) -> bool {
    args.files().into_iter().flatten().any(is_stdout)
}

/// Refuses what would mix two outputs on stdout, and files that cannot be written or must not be;
/// to be called before anything is computed. `out` is the folder of results, which is made later.
pub(crate) fn check(
    args: &ExportArgs,
    json: bool,
    inputs: &Inputs,
    out: Option<&Path>,
) -> Result<()> {
    let exports = args.files().into_iter().flatten().filter(|file| is_stdout(file)).count();
    let outputs = exports + usize::from(json);
    ensure!(
        exports == 0 || outputs == 1,
        usage!(
            "stdout takes one output: leave `-` to one of --export-markdown, --export-csv, --export-json, and --json out"
        )
    );
    let kinds = [("--export-markdown", "md"), ("--export-csv", "csv"), ("--export-json", "json")];
    for ((flag, ending), file) in kinds.into_iter().zip(args.files()) {
        if let Some(file) = file.filter(|file| !is_stdout(file)) {
            inputs.spare_file(flag, file, ending, false)?;
            writable(flag, file, out)?;
        }
    }
    Ok(())
}

/// Refuses a file in a folder that is not there or takes no file.
fn writable(flag: &str, file: &Path, out: Option<&Path>) -> Result<()> {
    let wanted = place(file);
    let Some(folder) = wanted.parent() else { return Ok(()) };
    if folder.is_dir() {
        return files::Pending::create(file).map(drop).context(flag.to_owned());
    }
    let made = out.is_some_and(|out| folder == place(out));
    ensure!(made, usage!("{flag}: there is no folder {}; make it first", folder.display()));
    Ok(())
}

/// Writes the table where it is asked for: `markdown` for people, `csv` for programs.
pub(crate) fn write(args: &ExportArgs, markdown: &str, csv: &Table, json: &Value) -> Result<()> {
    let [to_markdown, to_csv, to_json] = args.files();
    let texts = [
        (to_markdown, format!("{}\n", markdown.trim_end())),
        (to_csv, csv.csv()),
        (to_json, serde_json::to_string_pretty(json)? + "\n"),
    ];
    for (file, text) in texts {
        match file {
            Some(file) if is_stdout(file) => show::text(&text)?,
            Some(file) => files::write(file, text.as_bytes())?,
            None => {}
        }
    }
    Ok(())
}

/// Shows the table of several results, `lines` under it, or their JSON, and writes what is asked
/// for: `table` for people, with what its cells point to (`notes`), and `stored` for programs.
pub(crate) fn several(
    args: &OutputArgs,
    (table, notes): (&Table, &[String]),
    stored: &Table,
    lines: &[String],
    json: &Value,
) -> Result<()> {
    if args.json {
        show::text(&(serde_json::to_string_pretty(json)? + "\n"))?;
    } else if !takes_stdout(&args.export) {
        let lines = lines.iter().map(|line| format!("  {}\n", flagged(line)));
        show::text(&format!("{}\n{}", table.text(), lines.collect::<String>()))?;
    }
    let notes: String = notes.iter().map(|note| format!("- {note}\n")).collect();
    let markdown = format!("{}\n\n{notes}", table.clone().with_arrows().markdown());
    write(&args.export, &markdown, stored, json)
}

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}
