//! What the names in the documents stand for, so that commands run as they are written: `DAVIS`,
//! `VIP` and `JHMDB` are small rendered clips, `cropmae.pth` and `w.pth` a network that was never
//! trained, `photographs` a few waves of colour.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{Device, Tensor};
use cropmae::autoencoder::Parameters;
use cropmae::data::Benchmark;
use cropmae::files::safetensors;
use cropmae::image::{Rgb, figure};
use cropmae::pretrain::checkpoint::{self, Place as Reached, State};
use cropmae::pretrain::config::{Config, Preset};
use cropmae::sample::{self, Settings};
use tempfile::TempDir;

/// A folder in which commands are run, removed at the end.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Where the README's commands run.
    pub(crate) fn of_readme() -> Self {
        let place = Self::new();
        let names = [("DAVIS", "davis"), ("VIP", "vip"), ("JHMDB", "jhmdb")];
        names.iter().for_each(|(folder, benchmark)| place.dataset(folder, benchmark));
        place.networks();
        place.pictures("photographs", 12);
        place.pictures("others", 4);
        (0..4).for_each(|clip| place.pictures(&format!("kinetics/train/clip-{clip}"), 8));
        place.predictions("DIR", "davis", "DAVIS");
        place.features("mine");
        place.done("propagate davis --data DAVIS --weights pixels --out runs/mine -q");
        place
    }

    /// Where the commands of a section of datasets.md run.
    pub(crate) fn of_datasets(section: &str) -> Self {
        let place = Self::new();
        let benchmark = match section {
            "VIP" => "vip",
            "JHMDB" => "jhmdb",
            _ => "davis",
        };
        place.dataset("ROOT", benchmark);
        place.networks();
        place.predictions("DIR", benchmark, "ROOT");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Hands a command to a shell that finds our programs.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let programs = Path::new(env!("CARGO_BIN_EXE_propagate")).parent().unwrap();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = [programs.to_path_buf()].into_iter().chain(std::env::split_paths(&paths));
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(self.0.path());
        shell.env("PATH", std::env::join_paths(paths).unwrap()).env("PROPAGATE_DEVICE", "cpu");
        for name in ["DAVIS_ROOT", "VIP_ROOT", "JHMDB_ROOT"] {
            shell.env_remove(name);
        }
        shell.output().unwrap()
    }

    /// As [`Place::shell`], of a command that must succeed; what it printed.
    pub(crate) fn done(&self, script: &str) -> String {
        let output = self.shell(script);
        let (out, err) = (&output.stdout, &output.stderr);
        let told = || format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        assert!(output.status.success(), "{script}\n{}\n{}", output.status, told());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Two rendered clips of three frames.
    fn dataset(&self, folder: &str, name: &str) {
        let benchmark = match name {
            "vip" => Benchmark::Vip,
            "jhmdb" => Benchmark::Jhmdb,
            _ => Benchmark::Davis,
        };
        let defaults = sample::default_settings(benchmark);
        let settings = Settings { clips: 2, frames: 3, height: 96, width: 160, ..defaults };
        sample::render(&self.path(folder), benchmark, &settings).unwrap();
    }

    /// Predictions of a dataset, made with raw pixels.
    fn predictions(&self, folder: &str, benchmark: &str, root: &str) {
        self.done(&format!(
            "propagate {benchmark} --data {root} --weights pixels --predict-only -q --out made \
             && mv made/predictions {folder} && rm -r made"
        ));
    }

    /// Features of the clips of DAVIS at the usual input size, as another program writes them.
    fn features(&self, folder: &str) {
        let values = (0..3 * 30 * 55 * 4).map(|i| ((i * 7919 % 1009) as f32).sin());
        let features = Tensor::from_iter(values, &Device::Cpu).unwrap();
        let features = features.reshape((3, 30, 55, 4)).unwrap();
        std::fs::create_dir(self.path(folder)).unwrap();
        for clip in ["sample-00", "sample-01"] {
            let path = self.path(&format!("{folder}/{clip}.safetensors"));
            candle_core::safetensors::save(&[("features", features.clone())].into(), path).unwrap();
        }
    }

    /// A network of one narrow block for patches of 16: its encoder with its decoder as other
    /// programs keep them, and as a checkpoint of ours.
    fn networks(&self) {
        let mut config = Config { masking_ratio: 0.5, ..Preset::Tiny.config() };
        (config.encoder.depth, config.views.size) = (1, 64);
        let parameters = Parameters::seeded(&config.autoencoder(), 5, &Device::Cpu).unwrap();
        let tensors = parameters.snapshot().unwrap();
        let bare = tensors.clone().into_iter().collect();
        for name in ["cropmae.pth", "w.pth"] {
            // what a file is, its content says
            safetensors::write(&self.path(name), &bare, &Default::default()).unwrap();
        }
        let state = State::new(Reached::default(), config, "data".into());
        checkpoint::save(&self.path("checkpoint.pth"), tensors, &state).unwrap();
    }

    /// Waves of colour, no two alike.
    fn pictures(&self, folder: &str, count: usize) {
        let folder = self.path(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let (width, height) = (48, 40);
            let value = |i: usize| (i * (3 + number) / 7 + 31 * number) % 251;
            let data = (0..3 * width * height).map(|i| value(i) as u8).collect();
            let picture = figure::png(&Rgb { width, height, data }).unwrap();
            std::fs::write(folder.join(format!("{number:02}.png")), picture).unwrap();
        }
    }
}
