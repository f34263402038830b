// The versions before the product's, and the product's kernels by their parameters. Those before are
// what was measured at the time; the earlier loops (`plainly`) take the place of `score` and `scan`.

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

// A thread a score: matrix [tiles * queries, sources * cells], keys in the order of `plan.all`.
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
    if (row >= step.tiles * step.queries || plan.order[row] == NOWHERE) return;
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
    u32 tile = row / step.queries;
    size_t out = ((size_t)partial(tile, tile) * step.queries + row % step.queries) * step.kept;
    for (u32 n = 0; n < step.kept; n++) {
        u32 place = plan.all[best_column[n] % cells];
        scores[out + n] = best[n];
        keys[out + n] = slot_of(step, best_column[n] / cells) * cells + cell_of(step, place);
    }
}

// -------------------------------------------------------------------------------- earlier loops

// Keys shared out one by one: the last tile of a block is not full.
struct ByKeys {
    __device__ static u32 begin(const Step &step, const Plan &plan, u32 block) {
        return Even::cut(step, plan, block);
    }
    __device__ static u32 first(const Step &step, const Plan &plan, u32 tile) {
        return Even::owner(step, plan, keys_before(step, plan, tile));
    }
    __device__ static u32 last(const Step &step, const Plan &plan, u32 tile) {
        return Even::last(step, plan, tile);
    }
};

// f32 with queries in rows, like the keys.
struct InRows : F32 {
    static constexpr bool LAID = false;
    static constexpr u32 PADDING = 8;
    struct Ahead {
        float4 queries[8];
    };
    template <class Tile>
    __device__ static u32 query() {
        u32 lane = threadIdx.x % 32;
        return Tile::query() + (lane & 1) + (lane >> 4) * 2;
    }
    template <class Tile>
    __device__ static void load(const u32 *slice, u32 part, Ahead &ahead) {
        slice += query<Tile>() * WORDS + part * 4;
#pragma unroll
        for (u32 i = 0; i < 8; i++)
            ahead.queries[i] = *reinterpret_cast<const float4 *>(slice + i * 4 * WORDS);
    }
    template <class Tile>
    __device__ static void multiply(const u32 *slice, u32 part, const Ahead &ahead, float (&sums)[64]) {
        slice += (Tile::QUERIES + key<Tile>()) * WORDS + part * 4;
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            float4 b = *reinterpret_cast<const float4 *>(slice + j * 8 * WORDS);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                float &sum = sums[i * 8 + j];
                const float4 &a = ahead.queries[i];
                sum = fmaf(a.x, b.x, sum);
                sum = fmaf(a.y, b.y, sum);
                sum = fmaf(a.z, b.z, sum);
                sum = fmaf(a.w, b.w, sum);
            }
        }
    }
    template <class Tile>
    __device__ static void store(const float (&sums)[64], float *scores) {
        constexpr u32 ROW = Tile::KEYS + PADDING;
        scores += query<Tile>() * ROW + key<Tile>();
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++) scores[4 * i * ROW + 8 * j] = sums[i * 8 + j];
    }
};

// f32 in a loop of half a slice, 9 KB of instructions and not 19.
struct HalfLoop : F32 {
    static constexpr u32 TURN = 2;
};

// A tile's scores, nothing read ahead and nothing begun for the next tile.
template <class Arithmetic, class Tile, int STAGES>
__device__ void score_plainly(const Step &step, const Features &features, const Rows<Arithmetic, Tile> &rows,
    bool needed, u32 *stages, float *matrix) {
    constexpr u32 STAGE = Layout<Arithmetic, Tile, STAGES>::STAGE;
    u32 slices = step.pieces / PIECES;
    float sums[64] = {};
    auto fetch = [&](u32 slice, u32 stage) {
        if (slice < slices) rows.fetch(features, slice, stages + stage * STAGE);
        commit_copies();
    };
#pragma unroll
    for (u32 slice = 0; slice + 1 < STAGES; slice++) fetch(slice, slice);
    for (u32 slice = 0, stage = 0, next = STAGES - 1; slice < slices; slice++) {
        if (STAGES == 1) fetch(slice, 0);
        await_copies<(STAGES > 2 ? STAGES - 2 : 0)>();
        __syncthreads();
        if (STAGES > 1) fetch(slice + STAGES - 1, next);
        if (needed) {
#pragma unroll
            for (u32 part = 0; part < Arithmetic::PARTS; part++) {
                typename Arithmetic::Ahead ahead;
                Arithmetic::template load<Tile>(stages + stage * STAGE, part, ahead);
                Arithmetic::template multiply<Tile>(stages + stage * STAGE, part, ahead, sums);
            }
        }
        if (STAGES == 1) __syncthreads();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    __syncthreads();
    if (needed) Arithmetic::template store<Tile>(sums, matrix);
    __syncthreads();
}

// A warp a query, one insertion after the other, an empty list taking in what comes.
struct OneByOne {
    template <class Tile>
    __device__ static void scan(const Step &step, const Plan &plan, const float *matrix, u32 stride,
        unsigned char *, const Shared<Tile> &shared, const Keys<Tile> &keys, u32, bool) {
        u32 lane = threadIdx.x % 32;
        bool there = lane < step.kept;
        for (u32 row = threadIdx.x / 32; row < Tile::QUERIES; row += WARPS) {
            u32 query = shared.cells[row];
            if (query == NOWHERE) break;
            float bar = shared.scores[row * step.kept + step.kept - 1];
            bool touched = false;
            List list = {-INFINITY, 0};
#pragma unroll
            for (u32 part = 0; part < Tile::KEYS; part += 32) {
                float score = matrix[row * stride + part + lane];
                bool worthy = score > bar && keys.seen(step, plan, query, part + lane);
                u32 worthies = __ballot_sync(ALL, worthy);
                if (worthies == 0) continue;
                if (!touched) {
                    touched = true;
                    list.score = there ? shared.scores[row * step.kept + lane] : -INFINITY;
                    list.key = there ? shared.keys[row * step.kept + lane] : 0;
                }
                while (worthies != 0) {
                    int from = __ffs(worthies) - 1;
                    float value = __shfl_sync(ALL, score, from);
                    bar = list.insert(value, keys.rows[part + from], step.kept);
                    worthy = worthy && score > bar && (int)lane > from;
                    worthies = __ballot_sync(ALL, worthy);
                }
            }
            __syncwarp();  // all have read the bar
            if (touched && there) {
                shared.scores[row * step.kept + lane] = list.score;
                shared.keys[row * step.kept + lane] = list.key;
            }
        }
    }
};

// The product's.
struct SideBySide {
    template <class Tile>
    __device__ static void scan(const Step &step, const Plan &plan, const float *matrix, u32 stride,
        unsigned char *queues, const Shared<Tile> &shared, const Keys<Tile> &keys, u32 there, bool fresh) {
        ::scan(step, plan, matrix, stride, queues, shared, keys, there, fresh);
    }
};

template <class Arithmetic, class Tile, int STAGES, class Share, class Scan>
__device__ void search_plainly(
    const Step &step, const u32 *words, const Features &features, float *scores, u32 *keys) {
    using At = Layout<Arithmetic, Tile, STAGES>;
    extern __shared__ uint4 pool[];
    u32 *stages = reinterpret_cast<u32 *>(pool);
    float *matrix = reinterpret_cast<float *>(stages + At::MATRIX_AT);
    unsigned char *queues = reinterpret_cast<unsigned char *>(stages + At::QUEUES_AT);
    Shared<Tile> shared(step, stages + At::WORDS);
    Plan plan(step, words);
    u32 key = Share::begin(step, plan, blockIdx.x);
    u32 end = Share::begin(step, plan, blockIdx.x + 1);
    u32 tile = key < end ? tile_of(step, plan, key) : 0;
    for (; key < end; tile++) {
        u32 before = keys_before(step, plan, tile);
        u32 stop = min(end, keys_before(step, plan, tile + 1));
        Keys<Tile> now = shared.keys_of(0);
        shared.set_queries(step, plan, tile);
        __syncthreads();
        Rows<Arithmetic, Tile> rows;
        rows.queries(step, tile, shared.cells);
        Window<Tile> window(shared.cells);
        for (bool fresh = true; key < stop; fresh = false) {
            u32 after = min(key + Tile::KEYS, stop);
            now.set(step, plan, tile, key - before, stop - before);
            __syncthreads();
            rows.keys(step, now.rows);
            bool needed = window.sees(step, plan, now);
            if (threadIdx.x % 32 == 0) shared.needed[threadIdx.x / 32] = needed;
            score_plainly<Arithmetic, Tile, STAGES>(step, features, rows, needed, stages, matrix);
            Scan::scan(step, plan, matrix, At::ROW, queues, shared, now, after - key, fresh);
            __syncthreads();
            key = after;
        }
        size_t out = (size_t)partial(tile, blockIdx.x) * Tile::QUERIES * step.kept;
        for (u32 n = threadIdx.x; n < Tile::QUERIES * step.kept; n += THREADS) {
            scores[out + n] = shared.scores[n];
            keys[out + n] = shared.keys[n];
        }
        __syncthreads();
    }
}

// -------------------------------------------------------------------------------------- versions

// The matrix by tiles through shared memory; needs a plan whose lists hold everything.
__global__ void __launch_bounds__(THREADS, 3)
tiled_scores(Step step, const u32 *words, const uint4 *ring, float *matrix) {
    using At = Layout<InRows, Square, 1>;
    extern __shared__ uint4 pool[];
    u32 *stages = reinterpret_cast<u32 *>(pool);
    float *scores = reinterpret_cast<float *>(stages + At::MATRIX_AT);
    Shared<Square> shared(step, stages + At::WORDS);
    Keys<Square> keys = shared.keys_of(0);
    Plan plan(step, words);
    u32 columns = step.sources * step.height * step.width, tile = blockIdx.y;
    shared.set_queries(step, plan, tile);
    keys.set(step, plan, tile, blockIdx.x * Square::KEYS, columns);
    __syncthreads();
    Rows<InRows, Square> rows;
    rows.queries(step, tile, shared.cells);
    rows.keys(step, keys.rows);
    score_plainly<InRows, Square, 1>(step, {ring, nullptr}, rows, true, stages, scores);
    u32 column = blockIdx.x * Square::KEYS + threadIdx.x;
    for (u32 row = 0; row < Square::QUERIES; row++) {
        u32 query = shared.cells[row];
        if (query == NOWHERE || column >= columns) break;
        bool seen = keys.seen(step, plan, query, threadIdx.x);
        float value = scores[row * At::ROW + threadIdx.x];
        matrix[(size_t)(tile * Square::QUERIES + row) * columns + column] = seen ? value : -INFINITY;
    }
}

// A warp a query.
__global__ void warp_topk(Step step, const u32 *words, const float *matrix, float *scores, u32 *keys) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells, lane = threadIdx.x % 32;
    u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= step.tiles * step.queries || plan.order[row] == NOWHERE) return;
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
    u32 tile = row / step.queries;
    size_t out = ((size_t)partial(tile, tile) * step.queries + row % step.queries) * step.kept;
    if (lane < step.kept) {
        u32 place = plan.all[list.key % cells];
        scores[out + lane] = list.score;
        keys[out + lane] = slot_of(step, list.key / cells) * cells + cell_of(step, place);
    }
}

template <class Arithmetic, class Tile, int STAGES, class Share, class Scan, int MINIMUM>
__global__ void __launch_bounds__(THREADS, MINIMUM) plain_kernel(
    Step step, const u32 *plan, const uint4 *ring, const uint4 *laid, float *scores, u32 *keys) {
    search_plainly<Arithmetic, Tile, STAGES, Share, Scan>(step, plan, {ring, laid}, scores, keys);
}

template <class Arithmetic, class Tile, int STAGES, class Share, int MINIMUM>
__global__ void __launch_bounds__(THREADS, MINIMUM) search_kernel(
    Step step, const u32 *plan, const uint4 *ring, const uint4 *laid, float *scores, u32 *keys) {
    search<Arithmetic, Tile, STAGES, Share>(step, plan, {ring, laid}, scores, keys);
}

template <class Share>
__global__ void __launch_bounds__(MIXERS * 32) mix_kernel(
    Step step, const u32 *plan, const float *scores, const u32 *keys, float *labels, float2 *ties) {
    mix<Share>(step, plan, scores, keys, labels, ties);
}
