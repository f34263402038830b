// Attention of the network that is trained, forwards and backwards, in bfloat16 on tensor cores:
// nothing of the size queries × keys is ever written, and heads are read and written where the
// network has them.
//
// Forwards a warp has some queries and walks over the keys, with the softmax so far. Besides the
// mixed values it leaves the logarithm of each query's sum of exponentials, with which a share is
// computed anew backwards wherever it is needed: by warps that have queries and walk over the keys,
// for the gradient of the queries; and by warps that have keys and walk over the queries, for those
// of keys and values. So every sum has one owner and one order, and the same input gives the same
// bytes.
//
// A block is up to four warps, as many as there are rows for: few tokens cost little.

#include "../../../kernel/pack.cuh"
#include "../../../kernel/tile_bf16.cuh"

// Tokens are [B, tokens, .., heads, width]; the values of a token lie behind all of its keys.
// fused_attention.rs has the same structure.
struct Sizes {
    u32 queries, keys, heads;
    u32 width;               // of a head, a multiple of 8
    u32 query_row, key_row;  // values from one token to the next
    float scale;             // of scores: width^-1/2

    __device__ u32 row() const { return heads * width; }  // of mixed values
    __device__ float powers() const { return scale * 1.44269504f; }  // of two are what is computed
};
static_assert(sizeof(Sizes) == 28, "as the structure in Rust");

// Rows that are walked over: so many are in shared memory at a time, and are used piece by piece.
// Pieces are small so that no register spills; forwards each costs a new measure of what is mixed.
template <u32 WIDTH>
static constexpr u32 TILE = WIDTH <= 64 ? 64 : 32;
static constexpr u32 FORWARD = 32, BACKWARD = 16;

// One head of one image, and the first row that a warp has of it, of `count`.
struct Task {
    u32 number, image, head, first, count;

    __device__ Task(const Sizes &sizes, u32 count, u32 of_warp) : count(count) {
        u32 of_block = blockDim.x / WARP * of_warp, blocks = (count + of_block - 1) / of_block;
        number = blockIdx.x / blocks;
        image = number / sizes.heads;
        head = number % sizes.heads;
        first = blockIdx.x % blocks * of_block + threadIdx.x / WARP * of_warp;
    }

    // Where the head begins in tokens of `row` values.
    template <class T>
    __device__ T *head_of(T *tokens, u32 count, u32 row, const Sizes &sizes) const {
        return tokens + (size_t)image * count * row + head * sizes.width;
    }
    __device__ Rows<bf16> queries(const bf16 *tokens, const Sizes &sizes) const {
        return {head_of(tokens, sizes.queries, sizes.query_row, sizes), sizes.query_row, sizes.queries, sizes.width};
    }
    __device__ Rows<bf16> keys(const bf16 *tokens, const Sizes &sizes) const {
        return {head_of(tokens, sizes.keys, sizes.key_row, sizes), sizes.key_row, sizes.keys, sizes.width};
    }
    __device__ Rows<bf16> values(const bf16 *tokens, const Sizes &sizes) const {
        return keys(tokens + sizes.row(), sizes);
    }
    // Of something of the mixed values' layout.
    __device__ Rows<bf16> mixed(const bf16 *tokens, const Sizes &sizes) const {
        return {head_of(tokens, sizes.queries, sizes.row(), sizes), sizes.row(), sizes.queries, sizes.width};
    }

    // The lane's row of a half of a tile.
    __device__ u32 row(u32 m, u32 half) const { return first + 16 * m + 8 * half + threadIdx.x % WARP / 4; }
    __device__ bool idle() const { return first >= count; }
};

template <u32 TILES, u32 WIDTH>
static __device__ void load_rows(Own<TILES, WIDTH> &own, const Rows<bf16> &rows, u32 first) {
    load_own<TILES, WIDTH>(own, first, rows.count, rows.width, [&](u32 row, u32 column) {
        return *reinterpret_cast<const u32 *>(rows.first + (size_t)row * rows.stride + column);
    });
}

// Which of a warp's shares fall: dropout counts [B, heads, queries, keys].
struct Falls {
    const Drop &drop;
    u32 start, row_step, column_step;  // in places times the draws' factor

    __device__ Falls(const Drop &drop, const Task &task, const Sizes &sizes, bool own_queries) : drop(drop) {
        row_step = (own_queries ? sizes.keys : 1) * drop.factor;
        column_step = (own_queries ? 1 : sizes.keys) * drop.factor;
        start = task.number * sizes.queries * sizes.keys * drop.factor + task.row(0, 0) * row_step +
            threadIdx.x % 4 * 2 * column_step;
    }

    // Calls `set(m, n, i, falls)` for each share of columns from `first` on.
    template <u32 TILES, u32 COLUMNS, class Set>
    __device__ void each(u32 first, Set set) const {
        u32 from = start + first * column_step;
#pragma unroll
        for (u32 m = 0; m < TILES; m++)
#pragma unroll
            for (u32 n = 0; n < COLUMNS; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++)
                    set(m, n, i, drop.falls(from + (16 * m + i / 2 * 8) * row_step + (n * 8 + i % 2) * column_step));
    }
};

// Walks over `count` rows tile by tile; the next one is on its way while one is used.
//   copy(to, first, rows): begins to copy so many rows, from `first` on, into a stage of shared
//   memory use(stage, row, at): takes PIECE rows of a stage, from `row` on, which is place `at`
//   among all
template <u32 WIDTH, u32 STAGE, u32 PIECE, class Copy, class Use>
static __device__ void walk(u32 count, bool idle, Copy copy, Use use) {
    extern __shared__ uint4 pool[];
    u32 *stage = reinterpret_cast<u32 *>(pool), *other = stage + STAGE;
    auto begin = [&](u32 *to, u32 first) {
        copy(to, first, min(TILE<WIDTH>, (count - first + PIECE - 1) / PIECE * PIECE));
        commit_copies();
    };
    begin(stage, 0);
    for (u32 tile = 0; tile < count; tile += TILE<WIDTH>) {
        await_copies<0>();
        __syncthreads();  // this tile is there, and nobody needs the one before
        if (tile + TILE<WIDTH> < count) begin(other, tile + TILE<WIDTH>);
        if (!idle)
            for (u32 row = 0; row < min(TILE<WIDTH>, count - tile); row += PIECE) use(stage, row, tile + row);
        u32 *done = stage;
        stage = other;
        other = done;
    }
}

// Two parts of the rows that are walked over, the second behind the first in shared memory.
template <u32 WIDTH>
struct Both {
    static constexpr u32 ROW = row_words(WIDTH), PART = TILE<WIDTH> * ROW, STAGE = 2 * PART;
    Rows<bf16> one, two;

    __device__ void copy(u32 *to, u32 first, u32 count) const {
        copy_rows<WIDTH, ROW>(to, one, first, count, blockDim.x);
        copy_rows<WIDTH, ROW>(to + PART, two, first, count, blockDim.x);
    }
};

// Writes `factor` times the sums of a warp's rows to where its head begins in tokens of `row`
// values.
template <u32 TILES, u32 COLUMNS>
static __device__ void write(bf16 *head, u32 row, const Task &task, const float (&sums)[TILES][COLUMNS][4],
                             const float (&factors)[TILES][2], u32 width) {
#pragma unroll
    for (u32 m = 0; m < TILES; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            if (task.row(m, half) >= task.count) continue;
            bf16 *to = head + (size_t)task.row(m, half) * row;
            float factor = factors[m][half];
#pragma unroll
            for (u32 n = 0; n < COLUMNS; n++) {
                u32 column = n * 8 + threadIdx.x % 4 * 2;
                const float *two = sums[m][n] + 2 * half;
                if (column < width)
                    *reinterpret_cast<u32 *>(to + column) = to_bf16(two[0] * factor, two[1] * factor);
            }
        }
}

// Mixed values [B, queries, heads, width], and for each query of each head the logarithm to base 2
// of the sum of its exponentials, [B, heads, queries].
template <u32 WIDTH, u32 TILES>
static __device__ void forward(const bf16 *queries, const bf16 *keys, bf16 *out, float *logarithms,
                               const Sizes &sizes, const Drop &drop) {
    Task task(sizes, sizes.queries, 16 * TILES);
    Both<WIDTH> others = {task.keys(keys, sizes), task.values(keys, sizes)};
    Own<TILES, WIDTH> own;
    load_rows<TILES, WIDTH>(own, task.queries(queries, sizes), task.first);
    Falls falls(drop, task, sizes, true);
    Softmax<TILES> softmax;
    float mixed[TILES][WIDTH / 8][4];
    clear(mixed);
    auto copy = [&](u32 *to, u32 first, u32 count) { others.copy(to, first, count); };
    walk<WIDTH, others.STAGE, FORWARD>(sizes.keys, task.idle(), copy, [&](const u32 *stage, u32 row, u32 key) {
        float scores[TILES][FORWARD / 8][4];
        multiply<WIDTH>(own, stage + row * others.ROW, scores);
        cut_off(scores, sizes.keys - key);
        softmax.soften(scores, mixed, sizes.powers());
        if (drop.below)
            falls.each<TILES, FORWARD / 8>(key, [&](u32 m, u32 n, u32 i, bool gone) {
                if (gone) scores[m][n][i] = 0.0f;
            });
        mix<WIDTH>(scores, stage + others.PART + row * others.ROW, mixed);
    });
    float factors[TILES][2];
#pragma unroll
    for (u32 m = 0; m < TILES; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float sum = row_sum(softmax.sum[m][half]);
            factors[m][half] = drop.scale / sum;
            u32 query = task.row(m, half);
            if (threadIdx.x % 4 == 0 && query < sizes.queries)
                logarithms[task.number * sizes.queries + query] =
                    fmaf(softmax.most[m][half], sizes.powers(), log2f(sum));
        }
    write(task.head_of(out, sizes.queries, sizes.row(), sizes), sizes.row(), task, mixed, factors, sizes.width);
}

// With shares p, the mixed values' gradient g and its products with the values h (those that
// dropout left, scaled as they were): a score's gradient is p (h - sum p h), and that sum over the
// keys is g · mixed.

// The gradient of queries, and of each query of each head g · mixed, [B, heads, queries].
template <u32 WIDTH>
static __device__ void of_queries(const bf16 *queries, const bf16 *keys, const bf16 *mixed, const bf16 *gradient,
                                  const float *logarithms, float *means, bf16 *out, const Sizes &sizes,
                                  const Drop &drop) {
    Task task(sizes, sizes.queries, 16);
    Both<WIDTH> others = {task.keys(keys, sizes), task.values(keys, sizes)};
    Own<1, WIDTH> own, wanted;
    load_rows<1, WIDTH>(own, task.mixed(mixed, sizes), task.first);
    load_rows<1, WIDTH>(wanted, task.mixed(gradient, sizes), task.first);
    float logarithm[2], mean[2];
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float product = 0;
#pragma unroll
        for (u32 k = 0; k < WIDTH / 16; k++)
#pragma unroll
            for (u32 i = half; i < 4; i += 2) product += dot(own[0][k][i], wanted[0][k][i]);
        mean[half] = row_sum(product);
        u32 query = task.row(0, half), at = task.number * sizes.queries + query;
        bool there = query < sizes.queries;
        logarithm[half] = there ? logarithms[at] : 0.0f;
        if (there && threadIdx.x % 4 == 0) means[at] = mean[half];
    }
    load_rows<1, WIDTH>(own, task.queries(queries, sizes), task.first);
    Falls falls(drop, task, sizes, true);
    float sums[1][WIDTH / 8][4];
    clear(sums);
    auto copy = [&](u32 *to, u32 first, u32 count) { others.copy(to, first, count); };
    walk<WIDTH, others.STAGE, BACKWARD>(sizes.keys, task.idle(), copy, [&](const u32 *stage, u32 row, u32 key) {
        float scores[1][BACKWARD / 8][4], products[1][BACKWARD / 8][4];
        multiply<WIDTH>(own, stage + row * others.ROW, scores);
        multiply<WIDTH>(wanted, stage + others.PART + row * others.ROW, products);
        cut_off(scores, sizes.keys - key);
        if (drop.below)
            falls.each<1, BACKWARD / 8>(key, [&](u32 m, u32 n, u32 i, bool gone) {
                products[m][n][i] *= gone ? 0.0f : drop.scale;
            });
#pragma unroll
        for (u32 n = 0; n < BACKWARD / 8; n++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                float share = rough_exp2(fmaf(scores[0][n][i], sizes.powers(), -logarithm[i / 2]));
                scores[0][n][i] = share * (products[0][n][i] - mean[i / 2]);
            }
        mix<WIDTH>(scores, stage + row * others.ROW, sums);
    });
    float factors[1][2] = {{sizes.scale, sizes.scale}};
    bf16 *head = task.head_of(out, sizes.queries, sizes.query_row, sizes);
    write(head, sizes.query_row, task, sums, factors, sizes.width);
}

// The gradients of keys and values. Queries that are not there are zeros, whose share of anything
// is zero.
template <u32 WIDTH>
static __device__ void of_keys(const bf16 *queries, const bf16 *keys, const bf16 *gradient, const float *logarithms,
                               const float *means, bf16 *out, const Sizes &sizes, const Drop &drop) {
    Task task(sizes, sizes.keys, 16);
    Both<WIDTH> others = {task.queries(queries, sizes), task.mixed(gradient, sizes)};
    constexpr u32 NUMBERS = TILE<WIDTH>;  // logarithms lie behind both parts, and means behind those
    const float *of_rows[2] = {logarithms + task.number * sizes.queries, means + task.number * sizes.queries};
    Own<1, WIDTH> own, values;
    load_rows<1, WIDTH>(own, task.keys(keys, sizes), task.first);
    load_rows<1, WIDTH>(values, task.values(keys, sizes), task.first);
    Falls falls(drop, task, sizes, false);
    float key_sums[1][WIDTH / 8][4], value_sums[1][WIDTH / 8][4];
    clear(key_sums);
    clear(value_sums);
    auto copy = [&](u32 *to, u32 first, u32 count) {
        others.copy(to, first, count);
        for (u32 n = threadIdx.x; n < count; n += blockDim.x)
#pragma unroll
            for (u32 which = 0; which < 2; which++) {
                bool there = first + n < sizes.queries;
                const float *from = of_rows[which] + (there ? first + n : 0);
                copy_word_async_or_zero(
                    to + others.STAGE + which * NUMBERS + n, reinterpret_cast<const u32 *>(from), there);
            }
    };
    walk<WIDTH, others.STAGE + 2 * NUMBERS, BACKWARD>(
        sizes.queries, task.idle(), copy, [&](const u32 *stage, u32 row, u32 query) {
            float shares[1][BACKWARD / 8][4], products[1][BACKWARD / 8][4];
            const u32 *rows = stage + row * others.ROW, *gradients = rows + others.PART;
            multiply<WIDTH>(own, rows, shares);
            multiply<WIDTH>(values, gradients, products);
            const float *numbers = reinterpret_cast<const float *>(stage + others.STAGE + row) + threadIdx.x % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < BACKWARD / 8; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++)
                    shares[0][n][i] = rough_exp2(fmaf(shares[0][n][i], sizes.powers(), -numbers[n * 8 + i % 2]));
            float left[1][BACKWARD / 8][4];
#pragma unroll
            for (u32 n = 0; n < BACKWARD / 8; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) left[0][n][i] = shares[0][n][i];
            if (drop.below)
                falls.each<1, BACKWARD / 8>(query, [&](u32 m, u32 n, u32 i, bool gone) {
                    if (gone) left[m][n][i] = 0.0f;
                    products[m][n][i] *= gone ? 0.0f : drop.scale;
                });
            mix<WIDTH>(left, gradients, value_sums);
#pragma unroll
            for (u32 n = 0; n < BACKWARD / 8; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) shares[0][n][i] *= products[0][n][i] - numbers[NUMBERS + n * 8 + i % 2];
            mix<WIDTH>(shares, rows, key_sums);
        });
    float for_keys[1][2] = {{sizes.scale, sizes.scale}}, for_values[1][2] = {{drop.scale, drop.scale}};
    bf16 *head = task.head_of(out, sizes.keys, sizes.key_row, sizes);
    write(head, sizes.key_row, task, key_sums, for_keys, sizes.width);
    write(head + sizes.row(), sizes.key_row, task, value_sums, for_values, sizes.width);
}

// Blocks that share a multiprocessor: as many as registers and shared memory are there for.
#define FUSED(WIDTH, TILES, BLOCKS, OF_QUERIES, OF_KEYS)                                                \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) fused_attention_##WIDTH(                \
        const bf16 *queries, const bf16 *keys, bf16 *out, float *logarithms, Sizes sizes, Drop drop) {  \
        forward<WIDTH, TILES>(queries, keys, out, logarithms, sizes, drop);                             \
    }                                                                                                   \
    extern "C" __global__ void __launch_bounds__(128, OF_QUERIES) fused_attention_of_queries_##WIDTH(  \
        const bf16 *queries, const bf16 *keys, const bf16 *mixed, const bf16 *gradient,                 \
        const float *logarithms, float *means, bf16 *out, Sizes sizes, Drop drop) {                     \
        of_queries<WIDTH>(queries, keys, mixed, gradient, logarithms, means, out, sizes, drop);         \
    }                                                                                                   \
    extern "C" __global__ void __launch_bounds__(128, OF_KEYS) fused_attention_of_keys_##WIDTH(        \
        const bf16 *queries, const bf16 *keys, const bf16 *gradient, const float *logarithms,           \
        const float *means, bf16 *out, Sizes sizes, Drop drop) {                                        \
        of_keys<WIDTH>(queries, keys, gradient, logarithms, means, out, sizes, drop);                   \
    }

FUSED(32, 2, 4, 5, 4)
FUSED(64, 2, 2, 4, 3)
FUSED(128, 1, 2, 2, 2)
