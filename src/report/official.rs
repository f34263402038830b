//! The clips that published numbers are of, and what a run over others is called: two clips of
//! DAVIS-2017 are not DAVIS-2017.

use super::record::DatasetRecord;
use crate::protocol::Benchmark;
use crate::wording::counted;

/// How many clips published numbers are of, and in words which ones.
fn clips(benchmark: Benchmark) -> (usize, &'static str) {
    match benchmark {
        Benchmark::Davis => (30, "the 30 sequences of DAVIS-2017 val"),
        Benchmark::Vip => (50, "the 50 videos of VIP val"),
        Benchmark::Jhmdb => (268, "the 268 clips of JHMDB's test split 1"),
    }
}

/// Why scores of these clips are not to be compared with published ones; nothing where they are as
/// many as those.
pub(super) fn lacking(benchmark: Benchmark, dataset: &DatasetRecord) -> Option<String> {
    let (count, words) = clips(benchmark);
    let whole = (dataset.done, dataset.clips) == (count, count);
    let done = counted(dataset.done, "clip");
    (!whole).then(|| format!("they are of {words}, this run is of {done}"))
}

/// What was scored: the benchmark's name where the list `(name, listed)` has as many clips as the
/// benchmark, else what the list is called, and the number of clips.
pub(super) fn scored(benchmark: Benchmark, (name, listed): (&str, usize), done: usize) -> String {
    match (listed == clips(benchmark).0, done == listed) {
        (true, true) => format!("{benchmark}, {}", counted(done, "clip")),
        (true, false) => format!("{benchmark}, {done} of {}", counted(listed, "clip")),
        (false, _) => format!("{name}, {} in the layout of {benchmark}", counted(done, "clip")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_benchmarks_clips_bear_its_name() {
        let davis = |listed, done| {
            let (name, split) = ("mine".to_owned(), "val".to_owned());
            let set =
                DatasetRecord { name, split, clips: listed, done, frames: 9, labels_sha256: None };
            let lacking = lacking(Benchmark::Davis, &set);
            (scored(Benchmark::Davis, (&set.name, listed), done), lacking.is_some())
        };
        assert_eq!(davis(30, 30), ("DAVIS-2017, 30 clips".to_owned(), false));
        assert_eq!(davis(30, 2), ("DAVIS-2017, 2 of 30 clips".to_owned(), true));
        let two = "mine, 2 clips in the layout of DAVIS-2017".to_owned();
        assert_eq!(davis(2, 2), (two, true));
        let one = "mine, 1 clip in the layout of DAVIS-2017".to_owned();
        assert_eq!(davis(2, 1), (one, true));
    }
}
