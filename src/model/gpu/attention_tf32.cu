// Attention of f32 values on tensor cores, which multiply their first 11 bits (TF32); sums in f32.

#include "tensor_cores.cuh"

// What an instruction takes for its k-th value is free as long as both sides agree. Of 16 columns
// of a row, a lane takes four neighbours for two instructions; and of 8 keys, those whose shares it
// holds.
template <u32 WIDTH>
struct Tf32 {
    typedef float Value;
    static constexpr u32 KEYS = 32, TILES = WIDTH <= 64 ? 2 : 1, COLUMNS = WIDTH / 8;
    // Padding: two rows of keys are read at once, 64 bytes each; and four rows of values, two
    // apart.
    static constexpr u32 KEY_ROW = WIDTH + 16, VALUE_ROW = WIDTH + 4;

    u32 queries[TILES][WIDTH / 8][4];

    // Half a unit more of the bits that count: the instruction does not look at the others.
    __device__ static u32 rounded(float value) { return __float_as_uint(value) + 0x1000; }

    __device__ Tf32(const Head<float> &head, const float *bias, u32 first, const Sizes &sizes) {
        u32 lane = threadIdx.x % 32;
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    u32 token = first + m * 16 + half * 8 + lane / 4, column = k * 16 + lane % 4 * 4;
                    float4 q = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                    if (token < sizes.tokens && column < sizes.width) {
                        const float *from = head.queries.first + (size_t)token * head.queries.stride;
                        q = *reinterpret_cast<const float4 *>(from + column);
                        const float *b = bias + column;
                        q = make_float4(q.x + b[0], q.y + b[1], q.z + b[2], q.w + b[3]);
                    }
                    queries[m][2 * k][half] = rounded(q.x);
                    queries[m][2 * k][half + 2] = rounded(q.y);
                    queries[m][2 * k + 1][half] = rounded(q.z);
                    queries[m][2 * k + 1][half + 2] = rounded(q.w);
                }
    }

    __device__ void score(const u32 *keys, float (&scores)[TILES][KEYS / 8][4]) const {
        u32 lane = threadIdx.x % 32;
        const u32 *row = keys + lane / 4 * KEY_ROW + lane % 4 * 4;
        clear(scores);
#pragma unroll
        for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++) {
                float4 b = *reinterpret_cast<const float4 *>(row + n * 8 * KEY_ROW + k * 16);
#pragma unroll
                for (u32 m = 0; m < TILES; m++) {
                    const u32 *a = queries[m][2 * k], *next = queries[m][2 * k + 1];
                    mma_tf32(scores[m][n], a[0], a[1], a[2], a[3], rounded(b.x), rounded(b.y));
                    mma_tf32(scores[m][n], next[0], next[1], next[2], next[3], rounded(b.z), rounded(b.w));
                }
            }
    }

    __device__ static void mix(
        const float (&shares)[TILES][KEYS / 8][4], const u32 *values, float (&mixed)[TILES][COLUMNS][4]) {
        u32 lane = threadIdx.x % 32;
        const float *row = reinterpret_cast<const float *>(values) + lane % 4 * 2 * VALUE_ROW + lane / 4;
#pragma unroll
        for (u32 k = 0; k < KEYS / 8; k++)
#pragma unroll
            for (u32 n = 0; n < COLUMNS; n++) {
                const float *b = row + k * 8 * VALUE_ROW + n * 8;
                u32 even = rounded(b[0]), odd = rounded(b[VALUE_ROW]);
#pragma unroll
                for (u32 m = 0; m < TILES; m++) {
                    const float *a = shares[m][k];
                    mma_tf32(mixed[m][n], rounded(a[0]), rounded(a[2]), rounded(a[1]), rounded(a[3]), even, odd);
                }
            }
    }

    __device__ static void store(float *to, float first, float second) {
        *reinterpret_cast<float2 *>(to) = make_float2(first, second);
    }
};

ATTENTION(Tf32, 64, tf32)
ATTENTION(Tf32, 128, tf32)
