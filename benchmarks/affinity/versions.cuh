// The versions before the product's, and the product's kernels by their parameters.

#pragma once

#include "../../src/propagation/fused/affinity.cu"

// One list a query, complete: of the versions that write the matrix of scores.
struct Complete {
    __device__ static u32 first(const Step &, const Plan &, u32 tile) { return tile; }
    __device__ static u32 last(const Step &, const Plan &, u32 tile) { return tile; }
};

// A block per tile of queries and context frame.
struct PerFrame {
    __device__ static u32 begin(const Step &step, const Plan &plan, u32 block) {
        u32 tile = block / step.sources, source = block % step.sources;
        u32 before = keys_before(step, plan, tile);
        if (source == 0) return before;
        u32 each = plan.start[tile + 1] - plan.start[tile];
        return before + first_keys(step, plan, tile) + (source - 1) * each;
    }
    __device__ static u32 first(const Step &step, const Plan &, u32 tile) { return tile * step.sources; }
    __device__ static u32 last(const Step &step, const Plan &, u32 tile) {
        return (tile + 1) * step.sources - 1;
    }
};

// A thread a score: matrix [tiles * QUERIES, sources * cells], keys in the order of `plan.all`.
__global__ void naive_scores(Step step, const u32 *words, const float *ring, float *matrix) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells;
    u32 column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    u32 query = plan.order[row];
    if (column >= columns || query == NOWHERE) return;
    u32 place = plan.all[column % cells], source = column / cells, width = step.pieces * 4;
    const float *a = ring + (size_t)(step.query * cells + cell_of(step, query)) * width;
    const float *b = ring + (size_t)(slot_of(step, source) * cells + cell_of(step, place)) * width;
    float sum = 0.0f;
    for (u32 d = 0; d < width; d++) sum = fmaf(a[d], b[d], sum);
    bool seen = (source == 0 && step.free > 0) || plan.inside(query, place);
    matrix[(size_t)row * columns + column] = seen ? sum : -INFINITY;
}

// A thread a query, its k best by insertion.
__global__ void naive_topk(Step step, const u32 *words, const float *matrix, float *scores, u32 *keys) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells;
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= step.tiles * QUERIES || plan.order[row] == NOWHERE) return;
    float best[32];
    u32 best_column[32];
    for (u32 n = 0; n < step.kept; n++) best[n] = -INFINITY, best_column[n] = 0;
    for (u32 column = 0; column < columns; column++) {
        float score = matrix[(size_t)row * columns + column];
        u32 n = step.kept;
        for (; n > 0 && score > best[n - 1]; n--) {
            if (n == step.kept) continue;
            best[n] = best[n - 1];
            best_column[n] = best_column[n - 1];
        }
        if (n < step.kept) best[n] = score, best_column[n] = column;
    }
    u32 tile = row / QUERIES;
    size_t out = ((size_t)partial(tile, tile) * QUERIES + row % QUERIES) * step.kept;
    for (u32 n = 0; n < step.kept; n++) {
        u32 place = plan.all[best_column[n] % cells];
        scores[out + n] = best[n];
        keys[out + n] = slot_of(step, best_column[n] / cells) * cells + cell_of(step, place);
    }
}

// The same matrix by tiles through shared memory; needs a plan whose lists hold everything.
__global__ void __launch_bounds__(THREADS, 3)
tiled_scores(Step step, const u32 *words, const uint4 *ring, float *matrix) {
    extern __shared__ uint4 pool[];
    u32 *tile_of_scores = reinterpret_cast<u32 *>(pool);
    Shared shared(step, tile_of_scores + TILE_WORDS<F32, 1>);
    Plan plan(step, words);
    u32 columns = step.sources * step.height * step.width, tile = blockIdx.y;
    shared.set_queries(step, plan, tile, 0.0f);
    shared.set_keys(step, plan, tile, blockIdx.x * KEYS, columns);
    Rows rows;
    rows.queries(step, shared.cells);
    rows.keys(step, shared.rows);
    score<F32, 1>(step, ring, rows, true, tile_of_scores);
    u32 column = blockIdx.x * KEYS + threadIdx.x;
    for (u32 row = 0; row < QUERIES; row++) {
        u32 query = shared.cells[row];
        if (query == NOWHERE || column >= columns) break;
        bool seen = shared.seen(step, plan, query, threadIdx.x);
        float value = reinterpret_cast<float *>(tile_of_scores)[row * SCORES + threadIdx.x];
        matrix[(size_t)(tile * QUERIES + row) * columns + column] = seen ? value : -INFINITY;
    }
}

// A warp a query.
__global__ void warp_topk(Step step, const u32 *words, const float *matrix, float *scores, u32 *keys) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells, lane = threadIdx.x % 32;
    u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= step.tiles * QUERIES || plan.order[row] == NOWHERE) return;
    List list = {-INFINITY, 0};
    float bar = -INFINITY;
    for (u32 from = 0; from < columns; from += 32) {
        u32 column = from + lane;
        float score = column < columns ? matrix[(size_t)row * columns + column] : -INFINITY;
        u32 worthies = __ballot_sync(ALL, score > bar);
        while (worthies != 0) {
            int next = __ffs(worthies) - 1;
            bar = list.insert(__shfl_sync(ALL, score, next), from + next, step.kept);
            worthies = __ballot_sync(ALL, score > bar && (int)lane > next);
        }
    }
    u32 tile = row / QUERIES;
    size_t out = ((size_t)partial(tile, tile) * QUERIES + row % QUERIES) * step.kept;
    if (lane < step.kept) {
        u32 place = plan.all[list.key % cells];
        scores[out + lane] = list.score;
        keys[out + lane] = slot_of(step, list.key / cells) * cells + cell_of(step, place);
    }
}

template <class Arithmetic, int STAGES, class Share, int MINIMUM>
__global__ void __launch_bounds__(THREADS, MINIMUM)
search_kernel(Step step, const u32 *plan, const uint4 *ring, float *scores, u32 *keys) {
    search<Arithmetic, STAGES, Share>(step, plan, ring, scores, keys);
}

template <class Share>
__global__ void __launch_bounds__(MIXERS * 32) mix_kernel(
    Step step, const u32 *plan, const float *scores, const u32 *keys, float *labels, float2 *ties) {
    mix<Share>(step, plan, scores, keys, labels, ties);
}
