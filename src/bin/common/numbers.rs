//! Numbers as arguments: what is none, or lies outside of the possible ones, is answered with what
//! is needed, not with what went wrong in reading it.

use std::num::IntErrorKind;
use std::ops::{Bound, RangeBounds};

/// Takes a whole number in `range`.
pub(crate) fn whole<T>(
    range: impl RangeBounds<u64> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    move |text| {
        let number = text.parse::<u64>();
        let beyond = number.as_ref().is_err_and(|error| *error.kind() == IntErrorKind::PosOverflow);
        let fits = number.ok().filter(|number| range.contains(number));
        let fits = fits.and_then(|number| T::try_from(number).ok());
        fits.ok_or_else(|| format!("a whole number {} is needed", words(&range, beyond)))
    }
}

/// The range in words; its end only where there is one, or the number was `beyond` all.
fn words(range: &impl RangeBounds<u64>, beyond: bool) -> String {
    let least = match range.start_bound() {
        Bound::Included(least) => *least,
        Bound::Excluded(below) => below.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match range.end_bound() {
        Bound::Included(most) => format!("from {least} to {most}"),
        Bound::Excluded(above) => format!("from {least} to {}", above.saturating_sub(1)),
        Bound::Unbounded if beyond => format!("from {least} to {}", u64::MAX),
        Bound::Unbounded => format!("from {least}"),
    }
}

/// Takes a number; which of them make sense, the library says.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "a number such as 0.5 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_said() {
        let refused = |text: &str| whole::<u16>(1..=64)(text).unwrap_err();
        for text in ["x", "", "0", "65", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(refused(text), "a whole number from 1 to 64 is needed", "{text}");
        }
        assert_eq!(whole::<u16>(1..=64)("64"), Ok(64));
        let from = |text: &str| whole::<usize>(1..)(text);
        assert_eq!(from("18446744073709551615"), Ok(usize::MAX));
        assert_eq!(from("0").unwrap_err(), "a whole number from 1 is needed");
        let beyond = "a whole number from 1 to 18446744073709551615 is needed";
        assert_eq!(from("18446744073709551616").unwrap_err(), beyond);
        assert_eq!(number("1e-3"), Ok(1e-3));
        assert!(number("many").unwrap_err().contains("a number"));
    }

    /// Every argument of this program that takes a number takes it so.
    #[test]
    fn no_flag_speaks_of_digits() {
        use clap::error::ErrorKind;
        use clap::{Command, CommandFactory};
        let program = crate::args::Cli::command();
        let mut refused = Vec::new();
        let mut commands: Vec<(Vec<&str>, &Command)> = vec![(vec!["program"], &program)];
        while let Some((line, command)) = commands.pop() {
            for inner in command.get_subcommands() {
                commands.push(([&line[..], &[inner.get_name()]].concat(), inner));
            }
            let flags = command.get_arguments().filter_map(clap::Arg::get_long);
            for flag in flags.map(|flag| format!("--{flag}=x")) {
                let line = [&line[..], &[&flag]].concat();
                let parsed = program.clone().try_get_matches_from(line);
                let error = parsed.err().filter(|it| it.kind() == ErrorKind::ValueValidation);
                refused.extend(error.map(|error| error.to_string()));
            }
        }
        let count = refused.iter().filter(|text| text.contains("a whole number from ")).count();
        assert!(count > 9, "{refused:?}");
        for text in refused {
            for word in ["digit", "float", "is not in "] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }
}
