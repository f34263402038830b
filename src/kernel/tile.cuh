// What attentions on tensor cores share: rows copied to shared memory tile by tile, the way a warp
// holds a product, and the softmax of scores that come in piece by piece.
//
// A warp has TILES tiles of 16 rows. Of a product's 16 × 8 sums a lane holds four: rows lane / 4
// and 8 more, two neighbouring columns of four times lane % 4 each. That is how scores come out;
// and with what an instruction takes for its k-th value chosen to fit, it is how shares go into the
// next product, without a detour through shared memory.

#pragma once

#include "instructions.cuh"

// Rows of one head: from one to the next are `stride` values, of which `width` belong to it.
template <class T>
struct Rows {
    const T *first;
    u32 stride, count, width;
};

// `threads` threads begin to copy `count` rows from `first` on into rows of STRIDE words, each
// filled up to WIDTH values; zeros where there is no row.
template <u32 WIDTH, u32 STRIDE, class T>
__device__ void copy_rows(u32 *to, const Rows<T> &rows, u32 first, u32 count, u32 threads) {
    constexpr u32 PER = 16 / sizeof(T), PIECES = WIDTH / PER;
#pragma unroll
    for (u32 n = threadIdx.x; n < count * PIECES; n += threads) {
        u32 row = first + n / PIECES, piece = n % PIECES;
        bool there = row < rows.count && piece * PER < rows.width;
        const T *from = there ? rows.first + (size_t)row * rows.stride + piece * PER : rows.first;
        copy_async_or_zero(to + n / PIECES * STRIDE + piece * 4, (const uint4 *)from, there);
    }
}

template <u32 TILES, u32 COLUMNS>
__device__ void clear(float (&sums)[TILES][COLUMNS][4]) {
#pragma unroll
    for (u32 m = 0; m < TILES; m++)
#pragma unroll
        for (u32 n = 0; n < COLUMNS; n++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
}

// Over the four lanes that share a row.
template <class Join>
__device__ float over_row(float value, Join join) {
    value = join(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return join(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

__device__ inline float row_sum(float value) {
    return over_row(value, [](float a, float b) { return a + b; });
}

// Scores of columns that are not there, `left` or further on, count for nothing.
template <u32 TILES, u32 COLUMNS>
__device__ void cut_off(float (&scores)[TILES][COLUMNS][4], u32 left) {
    if (left >= COLUMNS * 8) return;
#pragma unroll
    for (u32 n = 0; n < COLUMNS; n++)
#pragma unroll
        for (u32 i = 0; i < 4; i++)
            if (n * 8 + threadIdx.x % 4 * 2 + i % 2 >= left)
#pragma unroll
                for (u32 m = 0; m < TILES; m++) scores[m][n][i] = -INFINITY;
}

// The softmax of rows so far: a running maximum and this lane's part of a running sum.
template <u32 TILES>
struct Softmax {
    float most[TILES][2], sum[TILES][2];

    __device__ Softmax() {
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) most[m][half] = -INFINITY, sum[m][half] = 0.0f;
    }

    // Scores become shares, not yet divided by their sum, and what was mixed by the ones before is
    // brought to the same measure. `scale` takes log2(e) along: powers of two are what is computed.
    template <u32 COLUMNS, u32 MIXED>
    __device__ void soften(float (&scores)[TILES][COLUMNS][4], float (&mixed)[TILES][MIXED][4], float scale) {
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float high = most[m][half];
#pragma unroll
                for (u32 n = 0; n < COLUMNS; n++)
                    high = fmaxf(high, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
                high = over_row(high, [](float a, float b) { return fmaxf(a, b); });
                float base = high * scale, keep = rough_exp2(fmaf(most[m][half], scale, -base));
                most[m][half] = high;
                float found = 0.0f;
#pragma unroll
                for (u32 n = 0; n < COLUMNS; n++)
#pragma unroll
                    for (u32 i = 2 * half; i < 2 * half + 2; i++) {
                        float share = rough_exp2(fmaf(scores[m][n][i], scale, -base));
                        scores[m][n][i] = share;
                        found += share;
                    }
                sum[m][half] = fmaf(sum[m][half], keep, found);
#pragma unroll
                for (u32 n = 0; n < MIXED; n++)
#pragma unroll
                    for (u32 i = 2 * half; i < 2 * half + 2; i++) mixed[m][n][i] *= keep;
            }
    }
};
