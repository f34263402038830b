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
// and ceilings in measure.cuh. tests/cuda/emulated/ladder.cpp runs the same versions without a GPU.

#include <string>
#include <type_traits>

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

// A version of the fused search, the earlier loops with `Scan` or the product's without.
template <class Arithmetic, class Tile, int STAGES, class Share, class Scan, int MINIMUM>
auto kernel_of() {
    if constexpr (std::is_same<Scan, void>::value)
        return search_kernel<Arithmetic, Tile, STAGES, Share, MINIMUM>;
    else
        return plain_kernel<Arithmetic, Tile, STAGES, Share, Scan, MINIMUM>;
}

template <class Arithmetic, class Tile, int STAGES, int MINIMUM, class Share = Even, class Scan = void>
double tuned(Table &table, Device &device, Precision precision, const std::string &name) {
    auto kernel = kernel_of<Arithmetic, Tile, STAGES, Share, Scan, MINIMUM>();
    constexpr Tiles tiles = TILES<Tile>;
    Step step = device.step(precision, tiles, 1);
    u32 bytes = prepare<Arithmetic, Tile, STAGES>(kernel, step.kept), blocks = resident(kernel, bytes);
    step = device.step(precision, tiles, device.blocks(tiles, blocks));
    return table.row(name + ", " + std::to_string(STAGES) + " stages, " + std::to_string(blocks) + " blocks",
        device, precision, multiplied_pairs(device.problem, device.plan[tiles]),
        fused<Share>(device, precision, kernel, bytes, step, device.plan_words[tiles]));
}

// The product's kernels, as affinity.cu names them.
template <class Arithmetic>
double product(Table &table, Device &device, const std::string &name) {
    if constexpr (std::is_same<Arithmetic, F32>::value)
        return tuned<F32, Wide, 3, 3>(table, device, IN_F32, name);
    else
        return tuned<Arithmetic, Square, 4, 3>(
            table, device, std::is_same<Arithmetic, Tf32>::value ? IN_TF32 : IN_BF16, name);
}

void what_else(Table &table, Device &device) {
    printf("\nwhat else was tried, and where the time goes\n");
    table.head();
    product<F32>(table, device, "f32 again");
    tuned<F32, Wide, 3, 2>(table, device, IN_F32, "f32");
    tuned<F32, Wide, 4, 2>(table, device, IN_F32, "f32");
    tuned<HalfLoop, Wide, 3, 3>(table, device, IN_F32, "f32, loop of half a slice");
    tuned<HalfLoop, Wide, 3, 2>(table, device, IN_F32, "f32, loop of half a slice");
    tuned<F32, Wide, 3, 3, ByKeys>(table, device, IN_F32, "f32, shares not in whole tiles");
    tuned<InRows, Wide, 3, 3>(table, device, IN_F32, "f32, queries in rows");
    tuned<F32, Wide, 3, 3, Even, SideBySide>(table, device, IN_F32, "f32, nothing ahead");
    tuned<F32, Wide, 3, 3, Even, OneByOne>(table, device, IN_F32, "f32, nothing ahead, one list at a time");
    tuned<F32, Square, 4, 3>(table, device, IN_F32, "f32, 64 x 128");
    tuned<F32, Square, 3, 2>(table, device, IN_F32, "f32, 64 x 128");
    tuned<Tf32, Square, 3, 3>(table, device, IN_TF32, "TF32");
    tuned<Tf32, Square, 4, 3, Even, SideBySide>(table, device, IN_TF32, "TF32, nothing ahead");
    tuned<Tf32, Wide, 3, 3>(table, device, IN_TF32, "TF32, 32 x 256");
    tuned<Bf16, Square, 3, 3>(table, device, IN_BF16, "bfloat16");
    tuned<Bf16, Square, 4, 3, Even, SideBySide>(table, device, IN_BF16, "bfloat16, nothing ahead");
    tuned<Bf16, Wide, 3, 3>(table, device, IN_BF16, "bfloat16, 32 x 256");
    auto part = [&](const char *name, const std::function<void(int)> &run) {
        printf("%-58s %9.4f\n", name, median_ms(run));
    };
    auto search_time = [&](const char *name, auto arithmetic, auto tile, auto stages, Precision precision, u32 topk) {
        using Arithmetic = decltype(arithmetic);
        using Tile = decltype(tile);
        constexpr int STAGES = decltype(stages)::value;
        auto kernel = search_kernel<Arithmetic, Tile, STAGES, Even, 3>;
        u32 bytes = prepare<Arithmetic, Tile, STAGES>(kernel, topk);
        Step step = device.step(precision, TILES<Tile>, device.blocks(TILES<Tile>, resident(kernel, bytes)));
        step.topk = step.kept = topk;
        part(name, fused<Even>(device, precision, kernel, bytes, step, device.plan_words[TILES<Tile>], true));
    };
    std::integral_constant<int, 3> three;
    std::integral_constant<int, 4> four;
    search_time("f32: search alone", F32(), Wide(), three, IN_F32, 7);
    search_time("f32: search alone, k 1 (hardly any insertion)", F32(), Wide(), three, IN_F32, 1);
    search_time("TF32: search alone", Tf32(), Square(), four, IN_TF32, 7);
    search_time("TF32: search alone, k 1", Tf32(), Square(), four, IN_TF32, 1);
    search_time("bfloat16: search alone", Bf16(), Square(), four, IN_BF16, 7);
    search_time("bfloat16: search alone, k 1", Bf16(), Square(), four, IN_BF16, 1);
    part("a frame into the ring, f32",
        [&](int n) { device.stow(IN_F32, WIDE, n % Device::SETS, device.problem.query()); });
}

void ladder(Table &table, FILE *file) {
    Problem problem;
    Device device(problem, 1);
    const PlanWords &square = device.plan[SQUARE];
    uint64_t cells = problem.cells(), everything = uint64_t(square.tiles) * 64 * problem.sources * cells;
    uint64_t near = multiplied_pairs(problem, square);
    auto work = [&](uint64_t pairs) { return 2e-9 * problem.dim * pairs; };
    printf("\n%ux%u cells, %u frames, D %u, k %u, radius %g: %.1f GFLOP visible, %.1f multiplied in tiles of 32, "
           "%.1f of 64, %.1f in all\n",
        problem.height, problem.width, problem.sources, problem.dim, problem.topk, problem.radius,
        work(visible_pairs(problem)), work(multiplied_pairs(problem, device.plan[WIDE])), work(near), work(everything));
    table.head();
    Step step = device.step(IN_F32, SQUARE, square.tiles);
    u32 columns = problem.sources * cells, rows = step.tiles * Square::QUERIES;
    float *matrix = allocate<float>(size_t(rows) * columns);
    const u32 *words = device.plan_words[SQUARE];
    auto complete = [&](int set) {
        mix_kernel<Complete><<<(rows + MIXERS - 1) / MIXERS, MIXERS * 32>>>(
            step, words, device.scores, device.keys, device.labels[set], device.ties);
    };
    table.row("0 a thread a score, matrix in memory, a thread a query", device, IN_F32, everything, [&](int n) {
        int set = n % Device::SETS;
        naive_scores<<<dim3((columns + 255) / 256, rows), 256>>>(
            step, words, (float *)device.rings[IN_F32][set], matrix);
        naive_topk<<<(rows + 63) / 64, 64>>>(step, words, matrix, device.scores, device.keys);
        complete(set);
    });
    u32 bytes = prepare<InRows, Square, 1>(tiled_scores, step.kept);
    table.row("1 tiles in shared memory, a warp a query", device, IN_F32, everything, [&](int n) {
        int set = n % Device::SETS;
        tiled_scores<<<dim3((columns + Square::KEYS - 1) / Square::KEYS, step.tiles), THREADS, bytes>>>(
            step, device.everything_words, (uint4 *)device.rings[IN_F32][set], matrix);
        warp_topk<<<(rows + 7) / 8, 256>>>(step, words, matrix, device.scores, device.keys);
        complete(set);
    });
    CHECK(cudaFree(matrix));
    Step per_frame = device.step(IN_F32, SQUARE, square.tiles * problem.sources);
    auto synchronous = plain_kernel<InRows, Square, 1, PerFrame, OneByOne, 3>;
    bytes = prepare<InRows, Square, 1>(synchronous, step.kept);
    table.row("2 running top-k: no matrix", device, IN_F32, everything,
        fused<PerFrame>(device, IN_F32, synchronous, bytes, per_frame, device.everything_words));
    table.row("3 keys out of reach not multiplied", device, IN_F32, near,
        fused<PerFrame>(device, IN_F32, synchronous, bytes, per_frame, words));
    auto asynchronous = plain_kernel<InRows, Square, 3, PerFrame, OneByOne, 3>;
    bytes = prepare<InRows, Square, 3>(asynchronous, step.kept);
    table.row("4 copies two slices ahead", device, IN_F32, near,
        fused<PerFrame>(device, IN_F32, asynchronous, bytes, per_frame, words));
    tuned<InRows, Square, 3, 3, ByKeys, OneByOne>(table, device, IN_F32, "5 equal shares");
    tuned<InRows, Square, 3, 3, ByKeys, SideBySide>(table, device, IN_F32, "6 first bars, four lists at a time");
    tuned<InRows, Square, 3, 3>(table, device, IN_F32, "7 queries, tiles ahead");
    tuned<F32, Square, 3, 3>(table, device, IN_F32, "8 queries by channel");
    double ours[3];
    ours[0] = product<F32>(table, device, "9 tiles of 32 x 256 (the product, f32)");
    ours[1] = product<Tf32>(table, device, "10 tensor cores, TF32");
    ours[2] = product<Bf16>(table, device, "11 tensor cores, bfloat16");
    if (file)
        fprintf(file, "{\"f32_ms\": %.5f, \"tf32_ms\": %.5f, \"bf16_ms\": %.5f}\n", ours[0], ours[1], ours[2]);
    what_else(table, device);
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
        product<F32>(table, device, "f32");
        product<Tf32>(table, device, "TF32");
        product<Bf16>(table, device, "bfloat16");
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
