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
    norm_row(Row(x, width, lane), weight, bias, to, width, epsilon, lane);
}

// As row.cuh says it, row by row. Leaves mean and one over the deviation of every row for the sums
// over rows.
template <typename T>
static __device__ void norm_backward(const T *xs, const T *weight, const T *gradient, T *out,
                                     float *kept, unsigned rows, unsigned width, float epsilon) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const T *x = xs + (size_t)number * width, *g = gradient + (size_t)number * width;
    T *to = out + (size_t)number * width;
    float2 found;
    if (fits_row(width)) {
        Row row(x, width, lane), h(g, width, lane);
        found = norm_row_backward(row, h, weight, width, epsilon, lane);
        FOR_ROW(width, lane, part, at) store_pack(to + at, h.packs[part]);
    } else {
        found = statistics(x, width, epsilon, lane);
        float sum = 0, product = 0;
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
