//! Turns arguments into the library's settings.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use candle_core::Device;
use cropmae::Error;
use cropmae::device::available_memory;
use cropmae::files;
use cropmae::model::VitConfig;
use cropmae::pretrain::config::EncoderSizes;
use cropmae::pretrain::held_out::{HeldOut, MOST};
use cropmae::pretrain::samples::{Options, Samples, VideoSettings};
use cropmae::pretrain::start::Start;
use cropmae::pretrain::{Config, checkpoint};
use cropmae::wording::counted;

use crate::args::Cli;
use crate::common::streams;
use crate::common::targets::Inputs;
use crate::common::usage::usage;

/// Bytes of the unit that memory is told in.
const GIB: f64 = (1_u64 << 30) as f64;
/// More threads than this do not decode faster than any device computes.
const MOST_WORKERS: usize = 16;

/// The preset, and over it the file, the settings and the flags. The warm-up keeps the preset's
/// share of the epochs, unless it was set itself.
pub(crate) fn config(cli: &Cli) -> anyhow::Result<Config> {
    let preset = cli.preset.config();
    let mut config = changed(cli, preset.clone())?;
    // a warm-up that follows that of another preset was set nowhere
    let mut other = preset.clone();
    other.optimization.warmup_epochs += 1.0;
    if changed(cli, other)?.optimization.warmup_epochs != config.optimization.warmup_epochs {
        config.optimization.warmup_epochs *= config.epochs as f64 / preset.epochs as f64;
    }
    let Err(error) = config.check() else { return Ok(config) };
    let more = match &error {
        Error::Setting { name, .. } if name == "optimization.warmup_epochs" => {
            "; where it is not set, it keeps the preset's share of the epochs"
        }
        _ => "",
    };
    // as text: it names a key, whose value a file, --set or a flag may have given
    bail!(usage!("{error}{more}"))
}

/// `config` with the values of the file, of the settings and of the flags, later ones over earlier
/// ones.
fn changed(cli: &Cli, mut config: Config) -> anyhow::Result<Config> {
    if let Some(path) = &cli.config {
        config = with_file(&config, path)?;
    }
    for setting in &cli.settings {
        config = config.with_setting(setting)?;
    }
    if let Some(arch) = &cli.arch {
        let VitConfig { width, depth, heads, patch, .. } = VitConfig::named(arch)?;
        config.encoder = EncoderSizes { width, depth, heads, patch };
    }
    let steps = &mut config.optimization;
    replace(&mut config.method, cli.method);
    replace(&mut config.views.strategy, cli.strategy);
    replace(&mut config.reading.kind, cli.kind);
    replace(&mut config.epochs, cli.epochs);
    replace(&mut steps.batch_size, cli.batch_size);
    replace(&mut steps.base_learning_rate, cli.base_learning_rate);
    replace(&mut config.masking_ratio, cli.masking_ratio);
    replace(&mut config.seed, cli.seed);
    steps.lr_after_step |= cli.lr_after_step;
    Ok(config)
}

/// Refuses sizes for which the machine has no memory. Where the system does not tell how much there
/// is, none are.
pub(crate) fn check_memory(config: &Config, device: &Device) -> anyhow::Result<()> {
    let Some(free) = available_memory() else { return Ok(()) };
    let needed = config.least_memory(device.is_cpu());
    let (size, batch) = (config.views.size, config.optimization.batch_size);
    ensure!(
        needed <= free as f64,
        usage!(
            "batches of {batch} and views of {size}x{size} pixels need at least {:.0} GiB of memory, and {:.1} GiB are free; take smaller ones for views.size, --batch-size or, on a CPU, optimization.micro_batch and encoder.width",
            needed / GIB,
            free as f64 / GIB
        )
    );
    Ok(())
}

fn replace<T>(value: &mut T, with: Option<T>) {
    if let Some(with) = with {
        *value = with;
    }
}

fn with_file(config: &Config, path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    Ok(config.with_toml(&path.display().to_string(), &text)?)
}

/// What `--init` or `--resume` begins with, and what there is to say of it; nothing where the run
/// has begun already.
pub(crate) fn start(cli: &Cli, config: &Config) -> anyhow::Result<Option<(Start, Vec<String>)>> {
    if !checkpoint::list(&cli.out)?.is_empty() {
        return Ok(None);
    }
    Ok(match (&cli.init, &cli.resume) {
        (Some(path), _) => Some(Start::with_weights(path, config)?),
        (None, Some(path)) => Some(Start::after_reference(path, config)?),
        (None, None) => None,
    })
}

/// The cores of this machine, within reason.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// The samples at `path`, read as the configuration and the flags say; `keep` MiB of decoded
/// pictures stay in memory.
pub(crate) fn samples(
    cli: &Cli,
    config: &Config,
    path: &Path,
    keep: usize,
) -> anyhow::Result<Arc<Samples>> {
    let programs = VideoSettings {
        frames_cache: cli.frames_cache.clone(),
        ffprobe: cli.ffmpeg.with_file_name("ffprobe"),
        ffmpeg: cli.ffmpeg.clone(),
        ..VideoSettings::default()
    };
    let options =
        Options { keep_decoded: keep.saturating_mul(1 << 20), ..config.samples(&programs) };
    Ok(Arc::new(Samples::open(path, &options)?))
}

/// The held-out images, where there are any.
pub(crate) fn held_out(
    cli: &Cli,
    config: &Config,
    workers: usize,
    device: &Device,
) -> anyhow::Result<Option<HeldOut>> {
    let Some(path) = &cli.held_out else { return Ok(None) };
    // their views are cut once and kept themselves
    let samples = samples(cli, config, path, 0)?;
    let held_out = HeldOut::new(config, samples, MOST, workers, device)?;
    if let Some((count, first)) = held_out.unreadable() {
        let images = counted(count, "held-out image");
        streams::note(&format!("{images} left out as unreadable; the first: {first}"));
    }
    Ok(Some(held_out))
}

/// Refuses a folder to write into that is, or lies in, the data, and one that holds anything but a
/// run.
pub(crate) fn check_out(out: &Path, data: &Path) -> anyhow::Result<()> {
    // a run's own pictures would become data
    Inputs::default().with(data).spare("--out", out)?;
    if files::check_folder(out).is_err() {
        bail!(usage!(
            "--out: {} is a file, or would lie in one; name a new folder, or that of a run to continue",
            out.display()
        ));
    }
    let Ok(entries) = std::fs::read_dir(out) else { return Ok(()) };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<std::io::Result<_>>()?;
    // also where a start was killed that had only begun the first of these
    let run = |name: &String| name.starts_with("config.toml") || name.starts_with("checkpoint-");
    if names.iter().any(run) {
        return Ok(());
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    match names.first() {
        None => Ok(()),
        Some(name) => bail!(usage!(
            "--out: {} holds {name} and no training run; name a new folder, or that of a run to continue",
            out.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Epochs of the warm-up and of the whole run.
    fn epochs(flags: &[&str]) -> anyhow::Result<(f64, u64)> {
        let line = ["pretrain", "--preset", "tiny", "--data", "d"].iter().chain(flags);
        let config = config(&Cli::parse_from(line))?;
        Ok((config.optimization.warmup_epochs, config.epochs))
    }

    #[test]
    fn the_warm_up_keeps_its_share_unless_it_was_set() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let warm = file("warm.toml", "epochs = 300\n[optimization]\nwarmup_epochs = 6");
        let long = file("long.toml", "epochs = 300");
        // the preset's: 6 of 150
        for (flags, wanted) in [
            (&[][..], (6.0, 150)),
            (&["--epochs", "300"], (12.0, 300)),
            (&["--set", "epochs=300"], (12.0, 300)),
            (&["--config", &long], (12.0, 300)),
            (&["--config", &long, "--epochs", "75"], (3.0, 75)),
            (&["--epochs", "300", "--set", "optimization.warmup_epochs=5"], (5.0, 300)),
            // that it is the preset's own value makes it no less set
            (&["--epochs", "300", "--set", "optimization.warmup_epochs=6"], (6.0, 300)),
            (&["--config", &warm], (6.0, 300)),
            (&["--config", &warm, "--epochs", "600"], (6.0, 600)),
        ] {
            assert_eq!(epochs(flags).unwrap(), wanted, "{flags:?}");
        }
        let error = epochs(&["--epochs", "4", "--set", "optimization.warmup_epochs=5"]);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("optimization.warmup_epochs: is 5"), "{error}");
        assert!(error.ends_with("it keeps the preset's share of the epochs"), "{error}");
    }
}
