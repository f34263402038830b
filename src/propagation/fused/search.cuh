// A tile's scores, the lists of the k nearest keys, and the walk over a block's share of the keys.

#pragma once

#include "products.cuh"

// -------------------------------------------------------------------------------- a tile's scores

constexpr u32 COPIES = (QUERIES + KEYS) * PIECES / THREADS;  // pieces a thread copies for a slice

// Words of the stages, or of the scores that take their place.
template <class Arithmetic, int STAGES>
constexpr u32 TILE_WORDS = STAGES * (QUERIES + KEYS) * Arithmetic::WORDS > QUERIES * SCORES
    ? STAGES * (QUERIES + KEYS) * Arithmetic::WORDS
    : QUERIES * SCORES;

// Where in the ring this thread's share of a tile's rows lies: it copies piece `threadIdx.x % 4` of
// every 32nd row.
struct Rows {
    u32 piece[COPIES];

    __device__ void queries(const Step &step, const u32 *cells) {
#pragma unroll
        for (u32 n = 0; n < QUERIES / 32; n++) {
            // The last tile's rows are filled up with the first of its cells.
            u32 place = cells[threadIdx.x / PIECES + 32 * n];
            if (place == NOWHERE) place = cells[0];
            set(step, n, step.query * step.height * step.width + cell_of(step, place));
        }
    }

    __device__ void keys(const Step &step, const u32 *rows) {
#pragma unroll
        for (u32 n = 0; n < KEYS / 32; n++)
            set(step, QUERIES / 32 + n, rows[threadIdx.x / PIECES + 32 * n]);
    }

    __device__ void set(const Step &step, u32 n, u32 row) {
        piece[n] = row * step.pieces + threadIdx.x % PIECES;
    }

    // Begins to copy a slice into a stage.
    template <class Arithmetic>
    __device__ void fetch(const uint4 *ring, u32 slice, u32 *stage) const {
        u32 *to = stage + threadIdx.x / PIECES * Arithmetic::WORDS + threadIdx.x % PIECES * 4;
#pragma unroll
        for (u32 n = 0; n < COPIES; n++)
            copy_async(to + n * 32 * Arithmetic::WORDS, ring + piece[n] + slice * PIECES);
    }
};

// The scores of a tile, [QUERIES, SCORES], into `tile`, which the stages use before. A warp that is
// not needed leaves its part as it is, and its time to others.
template <class Arithmetic, int STAGES>
__device__ void score(
    const Step &step, const uint4 *ring, const Rows &rows, bool needed, u32 *tile) {
    constexpr u32 STAGE = (QUERIES + KEYS) * Arithmetic::WORDS;
    constexpr int AHEAD = STAGES - 1;
    u32 slices = step.pieces / PIECES;
    float sums[64] = {};
#pragma unroll
    for (int slice = 0; slice < AHEAD; slice++) {
        if (slice < (int)slices) rows.fetch<Arithmetic>(ring, slice, tile + slice * STAGE);
        commit_copies();
    }
    for (u32 slice = 0, stage = 0, next = AHEAD; slice < slices; slice++) {
        if (STAGES == 1) {
            rows.fetch<Arithmetic>(ring, slice, tile);
            commit_copies();
            await_copies<0>();
            __syncthreads();
        } else {
            await_copies<(STAGES > 2 ? STAGES - 2 : 0)>();
            // What was copied is seen by all, and nobody reads the stage any more that comes next.
            __syncthreads();
            if (slice + AHEAD < slices)
                rows.fetch<Arithmetic>(ring, slice + AHEAD, tile + next * STAGE);
            commit_copies();
        }
        if (needed) Arithmetic::multiply(tile + stage * STAGE, sums);
        if (STAGES == 1) __syncthreads();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    __syncthreads();
    if (needed) Arithmetic::store(sums, reinterpret_cast<float *>(tile));
    __syncthreads();
}

// ------------------------------------------------------------------------------ the k nearest keys

// A sorted list, best first, an entry a lane; beyond the kept ones lies what fell out. Empty places
// score -infinity.
struct List {
    float score;
    u32 key;

    // Puts a key behind those that score as much or more; returns the last kept one's score.
    __device__ float insert(float value, u32 id, u32 kept) {
        u32 lane = threadIdx.x % 32;
        u32 place = __popc(__ballot_sync(ALL, score >= value));
        float better_score = __shfl_up_sync(ALL, score, 1);
        u32 better_key = __shfl_up_sync(ALL, key, 1);
        if (lane >= place) {
            score = lane == place ? value : better_score;
            key = lane == place ? id : better_key;
        }
        return __shfl_sync(ALL, score, kept - 1);
    }
};

// What a block keeps beside the tile of scores.
struct Shared {
    u32 *rows;      // [KEYS] of the tile of keys in the ring
    u32 *places;    // [KEYS] their cells, NOWHERE if there are no more keys
    u32 *cells;     // [QUERIES] of its tile
    float *bar;     // [QUERIES] the score a key has to exceed
    float *scores;  // [QUERIES, kept] lists
    u32 *keys;      // [QUERIES, kept]

    __device__ Shared(const Step &step, u32 *words) {
        rows = words;
        places = rows + KEYS;
        cells = places + KEYS;
        bar = reinterpret_cast<float *>(cells + QUERIES);
        scores = bar + QUERIES;
        keys = reinterpret_cast<u32 *>(scores + QUERIES * step.kept);
    }

    __device__ void set_queries(const Step &step, const Plan &plan, u32 tile, float level) {
        for (u32 n = threadIdx.x; n < QUERIES; n += THREADS) {
            cells[n] = plan.order[tile * QUERIES + n];
            bar[n] = level;
        }
        for (u32 n = threadIdx.x; n < QUERIES * step.kept; n += THREADS) scores[n] = -INFINITY;
        __syncthreads();
    }

    // The keys of a tile of queries from number `from` on, up to number `to`.
    __device__ void set_keys(const Step &step, const Plan &plan, u32 tile, u32 from, u32 to) {
        u32 key = min(from + threadIdx.x, to - 1), source = 0;
        u32 first = first_keys(step, plan, tile);
        const u32 *list = plan.near + plan.start[tile];
        if (key >= first) {
            u32 each = plan.start[tile + 1] - plan.start[tile];
            source = 1 + (key - first) / each;
            key = (key - first) % each;
        } else if (step.free > 0) {
            list = plan.all;
        }
        u32 place = list[key];
        rows[threadIdx.x] = slot_of(step, source) * step.height * step.width + cell_of(step, place);
        places[threadIdx.x] = from + threadIdx.x < to ? place : NOWHERE;
        __syncthreads();
    }

    // Whether a query can see a key of this tile.
    __device__ bool seen(const Step &step, const Plan &plan, u32 query, u32 key) const {
        if (places[key] == NOWHERE) return false;
        bool everywhere = step.free > 0 && rows[key] < step.height * step.width;
        return everywhere || plan.inside(query, places[key]);
    }
};
static_assert(KEYS == THREADS, "a thread looks up a key");

// The rectangle around the 32 queries that this warp multiplies.
struct Window {
    int top, bottom, left, right;

    __device__ Window(const u32 *cells) {
        u32 cell = cells[threadIdx.x / 32 % 2 * 32 + threadIdx.x % 32];
        bool there = cell != NOWHERE;
        top = there ? cell >> 16 : 0xffff, bottom = there ? cell >> 16 : 0;
        left = there ? cell & 0xffff : 0xffff, right = there ? cell & 0xffff : 0;
#pragma unroll
        for (u32 other = 16; other > 0; other /= 2) {
            top = min(top, __shfl_xor_sync(ALL, top, other));
            bottom = max(bottom, __shfl_xor_sync(ALL, bottom, other));
            left = min(left, __shfl_xor_sync(ALL, left, other));
            right = max(right, __shfl_xor_sync(ALL, right, other));
        }
    }

    // Whether any of the 64 keys that this warp multiplies may be seen from the rectangle.
    __device__ bool sees(const Step &step, const Plan &plan, const Shared &shared) const {
        bool any = false;
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 key = threadIdx.x / 64 * 64 + half * 32 + threadIdx.x % 32;
            u32 place = shared.places[key];
            int y = min(max((int)(place >> 16), top), bottom);
            int x = min(max((int)(place & 0xffff), left), right);
            any = any || (top <= bottom && shared.seen(step, plan, (u32)(y << 16 | x), key));
        }
        return __ballot_sync(ALL, any) != 0;
    }
};

// Offers the scores of a tile to its queries' lists, a warp a query at a time.
__device__ inline void scan(
    const Step &step, const Plan &plan, const float *tile, const Shared &shared) {
    u32 lane = threadIdx.x % 32;
    for (u32 row = threadIdx.x / 32; row < QUERIES; row += THREADS / 32) {
        u32 query = shared.cells[row];
        if (query == NOWHERE) break;
        float bar = shared.bar[row];
        bool touched = false;
        List list;
#pragma unroll
        for (u32 part = 0; part < KEYS; part += 32) {
            float score = tile[row * SCORES + part + lane];
            bool worthy = score > bar && shared.seen(step, plan, query, part + lane);
            u32 worthies = __ballot_sync(ALL, worthy);
            if (worthies == 0) continue;
            if (!touched) {
                touched = true;
                bool there = lane < step.kept;
                list.score = there ? shared.scores[row * step.kept + lane] : -INFINITY;
                list.key = there ? shared.keys[row * step.kept + lane] : 0;
            }
            while (worthies != 0) {
                int from = __ffs(worthies) - 1;
                float value = __shfl_sync(ALL, score, from);
                bar = list.insert(value, shared.rows[part + from], step.kept);
                worthy = worthy && score > bar && (int)lane > from;
                worthies = __ballot_sync(ALL, worthy);
            }
        }
        if (touched) {
            if (lane < step.kept) {
                shared.scores[row * step.kept + lane] = list.score;
                shared.keys[row * step.kept + lane] = list.key;
            }
            if (lane == 0) shared.bar[row] = bar;
        }
    }
}

// The lists of a block's share, one set a tile of queries, into the partial lists
// [tiles + blocks, QUERIES, kept]. Keys are called by their rows in the ring.
template <class Arithmetic, int STAGES, class Share>
__device__ void search(
    const Step &step, const u32 *words, const uint4 *ring, float *scores, u32 *keys) {
    extern __shared__ uint4 pool[];
    u32 *tile_of_scores = reinterpret_cast<u32 *>(pool);
    Shared shared(step, tile_of_scores + TILE_WORDS<Arithmetic, STAGES>);
    Plan plan(step, words);
    u32 key = Share::begin(step, plan, blockIdx.x);
    u32 end = Share::begin(step, plan, blockIdx.x + 1);
    u32 tile = key < end ? tile_of(step, plan, key) : 0;
    for (; key < end; tile++) {
        u32 before = keys_before(step, plan, tile);
        u32 stop = min(end, keys_before(step, plan, tile + 1));
        shared.set_queries(step, plan, tile, -INFINITY);
        Rows rows;
        rows.queries(step, shared.cells);
        Window window(shared.cells);
        for (; key < stop; key = min(key + KEYS, stop)) {
            shared.set_keys(step, plan, tile, key - before, stop - before);
            rows.keys(step, shared.rows);
            bool needed = window.sees(step, plan, shared);
            score<Arithmetic, STAGES>(step, ring, rows, needed, tile_of_scores);
            scan(step, plan, reinterpret_cast<float *>(tile_of_scores), shared);
            __syncthreads();
        }
        size_t out = (size_t)partial(tile, blockIdx.x) * QUERIES * step.kept;
        for (u32 n = threadIdx.x; n < QUERIES * step.kept; n += THREADS) {
            scores[out + n] = shared.scores[n];
            keys[out + n] = shared.keys[n];
        }
        __syncthreads();
    }
}
