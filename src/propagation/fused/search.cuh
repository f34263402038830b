// A tile's scores, and the walk over a block's share of the keys. What becomes of the scores stands
// in nearest.cuh.

#pragma once

#include "nearest.cuh"

// -------------------------------------------------------------------------------- a tile's scores

// Shared memory of a block, in words: the stages of its slices and, where the first stage does not
// lie, the scores that take the others' place, with a byte for each that may matter. So the next
// tile's first slice arrives while the scores of this one are looked at.
template <class Arithmetic, class Tile, int STAGES>
struct Layout {
    static constexpr u32 KEYS_AT =
        Tile::QUERIES * (Arithmetic::LAID ? CHANNELS : Arithmetic::WORDS);  // in a stage
    static constexpr u32 STAGE = KEYS_AT + Tile::KEYS * Arithmetic::WORDS;
    static constexpr u32 ROW = Tile::KEYS + Arithmetic::PADDING;  // from one query's scores to the next's
    static constexpr u32 MATRIX = Tile::QUERIES * ROW;
    static constexpr u32 QUEUES = Tile::QUERIES * Tile::KEYS / 4;
    static constexpr u32 LEAST = STAGE + MATRIX + QUEUES;
    static constexpr u32 WORDS = STAGES * STAGE > LEAST ? STAGES * STAGE : LEAST;
    static constexpr u32 MATRIX_AT = WORDS - MATRIX - QUEUES;
    static constexpr u32 QUEUES_AT = WORDS - QUEUES;
};

// Where features come from: the ring [slots, cells, pieces], and the queries channel by channel
// [tiles, 4 * pieces, QUERIES] for the arithmetic that wants them so.
struct Features {
    const uint4 *ring, *laid;
};

// This thread's share of what a tile needs: of rows piece `threadIdx.x % 4` of every 32nd, of
// queries that are laid out every 128th piece.
template <class Arithmetic, class Tile>
struct Rows {
    static constexpr u32 QUERIES = Tile::QUERIES / 32, KEYS = Tile::KEYS / 32;
    u32 query[Arithmetic::LAID ? 1 : QUERIES], key[KEYS];

    __device__ void queries(const Step &step, u32 tile, const u32 *cells) {
        if constexpr (Arithmetic::LAID) {
            query[0] = tile * step.pieces * Tile::QUERIES + threadIdx.x;
        } else {
#pragma unroll
            for (u32 n = 0; n < QUERIES; n++) {
                // The last tile's rows are filled up with the first of its cells.
                u32 place = cells[threadIdx.x / PIECES + 32 * n];
                if (place == NOWHERE) place = cells[0];
                query[n] = piece(step, step.query * step.height * step.width + cell_of(step, place));
            }
        }
    }

    __device__ void keys(const Step &step, const u32 *rows) {
#pragma unroll
        for (u32 n = 0; n < KEYS; n++) key[n] = piece(step, rows[threadIdx.x / PIECES + 32 * n]);
    }

    __device__ static u32 piece(const Step &step, u32 row) {
        return row * step.pieces + threadIdx.x % PIECES;
    }

    // Begins to copy a slice into a stage.
    __device__ void fetch(const Features &features, u32 slice, u32 *stage) const {
        constexpr u32 WORDS = Arithmetic::WORDS;
        const uint4 *ring = settled(features.ring + slice * PIECES);
        const uint4 *laid = features.laid + slice * PIECES * Tile::QUERIES;
        u32 at = threadIdx.x / PIECES * WORDS + threadIdx.x % PIECES * 4;
#pragma unroll
        for (u32 n = 0; n < QUERIES; n++) {
            if constexpr (Arithmetic::LAID)
                copy_async(stage + (threadIdx.x + n * THREADS) * 4, laid + query[0] + n * THREADS);
            else
                copy_async(stage + at + n * 32 * WORDS, ring + query[n]);
        }
        stage += Layout<Arithmetic, Tile, 1>::KEYS_AT + at;
#pragma unroll
        for (u32 n = 0; n < KEYS; n++) copy_async(stage + n * 32 * WORDS, ring + key[n]);
    }
};

// Adds up a tile's scores; its first slice is on its way into the first stage. A warp that is not
// NEEDED only copies and keeps up with the others: barriers count warps, wherever each of them
// waits.
template <class Arithmetic, class Tile, int STAGES, bool NEEDED>
__device__ void score(
    const Step &step, const Features &features, const Rows<Arithmetic, Tile> &rows, u32 *stages,
    float (&sums)[64]) {
    // With several parts the next slice has to be there before the last part of this one is
    // through: of the stages one is multiplied, one is read ahead of it, and the others are filled.
    constexpr bool SEVERAL = Arithmetic::PARTS > 1;
    constexpr int ARRIVED = SEVERAL ? STAGES - 3 : STAGES - 2;
    static_assert(ARRIVED >= 0, "too few stages");
    constexpr u32 STAGE = Layout<Arithmetic, Tile, STAGES>::STAGE, TURN = Arithmetic::TURN;
    static_assert(!SEVERAL || TURN % 2 == 0, "what is read ahead goes to one of two places in turn");
    u32 slices = step.pieces / PIECES;
    auto fetch = [&](u32 slice, u32 stage) {
        if (slice < slices) rows.fetch(features, slice, stages + stage * STAGE);
        commit_copies();
    };
#pragma unroll
    for (u32 slice = 1; slice < STAGES - 1; slice++) fetch(slice, slice);
    typename Arithmetic::Ahead ahead[2];
    if (SEVERAL) {
        await_copies<STAGES - 2>();
        __syncthreads();
        if (NEEDED) Arithmetic::template load<Tile>(stages, 0, ahead[0]);
    }
    for (u32 slice = 0, stage = 0; slice < slices; slice++) {
        const u32 *here = stages + stage * STAGE;
        u32 before = stage == 0 ? STAGES - 1 : stage - 1;
        stage = stage + 1 == STAGES ? 0 : stage + 1;
#pragma unroll 1
        for (u32 first = 0; first < Arithmetic::PARTS; first += TURN) {
            u32 next = first + TURN;
            if (NEEDED && SEVERAL) {
#pragma unroll
                for (u32 part = 1; part < TURN; part++) {
                    Arithmetic::template load<Tile>(here, first + part, ahead[part % 2]);
                    Arithmetic::template multiply<Tile>(
                        here, first + part - 1, ahead[(part - 1) % 2], sums);
                }
            }
            const u32 *there = here;
            if (next == Arithmetic::PARTS) {
                await_copies<ARRIVED>();
                // What was copied is seen by all, and nobody reads the slice before this one any
                // more.
                __syncthreads();
                fetch(slice + STAGES - 1, before);
                // Behind the last slice lies anything; nobody uses what is read there.
                if (SEVERAL) there = stages + stage * STAGE, next = 0;
            }
            if (NEEDED) {
                Arithmetic::template load<Tile>(there, SEVERAL ? next : 0, ahead[0]);
                Arithmetic::template multiply<Tile>(
                    here, first + TURN - 1, ahead[(TURN - 1) % 2], sums);
            }
        }
    }
    __syncthreads();
}

// ---------------------------------------------------------------------------------- a block's
// share

// The lists of a block's share, one set a tile of queries, into the partial lists
// [tiles + blocks, QUERIES, kept]. Keys are called by their rows in the ring.
template <class Arithmetic, class Tile, int STAGES, class Share>
__device__ void search(
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
        Keys<Tile> now = shared.keys_of(0), next = shared.keys_of(1);
        shared.set_queries(step, plan, tile);
        now.set(step, plan, tile, key - before, stop - before);
        __syncthreads();
        Rows<Arithmetic, Tile> rows;
        rows.queries(step, tile, shared.cells);
        rows.keys(step, now.rows);
        rows.fetch(features, 0, stages);
        commit_copies();
        Window<Tile> window(shared.cells);
        for (bool fresh = true; key < stop; fresh = false) {
            u32 after = min(key + Tile::KEYS, stop);
            if (after < stop) next.set(step, plan, tile, after - before, stop - before);
            bool needed = window.sees(step, plan, now);
            float sums[64] = {};
            if (needed)
                score<Arithmetic, Tile, STAGES, true>(step, features, rows, stages, sums);
            else
                score<Arithmetic, Tile, STAGES, false>(step, features, rows, stages, sums);
            if (after < stop) {
                rows.keys(step, next.rows);
                rows.fetch(features, 0, stages);
                commit_copies();
            }
            if (needed) Arithmetic::template store<Tile>(sums, matrix);
            if (threadIdx.x % 32 == 0) shared.needed[threadIdx.x / 32] = needed;
            __syncthreads();
            scan(step, plan, matrix, At::ROW, queues, shared, now, after - key, fresh);
            __syncthreads();
            key = after;
            Keys<Tile> other = now;
            now = next, next = other;
        }
        size_t out = (size_t)partial(tile, blockIdx.x) * Tile::QUERIES * step.kept;
        for (u32 n = threadIdx.x; n < Tile::QUERIES * step.kept; n += THREADS) {
            scores[out + n] = shared.scores[n];
            keys[out + n] = shared.keys[n];
        }
        __syncthreads();
    }
}
