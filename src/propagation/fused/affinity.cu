// The affinity on a GPU: products, top-k, softmax and labels in two kernels, no matrix of scores.
//
// `affinity_search` walks tiles of 64 queries × 128 keys. A tile's scores are made in registers, go
// through shared memory once and are tested against each query's k-th best so far; nearly all fail.
// `affinity_mix` merges the lists that several blocks kept for a query, and mixes the labels.
// Before either, `affinity_stow` puts a frame's features into the ring that both read.
//
// The plan (made in plan.rs, once a clip) cuts the grid into tiles of 64 queries that lie close
// together and lists, for each, the cells that any of them can reach. Keys are gathered by such a
// list, so what no query of a tile can see is never multiplied. The keys of all frames for all tiles
// form one sequence, of which every block takes an equal share, 128 keys at a time: the grid is as
// many blocks as the GPU holds at a time, whatever the sizes.
//
// The result does not depend on that share. A list is sorted by score and then by order of arrival,
// keys arrive frame by frame and cell by cell along the grid's longer axis, and lists are merged in
// the order of the blocks: the order of a stable sort, that of `nearest.rs`.

typedef unsigned int u32;

constexpr u32 QUERIES = 64;   // queries in a tile
constexpr u32 KEYS = 128;     // keys in a tile
constexpr u32 THREADS = 128;  // threads of a searching block: 2 × 2 warps, each 32 queries × 64 keys
constexpr u32 PIECES = 4;     // 16-byte pieces of a row multiplied between two barriers
constexpr u32 SCORES = KEYS + 8;  // words from one row of scores to the next: no bank conflicts
constexpr u32 NOWHERE = 0xffffffffu;  // in place of a cell: none
constexpr u32 ALL = 0xffffffffu;      // all lanes of a warp
constexpr u32 MIXERS = 8;             // warps of a mixing block, one a query

// One frame to be labelled; gpu.rs has the same structure.
struct Step {
    u32 height, width;  // the grid, in cells
    u32 pieces;         // 16-byte pieces of a row of features in the ring, a multiple of PIECES
    u32 tiles;          // tiles of queries
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

// The parts of the plan, in their order. Cells are y << 16 | x.
struct Plan {
    const u32 *start;  // [tiles + 1] where each tile's list begins in `near`
    const u32 *reach;  // [height] 1 + half-width of the neighbourhood by distance in rows; 0: none
    const u32 *order;  // [tiles * QUERIES] the queries; NOWHERE fills the last tile
    const u32 *all;    // [height * width] all cells along the longer axis
    const u32 *near;   // the lists

    __device__ Plan(const Step &step, const u32 *words) {
        start = words;
        reach = start + step.tiles + 1;
        order = reach + step.height;
        all = order + step.tiles * QUERIES;
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

// How keys are shared out: an equal share a block.
struct Even {
    __device__ static u32 begin(const Step &step, const Plan &plan, u32 block) {
        unsigned long long total = keys_before(step, plan, step.tiles);
        return (u32)(block * total / step.blocks);
    }
    // The block that works on a key.
    __device__ static u32 owner(const Step &step, const Plan &plan, u32 key) {
        unsigned long long total = keys_before(step, plan, step.tiles);
        return (u32)(((key + 1ull) * step.blocks - 1) / total);
    }
    __device__ static u32 first(const Step &step, const Plan &plan, u32 tile) {
        return owner(step, plan, keys_before(step, plan, tile));
    }
    __device__ static u32 last(const Step &step, const Plan &plan, u32 tile) {
        return owner(step, plan, keys_before(step, plan, tile + 1) - 1);
    }
};

// Where the list of a block for a tile lies among the partial lists. Blocks and tiles only ever
// increase together, so no two share a place.
__device__ inline u32 partial(u32 tile, u32 block) { return tile + block; }

// ------------------------------------------------------------------------- device instructions

__device__ inline void copy_async(u32 *to, const uint4 *from) {
#if __CUDA_ARCH__ >= 800
    u32 address = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
#else
    *reinterpret_cast<uint4 *>(to) = *from;
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

// 16 queries × 8 keys: adds products over 8 (TF32) or 16 (bfloat16) of a row's values.
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

// --------------------------------------------------------------------------------- arithmetics

// Each arithmetic multiplies a slice, PIECES × 16 bytes of every row, in shared memory: 64 rows of
// queries, then 128 rows of keys, WORDS apart. A thread holds 64 of the tile's sums.

// f32: fused multiply-adds in the order of the row, so a score is the same wherever it is computed.
struct F32 {
    static constexpr u32 WORDS = 20;  // 16 and 4 of padding: 8 rows touch all banks

    // Lane bits 1–3 choose the key, bits 0 and 4 the query: so neighbours in both directions read
    // the same address and shared memory serves half a warp at once.
    struct Place {
        u32 query, key;
        __device__ Place() {
            u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
            query = (warp % 2) * 32 + (lane & 1) + (lane >> 4) * 2;
            key = (warp / 2) * 64 + (lane >> 1) % 8;
        }
    };

    __device__ static void multiply(const u32 *slice, float (&sums)[64]) {
        Place place;
        const u32 *queries = slice + place.query * WORDS;
        const u32 *keys = slice + (QUERIES + place.key) * WORDS;
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++) {
            float4 a[8];
#pragma unroll
            for (u32 i = 0; i < 8; i++)
                a[i] = *reinterpret_cast<const float4 *>(queries + i * 4 * WORDS + piece * 4);
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                float4 b = *reinterpret_cast<const float4 *>(keys + j * 8 * WORDS + piece * 4);
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    float &sum = sums[i * 8 + j];
                    sum = fmaf(a[i].x, b.x, sum);
                    sum = fmaf(a[i].y, b.y, sum);
                    sum = fmaf(a[i].z, b.z, sum);
                    sum = fmaf(a[i].w, b.w, sum);
                }
            }
        }
    }

    __device__ static void store(const float (&sums)[64], float *scores) {
        Place place;
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++)
                scores[(place.query + 4 * i) * SCORES + place.key + 8 * j] = sums[i * 8 + j];
    }
};

// Tensor cores. Which of a row's values an instruction takes for its k-th is free as long as
// queries and keys agree: a lane takes 16 consecutive bytes, enough for two instructions.
template <class Product>
struct Tensor {
    static constexpr u32 WORDS = 16;

    __device__ static void multiply(const u32 *slice, float (&sums)[64]) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const u32 *queries = slice + ((warp % 2) * 32 + lane / 4) * WORDS + lane % 4 * 4;
        const u32 *keys = slice + (QUERIES + (warp / 2) * 64 + lane / 4) * WORDS + lane % 4 * 4;
        uint4 a[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++)
            a[i] = *reinterpret_cast<const uint4 *>(queries + i * 8 * WORDS);
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            uint4 b = *reinterpret_cast<const uint4 *>(keys + j * 8 * WORDS);
#pragma unroll
            for (u32 i = 0; i < 2; i++)
                Product::add(sums + (i * 8 + j) * 4, a[2 * i], a[2 * i + 1], b);
        }
    }

    __device__ static void store(const float (&sums)[64], float *scores) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        scores += ((warp % 2) * 32 + lane / 4) * SCORES + (warp / 2) * 64 + lane % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < 2; i++)
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
                const float *four = sums + (i * 8 + j) * 4;
                float *out = scores + i * 16 * SCORES + j * 8;
                *reinterpret_cast<float2 *>(out) = make_float2(four[0], four[1]);
                *reinterpret_cast<float2 *>(out + 8 * SCORES) = make_float2(four[2], four[3]);
            }
    }
};

struct Tf32Product {
    __device__ static void add(float *sums, uint4 upper, uint4 lower, uint4 key) {
        mma_tf32(sums, upper.x, lower.x, upper.y, lower.y, key.x, key.y);
        mma_tf32(sums, upper.z, lower.z, upper.w, lower.w, key.z, key.w);
    }
};

struct Bf16Product {
    __device__ static void add(float *sums, uint4 upper, uint4 lower, uint4 key) {
        mma_bf16(sums, upper.x, lower.x, upper.y, lower.y, key.x, key.y);
        mma_bf16(sums, upper.z, lower.z, upper.w, lower.w, key.z, key.w);
    }
};

using Tf32 = Tensor<Tf32Product>;
using Bf16 = Tensor<Bf16Product>;

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

// ------------------------------------------------------------------------------------ their labels

// Adds up over the lanes before this one.
__device__ inline u32 sum_before(u32 value) {
    u32 lane = threadIdx.x % 32, sum = value;
#pragma unroll
    for (u32 step = 1; step < 32; step *= 2) {
        u32 other = __shfl_up_sync(ALL, sum, step);
        if (lane >= step) sum += other;
    }
    return sum - value;
}

// How often a key counts for a query that can see it.
__device__ inline u32 copies_of(const Step &step, const Plan &plan, u32 query, u32 key) {
    if (key >= step.height * step.width) return 1;  // frame 0 lies in slot 0
    u32 place = key / step.width << 16 | key % step.width;
    return step.free + (plan.inside(query, place) ? step.near : 0);
}

// Lists of all blocks that worked on a query, merged.
template <class Share>
__device__ List merge(
    const Step &step, const Plan &plan, u32 index, const float *scores, const u32 *keys) {
    constexpr u32 AT_ONCE = 4;
    u32 lane = threadIdx.x % 32, tile = index / QUERIES;
    u32 block = Share::first(step, plan, tile), last = Share::last(step, plan, tile);
    List list = {-INFINITY, 0};
    float bar = -INFINITY;
    for (; block <= last; block += AT_ONCE) {
        float score[AT_ONCE];
        u32 key[AT_ONCE];
#pragma unroll
        for (u32 n = 0; n < AT_ONCE; n++) {
            size_t row = (size_t)partial(tile, block + n) * QUERIES + index % QUERIES;
            bool there = block + n <= last && lane < step.kept;
            score[n] = there ? scores[row * step.kept + lane] : -INFINITY;
            key[n] = there ? keys[row * step.kept + lane] : 0;
        }
#pragma unroll
        for (u32 n = 0; n < AT_ONCE; n++) {
            for (u32 entry = 0; entry < step.kept; entry++) {
                float value = __shfl_sync(ALL, score[n], entry);
                if (!(value > bar)) break;
                bar = list.insert(value, __shfl_sync(ALL, key[n], entry), step.kept);
            }
        }
    }
    return list;
}

// The softmax of the k nearest keys' scores and the mean of their labels by it, a warp a query.
// `ties` [tiles * QUERIES] gets the score that a key must reach and the best one where keys tied
// with the k-th may be missing from the list, and infinity elsewhere.
template <class Share>
__device__ void mix(
    const Step &step, const u32 *words, const float *scores, const u32 *keys, float *labels,
    float2 *ties) {
    Plan plan(step, words);
    u32 lane = threadIdx.x % 32, cells = step.height * step.width;
    u32 index = blockIdx.x * MIXERS + threadIdx.x / 32;
    if (index >= step.tiles * QUERIES) return;
    if (step.keep_ties && lane == 0) ties[index] = make_float2(INFINITY, 0.0f);
    u32 query = plan.order[index];
    if (query == NOWHERE) return;
    List list = merge<Share>(step, plan, index, scores, keys);

    bool there = lane < step.kept && list.score > -INFINITY;
    u32 copies = there ? copies_of(step, plan, query, list.key) : 0;
    u32 before = sum_before(copies);
    u32 taken = min(copies, step.topk - min(before, step.topk));
    if (step.keep_ties) {
        u32 enough = __ballot_sync(ALL, there && before + copies >= step.topk);
        int last = enough == 0 ? 31 : __ffs(enough) - 1;
        float bar = __shfl_sync(ALL, list.score, last);
        taken = enough == 0 || list.score >= bar ? copies : 0;
        bool full = __shfl_sync(ALL, taken, step.kept - 1) > 0;
        float best = __shfl_sync(ALL, list.score, 0);
        if (enough != 0 && full && lane == 0) ties[index] = make_float2(bar, best);
    }

    float best = __shfl_sync(ALL, list.score, 0) / step.temperature;
    float weight = taken == 0 ? 0.0f : taken * expf(list.score / step.temperature - best);
    float total = weight;
#pragma unroll
    for (u32 other = 16; other > 0; other /= 2) total += __shfl_xor_sync(ALL, total, other);
    weight /= total;

    u32 entries = __popc(__ballot_sync(ALL, taken > 0));  // they come first
    float *out = labels + (size_t)(step.query * cells + cell_of(step, query)) * step.channels;
    for (u32 first = 0; first < step.channels; first += 32) {
        u32 channel = first + lane;
        float mixed = 0.0f;
        for (u32 entry = 0; entry < entries; entry++) {
            float share = __shfl_sync(ALL, weight, entry);
            size_t from = (size_t)__shfl_sync(ALL, list.key, entry) * step.channels;
            if (channel < step.channels) mixed += share * labels[from + channel];
        }
        if (channel < step.channels) out[channel] = mixed;
    }
}

// Adds what a tile's keys contribute to the queries that have more ties than a list holds.
__device__ inline void weigh(
    const Step &step, const Plan &plan, const float *tile, const Shared &shared,
    const float2 *ties, float *labels) {
    u32 lane = threadIdx.x % 32, cells = step.height * step.width;
    for (u32 row = threadIdx.x / 32; row < QUERIES; row += THREADS / 32) {
        float2 tied = ties[row];
        if (tied.x == INFINITY) continue;
        u32 query = shared.cells[row];
        float total = shared.bar[row];
        float *out = labels + (size_t)(step.query * cells + cell_of(step, query)) * step.channels;
        for (u32 key = lane; key < KEYS; key += 32) {
            float score = tile[row * SCORES + key];
            bool worthy = score >= tied.x && shared.seen(step, plan, query, key);
            float weight = 0.0f;
            if (worthy)
                weight = copies_of(step, plan, query, shared.rows[key])
                    * expf(score / step.temperature - tied.y / step.temperature);
            for (u32 left = __ballot_sync(ALL, worthy); left != 0; left &= left - 1) {
                int from = __ffs(left) - 1;
                float share = __shfl_sync(ALL, weight, from);
                const float *label = labels + (size_t)shared.rows[key - lane + from] * step.channels;
                for (u32 channel = lane; channel < step.channels; channel += 32)
                    out[channel] += share * label[channel];
                total += share;
            }
        }
        __syncwarp();
        if (lane == 0) shared.bar[row] = total;
        __syncwarp();
    }
}

// All keys once more for the queries that `ties` names, a block a tile of queries: rare (a picture
// with flat areas), so it need not be fast, but it has to be the same scores.
template <class Arithmetic, int STAGES>
__device__ void search_ties(
    const Step &step, const u32 *words, const uint4 *ring, const float2 *ties, float *labels) {
    extern __shared__ uint4 pool[];
    u32 *tile_of_scores = reinterpret_cast<u32 *>(pool);
    Shared shared(step, tile_of_scores + TILE_WORDS<Arithmetic, STAGES>);
    Plan plan(step, words);
    u32 tile = blockIdx.x, lane = threadIdx.x % 32, cells = step.height * step.width;
    ties += tile * QUERIES;
    bool tied = threadIdx.x < QUERIES && ties[threadIdx.x].x != INFINITY;
    if (!__syncthreads_or(tied)) return;
    shared.set_queries(step, plan, tile, 0.0f);
    // The first pass clears the labels, the last one divides them by the sum of the weights.
    auto each_label = [&](auto change) {
        for (u32 row = threadIdx.x / 32; row < QUERIES; row += THREADS / 32) {
            if (ties[row].x == INFINITY) continue;
            size_t at = step.query * cells + cell_of(step, shared.cells[row]);
            for (u32 channel = lane; channel < step.channels; channel += 32)
                change(labels[at * step.channels + channel], shared.bar[row]);
        }
    };
    each_label([](float &label, float) { label = 0.0f; });
    Rows rows;
    rows.queries(step, shared.cells);
    u32 keys = keys_before(step, plan, tile + 1) - keys_before(step, plan, tile);
    for (u32 key = 0; key < keys; key += KEYS) {
        shared.set_keys(step, plan, tile, key, keys);
        rows.keys(step, shared.rows);
        score<Arithmetic, STAGES>(step, ring, rows, true, tile_of_scores);
        weigh(step, plan, reinterpret_cast<float *>(tile_of_scores), shared, ties, labels);
        __syncthreads();
    }
    each_label([](float &label, float total) { label /= total; });
}

// ----------------------------------------------------------------------------- features into the ring

// `features` [cells, width] become a slot of the ring, [cells, pieces] of 16 bytes, filled up with
// zeros; `convert` makes a word of one value or of two.
template <u32 VALUES, class Convert>
__device__ void stow(
    const float *features, u32 cells, u32 width, u32 pieces, u32 slot, u32 *ring, Convert convert) {
    u32 words = pieces * 4;
    ring += (size_t)slot * cells * words;
    for (u32 n = blockIdx.x * blockDim.x + threadIdx.x; n < cells * words;
         n += gridDim.x * blockDim.x) {
        const float *row = features + (size_t)(n / words) * width;
        u32 column = n % words * VALUES;
        float first = column < width ? row[column] : 0.0f;
        float second = VALUES == 2 && column + 1 < width ? row[column + 1] : 0.0f;
        ring[n] = convert(first, second);
    }
}

// ---------------------------------------------------------------------------------- entry points

#define AFFINITY(NAME, ARITHMETIC, STAGES, MINIMUM)                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, MINIMUM) affinity_search_##NAME(       \
        Step step, const u32 *plan, const uint4 *ring, float *scores, u32 *keys) {               \
        search<ARITHMETIC, STAGES, Even>(step, plan, ring, scores, keys);                        \
    }                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, MINIMUM) affinity_ties_##NAME(         \
        Step step, const u32 *plan, const uint4 *ring, const float2 *ties, float *labels) {      \
        search_ties<ARITHMETIC, STAGES>(step, plan, ring, ties, labels);                         \
    }

AFFINITY(f32, F32, 3, 3)
AFFINITY(tf32, Tf32, 3, 3)
AFFINITY(bf16, Bf16, 3, 3)

extern "C" __global__ void __launch_bounds__(MIXERS * 32) affinity_mix(
    Step step, const u32 *plan, const float *scores, const u32 *keys, float *labels, float2 *ties) {
    mix<Even>(step, plan, scores, keys, labels, ties);
}

extern "C" __global__ void affinity_stow_f32(
    const float *features, u32 cells, u32 width, u32 pieces, u32 slot, u32 *ring) {
    stow<1>(features, cells, width, pieces, slot, ring,
        [](float value, float) { return __float_as_uint(value); });
}

extern "C" __global__ void affinity_stow_tf32(
    const float *features, u32 cells, u32 width, u32 pieces, u32 slot, u32 *ring) {
    stow<1>(features, cells, width, pieces, slot, ring,
        [](float value, float) { return to_tf32(value); });
}

extern "C" __global__ void affinity_stow_bf16(
    const float *features, u32 cells, u32 width, u32 pieces, u32 slot, u32 *ring) {
    stow<2>(features, cells, width, pieces, slot, ring,
        [](float first, float second) { return to_bf16(first, second); });
}
