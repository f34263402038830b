// What one frame's affinity is told: sizes, the plan of tiles, and the sequence of keys that blocks
// share. The first page of affinity.cu says how it all fits together.

#pragma once

#include "../../kernel/instructions.cuh"

constexpr u32 THREADS = 128;  // threads of a searching block: 4 warps
constexpr u32 WARPS = THREADS / 32;
constexpr u32 PIECES = 4;     // 16-byte pieces of a row multiplied between two barriers
constexpr u32 NOWHERE = 0xffffffffu;  // in place of a cell: none
constexpr u32 ALL = 0xffffffffu;      // all lanes of a warp
constexpr u32 MIXERS = 8;             // warps of a mixing block, one a query

// Queries × keys that a block multiplies at a time, each warp 32 × 64 of them.
template <u32 Q, u32 K>
struct Tile {
    static constexpr u32 QUERIES = Q, KEYS = K;
    static constexpr u32 ACROSS = Q / 32;  // warps that share their keys

    // Where this warp's part begins.
    __device__ static u32 query() { return threadIdx.x / 32 % ACROSS * 32; }
    __device__ static u32 key() { return threadIdx.x / 32 / ACROSS * 64; }
    // The warp that multiplies a query and a key.
    __device__ static u32 warp(u32 query, u32 key) { return query / 32 + key / 64 * ACROSS; }
};
using Wide = Tile<32, 256>;    // few keys that only some of the queries see: where products are dear
using Square = Tile<64, 128>;  // a third fewer rows for as many products: where they are cheap

// One frame to be labelled; gpu.rs has the same structure.
struct Step {
    u32 height, width;  // the grid, in cells
    u32 pieces;         // 16-byte pieces of a row of features in the ring, a multiple of PIECES
    u32 tiles;          // tiles of queries
    u32 queries, keys;  // of a tile
    u32 slots;          // the ring's frames beside frame 0, which lies in slot 0
    u32 query;          // slot of the frame to be labelled
    u32 oldest;         // source 1 lies in slot 1 + oldest, the following ones in those after it
    u32 sources;        // context frames, frame 0 included
    u32 free, near;     // copies of frame 0 seen from everywhere, and within reach
    u32 topk, kept;     // k; entries of a list, k or more
    u32 keep_ties;      // whether all keys as close as the k-th count
    u32 channels;       // labels
    u32 blocks;         // blocks of the search
    float temperature;
};
static_assert(sizeof(Step) == 72, "as the structure in Rust");

// The parts of the plan, in their order. Cells are y << 16 | x.
struct Plan {
    const u32 *start;  // [tiles + 1] where each tile's list begins in `near`
    const u32 *reach;  // [height] 1 + half-width of the neighbourhood by distance in rows; 0: none
    const u32 *order;  // [tiles * queries] the queries; NOWHERE fills the last tile
    const u32 *all;    // [height * width] all cells along the longer axis
    const u32 *near;   // the lists

    __device__ Plan(const Step &step, const u32 *words) {
        start = words;
        reach = start + step.tiles + 1;
        order = reach + step.height;
        all = order + step.tiles * step.queries;
        near = all + step.height * step.width;
    }

    __device__ bool inside(u32 query, u32 key) const {
        int dy = (int)(query >> 16) - (int)(key >> 16);
        int dx = (int)(query & 0xffff) - (int)(key & 0xffff);
        return (u32)abs(dx) < __ldg(reach + abs(dy));
    }
};

__device__ inline u32 slot_of(const Step &step, u32 source) {
    return source == 0 ? 0 : 1 + (step.oldest + source - 1) % step.slots;
}

__device__ inline u32 cell_of(const Step &step, u32 place) {
    return (place >> 16) * step.width + (place & 0xffff);
}

// ----------------------------------------------------------------------------- sequence of keys

// Keys of frame 0 for the queries of a tile.
__device__ inline u32 first_keys(const Step &step, const Plan &plan, u32 tile) {
    return step.free > 0 ? step.height * step.width : plan.start[tile + 1] - plan.start[tile];
}

// Keys of all the tiles before this one.
__device__ inline u32 keys_before(const Step &step, const Plan &plan, u32 tile) {
    u32 first = step.free > 0 ? tile * step.height * step.width : plan.start[tile];
    return first + (step.sources - 1) * plan.start[tile];
}

// The tile of queries that a key of the sequence belongs to.
__device__ inline u32 tile_of(const Step &step, const Plan &plan, u32 key) {
    u32 low = 0, high = step.tiles - 1;
    while (low < high) {
        u32 middle = (low + high + 1) / 2;
        if (keys_before(step, plan, middle) <= key)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// How keys are shared out: an equal share a block, in whole tiles of keys. `blocks` is so small
// that a share is no less than a tile, so that none is empty.
struct Even {
    // Where a block's share begins before it is rounded down to whole tiles.
    __device__ static u32 cut(const Step &step, const Plan &plan, u32 block) {
        unsigned long long total = keys_before(step, plan, step.tiles);
        return (u32)(block * total / step.blocks);
    }
    __device__ static u32 begin(const Step &step, const Plan &plan, u32 block) {
        u32 key = cut(step, plan, block);
        if (block == step.blocks) return key;
        return key - (key - keys_before(step, plan, tile_of(step, plan, key))) % step.keys;
    }
    // The last block whose cut is no later than a key.
    __device__ static u32 owner(const Step &step, const Plan &plan, u32 key) {
        unsigned long long total = keys_before(step, plan, step.tiles);
        return (u32)(((key + 1ull) * step.blocks - 1) / total);
    }
    // The blocks that work on a tile of queries. Cuts are at least `keys` apart: no more than one
    // is rounded down to where the tile begins, and none that lies behind it.
    __device__ static u32 first(const Step &step, const Plan &plan, u32 tile) {
        u32 from = keys_before(step, plan, tile), to = keys_before(step, plan, tile + 1);
        u32 block = owner(step, plan, from);
        bool next = block + 1 < step.blocks && cut(step, plan, block + 1) < min(from + step.keys, to);
        return block + next;
    }
    __device__ static u32 last(const Step &step, const Plan &plan, u32 tile) {
        return owner(step, plan, keys_before(step, plan, tile + 1) - 1);
    }
};

// Where the list of a block for a tile lies among the partial lists. Blocks and tiles only ever
// increase together, so no two share a place.
__device__ inline u32 partial(u32 tile, u32 block) { return tile + block; }
