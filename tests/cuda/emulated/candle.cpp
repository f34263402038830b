// candle's own kernels for the emulated GPU, as far as the program comes across them: the same names and
// arguments, each a plain loop over what the kernel's threads share. Sums are taken in f32 and from the front.
// Dimensions and strides come as in candle: [dimensions, strides, ..], or null where all is contiguous.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda_bf16.h"
#include "library.hpp"

namespace {

typedef __nv_bfloat16 bf16;
typedef _Float16 f16;

float wide(float value) { return value; }
float wide(bf16 value) { return __bfloat162float(value); }
float wide(f16 value) { return value; }
uint32_t wide(uint32_t value) { return value; }
uint8_t wide(uint8_t value) { return value; }
int64_t wide(int64_t value) { return value; }

template <class T, class From>
T narrow(From value) {
    if constexpr (std::is_same_v<T, bf16>)
        return __float2bfloat16((float)value);
    else
        return (T)value;
}

size_t strided(size_t place, size_t dimensions, const size_t *sizes, const size_t *strides) {
    if (!sizes) return place;
    size_t at = 0;
    for (size_t d = dimensions; d-- > 0; place /= sizes[d]) at += place % sizes[d] * strides[d];
    return at;
}

template <class T, class Out, class Operation>
void each(size_t count, size_t dimensions, const size_t *info, const T *in, Out *out, Operation operation) {
    for (size_t i = 0; i < count; i++)
        out[i] = operation((in ? in : (const T *)out)[in ? strided(i, dimensions, info, info + dimensions) : i]);
}

template <class T, class Out, class Operation>
void each_two(size_t count, size_t dimensions, const size_t *info, const T *left, const T *right, Out *out,
    Operation operation) {
    for (size_t i = 0; i < count; i++) {
        size_t from_left = strided(i, dimensions, info, info + dimensions);
        out[i] = operation(left[from_left], right[strided(i, dimensions, info, info + 2 * dimensions)]);
    }
}

// ------------------------------------------------------------------------------- value by value

#define UNARY(NAME, EXPRESSION)                                                                        \
    template <class T>                                                                                 \
    void NAME(size_t count, size_t dimensions, const size_t *info, const T *in, T *out) {              \
        each(count, dimensions, info, in, out, [](T value) {                                           \
            auto x = wide(value);                                                                      \
            return narrow<T>(EXPRESSION);                                                              \
        });                                                                                            \
    }
UNARY(ucopy, x)
UNARY(uneg, -x)
UNARY(usqr, x *x)
UNARY(usqrt, std::sqrt(x))
UNARY(uexp, std::exp(x))
UNARY(ulog, std::log(x))
UNARY(urecip, 1 / x)
UNARY(uabs, std::fabs(x))
UNARY(ugelu_erf, x * 0.5f * (1 + std::erf(x * 0.70710678f)))

template <class T>
void affine(size_t count, size_t dimensions, const size_t *info, const T *in, T *out, T factor, T added) {
    each(count, dimensions, info, in, out,
        [=](T value) { return narrow<T>(wide(narrow<T>(wide(value) * wide(factor))) + wide(added)); });
}

#define BINARY(NAME, OUT, EXPRESSION)                                                                  \
    template <class T>                                                                                 \
    void NAME(size_t count, size_t dimensions, const size_t *info, const T *left, const T *right, OUT *out) { \
        each_two(count, dimensions, info, left, right, out, [](T a, T b) {                             \
            auto x = wide(a), y = wide(b);                                                             \
            return narrow<OUT>(EXPRESSION);                                                            \
        });                                                                                            \
    }
BINARY(badd, T, x + y)
BINARY(bsub, T, x - y)
BINARY(bmul, T, x *y)
BINARY(bdiv, T, x / y)
BINARY(bmaximum, T, x > y ? x : y)
BINARY(bminimum, T, x < y ? x : y)
BINARY(eq, uint8_t, x == y)
BINARY(ne, uint8_t, x != y)
BINARY(lt, uint8_t, x < y)
BINARY(le, uint8_t, x <= y)
BINARY(gt, uint8_t, x > y)
BINARY(ge, uint8_t, x >= y)

template <class From, class To>
void cast(size_t count, size_t dimensions, const size_t *info, const From *in, To *out) {
    each(count, dimensions, info, in, out, [](From value) { return narrow<To>(wide(value)); });
}

template <class Mask, class T>
void where(size_t count, size_t dimensions, const size_t *info, const Mask *mask, const T *yes, const T *no, T *out) {
    auto at = [&](size_t i, size_t which) { return strided(i, dimensions, info, info + which * dimensions); };
    for (size_t i = 0; i < count; i++) out[i] = mask[at(i, 1)] ? yes[at(i, 2)] : no[at(i, 3)];
}

// ---------------------------------------------------------------------------------- whole tensors

template <class T>
void const_set(size_t count, size_t dimensions, const size_t *info, T value, T *out) {
    for (size_t i = 0; i < count; i++) out[strided(i, dimensions, info, info + dimensions)] = value;
}

template <class T>
void copy2d(const T *in, T *out, uint32_t rows, uint32_t columns, uint32_t from_row, uint32_t to_row) {
    for (size_t row = 0; row < rows; row++)
        memcpy(out + row * to_row, in + row * from_row, columns * sizeof(T));
}

// The dimensions that are reduced come last.
template <class T, class Operation>
void reduce(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, T *out, Operation operation) {
    for (size_t i = 0; i < count; i++) {
        auto found = wide(in[strided(i * each, dimensions, info, info + dimensions)]);
        for (size_t j = 1; j < each; j++)
            found = operation(found, wide(in[strided(i * each + j, dimensions, info, info + dimensions)]));
        out[i] = narrow<T>(found);
    }
}
template <class T>
void fast_sum(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    reduce(count / each, each, dimensions, info, in, out, [](auto a, auto b) { return a + b; });
}
template <class T>
void fast_sum_small(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    reduce(count, each, dimensions, info, in, out, [](auto a, auto b) { return a + b; });
}
template <class T>
void fast_max(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    reduce(count / each, each, dimensions, info, in, out, [](auto a, auto b) { return a > b ? a : b; });
}
template <class T>
void fast_min(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    reduce(count / each, each, dimensions, info, in, out, [](auto a, auto b) { return a < b ? a : b; });
}

// The first of several.
template <class T>
void fast_argmax(size_t count, size_t each, size_t dimensions, const size_t *info, const T *in, uint32_t *out) {
    auto value = [&](size_t i, size_t j) { return wide(in[strided(i * each + j, dimensions, info, info + dimensions)]); };
    for (size_t i = 0; i < count / each; i++) {
        out[i] = 0;
        for (size_t j = 1; j < each; j++)
            if (value(i, j) > value(i, out[i])) out[i] = (uint32_t)j;
    }
}

// -------------------------------------------------------------------------------------- by places

template <class Id, class T>
void index_select(size_t count, size_t, const size_t *, const Id *ids, const T *in, T *out, size_t, size_t length,
    size_t picked, size_t right) {
    for (size_t i = 0; i < count; i++) {
        size_t left = i / (picked * right), id = ids[i / right % picked];
        if (id >= length) abort();
        out[i] = in[(left * length + id) * right + i % right];
    }
}

template <class Id, class T>
void gather(size_t count, const Id *ids, const T *in, T *out, size_t, size_t length, size_t picked, size_t right) {
    for (size_t i = 0; i < count; i++) {
        size_t left = i / (picked * right), id = ids[i];
        if (id >= length) abort();
        out[i] = in[(left * length + id) * right + i % right];
    }
}

template <class Id, class T>
void scatter(const Id *ids, const T *in, T *out, size_t left, size_t picked, size_t length, size_t right) {
    for (size_t i = 0; i < left * picked * right; i++)
        out[(i / (picked * right) * length + ids[i]) * right + i % right] = in[i];
}

template <class Id, class T>
void index_add(const Id *ids, size_t count, const T *in, T *out, size_t left, size_t, size_t length, size_t right) {
    for (size_t l = 0; l < left; l++)
        for (size_t i = 0; i < count; i++)
            for (size_t r = 0; r < right; r++) {
                T &sum = out[(l * length + ids[i]) * right + r];
                sum = narrow<T>(wide(sum) + wide(in[(l * count + i) * right + r]));
            }
}

// ----------------------------------------------------------------------------------- row by row

unsigned rows;  // of the launch: a block each

template <class T>
void softmax(const T *in, T *out, int columns) {
    for (unsigned row = 0; row < rows; row++, in += columns, out += columns) {
        float most = -INFINITY, sum = 0;
        for (int i = 0; i < columns; i++) most = std::max(most, wide(in[i]));
        for (int i = 0; i < columns; i++) sum += std::exp(wide(in[i]) - most);
        for (int i = 0; i < columns; i++) out[i] = narrow<T>(std::exp(wide(in[i]) - most) / sum);
    }
}

template <class T>
void layernorm(const T *in, T *out, const T *weight, const T *bias, int columns, int, float epsilon) {
    for (unsigned row = 0; row < rows; row++, in += columns, out += columns) {
        float sum = 0, squares = 0;
        for (int i = 0; i < columns; i++) sum += wide(in[i]);
        float mean = sum / columns;
        for (int i = 0; i < columns; i++) squares += (wide(in[i]) - mean) * (wide(in[i]) - mean);
        float scale = 1 / std::sqrt(squares / columns + epsilon);
        for (int i = 0; i < columns; i++)
            out[i] = narrow<T>((wide(in[i]) - mean) * scale * wide(weight[i]) + wide(bias[i]));
    }
}

// Places in order of their values. candle's own leaves equal ones in whatever order its network of exchanges
// brings them to.
template <class T>
void asort_desc(const T *in, uint32_t *out, int columns, int) {
    for (unsigned row = 0; row < rows; row++, in += columns, out += columns) {
        for (int i = 0; i < columns; i++) out[i] = (uint32_t)i;
        std::stable_sort(out, out + columns, [&](uint32_t a, uint32_t b) { return wide(in[a]) > wide(in[b]); });
    }
}

// ---------------------------------------------------------------------------------------- the list

template <auto kernel>
void plainly(const emulated::Launch &launch, void **arguments) {
    rows = launch.columns;
    emulated::call(kernel, arguments);
}

}  // namespace

extern "C" void kernels(std::vector<emulated::Kernel> &list) {
#define ADD(name, ...) list.push_back({name, plainly<&__VA_ARGS__>})
#define FLOATS(OP) OP(float, "f32") OP(bf16, "bf16") OP(f16, "f16")
#define ALL_TYPES(OP) FLOATS(OP) OP(uint32_t, "u32") OP(uint8_t, "u8") OP(int64_t, "i64")
#define OF_FLOATS(T, type)                                                                             \
    ADD("uneg_" type, uneg<T>), ADD("usqr_" type, usqr<T>), ADD("usqrt_" type, usqrt<T>), ADD("uexp_" type, uexp<T>), \
        ADD("ulog_" type, ulog<T>), ADD("urecip_" type, urecip<T>), ADD("uabs_" type, uabs<T>),        \
        ADD("ugelu_erf_" type, ugelu_erf<T>), ADD("softmax_" type, softmax<T>), ADD("layernorm_" type, layernorm<T>), \
        ADD("asort_desc_" type, asort_desc<T>);
    FLOATS(OF_FLOATS)
#define OF_ALL(T, type)                                                                                \
    ADD("ucopy_" type, ucopy<T>), ADD("affine_" type, affine<T>), ADD("badd_" type, badd<T>),          \
        ADD("bsub_" type, bsub<T>), ADD("bmul_" type, bmul<T>), ADD("bdiv_" type, bdiv<T>),            \
        ADD("bmaximum_" type, bmaximum<T>), ADD("bminimum_" type, bminimum<T>), ADD("eq_" type, eq<T>), \
        ADD("ne_" type, ne<T>), ADD("lt_" type, lt<T>), ADD("le_" type, le<T>), ADD("gt_" type, gt<T>), \
        ADD("ge_" type, ge<T>), ADD("where_u8_" type, where<uint8_t, T>), ADD("const_set_" type, const_set<T>), \
        ADD("copy2d_" type, copy2d<T>), ADD("fast_sum_" type, fast_sum<T>),                            \
        ADD("fast_sum_small_" type, fast_sum_small<T>), ADD("fast_max_" type, fast_max<T>),            \
        ADD("fast_min_" type, fast_min<T>), ADD("is_u32_" type, index_select<uint32_t, T>),            \
        ADD("is_i64_" type, index_select<int64_t, T>), ADD("gather_u32_" type, gather<uint32_t, T>),   \
        ADD("s_u32_" type, scatter<uint32_t, T>), \
        ADD("ia_u32_" type, index_add<uint32_t, T>), ADD("cast_" type "_f32", cast<T, float>),         \
        ADD("cast_" type "_f16", cast<T, f16>), ADD("fast_argmax_" type, fast_argmax<T>),              \
        ADD("cast_" type "_bf16", cast<T, bf16>), ADD("cast_" type "_u32", cast<T, uint32_t>),         \
        ADD("cast_" type "_u8", cast<T, uint8_t>), ADD("cast_" type "_i64", cast<T, int64_t>);
    ALL_TYPES(OF_ALL)
}
