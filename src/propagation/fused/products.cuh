// How 64 queries × 128 keys are multiplied: in f32, and on tensor cores in TF32 or bf16.

#pragma once

#include "sequence.cuh"

// --------------------------------------------------------------------------------- arithmetics

// Each arithmetic multiplies a slice, PIECES × 16 bytes of every row, in shared memory: 64 rows of
// queries, then 128 rows of keys, WORDS apart. A thread holds 64 of the tile's sums.

// f32: fused multiply-adds in the order of the row, so a score is the same wherever it is computed.
struct F32 {
    static constexpr u32 WORDS = 20;  // 16 and 4 of padding: 8 rows touch all banks

    // Lane bits 1–3 choose the key, bits 0 and 4 the query: so neighbours in both directions read
    // the same address and shared memory serves half a warp at once.
    struct Place {
        u32 query, key;
        __device__ Place() {
            u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
            query = (warp % 2) * 32 + (lane & 1) + (lane >> 4) * 2;
            key = (warp / 2) * 64 + (lane >> 1) % 8;
        }
    };

    __device__ static void multiply(const u32 *slice, float (&sums)[64]) {
        Place place;
        const u32 *queries = slice + place.query * WORDS;
        const u32 *keys = slice + (QUERIES + place.key) * WORDS;
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++) {
            float4 a[8];
#pragma unroll
            for (u32 i = 0; i < 8; i++)
                a[i] = *reinterpret_cast<const float4 *>(queries + i * 4 * WORDS + piece * 4);
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                float4 b = *reinterpret_cast<const float4 *>(keys + j * 8 * WORDS + piece * 4);
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    float &sum = sums[i * 8 + j];
                    sum = fmaf(a[i].x, b.x, sum);
                    sum = fmaf(a[i].y, b.y, sum);
                    sum = fmaf(a[i].z, b.z, sum);
                    sum = fmaf(a[i].w, b.w, sum);
                }
            }
        }
    }

    __device__ static void store(const float (&sums)[64], float *scores) {
        Place place;
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++)
                scores[(place.query + 4 * i) * SCORES + place.key + 8 * j] = sums[i * 8 + j];
    }
};

// Tensor cores. Which of a row's values an instruction takes for its k-th is free as long as
// queries and keys agree: a lane takes 16 consecutive bytes, enough for two instructions.
template <class Product>
struct Tensor {
    static constexpr u32 WORDS = 16;

    __device__ static void multiply(const u32 *slice, float (&sums)[64]) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const u32 *queries = slice + ((warp % 2) * 32 + lane / 4) * WORDS + lane % 4 * 4;
        const u32 *keys = slice + (QUERIES + (warp / 2) * 64 + lane / 4) * WORDS + lane % 4 * 4;
        uint4 a[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++)
            a[i] = *reinterpret_cast<const uint4 *>(queries + i * 8 * WORDS);
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            uint4 b = *reinterpret_cast<const uint4 *>(keys + j * 8 * WORDS);
#pragma unroll
            for (u32 i = 0; i < 2; i++)
                Product::add(sums + (i * 8 + j) * 4, a[2 * i], a[2 * i + 1], b);
        }
    }

    __device__ static void store(const float (&sums)[64], float *scores) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        scores += ((warp % 2) * 32 + lane / 4) * SCORES + (warp / 2) * 64 + lane % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < 2; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                const float *four = sums + (i * 8 + j) * 4;
                float *out = scores + i * 16 * SCORES + j * 8;
                *reinterpret_cast<float2 *>(out) = make_float2(four[0], four[1]);
                *reinterpret_cast<float2 *>(out + 8 * SCORES) = make_float2(four[2], four[3]);
            }
    }
};

struct Tf32Product {
    __device__ static void add(float *sums, uint4 upper, uint4 lower, uint4 key) {
        mma_tf32(sums, upper.x, lower.x, upper.y, lower.y, key.x, key.y);
        mma_tf32(sums, upper.z, lower.z, upper.w, lower.w, key.z, key.w);
    }
};

struct Bf16Product {
    __device__ static void add(float *sums, uint4 upper, uint4 lower, uint4 key) {
        mma_bf16(sums, upper.x, lower.x, upper.y, lower.y, key.x, key.y);
        mma_bf16(sums, upper.z, lower.z, upper.w, lower.w, key.z, key.w);
    }
};

using Tf32 = Tensor<Tf32Product>;
using Bf16 = Tensor<Bf16Product>;
