// Frames cut into patches.

#include "../../kernel/pack.cuh"

// Patches of frames [B, 3, H, W], a patch in the order (channel, row, column): those numbered in
// `chosen` among all of the batch, or all where there is no list. `count` values in all; pixels
// right of and below the last whole patch are left out.
template <typename T>
static __device__ void patches(const float *frames, const uint32_t *chosen, T *out, unsigned count,
                               unsigned height, unsigned width, unsigned patch) {
    const unsigned across = width / patch, each = height / patch * across, values = 3 * patch * patch;
    for (unsigned i = place(); i < count; i += stride()) {
        const unsigned number = chosen ? chosen[i / values] : i / values;
        const unsigned within = i % values, column = within % patch, row = within / patch % patch;
        const unsigned channel = within / patch / patch;
        const unsigned image = number / each;
        const unsigned y = number % each / across * patch + row, x = number % across * patch + column;
        store(out + i, frames[((image * 3 + channel) * height + y) * width + x]);
    }
}

#define P_PATCHES(T) \
    (const float *frames, const uint32_t *chosen, T *o, unsigned count, unsigned height, unsigned width, unsigned patch)
FOR_BOTH(patches, P_PATCHES, (frames, chosen, o, count, height, width, patch))
