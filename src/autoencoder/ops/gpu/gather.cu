// Tensors, or sums of two, put behind one another in one buffer.

#include "../../../kernel/pack.cuh"

// A tensor of `count` values, what is to be added to it, or null, and where in the buffer the sum
// begins: at a whole pack.
struct Part {
    const void *values, *more;
    unsigned start, count;
};
static_assert(sizeof(Part) == 24, "as the structure in Rust");

// What a launch takes: with its other arguments no more than 4096 bytes.
static const unsigned MOST = 160;

struct Parts {
    Part all[MOST];
};
static_assert(sizeof(Parts) == 3840, "as the structure in Rust");

// The pack of a tensor of `count` values that begins at its value `first`; zeros behind its end.
template <typename T>
static __device__ __forceinline__ Pack pack_at(const void *values, unsigned first, unsigned count) {
    const T *from = (const T *)values + first;
    if (first + PACK <= count && (uintptr_t)from % 16 == 0) return load_pack(from);
    Pack pack = {};
    for (unsigned i = 0; i < PACK && first + i < count; i++) pack.values[i] = load(from + i);
    return pack;
}

// Writes the buffer in f32 from where the first of `parts` tensors begins up to `end`, with zeros
// between them.
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
        Pack pack = pack_at<T>(parts.all[low].values, first, values);
        if (parts.all[low].more) pack = plus(pack, pack_at<T>(parts.all[low].more, first, values));
        store_pack(buffer + at, pack);
    }
}

#define P_GATHER(T) (Parts parts, unsigned count, float *buffer, unsigned end)
FOR_BOTH(gather, P_GATHER, (parts, count, buffer, end))
