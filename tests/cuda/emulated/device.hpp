// A GPU made of a processor: enough of CUDA that our kernels run unchanged, one block after the other.
//
// A thread is a fiber. It runs until it waits for the others of its warp (an exchange) or of its block
// (a barrier), and the next one goes on. Shared memory and exchanged words are poisoned before a block
// begins, and writes behind a block's shared memory are an error. So a missing wait or barrier mostly
// shows, in one order of threads or another (EMULATED_ORDER). Compiled with -fsanitize=thread, every race
// of a run shows: the sanitizer is told that barriers order threads, and that exchanges of a warp and the
// turns that fibers take do not.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <vector>

#include "cuda_bf16.h"

#ifdef __SANITIZE_THREAD__
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
extern "C" {
void __tsan_write_range(void *, unsigned long);
void *__tsan_create_fiber(unsigned);
void *__tsan_get_current_fiber();
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_acquire(void *);
void __tsan_release(void *);
}
#else
#define UNSEEN inline
inline void __tsan_write_range(void *, unsigned long) {}
inline void *__tsan_create_fiber(unsigned) { return nullptr; }
inline void *__tsan_get_current_fiber() { return nullptr; }
inline void __tsan_switch_to_fiber(void *, unsigned) {}
inline void __tsan_acquire(void *) {}
inline void __tsan_release(void *) {}
#endif

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
    void *seen = nullptr;  // as the sanitizer knows it
    bool done;
    std::deque<std::vector<Copy>> copies;  // the last group is not committed yet
};

// Fibers that wait for one another: the last to come lets all go on.
struct Barrier {
    int waiting = 0, generation = 0;
    char orders[2];  // what the sanitizer hangs the order on, in turn
};

constexpr int MOST_THREADS = 1024;  // of a block
inline Fiber fibers[MOST_THREADS];
inline std::function<void()> body;
inline void *host, *nobody;  // tops of stacks, likewise
inline int current, threads, living;
inline Barrier block_barrier, warp_barriers[32];
inline std::atomic<uint32_t> words[32][32][6];  // what lanes of a warp show one another

// Goes on where `to` left off; what a function may not change is kept on the stack that is left.
#if defined(__x86_64__)
constexpr int KEPT = 6;
__attribute__((naked, noinline, no_sanitize("thread"))) inline void change(void **, void *) {
    asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; mov %rsp, (%rdi);"
        "mov %rsi, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}
#else
#error "a GPU is emulated on x86-64 only: `change` is written for it"
#endif

// The threads of a block in the order of their turns, and where each stands in it.
inline int order[MOST_THREADS], place[MOST_THREADS];

UNSEEN void go(int from, bool back) {
    int turn = place[from], next;
    do next = order[turn = turn + 1 == threads ? 0 : turn + 1];
    while (fibers[next].done && next != from);
    if (next == from) return;
    current = next;
    threadIdx.x = next;
    __tsan_switch_to_fiber(fibers[next].seen, 1);
    change(back ? &fibers[from].top : &nobody, fibers[next].top);
}

inline void *host_seen;
inline char begun, ended;

UNSEEN void end() {
    int self = current;
    __tsan_release(&ended);
    fibers[self].done = true;
    if (--living == 0) {
        __tsan_switch_to_fiber(host_seen, 1);
        change(&nobody, host);
    }
    go(self, false);
}

UNSEEN void thread() {
    __tsan_acquire(&begun);
    body();
    end();
}

// A fiber that begins with `thread`.
inline void begin(Fiber &fiber) {
    fiber.stack.resize(1 << 16);
    if (fiber.seen == nullptr) fiber.seen = __tsan_create_fiber(0);
    fiber.done = false;
    fiber.copies.assign(1, {});
    // after the jump the stack must be 8 off a multiple of 16, as after a call
    uintptr_t end = (uintptr_t)(fiber.stack.data() + fiber.stack.size()) & ~(uintptr_t)15;
    void **top = (void **)end - 2 - KEPT;
    top[KEPT] = (void *)thread;
    fiber.top = top;
}

// `orders`: what was written before is seen behind it.
UNSEEN void wait(Barrier &barrier, int all, bool orders) {
    int generation = barrier.generation;
    char *hook = &barrier.orders[generation % 2];
    if (orders) __tsan_release(hook);
    if (++barrier.waiting == all) {
        barrier.waiting = 0;
        barrier.generation++;
    } else {
        while (barrier.generation == generation) go(current, true);
    }
    if (orders) __tsan_acquire(hook);
}

UNSEEN int lane() { return current % 32; }
UNSEEN int warp() { return current / 32; }
UNSEEN void wait_for_warp(bool orders = false) {
    wait(warp_barriers[current / 32], std::min(threads, 32), orders);
}

// EMULATED_ORDER: 0 or none, threads take turns by number; another, warps of a block and lanes of a warp
// in an order that it and the block's number draw.
inline void arrange(unsigned block) {
    static const unsigned seed = getenv("EMULATED_ORDER") ? atoi(getenv("EMULATED_ORDER")) : 0;
    for (int i = 0; i < threads; i++) order[i] = i;
    if (seed > 0) {
        std::mt19937 draws(seed + 65537 * block);
        for (int warp = 0; warp < threads; warp += 32)
            std::shuffle(&order[warp], &order[warp] + std::min(threads - warp, 32), draws);
        for (int left = threads / 32; left > 1; left--) {
            int last = 32 * (left - 1), other = draws() % left * 32;
            if (other != last) std::swap_ranges(&order[last], &order[last] + 32, &order[other]);
        }
    }
    for (int i = 0; i < threads; i++) place[order[i]] = i;
}

// Runs the first fiber, and with it the others, until all are done.
UNSEEN void run_block() {
    current = order[0];
    threadIdx = {unsigned(current), 0};
    __tsan_release(&begun);
    __tsan_switch_to_fiber(fibers[current].seen, 1);
    change(&host, fibers[current].top);
    __tsan_acquire(&ended);
}

// A lane's words, shown to its warp, and what another lane shows.
inline void show(const uint32_t *own, int count) {
    for (int i = 0; i < count; i++) words[warp()][lane()][i].store(own[i], std::memory_order_relaxed);
}
inline uint32_t shown(int lane, int word) { return words[warp()][lane][word].load(std::memory_order_relaxed); }

// Runs `kernel` in all threads of a grid; `count` is a multiple of 32, `shared` the bytes that a block has.
inline void launch(Place grid, int count, std::function<void()> kernel, size_t shared = sizeof pool) {
    constexpr size_t GUARD = 64;
    body = kernel;
    threads = count;
    host_seen = __tsan_get_current_fiber();
    gridDim = grid;
    blockDim = {unsigned(count), 1};
    size_t poisoned = std::min(sizeof pool, shared + GUARD);
    for (unsigned block = 0; block < grid.x * grid.y; block++) {
        blockIdx = {block % grid.x, block / grid.x};
        memset((void *)pool, 0xff, poisoned);
        for (auto &warp : words)
            for (auto &lane : warp)
                for (auto &word : lane) word = ~0u;
        block_barrier = {};
        for (Barrier &barrier : warp_barriers) barrier = {};
        for (int i = 0; i < count; i++) begin(fibers[i]);
        living = count;
        arrange(block);
        run_block();
        for (size_t i = shared; i < poisoned; i++)
            if (((unsigned char *)pool)[i] != 0xff) {
                fprintf(stderr, "emulated GPU: a block wrote behind its shared memory\n");
                abort();
            }
    }
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::block_barrier, emulated::threads, true); }

inline int __syncthreads_or(int vote) {
    static std::atomic<int> found;
    __syncthreads();
    found = 0;
    __syncthreads();
    if (vote != 0) found = 1;
    __syncthreads();
    return found;
}

inline void __syncwarp() { emulated::wait_for_warp(true); }

// The value that a lane shows.
template <class T>
T taken(T value, int from) {
    uint32_t word;
    memcpy(&word, &value, 4);
    emulated::show(&word, 1);
    emulated::wait_for_warp();
    word = emulated::shown(from & 31, 0);
    emulated::wait_for_warp();
    memcpy(&value, &word, 4);
    return value;
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int step) {
    return taken(value, emulated::lane() ^ step);
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned step, int width = 32) {
    int lane = emulated::lane();
    return taken(value, lane % width < (int)step ? lane : lane - (int)step);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned step) {
    int lane = emulated::lane(), from = lane + (int)step;
    return taken(value, from > 31 ? lane : from);
}
template <class T>
T __shfl_sync(unsigned, T value, int from, int width = 32) {
    return taken(value, emulated::lane() / width * width + from % width);
}
inline unsigned __ballot_sync(unsigned, int vote) {
    uint32_t word = vote != 0;
    emulated::show(&word, 1);
    emulated::wait_for_warp();
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) votes |= (emulated::shown(lane, 0) & 1) << lane;
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
    __tsan_write_range(copy.to, copy.bytes);
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
template <class T>
T *settled(T *address) {
    return address;
}
inline float rough_exp2(float value) { return exp2f(value); }
inline u32 to_bf16(float first, float second) {
    return __float2bfloat16(first).bits | u32(__float2bfloat16(second).bits) << 16;
}

// Row r of matrix m is shown by lane 8m + r; `transposed`, a lane takes from two rows.
inline void load_matrices(u32 (&loaded)[4], const u32 *row, bool transposed) {
    int lane = emulated::lane();
    emulated::show(row, 4);
    emulated::wait_for_warp();
    for (int m = 0; m < 4; m++) {
        loaded[m] = 0;
        for (int i = 0; i < 2; i++) {
            int line = transposed ? lane % 4 * 2 + i : lane / 4;
            int column = transposed ? lane / 4 : lane % 4 * 2 + i;
            u32 half = emulated::shown(8 * m + line, column / 2) >> column % 2 * 16 & 0xffff;
            loaded[m] |= half << 16 * i;
        }
    }
    emulated::wait_for_warp();
}
inline void load_matrices(u32 (&loaded)[4], const u32 *row) { load_matrices(loaded, row, false); }
inline void load_transposed(u32 (&loaded)[4], const u32 *row) { load_matrices(loaded, row, true); }

// The layout of the m16n8 instructions: a lane's words of both sides, and its four sums.
template <class Product>
void mma(float *sums, const u32 (&own)[6], Product product) {
    int group = emulated::lane() / 4, pair = emulated::lane() % 4;
    emulated::show(own, 6);
    emulated::wait_for_warp();
    for (int row = 0; row < 2; row++)
        for (int column = 0; column < 2; column++)
            for (int half = 0; half < 2; half++)
                for (int k = 0; k < 4; k++)
                    sums[2 * row + column] += product(
                        emulated::shown(4 * group + k, 2 * half + row),
                        emulated::shown(4 * (2 * pair + column) + k, 4 + half));
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
