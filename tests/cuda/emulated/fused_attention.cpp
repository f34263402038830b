// The fused attention of training, forwards and backwards, against its definition in double precision.

#include "check.hpp"

#include "../../../src/autoencoder/ops/gpu/fused_attention.cu"

struct Case {
    u32 images, queries, keys, heads, width;
    bool across;  // queries [B, N, heads, d] and memory [B, M, 2, heads, d], else one [B, N, 3, heads, d]
    float dropped;
    bool low = false;  // scores far below zero, whose exponentials vanish and their inverses overflow

    u32 part() const { return heads * width; }
    u32 query_row() const { return across ? part() : 3 * part(); }
    u32 key_row() const { return across ? 2 * part() : 3 * part(); }
    Sizes sizes() const {
        return {queries, keys, heads, width, query_row(), key_row(), 1 / std::sqrt(float(width))};
    }
    Drop drop() const { return {u32(dropped * 4294967296.0), 0x9abcdef1u, 0x12345678u, 1 / (1 - dropped)}; }
};

// Whether the CPU drops the value at a place (src/autoencoder/ops/dropout.rs).
static bool falls(const Drop &drop, u32 place) {
    u32 bits = (place * drop.factor) ^ drop.offset;
    bits = (bits ^ bits >> 16) * 0x7feb352du;
    bits = (bits ^ bits >> 15) * 0x846ca68bu;
    return (bits ^ bits >> 16) < drop.below;
}

typedef std::vector<double> Doubles;
typedef std::vector<bf16> Values;

// All that the kernels find, in their layouts.
struct Found {
    Doubles mixed, logarithms, means, of_queries, of_keys;  // self-attention has its gradient in of_queries
};

// One head of one image: parts as [tokens][width].
static void define(const Case &c, u32 task, const std::vector<Doubles> &q, const std::vector<Doubles> &k,
                   const std::vector<Doubles> &v, const std::vector<Doubles> &gradient,
                   std::vector<Doubles> (&out)[4], Doubles &logarithms) {
    Drop drop = c.drop();
    double scale = 1 / std::sqrt(double(c.width));
    out[0] = out[1] = std::vector<Doubles>(c.queries, Doubles(c.width));
    out[2] = out[3] = std::vector<Doubles>(c.keys, Doubles(c.width));
    for (u32 i = 0; i < c.queries; i++) {
        Doubles p(c.keys), factor(c.keys), h(c.keys);
        double most = -INFINITY, sum = 0, mean = 0;
        for (u32 j = 0; j < c.keys; j++) {
            for (u32 d = 0; d < c.width; d++) p[j] += scale * q[i][d] * k[j][d];
            most = std::max(most, p[j]);
            factor[j] = falls(drop, (task * c.queries + i) * c.keys + j) ? 0 : 1 / (1 - double(c.dropped));
        }
        for (double &share : p) sum += share = std::exp(share - most);
        logarithms.push_back((most + std::log(sum)) / std::log(2.0));
        for (u32 j = 0; j < c.keys; j++) {
            p[j] /= sum;
            for (u32 d = 0; d < c.width; d++) {
                out[0][i][d] += factor[j] * p[j] * v[j][d];
                out[3][j][d] += factor[j] * p[j] * gradient[i][d];
                h[j] += factor[j] * gradient[i][d] * v[j][d];
            }
            mean += p[j] * h[j];
        }
        for (u32 j = 0; j < c.keys; j++)
            for (u32 d = 0; d < c.width; d++) {
                out[1][i][d] += scale * p[j] * (h[j] - mean) * k[j][d];
                out[2][j][d] += scale * p[j] * (h[j] - mean) * q[i][d];
            }
    }
}

static Found defined(const Case &c, const Values &queries, const Values &keys, const Values &gradient) {
    size_t tokens = size_t(c.images) * c.queries, others = size_t(c.images) * c.keys;
    Found found = {Doubles(tokens * c.part()), {}, {}, Doubles(tokens * c.query_row()),
        Doubles(c.across ? others * c.key_row() : 0)};
    Doubles &of_keys = c.across ? found.of_keys : found.of_queries;
    u32 keys_at = c.across ? 0 : c.part();
    for (u32 image = 0; image < c.images; image++)
        for (u32 head = 0; head < c.heads; head++) {
            auto place = [&](u32 count, u32 token, u32 row, u32 at) {
                return (size_t(image) * count + token) * row + at + head * c.width;
            };
            auto rows = [&](const Values &from, u32 count, u32 row, u32 at) {
                std::vector<Doubles> out(count);
                for (u32 token = 0; token < count; token++)
                    for (u32 d = 0; d < c.width; d++) out[token].push_back(get(from[place(count, token, row, at) + d]));
                return out;
            };
            auto put = [&](Doubles &to, const std::vector<Doubles> &part, u32 row, u32 at) {
                for (u32 token = 0; token < part.size(); token++)
                    std::copy(part[token].begin(), part[token].end(), &to[place(part.size(), token, row, at)]);
            };
            std::vector<Doubles> out[4];
            define(c, image * c.heads + head, rows(queries, c.queries, c.query_row(), 0),
                rows(keys, c.keys, c.key_row(), keys_at), rows(keys, c.keys, c.key_row(), keys_at + c.part()),
                rows(gradient, c.queries, c.part(), 0), out, found.logarithms);
            put(found.mixed, out[0], c.part(), 0);
            put(found.of_queries, out[1], c.query_row(), 0);
            put(of_keys, out[2], c.key_row(), keys_at);
            put(of_keys, out[3], c.key_row(), keys_at + c.part());
        }
    return found;
}

// The part of each row that lies at some column; rows of something else may follow.
template <class T>
std::vector<T> columns(const Case &c, const std::vector<T> &rows, u32 row, u32 at) {
    std::vector<T> out;
    for (size_t first = at; first + c.part() <= rows.size() / row * row; first += row)
        out.insert(out.end(), &rows[first], &rows[first] + c.part());
    return out;
}

template <class T>
void untouched(const Case &c, T value) {
    if (std::isnan(get(value))) return;
    all_right = false;
    printf("%u x %u of %u: wrote behind its end\n", c.queries, c.keys, c.width);
}

// Within `share` of the largest value that is wanted, and nothing behind its end.
template <class T>
void expect_share(const Case &c, const char *what, const std::vector<T> &found, const Doubles &wanted, double share) {
    char title[96];
    snprintf(title, sizeof title, "%s, %u x %u of %u, %u heads, %u images%s", what, c.queries, c.keys, c.width,
        c.heads, c.images, c.dropped > 0 ? ", dropout" : "");
    double largest = 1e-3;
    for (double value : wanted) largest = std::max(largest, std::fabs(value));
    expect(title, found, wanted, share * largest);
    for (size_t i = wanted.size(); i < found.size(); i++) untouched(c, found[i]);
}

// Blocks of as many warps as there are rows for, up to four (fused_attention.rs).
static void launch(const Case &c, u32 count, u32 of_warp, const std::function<void()> &kernel) {
    u32 warps = std::min(4u, (count + of_warp - 1) / of_warp), of_block = warps * of_warp;
    emulated::launch({c.images * c.heads * ((count + of_block - 1) / of_block), 1}, 32 * warps, kernel);
}

static Values tokens_of(const Case &c, Numbers &numbers, size_t count, u32 row, u32 keys_at) {
    std::vector<float> values = numbers.some(count * row, 1.5f);
    for (size_t i = 0; c.low && i < values.size(); i += c.width)
        if (i % row < keys_at + c.part()) values[i] = i % row < keys_at ? 48 : -8;
    return as<bf16>(values);
}

template <class Forward, class OfQueries, class OfKeys>
void check(const Case &c, u32 of_warp, Forward forward, OfQueries of_queries, OfKeys of_keys) {
    Numbers numbers{c.queries * 977u + c.keys * 31 + c.width};
    size_t tokens = size_t(c.images) * c.queries, others = size_t(c.images) * c.keys;
    u32 keys_at = c.across ? 0 : c.part();
    Values queries = tokens_of(c, numbers, tokens, c.query_row(), c.part()), memory;
    if (c.across) memory = tokens_of(c, numbers, others, c.key_row(), 0);
    const Values &keys = c.across ? memory : queries;
    Values gradient = as<bf16>(numbers.some(tokens * c.part(), 1));
    Found wanted = defined(c, queries, keys, gradient);
    for (bool at_once : {false, true}) {
        copies_arrive_at_once = at_once;
        auto mixed = poisoned<bf16>(wanted.mixed.size() + 64);
        auto logarithms = poisoned<float>(wanted.logarithms.size() + 64), means = logarithms;
        auto of_q = poisoned<bf16>(wanted.of_queries.size() + 64), of_m = poisoned<bf16>(wanted.of_keys.size() + 64);
        auto &of_k = c.across ? of_m : of_q;
        launch(c, c.queries, of_warp, [&] {
            forward(queries.data(), keys.data() + keys_at, mixed.data(), logarithms.data(), c.sizes(), c.drop());
        });
        launch(c, c.queries, 16, [&] {
            of_queries(queries.data(), keys.data() + keys_at, mixed.data(), gradient.data(), logarithms.data(),
                means.data(), of_q.data(), c.sizes(), c.drop());
        });
        launch(c, c.keys, 16, [&] {
            of_keys(queries.data(), keys.data() + keys_at, gradient.data(), logarithms.data(), means.data(),
                of_k.data() + keys_at, c.sizes(), c.drop());
        });
        // Shares, and what is written, have 8 bits; backwards so have the mixed values and the gradients of
        // scores, of which hundreds are added up.
        expect_share(c, "mixed", mixed, wanted.mixed, 6e-3);
        expect_share(c, "logarithms", logarithms, wanted.logarithms, 1e-5);
        expect_share(c, "of queries", columns(c, of_q, c.query_row(), 0),
            columns(c, wanted.of_queries, c.query_row(), 0), 1e-2);
        const Doubles &of_memory = c.across ? wanted.of_keys : wanted.of_queries;
        for (u32 which : {0, 1})
            expect_share(c, which ? "of values" : "of keys", columns(c, of_k, c.key_row(), keys_at + which * c.part()),
                columns(c, of_memory, c.key_row(), keys_at + which * c.part()), 1e-2);
        for (size_t i = of_memory.size(); i < of_k.size(); i++) untouched(c, of_k[i]);
        for (size_t i = wanted.of_queries.size(); i < of_q.size(); i++) untouched(c, of_q[i]);
    }
}

int main() {
    // One token; few, of several heads and images; a tile and one more; several blocks of queries, of keys;
    // whole tiles; heads narrower than their kernel; more keys than queries and fewer.
    for (Case c : {Case{1, 1, 1, 1, 64, false, 0}, {3, 4, 4, 2, 64, false, 0}, {2, 4, 4, 3, 32, false, 0.1f},
             {1, 65, 65, 2, 64, false, 0}, {1, 197, 197, 1, 32, false, 0.1f}, {2, 33, 129, 1, 32, true, 0.3f},
             {1, 150, 7, 2, 64, true, 0}, {1, 64, 64, 1, 64, true, 0.5f}, {2, 21, 37, 3, 8, true, 0.1f},
             {1, 49, 49, 1, 24, false, 0}, {1, 70, 33, 1, 128, true, 0.2f}, {1, 40, 40, 2, 80, false, 0},
             {1, 35, 35, 2, 8, false, 0, true}}) {
        if (c.width <= 32)
            check(c, 32, fused_attention_32, fused_attention_of_queries_32, fused_attention_of_keys_32);
        else if (c.width <= 64)
            check(c, 32, fused_attention_64, fused_attention_of_queries_64, fused_attention_of_keys_64);
        else
            check(c, 16, fused_attention_128, fused_attention_of_queries_128, fused_attention_of_keys_128);
    }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
