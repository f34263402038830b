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

// The place of this thread in the whole grid, and the grid's size.
static __device__ __forceinline__ size_t place() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ size_t stride() { return (size_t)gridDim.x * blockDim.x; }
// The row of this thread's warp.
static __device__ __forceinline__ size_t warp_row() { return place() / WARP; }

// ---------------------------------------------------------------------------------- LayerNorm

// A row's mean and one over its deviation, in every lane.
template <typename T>
static __device__ __forceinline__ float2 statistics(const T *row, unsigned width, float epsilon, unsigned lane) {
    float sum = 0;
    for (unsigned i = lane; i < width; i += WARP) sum += load(row + i);
    const float mean = warp_sum(sum) / width;
    float squares = 0;
    for (unsigned i = lane; i < width; i += WARP) {
        const float off = load(row + i) - mean;
        squares += off * off;
    }
    return make_float2(mean, rsqrtf(warp_sum(squares) / width + epsilon));
}

template <typename T>
static __device__ void norm(const T *xs, const T *weight, const T *bias, T *out, size_t rows,
                            unsigned width, float epsilon) {
    const size_t row = warp_row();
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const T *x = xs + row * width;
    const float2 found = statistics(x, width, epsilon, lane);
    for (unsigned i = lane; i < width; i += WARP) {
        const float normed = (load(x + i) - found.x) * found.y;
        store(out + row * width + i, normed * load(weight + i) + load(bias + i));
    }
}

// With y = (x - mean) s and h = gradient weight: dx = s (h - mean(h) - y mean(h y)). Leaves mean
// and s of every row for the sums over rows.
template <typename T>
static __device__ void norm_backward(const T *xs, const T *weight, const T *gradient, T *out,
                                     float *kept, size_t rows, unsigned width, float epsilon) {
    const size_t row = warp_row();
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    const T *x = xs + row * width, *g = gradient + row * width;
    const float2 found = statistics(x, width, epsilon, lane);
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
        const float y = (load(x + i) - found.x) * found.y;
        store(out + row * width + i, found.y * (h - sum - y * product));
    }
    if (lane == 0) {
        kept[2 * row] = found.x;
        kept[2 * row + 1] = found.y;
    }
}

// ------------------------------------------------------------------------------ sums over rows

// Columns and rows that a block of 256 threads adds up at a time.
static const unsigned COLUMNS = 32, LANES = 8;

// Adds up the first index of `sums` [LANES][COLUMNS]; the result is in the threads of lane 0.
static __device__ __forceinline__ float over_lanes(float (*sums)[COLUMNS], unsigned lane, unsigned column, float value) {
    __syncthreads();
    sums[lane][column] = value;
    __syncthreads();
    float sum = 0;
    if (lane == 0)
        for (unsigned other = 0; other < LANES; other++) sum += sums[other][column];
    return sum;
}

// Block (x, y) adds up columns 32x.. of the rows band y.. of `values`: parts [bands, columns].
template <typename T>
static __device__ void column_sums(const T *values, float *parts, size_t rows, unsigned columns, unsigned band) {
    __shared__ float sums[LANES][COLUMNS];
    const unsigned in_block = threadIdx.x % COLUMNS, lane = threadIdx.x / COLUMNS;
    const unsigned column = blockIdx.x * COLUMNS + in_block;
    const size_t first = (size_t)blockIdx.y * band, end = first + band < rows ? first + band : rows;
    float sum = 0;
    if (column < columns)
        for (size_t row = first + lane; row < end; row += LANES) sum += load(values + row * columns + column);
    sum = over_lanes(sums, lane, in_block, sum);
    if (lane == 0 && column < columns) parts[(size_t)blockIdx.y * columns + column] = sum;
}

// The same for what a LayerNorm's weight and bias get: parts [bands, 2 columns], the weight's first.
template <typename T>
static __device__ void norm_sums(const T *xs, const T *gradient, const float *kept, float *parts,
                                 size_t rows, unsigned columns, unsigned band) {
    __shared__ float sums[LANES][COLUMNS];
    const unsigned in_block = threadIdx.x % COLUMNS, lane = threadIdx.x / COLUMNS;
    const unsigned column = blockIdx.x * COLUMNS + in_block;
    const size_t first = (size_t)blockIdx.y * band, end = first + band < rows ? first + band : rows;
    float of_weight = 0, of_bias = 0;
    if (column < columns)
        for (size_t row = first + lane; row < end; row += LANES) {
            const float g = load(gradient + row * columns + column);
            of_weight += g * (load(xs + row * columns + column) - kept[2 * row]) * kept[2 * row + 1];
            of_bias += g;
        }
    of_weight = over_lanes(sums, lane, in_block, of_weight);
    of_bias = over_lanes(sums, lane, in_block, of_bias);
    if (lane == 0 && column < columns) {
        float *out = parts + (size_t)blockIdx.y * 2 * columns + column;
        out[0] = of_weight;
        out[columns] = of_bias;
    }
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

template <typename T>
static __device__ void add_bias(T *values, const T *bias, size_t count, unsigned columns) {
    for (size_t i = place(); i < count; i += stride()) store(values + i, load(values + i) + load(bias + i % columns));
}

// x Phi(x)
template <typename T>
static __device__ void gelu(const T *xs, T *out, size_t count) {
    for (size_t i = place(); i < count; i += stride()) {
        const float x = load(xs + i);
        store(out + i, x * normcdff(x));
    }
}

// Its derivative is Phi(x) + x phi(x).
template <typename T>
static __device__ void gelu_backward(const T *xs, const T *gradient, T *out, size_t count) {
    for (size_t i = place(); i < count; i += stride()) {
        const float x = load(xs + i);
        const float density = 0.3989422804014327f * expf(-0.5f * x * x);
        store(out + i, load(gradient + i) * (normcdff(x) + x * density));
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
static __device__ void dropout(const T *xs, T *out, size_t count, Drop drop) {
    for (size_t i = place(); i < count; i += stride()) store(out + i, drop(load(xs + i), (uint32_t)i));
}

// -------------------------------------------------------------------------------------- softmax

// Scores of attention: [tasks, queries, keys], a task being a head of an image, of which only the
// first `wanted_queries` and `wanted_keys` are tokens: the rest is there for the matrix products,
// which like whole groups of eight, and holds zeros.
struct Scores {
    unsigned tasks, queries, keys, wanted_queries, wanted_keys;

    __device__ __forceinline__ size_t rows() const { return (size_t)tasks * queries; }
    __device__ __forceinline__ bool wanted(size_t row) const { return row % queries < wanted_queries; }
    // The place of a row's first value were there tokens alone: what dropout counts by.
    __device__ __forceinline__ size_t first(size_t row) const {
        return (row / queries * wanted_queries + row % queries) * wanted_keys;
    }
};

// PER: values that a lane keeps of a row; rows of at most PER * 32.
template <typename T, int PER>
static __device__ void softmax(const T *scores, T *out, T *dropped, Scores sizes, float scale, Drop drop) {
    const size_t row = warp_row();
    if (row >= sizes.rows()) return;
    const unsigned lane = threadIdx.x % WARP;
    const bool wanted = sizes.wanted(row);
    const size_t start = row * sizes.keys, first = sizes.first(row);
    float kept[PER], most = -INFINITY, sum = 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned i = part * WARP + lane;
        kept[part] = i < sizes.wanted_keys ? scale * load(scores + start + i) : -INFINITY;
        most = fmaxf(most, kept[part]);
    }
    most = warp_max(most);
#pragma unroll
    for (int part = 0; part < PER; part++) {
        kept[part] = expf(kept[part] - most);
        sum += kept[part];
    }
    const float share = wanted ? 1 / warp_sum(sum) : 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned i = part * WARP + lane;
        if (i >= sizes.keys) continue;
        const float probability = kept[part] * share;
        store(out + start + i, probability);
        if (dropped) store(dropped + start + i, drop(probability, (uint32_t)(first + i)));
    }
}

// scale p (g - sum p g), g the gradient behind dropout.
template <typename T, int PER>
static __device__ void softmax_backward(const T *probabilities, const T *gradient, T *out, Scores sizes,
                                        float scale, Drop drop) {
    const size_t row = warp_row();
    if (row >= sizes.rows()) return;
    const unsigned lane = threadIdx.x % WARP;
    const size_t start = row * sizes.keys, first = sizes.first(row);
    float p[PER], g[PER], sum = 0;
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned i = part * WARP + lane;
        const bool inside = i < sizes.wanted_keys;
        p[part] = inside ? load(probabilities + start + i) : 0;
        g[part] = inside ? drop(load(gradient + start + i), (uint32_t)(first + i)) : 0;
        sum += p[part] * g[part];
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int part = 0; part < PER; part++) {
        const unsigned i = part * WARP + lane;
        if (i < sizes.keys) store(out + start + i, scale * p[part] * (g[part] - sum));
    }
}

// Probabilities with some dropped, as softmax dropped them.
template <typename T>
static __device__ void drop_again(const T *probabilities, T *out, Scores sizes, Drop drop) {
    const size_t row = warp_row();
    if (row >= sizes.rows()) return;
    const size_t start = row * sizes.keys, first = sizes.first(row);
    for (unsigned i = threadIdx.x % WARP; i < sizes.keys; i += WARP)
        store(out + start + i, drop(load(probabilities + start + i), (uint32_t)(first + i)));
}

// -------------------------------------------------------------------------------------- heads

// Values that are moved at a time.
static const unsigned GROUP = 4;

template <typename T>
struct Group {
    T values[GROUP];
};

// Tokens with their parts side by side, [B, tokens, parts, heads, d], and the parts as matrices,
// [parts, B, heads, padded, d], whose rows behind the tokens are zero; `width` is d in groups.
struct Heads {
    unsigned parts, tokens, padded, heads, width;
};

// `count` groups of the output.
template <typename T>
static __device__ void split_heads(const T *xs, T *out, size_t count, Heads sizes) {
    const size_t part_size = count / sizes.parts;
    for (size_t i = place(); i < count; i += stride()) {
        const unsigned part = i / part_size;
        size_t rest = i % part_size;
        const unsigned within = rest % sizes.width;
        rest /= sizes.width;
        const unsigned token = rest % sizes.padded;
        rest /= sizes.padded;
        const unsigned head = rest % sizes.heads;
        const size_t image = rest / sizes.heads;
        Group<T> values;
        if (token < sizes.tokens) {
            const size_t from = ((image * sizes.tokens + token) * sizes.parts + part) * sizes.heads + head;
            values = ((const Group<T> *)xs)[from * sizes.width + within];
        } else {
            for (unsigned j = 0; j < GROUP; j++) store(&values.values[j], 0);
        }
        ((Group<T> *)out)[i] = values;
    }
}

// The inverse: up to three parts, each a tensor of its own; `count` groups of the output.
template <typename T>
static __device__ void merge_heads(const T *part0, const T *part1, const T *part2, T *out, size_t count, Heads sizes) {
    for (size_t i = place(); i < count; i += stride()) {
        const unsigned within = i % sizes.width;
        size_t rest = i / sizes.width;
        const unsigned head = rest % sizes.heads;
        rest /= sizes.heads;
        const unsigned part = rest % sizes.parts;
        rest /= sizes.parts;
        const unsigned token = rest % sizes.tokens;
        const size_t image = rest / sizes.tokens;
        const T *from = part == 0 ? part0 : part == 1 ? part1 : part2;
        const size_t at = ((image * sizes.heads + head) * sizes.padded + token) * sizes.width + within;
        ((Group<T> *)out)[i] = ((const Group<T> *)from)[at];
    }
}

// ------------------------------------------------------------------------------ pixels and loss

// Patches of views [B, 3, S, S], a patch in the order (channel, row, column): those numbered in
// `chosen` among all of the batch, or all where there is no list. `count` values in all.
template <typename T>
static __device__ void patches(const float *views, const uint32_t *chosen, T *out, size_t count, unsigned side, unsigned patch) {
    const unsigned across = side / patch, values = 3 * patch * patch;
    for (size_t i = place(); i < count; i += stride()) {
        const size_t number = chosen ? chosen[i / values] : i / values;
        const unsigned within = i % values, column = within % patch, row = within / patch % patch;
        const unsigned channel = within / patch / patch;
        const size_t image = number / across / across;
        const unsigned down = number / across % across, right = number % across;
        store(out + i, views[((image * 3 + channel) * side + down * patch + row) * side + right * patch + column]);
    }
}

// What the decoder must say: a warp a patch, in the order (row, column, channel), brought to mean 0
// and variance 1 (the unbiased one, plus epsilon) where asked.
extern "C" __global__ void target(const float *views, float *out, size_t rows, unsigned side, unsigned patch,
                                  unsigned normalize, float epsilon) {
    const size_t number = warp_row();
    if (number >= rows) return;
    const unsigned lane = threadIdx.x % WARP, across = side / patch, values = 3 * patch * patch;
    const size_t image = number / across / across;
    const unsigned down = number / across % across, right = number % across;
    const float *corner = views + (image * 3 * side + down * patch) * side + right * patch;
    float *to = out + number * values;
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
                                        float *out, size_t rows, unsigned width) {
    const size_t row = warp_row();
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % WARP;
    float sum = 0;
    for (unsigned i = lane; i < width; i += WARP) {
        const float off = predicted[row * width + i] - wanted[row * width + i];
        sum += off * off;
    }
    sum = warp_sum(sum) / width;
    if (lane == 0) out[row] = removed[row] == 0 ? 0 : sum;
}

// `factor` times what the loss's own gradient is times (predicted - wanted), 0 where nothing was removed.
extern "C" __global__ void patch_errors_backward(const float *predicted, const float *wanted, const float *removed,
                                                 const float *gradient, float *out, size_t count, unsigned width,
                                                 float factor) {
    const float scale = factor * *gradient;
    for (size_t i = place(); i < count; i += stride())
        out[i] = removed[i / width] == 0 ? 0 : scale * (predicted[i] - wanted[i]);
}

// The sum of squares of `count` values, by one block of 1024 threads, to out[slot].
extern "C" __global__ void square_sum(const float *values, float *out, size_t count, unsigned slot) {
    float sum = 0;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += values[i] * values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[slot] = sum;
}

// The sum of `count` values times `factor`, by one block of 1024 threads.
extern "C" __global__ void total(const float *values, float *out, size_t count, float factor) {
    float sum = 0;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = factor * sum;
}

// ---------------------------------------------------------------------- the names that are called

#define FOR_BOTH(name, parameters, arguments)                                                          \
    extern "C" __global__ void name##_f32 parameters(float) { name<float> arguments; }                 \
    extern "C" __global__ void name##_bf16 parameters(bf16) { name<bf16> arguments; }

#define P_NORM(T) (const T *x, const T *w, const T *b, T *o, size_t rows, unsigned width, float e)
FOR_BOTH(norm, P_NORM, (x, w, b, o, rows, width, e))
#define P_NORM_BACKWARD(T) \
    (const T *x, const T *w, const T *g, T *o, float *kept, size_t rows, unsigned width, float e)
FOR_BOTH(norm_backward, P_NORM_BACKWARD, (x, w, g, o, kept, rows, width, e))
#define P_NORM_SUMS(T) \
    (const T *x, const T *g, const float *kept, float *parts, size_t rows, unsigned columns, unsigned band)
FOR_BOTH(norm_sums, P_NORM_SUMS, (x, g, kept, parts, rows, columns, band))
#define P_COLUMN_SUMS(T) (const T *x, float *parts, size_t rows, unsigned columns, unsigned band)
FOR_BOTH(column_sums, P_COLUMN_SUMS, (x, parts, rows, columns, band))
#define P_SUM_BANDS(T) (const float *parts, T *o, unsigned bands, unsigned columns)
FOR_BOTH(sum_bands, P_SUM_BANDS, (parts, o, bands, columns))
#define P_ADD_BIAS(T) (T *x, const T *b, size_t count, unsigned columns)
FOR_BOTH(add_bias, P_ADD_BIAS, (x, b, count, columns))
#define P_GELU(T) (const T *x, T *o, size_t count)
FOR_BOTH(gelu, P_GELU, (x, o, count))
#define P_GELU_BACKWARD(T) (const T *x, const T *g, T *o, size_t count)
FOR_BOTH(gelu_backward, P_GELU_BACKWARD, (x, g, o, count))
#define P_DROPOUT(T) (const T *x, T *o, size_t count, Drop drop)
FOR_BOTH(dropout, P_DROPOUT, (x, o, count, drop))
#define P_DROP_AGAIN(T) (const T *p, T *o, Scores sizes, Drop drop)
FOR_BOTH(drop_again, P_DROP_AGAIN, (p, o, sizes, drop))
#define P_SPLIT(T) (const T *x, T *o, size_t count, Heads sizes)
FOR_BOTH(split_heads, P_SPLIT, (x, o, count, sizes))
#define P_MERGE(T) (const T *a, const T *b, const T *c, T *o, size_t count, Heads sizes)
FOR_BOTH(merge_heads, P_MERGE, (a, b, c, o, count, sizes))
#define P_PATCHES(T) \
    (const float *views, const uint32_t *chosen, T *o, size_t count, unsigned side, unsigned patch)
FOR_BOTH(patches, P_PATCHES, (views, chosen, o, count, side, patch))

#define FOR_WIDTHS(name, T, suffix, parameters, arguments)                                             \
    extern "C" __global__ void name##_64_##suffix parameters(T) { name<T, 2> arguments; }              \
    extern "C" __global__ void name##_256_##suffix parameters(T) { name<T, 8> arguments; }             \
    extern "C" __global__ void name##_1024_##suffix parameters(T) { name<T, 32> arguments; }

#define P_SOFTMAX(T) (const T *x, T *o, T *dropped, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax, float, f32, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
FOR_WIDTHS(softmax, bf16, bf16, P_SOFTMAX, (x, o, dropped, sizes, scale, drop))
#define P_SOFTMAX_BACKWARD(T) (const T *p, const T *g, T *o, Scores sizes, float scale, Drop drop)
FOR_WIDTHS(softmax_backward, float, f32, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
FOR_WIDTHS(softmax_backward, bf16, bf16, P_SOFTMAX_BACKWARD, (p, g, o, sizes, scale, drop))
