//! What `propagate` reads, beside single files: encoders and datasets. What may be written where:
//! [`crate::common::targets`].

use std::path::{Path, PathBuf};

use cropmae::model::source::Source;
use cropmae::protocol::Benchmark;

use crate::clips;
pub(crate) use crate::common::targets::Inputs;

impl Inputs {
    /// Adds the files of these encoders, and the lists that name them.
    pub(crate) fn with_weights(self, weights: &[Source]) -> Self {
        weights.iter().fold(self, |all, source| match source {
            Source::File(path) => all.with(&list_file(path).unwrap_or_else(|| path.clone())),
            _ => all,
        })
    }

    /// Adds a dataset's folder and, where it is a file, the list of its clips.
    pub(crate) fn with_data(self, benchmark: Benchmark, data: Option<&Path>, split: &str) -> Self {
        let list = Path::new(split);
        let all = if list.is_file() { self.with(list) } else { self };
        match clips::folder(benchmark, data) {
            Some(root) => all.with(&root),
            None => all,
        }
    }
}

/// The file of an `@list`.
pub(crate) fn list_file(path: &Path) -> Option<PathBuf> {
    path.to_str()?.strip_prefix('@').map(PathBuf::from)
}
