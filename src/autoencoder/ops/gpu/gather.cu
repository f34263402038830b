// Tensors put behind one another in one buffer.

#include "../../../kernel/pack.cuh"

// A tensor of `count` values, and where in the buffer it begins: at a whole pack.
struct Part {
    const void *values;
    unsigned start, count;
};

// What a launch takes: with its other arguments no more than 4096 bytes.
static const unsigned MOST = 240;

struct Parts {
    Part all[MOST];
};

// Writes the buffer in f32 from where the first of `parts` tensors begins up to `end`, with zeros between
// them.
template <typename T>
static __device__ __forceinline__ void gather(const Parts &parts, unsigned count, float *buffer, unsigned end) {
    const unsigned begin = parts.all[0].start;
    for (unsigned at = begin + place() * PACK; at < end; at += stride() * PACK) {
        unsigned low = 0, high = count;  // it belongs to one of low..high
        while (high - low > 1) {
            const unsigned middle = (low + high) / 2;
            if (parts.all[middle].start <= at) low = middle;
            else high = middle;
        }
        const unsigned first = at - parts.all[low].start, values = parts.all[low].count;
        const T *from = (const T *)parts.all[low].values;
        Pack pack = {};
        if (first + PACK <= values && (uintptr_t)from % 16 == 0) pack = load_pack(from + first);
        else
            for (unsigned i = 0; i < PACK && first + i < values; i++) pack.values[i] = load(from + first + i);
        store_pack(buffer + at, pack);
    }
}

#define P_GATHER(T) (Parts parts, unsigned count, float *buffer, unsigned end)
FOR_BOTH(gather, P_GATHER, (parts, count, buffer, end))
