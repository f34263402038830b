//! Numbers that may be missing, on their way through JSON.
//!
//! A score of no frames is NaN here. JSON has no NaN, and a reader must not mistake the gap for
//! zero: it is stored as `null` and read back as NaN. Use it as `#[serde(with = ...)]`.

/// One number.
pub(super) mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        (!value.is_nan()).then_some(*value).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}

/// A list of numbers.
pub(super) mod numbers {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| (!value.is_nan()).then_some(*value)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(from)?;
        Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Scores {
        #[serde(with = "super::number")]
        mean: f64,
        #[serde(with = "super::numbers")]
        frames: Vec<f64>,
    }

    #[test]
    fn nan_is_null_and_comes_back_as_nan() {
        let text =
            serde_json::to_string(&Scores { mean: f64::NAN, frames: vec![0.5, f64::NAN, 0.0] })
                .unwrap();
        assert_eq!(text, r#"{"mean":null,"frames":[0.5,null,0.0]}"#);
        let back: Scores = serde_json::from_str(&text).unwrap();
        assert!(back.mean.is_nan() && back.frames[1].is_nan());
        assert_eq!((back.frames[0], back.frames[2]), (0.5, 0.0));
    }

    #[test]
    fn a_missing_field_is_an_error_and_not_nan() {
        assert!(serde_json::from_str::<Scores>(r#"{"frames":[]}"#).is_err());
    }
}
