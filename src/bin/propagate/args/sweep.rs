//! `--sweep`: values for those flags that do not change the features, parsed as the flags parse
//! them.

use std::str::FromStr;

use clap::{CommandFactory, Parser};

use super::AffinityArgs;

/// The values of one setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// The flag without its dashes.
    pub(crate) name: String,
    /// The values as typed, each with what it makes of the settings.
    pub(crate) values: Vec<(String, AffinityArgs)>,
}

/// A flag by itself.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Flag {
    #[command(flatten)]
    affinity: AffinityArgs,
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (typed, values) =
            text.split_once('=').ok_or("write NAME=VALUE,VALUE, for example topk=5,7,10")?;
        let name = flag(typed)?;
        let values = values.split(',').map(|value| {
            let parsed = Flag::try_parse_from([format!("--{name}={value}")]);
            let parsed = parsed.map_err(|error| message(&error))?;
            Ok((value.to_owned(), parsed.affinity))
        });
        let values = values.collect::<Result<Vec<_>, String>>()?;
        let twice = |i: usize| values[..i].iter().any(|(_, earlier)| *earlier == values[i].1);
        match (0..values.len()).find(|&i| twice(i)) {
            Some(i) => Err(format!("{name} {} is given twice", values[i].0)),
            None => Ok(Self { name, values }),
        }
    }
}

/// The flag that a name or an old spelling of it stands for.
fn flag(typed: &str) -> Result<String, String> {
    let command = Flag::command();
    let known = |arg: &&clap::Arg| {
        let old = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(typed) || old.contains(&typed)
    };
    let found = command.get_arguments().find(known).and_then(clap::Arg::get_long);
    found.map(str::to_owned).ok_or_else(|| {
        let names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        format!("cannot sweep {typed:?}; a sweep takes {}", names.join(", "))
    })
}

/// What a flag says of a value, in one line.
fn message(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_flags_read_them() {
        let axis: Axis = "n_last_frames=7,20".parse().unwrap();
        assert_eq!(axis.name, "queue");
        let queues: Vec<_> = axis.values.iter().map(|(_, args)| args.queue).collect();
        assert_eq!(queues, [Some(7), Some(20)]);
        let refused = |text: &str| text.parse::<Axis>().unwrap_err();
        assert!(refused("topk=5,many").contains("'many' for '--topk <K>': a whole number"));
        assert!(refused("topk=5,").contains("--topk <K>"), "{}", refused("topk=5,"));
        let shape = refused("neighborhood=round");
        assert!(shape.contains("--neighborhood") && shape.contains("circle-inclusive"), "{shape}");
        let unknown = refused("size=480x880");
        assert!(unknown.contains("\"size\"") && unknown.contains("topk, radius"), "{unknown}");
        assert!(refused("topk").contains("NAME=VALUE"));
        assert_eq!(refused("radius=12,12.0"), "radius 12.0 is given twice");
    }
}
