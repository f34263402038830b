// The three attentions against the definition in double precision.

#include "check.hpp"

#include "../../../src/model/gpu/attention_f32.cu"
#include "../../../src/model/gpu/attention_bf16.cu"
#include "../../../src/model/gpu/attention_tf32.cu"

struct Case {
    u32 images, tokens, heads, width;
};

// [B, N, heads, d] of a projection [B, N, 3, heads, d] without its bias, as the kernel reads both.
template <class T>
std::vector<double> defined(const Case &c, const std::vector<T> &qkv, const std::vector<float> &bias) {
    size_t part = size_t(c.heads) * c.width;
    std::vector<double> out(c.images * c.tokens * part), scores(c.tokens);
    auto value = [&](u32 image, u32 token, u32 which, size_t column) {
        return get(qkv[(size_t(image) * c.tokens + token) * 3 * part + which * part + column]) +
            bias[which * part + column];
    };
    for (u32 image = 0; image < c.images; image++)
        for (u32 head = 0; head < c.heads; head++)
            for (u32 query = 0; query < c.tokens; query++) {
                double most = -INFINITY, sum = 0;
                for (u32 key = 0; key < c.tokens; key++) {
                    double score = 0;
                    for (u32 d = 0; d < c.width; d++)
                        score += value(image, query, 0, head * c.width + d) * value(image, key, 1, head * c.width + d);
                    most = std::max(most, scores[key] = score / std::sqrt(c.width));
                }
                for (double &score : scores) sum += score = std::exp(score - most);
                for (u32 d = 0; d < c.width; d++) {
                    double mixed = 0;
                    for (u32 key = 0; key < c.tokens; key++)
                        mixed += scores[key] / sum * value(image, key, 2, head * c.width + d);
                    out[((size_t(image) * c.tokens + query) * c.heads + head) * c.width + d] = mixed;
                }
            }
    return out;
}

template <class T, class Kernel>
void check(const char *type, const Case &c, u32 queries, u32 threads, double most, Kernel kernel) {
    Numbers numbers{c.tokens * 977u + c.width};
    size_t part = size_t(c.heads) * c.width;
    auto qkv = as<T>(numbers.some(3 * c.images * c.tokens * part, 1.5f));
    auto bias = numbers.some(3 * part, 0.7f);
    Sizes sizes = {c.tokens, c.heads, c.width, 1.44269504f / std::sqrt(float(c.width))};
    Place grid = {(c.tokens + queries - 1) / queries, c.heads * c.images};
    auto wanted = defined(c, qkv, bias);
    for (bool at_once : {false, true}) {
        copies_arrive_at_once = at_once;
        auto out = poisoned<T>(wanted.size() + 64);
        emulated::launch(grid, threads, [&] { kernel(qkv.data(), bias.data(), out.data(), sizes); });
        char what[64];
        snprintf(what, sizeof what, "%s, %u tokens, heads %u of %u, %u images", type, c.tokens, c.heads, c.width,
            c.images);
        expect(what, out, wanted, most);
        for (size_t i = wanted.size(); i < out.size(); i++)
            if (!std::isnan(get(out[i]))) all_right = false, printf("%s: wrote behind its end\n", what);
    }
}

int main() {
    // One token; fewer than a tile; whole tiles; a tile and one more; several blocks of queries.
    for (Case c : {Case{1, 1, 1, 64}, {2, 7, 2, 64}, {1, 64, 1, 64}, {1, 65, 2, 24}, {2, 150, 1, 64},
             {1, 290, 1, 64}, {1, 33, 2, 32}, {1, 97, 1, 80}, {1, 70, 2, 128}, {1, 21, 3, 8}}) {
        bool narrow = c.width <= 64;
        // scores up to some 15, good to 2^-24 of that, and values up to 5
        check<float>("f32", c, narrow ? 128 : 64, narrow ? 128 : 64, 1e-5,
            narrow ? attention_64_f32 : attention_128_f32);
        // queries, keys, values and shares of 11 bits: scores are off by some 2^-11 of their size
        check<float>("tf32", c, narrow ? 128 : 64, 128, 5e-3, narrow ? attention_64_tf32 : attention_128_tf32);
        // of 8 bits, and so is what is written
        check<__nv_bfloat16>("bf16", c, narrow ? 128 : 64, 128, 4e-2,
            narrow ? attention_64_bf16 : attention_128_bf16);
    }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
