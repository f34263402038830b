// Attention whose scores never leave the chip; what its three arithmetics share.
//
// A block takes some queries of one head of one image and walks over the keys, tile by tile: scores,
// their softmax so far (a running maximum and a running sum per query, the values mixed so far scaled
// down when the maximum grows), the values mixed. Nothing is written but the mixed values.
//
// The projection to queries, keys and values comes without its bias. That of the keys adds the same to
// all scores of a query, which no softmax sees; that of the values is the same in every mixture and is
// added at the end; so only queries get theirs when they are read.
//
// Tiles are as wide as WIDTH, and heads that are narrower are filled up with zeros, as is what lies
// behind the last token; scores of keys that are not there become minus infinity.

#pragma once

#include "../../kernel/instructions.cuh"

// attention.rs has the same structure.
struct Sizes {
    u32 tokens, heads;
    u32 width;    // of a head, a multiple of 8
    float scale;  // of scores: width^-1/2, times log2(e) because powers of two are what is computed
};

// One head of one image in [B, tokens, 3, heads, width]: the grid's y.
template <class T>
struct Head {
    const T *queries, *keys, *values;
    u32 head, image, row;  // values from one token to the next

    __device__ Head(const T *qkv, const Sizes &sizes) {
        head = blockIdx.y % sizes.heads;
        image = blockIdx.y / sizes.heads;
        u32 part = sizes.heads * sizes.width;
        row = 3 * part;
        queries = qkv + (size_t)image * sizes.tokens * row + head * sizes.width;
        keys = queries + part;
        values = keys + part;
    }

    // Where the mixed values of a query go, in [B, tokens, heads, width].
    __device__ T *out(T *mixed, const Sizes &sizes, u32 query) const {
        size_t token = (size_t)image * sizes.tokens + query;
        return mixed + (token * sizes.heads + head) * sizes.width;
    }

    // The bias of queries; that of the values lies two parts further.
    __device__ const float *bias(const float *all, const Sizes &sizes, u32 part) const {
        return all + (part * sizes.heads + head) * sizes.width;
    }
};

// Begins to copy ROWS tokens of one part from `first` on into rows of STRIDE words.
template <u32 ROWS, u32 WIDTH, u32 STRIDE, u32 THREADS, class T>
__device__ void copy_rows(u32 *to, const T *part, u32 row, u32 first, const Sizes &sizes) {
    constexpr u32 PER = 16 / sizeof(T), PIECES = WIDTH / PER;
#pragma unroll
    for (u32 n = threadIdx.x; n < ROWS * PIECES; n += THREADS) {
        u32 token = first + n / PIECES, piece = n % PIECES;
        bool there = token < sizes.tokens && piece * PER < sizes.width;
        const T *from = there ? part + (size_t)token * row + piece * PER : part;
        copy_async_or_zero(to + n / PIECES * STRIDE + piece * 4, (const uint4 *)from, there);
    }
}
