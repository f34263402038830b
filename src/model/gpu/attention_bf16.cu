// Attention of bfloat16 values on tensor cores, sums in f32.

#include <cuda_bf16.h>

#include "tensor_cores.cuh"

template <u32 WIDTH>
struct Bf16 {
    typedef __nv_bfloat16 Value;
    static constexpr u32 KEYS = 64, TILES = WIDTH <= 64 ? 2 : 1, COLUMNS = WIDTH / 8;
    // 16 bytes of padding: eight rows of a matrix touch all banks
    static constexpr u32 KEY_ROW = WIDTH / 2 + 4, VALUE_ROW = KEY_ROW;

    u32 queries[TILES][WIDTH / 16][4];

    // A lane's part of its warp's queries, with their bias; a word is two neighbours of a row.
    __device__ Bf16(const Head<Value> &head, const float *bias, u32 first, const Sizes &sizes) {
        u32 lane = threadIdx.x % 32;
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    u32 token = first + m * 16 + i % 2 * 8 + lane / 4;
                    u32 column = k * 16 + i / 2 * 8 + lane % 4 * 2;
                    if (token < sizes.tokens && column < sizes.width) {
                        const Value *from = head.queries + (size_t)token * head.row + column;
                        __nv_bfloat162 two = *reinterpret_cast<const __nv_bfloat162 *>(from);
                        queries[m][k][i] = to_bf16(
                            __bfloat162float(two.x) + bias[column], __bfloat162float(two.y) + bias[column + 1]);
                    } else {
                        queries[m][k][i] = 0;
                    }
                }
    }

    __device__ void score(const u32 *keys, float (&scores)[TILES][KEYS / 8][4]) const {
        u32 lane = threadIdx.x % 32;
        const u32 *row = keys + (lane % 8 + lane / 16 * 8) * KEY_ROW + lane / 8 % 2 * 4;
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) scores[m][n][i] = 0.0f;
#pragma unroll
        for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
            for (u32 n = 0; n < KEYS / 16; n++) {
                u32 b[4];
                load_matrices(b, row + n * 16 * KEY_ROW + k * 8);
#pragma unroll
                for (u32 m = 0; m < TILES; m++) {
                    const u32 *a = queries[m][k];
                    mma_bf16(scores[m][2 * n], a[0], a[1], a[2], a[3], b[0], b[1]);
                    mma_bf16(scores[m][2 * n + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
                }
            }
    }

    __device__ static void mix(
        const float (&shares)[TILES][KEYS / 8][4], const u32 *values, float (&mixed)[TILES][COLUMNS][4]) {
        u32 lane = threadIdx.x % 32;
        const u32 *row = values + (lane % 8 + lane / 8 % 2 * 8) * VALUE_ROW + lane / 16 * 4;
#pragma unroll
        for (u32 k = 0; k < KEYS / 16; k++) {
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
                load_transposed(b, row + k * 16 * VALUE_ROW + n * 8);
#pragma unroll
                for (u32 m = 0; m < TILES; m++) {
                    mma_bf16(mixed[m][2 * n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
                    mma_bf16(mixed[m][2 * n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
                }
            }
        }
    }

    __device__ static void store(Value *to, float first, float second) {
        *reinterpret_cast<u32 *>(to) = to_bf16(first, second);
    }
};

ATTENTION(Bf16, 64, bf16)
ATTENTION(Bf16, 128, bf16)
