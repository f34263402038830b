//! Devices, number types, and how much memory there is and was used. A leaf.

#[cfg(feature = "cuda")]
mod gpu;
mod memory;
mod uploads;

use candle_core::{DType, Device};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

pub use self::memory::{available_memory, peak_memory};
pub use self::uploads::Uploads;

use crate::error::{Error, Result};

/// What the user asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The first GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU.
    Cuda(usize),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().map(Self::Cuda);
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" | "gpu" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number),
        }
        .ok_or_else(|| format!("{text:?} is no device; use auto, cpu, cuda or cuda:N"))
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Opens the device for computing in `precision`, as [`compute_in`] does; `say` is told why
/// [`Choice::Auto`] takes the CPU in a build that has CUDA in it.
///
/// # Errors
/// A GPU was asked for by name and there is none, or this build has no CUDA in it; or the device
/// does not know the type.
pub fn open(choice: Choice, precision: Precision, say: &dyn Fn(&str)) -> Result<Device> {
    let device = match choice {
        Choice::Cpu => Device::Cpu,
        Choice::Auto => auto(say),
        Choice::Cuda(index) => cuda(index)?,
    };
    compute_in(&device, precision)?;
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn auto(_: &dyn Fn(&str)) -> Device {
    Device::Cpu
}

#[cfg(feature = "cuda")]
fn auto(say: &dyn Fn(&str)) -> Device {
    gpu::open(0).unwrap_or_else(|why| {
        say(&format!("the CPU computes, for no GPU is usable: {why}"));
        Device::Cpu
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(Error::Device(
        "this program was built without CUDA; build it with `--features cuda` (see README, \"Which machine?\") or use the setting `device = cpu`"
            .into(),
    ))
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    gpu::open(index).map_err(|why| {
        Error::Device(format!(
            "no usable GPU cuda:{index}: {why}; or use the setting `device = cpu`"
        ))
    })
}

/// Decides, for all of this process, how many bits of f32 operands products on GPUs look at; what
/// is loaded onto the device afterwards computes so.
///
/// # Errors
/// The device does not know the type.
pub fn compute_in(device: &Device, precision: Precision) -> Result<()> {
    if precision == Precision::Tf32 && !device.is_cuda() {
        return Err(Error::setting("dtype", "tf32 is a GPU's arithmetic; use f32 here"));
    }
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    Ok(())
}

/// A device's name in tables and records.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The number type that the encoder computes in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, EnumMessage, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Precision {
    /// 32 bits: the type of published tables.
    #[default]
    F32,
    /// f32 storage; GPU matrix products round operands to TF32 (11 significant bits).
    Tf32,
    /// bfloat16: fast on GPUs.
    Bf16,
    /// Half precision.
    F16,
}

impl Precision {
    /// candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Its name in settings and records.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Free memory of a GPU in bytes; `None` for the CPU, or where the driver does not tell.
pub fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => gpu::free_memory(device),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The GPU that tests compare with the CPU, where there is one; `REQUIRE_GPU` makes a missing
    /// one a failure.
    pub(crate) fn gpu() -> Option<Device> {
        let opened = open(Choice::Cuda(0), Precision::F32, &|_| {});
        assert!(opened.is_ok() || std::env::var_os("REQUIRE_GPU").is_none(), "{opened:?}");
        opened.ok()
    }

    #[test]
    fn devices_are_parsed() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(3)));
        assert!("cuda:x".parse::<Choice>().is_err() && "tpu".parse::<Choice>().is_err());
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_so() {
        let open = |choice| open(choice, Precision::F32, &|_| {});
        let error = open(Choice::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
        assert!(open(Choice::Auto).unwrap().is_cpu());
    }
}
