// The affinity of one frame on a GPU, from the naive program to the product's kernels, step by step.
//
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90,code=sm_90 -o ladder ladder.cu -ldl
//   ./ladder [FILE]
//
// Each version labels the same frame and is checked against the definition in double precision;
// buffers are poisoned before. Times are medians by device events over three copies of the context
// in turn, so that none of them lies in the cache. The floor is the products that the radius leaves,
// at the rate of cuBLAS's large matrix product. FILE gets the times as JSON (reference.py reads it).

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "../../src/propagation/fused/affinity.cu"
#include "problem.hpp"

#define CHECK(call)                                                                     \
    do {                                                                                \
        cudaError_t error_ = (call);                                                    \
        if (error_ != cudaSuccess) {                                                    \
            printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));      \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

// ------------------------------------------------------------------------- versions before the product

// One list a query, complete: of the versions that write the matrix of scores.
struct Complete {
    __device__ static u32 first(const Step &, const Plan &, u32 tile) { return tile; }
    __device__ static u32 last(const Step &, const Plan &, u32 tile) { return tile; }
};

// A block per tile of queries and context frame.
struct PerFrame {
    __device__ static u32 begin(const Step &step, const Plan &plan, u32 block) {
        u32 tile = block / step.sources, source = block % step.sources;
        u32 before = keys_before(step, plan, tile);
        if (source == 0) return before;
        u32 each = plan.start[tile + 1] - plan.start[tile];
        return before + first_keys(step, plan, tile) + (source - 1) * each;
    }
    __device__ static u32 first(const Step &step, const Plan &, u32 tile) { return tile * step.sources; }
    __device__ static u32 last(const Step &step, const Plan &, u32 tile) {
        return (tile + 1) * step.sources - 1;
    }
};

// A thread a score: matrix [tiles * QUERIES, sources * cells], keys in the order of `plan.all`.
__global__ void naive_scores(Step step, const u32 *words, const float *ring, float *matrix) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells;
    u32 column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    u32 query = plan.order[row];
    if (column >= columns || query == NOWHERE) return;
    u32 place = plan.all[column % cells], source = column / cells, width = step.pieces * 4;
    const float *a = ring + (size_t)(step.query * cells + cell_of(step, query)) * width;
    const float *b = ring + (size_t)(slot_of(step, source) * cells + cell_of(step, place)) * width;
    float sum = 0.0f;
    for (u32 d = 0; d < width; d++) sum = fmaf(a[d], b[d], sum);
    bool seen = (source == 0 && step.free > 0) || plan.inside(query, place);
    matrix[(size_t)row * columns + column] = seen ? sum : -INFINITY;
}

// A thread a query, its k best by insertion.
__global__ void naive_topk(Step step, const u32 *words, const float *matrix, float *scores, u32 *keys) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells;
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= step.tiles * QUERIES || plan.order[row] == NOWHERE) return;
    float best[32];
    u32 best_column[32];
    for (u32 n = 0; n < step.kept; n++) best[n] = -INFINITY, best_column[n] = 0;
    for (u32 column = 0; column < columns; column++) {
        float score = matrix[(size_t)row * columns + column];
        u32 n = step.kept;
        for (; n > 0 && score > best[n - 1]; n--) {
            if (n == step.kept) continue;
            best[n] = best[n - 1];
            best_column[n] = best_column[n - 1];
        }
        if (n < step.kept) best[n] = score, best_column[n] = column;
    }
    u32 tile = row / QUERIES;
    size_t out = ((size_t)partial(tile, tile) * QUERIES + row % QUERIES) * step.kept;
    for (u32 n = 0; n < step.kept; n++) {
        u32 place = plan.all[best_column[n] % cells];
        scores[out + n] = best[n];
        keys[out + n] = slot_of(step, best_column[n] / cells) * cells + cell_of(step, place);
    }
}

// The same matrix by tiles through shared memory; needs a plan whose lists hold everything.
__global__ void __launch_bounds__(THREADS, 3)
tiled_scores(Step step, const u32 *words, const uint4 *ring, float *matrix) {
    extern __shared__ uint4 pool[];
    u32 *tile_of_scores = reinterpret_cast<u32 *>(pool);
    Shared shared(step, tile_of_scores + TILE_WORDS<F32, 1>);
    Plan plan(step, words);
    u32 columns = step.sources * step.height * step.width, tile = blockIdx.y;
    shared.set_queries(step, plan, tile, 0.0f);
    shared.set_keys(step, plan, tile, blockIdx.x * KEYS, columns);
    Rows rows;
    rows.queries(step, shared.cells);
    rows.keys(step, shared.rows);
    score<F32, 1>(step, ring, rows, true, tile_of_scores);
    u32 column = blockIdx.x * KEYS + threadIdx.x;
    for (u32 row = 0; row < QUERIES; row++) {
        u32 query = shared.cells[row];
        if (query == NOWHERE || column >= columns) break;
        bool seen = shared.seen(step, plan, query, threadIdx.x);
        float value = reinterpret_cast<float *>(tile_of_scores)[row * SCORES + threadIdx.x];
        matrix[(size_t)(tile * QUERIES + row) * columns + column] = seen ? value : -INFINITY;
    }
}

// A warp a query.
__global__ void warp_topk(Step step, const u32 *words, const float *matrix, float *scores, u32 *keys) {
    Plan plan(step, words);
    u32 cells = step.height * step.width, columns = step.sources * cells, lane = threadIdx.x % 32;
    u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= step.tiles * QUERIES || plan.order[row] == NOWHERE) return;
    List list = {-INFINITY, 0};
    float bar = -INFINITY;
    for (u32 from = 0; from < columns; from += 32) {
        u32 column = from + lane;
        float score = column < columns ? matrix[(size_t)row * columns + column] : -INFINITY;
        u32 worthies = __ballot_sync(ALL, score > bar);
        while (worthies != 0) {
            int next = __ffs(worthies) - 1;
            bar = list.insert(__shfl_sync(ALL, score, next), from + next, step.kept);
            worthies = __ballot_sync(ALL, score > bar && (int)lane > next);
        }
    }
    u32 tile = row / QUERIES;
    size_t out = ((size_t)partial(tile, tile) * QUERIES + row % QUERIES) * step.kept;
    if (lane < step.kept) {
        u32 place = plan.all[list.key % cells];
        scores[out + lane] = list.score;
        keys[out + lane] = slot_of(step, list.key / cells) * cells + cell_of(step, place);
    }
}

template <class Arithmetic, int STAGES, class Share, int MINIMUM>
__global__ void __launch_bounds__(THREADS, MINIMUM)
search_kernel(Step step, const u32 *plan, const uint4 *ring, float *scores, u32 *keys) {
    search<Arithmetic, STAGES, Share>(step, plan, ring, scores, keys);
}

template <class Share>
__global__ void __launch_bounds__(MIXERS * 32) mix_kernel(
    Step step, const u32 *plan, const float *scores, const u32 *keys, float *labels, float2 *ties) {
    mix<Share>(step, plan, scores, keys, labels, ties);
}

// ------------------------------------------------------------------------------------------- timing

int multiprocessors;

double median_ms(const std::function<void(int)> &run) {
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    auto once = [&](int times) {
        CHECK(cudaEventRecord(from));
        for (int n = 0; n < times; n++) run(n);
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, from, to));
        return double(ms) / times;
    };
    once(3);
    double guess = once(3);
    int times = 3 * std::max(1, std::min(8, int(2.0 / guess)));
    std::vector<double> samples;
    double spent = 0;
    while (samples.size() < 15 && (samples.size() < 3 || spent < 400)) {
        samples.push_back(once(times));
        spent += samples.back() * times;
    }
    CHECK(cudaGetLastError());
    std::sort(samples.begin(), samples.end());
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    return samples[samples.size() / 2];
}

template <class T>
T *allocate(size_t count, const T *from = nullptr) {
    T *pointer;
    CHECK(cudaMalloc(&pointer, count * sizeof(T)));
    CHECK(cudaMemset(pointer, 0xff, count * sizeof(T)));  // NaN
    if (from) CHECK(cudaMemcpy(pointer, from, count * sizeof(T), cudaMemcpyHostToDevice));
    return pointer;
}

// The machine's ceilings: TFLOP/s of large products, GB/s of a large copy (read and written).
struct Ceilings {
    double f32 = 0, tf32 = 0, bf16 = 0, copy = 0;
};

__global__ void fill_random(float *out, size_t count) {
    for (size_t n = blockIdx.x * blockDim.x + threadIdx.x; n < count; n += gridDim.x * blockDim.x) {
        u32 bits = (u32)n * 2654435761u;
        bits ^= bits >> 15;
        bits *= 2246822519u;
        bits ^= bits >> 13;
        out[n] = (float)bits / 4294967296.0f - 0.5f;
    }
}

__global__ void fill_random_bf16(unsigned short *out, size_t count) {
    for (size_t n = blockIdx.x * blockDim.x + threadIdx.x; n < count; n += gridDim.x * blockDim.x) {
        u32 bits = (u32)n * 2654435761u;
        bits ^= bits >> 15;
        out[n] = (unsigned short)(to_bf16((float)(bits % 2001) / 2000.0f - 0.5f, 0.0f) & 0xffff);
    }
}

Ceilings measure_ceilings() {
    Ceilings ceilings;
    size_t bytes = size_t(2) << 30;
    char *a = allocate<char>(bytes), *b = allocate<char>(bytes), *c = allocate<char>(bytes);
    ceilings.copy = 2 * bytes / 1e6 / median_ms([&](int n) {
        CHECK(cudaMemcpyAsync(n % 2 ? b : c, a, bytes, cudaMemcpyDeviceToDevice));
    });
    void *library = nullptr;
    for (const char *name : {getenv("CUBLAS"), (char *)"libcublas.so.13", (char *)"libcublas.so",
             (char *)"/usr/local/cuda/lib64/libcublas.so"})
        if (name && !library) library = dlopen(name, RTLD_NOW);
    if (!library) {
        printf("cuBLAS not found (set CUBLAS to its path): no ceilings for products\n");
    } else {
        auto create = (int (*)(void **))dlsym(library, "cublasCreate_v2");
        auto gemm = (int (*)(void *, int, int, int, int, int, const void *, const void *, int, int,
            const void *, int, int, const void *, void *, int, int, int, int))dlsym(library, "cublasGemmEx");
        void *handle;
        if (create(&handle) != 0) exit(1);
        // Queries × keysᵀ, as the affinity has it.
        auto rate = [&](int size, int type, int compute) {
            float one = 1.0f, zero = 0.0f;
            double ms = median_ms([&](int) {
                int status = gemm(handle, 1, 0, size, size, size, &one, a, type, size, b, type, size,
                    &zero, c, type, size, compute, -1);
                if (status != 0) printf("cublasGemmEx: %d\n", status), exit(1);
            });
            return 2.0 * size * size * size / 1e9 / ms;
        };
        fill_random<<<1024, 256>>>((float *)a, size_t(8192) * 8192);
        fill_random<<<1024, 256>>>((float *)b, size_t(8192) * 8192);
        ceilings.f32 = rate(4096, 0, 68);   // CUDA_R_32F, CUBLAS_COMPUTE_32F
        ceilings.tf32 = rate(8192, 0, 77);  // CUBLAS_COMPUTE_32F_FAST_TF32
        fill_random_bf16<<<1024, 256>>>((unsigned short *)a, size_t(8192) * 8192);
        fill_random_bf16<<<1024, 256>>>((unsigned short *)b, size_t(8192) * 8192);
        ceilings.bf16 = rate(8192, 14, 68);  // CUDA_R_16BF
    }
    for (char *p : {a, b, c}) CHECK(cudaFree(p));
    return ceilings;
}

// ------------------------------------------------------------------------------------------ a case

enum Precision { IN_F32, IN_TF32, IN_BF16 };

struct Device {
    static constexpr int SETS = 3;
    static constexpr u32 LISTS = 1 << 15;  // partial lists there is room for
    Problem problem;
    PlanWords plan, everything;
    Answer answer;
    u32 *plan_words, *everything_words;
    float *features, *labels_at_first, *labels[SETS];
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
        plan = make_plan(problem);
        everything = make_plan(problem, true);
        auto host_features = make_features(problem, 7);
        auto host_labels = make_labels(problem, 9);
        answer = make_answer(problem, host_features, host_labels, stride);
        plan_words = allocate(plan.words.size(), plan.words.data());
        everything_words = allocate(everything.words.size(), everything.words.data());
        features = allocate(host_features.size(), host_features.data());
        label_count = host_labels.size();
        labels_at_first = allocate(label_count, host_labels.data());
        size_t rows = size_t(problem.frames()) * problem.cells();
        for (int precision = 0; precision < 3; precision++)
            for (int set = 0; set < SETS; set++) {
                rings[precision][set] = allocate<u32>(rows * pieces(problem, Precision(precision)) * 4);
                for (u32 slot = 0; slot < problem.frames(); slot++)
                    stow(Precision(precision), set, slot);
            }
        for (float *&copy : labels) copy = allocate<float>(label_count);
        scores = allocate<float>(size_t(LISTS) * 32);
        keys = allocate<u32>(size_t(LISTS) * 32);
        ties = allocate<float2>(plan.tiles * QUERIES);
        CHECK(cudaDeviceSynchronize());
    }

    void stow(Precision precision, int set, u32 slot) const {
        auto kernel = precision == IN_F32 ? affinity_stow_f32
            : precision == IN_TF32        ? affinity_stow_tf32
                                          : affinity_stow_bf16;
        kernel<<<multiprocessors * 4, 256>>>(features + size_t(slot) * problem.cells() * problem.dim,
            problem.cells(), problem.dim, pieces(problem, precision), slot, rings[precision][set]);
    }

    ~Device() {
        for (void *p : {(void *)plan_words, (void *)everything_words, (void *)features,
                 (void *)labels_at_first, (void *)scores, (void *)keys, (void *)ties})
            CHECK(cudaFree(p));
        for (float *p : labels) CHECK(cudaFree(p));
        for (auto &sets : rings)
            for (u32 *p : sets) CHECK(cudaFree(p));
    }

    Step step(Precision precision, u32 blocks) const {
        Step step{};
        step.height = problem.height, step.width = problem.width;
        step.pieces = pieces(problem, precision);
        step.tiles = plan.tiles;
        step.slots = problem.slots(), step.query = problem.query(), step.oldest = problem.oldest();
        step.sources = problem.sources, step.free = problem.free, step.near = problem.near;
        step.topk = problem.topk;
        step.kept = problem.keep_ties ? std::min(32u, problem.topk + 4) : problem.topk;
        step.keep_ties = problem.keep_ties;
        step.channels = problem.channels;
        step.blocks = blocks;
        step.temperature = problem.temperature;
        if ((plan.tiles + blocks) * QUERIES * step.kept > LISTS * 32) printf("too many lists\n"), exit(1);
        return step;
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
template <class Arithmetic, int STAGES, class Search>
u32 prepare(Search kernel, u32 kept) {
    u32 bytes = 4 * (TILE_WORDS<Arithmetic, STAGES> + 2 * KEYS + 2 * QUERIES + 2 * QUERIES * kept);
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
    return [=, &device](int n) {
        int set = n % Device::SETS;
        kernel<<<step.blocks, THREADS, bytes>>>(
            step, plan, (const uint4 *)device.rings[precision][set], device.scores, device.keys);
        if (search_only) return;
        mix_kernel<Share><<<(step.tiles * QUERIES + MIXERS - 1) / MIXERS, MIXERS * 32>>>(
            step, plan, device.scores, device.keys, device.labels[set], device.ties);
        if (step.keep_ties) {
            auto ties = precision == IN_F32 ? affinity_ties_f32
                : precision == IN_TF32      ? affinity_ties_tf32
                                            : affinity_ties_bf16;
            CHECK(cudaFuncSetAttribute(ties, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
            ties<<<step.tiles, THREADS, bytes>>>(step, plan,
                (const uint4 *)device.rings[precision][set], device.ties, device.labels[set]);
        }
    };
}

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
