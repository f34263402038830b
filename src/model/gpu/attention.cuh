// Attention whose scores never leave the chip; what its three arithmetics share.
//
// A block takes some queries of one head of one image and walks over the keys, tile by tile:
// scores, their softmax so far (a running maximum and a running sum per query, the values mixed so
// far scaled down when the maximum grows), the values mixed. Nothing is written but the mixed
// values.
//
// The projection to queries, keys and values comes without its bias. That of the keys adds the same
// to all scores of a query, which no softmax sees; that of the values is the same in every mixture
// and is added at the end; so only queries get theirs when they are read.
//
// Tiles are as wide as WIDTH, and heads that are narrower are filled up with zeros, as is what lies
// behind the last token; scores of keys that are not there become minus infinity.

#pragma once

#include "../../kernel/tile.cuh"

// attention.rs has the same structure.
struct Sizes {
    u32 tokens, heads;
    u32 width;    // of a head, a multiple of 8
    float scale;  // of scores: width^-1/2, times log2(e) because powers of two are what is computed
};
static_assert(sizeof(Sizes) == 16, "as the structure in Rust");

// One head of one image in [B, tokens, 3, heads, width]: the grid's y.
template <class T>
struct Head {
    Rows<T> queries, keys, values;
    u32 head, image;

    __device__ Head(const T *qkv, const Sizes &sizes) {
        head = blockIdx.y % sizes.heads;
        image = blockIdx.y / sizes.heads;
        u32 part = sizes.heads * sizes.width, row = 3 * part;
        const T *first = qkv + (size_t)image * sizes.tokens * row + head * sizes.width;
        queries = {first, row, sizes.tokens, sizes.width};
        keys = {first + part, row, sizes.tokens, sizes.width};
        values = {first + 2 * part, row, sizes.tokens, sizes.width};
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
