// What the decoder must say of patches, and how far it is off.

#include "../../../kernel/pack.cuh"

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

// `factor` times what the loss's own gradient is times (predicted - wanted), 0 where nothing was
// removed.
extern "C" __global__ void patch_errors_backward(const float *predicted, const float *wanted, const float *removed,
                                                 const float *gradient, float *out, unsigned count, unsigned width,
                                                 float factor) {
    const float scale = factor * *gradient;
    for (unsigned i = place(); i < count; i += stride())
        out[i] = removed[i / width] == 0 ? 0 : scale * (predicted[i] - wanted[i]);
}
