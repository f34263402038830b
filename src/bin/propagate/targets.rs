//! What `propagate` reads, beside single files: encoders and datasets. What may be written where:
//! [`crate::common::targets`].

use std::path::{Path, PathBuf};

use anyhow::Result;
use cropmae::model::source::Source;
use cropmae::protocol::Benchmark;

use crate::args::EvaluateArgs;
pub(crate) use crate::common::targets::Inputs;
use crate::{clips, export};

impl Inputs {
    /// Adds the files of these encoders, and the lists that name them.
    pub(crate) fn with_weights(self, weights: &[Source]) -> Self {
        weights.iter().fold(self, |all, source| match source {
            Source::File(path) => all.with(&list_file(path).unwrap_or_else(|| path.clone())),
            Source::Features(folder) => all.with(folder),
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

/// Refuses what an evaluation would write over what it reads, or into the dataset's folder, which
/// is known to be one by then.
pub(crate) fn spare(benchmark: Benchmark, args: &EvaluateArgs) -> Result<()> {
    let (data, output) = (&args.data, &args.output);
    let inputs = Inputs::default()
        .with_data(benchmark, data.data.as_deref(), &data.split)
        .with_weights(&args.model.weights);
    // where nothing is said, results go there
    inputs.spare("--out", output.out.as_deref().unwrap_or(Path::new("runs")))?;
    if let Some(cache) = &output.cache {
        inputs.spare("--cache", &cache.folder)?;
    }
    export::check(&output.export, output.json, &inputs, output.out.as_deref())
}

/// The file of an `@list`.
pub(crate) fn list_file(path: &Path) -> Option<PathBuf> {
    path.to_str()?.strip_prefix('@').map(PathBuf::from)
}
