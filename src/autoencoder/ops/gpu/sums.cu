// Sums over the rows of a tensor, band by band, and over a whole tensor.

#include "../../../kernel/columns.cuh"

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

// The same for what a LayerNorm's weight and bias get: parts [bands, 2 columns], the weight's
// first.
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

// Adds up parts, bands among them, by blocks of 32 warps: a block takes 32 columns, a warp's lanes the
// parts of one of them.
template <typename T>
static __device__ void sum_parts(const float *parts, T *out, unsigned count, unsigned columns) {
    static __shared__ float sums[WARP][WARP + 1];
    const unsigned lane = threadIdx.x % WARP, other = threadIdx.x / WARP, first = blockIdx.x * WARP;
    float sum = 0;
    if (first + lane < columns)
        for (unsigned part = other; part < count; part += WARP) sum += parts[(size_t)part * columns + first + lane];
    sums[other][lane] = sum;
    __syncthreads();
    sum = warp_sum(sums[lane][other]);
    if (lane == 0 && first + other < columns) store(out + first + other, sum);
}

// The sum over a block of whole warps, in its first warp.
static __device__ __forceinline__ float block_sum(float value) {
    static __shared__ float sums[WARP];
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = value;
    __syncthreads();
    if (threadIdx.x >= WARP) return 0;
    return warp_sum(threadIdx.x < blockDim.x / WARP ? sums[threadIdx.x] : 0);
}

// Sums of squares of the shares that blocks of 256 threads have in `count` values, which are whole
// packs.
extern "C" __global__ void squares(const float *values, float *parts, unsigned count) {
    float sum = 0;
    for (unsigned i = place() * PACK; i < count; i += stride() * PACK) {
        const Pack pack = load_pack(values + i);
#pragma unroll
        for (unsigned k = 0; k < PACK; k++) sum += pack.values[k] * pack.values[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// What a step is judged by, from the sums of squares of `count` shares, by one block of 1024
// threads: out[0] is what gradients are to be multiplied by so that they are no longer than `clip`
// (0: none), not a number where their length or a loss is not finite; out[1] their length; then the
// losses.
extern "C" __global__ void measure(const float *parts, unsigned count, const float *losses, unsigned passes,
                                   double clip, double *out) {
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    const double norm = sqrt((double)sum);
    double bad = norm - norm;  // 0, or not a number
    for (unsigned i = 0; i < passes; i++) {
        const double loss = losses[i];
        bad += loss - loss;
        out[2 + i] = loss;
    }
    out[0] = (clip > 0 && norm > clip ? clip / norm : 1) + bad;
    out[1] = norm;
}

// The sum of `count` values times `factor`, by one block of 1024 threads.
extern "C" __global__ void total(const float *values, float *out, unsigned count, float factor) {
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = factor * sum;
}

#define P_COLUMN_SUMS(T) (const T *x, float *parts, unsigned rows, unsigned columns, unsigned band)
FOR_BOTH(column_sums, P_COLUMN_SUMS, (x, parts, rows, columns, band))
#define P_NORM_SUMS(T) \
    (const T *x, const T *g, const float *kept, float *parts, unsigned rows, unsigned columns, unsigned band)
FOR_BOTH(norm_sums, P_NORM_SUMS, (x, g, kept, parts, rows, columns, band))
#define P_SUM_PARTS(T) (const float *parts, T *o, unsigned count, unsigned columns)
FOR_BOTH(sum_parts, P_SUM_PARTS, (parts, o, count, columns))
