// The affinity on a GPU: products, top-k, softmax and labels in two kernels, no matrix of scores.
//
// `affinity_search` walks tiles of 32 queries × 256 keys (64 × 128 on tensor cores). A tile's
// scores are made in registers, go through shared memory once and are tested against each query's
// k-th best so far; nearly all fail, and the others are inserted several queries at a time.
// `affinity_mix` merges the lists that several blocks kept for a query, and mixes the labels.
// Before either, `affinity_stow` puts a frame's features into the ring that both read.
//
// The plan (made in plan.rs, once a clip) cuts the grid into tiles of queries that lie close
// together and lists, for each, the cells that any of them can reach. Keys are gathered by such a
// list, so what no query of a tile can see is never multiplied. The keys of all frames for all
// tiles form one sequence, of which every block takes an equal share in whole tiles: the grid is as
// many blocks as the GPU holds at a time, whatever the sizes.
//
// The result does not depend on that share. A list is sorted by score and then by order of arrival,
// keys arrive frame by frame and cell by cell along the grid's longer axis, and lists are merged in
// the order of the blocks: the order of a stable sort, that of `nearest.rs`.
//
// In the order of the work: sequence.cuh, products.cuh, search.cuh with nearest.cuh, and here what
// becomes of the lists.

#include "search.cuh"

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
    u32 lane = threadIdx.x % 32, tile = index / step.queries;
    u32 block = Share::first(step, plan, tile), last = Share::last(step, plan, tile);
    List list = {-INFINITY, 0};
    float bar = -INFINITY;
    for (; block <= last; block += AT_ONCE) {
        float score[AT_ONCE];
        u32 key[AT_ONCE];
#pragma unroll
        for (u32 n = 0; n < AT_ONCE; n++) {
            size_t row = (size_t)partial(tile, block + n) * step.queries + index % step.queries;
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
// `ties` [tiles * queries] gets the score that a key must reach and the best one where keys tied
// with the k-th may be missing from the list, and infinity elsewhere.
template <class Share>
__device__ void mix(
    const Step &step, const u32 *words, const float *scores, const u32 *keys, float *labels,
    float2 *ties) {
    Plan plan(step, words);
    u32 lane = threadIdx.x % 32, cells = step.height * step.width;
    u32 index = blockIdx.x * MIXERS + threadIdx.x / 32;
    if (index >= step.tiles * step.queries) return;
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

// Adds what a tile's keys contribute to the queries that have more ties than a list holds, and to
// the sum of their weights, which stands in the place of their lists.
template <class Tile>
__device__ void weigh(
    const Step &step, const Plan &plan, const float *matrix, u32 stride, const Shared<Tile> &shared,
    const Keys<Tile> &keys, const float2 *ties, float *labels) {
    u32 lane = threadIdx.x % 32, cells = step.height * step.width;
    for (u32 row = threadIdx.x / 32; row < Tile::QUERIES; row += WARPS) {
        float2 tied = ties[row];
        if (tied.x == INFINITY) continue;
        u32 query = shared.cells[row];
        float total = shared.scores[row];
        float *out = labels + (size_t)(step.query * cells + cell_of(step, query)) * step.channels;
        for (u32 key = lane; key < Tile::KEYS; key += 32) {
            float score = matrix[row * stride + key];
            bool worthy = score >= tied.x && keys.seen(step, plan, query, key);
            float weight = 0.0f;
            if (worthy)
                weight = copies_of(step, plan, query, keys.rows[key])
                    * expf(score / step.temperature - tied.y / step.temperature);
            for (u32 left = __ballot_sync(ALL, worthy); left != 0; left &= left - 1) {
                int from = __ffs(left) - 1;
                float share = __shfl_sync(ALL, weight, from);
                const float *label = labels + (size_t)keys.rows[key - lane + from] * step.channels;
                for (u32 channel = lane; channel < step.channels; channel += 32)
                    out[channel] += share * label[channel];
                total += share;
            }
        }
        __syncwarp();
        if (lane == 0) shared.scores[row] = total;
        __syncwarp();
    }
}

// All keys once more for the queries that `ties` names, a block a tile of queries: rare (a picture
// with flat areas), so it need not be fast, but it has to be the same scores.
template <class Arithmetic, class Tile, int STAGES>
__device__ void search_ties(
    const Step &step, const u32 *words, const Features &features, const float2 *ties, float *labels) {
    using At = Layout<Arithmetic, Tile, STAGES>;
    extern __shared__ uint4 pool[];
    u32 *stages = reinterpret_cast<u32 *>(pool);
    float *matrix = reinterpret_cast<float *>(stages + At::MATRIX_AT);
    Shared<Tile> shared(step, stages + At::WORDS);
    Keys<Tile> now = shared.keys_of(0);
    Plan plan(step, words);
    u32 tile = blockIdx.x, lane = threadIdx.x % 32, cells = step.height * step.width;
    ties += tile * Tile::QUERIES;
    bool tied = threadIdx.x < Tile::QUERIES && ties[threadIdx.x].x != INFINITY;
    if (!__syncthreads_or(tied)) return;
    shared.set_queries(step, plan, tile);
    __syncthreads();
    // The first pass clears the labels, the last one divides them by the sum of the weights.
    auto each_label = [&](auto change) {
        for (u32 row = threadIdx.x / 32; row < Tile::QUERIES; row += WARPS) {
            if (ties[row].x == INFINITY) continue;
            size_t at = step.query * cells + cell_of(step, shared.cells[row]);
            for (u32 channel = lane; channel < step.channels; channel += 32)
                change(labels[at * step.channels + channel], shared.scores[row]);
        }
    };
    each_label([](float &label, float) { label = 0.0f; });
    if (threadIdx.x < Tile::QUERIES) shared.scores[threadIdx.x] = 0.0f;
    Rows<Arithmetic, Tile> rows;
    rows.queries(step, tile, shared.cells);
    u32 keys = keys_before(step, plan, tile + 1) - keys_before(step, plan, tile);
    for (u32 key = 0; key < keys; key += Tile::KEYS) {
        now.set(step, plan, tile, key, keys);
        __syncthreads();
        rows.keys(step, now.rows);
        rows.fetch(features, 0, stages);
        commit_copies();
        float sums[64] = {};
        score<Arithmetic, Tile, STAGES, true>(step, features, rows, stages, sums);
        Arithmetic::template store<Tile>(sums, matrix);
        __syncthreads();
        weigh(step, plan, matrix, At::ROW, shared, now, ties, labels);
        __syncthreads();
    }
    each_label([](float &label, float total) { label /= total; });
}

// ----------------------------------------------------------------------------- features into the
// ring

// `features` [cells, width] become slot `step.query` of the ring, [cells, pieces] of 16 bytes,
// filled up with zeros; `convert` makes a word of one value or of two.
template <u32 VALUES, class Convert>
__device__ void stow(
    const Step &step, const float *features, u32 width, u32 *ring, Convert convert) {
    u32 words = step.pieces * 4, all = step.height * step.width * words;
    ring += (size_t)step.query * all;
    for (u32 n = blockIdx.x * blockDim.x + threadIdx.x; n < all; n += gridDim.x * blockDim.x) {
        const float *row = features + (size_t)(n / words) * width;
        u32 column = n % words * VALUES;
        float first = column < width ? row[column] : 0.0f;
        float second = VALUES == 2 && column + 1 < width ? row[column + 1] : 0.0f;
        ring[n] = convert(first, second);
    }
}

// `features` as the queries that they will be: tile by tile, channel by channel. Where the last
// tile has no more queries its first one stands again.
__device__ inline void lay(
    const Step &step, const u32 *words, const float *features, u32 width, float *laid) {
    Plan plan(step, words);
    u32 channels = step.pieces * 4, all = step.tiles * step.queries * channels;
    for (u32 n = blockIdx.x * blockDim.x + threadIdx.x; n < all; n += gridDim.x * blockDim.x) {
        u32 tile = n / (step.queries * channels), channel = n / step.queries % channels;
        const u32 *cells = plan.order + tile * step.queries;
        u32 place = cells[n % step.queries];
        size_t row = cell_of(step, place == NOWHERE ? cells[0] : place);
        laid[n] = channel < width ? features[row * width + channel] : 0.0f;
    }
}

// ---------------------------------------------------------------------------------- entry points

#define AFFINITY(NAME, ARITHMETIC, TILE, STAGES)                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, 3) affinity_search_##NAME(             \
        Step step, const u32 *plan, const uint4 *ring, const uint4 *laid, float *scores,         \
        u32 *keys) {                                                                             \
        search<ARITHMETIC, TILE, STAGES, Even>(step, plan, {ring, laid}, scores, keys);          \
    }                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) affinity_ties_##NAME(               \
        Step step, const u32 *plan, const uint4 *ring, const uint4 *laid, const float2 *ties,    \
        float *labels) {                                                                         \
        search_ties<ARITHMETIC, TILE, STAGES>(step, plan, {ring, laid}, ties, labels);           \
    }

AFFINITY(f32, F32, Wide, 3)
AFFINITY(tf32, Tf32, Square, 4)
AFFINITY(bf16, Bf16, Square, 4)

extern "C" __global__ void __launch_bounds__(MIXERS * 32) affinity_mix(
    Step step, const u32 *plan, const float *scores, const u32 *keys, float *labels, float2 *ties) {
    mix<Even>(step, plan, scores, keys, labels, ties);
}

extern "C" __global__ void affinity_stow_f32(
    Step step, const u32 *plan, const float *features, u32 width, u32 *ring, float *laid) {
    stow<1>(step, features, width, ring, [](float value, float) { return __float_as_uint(value); });
    lay(step, plan, features, width, laid);
}

extern "C" __global__ void affinity_stow_tf32(
    Step step, const u32 *, const float *features, u32 width, u32 *ring, float *) {
    stow<1>(step, features, width, ring, [](float value, float) { return to_tf32(value); });
}

extern "C" __global__ void affinity_stow_bf16(
    Step step, const u32 *, const float *features, u32 width, u32 *ring, float *) {
    stow<2>(step, features, width, ring,
        [](float first, float second) { return to_bf16(first, second); });
}
