// LayerNorm, forwards and backwards.

#include "pack.cuh"

// Packs of a row that a lane keeps: rows of at most 4 * 32 packs; wider ones, and those that are
// not whole packs, are read again value by value.
static const unsigned KEPT = 4;

// A row in the registers of a warp; what lies behind its end is zero.
struct Row {
    Pack packs[KEPT];

    template <typename T>
    __device__ __forceinline__ Row(const T *row, unsigned width, unsigned lane) {
#pragma unroll
        for (unsigned part = 0; part < KEPT; part++) {
            const unsigned at = (part * WARP + lane) * PACK;
            packs[part] = at < width ? load_pack(row + at) : Pack{};
        }
    }
};

// Goes over the packs of a row that a lane keeps: `at` is the place of the first value of a pack.
#define FOR_ROW(width, lane, part, at)                                                                 \
    _Pragma("unroll") for (unsigned part = 0; part < KEPT; part++)                                     \
        if (const unsigned at = (part * WARP + lane) * PACK; at < (width))

static __device__ __forceinline__ bool fits_row(unsigned width) {
    return width % PACK == 0 && width <= KEPT * WARP * PACK;
}

// A row's mean and one over its deviation, in every lane.
static __device__ __forceinline__ float2 statistics(const Row &row, unsigned width, float epsilon, unsigned lane) {
    float sum = 0, squares = 0;
    FOR_ROW(width, lane, part, at)
        for (unsigned i = 0; i < PACK; i++) sum += row.packs[part].values[i];
    const float mean = warp_sum(sum) / width;
    FOR_ROW(width, lane, part, at)
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

template <typename T>
static __device__ void norm(const T *xs, const T *weight, const T *bias, T *out, unsigned rows,
                            unsigned width, float epsilon) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const T *x = xs + (size_t)number * width;
    T *to = out + (size_t)number * width;
    if (!fits_row(width)) {
        const float2 found = statistics(x, width, epsilon, lane);
        for (unsigned i = lane; i < width; i += WARP)
            store(to + i, (load(x + i) - found.x) * found.y * load(weight + i) + load(bias + i));
        return;
    }
    Row row(x, width, lane);
    const float2 found = statistics(row, width, epsilon, lane);
    FOR_ROW(width, lane, part, at) {
        const Pack w = load_pack(weight + at), b = load_pack(bias + at);
        Pack &pack = row.packs[part];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++)
            pack.values[i] = (pack.values[i] - found.x) * found.y * w.values[i] + b.values[i];
        store_pack(to + at, pack);
    }
}

// With y = (x - mean) s and h = gradient weight: dx = s (h - mean(h) - y mean(h y)). Leaves mean
// and s of every row for the sums over rows.
template <typename T>
static __device__ void norm_backward(const T *xs, const T *weight, const T *gradient, T *out,
                                     float *kept, unsigned rows, unsigned width, float epsilon) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const T *x = xs + (size_t)number * width, *g = gradient + (size_t)number * width;
    T *to = out + (size_t)number * width;
    float2 found;
    float sum = 0, product = 0;
    if (fits_row(width)) {
        Row row(x, width, lane), h(g, width, lane);
        found = statistics(row, width, epsilon, lane);
        FOR_ROW(width, lane, part, at) {
            const Pack w = load_pack(weight + at);
#pragma unroll
            for (unsigned i = 0; i < PACK; i++) {
                float &y = row.packs[part].values[i], &weighted = h.packs[part].values[i];
                y = (y - found.x) * found.y;
                weighted *= w.values[i];
                sum += weighted;
                product += weighted * y;
            }
        }
        sum = warp_sum(sum) / width;
        product = warp_sum(product) / width;
        FOR_ROW(width, lane, part, at) {
            Pack &pack = h.packs[part];
#pragma unroll
            for (unsigned i = 0; i < PACK; i++)
                pack.values[i] = found.y * (pack.values[i] - sum - row.packs[part].values[i] * product);
            store_pack(to + at, pack);
        }
    } else {
        found = statistics(x, width, epsilon, lane);
        for (unsigned i = lane; i < width; i += WARP) {
            const float h = load(g + i) * load(weight + i);
            sum += h;
            product += h * (load(x + i) - found.x) * found.y;
        }
        sum = warp_sum(sum) / width;
        product = warp_sum(product) / width;
        for (unsigned i = lane; i < width; i += WARP) {
            const float h = load(g + i) * load(weight + i);
            store(to + i, found.y * (h - sum - (load(x + i) - found.x) * found.y * product));
        }
    }
    if (lane == 0) {
        kept[2 * number] = found.x;
        kept[2 * number + 1] = found.y;
    }
}

#define P_NORM(T) (const T *x, const T *w, const T *b, T *o, unsigned rows, unsigned width, float e)
FOR_BOTH(norm, P_NORM, (x, w, b, o, rows, width, e))
#define P_NORM_BACKWARD(T) \
    (const T *x, const T *w, const T *g, T *o, float *kept, unsigned rows, unsigned width, float e)
FOR_BOTH(norm_backward, P_NORM_BACKWARD, (x, w, g, o, kept, rows, width, e))
