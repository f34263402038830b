// What a branch of a block gives to the stream of tokens, and the norm for the next branch, in one pass.

#include "../../../kernel/row.cuh"

// sum = xs + drop(product + bias), and its LayerNorm. A warp a row of whole packs that a warp can hold.
template <typename T>
static __device__ void residual(const T *xs, const T *product, const T *bias, const T *weight, const T *shift,
                                T *sum, T *normed, unsigned rows, unsigned width, float epsilon, Drop drop) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const size_t start = (size_t)number * width;
    Row row(xs + start, width, lane), added(product + start, width, lane);
    FOR_ROW(width, lane, part, at) {
        const Pack branch = drop(plus(added.packs[part], load_pack(bias + at)), start + at);
        // the norm is that of what is stored: backwards nothing else is known
        row.packs[part] = as_stored<T>(plus(row.packs[part], branch));
        store_pack(sum + start + at, row.packs[part]);
    }
    const float2 found = statistics(row, width, epsilon, lane);
    FOR_ROW(width, lane, part, at) {
        const Pack w = load_pack(weight + at), b = load_pack(shift + at);
        Pack &pack = row.packs[part];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++)
            pack.values[i] = (pack.values[i] - found.x) * found.y * w.values[i] + b.values[i];
        store_pack(normed + start + at, pack);
    }
}

static const unsigned WARPS = 8;

// A row's gradient: of its sum, from that of the norm and, where the stream goes on, its own. `of_sum` may
// be null. With y = (x - mean) s and h = gradient weight it is s (h - mean(h) - y mean(h y)) + its own.
// Leaves y in `x` and the gradient in `h`.
template <typename T, unsigned PER>
static __device__ __forceinline__ void of_row(RowOf<PER> &x, RowOf<PER> &h, const T *weight, const T *of_sum,
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
    FOR_ROW_OF(PER, width, lane, part, at) {
        Pack &pack = h.packs[part];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++)
            pack.values[i] = found.y * (pack.values[i] - sum - x.packs[part].values[i] * product);
        if (of_sum) pack = plus(pack, load_pack(of_sum + at));
    }
}

// Adds up what the warps of a block have found and writes it to `out`.
template <unsigned PER>
static __device__ __forceinline__ void write_sums(const RowOf<PER> &found, float *out, unsigned width, unsigned lane) {
    static __shared__ float sums[WARPS][PER * WARP * PACK];
    __syncthreads();
    FOR_ROW_OF(PER, width, lane, part, at) store_pack(&sums[threadIdx.x / WARP][at], found.packs[part]);
    __syncthreads();
    for (unsigned column = threadIdx.x; column < width; column += WARPS * WARP) {
        float sum = 0;
        for (unsigned warp = 0; warp < WARPS; warp++) sum += sums[warp][column];
        out[column] = sum;
    }
}

// The gradients of sums and, where something drops, of branches; and what block x adds up of the rows
// band x.. on: parts [blocks, 3, width], for the norm's weight, its bias, and the bias of the branch.
template <typename T, unsigned PER>
static __device__ void residual_backward(const T *sums, const T *weight, const T *of_normed, const T *of_sums, T *out,
                                         T *branch, float *parts, unsigned rows, unsigned width, unsigned band,
                                         float epsilon, Drop drop) {
    const unsigned lane = threadIdx.x % WARP, end = min(blockIdx.x * band + band, rows);
    RowOf<PER> of_weight = {}, of_shift = {}, of_bias = {};
    for (unsigned number = blockIdx.x * band + threadIdx.x / WARP; number < end; number += WARPS) {
        const size_t start = (size_t)number * width;
        RowOf<PER> x(sums + start, width, lane), g(of_normed + start, width, lane);
        FOR_ROW_OF(PER, width, lane, part, at) of_shift.packs[part] = plus(of_shift.packs[part], g.packs[part]);
        RowOf<PER> of_x = g;
        of_row(x, of_x, weight, of_sums ? of_sums + start : nullptr, width, epsilon, lane);
        FOR_ROW_OF(PER, width, lane, part, at) {
            of_weight.packs[part] = plus(of_weight.packs[part], times(g.packs[part], x.packs[part]));
            store_pack(out + start + at, of_x.packs[part]);
            const Pack left = drop(of_x.packs[part], start + at);
            if (drop.below) store_pack(branch + start + at, left);
            of_bias.packs[part] = plus(of_bias.packs[part], left);
        }
    }
    float *to = parts + (size_t)blockIdx.x * 3 * width;
    write_sums(of_weight, to, width, lane);
    write_sums(of_shift, to + width, width, lane);
    write_sums(of_bias, to + 2 * width, width, lane);
}

#define P_RESIDUAL(T)                                                                                  \
    (const T *x, const T *product, const T *b, const T *w, const T *s, T *sum, T *normed, unsigned rows, \
        unsigned width, float e, Drop drop)
FOR_BOTH(residual, P_RESIDUAL, (x, product, b, w, s, sum, normed, rows, width, e, drop))

#define BACKWARD(WIDTH, PER, BLOCKS, T, suffix)                                                        \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) residual_backward_##WIDTH##_##suffix(    \
        const T *sums, const T *w, const T *of_normed, const T *of_sums, T *out, T *branch, float *parts, \
        unsigned rows, unsigned width, unsigned band, float e, Drop drop) {                            \
        residual_backward<T, PER>(                                                                     \
            sums, w, of_normed, of_sums, out, branch, parts, rows, width, band, e, drop);              \
    }
BACKWARD(256, 1, 3, float, f32)
BACKWARD(512, 2, 2, float, f32)
BACKWARD(1024, 4, 1, float, f32)
BACKWARD(256, 1, 3, bf16, bf16)
BACKWARD(512, 2, 2, bf16, bf16)
BACKWARD(1024, 4, 1, bf16, bf16)
