// A frame to be labelled by emulated kernels, and its labels by plain loops: every score a chain of
// fused multiply-adds in the order of the channels, all of a query's keys sorted stably, copies
// counted. The kernels must have been included before.

#pragma once

#include "../../../benchmarks/affinity/problem.hpp"
#include "check.hpp"

struct Case {
    const char *name;
    Problem problem;
    int steps;  // features are whole numbers up to this: ties, and sums that no order changes; 0: any
};

// Features [frames, cells, dim]. The slots that nobody may read hold NaN.
std::vector<float> features_of(const Case &c) {
    const Problem &p = c.problem;
    Numbers numbers{p.cells() * 31u + p.dim};
    size_t frame = size_t(p.cells()) * p.dim;
    std::vector<float> all = numbers.some(p.frames() * frame, 1.0f);
    for (size_t i = 0; i < all.size(); i++) {
        if (c.steps > 0) all[i] = std::round(all[i] * c.steps / 2);
        if (i / p.dim % p.width < p.flat) all[i] = float(i % p.dim % 3);
    }
    return all;
}

// [cells, channels] of the frame to be labelled.
std::vector<double> defined(const Problem &p, const std::vector<float> &features, const std::vector<float> &labels) {
    struct Found {
        float score;
        size_t row;
        u32 copies;
    };
    std::vector<double> out(size_t(p.cells()) * p.channels);
    for (u32 cell = 0; cell < p.cells(); cell++) {
        const float *query = &features[(size_t(p.query()) * p.cells() + cell) * p.dim];
        std::vector<Found> all;
        bool columns = p.width > p.height;
        u32 lines = std::max(p.width, p.height), places = std::min(p.width, p.height);
        for (u32 source = 0; source < p.sources; source++)
            for (u32 n = 0; n < lines * places; n++) {
                u32 y = columns ? n % places : n / places, x = columns ? n / places : n % places;
                bool near = p.inside(int(cell / p.width) - int(y), int(cell % p.width) - int(x));
                u32 copies = source > 0 ? near : p.free + (near ? p.near : 0);
                size_t row = size_t(p.slot(source)) * p.cells() + y * p.width + x;
                float score = 0;
                for (u32 d = 0; d < p.dim; d++) score = std::fma(query[d], features[row * p.dim + d], score);
                if (copies > 0) all.push_back({score, row, copies});
            }
        std::stable_sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.score > b.score; });
        double total = 0;
        float last = -INFINITY;
        for (u32 n = 0, room = p.topk; n < all.size(); n++) {
            Found &found = all[n];
            u32 taken = p.keep_ties && found.score == last ? found.copies : std::min(found.copies, room);
            if (p.keep_ties && taken > 0) taken = found.copies;
            if (taken == 0) break;
            room -= std::min(room, taken);
            last = found.score;
            double weight = taken * std::exp((double(found.score) - all[0].score) / p.temperature);
            total += weight;
            for (u32 channel = 0; channel < p.channels; channel++)
                out[cell * p.channels + channel] += weight * labels[found.row * p.channels + channel];
        }
        for (u32 channel = 0; channel < p.channels; channel++) out[cell * p.channels + channel] /= total;
    }
    return out;
}

// Fills the partial lists, by launches of its own.
using Search = std::function<void(
    const Step &, const u32 *plan, const uint4 *ring, const uint4 *laid, float *scores, u32 *keys)>;

// That of one kernel in so many blocks.
Search in_blocks(void (*kernel)(Step, const u32 *, const uint4 *, const uint4 *, float *, u32 *)) {
    return [=](const Step &step, const u32 *plan, const uint4 *ring, const uint4 *laid, float *scores, u32 *keys) {
        emulated::launch({step.blocks, 1}, THREADS, [&] { kernel(step, plan, ring, laid, scores, keys); });
    };
}

struct Kernels {
    const char *type;
    u32 queries, keys, per_piece;  // of a tile; values in 16 bytes
    void (*stow)(Step, const u32 *, const float *, u32, u32 *, float *);
    Search search;
    void (*ties)(Step, const u32 *, const uint4 *, const uint4 *, const float2 *, float *);
    void (*mix)(Step, const u32 *, const float *, const u32 *, float *, float2 *) = affinity_mix;
};

Step step_of(const Problem &p, const Kernels &kernels, u32 tiles) {
    Step step{};
    step.height = p.height, step.width = p.width;
    step.pieces = (p.dim + 4 * kernels.per_piece - 1) / (4 * kernels.per_piece) * PIECES;
    step.tiles = tiles, step.queries = kernels.queries, step.keys = kernels.keys;
    step.slots = p.slots(), step.query = p.query(), step.oldest = p.oldest(), step.sources = p.sources;
    step.free = p.free, step.near = p.near;
    step.topk = p.topk, step.kept = p.keep_ties ? std::min(32u, p.topk + 4) : p.topk;
    step.keep_ties = p.keep_ties, step.channels = p.channels, step.temperature = p.temperature;
    return step;
}

// One frame by so many blocks; the whole of its slot of labels.
std::vector<float> labelled(const Case &c, const Kernels &kernels, const PlanWords &plan, Step step,
    const std::vector<float> &features, std::vector<float> labels) {
    const Problem &p = c.problem;
    size_t frame = size_t(p.cells()) * p.dim;
    std::vector<uint4> ring(p.frames() * p.cells() * step.pieces + 1), laid(plan.tiles * kernels.queries * step.pieces);
    memset((void *)ring.data(), 0xff, ring.size() * 16);
    memset((void *)laid.data(), 0xff, laid.size() * 16);
    // The frame to be labelled comes last, as it does in a clip: its queries are those laid out.
    for (u32 turn = 0; turn < p.frames(); turn++) {
        Step one = step;
        one.query = (p.query() + 1 + turn) % p.frames();
        emulated::launch({2, 1}, 64, [&] {
            kernels.stow(one, plan.words.data(), &features[one.query * frame], p.dim, (u32 *)ring.data(),
                (float *)laid.data());
        });
    }
    size_t lists = size_t(plan.tiles + step.blocks) * kernels.queries * step.kept;
    // Lists that nobody writes promise more than any score, as those of an earlier frame may.
    std::vector<float> scores(lists + 1, 1e30f);
    std::vector<u32> keys(lists + 1, 0);
    std::vector<float2> ties(plan.tiles * kernels.queries, make_float2(NAN, NAN));
    size_t slot = size_t(p.cells()) * p.channels;
    std::fill_n(labels.begin() + p.query() * slot, slot, NAN);
    kernels.search(step, plan.words.data(), ring.data(), laid.data(), scores.data(), keys.data());
    if (scores[lists] != 1e30f || keys[lists] != 0) all_right = false, puts("wrote behind the lists");
    emulated::launch({(step.tiles * step.queries + MIXERS - 1) / MIXERS, 1}, MIXERS * 32, [&] {
        kernels.mix(step, plan.words.data(), scores.data(), keys.data(), labels.data(), ties.data());
    });
    if (step.keep_ties)
        emulated::launch({step.tiles, 1}, THREADS, [&] {
            kernels.ties(step, plan.words.data(), ring.data(), laid.data(), ties.data(), labels.data());
        });
    return {labels.begin() + p.query() * slot, labels.begin() + (p.query() + 1) * slot};
}

// How many shares the keys of all tiles can be cut into if each is a tile of keys.
u32 most_blocks(const Problem &p, const Kernels &kernels, const PlanWords &plan) {
    return std::max<u32>(1, multiplied_pairs(p, plan) / kernels.queries / kernels.keys);
}

Problem problem_of(u32 height, u32 width, u32 dim, u32 sources, u32 topk, double radius) {
    Problem p;
    p.height = height, p.width = width, p.dim = dim, p.sources = sources, p.topk = topk, p.radius = radius;
    p.channels = 3;
    return p;
}
