// How a tile of queries × keys is multiplied: in f32, and on tensor cores in TF32 or bf16.

#pragma once

#include "sequence.cuh"

// --------------------------------------------------------------------------------- arithmetics

// Each arithmetic multiplies a slice, PIECES × 16 bytes of every row, in shared memory: the
// queries, and behind them the rows of the keys, WORDS apart. It does so in PARTS, each of which
// begins with what a thread needs of one side (`load`): those values are read while the part before
// is multiplied, so nobody waits for them. A thread holds 64 of the tile's sums.

constexpr u32 CHANNELS = PIECES * 4;  // words of a slice

// f32: fused multiply-adds in the order of the row, so a score is the same wherever it is computed.
//
// The queries are LAID out channel by channel, so that a thread's 8 of them lie in registers side
// by side for each channel. A multiprocessor reads one even and one odd register at a time, next to
// the one it still holds from the instruction before, here the key's (Huerta and others, "Analyzing
// Modern NVIDIA GPU cores", arXiv:2503.20481). With both sides in rows the query's register is even
// in one channel and odd in the next, like the key's, and sums have to change places all the time;
// like this a query's is one or the other, and its sums are the opposite.
struct F32 {
    static constexpr u32 WORDS = CHANNELS + 4;  // padded: 8 rows touch all banks
    static constexpr u32 PADDING = 2;           // of rows of scores: every 4th starts 8 banks further
    static constexpr u32 PARTS = PIECES;
    static constexpr u32 TURN = PARTS;  // parts between two jumps
    static constexpr bool LAID = true;
    struct Ahead {
        float4 keys[8];
    };

    // Lane bits 1–3 choose the key, bits 0 and 4 the query: so neighbours in both directions read
    // the same address and shared memory serves half a warp at once.
    template <class Tile>
    __device__ static u32 query() {
        u32 lane = threadIdx.x % 32;
        return Tile::query() + (lane & 1) * 4 + (lane >> 4) * 8;
    }
    template <class Tile>
    __device__ static u32 key() {
        return Tile::key() + (threadIdx.x >> 1) % 8;
    }

    template <class Tile>
    __device__ static void load(const u32 *slice, u32 part, Ahead &ahead) {
        slice += Tile::QUERIES * CHANNELS + key<Tile>() * WORDS + part * 4;
#pragma unroll
        for (u32 j = 0; j < 8; j++)
            ahead.keys[j] = *reinterpret_cast<const float4 *>(slice + j * 8 * WORDS);
    }

    template <class Tile>
    __device__ static void multiply(
        const u32 *slice, u32 part, const Ahead &ahead, float (&sums)[64]) {
        slice += query<Tile>() + part * 4 * Tile::QUERIES;
#pragma unroll
        for (u32 channel = 0; channel < 4; channel++) {
            float4 four = *reinterpret_cast<const float4 *>(slice + channel * Tile::QUERIES);
            float4 more = *reinterpret_cast<const float4 *>(slice + channel * Tile::QUERIES + 16);
            float a[8] = {four.x, four.y, four.z, four.w, more.x, more.y, more.z, more.w};
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                const float4 &key = ahead.keys[j];
                float b = channel == 0 ? key.x : channel == 1 ? key.y : channel == 2 ? key.z : key.w;
#pragma unroll
                for (u32 i = 0; i < 8; i++) sums[i * 8 + j] = fmaf(a[i], b, sums[i * 8 + j]);
            }
        }
    }

    template <class Tile>
    __device__ static void store(const float (&sums)[64], float *scores) {
        constexpr u32 ROW = Tile::KEYS + PADDING;
        scores += query<Tile>() * ROW + key<Tile>();
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++) scores[(i / 4 * 16 + i % 4) * ROW + 8 * j] = sums[i * 8 + j];
    }
};

// Tensor cores. Which of a row's values an instruction takes for its k-th is free as long as
// queries and keys agree: a lane takes 16 consecutive bytes, enough for two instructions.
template <class Product>
struct Tensor {
    static constexpr u32 WORDS = CHANNELS;
    static constexpr u32 PADDING = 8;  // of rows of scores: no bank conflicts
    static constexpr u32 PARTS = 1, TURN = 1;
    static constexpr bool LAID = false;
    struct Ahead {
        uint4 queries[4];
    };

    template <class Tile>
    __device__ static void load(const u32 *slice, u32, Ahead &ahead) {
        u32 lane = threadIdx.x % 32;
        slice += (Tile::query() + lane / 4) * WORDS + lane % 4 * 4;
#pragma unroll
        for (u32 i = 0; i < 4; i++)
            ahead.queries[i] = *reinterpret_cast<const uint4 *>(slice + i * 8 * WORDS);
    }

    template <class Tile>
    __device__ static void multiply(
        const u32 *slice, u32, const Ahead &ahead, float (&sums)[64]) {
        u32 lane = threadIdx.x % 32;
        slice += Tile::QUERIES * CHANNELS + (Tile::key() + lane / 4) * WORDS + lane % 4 * 4;
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            uint4 b = *reinterpret_cast<const uint4 *>(slice + j * 8 * WORDS);
#pragma unroll
            for (u32 i = 0; i < 2; i++)
                Product::add(sums + (i * 8 + j) * 4, ahead.queries[2 * i], ahead.queries[2 * i + 1], b);
        }
    }

    template <class Tile>
    __device__ static void store(const float (&sums)[64], float *scores) {
        u32 lane = threadIdx.x % 32;
        constexpr u32 ROW = Tile::KEYS + PADDING;
        scores += (Tile::query() + lane / 4) * ROW + Tile::key() + lane % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < 2; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                const float *four = sums + (i * 8 + j) * 4;
                float *out = scores + i * 16 * ROW + j * 8;
                *reinterpret_cast<float2 *>(out) = make_float2(four[0], four[1]);
                *reinterpret_cast<float2 *>(out + 8 * ROW) = make_float2(four[2], four[3]);
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
