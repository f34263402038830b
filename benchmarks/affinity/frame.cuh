// One frame to be labelled, on the device and checked, and how a search and a mix label it.

#pragma once

#include "measure.cuh"
#include "problem.hpp"
#include "versions.cuh"

enum Precision { IN_F32, IN_TF32, IN_BF16 };

// Which tiles a version multiplies.
enum Tiles { SQUARE, WIDE };
template <class Tile>
constexpr Tiles TILES = Tile::QUERIES == Wide::QUERIES ? WIDE : SQUARE;

struct Device {
    static constexpr int SETS = 3;
    static constexpr u32 LISTS = 1 << 15;  // 32 entries of partial lists that there is room for
    Problem problem;
    PlanWords plan[2], everything;
    Answer answer;
    u32 *plan_words[2], *everything_words;
    float *features, *labels_at_first, *labels[SETS], *laid[2];
    u32 *rings[3][SETS];
    float *scores;
    u32 *keys;
    float2 *ties;
    size_t label_count;

    static u32 pieces(const Problem &problem, Precision precision) {
        u32 per_slice = precision == IN_BF16 ? 32 : 16;
        return (problem.dim + per_slice - 1) / per_slice * PIECES;
    }

    Device(const Problem &problem, uint32_t stride) : problem(problem) {
        everything = make_plan(problem, true, Square::QUERIES);
        auto host_features = make_features(problem, 7);
        auto host_labels = make_labels(problem, 9);
        answer = make_answer(problem, host_features, host_labels, stride);
        everything_words = allocate(everything.words.size(), everything.words.data());
        features = allocate(host_features.size(), host_features.data());
        label_count = host_labels.size();
        labels_at_first = allocate(label_count, host_labels.data());
        for (Tiles tiles : {SQUARE, WIDE}) {
            plan[tiles] = make_plan(problem, false, tiles == WIDE ? Wide::QUERIES : Square::QUERIES);
            plan_words[tiles] = allocate(plan[tiles].words.size(), plan[tiles].words.data());
            laid[tiles] = allocate<float>(
                size_t(plan[tiles].tiles) * plan[tiles].queries * pieces(problem, IN_F32) * 4);
        }
        size_t rows = size_t(problem.frames()) * problem.cells();
        for (Precision precision : {IN_F32, IN_TF32, IN_BF16})
            for (int set = 0; set < SETS; set++) {
                rings[precision][set] = allocate<u32>(rows * pieces(problem, precision) * 4);
                for (u32 slot = 0; slot < problem.frames(); slot++) stow(precision, WIDE, set, slot);
            }
        for (Tiles tiles : {SQUARE, WIDE}) stow(IN_F32, tiles, 0, problem.query());
        for (float *&copy : labels) copy = allocate<float>(label_count);
        scores = allocate<float>(size_t(LISTS) * 32);
        keys = allocate<u32>(size_t(LISTS) * 32);
        ties = allocate<float2>(plan[SQUARE].tiles * Square::QUERIES);
        CHECK(cudaDeviceSynchronize());
    }

    void stow(Precision precision, Tiles tiles, int set, u32 slot) const {
        auto kernel = precision == IN_F32 ? affinity_stow_f32
            : precision == IN_TF32        ? affinity_stow_tf32
                                          : affinity_stow_bf16;
        Step step = this->step(precision, tiles, 1);
        step.query = slot;
        kernel<<<multiprocessors * 4, 256>>>(step, plan_words[tiles],
            features + size_t(slot) * problem.cells() * problem.dim, problem.dim, rings[precision][set],
            laid[tiles]);
    }

    ~Device() {
        for (void *p : {(void *)plan_words[SQUARE], (void *)plan_words[WIDE], (void *)everything_words,
                 (void *)features, (void *)labels_at_first, (void *)laid[SQUARE], (void *)laid[WIDE],
                 (void *)scores, (void *)keys, (void *)ties})
            CHECK(cudaFree(p));
        for (float *p : labels) CHECK(cudaFree(p));
        for (auto &sets : rings)
            for (u32 *p : sets) CHECK(cudaFree(p));
    }

    Step step(Precision precision, Tiles tiles, u32 blocks) const {
        Step step{};
        step.height = problem.height, step.width = problem.width;
        step.pieces = pieces(problem, precision);
        step.tiles = plan[tiles].tiles, step.queries = plan[tiles].queries, step.keys = 8192 / step.queries;
        step.slots = problem.slots(), step.query = problem.query(), step.oldest = problem.oldest();
        step.sources = problem.sources, step.free = problem.free, step.near = problem.near;
        step.topk = problem.topk;
        step.kept = problem.keep_ties ? std::min(32u, problem.topk + 4) : problem.topk;
        step.keep_ties = problem.keep_ties;
        step.channels = problem.channels;
        step.blocks = blocks;
        step.temperature = problem.temperature;
        if ((step.tiles + blocks) * step.queries * step.kept > LISTS * 32) printf("too many lists\n"), exit(1);
        return step;
    }

    // As many blocks as the card holds, unless shares would be less than a tile of keys.
    u32 blocks(Tiles tiles, u32 at_once) const {
        uint64_t shares = multiplied_pairs(problem, plan[tiles]) / 8192;
        return std::max<uint64_t>(1, std::min<uint64_t>(shares, at_once * multiprocessors));
    }

    // Poisons, runs once, compares.
    Error check(Precision precision, const std::function<void(int)> &run) {
        CHECK(cudaMemcpy(labels[0], labels_at_first, label_count * 4, cudaMemcpyDeviceToDevice));
        size_t frame = size_t(problem.cells()) * problem.channels;
        float *out = labels[0] + problem.query() * frame;
        CHECK(cudaMemset(out, 0xff, frame * 4));
        CHECK(cudaMemset(scores, 0xff, size_t(LISTS) * 128));
        CHECK(cudaMemset(keys, 0xff, size_t(LISTS) * 128));
        run(0);
        CHECK(cudaGetLastError());
        CHECK(cudaDeviceSynchronize());
        std::vector<float> got(frame);
        CHECK(cudaMemcpy(got.data(), out, frame * 4, cudaMemcpyDeviceToHost));
        for (int set = 1; set < SETS; set++)
            CHECK(cudaMemcpy(labels[set], labels[0], label_count * 4, cudaMemcpyDeviceToDevice));
        // Which of two keys is the k-th is clear if they are further apart than scores are off.
        double rounding = precision == IN_F32 ? 1e-6 : precision == IN_TF32 ? 1.5e-4 : 1e-3;
        return compare(problem, answer, got.data(), rounding);
    }
};

// A search and a mix with any kernels.
template <class Arithmetic, class Tile, int STAGES, class Search>
u32 prepare(Search kernel, u32 kept) {
    u32 bytes = 4 * (Layout<Arithmetic, Tile, STAGES>::WORDS + Tile::QUERIES + WARPS + 4 * Tile::KEYS
        + 2 * Tile::QUERIES * kept);
    CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    return bytes;
}

template <class Search>
u32 resident(Search kernel, u32 bytes) {
    int blocks;
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, THREADS, bytes));
    return blocks;
}

template <class Share, class Search>
std::function<void(int)> fused(Device &device, Precision precision, Search kernel, u32 bytes, Step step,
    const u32 *plan, bool search_only = false) {
    const uint4 *laid = (const uint4 *)device.laid[step.queries == Wide::QUERIES ? WIDE : SQUARE];
    // Ties are looked at again by the product's kernels, in their tiles.
    if (step.keep_ties && step.queries != (precision == IN_F32 ? Wide::QUERIES : Square::QUERIES))
        printf("not the product's tiles\n"), exit(1);
    return [=, &device](int n) {
        int set = n % Device::SETS;
        const uint4 *ring = (const uint4 *)device.rings[precision][set];
        kernel<<<step.blocks, THREADS, bytes>>>(step, plan, ring, laid, device.scores, device.keys);
        if (search_only) return;
        mix_kernel<Share><<<(step.tiles * step.queries + MIXERS - 1) / MIXERS, MIXERS * 32>>>(
            step, plan, device.scores, device.keys, device.labels[set], device.ties);
        if (step.keep_ties) {
            auto ties = precision == IN_F32 ? affinity_ties_f32
                : precision == IN_TF32      ? affinity_ties_tf32
                                            : affinity_ties_bf16;
            CHECK(cudaFuncSetAttribute(ties, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
            ties<<<step.tiles, THREADS, bytes>>>(step, plan, ring, laid, device.ties, device.labels[set]);
        }
    };
}
