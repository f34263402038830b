// The softmax between the products of an attention, and heads put apart and together.

#include "../../../kernel/pack.cuh"

// Scores of attention: [tasks, queries, keys], a task being a head of an image, of which only the
// first `wanted_queries` and `wanted_keys` are tokens: the rest is there for the matrix products,
// which like whole groups of eight, and for whole packs; it holds zeros.
struct Scores {
    unsigned tasks, queries, keys, wanted_queries, wanted_keys;

    __device__ __forceinline__ unsigned rows() const { return tasks * queries; }
    __device__ __forceinline__ bool wanted(unsigned row) const { return row % queries < wanted_queries; }
    // The place of a row's first value were there tokens alone: what dropout counts by.
    __device__ __forceinline__ unsigned first(unsigned row) const {
        return (row / queries * wanted_queries + row % queries) * wanted_keys;
    }
};
static_assert(sizeof(Scores) == 20, "as the structure in Rust");

// PER: packs that a lane keeps of a row; rows of at most PER * 32 packs. The keys are whole packs.
template <typename T, int PER>
static __device__ void softmax(const T *scores, T *out, T *dropped, Scores sizes, float scale, Drop drop) {
    const unsigned row = warp_row();
    if (row >= sizes.rows()) return;
    const unsigned lane = threadIdx.x % WARP, first = sizes.first(row);
    const bool wanted = sizes.wanted(row);
    const size_t start = (size_t)row * sizes.keys;
    Pack kept[PER];
    float most = -INFINITY, sum = 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned at = (part * WARP + lane) * PACK;
        if (at < sizes.keys) kept[part] = load_pack(scores + start + at);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            float &value = kept[part].values[i];
            value = at + i < sizes.wanted_keys ? scale * value : -INFINITY;
            most = fmaxf(most, value);
        }
    }
    most = warp_max(most);
#pragma unroll
    for (int part = 0; part < PER; part++)
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            float &value = kept[part].values[i];
            value = expf(value - most);
            sum += value;
        }
    sum = warp_sum(sum);
    const float share = wanted ? 1 / sum : 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned at = (part * WARP + lane) * PACK;
        if (at >= sizes.keys) continue;
        Pack pack = kept[part];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] *= share;
        store_pack(out + start + at, pack);
        if (!dropped) continue;
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = drop(pack.values[i], first + at + i);
        store_pack(dropped + start + at, pack);
    }
}

// scale p (g - sum p g), g the gradient behind dropout.
template <typename T, int PER>
static __device__ void softmax_backward(const T *probabilities, const T *gradient, T *out, Scores sizes,
                                        float scale, Drop drop) {
    const unsigned row = warp_row();
    if (row >= sizes.rows()) return;
    const unsigned lane = threadIdx.x % WARP, first = sizes.first(row);
    const size_t start = (size_t)row * sizes.keys;
    Pack p[PER], g[PER];
    float sum = 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned at = (part * WARP + lane) * PACK;
        if (at >= sizes.keys) continue;
        p[part] = load_pack(probabilities + start + at);
        g[part] = load_pack(gradient + start + at);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            float &value = g[part].values[i];
            value = at + i < sizes.wanted_keys ? drop(value, first + at + i) : 0;
            sum += p[part].values[i] * value;
        }
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned at = (part * WARP + lane) * PACK;
        if (at >= sizes.keys) continue;
        Pack pack;
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = scale * p[part].values[i] * (g[part].values[i] - sum);
        store_pack(out + start + at, pack);
    }
}

// Probabilities with some dropped, as softmax dropped them.
template <typename T>
static __device__ void drop_again(const T *probabilities, T *out, Scores sizes, Drop drop) {
    const unsigned row = warp_row();
    if (row >= sizes.rows()) return;
    const size_t start = (size_t)row * sizes.keys;
    const unsigned first = sizes.first(row);
    for (unsigned at = threadIdx.x % WARP * PACK; at < sizes.keys; at += WARP * PACK) {
        Pack pack = load_pack(probabilities + start + at);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = drop(pack.values[i], first + at + i);
        store_pack(out + start + at, pack);
    }
}

// Values that are moved at a time.
static const unsigned GROUP = 4;

template <typename T>
struct alignas(GROUP * sizeof(T)) Group {
    T values[GROUP];
};

// Tokens with their parts side by side, [B, tokens, parts, heads, d], and the parts as matrices,
// [parts, B, heads, padded, d], whose rows behind the tokens are zero; `width` is d in groups.
struct Heads {
    unsigned parts, tokens, padded, heads, width;
};
static_assert(sizeof(Heads) == 20, "as the structure in Rust");

// `count` groups of the output.
template <typename T>
static __device__ void split_heads(const T *xs, T *out, unsigned count, Heads sizes) {
    const unsigned part_size = count / sizes.parts;
    for (unsigned i = place(); i < count; i += stride()) {
        const unsigned part = i / part_size;
        unsigned rest = i % part_size;
        const unsigned within = rest % sizes.width;
        rest /= sizes.width;
        const unsigned token = rest % sizes.padded;
        rest /= sizes.padded;
        const unsigned head = rest % sizes.heads;
        const unsigned image = rest / sizes.heads;
        Group<T> values;
        if (token < sizes.tokens) {
            const unsigned from = ((image * sizes.tokens + token) * sizes.parts + part) * sizes.heads + head;
            values = ((const Group<T> *)xs)[from * sizes.width + within];
        } else {
            for (unsigned j = 0; j < GROUP; j++) store(&values.values[j], 0);
        }
        ((Group<T> *)out)[i] = values;
    }
}

// The inverse: up to three parts, each a tensor of its own; `count` groups of the output.
template <typename T>
static __device__ void merge_heads(const T *part0, const T *part1, const T *part2, T *out, unsigned count, Heads sizes) {
    for (unsigned i = place(); i < count; i += stride()) {
        const unsigned within = i % sizes.width;
        unsigned rest = i / sizes.width;
        const unsigned head = rest % sizes.heads;
        rest /= sizes.heads;
        const unsigned part = rest % sizes.parts;
        rest /= sizes.parts;
        const unsigned token = rest % sizes.tokens;
        const unsigned image = rest / sizes.tokens;
        const T *from = part == 0 ? part0 : part == 1 ? part1 : part2;
        const unsigned at = ((image * sizes.heads + head) * sizes.padded + token) * sizes.width + within;
        ((Group<T> *)out)[i] = ((const Group<T> *)from)[at];
    }
}

#define P_DROP_AGAIN(T) (const T *p, T *o, Scores sizes, Drop drop)
FOR_BOTH(drop_again, P_DROP_AGAIN, (p, o, sizes, drop))
#define P_SPLIT(T) (const T *x, T *o, unsigned count, Heads sizes)
FOR_BOTH(split_heads, P_SPLIT, (x, o, count, sizes))
#define P_MERGE(T) (const T *a, const T *b, const T *c, T *o, unsigned count, Heads sizes)
FOR_BOTH(merge_heads, P_MERGE, (a, b, c, o, count, sizes))

#define FOR_WIDTHS(name, T, suffix, parameters, arguments)                                             \
    extern "C" __global__ void name##_256_##suffix parameters(T) { name<T, 1> arguments; }             \
    extern "C" __global__ void name##_1024_##suffix parameters(T) { name<T, 4> arguments; }

#define P_SOFTMAX(T) (const T *x, T *o, T *dropped, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax, float, f32, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
FOR_WIDTHS(softmax, bf16, bf16, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
#define P_SOFTMAX_BACKWARD(T) (const T *p, const T *g, T *o, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax_backward, float, f32, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
FOR_WIDTHS(softmax_backward, bf16, bf16, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
