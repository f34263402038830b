//! Softmax attention of an encoder block, as candle's operations.
//!
//! It computes a block of rows at a time, so that long sequences do not need memory for the square
//! of their length. The CPU in f32 uses [`super::cpu`] instead.

use candle_core::{DType, IndexOp, Tensor};

use crate::error::Result;

/// The most scores (values) that one product of tensors may write.
const SCORES_AT_ONCE: usize = 1 << 25;

/// Attention over `qkv` [B, N, 3·D], whose channels are queries, keys and values, each of them
/// head by head; returns [B, N, D].
///
/// # Errors
/// The device runs out of memory.
pub(super) fn attend(qkv: &Tensor, heads: usize) -> Result<Tensor> {
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

/// Queries and keys of `qkv` [B, N, 3·D] turned by their patch's place, values as they are; `turns`
/// [patches, head width] in f32 as [`super::pos_embed::turns`] makes them, for the last tokens.
///
/// # Errors
/// The device runs out of memory.
pub(super) fn turned(qkv: &Tensor, heads: usize, turns: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let (patches, head_width) = turns.dims2()?;
    let half = head_width / 2;
    let before = qkv.narrow(1, 0, tokens - patches)?;
    let rows = qkv.narrow(1, tokens - patches, patches)?;
    let pairs = rows.narrow(2, 0, width / 3 * 2)?.to_dtype(DType::F32)?.contiguous()?;
    let pairs = pairs.reshape((batch, patches, 2 * heads, head_width))?;
    let (first, second) = (pairs.narrow(3, 0, half)?, pairs.narrow(3, half, half)?);
    let turns = turns.reshape((1, patches, 1, head_width))?;
    let (cosines, sines) = (turns.narrow(3, 0, half)?, turns.narrow(3, half, half)?);
    let one = (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?;
    let other = (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?;
    let pairs = Tensor::cat(&[one, other], 3)?.reshape((batch, patches, width / 3 * 2))?;
    let values = rows.narrow(2, width / 3 * 2, width / 3)?;
    let rows = Tensor::cat(&[pairs.to_dtype(qkv.dtype())?, values], 2)?;
    Ok(Tensor::cat(&[before, rows], 1)?)
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
}
