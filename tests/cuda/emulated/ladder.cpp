// The affinity's earlier versions and its variants, which benchmarks/affinity/ladder.cu times on a GPU,
// against the definition.

#include "device.hpp"

#include "../../../benchmarks/affinity/versions.cuh"
#include "affinity.hpp"

const Case CASES[] = {
    {"11x13", problem_of(11, 13, 36, 3, 7, 4.5), 0},
    {"12x9, whole numbers, 10 nearest", problem_of(12, 9, 8, 3, 10, 5), 2},
};
const Kernels IN_F32 = {"f32", 64, 128, 4, affinity_stow_f32, {}, affinity_ties_f32};
const Kernels IN_TF32 = {"tf32", 64, 128, 4, affinity_stow_tf32, {}, affinity_ties_tf32};
const Kernels IN_BF16 = {"bf16", 64, 128, 8, affinity_stow_bf16, {}, affinity_ties_bf16};

void check(const char *version, const Case &c, const Kernels &kernels, bool everything, u32 blocks) {
    const Problem &p = c.problem;
    PlanWords plan = make_plan(p, everything, kernels.queries);
    auto features = features_of(c), labels = make_labels(p, 5);
    Step step = step_of(p, kernels, plan.tiles);
    step.blocks = blocks > 0 ? blocks : (most_blocks(p, kernels, plan) * 3 + 4) / 5;
    char what[96];
    snprintf(what, sizeof what, "%s, %s", version, c.name);
    expect(what, labelled(c, kernels, plan, step, features, labels), defined(p, features, labels), 1e-6);
}

// A fused search in the blocks that `Share` wants: one for each frame, or three fifths of the most.
template <class Tile, class Share>
void fused(const char *version, Kernels kernels, decltype(affinity_search_f32) *search, bool everything = false) {
    kernels.queries = Tile::QUERIES, kernels.keys = Tile::KEYS;
    kernels.search = in_blocks(search), kernels.mix = mix_kernel<Share>;
    for (const Case &c : CASES) {
        bool whole = c.steps > 0, frames = std::is_same<Share, PerFrame>::value;
        u32 tiles = (c.problem.cells() + Tile::QUERIES - 1) / Tile::QUERIES;
        if (whole || kernels.stow == affinity_stow_f32)
            check(version, c, kernels, everything, frames ? tiles * c.problem.sources : 0);
    }
}

// A version that writes the matrix of scores, [tiles * 64, sources * cells], and goes through it.
template <class Scores, class Topk>
void matrix(const char *version, Scores scores_of, Topk topk, u32 threads) {
    Kernels kernels = IN_F32;
    kernels.mix = mix_kernel<Complete>;
    for (const Case &c : CASES) {
        kernels.search = [&](const Step &step, const u32 *plan, const uint4 *ring, const uint4 *, float *scores,
                             u32 *keys) {
            u32 columns = step.sources * c.problem.cells(), rows = step.tiles * step.queries;
            auto all = poisoned<float>(size_t(rows) * columns);
            scores_of(c.problem, step, plan, ring, all.data(), columns, rows);
            u32 each = topk == warp_topk ? threads / 32 : threads;
            emulated::launch({(rows + each - 1) / each, 1}, int(threads),
                [&] { topk(step, plan, all.data(), scores, keys); });
        };
        check(version, c, kernels, false, (c.problem.cells() + 63) / 64);
    }
}

int main() {
    auto one_by_one = [](const Problem &, const Step &step, const u32 *plan, const uint4 *ring, float *all,
                          u32 columns, u32 rows) {
        emulated::launch({(columns + 63) / 64, rows}, 64, [&] { naive_scores(step, plan, (const float *)ring, all); });
    };
    auto in_tiles = [](const Problem &p, const Step &step, const u32 *, const uint4 *ring, float *all, u32 columns,
                        u32) {
        PlanWords everything = make_plan(p, true, 64);
        emulated::launch({(columns + 127) / 128, step.tiles}, THREADS,
            [&] { tiled_scores(step, everything.words.data(), ring, all); });
    };
    matrix("a thread a score", one_by_one, naive_topk, 64);
    matrix("tiles", in_tiles, warp_topk, 64);
    fused<Square, PerFrame>("no matrix", IN_F32, plain_kernel<InRows, Square, 1, PerFrame, OneByOne, 3>, true);
    fused<Square, PerFrame>("no matrix, near keys", IN_F32, plain_kernel<InRows, Square, 1, PerFrame, OneByOne, 3>);
    fused<Square, PerFrame>("slices ahead", IN_F32, plain_kernel<InRows, Square, 3, PerFrame, OneByOne, 3>);
    fused<Square, ByKeys>("equal shares", IN_F32, plain_kernel<InRows, Square, 3, ByKeys, OneByOne, 3>);
    fused<Square, ByKeys>("four lists at a time", IN_F32, plain_kernel<InRows, Square, 3, ByKeys, SideBySide, 3>);
    fused<Square, Even>("read ahead", IN_F32, search_kernel<InRows, Square, 3, Even, 3>);
    fused<Square, Even>("queries by channel", IN_F32, search_kernel<F32, Square, 3, Even, 3>);
    fused<Square, Even>("64 x 128, 4 stages", IN_F32, search_kernel<F32, Square, 4, Even, 3>);
    fused<Wide, Even>("4 stages", IN_F32, search_kernel<F32, Wide, 4, Even, 2>);
    fused<Wide, Even>("loop of half a slice", IN_F32, search_kernel<HalfLoop, Wide, 3, Even, 3>);
    fused<Wide, ByKeys>("shares not in whole tiles", IN_F32, search_kernel<F32, Wide, 3, ByKeys, 3>);
    fused<Wide, Even>("queries in rows", IN_F32, search_kernel<InRows, Wide, 3, Even, 3>);
    fused<Wide, Even>("nothing ahead", IN_F32, plain_kernel<F32, Wide, 3, Even, SideBySide, 3>);
    fused<Wide, Even>("nothing ahead, one list", IN_F32, plain_kernel<F32, Wide, 3, Even, OneByOne, 3>);
    fused<Square, Even>("TF32, 3 stages", IN_TF32, search_kernel<Tf32, Square, 3, Even, 3>);
    fused<Square, Even>("TF32, nothing ahead", IN_TF32, plain_kernel<Tf32, Square, 4, Even, SideBySide, 3>);
    fused<Wide, Even>("TF32, 32 x 256", IN_TF32, search_kernel<Tf32, Wide, 3, Even, 3>);
    fused<Square, Even>("bfloat16, 3 stages", IN_BF16, search_kernel<Bf16, Square, 3, Even, 3>);
    fused<Square, Even>("bfloat16, nothing ahead", IN_BF16, plain_kernel<Bf16, Square, 4, Even, SideBySide, 3>);
    fused<Wide, Even>("bfloat16, 32 x 256", IN_BF16, search_kernel<Bf16, Wide, 3, Even, 3>);
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
