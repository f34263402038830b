//! The library's settings under the names that they have on the command line.
//!
//! The library names a setting plainly, `patch_size`; where the command that runs has a flag of
//! that name, the user reads `--patch-size`. Keys of configurations, which have no flag, stay as
//! they are.

use std::sync::OnceLock;

use clap::{ArgMatches, Command, Parser};
use cropmae::Error;

/// The long flags of the command that runs, without their dashes.
static FLAGS: OnceLock<Vec<String>> = OnceLock::new();

/// How the library begins to name a setting within a sentence.
const SETTING: &str = "the setting `";

/// Reads the command line as [`Parser::parse`] does; from then on its flags are known here.
pub(crate) fn parse<C: Parser>() -> C {
    let matches = C::command().get_matches();
    FLAGS.get_or_init(|| flags(&C::command(), &matches));
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut C::command()).exit())
}

/// The flags of the command that was asked for, the innermost one.
fn flags(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let inner = matches.subcommand();
    match inner.and_then(|(name, inner)| Some((command.find_subcommand(name)?, inner))) {
        Some((command, inner)) => flags(command, inner),
        None => command.get_arguments().filter_map(|it| it.get_long()).map(str::to_owned).collect(),
    }
}

fn known() -> &'static [String] {
    FLAGS.get().map_or(&[], Vec::as_slice)
}

/// An error of the library with its reasons and what to do about it, in the words of the command
/// line.
pub(crate) fn explained(error: &Error) -> String {
    let text = match error {
        Error::Setting { name, problem } => {
            format!("{}: {problem}", flag(name, known()).unwrap_or_else(|| name.clone()))
        }
        error => error.explained(),
    };
    flagged(&text)
}

/// A text of the library with flags for the settings that it names: `--topk` for "the setting
/// `topk`", `--device cpu` for "the setting `device = cpu`".
pub(crate) fn flagged(text: &str) -> String {
    with_flags(text, known())
}

fn with_flags(text: &str, known: &[String]) -> String {
    let mut parts = text.split(SETTING);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once('`').and_then(|(setting, rest)| {
            let (name, value) = setting.split_once(" = ").unwrap_or((setting, ""));
            let space = if value.is_empty() { "" } else { " " };
            Some(format!("{}{space}{value}{rest}", flag(name, known)?))
        });
        shown += &named.unwrap_or_else(|| format!("{SETTING}{part}"));
    }
    shown
}

/// The flag of a setting, where there is one.
fn flag(setting: &str, known: &[String]) -> Option<String> {
    let name = setting.replace('_', "-");
    known.contains(&name).then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_as_the_flags_that_there_are() {
        let known = ["patch-size", "device"].map(str::to_owned);
        let shown = |text| with_flags(text, &known);
        assert_eq!(shown("leave the setting `patch_size` out"), "leave --patch-size out");
        assert_eq!(
            shown("the setting `heads`, or use the setting `device = cpu`"),
            "the setting `heads`, or use --device cpu"
        );
        let odd = "no dict `device`; the setting `device";
        assert_eq!(shown(odd), odd);
        assert_eq!(flag("views.flip", &known), None);
    }

    #[test]
    fn flags_are_those_of_the_innermost_command() {
        let arg = |name: &'static str| clap::Arg::new(name).long(name).global(false);
        let inner = Command::new("weights").arg(arg("json"));
        let check = Command::new("check").arg(arg("deep")).subcommand(inner);
        let program = Command::new("propagate").arg(arg("outer")).subcommand(check);
        let of = |line: &[&str]| flags(&program, &program.clone().get_matches_from(line));
        assert_eq!(of(&["propagate", "check", "weights"]), ["json"]);
        assert_eq!(of(&["propagate", "check"]), ["deep"]);
        assert_eq!(of(&["propagate"]), ["outer"]);
    }
}
