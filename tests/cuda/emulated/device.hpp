// A GPU made of a processor: enough of CUDA that our kernels run unchanged, one block after the other.
//
// A thread is a fiber. It runs until it waits for the others of its warp (an exchange) or of its block
// (a barrier), and the next one goes on. Shared memory and exchanged words are poisoned before a block
// begins, and writes behind a block's shared memory are an error. So a missing wait or barrier mostly
// shows; that all of them are there it cannot prove.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "cuda_bf16.h"

#define __device__
#ifndef __global__ // who lists the kernels of a file gives it a name of its own
#define __global__
#endif
#define __forceinline__ inline
#define __shared__  // variables of a block say `static` too, and its dynamic memory is `pool`
#define __launch_bounds__(...)

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
using std::max;
using std::min;
typedef unsigned int u32;

struct Place {
    unsigned x, y;
};
inline Place threadIdx, blockIdx, blockDim, gridDim;
inline uint4 pool[1 << 14];  // dynamic shared memory

namespace emulated {

struct Copy {
    u32 *to;
    const void *from;  // zeros where there is none
    size_t bytes;

    void arrive() const { from ? memcpy(to, from, bytes) : memset(to, 0, bytes); }
};

struct Fiber {
    void *top;  // of its stack, where it went out of it
    std::vector<char> stack;
    bool done;
    std::deque<std::vector<Copy>> copies;  // the last group is not committed yet
};

// Fibers that wait for one another: the last to come lets all go on.
struct Barrier {
    int waiting = 0, generation = 0;
};

inline std::vector<Fiber> fibers;
inline std::function<void()> body;
inline void *host, *nobody;  // tops of stacks, likewise
inline int current, threads, living;
inline Barrier block_barrier, warp_barriers[32];
inline uint32_t words[32][32][6];  // what lanes of a warp show one another

// Goes on where `to` left off; what a function may not change is kept on the stack that is left.
#if defined(__x86_64__)
constexpr int KEPT = 6;
__attribute__((naked, noinline)) inline void change(void **, void *) {
    asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; mov %rsp, (%rdi);"
        "mov %rsi, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}
#else
#error "a GPU is emulated on x86-64 only: `change` is written for it"
#endif

inline void go(int from, bool back) {
    int next = from;
    do next = next + 1 == threads ? 0 : next + 1;
    while (fibers[next].done && next != from);
    if (next == from) return;
    current = next;
    threadIdx.x = next;
    change(back ? &fibers[from].top : &nobody, fibers[next].top);
}

inline void thread() {
    body();
    int self = current;
    fibers[self].done = true;
    if (--living == 0) change(&nobody, host);
    go(self, false);
}

// A fiber that begins with `thread`.
inline void begin(Fiber &fiber) {
    fiber.stack.resize(1 << 16);
    fiber.done = false;
    fiber.copies.assign(1, {});
    // after the jump the stack must be 8 off a multiple of 16, as after a call
    uintptr_t end = (uintptr_t)(fiber.stack.data() + fiber.stack.size()) & ~(uintptr_t)15;
    void **top = (void **)end - 2 - KEPT;
    top[KEPT] = (void *)thread;
    fiber.top = top;
}

inline void wait(Barrier &barrier, int all) {
    int generation = barrier.generation;
    if (++barrier.waiting == all) {
        barrier.waiting = 0;
        barrier.generation++;
    } else {
        while (barrier.generation == generation) go(current, true);
    }
}

inline int lane() { return current % 32; }
inline uint32_t (&shown())[32][6] { return words[current / 32]; }
inline void wait_for_warp() { wait(warp_barriers[current / 32], std::min(threads, 32)); }

// Runs `kernel` in all threads of a grid; `count` is a multiple of 32, `shared` the bytes that a block has.
inline void launch(Place grid, int count, std::function<void()> kernel, size_t shared = sizeof pool) {
    constexpr size_t GUARD = 64;
    body = kernel;
    threads = count;
    gridDim = grid;
    blockDim = {unsigned(count), 1};
    fibers.resize(std::max<size_t>(fibers.size(), count));
    size_t poisoned = std::min(sizeof pool, shared + GUARD);
    for (unsigned block = 0; block < grid.x * grid.y; block++) {
        blockIdx = {block % grid.x, block / grid.x};
        memset((void *)pool, 0xff, poisoned);
        memset(words, 0xff, sizeof words);
        block_barrier = {};
        for (Barrier &barrier : warp_barriers) barrier = {};
        for (int i = 0; i < count; i++) begin(fibers[i]);
        living = count;
        current = 0;
        threadIdx = {0, 0};
        change(&host, fibers[0].top);
        for (size_t i = shared; i < poisoned; i++)
            if (((unsigned char *)pool)[i] != 0xff) {
                fprintf(stderr, "emulated GPU: a block wrote behind its shared memory\n");
                abort();
            }
    }
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::block_barrier, emulated::threads); }

inline int __syncthreads_or(int vote) {
    static int found;
    __syncthreads();
    found = 0;
    __syncthreads();
    found |= vote != 0;
    __syncthreads();
    return found;
}

inline void __syncwarp() { emulated::wait_for_warp(); }

// The value that a lane shows.
template <class T>
T taken(T value, int from) {
    auto &shown = emulated::shown();
    memcpy(shown[emulated::lane()], &value, 4);
    emulated::wait_for_warp();
    memcpy(&value, shown[from & 31], 4);
    emulated::wait_for_warp();
    return value;
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int step) {
    return taken(value, emulated::lane() ^ step);
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned step) {
    int lane = emulated::lane(), from = lane - (int)step;
    return taken(value, from < 0 ? lane : from);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned step) {
    int lane = emulated::lane(), from = lane + (int)step;
    return taken(value, from > 31 ? lane : from);
}
template <class T>
T __shfl_sync(unsigned, T value, int from) {
    return taken(value, from);
}
inline unsigned __ballot_sync(unsigned, int vote) {
    auto &shown = emulated::shown();
    shown[emulated::lane()][0] = vote != 0;
    emulated::wait_for_warp();
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) votes |= (shown[lane][0] & 1) << lane;
    emulated::wait_for_warp();
    return votes;
}
inline int __any_sync(unsigned all, int vote) { return __ballot_sync(all, vote) != 0; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs((int)bits); }
template <class T>
T __ldg(const T *from) {
    return *from;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }

// ------------------------------------------------------------------ in place of instructions.cuh

#define INSTRUCTIONS

inline bool copies_arrive_at_once;  // else when they are waited for: a kernel must bear both

inline std::deque<std::vector<emulated::Copy>> &copies() { return emulated::fibers[emulated::current].copies; }
inline void copy_later(const emulated::Copy &copy) {
    copies_arrive_at_once ? copy.arrive() : copies().back().push_back(copy);
}
inline void copy_async_or_zero(u32 *to, const uint4 *from, bool there) {
    copy_later({to, there ? from : nullptr, 16});
}
inline void copy_word_async_or_zero(u32 *to, const u32 *from, bool there) {
    copy_later({to, there ? from : nullptr, 4});
}
inline void copy_async(u32 *to, const uint4 *from) { copy_async_or_zero(to, from, true); }
inline void commit_copies() { copies().emplace_back(); }
template <int PENDING>
void await_copies() {
    for (; copies().size() > PENDING + 1; copies().pop_front())
        for (const emulated::Copy &copy : copies().front()) copy.arrive();
}
inline u32 to_tf32(float value) { return (__float_as_uint(value) + 0x1000u) & ~0x1fffu; }
inline float rough_exp2(float value) { return exp2f(value); }
inline u32 to_bf16(float first, float second) {
    return __float2bfloat16(first).bits | u32(__float2bfloat16(second).bits) << 16;
}

// Row r of matrix m is shown by lane 8m + r; `transposed`, a lane takes from two rows.
inline void load_matrices(u32 (&loaded)[4], const u32 *row, bool transposed) {
    auto &shown = emulated::shown();
    int lane = emulated::lane();
    memcpy(shown[lane], row, 16);
    emulated::wait_for_warp();
    for (int m = 0; m < 4; m++) {
        uint16_t two[2];
        for (int i = 0; i < 2; i++) {
            int line = transposed ? lane % 4 * 2 + i : lane / 4;
            int column = transposed ? lane / 4 : lane % 4 * 2 + i;
            memcpy(&two[i], (char *)shown[8 * m + line] + 2 * column, 2);
        }
        memcpy(&loaded[m], two, 4);
    }
    emulated::wait_for_warp();
}
inline void load_matrices(u32 (&loaded)[4], const u32 *row) { load_matrices(loaded, row, false); }
inline void load_transposed(u32 (&loaded)[4], const u32 *row) { load_matrices(loaded, row, true); }

// The layout of the m16n8 instructions: a lane's words of both sides, and its four sums.
template <class Product>
void mma(float *sums, const u32 (&own)[6], Product product) {
    auto &shown = emulated::shown();
    int group = emulated::lane() / 4, pair = emulated::lane() % 4;
    memcpy(shown[emulated::lane()], own, sizeof own);
    emulated::wait_for_warp();
    for (int row = 0; row < 2; row++)
        for (int column = 0; column < 2; column++)
            for (int half = 0; half < 2; half++)
                for (int k = 0; k < 4; k++)
                    sums[2 * row + column] += product(
                        shown[4 * group + k][2 * half + row], shown[4 * (2 * pair + column) + k][4 + half]);
    emulated::wait_for_warp();
}
inline void mma_tf32(float *sums, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    mma(sums, {a0, a1, a2, a3, b0, b1},
        [](u32 a, u32 b) { return __uint_as_float(a & ~0x1fffu) * __uint_as_float(b & ~0x1fffu); });
}
inline void mma_bf16(float *sums, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    mma(sums, {a0, a1, a2, a3, b0, b1}, [](u32 a, u32 b) {
        float low = __uint_as_float(a << 16) * __uint_as_float(b << 16);
        return low + __uint_as_float(a & 0xffff0000u) * __uint_as_float(b & 0xffff0000u);
    });
}
