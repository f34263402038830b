// The product's affinity against its definition, by several numbers of blocks.

#include "device.hpp"

#include "../../../src/propagation/fused/affinity.cu"
#include "affinity.hpp"

void check(const Case &c, const Kernels &kernels) {
    const Problem &p = c.problem;
    PlanWords plan = make_plan(p, false, kernels.queries);
    auto features = features_of(c), labels = make_labels(p, 5);
    auto wanted = defined(p, features, labels);
    Step step = step_of(p, kernels, plan.tiles);
    u32 most = most_blocks(p, kernels, plan);
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
    Kernels f32 = {"f32", 32, 256, 4, affinity_stow_f32, in_blocks(affinity_search_f32),
        affinity_ties_f32};
    Kernels tf32 = {"tf32", 64, 128, 4, affinity_stow_tf32, in_blocks(affinity_search_tf32),
        affinity_ties_tf32};
    Kernels bf16 = {"bf16", 64, 128, 8, affinity_stow_bf16, in_blocks(affinity_search_bf16),
        affinity_ties_bf16};
    auto copies = [](Problem p, u32 free, u32 near, bool keep_ties) {
        p.free = free, p.near = near, p.keep_ties = keep_ties;
        return p;
    };
    auto flat = [](Problem p, u32 columns) {
        p.flat = columns, p.shape = Shape::Square;
        return p;
    };
    std::vector<Case> cases = {
        {"11x13, circle", problem_of(11, 13, 20, 4, 7, 4.5), 0},
        {"higher than wide, 1 frame", problem_of(17, 9, 5, 1, 7, 3), 0},
        {"long slices, 10 nearest", problem_of(6, 14, 70, 3, 10, 5), 0},
        {"fewer keys than k", copies(problem_of(3, 4, 16, 2, 32, 1.5), 0, 1, false), 0},
        {"1 nearest, 1 row", problem_of(1, 40, 16, 3, 1, 6), 0},
        {"frame 0 three times, within reach", copies(problem_of(9, 12, 18, 3, 7, 4), 0, 3, false), 0},
        {"frame 0 twice, once more within reach", copies(problem_of(9, 12, 18, 3, 7, 4), 2, 1, true), 0},
        {"whole numbers", problem_of(10, 13, 8, 4, 7, 5), 2},
        {"whole numbers, ties kept, copies", copies(problem_of(13, 10, 8, 3, 5, 5), 1, 2, true), 2},
        {"flat columns", flat(problem_of(9, 14, 8, 3, 7, 4), 14), 2},
        {"flat columns, ties kept", flat(copies(problem_of(9, 14, 8, 3, 5, 4), 0, 1, true), 5), 2},
        {"19 nearest of whole numbers", problem_of(12, 12, 12, 3, 19, 6), 1},
    };
    for (const Case &c : cases) {
        check(c, f32);
        if (c.steps > 0) check(c, tf32), check(c, bf16);
    }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
