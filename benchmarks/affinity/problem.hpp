// A frame to be labelled, its plan as plan.rs makes it, and the answer in double precision.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

enum class Shape { Circle, CircleInclusive, Square };

struct Problem {
    uint32_t height = 30, width = 55;  // grid
    uint32_t dim = 384;                // values of a feature
    uint32_t sources = 21;             // context frames
    uint32_t channels = 4;
    uint32_t topk = 7;
    bool keep_ties = false;
    Shape shape = Shape::Circle;
    double radius = 20;
    uint32_t free = 1, near = 0;  // copies of frame 0
    float temperature = 0.7f;
    uint32_t flat = 0;  // this many columns show the same in all frames: ties

    uint32_t cells() const { return height * width; }
    uint32_t slots() const { return sources; }          // of the ring beside frame 0
    uint32_t frames() const { return 1 + slots(); }     // in the ring
    uint32_t oldest() const { return sources / 2; }     // the ring has rolled on
    uint32_t slot(uint32_t source) const {
        return source == 0 ? 0 : 1 + (oldest() + source - 1) % slots();
    }
    uint32_t query() const { return slot(sources); }    // the place after the youngest source

    bool inside(int dy, int dx) const {
        double distance = std::sqrt(double(dy * dy + dx * dx));
        switch (shape) {
            case Shape::Circle: return distance < radius;
            case Shape::CircleInclusive: return distance <= radius;
            default: return std::max(std::abs(dy), std::abs(dx)) <= radius;
        }
    }
};

// ---------------------------------------------------------------------------------------- plan

struct PlanWords {
    uint32_t tiles, queries;  // of a tile
    std::vector<uint32_t> words;
};

// In tiles of so many queries. `everything` puts every cell on every list: what nothing is skipped
// costs.
inline PlanWords make_plan(const Problem &problem, bool everything, uint32_t queries) {
    constexpr uint32_t SIDE = 8;
    const int height = problem.height, width = problem.width;
    std::vector<uint32_t> order;
    // Bands of 8 rows, read column by column, there and back.
    for (int band = 0; band * int(SIDE) < height; band++)
        for (int step = 0; step < width; step++)
            for (int y = band * SIDE; y < std::min<int>(height, (band + 1) * SIDE); y++) {
                int x = band % 2 == 0 ? step : width - 1 - step;
                order.push_back(y << 16 | x);
            }
    uint32_t tiles = (order.size() + queries - 1) / queries;
    order.resize(tiles * queries, 0xffffffffu);

    std::vector<uint32_t> all;
    bool columns = width > height;
    for (int line = 0; line < std::max(height, width); line++)
        for (int place = 0; place < std::min(height, width); place++)
            all.push_back(columns ? place << 16 | line : line << 16 | place);

    std::vector<uint32_t> start{0}, reach, near;
    for (int dy = 0; dy < height; dy++) {
        int dx = 0;
        while (dx < width && problem.inside(dy, dx)) dx++;
        reach.push_back(dx);
    }
    for (uint32_t tile = 0; tile < tiles; tile++) {
        for (uint32_t key : all) {
            bool seen = everything;
            for (uint32_t n = 0; n < queries && !seen; n++) {
                uint32_t query = order[tile * queries + n];
                if (query == 0xffffffffu) break;
                seen = problem.inside(int(query >> 16) - int(key >> 16),
                    int(query & 0xffff) - int(key & 0xffff));
            }
            if (seen) near.push_back(key);
        }
        start.push_back(near.size());
    }
    PlanWords plan{tiles, queries, {}};
    for (const auto *part : {&start, &reach, &order, &all, &near})
        plan.words.insert(plan.words.end(), part->begin(), part->end());
    return plan;
}

// ------------------------------------------------------------------------------------- features

// Unit rows [frames, cells, dim]: each cell looks somewhat like itself in other frames.
inline std::vector<float> make_features(const Problem &problem, uint32_t seed) {
    size_t row = problem.dim, frame = row * problem.cells();
    std::vector<float> features(frame * problem.frames());
    std::mt19937 base_rng(seed);
    std::normal_distribution<float> normal;
    std::vector<float> base(frame);
    for (float &value : base) value = normal(base_rng);
    auto draw = [&](uint32_t index) {
        std::mt19937 rng(seed * 1000 + index + 1);
        std::normal_distribution<float> noise;
        for (uint32_t cell = 0; cell < problem.cells(); cell++) {
            float *out = &features[index * frame + cell * row];
            bool flat = cell % problem.width < problem.flat;
            double squares = 0;
            for (size_t d = 0; d < row; d++) {
                out[d] = flat ? base[d] : base[cell * row + d] + 0.8f * noise(rng);
                squares += double(out[d]) * out[d];
            }
            for (size_t d = 0; d < row; d++) out[d] = float(out[d] / std::sqrt(squares));
        }
    };
    std::vector<std::thread> threads;
    for (uint32_t index = 0; index < problem.frames(); index++) threads.emplace_back(draw, index);
    for (auto &thread : threads) thread.join();
    return features;
}

// Soft labels [frames, cells, channels] that sum to 1.
inline std::vector<float> make_labels(const Problem &problem, uint32_t seed) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    std::vector<float> labels(size_t(problem.frames()) * problem.cells() * problem.channels);
    for (size_t at = 0; at < labels.size(); at += problem.channels) {
        float total = 0;
        for (uint32_t c = 0; c < problem.channels; c++) total += labels[at + c] = uniform(rng);
        for (uint32_t c = 0; c < problem.channels; c++) labels[at + c] /= total;
    }
    return labels;
}

// --------------------------------------------------------------------------------------- answer

struct Answer {
    std::vector<uint32_t> cells;  // the queries that were computed
    std::vector<double> labels;   // [cells, channels]
    std::vector<double> gap;      // between the k-th key and those whose rank decides about it
};

// Every `stride`-th query by its definition: all scores, a stable sort, copies as separate keys.
inline Answer make_answer(const Problem &problem, const std::vector<float> &features,
    const std::vector<float> &labels, uint32_t stride = 1) {
    Answer answer;
    for (uint32_t cell = 0; cell < problem.cells(); cell += stride) answer.cells.push_back(cell);
    answer.labels.assign(answer.cells.size() * problem.channels, 0.0);
    answer.gap.assign(answer.cells.size(), 0.0);
    size_t dim = problem.dim, frame = dim * problem.cells();
    auto dot = [&](const float *a, const float *b) {
        double sums[8] = {};
        size_t d = 0;
        for (; d + 8 <= dim; d += 8)
            for (size_t n = 0; n < 8; n++) sums[n] += double(a[d + n]) * b[d + n];
        for (; d < dim; d++) sums[0] += double(a[d]) * b[d];
        return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    };
    auto work = [&](size_t index) {
        struct Key { double score; size_t label; };
        std::vector<Key> keys;
        uint32_t cell = answer.cells[index];
        int y = cell / problem.width, x = cell % problem.width;
        const float *query = &features[problem.query() * frame + cell * dim];
        for (uint32_t source = 0; source < problem.sources; source++)
            for (uint32_t other = 0; other < problem.cells(); other++) {
                bool near = problem.inside(y - int(other / problem.width), x - int(other % problem.width));
                uint32_t copies = source > 0 ? near : problem.free + (near ? problem.near : 0);
                if (copies == 0) continue;
                size_t row = problem.slot(source) * size_t(problem.cells()) + other;
                double score = dot(query, &features[row * dim]);
                for (uint32_t n = 0; n < copies; n++) keys.push_back({score, row * problem.channels});
            }
        std::stable_sort(keys.begin(), keys.end(), [](auto &a, auto &b) { return a.score > b.score; });
        size_t kept = std::min<size_t>(problem.topk, keys.size());
        if (problem.keep_ties)
            while (kept < keys.size() && keys[kept].score >= keys[kept - 1].score - 1e-12) kept++;
        // Next to the k-th key in rank stand others, and others than its copies: those it must not be
        // mistaken for; those before it only if it does not count in full.
        size_t before = kept - 1, after = kept - 1;
        while (before > 0 && keys[before].label == keys[kept - 1].label) before--;
        while (after < keys.size() && keys[after].label == keys[kept - 1].label) after++;
        answer.gap[index] = after < keys.size() ? keys[kept - 1].score - keys[after].score : 1.0;
        if (after > kept && keys[before].label != keys[kept - 1].label)
            answer.gap[index] = std::min(answer.gap[index], keys[before].score - keys[kept - 1].score);
        double total = 0;
        for (size_t n = 0; n < kept; n++) {
            double weight = std::exp((keys[n].score - keys[0].score) / problem.temperature);
            total += weight;
            for (uint32_t c = 0; c < problem.channels; c++)
                answer.labels[index * problem.channels + c] += weight * labels[keys[n].label + c];
        }
        for (uint32_t c = 0; c < problem.channels; c++) answer.labels[index * problem.channels + c] /= total;
    };
    uint32_t count = std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> threads;
    for (uint32_t part = 0; part < count; part++)
        threads.emplace_back([&, part] {
            for (size_t index = part; index < answer.cells.size(); index += count) work(index);
        });
    for (auto &thread : threads) thread.join();
    return answer;
}

struct Error {
    double largest = 0;      // difference of a label, over the queries whose k nearest are clear
    double everywhere = 0;   // the same over all queries
    size_t unclear = 0;      // queries whose k-th key is less than `rounding` ahead of the next
};

// `got` [cells, channels]; NaN, so also what nobody wrote, counts as infinite.
inline Error compare(const Problem &problem, const Answer &answer, const float *got, double rounding) {
    Error error;
    for (size_t index = 0; index < answer.cells.size(); index++) {
        bool clear = answer.gap[index] > rounding;
        error.unclear += !clear;
        for (uint32_t c = 0; c < problem.channels; c++) {
            double value = got[answer.cells[index] * size_t(problem.channels) + c];
            double gap = std::abs(value - answer.labels[index * problem.channels + c]);
            if (!(gap <= 1e30)) gap = INFINITY;
            error.everywhere = std::max(error.everywhere, gap);
            if (clear) error.largest = std::max(error.largest, gap);
        }
    }
    return error;
}

// Pairs of a query and a key that it can see: what has to be multiplied.
inline uint64_t visible_pairs(const Problem &problem) {
    uint64_t near = 0, cells = problem.cells();
    for (uint32_t dy = 0; dy < problem.height; dy++)
        for (uint32_t dx = 0; dx < problem.width; dx++)
            if (problem.inside(dy, dx))
                near += uint64_t(problem.height - dy) * (problem.width - dx) * (dy ? 2 : 1) * (dx ? 2 : 1);
    return (problem.free > 0 ? cells * cells : near) + (problem.sources - 1) * near;
}

// Pairs of a tile's queries and the keys on its list: what is multiplied.
inline uint64_t multiplied_pairs(const Problem &problem, const PlanWords &plan) {
    uint64_t near = plan.words[plan.tiles], all = uint64_t(plan.tiles) * problem.cells();
    return ((problem.free > 0 ? all : near) + (problem.sources - 1) * near) * plan.queries;
}
