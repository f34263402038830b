// What a training step does when its gradients are there: AdamW and the average.
//
// What is trained is one buffer of whole packs. Additions, products and quotients are the CPU's,
// each rounded by itself, so that the same gradients leave the same weights to the last bit.

#include "../kernel/pack.cuh"

struct Step {
    float keep, size, new1, beta2, new2, root2, epsilon;
};
static_assert(sizeof(Step) == 28, "as the structure in Rust");

// Moves the means of gradients [count] and of their squares [count], one behind the other, and the
// values. A grain of values decays where `decays` is not 0. measured[0] is what gradients are
// multiplied by; where it is not a number, nothing moves.
extern "C" __global__ void adamw(float *values, float *moments, const float *gradient, const uint8_t *decays,
                                 const double *measured, unsigned count, unsigned grain, Step step) {
    const float factor = (float)measured[0];
    if (factor != factor) return;
    float *means = moments, *squares = moments + count;
    for (unsigned i = place() * PACK; i < count; i += stride() * PACK) {
        const float keep = decays[i / grain] ? step.keep : 1.0f;
        const Pack gradients = load_pack(gradient + i);
        Pack value = load_pack(values + i), mean = load_pack(means + i), square = load_pack(squares + i);
#pragma unroll
        for (unsigned k = 0; k < PACK; k++) {
            const float g = __fmul_rn(gradients.values[k], factor);
            float &v = value.values[k], &m = mean.values[k], &s = square.values[k];
            m = __fadd_rn(m, __fmul_rn(__fsub_rn(g, m), step.new1));
            s = __fadd_rn(__fmul_rn(s, step.beta2), __fmul_rn(__fmul_rn(g, g), step.new2));
            const float deviation = __fadd_rn(__fdiv_rn(__fsqrt_rn(s), step.root2), step.epsilon);
            v = __fsub_rn(__fmul_rn(v, keep), __fdiv_rn(__fmul_rn(step.size, m), deviation));
        }
        store_pack(values + i, value);
        store_pack(means + i, mean);
        store_pack(squares + i, square);
    }
}

// kept * average + added * value
extern "C" __global__ void average(float *averages, const float *values, unsigned count, float kept, float added) {
    for (unsigned i = place() * PACK; i < count; i += stride() * PACK) {
        Pack mixed = load_pack(averages + i);
        const Pack value = load_pack(values + i);
#pragma unroll
        for (unsigned k = 0; k < PACK; k++)
            mixed.values[k] = __fadd_rn(__fmul_rn(mixed.values[k], kept), __fmul_rn(value.values[k], added));
        store_pack(averages + i, mixed);
    }
}
