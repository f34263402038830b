// What happens to tokens between the matrix products of an encoder. The stream of tokens, which
// blocks add to, stays in f32; what goes into a product is of the encoder's type.

#include "../../kernel/row.cuh"

// The tokens [B, 1 + registers + patches, width] that the first block gets: CLS and patches with
// their rows of the position table, registers between them. `projected` [B, patches, width] lacks
// its bias.
template <typename T>
static __device__ void embed(const T *projected, const float *bias, const float *cls, const float *registers,
                             const float *positions, float *out, unsigned count, unsigned others,
                             unsigned patches, unsigned width) {
    const unsigned tokens = 1 + others + patches;
    for (unsigned first = place() * PACK; first < count; first += stride() * PACK) {
        const unsigned column = first % width, token = first / width % tokens, image = first / width / tokens;
        Pack pack;
        if (token == 0) {
            pack = plus(load_pack(cls + column), load_pack(positions + column));
        } else if (token <= others) {
            pack = load_pack(registers + (token - 1) * width + column);
        } else {
            const unsigned patch = token - 1 - others;
            pack = load_pack(projected + ((size_t)image * patches + patch) * width + column);
            pack = plus(plus(pack, load_pack(bias + column)), load_pack(positions + (1 + patch) * width + column));
        }
        store_pack(out + first, pack);
    }
}

// Adds `added` with its bias, times `scale` where there is one, to the stream, and leaves the norm
// of the sums in `out`; where there is no `added`, only the norm. A warp a row of whole packs.
template <typename T, typename Out>
static __device__ void add_norm(float *stream, const T *added, const float *bias, const float *scale,
                                const float *weight, const float *shift, Out *out, unsigned rows,
                                unsigned width, float epsilon) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    float *x = stream + (size_t)number * width;
    Out *to = out + (size_t)number * width;
    auto sum = [&](unsigned at) {
        Pack pack = load_pack(x + at);
        if (!added) return pack;
        Pack more = plus(load_pack(added + (size_t)number * width + at), load_pack(bias + at));
        if (scale) more = times(more, load_pack(scale + at));
        pack = plus(pack, more);
        store_pack(x + at, pack);
        return pack;
    };
    auto finish = [&](const Pack &pack, float2 found, unsigned at) {
        const Pack w = load_pack(weight + at), b = load_pack(shift + at);
        Pack normed;
#pragma unroll
        for (unsigned i = 0; i < PACK; i++)
            normed.values[i] = (pack.values[i] - found.x) * found.y * w.values[i] + b.values[i];
        store_pack(to + at, normed);
    };
    if (fits_row(width)) {
        Row row;
        FOR_ROW(width, lane, part, at) row.packs[part] = sum(at);
        const float2 found = statistics(row, width, epsilon, lane);
        FOR_ROW(width, lane, part, at) finish(row.packs[part], found, at);
        return;
    }
    for (unsigned at = lane * PACK; at < width; at += WARP * PACK) sum(at);
    __syncwarp();  // lanes read what others wrote
    const float2 found = statistics(x, width, epsilon, lane);
    for (unsigned at = lane * PACK; at < width; at += WARP * PACK) finish(load_pack(x + at), found, at);
}

// x Phi(x) of a product with its bias, in place; rows are whole packs.
template <typename T>
static __device__ void bias_gelu(T *values, const float *bias, unsigned count, unsigned columns) {
    for (unsigned first = place() * PACK; first < count; first += stride() * PACK) {
        Pack pack = plus(load_pack(values + first), load_pack(bias + first % columns));
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] *= share_below(pack.values[i]);
        store_pack(values + first, pack);
    }
}

// The SiLU of a gate times its value: of a product's rows [2 * columns] with their bias the first
// half are gates. `count` values go to `out`; `columns` are whole packs.
template <typename T>
static __device__ void bias_swiglu(const T *pairs, const float *bias, T *out, unsigned count, unsigned columns) {
    for (unsigned first = place() * PACK; first < count; first += stride() * PACK) {
        const unsigned column = first % columns;
        const T *from = pairs + (size_t)(first / columns) * 2 * columns + column;
        const Pack gate = plus(load_pack(from), load_pack(bias + column));
        Pack value = plus(load_pack(from + columns), load_pack(bias + columns + column));
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) value.values[i] *= gate.values[i] / (1.0f + expf(-gate.values[i]));
        store_pack(out + first, value);
    }
}

// Gives queries and keys of a product [images, tokens, 3 * width] their bias, and turns those of
// patches, the last of the tokens, by their row of `turns` [patches, 2 * half]: cosines, then sines.
// In place; a value of a head's first half is turned with that of its second. A thread takes a pack
// of each, `count` in all; a head has 2 * half values, halves are whole packs.
template <typename T>
static __device__ void bias_turn(T *qkv, const float *bias, const float *turns, unsigned count, unsigned tokens,
                                 unsigned patches, unsigned width, unsigned half) {
    const unsigned each = width / PACK, packs = half / PACK;
    for (unsigned index = place(); index < count; index += stride()) {
        const unsigned row = index / each, pair = index % each, token = row % tokens;
        const unsigned at = pair % packs * PACK, column = pair / packs * 2 * half + at;
        T *first = qkv + (size_t)row * 3 * width + column, *second = first + half;
        Pack x = plus(load_pack(first), load_pack(bias + column));
        Pack y = plus(load_pack(second), load_pack(bias + column + half));
        if (token + patches >= tokens) {
            const float *turn = turns + (size_t)(token + patches - tokens) * 2 * half + at;
            const Pack cosine = load_pack(turn), sine = load_pack(turn + half);
#pragma unroll
            for (unsigned i = 0; i < PACK; i++) {
                const float a = x.values[i], b = y.values[i];
                x.values[i] = a * cosine.values[i] - b * sine.values[i];
                y.values[i] = b * cosine.values[i] + a * sine.values[i];
            }
        }
        store_pack(first, x);
        store_pack(second, y);
    }
}

// Rows over their lengths, of which none counts less than `least`: a warp a row of [images, each,
// width], images lying `apart` from one another.
extern "C" __global__ void unit_rows(const float *xs, float *out, unsigned rows, unsigned each,
                                     unsigned apart, unsigned width, float least) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const float *x = xs + (size_t)(number / each) * apart + (size_t)(number % each) * width;
    float *to = out + (size_t)number * width;
    float squares = 0;
    for (unsigned i = lane; i < width; i += WARP) squares += x[i] * x[i];
    const float length = fmaxf(sqrtf(warp_sum(squares)), least);
    for (unsigned i = lane; i < width; i += WARP) to[i] = x[i] / length;
}

#define P_EMBED(T)                                                                                     \
    (const T *projected, const float *bias, const float *cls, const float *registers, const float *positions, \
     float *o, unsigned count, unsigned others, unsigned patches, unsigned width)
FOR_BOTH(embed, P_EMBED, (projected, bias, cls, registers, positions, o, count, others, patches, width))
#define P_BIAS_GELU(T) (T *x, const float *b, unsigned count, unsigned columns)
FOR_BOTH(bias_gelu, P_BIAS_GELU, (x, b, count, columns))
#define P_BIAS_SWIGLU(T) (const T *x, const float *b, T *o, unsigned count, unsigned columns)
FOR_BOTH(bias_swiglu, P_BIAS_SWIGLU, (x, b, o, count, columns))
#define P_BIAS_TURN(T)                                                                                 \
    (T *x, const float *b, const float *turns, unsigned count, unsigned tokens, unsigned patches,      \
     unsigned width, unsigned half)
FOR_BOTH(bias_turn, P_BIAS_TURN, (x, b, turns, count, tokens, patches, width, half))

#define ADD_NORM(NAME, T, OUT)                                                                         \
    extern "C" __global__ void NAME(float *stream, const T *added, const float *bias, const float *scale, \
                                    const float *weight, const float *shift, OUT *out, unsigned rows,  \
                                    unsigned width, float epsilon) {                                   \
        add_norm(stream, added, bias, scale, weight, shift, out, rows, width, epsilon);                \
    }
ADD_NORM(add_norm_f32, float, float)
ADD_NORM(add_norm_bf16, bf16, bf16)
// The last norm's, in f32 whatever the encoder's type.
ADD_NORM(add_last_norm_bf16, bf16, float)
