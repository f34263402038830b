// The affinity against its definition by plain loops: every score a chain of fused multiply-adds in
// the order of the channels, all of a query's keys sorted stably, copies counted one by one.

#include "check.hpp"

#include "../../../benchmarks/affinity/problem.hpp"
#include "../../../src/propagation/fused/affinity.cu"

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

struct Kernels {
    const char *type;
    u32 queries, keys, per_piece;  // of a tile; values in 16 bytes
    void (*stow)(Step, const u32 *, const float *, u32, u32 *, float *);
    void (*search)(Step, const u32 *, const uint4 *, const uint4 *, float *, u32 *);
    void (*ties)(Step, const u32 *, const uint4 *, const uint4 *, const float2 *, float *);
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
    emulated::launch({step.blocks, 1}, THREADS, [&] {
        kernels.search(step, plan.words.data(), ring.data(), laid.data(), scores.data(), keys.data());
    });
    if (scores[lists] != 1e30f || keys[lists] != 0) all_right = false, puts("wrote behind the lists");
    emulated::launch({(step.tiles * step.queries + MIXERS - 1) / MIXERS, 1}, MIXERS * 32, [&] {
        affinity_mix(step, plan.words.data(), scores.data(), keys.data(), labels.data(), ties.data());
    });
    if (step.keep_ties)
        emulated::launch({step.tiles, 1}, THREADS, [&] {
            kernels.ties(step, plan.words.data(), ring.data(), laid.data(), ties.data(), labels.data());
        });
    return {labels.begin() + p.query() * slot, labels.begin() + (p.query() + 1) * slot};
}

void check(const Case &c, const Kernels &kernels) {
    const Problem &p = c.problem;
    PlanWords plan = make_plan(p, false, kernels.queries);
    auto features = features_of(c), labels = make_labels(p, 5);
    auto wanted = defined(p, features, labels);
    Step step = step_of(p, kernels, plan.tiles);
    u32 near = plan.words[plan.tiles], all = plan.tiles * p.cells();
    u32 total = (p.free > 0 ? all : near) + (p.sources - 1) * near;
    u32 most = std::max(1u, total / kernels.keys);
    std::vector<float> first;
    for (u32 blocks : {most, 1u, most - most / 3}) {
        copies_arrive_at_once = blocks % 2 == 0;
        step.blocks = blocks;
        auto found = labelled(c, kernels, plan, step, features, labels);
        if (first.empty()) {
            char what[96];
            snprintf(what, sizeof what, "%s, %s, %u blocks", kernels.type, c.name, blocks);
            // labels up to 1 of weights by expf, which is good to 2^-22
            expect(what, found, wanted, 1e-6);
            first = found;
        } else if (memcmp(first.data(), found.data(), found.size() * 4) != 0) {
            all_right = false;
            printf("%s, %s: %u blocks find something else  WRONG\n", kernels.type, c.name, blocks);
        }
    }
}

int main() {
    Kernels f32 = {"f32", 32, 256, 4, affinity_stow_f32, affinity_search_f32, affinity_ties_f32};
    Kernels tf32 = {"tf32", 64, 128, 4, affinity_stow_tf32, affinity_search_tf32, affinity_ties_tf32};
    Kernels bf16 = {"bf16", 64, 128, 8, affinity_stow_bf16, affinity_search_bf16, affinity_ties_bf16};
    auto with = [](u32 height, u32 width, u32 dim, u32 sources, u32 topk, double radius) {
        Problem p;
        p.height = height, p.width = width, p.dim = dim, p.sources = sources, p.topk = topk, p.radius = radius;
        p.channels = 3;
        return p;
    };
    auto copies = [](Problem p, u32 free, u32 near, bool keep_ties) {
        p.free = free, p.near = near, p.keep_ties = keep_ties;
        return p;
    };
    auto flat = [](Problem p, u32 columns) {
        p.flat = columns, p.shape = Shape::Square;
        return p;
    };
    std::vector<Case> cases = {
        {"11x13, circle", with(11, 13, 20, 4, 7, 4.5), 0},
        {"higher than wide, 1 frame", with(17, 9, 5, 1, 7, 3), 0},
        {"long slices, 10 nearest", with(6, 14, 70, 3, 10, 5), 0},
        {"fewer keys than k", copies(with(3, 4, 16, 2, 32, 1.5), 0, 1, false), 0},
        {"1 nearest, 1 row", with(1, 40, 16, 3, 1, 6), 0},
        {"frame 0 three times, within reach", copies(with(9, 12, 18, 3, 7, 4), 0, 3, false), 0},
        {"frame 0 twice, once more within reach", copies(with(9, 12, 18, 3, 7, 4), 2, 1, true), 0},
        {"whole numbers", with(10, 13, 8, 4, 7, 5), 2},
        {"whole numbers, ties kept, copies", copies(with(13, 10, 8, 3, 5, 5), 1, 2, true), 2},
        {"flat columns", flat(with(9, 14, 8, 3, 7, 4), 14), 2},
        {"flat columns, ties kept", flat(copies(with(9, 14, 8, 3, 5, 4), 0, 1, true), 5), 2},
        {"19 nearest of whole numbers", with(12, 12, 12, 3, 19, 6), 1},
    };
    for (const Case &c : cases) {
        check(c, f32);
        if (c.steps > 0) check(c, tf32), check(c, bf16);
    }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
