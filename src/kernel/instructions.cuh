// Instructions that C++ has no words for, where more than one family of kernels uses them. Those of
// compute capability 8.0 do nothing on an older card: kernels that need them are not called there.

#ifndef INSTRUCTIONS // a program that emulates a GPU has its own
#define INSTRUCTIONS

typedef unsigned int u32;

__device__ inline void copy_async(u32 *to, const uint4 *from) {
#if __CUDA_ARCH__ >= 800
    u32 address = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
#else
    *reinterpret_cast<uint4 *>(to) = *from;
#endif
}

// Copies 16 bytes that are `there`, else writes zeros and reads nothing.
__device__ inline void copy_async_or_zero(u32 *to, const uint4 *from, bool there) {
#if __CUDA_ARCH__ >= 800
    u32 address = (u32)__cvta_generic_to_shared(to), bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes)
                 : "memory");
#else
    *reinterpret_cast<uint4 *>(to) = there ? *from : make_uint4(0, 0, 0, 0);
#endif
}

// The same for a word. Unlike the others it may pass through the first cache.
__device__ inline void copy_word_async_or_zero(u32 *to, const u32 *from, bool there) {
#if __CUDA_ARCH__ >= 800
    u32 address = (u32)__cvta_generic_to_shared(to), bytes = there ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(bytes)
                 : "memory");
#else
    *to = there ? *from : 0;
#endif
}

__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last PENDING groups of this thread's copies have arrived.
template <int PENDING>
__device__ inline void await_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// An address that the compiler takes as it is: what is added to it later stays one instruction,
// where it would else add all parts anew for every copy.
template <class T>
__device__ inline T *settled(T *address) {
    asm("" : "+l"(address));
    return address;
}

__device__ inline u32 to_tf32(float value) {
    u32 bits = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
#endif
    return bits;
}

// The upper half of the word is the second value, rounded to bfloat16; the lower half the first.
__device__ inline u32 to_bf16(float first, float second) {
    u32 bits = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
#endif
    return bits;
}

// 2 to the power of a number, good to 22 bits; 0 where it would be below 2^-126.
__device__ inline float rough_exp2(float value) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(value));
    return power;
}

// Four matrices of 8 × 8 values of 16 bits: lane 8m + r says where row r of matrix m lies. A lane
// gets two neighbours of row lane / 4 of each; transposed, two of column lane / 4.
__device__ inline void load_matrices(u32 (&words)[4], const u32 *row) {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"((u32)__cvta_generic_to_shared(row)) : "memory");
#endif
}

__device__ inline void load_transposed(u32 (&words)[4], const u32 *row) {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"((u32)__cvta_generic_to_shared(row)) : "memory");
#endif
}

// 16 rows × 8 columns: adds products over 8 (TF32) or 16 (bfloat16) values.
__device__ inline void mma_tf32(float *sums, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

__device__ inline void mma_bf16(float *sums, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

#endif
