// Products of bfloat16 rows on tensor cores, sums in f32: a warp's own rows in registers, the
// others in shared memory. How a warp holds what: tile.cuh.

#pragma once

#include <cuda_bf16.h>

#include "tile.cuh"

// Words from one row of WIDTH values to the next in shared memory; 16 bytes of padding: eight rows
// of a matrix touch all banks.
static __device__ constexpr u32 row_words(u32 width) { return width / 2 + 4; }

// A lane's part of its warp's rows; a word is two neighbours of a row.
template <u32 TILES, u32 WIDTH>
using Own = u32[TILES][WIDTH / 16][4];

// `word(row, column)` are the two values from `column` on, where there are any.
template <u32 TILES, u32 WIDTH, class Word>
__device__ void load_own(Own<TILES, WIDTH> &own, u32 first, u32 count, u32 width, Word word) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 m = 0; m < TILES; m++)
#pragma unroll
        for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 row = first + m * 16 + i % 2 * 8 + lane / 4, column = k * 16 + i / 2 * 8 + lane % 4 * 2;
                own[m][k][i] = row < count && column < width ? word(row, column) : 0;
            }
}

// Own rows times 8 COLUMNS rows in shared memory.
template <u32 WIDTH, u32 TILES, u32 COLUMNS>
__device__ void multiply(const Own<TILES, WIDTH> &own, const u32 *rows, float (&sums)[TILES][COLUMNS][4]) {
    constexpr u32 STRIDE = row_words(WIDTH);
    u32 lane = threadIdx.x % 32;
    const u32 *row = rows + (lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 4;
    clear(sums);
#pragma unroll
    for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
        for (u32 n = 0; n < COLUMNS / 2; n++) {
            u32 b[4];
            load_matrices(b, row + n * 16 * STRIDE + k * 8);
#pragma unroll
            for (u32 m = 0; m < TILES; m++) {
                const u32 *a = own[m][k];
                mma_bf16(sums[m][2 * n], a[0], a[1], a[2], a[3], b[0], b[1]);
                mma_bf16(sums[m][2 * n + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
            }
        }
}

// Adds the mixture of 8 COLUMNS rows in shared memory, each by its share.
template <u32 WIDTH, u32 TILES, u32 COLUMNS>
__device__ void mix(const float (&shares)[TILES][COLUMNS][4], const u32 *rows, float (&mixed)[TILES][WIDTH / 8][4]) {
    constexpr u32 STRIDE = row_words(WIDTH);
    u32 lane = threadIdx.x % 32;
    const u32 *row = rows + (lane % 8 + lane / 8 % 2 * 8) * STRIDE + lane / 16 * 4;
#pragma unroll
    for (u32 k = 0; k < COLUMNS / 2; k++) {
        u32 a[TILES][4];
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const float *two = shares[m][2 * k + i / 2] + i % 2 * 2;
                a[m][i] = to_bf16(two[0], two[1]);
            }
#pragma unroll
        for (u32 n = 0; n < WIDTH / 16; n++) {
            u32 b[4];
            load_transposed(b, row + k * 16 * STRIDE + n * 8);
#pragma unroll
            for (u32 m = 0; m < TILES; m++) {
                mma_bf16(mixed[m][2 * n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
                mma_bf16(mixed[m][2 * n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
            }
        }
    }
}

// The product of two pairs.
__device__ inline float dot(u32 a, u32 b) {
    float low = __uint_as_float(a << 16) * __uint_as_float(b << 16);
    return fmaf(__uint_as_float(a & 0xffff0000u), __uint_as_float(b & 0xffff0000u), low);
}
