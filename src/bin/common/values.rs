//! The library's enums as arguments: their names are what is typed, and the documentation of their
//! values is the help.

use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use strum::{EnumMessage, ParseError, VariantArray};

/// Takes one of the names of `T`; the help says what each of them means.
pub(crate) fn value_of<T>() -> impl TypedValueParser<Value = T>
where
    T: Copy + EnumMessage + FromStr<Err = ParseError> + Into<&'static str> + VariantArray,
    T: Send + Sync,
{
    let shown = |value: &T| PossibleValue::new((*value).into()).help(meaning(value));
    let values = T::VARIANTS.iter().map(shown);
    PossibleValuesParser::new(values).try_map(|name| name.parse::<T>())
}

/// A value's documentation on one line, without the full stop: as clap shows it of its own enums.
fn meaning(value: &impl EnumMessage) -> String {
    let words = value.get_documentation().unwrap_or_default().split_whitespace();
    let line = words.collect::<Vec<_>>().join(" ");
    line.strip_suffix('.').unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use cropmae::autoencoder::Method;
    use cropmae::image::resize::FrameFilter;
    use cropmae::model::config::PositionRule;
    use cropmae::pretrain::samples::Kind;
    use cropmae::pretrain::views::Strategy;
    use cropmae::propagation::Shape;
    use cropmae::protocol::{Benchmark, Preset};
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    fn same_in_files<T>()
    where
        T: Copy + FromStr<Err = ParseError> + Into<&'static str> + VariantArray + Serialize,
        T: PartialEq + std::fmt::Debug,
    {
        for value in T::VARIANTS {
            let name: &str = (*value).into();
            assert_eq!(json!(value), json!(name));
            assert_eq!(name.parse(), Ok(*value));
        }
    }

    #[test]
    fn what_is_typed_is_what_files_hold() {
        same_in_files::<Benchmark>();
        same_in_files::<FrameFilter>();
        same_in_files::<Kind>();
        same_in_files::<Method>();
        same_in_files::<PositionRule>();
        same_in_files::<Preset>();
        same_in_files::<Shape>();
        same_in_files::<Strategy>();
    }

    #[test]
    fn the_documentation_is_the_help() {
        assert_eq!(
            meaning(&Shape::Circle),
            "Cells at a Euclidean distance below the radius (CropMAE, videowalk)"
        );
        // written over two lines
        assert!(meaning(&Preset::Crw).ends_with("top-k 10, temperature 0.05, circle < 12"));
        assert!(meaning(&Preset::Cropmae).contains("top-k 7 (VIP 10), temperature 0.7"));
    }
}
