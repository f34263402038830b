// What kernels that go over rows and values share: number types, packs, warps, and the names they
// are called by. Each kernel is there in f32 and bf16. Sums are taken in f32 and in an order that
// depends on sizes alone, so that the same input gives the same bytes. What each kernel computes is
// what the Rust function that launches it says, in the file beside it of the same name.
//
// A row is the last dimension of a tensor; most kernels give a row to a warp. Nothing here returns
// before a barrier that others wait at, and a warp stays together, so its exchanges are complete.

#pragma once

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

static __device__ __forceinline__ Pack plus(Pack pack, const Pack &other) {
#pragma unroll
    for (unsigned i = 0; i < PACK; i++) pack.values[i] += other.values[i];
    return pack;
}

static __device__ __forceinline__ Pack times(Pack pack, const Pack &other) {
#pragma unroll
    for (unsigned i = 0; i < PACK; i++) pack.values[i] *= other.values[i];
    return pack;
}

// What is left of values that are stored as T.
template <typename T>
static __device__ __forceinline__ Pack as_stored(Pack pack) {
#pragma unroll
    for (unsigned i = 0; i < PACK; i++) {
        T stored;
        store(&stored, pack.values[i]);
        pack.values[i] = load(&stored);
    }
    return pack;
}

static __device__ __forceinline__ float warp_sum(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

static __device__ __forceinline__ float warp_max(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL, value, step));
    return value;
}

// The share of a normal distribution below x.
static __device__ __forceinline__ float share_below(float x) { return 0.5f + 0.5f * erff(0.7071067811865476f * x); }

// The place of this thread in the whole grid, and the grid's size. Tensors have fewer than 2^32
// values (candle counts so too): 64-bit divisions would cost more than the memory.
static __device__ __forceinline__ unsigned place() { return blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ unsigned stride() { return gridDim.x * blockDim.x; }
// The row of this thread's warp.
static __device__ __forceinline__ unsigned warp_row() { return place() / WARP; }

// What dropout does to the value at a place of a tensor: the same as on the CPU.
struct Drop {
    uint32_t below, factor, offset;
    float scale;

    // Whether the value falls whose place times `factor` is `product`.
    __device__ __forceinline__ bool falls(uint32_t product) const {
        uint32_t bits = product ^ offset;
        bits ^= bits >> 16;
        bits *= 0x7feb352du;
        bits ^= bits >> 15;
        bits *= 0x846ca68bu;
        bits ^= bits >> 16;
        return bits < below;
    }

    __device__ __forceinline__ float operator()(float value, uint32_t at) const {
        return falls(at * factor) ? 0.0f : value * scale;
    }

    // The same for a pack that begins at a place; where nothing drops, nothing is drawn.
    __device__ __forceinline__ Pack operator()(Pack pack, uint32_t at) const {
        if (!below) return pack;
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) pack.values[i] = (*this)(pack.values[i], at + i);
        return pack;
    }
};
static_assert(sizeof(Drop) == 16, "as the structure in Rust");

// Makes a template callable by name: NAME_f32 and NAME_bf16.
#define FOR_BOTH(name, parameters, arguments)                                                          \
    extern "C" __global__ void name##_f32 parameters(float) { name<float> arguments; }                 \
    extern "C" __global__ void name##_bf16 parameters(bf16) { name<bf16> arguments; }
