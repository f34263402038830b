// Times, memory and the card's ceilings, for ladder.cu.

#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "../../src/kernel/instructions.cuh"

#define CHECK(call)                                                                     \
    do {                                                                                \
        cudaError_t error_ = (call);                                                    \
        if (error_ != cudaSuccess) {                                                    \
            printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));      \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

int multiprocessors;

double median_ms(const std::function<void(int)> &run) {
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    auto once = [&](int times) {
        CHECK(cudaEventRecord(from));
        for (int n = 0; n < times; n++) run(n);
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, from, to));
        return double(ms) / times;
    };
    once(3);
    double guess = once(3);
    int times = 3 * std::max(1, std::min(8, int(2.0 / guess)));
    std::vector<double> samples;
    double spent = 0;
    while (samples.size() < 15 && (samples.size() < 3 || spent < 400)) {
        samples.push_back(once(times));
        spent += samples.back() * times;
    }
    CHECK(cudaGetLastError());
    std::sort(samples.begin(), samples.end());
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    return samples[samples.size() / 2];
}

template <class T>
T *allocate(size_t count, const T *from = nullptr) {
    T *pointer;
    CHECK(cudaMalloc(&pointer, count * sizeof(T)));
    CHECK(cudaMemset(pointer, 0xff, count * sizeof(T)));  // NaN
    if (from) CHECK(cudaMemcpy(pointer, from, count * sizeof(T), cudaMemcpyHostToDevice));
    return pointer;
}

// The machine's ceilings: TFLOP/s of large products, GB/s of a large copy (read and written).
struct Ceilings {
    double f32 = 0, tf32 = 0, bf16 = 0, copy = 0;
};

__global__ void fill_random(float *out, size_t count) {
    for (size_t n = blockIdx.x * blockDim.x + threadIdx.x; n < count; n += gridDim.x * blockDim.x) {
        u32 bits = (u32)n * 2654435761u;
        bits ^= bits >> 15;
        bits *= 2246822519u;
        bits ^= bits >> 13;
        out[n] = (float)bits / 4294967296.0f - 0.5f;
    }
}

__global__ void fill_random_bf16(unsigned short *out, size_t count) {
    for (size_t n = blockIdx.x * blockDim.x + threadIdx.x; n < count; n += gridDim.x * blockDim.x) {
        u32 bits = (u32)n * 2654435761u;
        bits ^= bits >> 15;
        out[n] = (unsigned short)(to_bf16((float)(bits % 2001) / 2000.0f - 0.5f, 0.0f) & 0xffff);
    }
}

Ceilings measure_ceilings() {
    Ceilings ceilings;
    size_t bytes = size_t(2) << 30;
    char *a = allocate<char>(bytes), *b = allocate<char>(bytes), *c = allocate<char>(bytes);
    ceilings.copy = 2 * bytes / 1e6 / median_ms([&](int n) {
        CHECK(cudaMemcpyAsync(n % 2 ? b : c, a, bytes, cudaMemcpyDeviceToDevice));
    });
    void *library = nullptr;
    for (const char *name : {getenv("CUBLAS"), (char *)"libcublas.so.13", (char *)"libcublas.so",
             (char *)"/usr/local/cuda/lib64/libcublas.so"})
        if (name && !library) library = dlopen(name, RTLD_NOW);
    if (!library) {
        printf("cuBLAS not found (set CUBLAS to its path): no ceilings for products\n");
    } else {
        auto create = (int (*)(void **))dlsym(library, "cublasCreate_v2");
        auto gemm = (int (*)(void *, int, int, int, int, int, const void *, const void *, int, int,
            const void *, int, int, const void *, void *, int, int, int, int))dlsym(library, "cublasGemmEx");
        void *handle;
        if (create(&handle) != 0) exit(1);
        // Queries × keysᵀ, as the affinity has it.
        auto rate = [&](int size, int type, int compute) {
            float one = 1.0f, zero = 0.0f;
            double ms = median_ms([&](int) {
                int status = gemm(handle, 1, 0, size, size, size, &one, a, type, size, b, type, size,
                    &zero, c, type, size, compute, -1);
                if (status != 0) printf("cublasGemmEx: %d\n", status), exit(1);
            });
            return 2.0 * size * size * size / 1e9 / ms;
        };
        fill_random<<<1024, 256>>>((float *)a, size_t(8192) * 8192);
        fill_random<<<1024, 256>>>((float *)b, size_t(8192) * 8192);
        ceilings.f32 = rate(4096, 0, 68);   // CUDA_R_32F, CUBLAS_COMPUTE_32F
        ceilings.tf32 = rate(8192, 0, 77);  // CUBLAS_COMPUTE_32F_FAST_TF32
        fill_random_bf16<<<1024, 256>>>((unsigned short *)a, size_t(8192) * 8192);
        fill_random_bf16<<<1024, 256>>>((unsigned short *)b, size_t(8192) * 8192);
        ceilings.bf16 = rate(8192, 14, 68);  // CUDA_R_16BF
    }
    for (char *p : {a, b, c}) CHECK(cudaFree(p));
    return ceilings;
}
