// The affinity of one frame on a GPU, from the naive program to the product's kernels, step by step.
//
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90,code=sm_90 -o ladder ladder.cu -ldl
//   ./ladder [FILE]
//
// Each version labels the same frame and is checked against the definition in double precision;
// buffers are poisoned before. Times are medians by device events over three copies of the context
// in turn, so that none of them lies in the cache. The floor is the products that the radius leaves,
// at the rate of cuBLAS's large matrix product. FILE gets the times as JSON (reference.py reads it).
//
// The versions before the product stand in versions.cuh, a frame and its check in frame.cuh, clocks
// and ceilings in measure.cuh.

#include <string>

#include "frame.cuh"

struct Table {
    Ceilings ceilings;
    double before = 0;
    bool failed = false;

    void head() {
        before = 0;
        printf("%-58s %9s %9s %9s %7s %7s %9s %9s %8s\n", "version", "ms", "TFLOP/s", "multipl.",
            "floor", "gain", "error", "all", "unclear");
    }

    double row(const std::string &name, Device &device, Precision precision, uint64_t multiplied,
        const std::function<void(int)> &run) {
        Error error = device.check(precision, run);
        double ms = median_ms(run);
        const Problem &problem = device.problem;
        double flops = 2.0 * problem.dim * visible_pairs(problem);
        double rate = precision == IN_F32 ? ceilings.f32
            : precision == IN_TF32        ? ceilings.tf32
                                          : ceilings.bf16;
        double bytes = double(problem.sources + 1) * problem.cells()
            * (16.0 * Device::pieces(problem, precision) + 4.0 * problem.channels);
        double floor = std::max(rate > 0 ? flops / rate / 1e9 : 0, bytes / ceilings.copy / 1e6);
        double scale = precision == IN_F32 ? 2e-6 : precision == IN_TF32 ? 3e-4 : 2e-3;
        bool wrong = !(error.largest <= scale * std::max(1.0, 1.0 / problem.temperature));
        failed = failed || wrong;
        printf("%-58s %9.4f %9.2f %9.2f %6.1f%% %6.2fx %9.1e %9.1e %8zu%s\n", name.c_str(), ms,
            flops / ms / 1e9, 2.0 * problem.dim * multiplied / ms / 1e9, 100 * floor / ms,
            before > 0 ? before / ms : 1.0, error.largest, error.everywhere, error.unclear,
            wrong ? "  WRONG" : "");
        fflush(stdout);
        before = ms;
        return ms;
    }
};

template <class Arithmetic, int STAGES, int MINIMUM>
double tuned(Table &table, Device &device, Precision precision, const std::string &name) {
    auto kernel = search_kernel<Arithmetic, STAGES, Even, MINIMUM>;
    Step step = device.step(precision, 1);
    u32 bytes = prepare<Arithmetic, STAGES>(kernel, step.kept), blocks = resident(kernel, bytes);
    step.blocks = blocks * multiprocessors;
    return table.row(name + ", " + std::to_string(STAGES) + " stages, " + std::to_string(blocks) + " blocks",
        device, precision, multiplied_pairs(device.problem, device.plan),
        fused<Even>(device, precision, kernel, bytes, step, device.plan_words));
}

void ladder(Table &table, FILE *file) {
    Problem problem;
    Device device(problem, 1);
    uint64_t cells = problem.cells(), everything = uint64_t(device.plan.tiles) * 64 * problem.sources * cells;
    uint64_t near = multiplied_pairs(problem, device.plan);
    printf("\n%ux%u cells, %u frames, D %u, k %u, radius %g: %.1f GFLOP visible, %.1f multiplied, %.1f in all\n",
        problem.height, problem.width, problem.sources, problem.dim, problem.topk, problem.radius,
        2e-9 * problem.dim * visible_pairs(problem), 2e-9 * problem.dim * near, 2e-9 * problem.dim * everything);
    table.head();
    Step step = device.step(IN_F32, device.plan.tiles);
    u32 columns = problem.sources * cells, rows = step.tiles * QUERIES;
    float *matrix = allocate<float>(size_t(rows) * columns);
    auto complete = [&](int set, const u32 *plan) {
        mix_kernel<Complete><<<(rows + MIXERS - 1) / MIXERS, MIXERS * 32>>>(
            step, plan, device.scores, device.keys, device.labels[set], device.ties);
    };
    table.row("0 a thread a score, matrix in memory, a thread a query", device, IN_F32, everything, [&](int n) {
        int set = n % Device::SETS;
        naive_scores<<<dim3((columns + 255) / 256, rows), 256>>>(
            step, device.plan_words, (float *)device.rings[IN_F32][set], matrix);
        naive_topk<<<(rows + 63) / 64, 64>>>(step, device.plan_words, matrix, device.scores, device.keys);
        complete(set, device.plan_words);
    });
    u32 bytes = prepare<F32, 1>(tiled_scores, step.kept);
    table.row("1 tiles in shared memory, a warp a query", device, IN_F32, everything, [&](int n) {
        int set = n % Device::SETS;
        tiled_scores<<<dim3((columns + KEYS - 1) / KEYS, step.tiles), THREADS, bytes>>>(
            step, device.everything_words, (uint4 *)device.rings[IN_F32][set], matrix);
        warp_topk<<<(rows + 7) / 8, 256>>>(step, device.plan_words, matrix, device.scores, device.keys);
        complete(set, device.plan_words);
    });
    CHECK(cudaFree(matrix));
    Step per_frame = device.step(IN_F32, device.plan.tiles * problem.sources);
    auto synchronous = search_kernel<F32, 1, PerFrame, 3>;
    bytes = prepare<F32, 1>(synchronous, step.kept);
    table.row("2 running top-k: no matrix", device, IN_F32, everything,
        fused<PerFrame>(device, IN_F32, synchronous, bytes, per_frame, device.everything_words));
    table.row("3 keys out of reach not multiplied", device, IN_F32, near,
        fused<PerFrame>(device, IN_F32, synchronous, bytes, per_frame, device.plan_words));
    auto asynchronous = search_kernel<F32, 3, PerFrame, 3>;
    bytes = prepare<F32, 3>(asynchronous, step.kept);
    table.row("4 copies two slices ahead", device, IN_F32, near,
        fused<PerFrame>(device, IN_F32, asynchronous, bytes, per_frame, device.plan_words));
    double ours[3];
    ours[0] = tuned<F32, 3, 3>(table, device, IN_F32, "5 equal shares (the product, f32)");
    ours[1] = tuned<Tf32, 3, 3>(table, device, IN_TF32, "6 tensor cores, TF32");
    ours[2] = tuned<Bf16, 3, 3>(table, device, IN_BF16, "7 tensor cores, bfloat16");
    if (file)
        fprintf(file, "{\"f32_ms\": %.5f, \"tf32_ms\": %.5f, \"bf16_ms\": %.5f}\n", ours[0], ours[1], ours[2]);

    printf("\nwhat else was tried, and where the time goes\n");
    table.head();
    tuned<F32, 3, 3>(table, device, IN_F32, "f32 again");
    tuned<F32, 2, 3>(table, device, IN_F32, "f32");
    tuned<F32, 2, 2>(table, device, IN_F32, "f32");
    tuned<F32, 3, 2>(table, device, IN_F32, "f32");
    tuned<F32, 4, 2>(table, device, IN_F32, "f32");
    tuned<Tf32, 2, 3>(table, device, IN_TF32, "TF32");
    tuned<Tf32, 4, 3>(table, device, IN_TF32, "TF32");
    tuned<Tf32, 3, 4>(table, device, IN_TF32, "TF32");
    tuned<Bf16, 2, 3>(table, device, IN_BF16, "bfloat16");
    tuned<Bf16, 4, 3>(table, device, IN_BF16, "bfloat16");
    tuned<Bf16, 3, 4>(table, device, IN_BF16, "bfloat16");
    auto part = [&](const char *name, const std::function<void(int)> &run) {
        printf("%-58s %9.4f\n", name, median_ms(run));
    };
    auto search_time = [&](const char *name, auto kernel, auto arithmetic, Precision precision, u32 topk) {
        Step step = device.step(precision, 1);
        step.topk = step.kept = topk;
        u32 bytes = prepare<decltype(arithmetic), 3>(kernel, step.kept);
        step.blocks = resident(kernel, bytes) * multiprocessors;
        part(name, fused<Even>(device, precision, kernel, bytes, step, device.plan_words, true));
    };
    search_time("f32: search alone", search_kernel<F32, 3, Even, 3>, F32(), IN_F32, 7);
    search_time("f32: search alone, k 1 (hardly any insertion)", search_kernel<F32, 3, Even, 3>, F32(), IN_F32, 1);
    search_time("TF32: search alone", search_kernel<Tf32, 3, Even, 3>, Tf32(), IN_TF32, 7);
    search_time("TF32: search alone, k 1", search_kernel<Tf32, 3, Even, 3>, Tf32(), IN_TF32, 1);
    search_time("bfloat16: search alone", search_kernel<Bf16, 3, Even, 3>, Bf16(), IN_BF16, 7);
    search_time("bfloat16: search alone, k 1", search_kernel<Bf16, 3, Even, 3>, Bf16(), IN_BF16, 1);
    part("a frame into the ring, f32", [&](int n) { device.stow(IN_F32, n % Device::SETS, 0); });
}

void other_sizes(Table &table) {
    struct Case { const char *name; Problem problem; uint32_t stride; };
    std::vector<Case> cases;
    auto add = [&](const char *name, uint32_t height, uint32_t width, uint32_t stride, auto change) {
        Problem problem;
        problem.height = height, problem.width = width;
        change(problem);
        cases.push_back({name, problem, stride});
    };
    auto dino = [](Problem &p) {
        p.sources = 8, p.topk = 5, p.keep_ties = true, p.shape = Shape::Square, p.radius = 12;
        p.free = 0, p.near = 1, p.temperature = 0.1f;
    };
    add("D 768", 30, 55, 4, [](Problem &p) { p.dim = 768; });
    add("first frames, 18 copies", 30, 55, 1, [](Problem &p) { p.sources = 3, p.near = 18; });
    add("VIP, crw: k 10, r 12", 35, 55, 4, [](Problem &p) { p.topk = 10, p.radius = 12, p.temperature = 0.05f, p.channels = 20; });
    add("JHMDB 40x40", 40, 40, 4, [](Problem &p) { p.channels = 16; });
    add("patch 8", 60, 110, 16, [](Problem &) {});
    add("DINO, patch 8", 60, 107, 16, dino);
    add("DINO, 10 flat columns", 60, 107, 4, [&](Problem &p) { dino(p), p.flat = 10; });
    for (auto &test : cases) {
        Device device(test.problem, test.stride);
        printf("\n%s: %ux%u cells, %u frames, D %u, k %u\n", test.name, test.problem.height, test.problem.width,
            test.problem.sources, test.problem.dim, test.problem.topk);
        table.head();
        tuned<F32, 3, 3>(table, device, IN_F32, "f32");
        tuned<Tf32, 3, 3>(table, device, IN_TF32, "TF32");
        tuned<Bf16, 3, 3>(table, device, IN_BF16, "bfloat16");
    }
}

int main(int count, char **arguments) {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    multiprocessors = properties.multiProcessorCount;
    Table table;
    table.ceilings = measure_ceilings();
    printf("%s, %d multiprocessors; cuBLAS f32 %.1f, TF32 %.1f, bfloat16 %.1f TFLOP/s; copy %.0f GB/s\n",
        properties.name, multiprocessors, table.ceilings.f32, table.ceilings.tf32, table.ceilings.bf16,
        table.ceilings.copy);
    FILE *file = count > 1 ? fopen(arguments[1], "w") : nullptr;
    ladder(table, file);
    if (file) fclose(file);
    other_sizes(table);
    printf(table.failed ? "\nSOME VERSION IS WRONG\n" : "\nall versions agree with double precision\n");
    return table.failed;
}
