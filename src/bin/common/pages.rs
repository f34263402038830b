//! Manual pages and completion scripts, made from the same texts as a program's help.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// Writes a manual page for a program and for each of its commands into a folder, which is made
/// where it is not there.
///
/// # Errors
/// The folder cannot be made or written to.
pub(crate) fn manual(program: Command, folder: &Path) -> Result<()> {
    let cannot = || format!("cannot write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    // `help` has nothing to say that the pages do not
    let mut program = program.disable_help_subcommand(true);
    // gives commands of commands their whole names, propagate-check-davis
    program.build();
    pages(program, folder).with_context(cannot)
}

fn pages(command: Command, folder: &Path) -> std::io::Result<()> {
    for inner in command.get_subcommands() {
        pages(inner.clone(), folder)?;
    }
    let source = concat!("cropmae ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).generate_to(folder).map(drop)
}

/// The completion script of a program.
pub(crate) fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}
