// The lists of the k nearest keys: which of a tile's scores may belong there, and how they get in.

#pragma once

#include "products.cuh"

// A sorted list, best first, an entry a lane of `width` lanes; beyond the kept ones lies what fell
// out. Empty places score -infinity.
struct List {
    float score;
    u32 key;

    // Puts a key behind those that score as much or more; returns the last kept one's score.
    // Nothing happens where it scores -infinity.
    __device__ float insert(float value, u32 id, u32 kept, u32 width = 32) {
        u32 lane = threadIdx.x % width;
        u32 as_much = __ballot_sync(ALL, score >= value) >> (threadIdx.x % 32 - lane);
        u32 place = __popc(as_much & ALL >> (32 - width));
        float better_score = __shfl_up_sync(ALL, score, 1, width);
        u32 better_key = __shfl_up_sync(ALL, key, 1, width);
        if (lane >= place) {
            score = lane == place ? value : better_score;
            key = lane == place ? id : better_key;
        }
        return __shfl_sync(ALL, score, kept - 1, width);
    }
};

// The keys of a tile.
template <class Tile>
struct Keys {
    u32 *rows;    // [KEYS] in the ring
    u32 *places;  // [KEYS] their cells, NOWHERE if there are no more keys

    // Those of a tile of queries from number `from` on, up to number `to`.
    __device__ void set(const Step &step, const Plan &plan, u32 tile, u32 from, u32 to) const {
        u32 first = first_keys(step, plan, tile);
        u32 each = plan.start[tile + 1] - plan.start[tile];
#pragma unroll
        for (u32 n = threadIdx.x; n < Tile::KEYS; n += THREADS) {
            u32 key = min(from + n, to - 1), source = 0;
            const u32 *list = plan.near + plan.start[tile];
            if (key >= first) {
                source = 1 + (key - first) / each;
                key = (key - first) % each;
            } else if (step.free > 0) {
                list = plan.all;
            }
            u32 place = list[key];
            rows[n] = slot_of(step, source) * step.height * step.width + cell_of(step, place);
            places[n] = from + n < to ? place : NOWHERE;
        }
    }

    // Whether a query can see a key of this tile.
    __device__ bool seen(const Step &step, const Plan &plan, u32 query, u32 key) const {
        if (places[key] == NOWHERE) return false;
        bool everywhere = step.free > 0 && rows[key] < step.height * step.width;
        return everywhere || plan.inside(query, places[key]);
    }
};

// What a block keeps beside the scores.
template <class Tile>
struct Shared {
    u32 *cells;     // [QUERIES] of its tile
    u32 *needed;    // [WARPS] which of them made scores
    float *scores;  // [QUERIES, kept] lists
    u32 *keys;      // [QUERIES, kept]
    u32 *tiles;     // [2, 2, KEYS] the tile of keys that is multiplied, and the next one

    __device__ Shared(const Step &step, u32 *words) {
        cells = words;
        needed = cells + Tile::QUERIES;
        tiles = needed + WARPS;
        scores = reinterpret_cast<float *>(tiles + 4 * Tile::KEYS);
        keys = reinterpret_cast<u32 *>(scores + Tile::QUERIES * step.kept);
    }

    __device__ Keys<Tile> keys_of(u32 turn) const {
        return {tiles + 2 * turn * Tile::KEYS, tiles + (2 * turn + 1) * Tile::KEYS};
    }

    __device__ void set_queries(const Step &step, const Plan &plan, u32 tile) const {
        for (u32 n = threadIdx.x; n < Tile::QUERIES; n += THREADS)
            cells[n] = plan.order[tile * Tile::QUERIES + n];
        for (u32 n = threadIdx.x; n < Tile::QUERIES * step.kept; n += THREADS)
            scores[n] = -INFINITY;
    }
};

// The rectangle around the 32 queries that this warp multiplies.
template <class Tile>
struct Window {
    int top, bottom, left, right;

    __device__ Window(const u32 *cells) {
        u32 cell = cells[Tile::query() + threadIdx.x % 32];
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
    __device__ bool sees(const Step &step, const Plan &plan, const Keys<Tile> &keys) const {
        bool any = false;
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 key = Tile::key() + half * 32 + threadIdx.x % 32;
            u32 place = keys.places[key];
            int y = min(max((int)(place >> 16), top), bottom);
            int x = min(max((int)(place & 0xffff), left), right);
            any = any || (top <= bottom && keys.seen(step, plan, (u32)(y << 16 | x), key));
        }
        return __ballot_sync(ALL, any) != 0;
    }
};

// --------------------------------------------------------------------------------- from a tile's
// scores

// The value that stands at a place, from 0 on, when those of all lanes are sorted, largest first.
__device__ inline float ranked(float value, u32 place) {
    u32 lane = threadIdx.x % 32, better = 0;
#pragma unroll
    for (u32 other = 0; other < 32; other++) {
        float theirs = __shfl_sync(ALL, value, other);
        better += theirs > value || (theirs == value && other < lane);
    }
    return __shfl_sync(ALL, value, __ffs(__ballot_sync(ALL, better == place)) - 1);
}

// Writes down which of the scores of a row may belong to its query's list, in the order of the
// keys; returns how many. They must exceed the list's last. The first tile of keys meets an empty
// list, which would take 32 keys in only to drop most of them: there each lane's best score that
// the query can see is a key of its own, so with the k-th of these in hand k keys score as much,
// and what scores less can be none of the k.
template <class Tile>
__device__ u32 choose(
    const Step &step, const Plan &plan, const float *scores, unsigned char *queue,
    const Shared<Tile> &shared, const Keys<Tile> &keys, u32 row, u32 needed, u32 there, bool fresh) {
    constexpr u32 PARTS = Tile::KEYS / 32;
    u32 lane = threadIdx.x % 32, query = shared.cells[row];
    if (query == NOWHERE) return 0;
    float bar = shared.scores[row * step.kept + step.kept - 1], least = -INFINITY;
    float score[PARTS];
#pragma unroll
    for (u32 part = 0; part < PARTS; part++) {
        u32 key = part * 32 + lane;
        bool made = (needed >> Tile::warp(row, part * 32) & 1) != 0 && key < there;
        score[part] = made ? scores[key] : -INFINITY;
    }
    if (fresh) {
        float best = -INFINITY;
#pragma unroll
        for (u32 part = 0; part < PARTS; part++) {
            if (!keys.seen(step, plan, query, part * 32 + lane)) score[part] = -INFINITY;
            best = fmaxf(best, score[part]);
        }
        least = ranked(best, step.kept - 1);
    }
    u32 found = 0;
#pragma unroll
    for (u32 part = 0; part < PARTS; part++) {
        bool worthy = score[part] > bar && score[part] >= least;
        u32 worthies = __ballot_sync(ALL, worthy);
        if (worthies == 0) continue;
        if (worthy) queue[found + __popc(worthies & ((1u << lane) - 1))] = part * 32 + lane;
        found += __popc(worthies);
    }
    return found;
}

// Offers the scores of a tile, [QUERIES, stride], of which `there` keys are, to its queries' lists:
// a warp first goes through its rows, then inserts what it found for as many rows at a time as have
// their lists side by side in a warp, 4 where k is up to 8.
template <class Tile>
__device__ void scan(
    const Step &step, const Plan &plan, const float *matrix, u32 stride, unsigned char *queues,
    const Shared<Tile> &shared, const Keys<Tile> &keys, u32 there, bool fresh) {
    constexpr u32 EACH = Tile::QUERIES / WARPS;
    u32 lane = threadIdx.x % 32, first = threadIdx.x / 32 * EACH;
    u32 needed = 0, count = 0;
#pragma unroll
    for (u32 warp = 0; warp < WARPS; warp++) needed |= (shared.needed[warp] != 0) << warp;
    for (u32 n = 0; n < EACH; n++) {
        u32 row = first + n;
        u32 found = choose(step, plan, matrix + row * stride, queues + row * Tile::KEYS, shared,
            keys, row, needed, there, fresh);
        if (lane == n) count = found;
    }
    __syncwarp();
    u32 width = step.kept <= 8 ? 8 : step.kept <= 16 ? 16 : 32, place = lane % width;
    for (u32 n = 0; n < EACH; n += 32 / width) {
        u32 row = first + n + lane / width, found = __shfl_sync(ALL, count, n + lane / width);
        if (__ballot_sync(ALL, found > 0) == 0) continue;
        u32 entry = row * step.kept + place;
        bool kept = place < step.kept;
        List list = {kept ? shared.scores[entry] : -INFINITY, kept ? shared.keys[entry] : 0};
        float bar = __shfl_sync(ALL, list.score, step.kept - 1, width);
        for (u32 at = 0; __ballot_sync(ALL, at < found) != 0; at++) {
            u32 key = at < found ? queues[row * Tile::KEYS + at] : 0;
            float value = matrix[row * stride + key];
            bool worthy = at < found && value > bar && keys.seen(step, plan, shared.cells[row], key);
            bar = list.insert(worthy ? value : -INFINITY, keys.rows[key], step.kept, width);
        }
        if (kept && found > 0) shared.scores[entry] = list.score, shared.keys[entry] = list.key;
    }
}
