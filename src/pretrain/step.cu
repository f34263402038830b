// What a training step does on a GPU outside the network: pixels in, AdamW out.

#include <stdint.h>

static __device__ __forceinline__ size_t place() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ size_t stride() { return (size_t)gridDim.x * blockDim.x; }

// Pictures [B, area, 3] of bytes -> [B, 3, area], by a table [3, 256]; `count` values in all.
extern "C" __global__ void planes(const uint8_t *pictures, const float *table, float *out, size_t count, unsigned area) {
    for (size_t i = place(); i < count; i += stride()) {
        const size_t pixel = i % area, image = i / area / 3;
        const unsigned channel = i / area % 3;
        out[i] = table[channel * 256 + pictures[(image * area + pixel) * 3 + channel]];
    }
}

struct Step {
    float keep, size, new1, beta2, new2, root2, epsilon;
};

// Moves the means of a parameter's gradients [count] and of their squares [count], one behind the other.
extern "C" __global__ void adamw_moments(float *moments, const float *gradient, size_t count, Step step) {
    float *mean = moments, *square = moments + count;
    for (size_t i = place(); i < count; i += stride()) {
        const float g = gradient[i];
        mean[i] += (g - mean[i]) * step.new1;
        square[i] = square[i] * step.beta2 + g * g * step.new2;
    }
}

// Moves the parameter itself.
extern "C" __global__ void adamw_values(float *values, const float *moments, size_t count, Step step) {
    const float *mean = moments, *square = moments + count;
    for (size_t i = place(); i < count; i += stride())
        values[i] = values[i] * step.keep - step.size * mean[i] / (sqrtf(square[i]) / step.root2 + step.epsilon);
}
