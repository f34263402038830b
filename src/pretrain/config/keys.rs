//! Values by their keys: whether a table fits a configuration, and what to say where it does not.
//!
//! A configuration as a table has every key with a value of the right type, so it is what others
//! are held against. What is left for serde to refuse are words that are none of an enum's.

use toml::{Table, Value};

use crate::nearest::nearest;

/// Names of other settings that are worth showing.
const SHOWN: usize = 3;
/// How a single setting is written.
pub(super) const FORM: &str = "write key=value, for example views.flip=0";

/// What is wrong with `over`, whose values are to take the place of those of `base`: a key that is
/// not there, or a value of another type.
pub(super) fn misfit(base: &Table, over: &Table) -> Option<String> {
    misfit_below(base, base, over, "")
}

fn misfit_below(whole: &Table, base: &Table, over: &Table, above: &str) -> Option<String> {
    over.iter().find_map(|(key, value)| {
        let path = format!("{above}{key}");
        match (base.get(key), value) {
            (None, _) => Some(unknown(whole, &path)),
            (Some(Value::Table(base)), Value::Table(over)) => {
                misfit_below(whole, base, over, &format!("{path}."))
            }
            (Some(Value::Table(base)), _) => {
                let names: Vec<String> = base.keys().map(|key| format!("{path}.{key}")).collect();
                Some(format!("{path} is a group of settings: {}", names.join(", ")))
            }
            (Some(wanted), value) => wrong_type(wanted, value)
                .map(|need| format!("{path} needs {need}, not {}", inline(value))),
        }
    })
}

/// What a value's type should be, where it is another one than that of `wanted`.
fn wrong_type(wanted: &Value, value: &Value) -> Option<String> {
    let (fits, need) = match wanted {
        Value::Integer(_) => {
            let from = if is_number(value) { " from 0 on" } else { "" };
            (is_whole(value), format!("a whole number{from}"))
        }
        Value::Float(_) => (is_number(value), "a number".to_owned()),
        Value::Boolean(_) => (value.is_bool(), "true or false".to_owned()),
        Value::Array(wanted) => {
            let whole = wanted.iter().all(|it| matches!(it, Value::Integer(_)));
            let fits = value.as_array().is_some_and(|values| {
                let each = if whole { is_whole } else { is_number };
                values.len() == wanted.len() && values.iter().all(each)
            });
            let what = if whole { "whole numbers" } else { "numbers" };
            let example = inline(&Value::Array(wanted.clone()));
            (fits, format!("{} {what}, such as {example}", wanted.len()))
        }
        _ => (value.is_str(), "a word".to_owned()),
    };
    (!fits).then_some(need)
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Integer(_) | Value::Float(_))
}

fn is_whole(value: &Value) -> bool {
    matches!(value, Value::Integer(0..))
}

/// A value as it is written in TOML, in one line.
fn inline(value: &Value) -> String {
    value.to_string().trim().replace('\n', " ")
}

/// That there is no such key, and which ones may have been meant.
fn unknown(whole: &Table, path: &str) -> String {
    let meant = meant(whole, path);
    match meant.is_empty() {
        true => format!("there is no setting {path}; the setting `show_config` lists all"),
        false => format!("there is no setting {path}; did you mean {}?", meant.join(" or ")),
    }
}

/// The keys that somebody probably meant: of the same last name, of nearly the same name, or with
/// that name in theirs.
fn meant(whole: &Table, path: &str) -> Vec<String> {
    let keys: Vec<String> = flat(whole).into_iter().map(|(key, _)| key).collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        keys.iter().filter(|key| wanted(&last(key))).take(SHOWN).cloned().collect()
    };
    let typed = last(path);
    let same = named(&|key| key == typed);
    if !same.is_empty() {
        return same;
    }
    let groups = whole.iter().filter(|(_, value)| value.is_table()).map(|(key, _)| key);
    if let Some(key) = nearest(path, keys.iter().chain(groups).map(String::as_str)) {
        return vec![key.to_owned()];
    }
    let lasts: Vec<String> = keys.iter().map(|key| last(key)).collect();
    match nearest(&typed, lasts.iter().map(String::as_str)) {
        Some(found) => named(&|key| key == found),
        None if typed.len() > 2 => named(&|key| key.contains(&typed)),
        None => Vec::new(),
    }
}

/// All values by their whole keys, `views.flip`, in the order of the table.
pub(super) fn flat(table: &Table) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flat(inner).into_iter();
                found.extend(inner.map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => found.push((key.clone(), value)),
        }
    }
    found
}

/// How to write `setting`, which has no value: with the value that the key has now.
pub(super) fn without_value(whole: &Table, setting: &str) -> String {
    let key = setting.trim();
    if key.is_empty() {
        return FORM.to_owned();
    }
    let values = flat(whole);
    let with_value = |wanted: &str| {
        let (_, value) = values.iter().find(|(key, _)| key == wanted)?;
        Some(match value {
            Value::String(word) => format!("{wanted}={word}"),
            value => format!("{wanted}={}", inline(value)),
        })
    };
    let meant = || meant(whole, key).first().and_then(|key| with_value(key));
    match with_value(key) {
        Some(written) => format!("{key} has no value; write {written}"),
        None => match meant() {
            Some(written) => format!("{key} has no value; write for example {written}"),
            None => format!("{key} has no value; {FORM}"),
        },
    }
}

/// Puts the values of `over` in place of those of `base`, tables into tables.
pub(super) fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            // a whole number where a fraction is kept: 0 for 0.0
            (Some(Value::Float(base)), Value::Integer(value)) => *base = *value as f64,
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What serde says of a word that is none of an enum's, in plain words; anything else as it is.
pub(super) fn plain(said: &str) -> String {
    let quoted = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let parts = said.strip_prefix("unknown variant ").and_then(|it| it.split_once(", expected"));
    let Some((word, names)) = parts.map(|(word, names)| (quoted(word).concat(), quoted(names)))
    else {
        return said.trim().replace('\n', " ");
    };
    let meant = nearest(&word, names.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
    format!("{word} is not one of {}{meant}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Preset};

    fn refused(changed: impl Fn(&Config) -> crate::Result<Config>) -> String {
        changed(&Preset::CropmaeIn.config()).unwrap_err().to_string()
    }

    #[test]
    fn keys_that_are_not_there_bring_the_ones_that_are() {
        for (setting, said) in [
            ("views.flop=0", "there is no setting views.flop; did you mean views.flip?"),
            ("flip=0", "did you mean views.flip?"),
            ("epoch=3", "did you mean epochs?"),
            ("batchsize=3", "did you mean optimization.batch_size?"),
            ("encoder.dept=3", "did you mean encoder.depth?"),
            ("viewz=3", "did you mean views?"),
            ("heads=3", "did you mean decoder.heads or encoder.heads?"),
            (
                "learning_rate=3",
                "did you mean optimization.base_learning_rate or optimization.minimum_learning_rate?",
            ),
            ("zebra=red", "there is no setting zebra; the setting `show_config` lists all"),
        ] {
            let error = refused(|config| config.with_setting(setting));
            assert!(error.starts_with(setting) && error.ends_with(said), "{error}");
        }
    }

    #[test]
    fn values_of_another_type_are_told_in_plain_words() {
        for (setting, said) in [
            ("epochs=many", "epochs needs a whole number, not \"many\""),
            ("epochs=3.5", "epochs needs a whole number from 0 on, not 3.5"),
            ("epochs=-3", "epochs needs a whole number from 0 on, not -3"),
            ("masking_ratio=high", "masking_ratio needs a number, not \"high\""),
            ("normalize_target=1", "normalize_target needs true or false, not 1"),
            ("method=3", "method needs a word, not 3"),
            (
                "views.aspect=1",
                "views.aspect needs 2 numbers, such as [0.75, 1.3333333333333333], not 1",
            ),
            ("views.aspect=[1]", "needs 2 numbers, such as"),
            ("reading.frame_gap=[1, 2.5]", "needs 2 whole numbers, such as [4, 47], not [1, 2.5]"),
            ("views.strategy=same-view", "same-view is not one of "),
            ("views.strategy=same-view", "; did you mean same-views?"),
            ("method=simsiam", "simsiam is not one of cropmae, siammae, mae"),
            ("encoder=3", "encoder is a group of settings: encoder."),
            ("views.flip.most=1", "views.flip needs a number"),
            ("=3", "write key=value, for example views.flip=0"),
        ] {
            let error = refused(|config| config.with_setting(setting));
            assert!(error.starts_with(setting) && error.contains(said), "{error}");
        }
        let changed = Preset::CropmaeIn.config().with_setting("views.aspect=[1, 2]").unwrap();
        assert_eq!(changed.views.aspect, [1.0, 2.0]);
    }

    #[test]
    fn a_setting_without_a_value_is_shown_with_one() {
        for (setting, said) in [
            ("masking_ratio", "set: masking_ratio has no value; write masking_ratio=0.985"),
            ("method", "set: method has no value; write method=cropmae"),
            ("flip", "set: flip has no value; write for example views.flip=0.5"),
            ("", "set: write key=value, for example views.flip=0"),
            ("zebra", "set: zebra has no value; write key=value, for example views.flip=0"),
        ] {
            assert_eq!(refused(|config| config.with_setting(setting)), said);
        }
    }

    #[test]
    fn a_file_names_itself_and_the_line() {
        let file = |text: &str| refused(|config| config.with_toml("my.toml", text));
        assert_eq!(
            file("[views]\nflop = 0"),
            "my.toml: there is no setting views.flop; did you mean views.flip?"
        );
        let error = file("epochs = 3\n[views\n");
        assert!(error.starts_with("my.toml: line 2 is not TOML: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
