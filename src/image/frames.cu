// Frames of bytes become what an encoder takes: normalised planes, resampled where the rule is
// bilinear on floats. To the last bit what resize.rs and eval do on the CPU: so no multiplication
// may be fused with an addition.

struct Normalization {
    float mean[3], deviation[3];
};
static_assert(sizeof(Normalization) == 24, "as the structure in Rust");

static __device__ __forceinline__ float mixed(float near, float far, float weight) {
    return __fadd_rn(__fmul_rn(near, 1.0f - weight), __fmul_rn(far, weight));
}

// Frames [B, height, width, 3] -> planes [B, 3, rows, columns], a thread a pixel of `count`. The
// taps along both axes are resize.rs's; `row_near` is null where there is nothing to resample.
extern "C" __global__ void frame_planes(
    const unsigned char *frames, float *out, unsigned count, unsigned height, unsigned width, unsigned rows,
    unsigned columns, const unsigned *row_near, const unsigned *row_far, const float *row_weight,
    const unsigned *column_near, const unsigned *column_far, const float *column_weight, Normalization norm) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const unsigned x = i % columns, y = i / columns % rows, image = i / columns / rows;
        const unsigned char *frame = frames + (size_t)image * height * width * 3;
        for (unsigned channel = 0; channel < 3; channel++) {
            auto at = [&](unsigned row, unsigned column) {
                return frame[((size_t)row * width + column) * 3 + channel] / 255.0f;
            };
            float value;
            if (row_near) {
                const unsigned top = row_near[y], bottom = row_far[y];
                const unsigned left = column_near[x], right = column_far[x];
                const float across = column_weight[x];
                const float upper = mixed(at(top, left), at(top, right), across);
                const float lower = mixed(at(bottom, left), at(bottom, right), across);
                value = mixed(upper, lower, row_weight[y]);
            } else {
                value = at(y, x);
            }
            out[(((size_t)image * 3 + channel) * rows + y) * columns + x] =
                (value - norm.mean[channel]) / norm.deviation[channel];
        }
    }
}
