// Attention in f32: fused multiply-adds, in an order that depends on sizes alone.

#include "attention.cuh"

// A warp has 32 queries, a lane every fourth of 8 of them with every eighth of 4 keys. Lane bits
// 1–3 choose the key (or the values' columns), bits 0 and 4 the query: so neighbours in both
// directions read the same address and shared memory serves half a warp at once.
template <u32 WIDTH>
struct Exact {
    static constexpr u32 WARPS = WIDTH <= 64 ? 4 : 2, THREADS = 32 * WARPS, QUERIES = 32 * WARPS;
    static constexpr u32 KEYS = 32, ROW = WIDTH + 4, SHARES = KEYS + 8;  // words; padded for the banks' sake
    static constexpr u32 COLUMNS = WIDTH / 32;  // groups of four columns that a lane mixes
    static constexpr u32 WORDS = (QUERIES + 2 * KEYS) * ROW + QUERIES * SHARES;

    u32 *queries, *keys, *values, *shares;
    u32 query, key;
    float mixed[8][COLUMNS * 4], most[8], sum[8];

    __device__ Exact(u32 *words) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        queries = words;
        keys = queries + QUERIES * ROW;
        values = keys + KEYS * ROW;
        shares = values + KEYS * ROW;
        query = warp * 32 + (lane & 1) + (lane >> 4) * 2;
        key = (lane >> 1) % 8;
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            most[i] = -INFINITY;
            sum[i] = 0.0f;
#pragma unroll
            for (u32 n = 0; n < COLUMNS * 4; n++) mixed[i][n] = 0.0f;
        }
    }

    // The queries of the block, with their bias.
    __device__ void read_queries(const Head<float> &head, const float *bias, u32 first, const Sizes &sizes) {
        for (u32 n = threadIdx.x; n < QUERIES * WIDTH; n += THREADS) {
            u32 token = first + n / WIDTH, column = n % WIDTH;
            bool there = token < sizes.tokens && column < sizes.width;
            float value = there ? head.queries.first[(size_t)token * head.queries.stride + column] + bias[column] : 0.0f;
            queries[n / WIDTH * ROW + column] = __float_as_uint(value);
        }
    }

    __device__ static float4 four(const u32 *words) { return *reinterpret_cast<const float4 *>(words); }

    __device__ void score(float (&scores)[8][4]) const {
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++) scores[i][j] = 0.0f;
#pragma unroll 1
        for (u32 column = 0; column < WIDTH; column += 4) {
            float4 a[8];
#pragma unroll
            for (u32 i = 0; i < 8; i++) a[i] = four(queries + (query + 4 * i) * ROW + column);
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                float4 b = four(keys + (key + 8 * j) * ROW + column);
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    float &sum = scores[i][j];
                    sum = fmaf(a[i].x, b.x, sum);
                    sum = fmaf(a[i].y, b.y, sum);
                    sum = fmaf(a[i].z, b.z, sum);
                    sum = fmaf(a[i].w, b.w, sum);
                }
            }
        }
    }

    // Scores become shares in shared memory, not yet divided by their sum; `left` keys are there.
    __device__ void soften(float (&scores)[8][4], u32 left, float scale) {
#pragma unroll
        for (u32 j = 0; j < 4; j++)
            if (key + 8 * j >= left)
#pragma unroll
                for (u32 i = 0; i < 8; i++) scores[i][j] = -INFINITY;
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            float high = most[i];
#pragma unroll
            for (u32 j = 0; j < 4; j++) high = fmaxf(high, scores[i][j]);
#pragma unroll
            for (u32 other = 2; other <= 8; other *= 2) high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, other));
            float base = high * scale, keep = exp2f(fmaf(most[i], scale, -base));
            most[i] = high;
            sum[i] *= keep;
#pragma unroll
            for (u32 n = 0; n < COLUMNS * 4; n++) mixed[i][n] *= keep;
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                float share = exp2f(fmaf(scores[i][j], scale, -base));
                sum[i] += share;
                shares[(query + 4 * i) * SHARES + key + 8 * j] = __float_as_uint(share);
            }
        }
    }

    __device__ void mix() {
#pragma unroll 1
        for (u32 from = 0; from < KEYS; from += 4) {
            float p[8][4];
#pragma unroll
            for (u32 i = 0; i < 8; i++)
                *reinterpret_cast<float4 *>(p[i]) = four(shares + (query + 4 * i) * SHARES + from);
#pragma unroll
            for (u32 k = 0; k < 4; k++)
#pragma unroll
                for (u32 n = 0; n < COLUMNS; n++) {
                    float4 v = four(values + (from + k) * ROW + n * 32 + key * 4);
#pragma unroll
                    for (u32 i = 0; i < 8; i++) {
                        float *to = mixed[i] + n * 4;
                        to[0] = fmaf(p[i][k], v.x, to[0]);
                        to[1] = fmaf(p[i][k], v.y, to[1]);
                        to[2] = fmaf(p[i][k], v.z, to[2]);
                        to[3] = fmaf(p[i][k], v.w, to[3]);
                    }
                }
        }
    }

    __device__ void write(const Head<float> &head, const float *bias, float *out, u32 first, const Sizes &sizes) {
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
#pragma unroll
            for (u32 other = 2; other <= 8; other *= 2) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], other);
            u32 token = first + query + 4 * i;
            if (token >= sizes.tokens) continue;
            float share = 1.0f / sum[i], *row = head.out(out, sizes, token);
#pragma unroll
            for (u32 n = 0; n < COLUMNS; n++) {
                u32 column = n * 32 + key * 4;
                if (column >= sizes.width) continue;
                const float *m = mixed[i] + n * 4, *b = bias + column;
                *reinterpret_cast<float4 *>(row + column) = make_float4(
                    fmaf(m[0], share, b[0]), fmaf(m[1], share, b[1]), fmaf(m[2], share, b[2]), fmaf(m[3], share, b[3]));
            }
        }
    }
};

template <u32 WIDTH>
__device__ void attend(const float *qkv, const float *bias, float *out, Sizes sizes) {
    typedef Exact<WIDTH> This;
    extern __shared__ uint4 pool[];
    This block(reinterpret_cast<u32 *>(pool));
    Head<float> head(qkv, sizes);
    u32 first = blockIdx.x * This::QUERIES;
    auto copy = [&](u32 *to, const Rows<float> &part, u32 key) {
        copy_rows<WIDTH, This::ROW>(to, part, key, This::KEYS, This::THREADS);
        commit_copies();
    };
    copy(block.keys, head.keys, 0);
    block.read_queries(head, head.bias(bias, sizes, 0), first, sizes);
    for (u32 key = 0; key < sizes.tokens; key += This::KEYS) {
        float scores[8][4];
        await_copies<0>();
        __syncthreads();  // keys are there, values of the tile before are done with
        copy(block.values, head.values, key);
        block.score(scores);
        __syncthreads();
        copy(block.keys, head.keys, key + This::KEYS);
        block.soften(scores, sizes.tokens - key, sizes.scale);
        await_copies<1>();
        __syncthreads();  // values and shares are there
        block.mix();
    }
    await_copies<0>();
    block.write(head, head.bias(bias, sizes, 2), out, first, sizes);
}

#define EXACT(WIDTH, MINIMUM)                                                                      \
    extern "C" __global__ void __launch_bounds__(Exact<WIDTH>::THREADS, MINIMUM) attention_##WIDTH##_f32( \
        const float *qkv, const float *bias, float *out, Sizes sizes) {                                \
        attend<WIDTH>(qkv, bias, out, sizes);                                                          \
    }

EXACT(64, 3)
EXACT(128, 2)
