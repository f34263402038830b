// Sums over the rows of a tensor: a block adds up some columns of a band of rows.

#pragma once

#include "pack.cuh"

// Packs of columns and rows that a block of 256 threads adds up at a time.
static const unsigned PACKS = 8, LANES = 32, COLUMNS = PACKS * PACK;

// A thread's place in such a block.
struct Column {
    unsigned pack, lane, first, rows_from, rows_to;
    bool whole;

    __device__ __forceinline__ Column(unsigned rows, unsigned columns, unsigned band) {
        pack = threadIdx.x % PACKS;
        lane = threadIdx.x / PACKS;
        first = blockIdx.x * COLUMNS + pack * PACK;
        rows_from = blockIdx.y * band + lane;
        rows_to = first < columns ? min(blockIdx.y * band + band, rows) : 0;
        whole = columns % PACK == 0;
    }

    // The columns' values of a row; what lies behind its end is zero.
    template <typename T>
    __device__ __forceinline__ Pack values(const T *xs, unsigned row, unsigned columns) const {
        const T *from = xs + (size_t)row * columns + first;
        if (whole) return load_pack(from);
        Pack pack = {};
        for (unsigned i = 0; i < PACK && first + i < columns; i++) pack.values[i] = load(from + i);
        return pack;
    }

    // Adds up what the lanes found and writes it to `out`.
    __device__ __forceinline__ void write(const Pack &found, float *out, unsigned columns) const {
        static __shared__ float sums[LANES][COLUMNS];
        __syncthreads();
#pragma unroll
        for (unsigned i = 0; i < PACK; i++) sums[lane][pack * PACK + i] = found.values[i];
        __syncthreads();
        const unsigned column = blockIdx.x * COLUMNS + threadIdx.x;
        if (threadIdx.x >= COLUMNS || column >= columns) return;
        float sum = 0;
        for (unsigned other = 0; other < LANES; other++) sum += sums[other][threadIdx.x];
        out[column] = sum;
    }
};
