//! The operations on tokens between an encoder's products on a GPU (`tokens.cu`).

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Result, Tensor};
use half::bf16;

use crate::kernel::{
    self, InPlace, Number, Operand, by_pack, by_row, by_type, launch, named, wrapped,
};

/// The tokens that blocks add to, in f32: [B, N, D].
pub(super) struct Stream {
    values: CudaSlice<f32>,
    shape: (usize, usize, usize),
    device: CudaDevice,
}

/// What the first block gets, beside the patches; all in f32.
pub(super) struct Embedding<'a> {
    /// Of the projection of patches: \[D\].
    pub(super) bias: &'a Tensor,
    /// [1, 1, D]
    pub(super) cls: &'a Tensor,
    /// [1, R, D], where the encoder has register tokens.
    pub(super) registers: Option<&'a Tensor>,
    /// [1, 1 + h·w, D]
    pub(super) positions: &'a Tensor,
}

/// A LayerNorm in f32.
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f32,
}

/// The end of a product: its bias, and LayerScale where the encoder has it; both f32.
pub(super) struct Ending<'a> {
    pub(super) bias: &'a Tensor,
    pub(super) scale: Option<&'a Tensor>,
}

impl Stream {
    /// CLS, registers and patches with their rows of the position table; `projected` [B, h·w, D].
    pub(super) fn begin(projected: &Tensor, embedding: &Embedding<'_>) -> Result<Self> {
        by_type!(projected, embed(projected, embedding))
    }

    /// Adds a product [B, N, D] with its ending, and returns the norm of the sums, in its type.
    pub(super) fn add_norm(
        &mut self,
        product: &Tensor,
        ending: &Ending<'_>,
        norm: &Norm,
    ) -> Result<Tensor> {
        match product.dtype() {
            DType::BF16 => self.run::<bf16, bf16>("add_norm_bf16", Some((product, ending)), norm),
            _ => self.run::<f32, f32>("add_norm_f32", Some((product, ending)), norm),
        }
    }

    /// The same, but the norm in f32.
    pub(super) fn add_last_norm(
        &mut self,
        product: &Tensor,
        ending: &Ending<'_>,
        norm: &Norm,
    ) -> Result<Tensor> {
        let added = Some((product, ending));
        match product.dtype() {
            DType::BF16 => self.run::<bf16, f32>("add_last_norm_bf16", added, norm),
            _ => self.run::<f32, f32>("add_norm_f32", added, norm),
        }
    }

    /// The norm of the tokens as they are, in `dtype`.
    pub(super) fn norm(&mut self, norm: &Norm, dtype: DType) -> Result<Tensor> {
        match dtype {
            DType::BF16 => self.run::<bf16, bf16>("add_norm_bf16", None, norm),
            _ => self.run::<f32, f32>("add_norm_f32", None, norm),
        }
    }

    /// `T`: of what is added; `O`: of what comes out.
    fn run<T: Number, O: Number>(
        &mut self,
        name: &str,
        added: Option<(&Tensor, &Ending<'_>)>,
        norm: &Norm,
    ) -> Result<Tensor> {
        let (batch, tokens, width) = self.shape;
        let rows = batch * tokens;
        let [weight, shift] = [&norm.weight, &norm.bias].map(Operand::open);
        let (weight, shift) = (weight.values::<f32>(width)?, shift.values::<f32>(width)?);
        let mut out = kernel::room::<O>(&self.device, rows * width)?;
        let (values, none) = (&mut self.values, 0_u64); // a null pointer
        macro_rules! of {
            ($added:expr, $bias:expr, $scale:expr) => {{
                // SAFETY: `Stream` and `out` hold `rows` rows of `width` values, and so does what
                // is added, where it is not null; of all others one row is read.
                #[allow(unsafe_code)]
                unsafe {
                    launch!(
                        self.device,
                        TOKENS,
                        name,
                        by_row(rows),
                        values,
                        $added,
                        $bias,
                        $scale,
                        &weight,
                        &shift,
                        &mut out,
                        &(rows as u32),
                        &(width as u32),
                        &norm.epsilon,
                    );
                }
            }};
        }
        match added {
            None => of!(&none, &none, &none),
            Some((product, Ending { bias, scale })) => {
                let [product, bias] = [product, bias].map(Operand::open);
                let (product, bias) =
                    (product.values::<T>(rows * width)?, bias.values::<f32>(width)?);
                match scale.map(Operand::open) {
                    None => of!(&product, &bias, &none),
                    Some(scale) => of!(&product, &bias, &scale.values::<f32>(width)?),
                }
            }
        }
        Ok(wrapped(out, self.shape, &self.device))
    }
}

fn embed<T: Number>(projected: &Tensor, embedding: &Embedding<'_>) -> Result<Stream> {
    let (batch, patches, width) = projected.dims3()?;
    let registers = embedding.registers.map(Operand::open);
    let others = embedding.registers.map_or(Ok(0), |registers| registers.dim(1))?;
    let shape = (batch, 1 + others + patches, width);
    let count = shape.0 * shape.1 * shape.2;
    let [xs, bias, cls, positions] =
        [projected, embedding.bias, embedding.cls, embedding.positions].map(Operand::open);
    let device = xs.device()?;
    let mut values = kernel::room::<f32>(device, count)?;
    let (xs, bias) = (xs.values::<T>(batch * patches * width)?, bias.values::<f32>(width)?);
    let cls = cls.values::<f32>(width)?;
    let positions = positions.values::<f32>((1 + patches) * width)?;
    let none = 0_u64; // a null pointer
    macro_rules! of {
        ($registers:expr) => {{
            // SAFETY: the kernel writes `count` values, batch · (1 + others + patches) rows of
            // `width`, from the patches' rows, one row for CLS, one for each register where there
            // are any, and a table of 1 + patches rows.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    device,
                    TOKENS,
                    &named::<T>("embed"),
                    by_pack(count),
                    &xs,
                    &bias,
                    &cls,
                    $registers,
                    &positions,
                    &mut values,
                    &(count as u32),
                    &(others as u32),
                    &(patches as u32),
                    &(width as u32),
                );
            }
        }};
    }
    match &registers {
        None => of!(&none),
        Some(registers) => of!(&registers.values::<f32>(others * width)?),
    }
    Ok(Stream { values, shape, device: device.clone() })
}

/// The GELU of a product [.., D] with its `bias` \[D\] (f32), in the product's own memory, which
/// nobody else has seen yet.
pub(super) fn bias_gelu(product: Tensor, bias: &Tensor) -> Result<Tensor> {
    product.inplace_op2(bias, &BIAS_GELU)?;
    Ok(product)
}

const BIAS_GELU: InPlace =
    InPlace { name: "bias_gelu", module: ("TOKENS", kernel::TOKENS), f32_row: true };

/// The SiLU of a gate times its value, of a product [B, N, 2·D] with its `bias` [2·D] (f32), gates
/// first: [B, N, D].
pub(super) fn bias_swiglu(product: &Tensor, bias: &Tensor) -> Result<Tensor> {
    by_type!(product, swiglu(product, bias))
}

fn swiglu<T: Number>(product: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, tokens, pairs) = product.dims3()?;
    let columns = pairs / 2;
    let count = batch * tokens * columns;
    let [xs, bias] = [product, bias].map(Operand::open);
    let device = xs.device()?;
    let mut out = kernel::room::<T>(device, count)?;
    let (xs, bias) = (xs.values::<T>(batch * tokens * pairs)?, bias.values::<f32>(pairs)?);
    let name = named::<T>("bias_swiglu");
    let (total, width) = (count as u32, columns as u32);
    // SAFETY: the kernel writes `count` values from twice as many, rows of 2 · columns, and one row
    // of bias.
    #[allow(unsafe_code)]
    unsafe {
        launch!(device, TOKENS, &name, by_pack(count), &xs, &bias, &mut out, &total, &width);
    }
    Ok(wrapped(out, (batch, tokens, columns), device))
}

/// Rows of f32 over their lengths, of which none counts less than `least`: [B, N, D] whose images
/// may lie apart -> [B, N, D] in one piece. `None` where rows lie otherwise.
pub(in crate::model) fn unit_rows(xs: &Tensor, least: f32) -> Result<Option<Tensor>> {
    let (batch, each, width) = xs.dims3()?;
    let (storage, layout) = xs.storage_and_layout();
    let candle_core::Storage::Cuda(storage) = &*storage else { return Ok(None) };
    let [apart, row, 1] = *layout.stride() else { return Ok(None) };
    if row != width || storage.dtype() != DType::F32 {
        return Ok(None);
    }
    let device = storage.device();
    let values = storage.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
    let rows = batch * each;
    let mut out = kernel::room::<f32>(device, rows * width)?;
    // SAFETY: the kernel reads `each` rows of `width` values of every image, images `apart` values
    // from each other, which is how the layout lays them in the storage, and writes them without a
    // gap.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            TOKENS,
            "unit_rows",
            by_row(rows),
            &values,
            &mut out,
            &(rows as u32),
            &(each as u32),
            &(apart as u32),
            &(width as u32),
            &least,
        );
    }
    Ok(Some(wrapped(out, (batch, each, width), device)))
}
