//! Softmax attention of an encoder block.
//!
//! On the CPU in f32, heads and bands of queries are spread over the cores: the scores of a band
//! stay in the cache between the two products, and queries, keys and values are read where the
//! projection left them. Elsewhere candle's operations do the same, a block of rows at a time so
//! that long sequences do not need memory for the square of their length.

use candle_core::{CpuStorage, DType, IndexOp, Storage, Tensor};
use rayon::prelude::*;

use crate::elementwise::exponentials;
use crate::error::Result;
use crate::product::{View, product};

/// Queries in a band: 64 × 1651 scores are 400 KiB, which stay in a core's cache.
const QUERIES_AT_ONCE: usize = 64;
/// The most scores (values) that one product of tensors may write.
const SCORES_AT_ONCE: usize = 1 << 25;

/// Attention over `qkv` [B, N, 3·D], whose channels are queries, keys and values, each of them
/// head by head; returns [B, N, D].
///
/// # Errors
/// The device runs out of memory.
pub(super) fn attend(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    if !(qkv.device().is_cpu() && qkv.dtype() == DType::F32) {
        return by_tensors(qkv, heads);
    }
    let (batch, tokens, width) = qkv.dims3()?;
    let qkv = qkv.contiguous()?;
    let (storage, layout) = qkv.storage_and_layout();
    let out = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => {
            by_bands(&values[start..end], batch, tokens, heads)
        }
        _ => return by_tensors(&qkv, heads),
    };
    Ok(Tensor::from_vec(out, (batch, tokens, width / 3), qkv.device())?)
}

/// What the first query attends to, over `qkv` as for [`attend`]: [B, heads, N], rows of sum 1.
///
/// # Errors
/// The device runs out of memory.
pub(super) fn first_row(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let head_width = width / 3 / heads;
    let qkv = qkv.reshape((batch, tokens, 3, heads, head_width))?.permute((2, 0, 3, 1, 4))?;
    let query = (qkv.i(0)?.narrow(2, 0, 1)?.contiguous()? * (head_width as f64).powf(-0.5))?;
    let scores = query.matmul(&qkv.i(1)?.transpose(2, 3)?.contiguous()?)?; // B, heads, 1, N
    Ok(candle_nn::ops::softmax_last_dim(&scores)?.squeeze(2)?)
}

fn by_bands(qkv: &[f32], batch: usize, tokens: usize, heads: usize) -> Vec<f32> {
    let width = qkv.len() / (batch * tokens * 3);
    let head_width = width / heads;
    let bands = tokens.div_ceil(QUERIES_AT_ONCE);
    let mixed: Vec<Vec<f32>> = (0..batch * heads * bands)
        .into_par_iter()
        .map_init(Vec::new, |scores, task| {
            let (image, head, band) = (task / (heads * bands), task / bands % heads, task % bands);
            let image = &qkv[image * tokens * 3 * width..][..tokens * 3 * width];
            let first = band * QUERIES_AT_ONCE;
            let count = QUERIES_AT_ONCE.min(tokens - first);
            let part = |which: usize, from: usize, rows: usize| {
                let start = from * 3 * width + which * width + head * head_width;
                View::rows(&image[start..], rows, head_width, 3 * width)
            };
            scores.resize(count * tokens, 0.0);
            let scale = (head_width as f32).powf(-0.5);
            product(scores, part(0, first, count), part(1, 0, tokens).transposed(), scale);
            let totals: Vec<f32> = scores.chunks_exact_mut(tokens).map(exponentials).collect();
            let mut out = vec![0.0; count * head_width];
            product(&mut out, View::rows(scores, count, tokens, tokens), part(2, 0, tokens), 1.0);
            for (out, total) in out.chunks_exact_mut(head_width).zip(totals) {
                out.iter_mut().for_each(|value| *value /= total);
            }
            out
        })
        .collect();
    gather(&mixed, batch, tokens, heads, head_width)
}

/// From bands of one head to rows of all heads.
fn gather(
    mixed: &[Vec<f32>],
    batch: usize,
    tokens: usize,
    heads: usize,
    head_width: usize,
) -> Vec<f32> {
    let bands = tokens.div_ceil(QUERIES_AT_ONCE);
    let mut out = vec![0.0; batch * tokens * heads * head_width];
    for (row, out) in out.chunks_exact_mut(heads * head_width).enumerate() {
        let (image, token) = (row / tokens, row % tokens);
        for (head, out) in out.chunks_exact_mut(head_width).enumerate() {
            let band = &mixed[(image * heads + head) * bands + token / QUERIES_AT_ONCE];
            out.copy_from_slice(&band[token % QUERIES_AT_ONCE * head_width..][..head_width]);
        }
    }
    out
}

fn by_tensors(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let head_width = width / 3 / heads;
    let qkv = qkv.reshape((batch, tokens, 3, heads, head_width))?.permute((2, 0, 3, 1, 4))?;
    let queries = (qkv.i(0)?.contiguous()? * (head_width as f64).powf(-0.5))?;
    let keys = qkv.i(1)?.transpose(2, 3)?.contiguous()?;
    let values = qkv.i(2)?.contiguous()?;
    let rows = (SCORES_AT_ONCE / (batch * heads * tokens)).clamp(1, tokens);
    let mut parts = Vec::with_capacity(tokens.div_ceil(rows));
    for start in (0..tokens).step_by(rows) {
        let queries = queries.narrow(2, start, rows.min(tokens - start))?;
        let scores = queries.contiguous()?.matmul(&keys)?; // B, heads, rows, N
        parts.push(candle_nn::ops::softmax_last_dim(&scores)?.matmul(&values)?);
    }
    let mixed = Tensor::cat(&parts, 2)?.transpose(1, 2)?;
    Ok(mixed.reshape((batch, tokens, width / 3))?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_row_mixes_values_as_attention_does() {
        let (tokens, width, heads) = (5, 8, 2);
        let values: Vec<f32> =
            (0..2 * tokens * 3 * width).map(|i| ((i * 7919 % 1009) as f32 / 100.0).sin()).collect();
        let qkv = Tensor::from_vec(values, (2, tokens, 3 * width), &Device::Cpu).unwrap();
        let row = first_row(&qkv, heads).unwrap();
        assert_eq!(row.dims(), [2, heads, tokens]);
        let head_values = qkv.narrow(2, 2 * width, width).unwrap();
        let head_values = head_values.reshape((2, tokens, heads, width / heads)).unwrap();
        let head_values = head_values.transpose(1, 2).unwrap().contiguous().unwrap();
        let mixed = row.unsqueeze(2).unwrap().matmul(&head_values).unwrap();
        let mixed = mixed.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let whole = attend(&qkv, heads).unwrap().narrow(1, 0, 1).unwrap();
        let whole = whole.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        mixed.iter().zip(&whole).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
    }

    #[test]
    fn bands_equal_tensor_operations() {
        // 2 images, 3 heads of 8, more tokens than a band and no multiple of one.
        let (tokens, width) = (QUERIES_AT_ONCE * 2 + 13, 24);
        let values: Vec<f32> =
            (0..2 * tokens * 3 * width).map(|i| ((i * 7919 % 1009) as f32 / 100.0).sin()).collect();
        let qkv = Tensor::from_vec(values, (2, tokens, 3 * width), &Device::Cpu).unwrap();
        let bands = attend(&qkv, 3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let tensors = by_tensors(&qkv, 3).unwrap().flatten_all().unwrap();
        for (a, b) in bands.iter().zip(tensors.to_vec1::<f32>().unwrap()) {
            // Sums of 141 products of numbers up to 1, in another order.
            assert!((a - b).abs() < 5e-6, "{a} {b}");
        }
    }
}
