// Matrix products for the emulated GPU, in place of libcublas: the one function that the program calls, on
// the processor, adding up in f32 whatever the number type.

#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

extern "C" void emulated_log(const char *format, ...);
extern "C" bool emulated_idle();
extern "C" void emulated_catch_up();
extern "C" std::recursive_mutex &emulated_order();

namespace {

enum Type { F32 = 0, F16 = 2, BF16 = 14 };
constexpr int TF32 = 77;  // the kind of computing that rounds f32 operands to 11 bits

float read(const void *from, size_t place, int type, bool rounded) {
    uint32_t bits;
    if (type == F16) return ((const _Float16 *)from)[place];
    if (type == BF16)
        bits = (uint32_t)((const uint16_t *)from)[place] << 16;
    else
        bits = ((const uint32_t *)from)[place];
    if (rounded) bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void write(void *to, size_t place, int type, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (type == F16)
        ((_Float16 *)to)[place] = (_Float16)value;
    else if (type == BF16)
        ((uint16_t *)to)[place] = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    else
        ((uint32_t *)to)[place] = bits;
}

const char *at(const void *base, int64_t stride, int64_t index, int type) {
    return (const char *)base + stride * index * (type == F32 ? 4 : 2);
}

}  // namespace

extern "C" {

int cublasCreate_v2(void **handle) { return *handle = (void *)1, 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *, void *) { return 0; }

// Columns first, as Fortran has it: c [m, n] = alpha a [m, k] b [k, n], each of a batch; `trans` 0: as it
// lies, 1: turned.
int cublasGemmStridedBatchedEx(void *, int trans_a, int trans_b, int m, int n, int k, const float *alpha,
    const void *a, int a_type, int lda, int64_t stride_a, const void *b, int b_type, int ldb, int64_t stride_b,
    const float *beta, void *c, int c_type, int ldc, int64_t stride_c, int batch, int compute, int) {
    std::lock_guard<std::recursive_mutex> lock(emulated_order());
    emulated_catch_up();
    emulated_log("product %d %d %d %d %s", m, n, k, batch, a_type == BF16 ? "bf16" : a_type == F16 ? "f16" : compute == TF32 ? "tf32" : "f32");
    for (int type : {a_type, b_type, c_type})
        if (type != F32 && type != F16 && type != BF16) return 15;  // not supported
    if (*beta != 0.0f) return 15;
    if (emulated_idle()) return 0;
    std::vector<float> left((size_t)m * k), right(k), sums(m);
    for (int index = 0; index < batch; index++) {
        const char *from_a = at(a, stride_a, index, a_type), *from_b = at(b, stride_b, index, b_type);
        char *to = (char *)at(c, stride_c, index, c_type);
        bool rounded = compute == TF32;
        for (int p = 0; p < k; p++)
            for (int i = 0; i < m; i++)
                left[(size_t)p * m + i] =
                    read(from_a, trans_a ? (size_t)i * lda + p : (size_t)p * lda + i, a_type, rounded);
        for (int j = 0; j < n; j++) {
            for (int p = 0; p < k; p++)
                right[p] = read(from_b, trans_b ? (size_t)p * ldb + j : (size_t)j * ldb + p, b_type, rounded);
            sums.assign(m, 0.0f);
            for (int p = 0; p < k; p++) {
                const float *column = left.data() + (size_t)p * m;
                float factor = right[p];
                for (int i = 0; i < m; i++) sums[i] += column[i] * factor;
            }
            for (int i = 0; i < m; i++) write(to, (size_t)j * ldc + i, c_type, *alpha * sums[i]);
        }
    }
    return 0;
}
}
