//! Turns arguments into a plan: the complete protocol, the encoder, the device and the output
//! folder.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::Device;
use cropmae::data::{Clip, Opened};
use cropmae::device;
use cropmae::eval::{Batch, flat_name};
use cropmae::image::{self, resize::FrameFilter};
use cropmae::model::encoder::Encoder;
use cropmae::model::source::{Choices, Loaded, Source};
use cropmae::model::weights::assumed_heads;
use cropmae::propagation::{Arithmetic, Engine};
use cropmae::protocol::{self, Benchmark, InputSize, Preset, Protocol, ScoreSize, Size};
use cropmae::report::record::{ProtocolRecord, Provenance, WeightsRecord};
use cropmae::wording::counted;
use serde_json::{Value, json};

use crate::args::{BatchArg, DataArgs, ModelArgs, OutputArgs, ProtocolArgs, RunArgs, SizeArg};
use crate::clips::folder_name;
use crate::common;
use crate::common::flags::flagged;
use crate::common::usage::usage;
use crate::show::Notes;

/// The preset with everything that was typed put over it: `--set`, then the flags.
pub(crate) fn protocol(
    benchmark: Benchmark,
    args: &ProtocolArgs,
) -> Result<(Protocol, ProtocolRecord)> {
    let preset = args.preset.protocol(benchmark)?;
    let mut used =
        args.settings.iter().try_fold(preset, |used, setting| used.with_setting(setting))?;
    let propagation = &mut used.propagation;
    set(&mut propagation.topk, args.affinity.topk);
    set(&mut propagation.temperature, args.affinity.temperature);
    set(&mut propagation.queue, args.affinity.queue);
    set(&mut propagation.neighborhood.radius, args.affinity.radius);
    set(&mut propagation.neighborhood.shape, args.affinity.neighborhood);
    set(&mut used.frame_filter, args.frame_filter);
    set(&mut used.score_size, args.score_size);
    set(&mut used.input_size, input_size(args));
    used.exclude_first_frame |= args.exclude_first_frame;
    used.propagation.validate()?;
    if !benchmark.has_masks() && used.score_size != ScoreSize::Native {
        bail!(usage!(
            "--score-size: joints are scored in pixels of their frames; leave it out for jhmdb"
        ));
    }
    if benchmark != Benchmark::Vip && used.exclude_first_frame {
        bail!(usage!("--exclude-first-frame: only vip counts the given first frame"));
    }
    let record = ProtocolRecord::of_run(args.preset, &used)?;
    Ok((used, record))
}

fn set<T>(value: &mut T, typed: Option<T>) {
    if let Some(typed) = typed {
        *value = typed;
    }
}

fn input_size(args: &ProtocolArgs) -> Option<InputSize> {
    let up = args.preset == Preset::Dinov3;
    let short = |side| match up {
        true => InputSize::ShortSideUp(side),
        false => InputSize::ShortSide(side),
    };
    let size = args.size.map(exact_or_native);
    size.or(args.short_side.map(short)).or(args.long_side.map(InputSize::LongSide))
}

fn exact_or_native(size: SizeArg) -> InputSize {
    match size {
        SizeArg::Exact(size) => InputSize::Exact(size),
        SizeArg::Native => InputSize::Native,
    }
}

/// How single images are prepared: as the preset `cropmae` does, in this size and by this filter.
pub(crate) fn protocol_of_images(frame_filter: FrameFilter, size: SizeArg) -> Result<Protocol> {
    let mut protocol = Preset::Cropmae.protocol(Benchmark::Davis)?;
    protocol.frame_filter = frame_filter;
    protocol.input_size = exact_or_native(size);
    Ok(protocol)
}

/// Where the encoder comes from.
pub(crate) fn source(model: &ModelArgs, sample: bool) -> Result<Source> {
    match (&*model.weights, sample) {
        ([source], _) => Ok(source.clone()),
        ([_, ..], _) => bail!(usage!("--weights: only davis, vip and jhmdb take several encoders")),
        ([], true) => Ok(Source::Sample),
        ([], false) => bail!(usage!(
            "which encoder? Pass --weights FILE or features:DIR, or sample, random:vits16@0 or pixels to try the program"
        )),
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
        implementation: model.encoder,
    }
}

/// The device of a verb that needs just one; `main` has set its threads.
pub(crate) fn open_device(args: &RunArgs, say: &Notes) -> Result<Device> {
    anyhow::ensure!(args.device.len() == 1, usage!("--device: this takes one device"));
    Ok(open_devices(args, say)?.remove(0))
}

/// The devices, at least one and all of a kind; why `auto` takes no GPU is said.
pub(crate) fn open_devices(args: &RunArgs, say: &Notes) -> Result<Vec<Device>> {
    anyhow::ensure!(!args.device.is_empty(), usage!("--device: at least one device is needed"));
    let devices: Vec<Device> = args
        .device
        .iter()
        .map(|choice| device::open(*choice, args.dtype, &|line| say.line(line)))
        .collect::<cropmae::Result<_>>()?;
    let cpus = devices.iter().filter(|device| device.is_cpu()).count();
    let mixed = cpus != 0 && cpus != devices.len();
    anyhow::ensure!(
        !mixed,
        usage!("--device: CPU and GPU differ in the last digits; use one kind")
    );
    Ok(devices)
}

/// The most memory of a GPU that frames being encoded may take: more frames do not fill it better.
const ROOM: u64 = 1500 << 20;
/// The most frames that auto encodes at once.
const MOST: u64 = 8;

/// Frames encoded at once: `clips` frames of the size `input` on each device.
pub(crate) fn batch(
    asked: BatchArg,
    devices: &[Device],
    encoder: &Encoder,
    input: Option<Size>,
    clips: usize,
) -> Batch {
    let bytes_per_frame = match (asked, input) {
        (BatchArg::Frames(frames), _) => return Batch::fixed(frames),
        (BatchArg::Auto, _) if encoder.device().is_cpu() => return Batch::fixed(1),
        (BatchArg::Auto, None) => 1,
        (BatchArg::Auto, Some(size)) => encoder.bytes_per_frame(size.height, size.width),
    };
    let free = devices.iter().filter_map(device::free_memory).min();
    Batch::fitting(fitting(free, bytes_per_frame * clips as u64))
}

/// The largest power of two of frames for which there is room.
fn fitting(free: Option<u64>, bytes_per_frame: u64) -> usize {
    let room = free.map_or(ROOM, |free| ROOM.min(free / 2));
    let frames = (room / bytes_per_frame.max(1)).clamp(1, MOST);
    1 << frames.ilog2()
}

/// How the affinity was computed, in words; none where it was as always. Tensor operations step in
/// where the kernel cannot do a clip, or failed its trial, and are slower: the record says so.
pub(crate) fn affinity(
    (engine, device): (Engine, &Device),
    protocol: &Value,
    grid: Option<(usize, usize)>,
) -> Option<String> {
    let by_operations = || Some("f32 by tensor operations".into());
    let precision = match engine {
        Engine::Tiled => return None,
        Engine::TensorOps => return by_operations(),
        Engine::Fused(precision) => precision,
    };
    let settings = Protocol::from_values(protocol).ok().map(|protocol| protocol.propagation);
    let fitting = |(settings, grid)| engine.fitting(&settings, grid, device).ok();
    let by = settings.zip(grid).and_then(fitting);
    match (by, precision) {
        (Some(Engine::TensorOps), _) => by_operations(),
        (_, Arithmetic::F32) => None,
        (_, other) => Some(other.name().into()),
    }
}

/// The encoder's part of the record.
pub(crate) fn weights_record(source: &Source, loaded: &Loaded, model: &ModelArgs) -> WeightsRecord {
    let guessed = loaded.heads.filter(|_| loaded.heads_guessed);
    let guessed = guessed.map(|heads| flagged(&assumed_heads(heads, loaded.encoder.width())));
    let place = match source {
        Source::File(path) | Source::Features(path) => std::path::absolute(path).ok(),
        _ => None,
    };
    WeightsRecord {
        file: source.to_string(),
        place,
        sha256: loaded.sha256.clone(),
        family: loaded.family.clone(),
        arch: loaded.arch.clone(),
        layer: model.layer.to_string(),
        positions: loaded.positions,
        heads: loaded.heads,
        checkpoint_key: model.checkpoint_key.clone(),
        dictionary: loaded.dictionary.clone(),
        chosen: loaded.chosen.clone(),
        notes: guessed.into_iter().collect(),
    }
}

/// The machine's part of the record, before anything has been done.
pub(crate) fn provenance(devices: &[Device], dtype: Option<&str>) -> Provenance {
    Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        git_commit: env!("GIT_COMMIT").into(),
        device: devices.iter().map(device::name).collect::<Vec<_>>().join(","),
        dtype: dtype.map(Into::into),
        threads: rayon::current_num_threads(),
        jpeg_decoder: image::decode::decoder_name().into(),
        encoder: None,
        affinity: None,
        seconds: Default::default(),
        wall_seconds: 0.0,
        resumed: 0,
        peak_memory_bytes: None,
        command: common::command("propagate"),
    }
}

/// Which data: the folder's name with a hash of where it lies, and the list.
pub(crate) fn data(clips: &Opened, args: &DataArgs) -> Value {
    let root = clips.overview().root;
    let place = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let hash = protocol::hash(&json!(place.to_string_lossy()));
    let list = Path::new(&args.split).file_name().unwrap_or_default().to_string_lossy();
    json!(format!("{} ({}), {list}", folder_name(&place), &hash[..8]))
}

/// All that decides the results; a folder holds one of these.
pub(crate) fn identity(
    protocol: &ProtocolRecord,
    weights: &WeightsRecord,
    provenance: &Provenance,
    data: &Value,
) -> Value {
    let mut identity = json!({
        "benchmark": protocol.benchmark,
        "data": data,
        "version": provenance.version,
        "preset": format!("{} v{}", protocol.preset, protocol.version),
        "protocol": protocol.values,
        "weights_sha256": weights.sha256,
        "arch": weights.arch,
        "layer": weights.layer,
        "positions": weights.positions,
        "dtype": provenance.dtype,
        "device": provenance.device.split(':').next(),
        "jpeg_decoder": provenance.jpeg_decoder,
    });
    // what is as always has no entry, so that folders of earlier versions are taken up
    if let Some(key) = &weights.checkpoint_key {
        identity["checkpoint_key"] = json!(key);
    }
    if let Some(encoder) = provenance.encoder.as_ref().filter(|encoder| *encoder != "fused") {
        identity["encoder"] = json!(encoder);
    }
    if let Some(affinity) = &provenance.affinity {
        identity["affinity"] = json!(affinity);
    }
    identity
}

/// The output folder: `--out`, or one named after the encoder and all that decides the results.
pub(crate) fn out(
    args: &OutputArgs,
    protocol: &ProtocolRecord,
    weights: &WeightsRecord,
    identity: &Value,
) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let weights = short_name(&weights.file);
        let (benchmark, preset) = (protocol.benchmark.name(), &protocol.preset);
        let settings = &protocol::hash(identity)[..8];
        Path::new("runs").join(flat_name(&format!("{benchmark}-{preset}-{weights}-{settings}")))
    })
}

/// What an encoder is called in a folder's name: its file's name without the ending, as far as it
/// is plain, and not all of a long one. The hash of the settings tells encoders apart.
fn short_name(file: &str) -> String {
    const LONGEST: usize = 40;
    let ending = [".safetensors", ".pth", ".pt"].iter().find_map(|it| file.strip_suffix(it));
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    ending.unwrap_or(file).chars().map(plain).take(LONGEST).collect()
}

/// All that decides what features are made of a frame.
pub(crate) fn features_key(
    protocol: &Protocol,
    weights: &WeightsRecord,
    provenance: &Provenance,
    model: &ModelArgs,
    batch: usize,
) -> Value {
    json!({
        "preprocessing": protocol.preprocessing(),
        "weights_sha256": weights.sha256,
        // which a file beside the weights may tell, and with it the epsilon of norms
        "family": weights.family,
        "checkpoint_key": model.checkpoint_key,
        "arch": weights.arch,
        "layer": weights.layer,
        "positions": weights.positions,
        "dtype": provenance.dtype,
        // sums of products come out in another order, and so with other last bits
        "encoder": provenance.encoder,
        "device": provenance.device.split(':').next(),
        "batch": batch,
        "jpeg_decoder": provenance.jpeg_decoder,
        "version": provenance.version,
        "git_commit": provenance.git_commit,
    })
}

/// The size of the first frame, the encoder's input for it, and the grid of patches; none where
/// there is no clip.
pub(crate) fn grid(
    clips: &Opened,
    protocol: &Protocol,
    patch: usize,
) -> Result<Option<(Size, Size, [usize; 2])>> {
    let Some(path) = clips.overview().image(0) else { return Ok(None) };
    let (width, height) = image::decode::size(path)?;
    let frame = Size { height, width };
    let input = protocol.input(frame, patch)?;
    Ok(Some((frame, input, input.grid(patch).into())))
}

/// What features on disk take, in words; `frames` is how many there are at once.
pub(crate) fn features_size(
    clips: &Opened,
    protocol: &Protocol,
    loaded: &Loaded,
    frames: usize,
) -> Result<String> {
    let encoder = &loaded.encoder;
    let [rows, columns] =
        grid(clips, protocol, encoder.patch())?.map_or([0; 2], |(_, _, grid)| grid);
    let bytes = (4 * rows * columns * encoder.width()) as f64;
    let words = |bytes: f64| match bytes {
        1073741824.0.. => format!("{:.1} GiB", bytes / 1073741824.0),
        1048576.0.. => format!("{:.1} MiB", bytes / 1048576.0),
        _ => format!("{:.0} KiB", bytes / 1024.0),
    };
    let all = counted(frames, "frame");
    Ok(format!("{} a frame, {} for {all}", words(bytes), words(bytes * frames as f64)))
}

/// What `--dry-run` says.
pub(crate) fn describe(
    clips: &Opened,
    protocol: &Protocol,
    loaded: &Loaded,
    engine: Engine,
    out: &Path,
) -> Result<Vec<String>> {
    let list = clips.overview();
    let frames = list.frames();
    let (whole, asked) = (list.clips.len(), list.asked());
    let mut lines = vec![match whole == asked {
        true => format!("{}, {}", counted(whole, "clip"), counted(frames, "frame")),
        false => format!(
            "{whole} of {}, {}; `propagate check` says why",
            counted(asked, "clip"),
            counted(frames, "frame")
        ),
    }];
    let grid = grid(clips, protocol, loaded.encoder.patch())?;
    let mut engine = engine;
    if let Some((frame, input, [rows, columns])) = grid {
        let device = loaded.encoder.device();
        engine = engine.fitting(&protocol.propagation, (rows, columns), device)?;
        let context = protocol.propagation.queue.saturating_add(1);
        let bytes = (4 * rows * columns * loaded.encoder.width()) as f64 * context as f64;
        lines.push(format!("frames {frame} -> input {input} -> grid {rows}x{columns}"));
        lines.push(format!(
            "context of {}: {:.1} MiB",
            counted(context, "frame"),
            bytes / 1048576.0
        ));
    }
    let by = loaded.encoder.implementation().map_or(String::new(), |by| format!(", {by}"));
    lines.push(format!("encoder: {} ({}{by}), {engine:?} affinity", loaded.arch, loaded.family));
    lines.push(format!("output: {}", out.display()));
    let clip =
        |clip: &&dyn Clip| format!("  {}: {}", clip.name(), counted(clip.frame_count(), "frame"));
    lines.extend(list.clips.iter().map(clip));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_what_there_is_room_for() {
        assert_eq!(fitting(Some(u64::MAX), 1), 8);
        assert_eq!(fitting(None, ROOM / 7), 4);
        assert_eq!(fitting(Some(ROOM), ROOM / 4), 2, "half of what is free");
        assert_eq!(fitting(Some(0), ROOM), 1);
    }

    #[test]
    fn folders_are_named_after_the_encoder() {
        for (file, name) in [
            ("sample", "sample"),
            ("vit.best.pth", "vit.best"),
            ("random:vits16@0", "random-vits16-0"),
            ("my weights/é.pt", "my-weights-é"),
        ] {
            assert_eq!(short_name(file), name);
        }
        assert_eq!(short_name(&"x".repeat(99)).len(), 40);
    }

    #[test]
    fn the_record_says_how_the_affinity_was_computed() {
        let mut protocol = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
        let words = |precision, protocol: &Protocol| {
            affinity((Engine::Fused(precision), &Device::Cpu), &protocol.values(), Some((30, 55)))
        };
        assert_eq!(words(Arithmetic::F32, &protocol), None);
        assert_eq!(words(Arithmetic::Bf16, &protocol).as_deref(), Some("bf16"));
        protocol.propagation.topk = 50;
        let by_others = words(Arithmetic::F32, &protocol);
        assert_eq!(by_others.as_deref(), Some("f32 by tensor operations"));
        let by = |engine| affinity((engine, &Device::Cpu), &protocol.values(), Some((30, 55)));
        assert_eq!(by(Engine::Tiled), None);
        assert_eq!(by(Engine::TensorOps), by_others, "after a trial that failed");
    }
}
