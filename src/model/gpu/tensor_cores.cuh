// Attention on tensor cores: the walk over the keys, whatever the products' arithmetic. A warp has
// TILES tiles of 16 queries, all keys of a tile, and all columns of the values.

#pragma once

#include "attention.cuh"

static constexpr u32 WARPS = 4, THREADS = 32 * WARPS;

// `Arithmetic<WIDTH>` says KEYS, the words of a tile's rows and its queries' registers, and does
// the products: `score` keys × queries, `mix` shares × values.
template <class Arithmetic>
struct Walk {
    typedef typename Arithmetic::Value Value;
    static constexpr u32 TILES = Arithmetic::TILES, QUERIES = 16 * TILES * WARPS, KEYS = Arithmetic::KEYS;
    static constexpr u32 OF_KEYS = KEYS * Arithmetic::KEY_ROW, OF_VALUES = KEYS * Arithmetic::VALUE_ROW;
    static constexpr u32 STAGE = OF_KEYS + OF_VALUES, WORDS = 2 * STAGE;

    float mixed[TILES][Arithmetic::COLUMNS][4];
    Softmax<TILES> softmax;

    __device__ Walk() { clear(mixed); }

    __device__ void write(const Head<Value> &head, const float *bias, Value *out, u32 first, const Sizes &sizes) {
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float share = 1.0f / row_sum(softmax.sum[m][half]);
                u32 token = first + 16 * m + 8 * half + threadIdx.x % 32 / 4;
                if (token >= sizes.tokens) continue;
                Value *row = head.out(out, sizes, token);
#pragma unroll
                for (u32 n = 0; n < Arithmetic::COLUMNS; n++) {
                    u32 column = n * 8 + threadIdx.x % 4 * 2;
                    if (column >= sizes.width) continue;
                    const float *two = mixed[m][n] + 2 * half;
                    Arithmetic::store(row + column, fmaf(two[0], share, bias[column]),
                        fmaf(two[1], share, bias[column + 1]));
                }
            }
    }
};

template <template <u32> class Of, u32 WIDTH>
__device__ void attend(
    const typename Of<WIDTH>::Value *qkv, const float *bias, typename Of<WIDTH>::Value *out, Sizes sizes) {
    typedef Of<WIDTH> Arithmetic;
    typedef Walk<Arithmetic> This;
    extern __shared__ uint4 pool[];
    u32 *stage = reinterpret_cast<u32 *>(pool), *other = stage + This::STAGE;
    Head<typename This::Value> head(qkv, sizes);
    auto copy = [&](u32 *to, u32 key) {
        copy_rows<WIDTH, Arithmetic::KEY_ROW>(to, head.keys, key, This::KEYS, THREADS);
        copy_rows<WIDTH, Arithmetic::VALUE_ROW>(to + This::OF_KEYS, head.values, key, This::KEYS, THREADS);
        commit_copies();
    };
    copy(stage, 0);
    u32 first = blockIdx.x * This::QUERIES + threadIdx.x / 32 * 16 * This::TILES;
    Arithmetic queries(head, head.bias(bias, sizes, 0), first, sizes);
    This walk;
    for (u32 key = 0; key < sizes.tokens; key += This::KEYS) {
        await_copies<0>();
        __syncthreads();  // this tile is there, and nobody needs the one before
        if (key + This::KEYS < sizes.tokens) copy(other, key + This::KEYS);
        float scores[This::TILES][This::KEYS / 8][4];
        queries.score(stage, scores);
        cut_off(scores, sizes.tokens - key);
        walk.softmax.soften(scores, walk.mixed, sizes.scale);
        Arithmetic::mix(scores, stage + This::OF_KEYS, walk.mixed);
        u32 *done = stage;
        stage = other;
        other = done;
    }
    walk.write(head, head.bias(bias, sizes, 2), out, first, sizes);
}

#define ATTENTION(ARITHMETIC, WIDTH, TYPE)                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_##WIDTH##_##TYPE(               \
        const ARITHMETIC<WIDTH>::Value *qkv, const float *bias, ARITHMETIC<WIDTH>::Value *out, Sizes sizes) { \
        attend<ARITHMETIC, WIDTH>(qkv, bias, out, sizes);                                              \
    }
