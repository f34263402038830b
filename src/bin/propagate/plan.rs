//! From what was typed to what will be done: paths that exist, clips listed, the protocol merged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use cropmae::data::{self, Dataset, LabelClip, Need, PoseClip, Split};
use cropmae::device;
use cropmae::eval::flat_name;
use cropmae::model::source::{Choices, Loaded, Source};
use cropmae::propagation::Engine;
use cropmae::protocol::{Benchmark, InputSize, Preset, Protocol, ScoreSize};
use cropmae::report::record::{DatasetRecord, ProtocolRecord, Provenance, WeightsRecord};
use cropmae::{image, sample};
use serde_json::{Value, json};

use crate::args::{DataArgs, EvaluateArgs, ModelArgs, PropagationArgs, RunArgs, SizeArg};

/// The clips of a benchmark.
pub(crate) enum Clips {
    Masks(Dataset<LabelClip>),
    Poses(Dataset<PoseClip>),
}

impl Clips {
    /// Opens a dataset and narrows it to the clips asked for.
    pub(crate) fn open(benchmark: Benchmark, args: &DataArgs, need: Need) -> Result<Self> {
        let root = root(benchmark, args)?;
        let split = match args.split.as_str() {
            "val" => Split::Val,
            "train" => Split::Train,
            file => Split::File(PathBuf::from(file)),
        };
        Ok(match benchmark {
            Benchmark::Davis => {
                Self::Masks(narrowed(data::davis::open(&root, &split, need)?, args, |clip| {
                    &clip.name
                })?)
            }
            Benchmark::Vip => {
                Self::Masks(narrowed(data::vip::open(&root, &split, need)?, args, |c| &c.name)?)
            }
            Benchmark::Jhmdb => {
                Self::Poses(narrowed(data::jhmdb::open(&root, &split)?, args, |c| &c.name)?)
            }
        })
    }

    /// Names and frame counts.
    pub(crate) fn list(&self) -> Vec<(&str, usize)> {
        match self {
            Self::Masks(set) => set.clips.iter().map(|c| (&*c.name, c.frames.len())).collect(),
            Self::Poses(set) => set.clips.iter().map(|c| (&*c.name, c.frames.len())).collect(),
        }
    }

    /// What was decided for the user.
    pub(crate) fn notices(&self) -> &[String] {
        match self {
            Self::Masks(set) => &set.notices,
            Self::Poses(set) => &set.notices,
        }
    }

    /// How many clips the list names, narrowed or not, that cannot be opened.
    fn broken(&self) -> usize {
        match self {
            Self::Masks(set) => set.broken.len(),
            Self::Poses(set) => set.broken.len(),
        }
    }

    /// The first frame, whose size stands for the clips'.
    fn first_frame(&self) -> Option<&Path> {
        match self {
            Self::Masks(set) => set.clips.first()?.frames.first()?.image.as_deref(),
            Self::Poses(set) => set.clips.first()?.frames.first().map(PathBuf::as_path),
        }
    }

    /// The data's part of the record; `whole` is the number of clips before narrowing.
    pub(crate) fn record(&self, done: usize, frames: usize) -> Result<DatasetRecord> {
        let (root, split, labels_sha256) = match self {
            Self::Masks(set) => (&set.root, &set.split, set.label_hash()?),
            Self::Poses(set) => (&set.root, &set.split, set.label_hash()?),
        };
        let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
        let clips = self.list().len() + self.broken();
        Ok(DatasetRecord { name, split: split.clone(), clips, done, frames, labels_sha256 })
    }
}

/// Where the dataset is: `--data`, the environment, or rendered now.
fn root(benchmark: Benchmark, args: &DataArgs) -> Result<PathBuf> {
    let variable = format!("{}_ROOT", benchmark.name().to_uppercase());
    let root = args.data.clone().or_else(|| std::env::var_os(&variable).map(PathBuf::from));
    let Some(root) = root else {
        bail!("where is the dataset? Pass --data ROOT, set {variable}, or try --data sample");
    };
    if !is_sample(args) {
        return Ok(root);
    }
    let settings = sample::default_settings(benchmark);
    let root = PathBuf::from("runs/sample").join(benchmark.name());
    sample::render(&root, benchmark, &settings).context("cannot render the sample clips")?;
    Ok(root)
}

/// Whether the rendered clips are asked for.
pub(crate) fn is_sample(args: &DataArgs) -> bool {
    args.data.as_deref() == Some(Path::new("sample"))
}

fn narrowed<C>(
    mut dataset: Dataset<C>,
    args: &DataArgs,
    name: impl Fn(&C) -> &String,
) -> Result<Dataset<C>> {
    let all = dataset.clips.len() + dataset.broken.len();
    if !args.sequences.is_empty() {
        let known = |wanted: &String| {
            dataset.clips.iter().any(|clip| name(clip) == wanted)
                || dataset.broken.iter().any(|broken| broken.name == *wanted)
        };
        if let Some(unknown) = args.sequences.iter().find(|wanted| !known(wanted)) {
            let names: Vec<&str> = dataset.clips.iter().take(8).map(|c| name(c).as_str()).collect();
            bail!(
                "--sequences: no clip is called {unknown:?} in {}; there are {all}, such as {}",
                dataset.split,
                names.join(", ")
            );
        }
        dataset.clips.retain(|clip| args.sequences.contains(name(clip)));
        dataset.broken.retain(|broken| args.sequences.contains(&broken.name));
    }
    if let Some(limit) = args.limit {
        anyhow::ensure!(limit > 0, "--limit: at least one clip is needed");
        dataset.clips.truncate(limit);
        dataset.broken.truncate(limit.saturating_sub(dataset.clips.len()));
    }
    let kept = dataset.clips.len() + dataset.broken.len();
    if kept < all {
        dataset.split = format!("{kept} of {all} clips of {}", dataset.split);
    }
    Ok(dataset)
}

/// The preset with everything that was typed put over it.
pub(crate) fn protocol(benchmark: Benchmark, args: &PropagationArgs) -> Result<ProtocolRecord> {
    let preset = args.preset.protocol(benchmark)?;
    let mut used = preset.clone();
    let propagation = &mut used.propagation;
    set(&mut propagation.topk, args.topk);
    set(&mut propagation.temperature, args.temperature);
    set(&mut propagation.queue, args.queue);
    set(&mut propagation.neighborhood.radius, args.radius);
    set(&mut propagation.neighborhood.shape, args.neighborhood);
    set(&mut used.frame_filter, args.frame_filter);
    set(&mut used.score_size, args.score_size);
    set(&mut used.input_size, input_size(args));
    used.exclude_first_frame |= args.exclude_first_frame;
    used.propagation.validate()?;
    if benchmark == Benchmark::Jhmdb && used.score_size != ScoreSize::Native {
        bail!("--score-size: joints are scored in pixels of their frames; leave it out for jhmdb");
    }
    if benchmark != Benchmark::Vip && used.exclude_first_frame {
        bail!("--exclude-first-frame: only vip counts the given first frame");
    }
    let departures = used.departures(&preset);
    let (preset, version) = (args.preset.name().to_owned(), args.preset.version());
    Ok(ProtocolRecord { preset, version, used, departures })
}

fn set<T>(value: &mut T, typed: Option<T>) {
    if let Some(typed) = typed {
        *value = typed;
    }
}

fn input_size(args: &PropagationArgs) -> Option<InputSize> {
    let up = args.preset == Preset::Dinov3;
    let short = |side| match up {
        true => InputSize::ShortSideUp(side),
        false => InputSize::ShortSide(side),
    };
    let size = args.size.map(|size| match size {
        SizeArg::Exact(size) => InputSize::Exact(size),
        SizeArg::Native => InputSize::Native,
    });
    size.or(args.short_side.map(short)).or(args.long_side.map(InputSize::LongSide))
}

/// Where the encoder comes from.
pub(crate) fn source(model: &ModelArgs, sample: bool) -> Result<Source> {
    match (&model.weights, sample) {
        (Some(source), _) => Ok(source.clone()),
        // Until an encoder ships with the program, the sample is shown with the floor.
        (None, true) => Ok(Source::Pixels),
        (None, false) => bail!(
            "which encoder? Pass --weights FILE, or random:vits16@0 or pixels to try the program"
        ),
    }
}

/// What was said about the encoder.
pub(crate) fn choices(model: &ModelArgs) -> Choices {
    Choices {
        arch: model.arch.clone(),
        patch: model.patch_size,
        heads: model.heads,
        checkpoint_key: model.checkpoint_key.clone(),
        positions: model.positions,
        layer: model.layer,
    }
}

/// The device with its threads set.
pub(crate) fn open_device(args: &RunArgs) -> Result<Device> {
    if let Some(threads) = args.threads {
        anyhow::ensure!(threads > 0, "--threads: at least one thread is needed");
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    Ok(device::open(args.device)?)
}

/// Frames encoded at once.
pub(crate) fn batch(args: &RunArgs, device: &Device) -> Result<usize> {
    let batch = args.batch.unwrap_or(if device.is_cpu() { 1 } else { 8 });
    anyhow::ensure!(batch > 0, "--batch: at least one frame is needed");
    Ok(batch)
}

/// The encoder's part of the record.
pub(crate) fn weights_record(source: &Source, loaded: &Loaded, model: &ModelArgs) -> WeightsRecord {
    WeightsRecord {
        file: source.to_string(),
        sha256: loaded.sha256.clone(),
        family: loaded.family.clone(),
        arch: loaded.arch.clone(),
        layer: model.layer.to_string(),
        positions: loaded.positions,
    }
}

/// The machine's part of the record, before anything has been done.
pub(crate) fn provenance(device: &Device, dtype: &str) -> Provenance {
    Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        git_commit: env!("GIT_COMMIT").into(),
        device: device::name(device),
        dtype: dtype.into(),
        threads: rayon::current_num_threads(),
        jpeg_decoder: image::decode::decoder_name().into(),
        seconds: Default::default(),
        wall_seconds: 0.0,
        peak_memory_bytes: None,
        command: command(),
    }
}

/// The command as it was typed, the program by its name alone.
fn command() -> String {
    let quoted = |argument: String| match argument.contains([' ', '\'', '(', '[', '&']) {
        true => format!("'{}'", argument.replace('\'', r"'\''")),
        false => argument,
    };
    std::iter::once("propagate".to_owned())
        .chain(std::env::args().skip(1).map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// All that decides the results; a folder holds one of these.
pub(crate) fn identity(
    benchmark: Benchmark,
    protocol: &ProtocolRecord,
    weights: &WeightsRecord,
    provenance: &Provenance,
) -> Value {
    json!({
        "benchmark": benchmark,
        "version": provenance.version,
        "preset": format!("{} v{}", protocol.preset, protocol.version),
        "protocol": protocol.used.values(),
        "weights_sha256": weights.sha256,
        "arch": weights.arch,
        "layer": weights.layer,
        "positions": weights.positions,
        "dtype": provenance.dtype,
        "device": provenance.device.split(':').next(),
        "jpeg_decoder": provenance.jpeg_decoder,
    })
}

/// The output folder: `--out`, or one named after all that decides the results.
pub(crate) fn out(benchmark: Benchmark, args: &EvaluateArgs, identity: &Value) -> PathBuf {
    args.output.out.clone().unwrap_or_else(|| {
        let digest = sha(&format!("{identity}{:?}", data_name(&args.data)));
        let weights = identity["weights_sha256"].as_str().unwrap_or_default();
        let weights = weights.get(..8).unwrap_or(weights);
        let preset = args.propagation.preset.name();
        let name = format!("{}-{preset}-{weights}-{}", benchmark.name(), &digest[..8]);
        Path::new("runs").join(flat_name(&name))
    })
}

fn data_name(args: &DataArgs) -> Option<PathBuf> {
    let data = args.data.as_deref()?;
    Some(data.canonicalize().unwrap_or_else(|_| data.to_path_buf()))
}

fn sha(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `--dry-run` says.
pub(crate) fn describe(
    clips: &Clips,
    protocol: &Protocol,
    loaded: &Loaded,
    engine: Engine,
    out: &Path,
) -> Result<Vec<String>> {
    let list = clips.list();
    let frames: usize = list.iter().map(|(_, frames)| frames).sum();
    let mut lines = vec![format!("{} clips, {frames} frames", list.len())];
    if let Some(path) = clips.first_frame() {
        let (width, height) = image::decode::size(path)?;
        let frame = cropmae::protocol::Size { height, width };
        let patch = loaded.encoder.patch();
        let input = protocol.input_size.resolve(protocol.copy_size.unwrap_or(frame), patch)?;
        let (rows, columns) = (input.height / patch, input.width / patch);
        let cells = rows * columns;
        let context = 1 + protocol.propagation.queue;
        let bytes = context * cells * loaded.encoder.width() * 4;
        lines.push(format!("frames {frame} -> input {input} -> grid {rows}x{columns}"));
        lines.push(format!("context of {context} frames: {:.1} MiB", bytes as f64 / 1048576.0));
    }
    lines.push(format!("encoder: {} ({}), {engine:?} affinity", loaded.arch, loaded.family));
    lines.push(format!("output: {}", out.display()));
    lines.extend(list.iter().map(|(name, frames)| format!("  {name}: {frames} frames")));
    Ok(lines)
}
