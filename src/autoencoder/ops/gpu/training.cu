// The kernels of a training step, each in f32 and bf16. Sums are taken in f32 and in an order that
// depends on sizes alone, so that the same input gives the same bytes. Matrix products are not
// here: cuBLAS makes them. What each kernel computes is what the function of the same name in
// `mod.rs` says; its twin on the CPU stands in the operation's own file.
//
// A row is the last dimension of a tensor; most kernels give a row to a warp. Nothing here returns
// before a barrier that others wait at, and a warp stays together, so its exchanges are complete.

#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

static const unsigned WARP = 32;
static const unsigned ALL = 0xffffffffu;

static __device__ __forceinline__ float load(const float *from) { return *from; }
static __device__ __forceinline__ float load(const bf16 *from) { return __bfloat162float(*from); }
static __device__ __forceinline__ void store(float *to, float value) { *to = value; }
static __device__ __forceinline__ void store(bf16 *to, float value) { *to = __float2bfloat16(value); }

// Values that a thread moves at a time: 16 bytes of bf16, twice 16 of f32. Rows whose width is a
// multiple of PACK begin where such an access may.
static const unsigned PACK = 8;

struct Pack {
    float values[PACK];
};

static __device__ __forceinline__ Pack load_pack(const float *from) {
    const float4 a = ((const float4 *)from)[0], b = ((const float4 *)from)[1];
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

static __device__ __forceinline__ void store_pack(float *to, const Pack &pack) {
    const float *v = pack.values;
    ((float4 *)to)[0] = make_float4(v[0], v[1], v[2], v[3]);
    ((float4 *)to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

struct alignas(16) Bf16Pack {
    bf16 values[PACK];
};

static __device__ __forceinline__ Pack load_pack(const bf16 *from) {
    const Bf16Pack raw = *(const Bf16Pack *)from;
    Pack pack;
#pragma unroll
    for (unsigned i = 0; i < PACK; i++) pack.values[i] = __bfloat162float(raw.values[i]);
    return pack;
}

static __device__ __forceinline__ void store_pack(bf16 *to, const Pack &pack) {
    Bf16Pack raw;
#pragma unroll
    for (unsigned i = 0; i < PACK; i++) raw.values[i] = __float2bfloat16(pack.values[i]);
    *(Bf16Pack *)to = raw;
}

static __device__ __forceinline__ float warp_sum(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

static __device__ __forceinline__ float warp_max(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL, value, step));
    return value;
}

// The sum over a block of whole warps, in its first warp.
static __device__ __forceinline__ float block_sum(float value) {
    __shared__ float sums[WARP];
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = value;
    __syncthreads();
    if (threadIdx.x >= WARP) return 0;
    return warp_sum(threadIdx.x < blockDim.x / WARP ? sums[threadIdx.x] : 0);
}

// The place of this thread in the whole grid, and the grid's size. Tensors have fewer than 2^32
// values (candle counts so too): 64-bit divisions would cost more than the memory.
static __device__ __forceinline__ unsigned place() { return blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ unsigned stride() { return gridDim.x * blockDim.x; }
// The row of this thread's warp.
static __device__ __forceinline__ unsigned warp_row() { return place() / WARP; }

// ---------------------------------------------------------------------------------- LayerNorm

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

// ------------------------------------------------------------------------------ sums over rows

// Packs of columns and rows that a block of 256 threads adds up at a time.
static const unsigned PACKS = 8, LANES = 32, COLUMNS = PACKS * PACK;

// A thread's place in such a block.
struct Column {
    unsigned pack, lane, first, rows_from, rows_to;
    bool whole;

    __device__ __forceinline__ Column(unsigned rows, unsigned columns, unsigned band) {
        pack = threadIdx.x % PACKS;
        lane = threadIdx.x / PACKS;
        first = blockIdx.x * COLUMNS + pack * PACK;
        rows_from = blockIdx.y * band + lane;
        rows_to = first < columns ? min(blockIdx.y * band + band, rows) : 0;
        whole = columns % PACK == 0;
    }

    // The columns' values of a row; what lies behind its end is zero.
    template <typename T>
    __device__ __forceinline__ Pack values(const T *xs, unsigned row, unsigned columns) const {
        const T *from = xs + (size_t)row * columns + first;
        if (whole) return load_pack(from);
        Pack pack = {};
        for (unsigned i = 0; i < PACK && first + i < columns; i++) pack.values[i] = load(from + i);
        return pack;
    }

    // Adds up what the lanes found and writes it to `out`.
    __device__ __forceinline__ void write(const Pack &found, float *out, unsigned columns) const {
        __shared__ float sums[LANES][COLUMNS];
        __syncthreads();
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) sums[lane][pack * PACK + i] = found.values[i];
        __syncthreads();
        const unsigned column = blockIdx.x * COLUMNS + threadIdx.x;
        if (threadIdx.x >= COLUMNS || column >= columns) return;
        float sum = 0;
        for (unsigned other = 0; other < LANES; other++) sum += sums[other][threadIdx.x];
        out[column] = sum;
    }
};

// Block (x, y) adds up columns 64x.. of the rows band y.. of `values`: parts [bands, columns].
template <typename T>
static __device__ void column_sums(const T *values, float *parts, unsigned rows, unsigned columns, unsigned band) {
    const Column place(rows, columns, band);
    Pack sum = {};
    for (unsigned row = place.rows_from; row < place.rows_to; row += LANES) {
        const Pack pack = place.values(values, row, columns);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) sum.values[i] += pack.values[i];
    }
    place.write(sum, parts + (size_t)blockIdx.y * columns, columns);
}

// The same for what a LayerNorm's weight and bias get: parts [bands, 2 columns], the weight's first.
template <typename T>
static __device__ void norm_sums(const T *xs, const T *gradient, const float *kept, float *parts,
                                 unsigned rows, unsigned columns, unsigned band) {
    const Column place(rows, columns, band);
    Pack of_weight = {}, of_bias = {};
    for (unsigned row = place.rows_from; row < place.rows_to; row += LANES) {
        const Pack g = place.values(gradient, row, columns), x = place.values(xs, row, columns);
        const float mean = kept[2 * row], scale = kept[2 * row + 1];
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) {
            of_weight.values[i] += g.values[i] * (x.values[i] - mean) * scale;
            of_bias.values[i] += g.values[i];
        }
    }
    float *out = parts + (size_t)blockIdx.y * 2 * columns;
    place.write(of_weight, out, columns);
    place.write(of_bias, out + columns, columns);
}

// Adds up the bands: a thread a column.
template <typename T>
static __device__ void sum_bands(const float *parts, T *out, unsigned bands, unsigned columns) {
    const unsigned column = place();
    if (column >= columns) return;
    float sum = 0;
    for (unsigned band = 0; band < bands; band++) sum += parts[(size_t)band * columns + column];
    store(out + column, sum);
}

// --------------------------------------------------------------------------- value by value

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
        Pack pack = load_pack(values + first);
        const Pack added = load_pack(bias + first % columns);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] += added.values[i];
        store_pack(values + first, pack);
    }
}

// The share of a normal distribution below x.
static __device__ __forceinline__ float share_below(float x) { return 0.5f + 0.5f * erff(0.7071067811865476f * x); }

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

// What dropout does to the value at a place of a tensor: the same as on the CPU.
struct Drop {
    uint32_t below, factor, offset;
    float scale;

    __device__ __forceinline__ float operator()(float value, uint32_t at) const {
        uint32_t bits = at * factor ^ offset;
        bits ^= bits >> 16;
        bits *= 0x7feb352du;
        bits ^= bits >> 15;
        bits *= 0x846ca68bu;
        bits ^= bits >> 16;
        return bits < below ? 0.0f : value * scale;
    }
};

template <typename T>
static __device__ void dropout(const T *xs, T *out, unsigned count, Drop drop) {
    FOR_PACKS(count, first, width) {
        Pack pack = load_up_to(xs + first, width);
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = drop(pack.values[i], first + i);
        store_up_to(out + first, pack, width);
    }
}

// -------------------------------------------------------------------------------------- softmax

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

// -------------------------------------------------------------------------------------- heads

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

// ------------------------------------------------------------------------------ pixels and loss

// Patches of views [B, 3, S, S], a patch in the order (channel, row, column): those numbered in
// `chosen` among all of the batch, or all where there is no list. `count` values in all.
template <typename T>
static __device__ void patches(const float *views, const uint32_t *chosen, T *out, unsigned count, unsigned side, unsigned patch) {
    const unsigned across = side / patch, values = 3 * patch * patch;
    for (unsigned i = place(); i < count; i += stride()) {
        const unsigned number = chosen ? chosen[i / values] : i / values;
        const unsigned within = i % values, column = within % patch, row = within / patch % patch;
        const unsigned channel = within / patch / patch;
        const unsigned image = number / across / across;
        const unsigned down = number / across % across, right = number % across;
        store(out + i, views[((image * 3 + channel) * side + down * patch + row) * side + right * patch + column]);
    }
}

// What the decoder must say: a warp a patch, in the order (row, column, channel), brought to mean 0
// and variance 1 (the unbiased one, plus epsilon) where asked.
extern "C" __global__ void target(const float *views, float *out, unsigned rows, unsigned side, unsigned patch,
                                  unsigned normalize, float epsilon) {
    const unsigned number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP, across = side / patch, values = 3 * patch * patch;
    const unsigned image = number / across / across;
    const unsigned down = number / across % across, right = number % across;
    const float *corner = views + ((size_t)image * 3 * side + down * patch) * side + right * patch;
    float *to = out + (size_t)number * values;
    float sum = 0;
    for (unsigned i = lane; i < values; i += WARP) {
        const unsigned channel = i % 3, column = i / 3 % patch, row = i / 3 / patch;
        const float value = corner[(channel * side + row) * side + column];
        to[i] = value;
        sum += value;
    }
    if (!normalize) return;
    // a lane reads again only what it wrote itself
    const float mean = warp_sum(sum) / values;
    float squares = 0;
    for (unsigned i = lane; i < values; i += WARP) squares += (to[i] - mean) * (to[i] - mean);
    const float deviation = sqrtf(warp_sum(squares) / (values - 1) + epsilon);
    for (unsigned i = lane; i < values; i += WARP) to[i] = (to[i] - mean) / deviation;
}

// The mean squared difference of every patch that is removed, 0 of the others: a warp a patch.
extern "C" __global__ void patch_errors(const float *predicted, const float *wanted, const float *removed,
                                        float *out, unsigned rows, unsigned width) {
    const unsigned row = warp_row();
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    predicted += (size_t)row * width;
    wanted += (size_t)row * width;
    float sum = 0;
    for (unsigned i = lane; i < width; i += WARP) {
        const float off = predicted[i] - wanted[i];
        sum += off * off;
    }
    sum = warp_sum(sum) / width;
    if (lane == 0) out[row] = removed[row] == 0 ? 0 : sum;
}

// `factor` times what the loss's own gradient is times (predicted - wanted), 0 where nothing was removed.
extern "C" __global__ void patch_errors_backward(const float *predicted, const float *wanted, const float *removed,
                                                 const float *gradient, float *out, unsigned count, unsigned width,
                                                 float factor) {
    const float scale = factor * *gradient;
    for (unsigned i = place(); i < count; i += stride())
        out[i] = removed[i / width] == 0 ? 0 : scale * (predicted[i] - wanted[i]);
}

// The sum of squares of `count` values, by one block of 1024 threads, to out[slot].
extern "C" __global__ void square_sum(const float *values, float *out, unsigned count, unsigned slot) {
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += values[i] * values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[slot] = sum;
}

// The sum of `count` values times `factor`, by one block of 1024 threads.
extern "C" __global__ void total(const float *values, float *out, unsigned count, float factor) {
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = factor * sum;
}

// ---------------------------------------------------------------------- the names that are called

#define FOR_BOTH(name, parameters, arguments)                                                          \
    extern "C" __global__ void name##_f32 parameters(float) { name<float> arguments; }                 \
    extern "C" __global__ void name##_bf16 parameters(bf16) { name<bf16> arguments; }

#define P_NORM(T) (const T *x, const T *w, const T *b, T *o, unsigned rows, unsigned width, float e)
FOR_BOTH(norm, P_NORM, (x, w, b, o, rows, width, e))
#define P_NORM_BACKWARD(T) \
    (const T *x, const T *w, const T *g, T *o, float *kept, unsigned rows, unsigned width, float e)
FOR_BOTH(norm_backward, P_NORM_BACKWARD, (x, w, g, o, kept, rows, width, e))
#define P_NORM_SUMS(T) \
    (const T *x, const T *g, const float *kept, float *parts, unsigned rows, unsigned columns, unsigned band)
FOR_BOTH(norm_sums, P_NORM_SUMS, (x, g, kept, parts, rows, columns, band))
#define P_COLUMN_SUMS(T) (const T *x, float *parts, unsigned rows, unsigned columns, unsigned band)
FOR_BOTH(column_sums, P_COLUMN_SUMS, (x, parts, rows, columns, band))
#define P_SUM_BANDS(T) (const float *parts, T *o, unsigned bands, unsigned columns)
FOR_BOTH(sum_bands, P_SUM_BANDS, (parts, o, bands, columns))
#define P_ADD_BIAS(T) (T *x, const T *b, unsigned count, unsigned columns)
FOR_BOTH(add_bias, P_ADD_BIAS, (x, b, count, columns))
#define P_GELU(T) (const T *x, T *o, unsigned count)
FOR_BOTH(gelu, P_GELU, (x, o, count))
#define P_GELU_BACKWARD(T) (const T *x, const T *g, T *o, unsigned count)
FOR_BOTH(gelu_backward, P_GELU_BACKWARD, (x, g, o, count))
#define P_DROPOUT(T) (const T *x, T *o, unsigned count, Drop drop)
FOR_BOTH(dropout, P_DROPOUT, (x, o, count, drop))
#define P_DROP_AGAIN(T) (const T *p, T *o, Scores sizes, Drop drop)
FOR_BOTH(drop_again, P_DROP_AGAIN, (p, o, sizes, drop))
#define P_SPLIT(T) (const T *x, T *o, unsigned count, Heads sizes)
FOR_BOTH(split_heads, P_SPLIT, (x, o, count, sizes))
#define P_MERGE(T) (const T *a, const T *b, const T *c, T *o, unsigned count, Heads sizes)
FOR_BOTH(merge_heads, P_MERGE, (a, b, c, o, count, sizes))
#define P_PATCHES(T) \
    (const float *views, const uint32_t *chosen, T *o, unsigned count, unsigned side, unsigned patch)
FOR_BOTH(patches, P_PATCHES, (views, chosen, o, count, side, patch))

#define FOR_WIDTHS(name, T, suffix, parameters, arguments)                                             \
    extern "C" __global__ void name##_256_##suffix parameters(T) { name<T, 1> arguments; }             \
    extern "C" __global__ void name##_1024_##suffix parameters(T) { name<T, 4> arguments; }

#define P_SOFTMAX(T) (const T *x, T *o, T *dropped, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax, float, f32, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
FOR_WIDTHS(softmax, bf16, bf16, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
#define P_SOFTMAX_BACKWARD(T) (const T *p, const T *g, T *o, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax_backward, float, f32, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
FOR_WIDTHS(softmax_backward, bf16, bf16, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
