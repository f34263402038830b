// LayerNorm, forwards and backwards.

#include "../../../kernel/row.cuh"

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
