// LayerNorm of a row that a warp holds: its mean and deviation, its norm, its gradient.

#pragma once

#include "pack.cuh"

// Packs of a row that a lane keeps: rows of at most 4 * 32 packs; wider ones, and those that are
// not whole packs, are read again value by value.
static const unsigned KEPT = 4;

// A row of at most PER * 32 packs in the registers of a warp; what lies behind its end is zero.
template <unsigned PER>
struct RowOf {
    Pack packs[PER];

    RowOf() = default;

    template <typename T>
    __device__ __forceinline__ RowOf(const T *row, unsigned width, unsigned lane) {
#pragma unroll
        for (unsigned part = 0; part < PER; part++) {
            const unsigned at = (part * WARP + lane) * PACK;
            packs[part] = at < width ? load_pack(row + at) : Pack{};
        }
    }
};

typedef RowOf<KEPT> Row;

// Goes over the packs of a row that a lane keeps: `at` is the place of the first value of a pack.
#define FOR_ROW_OF(PER, width, lane, part, at)                                                         \
    _Pragma("unroll") for (unsigned part = 0; part < PER; part++)                                      \
        if (const unsigned at = (part * WARP + lane) * PACK; at < (width))
#define FOR_ROW(width, lane, part, at) FOR_ROW_OF(KEPT, width, lane, part, at)

static __device__ __forceinline__ bool fits_row(unsigned width) {
    return width % PACK == 0 && width <= KEPT * WARP * PACK;
}

// A row's mean and one over its deviation, in every lane.
template <unsigned PER>
static __device__ __forceinline__ float2 statistics(const RowOf<PER> &row, unsigned width, float epsilon,
                                                    unsigned lane) {
    float sum = 0, squares = 0;
    FOR_ROW_OF(PER, width, lane, part, at)
        for (unsigned i = 0; i < PACK; i++) sum += row.packs[part].values[i];
    const float mean = warp_sum(sum) / width;
    FOR_ROW_OF(PER, width, lane, part, at)
        for (unsigned i = 0; i < PACK; i++) {
            const float off = row.packs[part].values[i] - mean;
            squares += off * off;
        }
    return make_float2(mean, rsqrtf(warp_sum(squares) / width + epsilon));
}

template <typename T>
static __device__ float2 statistics(const T *row, unsigned width, float epsilon, unsigned lane) {
    float sum = 0, squares = 0;
    for (unsigned i = lane; i < width; i += WARP) sum += load(row + i);
    const float mean = warp_sum(sum) / width;
    for (unsigned i = lane; i < width; i += WARP) {
        const float off = load(row + i) - mean;
        squares += off * off;
    }
    return make_float2(mean, rsqrtf(warp_sum(squares) / width + epsilon));
}

// The LayerNorm of a row, to `to`.
template <typename T, unsigned PER>
static __device__ __forceinline__ void norm_row(const RowOf<PER> &row, const T *weight, const T *bias, T *to,
                                                unsigned width, float epsilon, unsigned lane) {
    const float2 found = statistics(row, width, epsilon, lane);
    FOR_ROW_OF(PER, width, lane, part, at) {
        const Pack w = load_pack(weight + at), b = load_pack(bias + at);
        Pack pack = row.packs[part];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++)
            pack.values[i] = (pack.values[i] - found.x) * found.y * w.values[i] + b.values[i];
        store_pack(to + at, pack);
    }
}

// The gradient of a row from that of its norm. With y = (x - mean) s and h = gradient weight it is
// s (h - mean(h) - y mean(h y)). Leaves y in `x` and what it found in `h`; returns mean and s.
template <typename T, unsigned PER>
static __device__ __forceinline__ float2 norm_row_backward(RowOf<PER> &x, RowOf<PER> &h, const T *weight,
                                                           unsigned width, float epsilon, unsigned lane) {
    const float2 found = statistics(x, width, epsilon, lane);
    float sum = 0, product = 0;
    FOR_ROW_OF(PER, width, lane, part, at) {
        const Pack w = load_pack(weight + at);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            float &y = x.packs[part].values[i], &weighted = h.packs[part].values[i];
            y = (y - found.x) * found.y;
            weighted *= w.values[i];
            sum += weighted;
            product += weighted * y;
        }
    }
    sum = warp_sum(sum) / width;
    product = warp_sum(product) / width;
    FOR_ROW_OF(PER, width, lane, part, at)
        for (unsigned i = 0; i < PACK; i++) {
            float &value = h.packs[part].values[i];
            value = found.y * (value - sum - x.packs[part].values[i] * product);
        }
    return found;
}
