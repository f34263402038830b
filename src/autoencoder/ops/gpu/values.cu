// What happens to each value by itself: biases, GELU, dropout.

#include "../../../kernel/pack.cuh"

// Goes over `count` values in packs: `first` is the place of a pack, `width` how many it has, which
// is less than PACK at the very end alone.
#define FOR_PACKS(count, first, width)                                                                 \
    for (unsigned first = place() * PACK; first < (count); first += stride() * PACK)                   \
        if (const unsigned width = min(PACK, (count) - first); true)

template <typename T>
static __device__ __forceinline__ Pack load_up_to(const T *from, unsigned width) {
    if (width == PACK) return load_pack(from);
    Pack pack = {};
    for (unsigned i = 0; i < width; i++) pack.values[i] = load(from + i);
    return pack;
}

template <typename T>
static __device__ __forceinline__ void store_up_to(T *to, const Pack &pack, unsigned width) {
    if (width == PACK) return store_pack(to, pack);
    for (unsigned i = 0; i < width; i++) store(to + i, pack.values[i]);
}

// Rows are whole packs.
template <typename T>
static __device__ void add_bias(T *values, const T *bias, unsigned count, unsigned columns) {
    for (unsigned first = place() * PACK; first < count; first += stride() * PACK) {
        store_pack(values + first, plus(load_pack(values + first), load_pack(bias + first % columns)));
    }
}

// x Phi(x)
template <typename T>
static __device__ void gelu(const T *xs, T *out, unsigned count) {
    FOR_PACKS(count, first, width) {
        Pack pack = load_up_to(xs + first, width);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] *= share_below(pack.values[i]);
        store_up_to(out + first, pack, width);
    }
}

// Its derivative is Phi(x) + x phi(x).
template <typename T>
static __device__ void gelu_backward(const T *xs, const T *gradient, T *out, unsigned count) {
    FOR_PACKS(count, first, width) {
        const Pack pack = load_up_to(xs + first, width);
        Pack moved = load_up_to(gradient + first, width);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            const float x = pack.values[i], density = 0.3989422804014327f * expf(-0.5f * x * x);
            moved.values[i] *= share_below(x) + x * density;
        }
        store_up_to(out + first, moved, width);
    }
}

template <typename T>
static __device__ void dropout(const T *xs, T *out, unsigned count, Drop drop) {
    FOR_PACKS(count, first, width) {
        Pack pack = load_up_to(xs + first, width);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = drop(pack.values[i], first + i);
        store_up_to(out + first, pack, width);
    }
}

#define P_ADD_BIAS(T) (T *x, const T *b, unsigned count, unsigned columns)
FOR_BOTH(add_bias, P_ADD_BIAS, (x, b, count, columns))
#define P_GELU(T) (const T *x, T *o, unsigned count)
FOR_BOTH(gelu, P_GELU, (x, o, count))
#define P_GELU_BACKWARD(T) (const T *x, const T *g, T *o, unsigned count)
FOR_BOTH(gelu_backward, P_GELU_BACKWARD, (x, g, o, count))
#define P_DROPOUT(T) (const T *x, T *o, unsigned count, Drop drop)
FOR_BOTH(dropout, P_DROPOUT, (x, o, count, drop))
