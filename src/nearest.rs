//! The name that somebody probably meant: what is asked about names that are not known, of
//! settings, of clips. A leaf.

/// Words less alike than this have hardly been meant for each other (Jaro and Winkler's measure,
/// from 0 to 1: one wrong letter of four gives 0.87, a word without its second half 0.9).
const ALIKE: f64 = 0.8;

/// The candidate most like `word`, the first of equally good ones, upper and lower case being the
/// same; `None` where none is much like it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let measured = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate));
    let alike = measured.filter(|(likeness, _)| *likeness >= ALIKE);
    let best = alike.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_found_and_other_words_are_not() {
        let clips = ["bike-packing", "bmx-trees", "cows", "horsejump-high", "india"];
        for (typed, meant) in [
            ("cow", Some("cows")),
            ("Cows", Some("cows")),
            ("horsejump-hihg", Some("horsejump-high")),
            ("horsejump", Some("horsejump-high")),
            ("bmx_trees", Some("bmx-trees")),
            ("libby", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, clips), meant, "{typed}");
        }
        assert_eq!(nearest("epoch", []), None);
    }

    #[test]
    fn the_first_of_equally_good_ones() {
        assert_eq!(nearest("clip-1", ["clip-2", "clip-3"]), Some("clip-2"));
    }
}
