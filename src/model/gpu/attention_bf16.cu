// Attention of bfloat16 values on tensor cores, sums in f32.

#include "../../kernel/tile_bf16.cuh"
#include "tensor_cores.cuh"

template <u32 WIDTH>
struct Bf16 {
    typedef __nv_bfloat16 Value;
    static constexpr u32 KEYS = 64, TILES = WIDTH <= 64 ? 2 : 1, COLUMNS = WIDTH / 8;
    static constexpr u32 KEY_ROW = row_words(WIDTH), VALUE_ROW = KEY_ROW;

    Own<TILES, WIDTH> queries;

    __device__ Bf16(const Head<Value> &head, const float *bias, u32 first, const Sizes &sizes) {
        load_own<TILES, WIDTH>(queries, first, sizes.tokens, sizes.width, [&](u32 token, u32 column) {
            const Value *from = head.queries.first + (size_t)token * head.queries.stride + column;
            __nv_bfloat162 two = *reinterpret_cast<const __nv_bfloat162 *>(from);
            return to_bf16(__bfloat162float(two.x) + bias[column], __bfloat162float(two.y) + bias[column + 1]);
        });
    }

    __device__ void score(const u32 *keys, float (&scores)[TILES][KEYS / 8][4]) const {
        multiply<WIDTH>(queries, keys, scores);
    }

    __device__ static void mix(
        const float (&shares)[TILES][KEYS / 8][4], const u32 *values, float (&mixed)[TILES][COLUMNS][4]) {
        ::mix<WIDTH>(shares, values, mixed);
    }

    __device__ static void store(Value *to, float first, float second) {
        *reinterpret_cast<u32 *>(to) = to_bf16(first, second);
    }
};

ATTENTION(Bf16, 64, bf16)
ATTENTION(Bf16, 128, bf16)
