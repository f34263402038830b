// What lies between the two layers of a feed-forward: the first one's bias, GELU, dropout. Rows are
// whole packs.

#include "../../../kernel/columns.cuh"

// drop(x Phi(x)) of a product with its bias.
template <typename T>
static __device__ void hidden(const T *product, const T *bias, T *out, unsigned count, unsigned columns, Drop drop) {
    for (unsigned first = place() * PACK; first < count; first += stride() * PACK) {
        Pack pack = plus(load_pack(product + first), load_pack(bias + first % columns));
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] *= share_below(pack.values[i]);
        store_pack(out + first, drop(pack, first));
    }
}

// The product's gradient, the derivative being Phi(x) + x phi(x); and its sums over the rows of a
// band, which are the bias's: parts [bands, columns].
template <typename T>
static __device__ void hidden_backward(const T *product, const T *bias, const T *gradient, T *out, float *parts,
                                          unsigned rows, unsigned columns, unsigned band, Drop drop) {
    const Column column(rows, columns, band);
    const Pack b = column.first < columns ? load_pack(bias + column.first) : Pack{};
    Pack sum = {};
    for (unsigned row = column.rows_from; row < column.rows_to; row += LANES) {
        const size_t at = (size_t)row * columns + column.first;
        const Pack xs = plus(load_pack(product + at), b);
        Pack moved = drop(load_pack(gradient + at), at);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            const float x = xs.values[i], density = 0.3989422804014327f * expf(-0.5f * x * x);
            moved.values[i] *= share_below(x) + x * density;
        }
        store_pack(out + at, moved);
        sum = plus(sum, moved);
    }
    column.write(sum, parts + (size_t)blockIdx.y * columns, columns);
}

#define P_HIDDEN(T) (const T *x, const T *b, T *o, unsigned count, unsigned columns, Drop drop)
FOR_BOTH(hidden, P_HIDDEN, (x, b, o, count, columns, drop))
#define P_HIDDEN_BACKWARD(T)                                                                        \
    (const T *x, const T *b, const T *g, T *o, float *parts, unsigned rows, unsigned columns, unsigned band, \
        Drop drop)
FOR_BOTH(hidden_backward, P_HIDDEN_BACKWARD, (x, b, g, o, parts, rows, columns, band, drop))
