// What a branch of a block gives to the stream of tokens, and the norm for the next branch, in one
// pass.

#include "../../../kernel/row.cuh"

// sum = xs + drop(product + bias), and its LayerNorm. A warp a row of whole packs that a warp can
// hold.
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
    norm_row(row, weight, shift, normed + start, width, epsilon, lane);
}

static const unsigned WARPS = 8;

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

// The gradients of sums and, where something drops, of branches (`of_sums` may be null); and what
// block x adds up of the rows band x.. on: parts [blocks, 3, width], for the norm's weight, its
// bias, and the bias of the branch.
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
        norm_row_backward(x, of_x, weight, width, epsilon, lane);
        FOR_ROW_OF(PER, width, lane, part, at) {
            // where the stream goes on, its own gradient comes on top
            if (of_sums) of_x.packs[part] = plus(of_x.packs[part], load_pack(of_sums + start + at));
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
