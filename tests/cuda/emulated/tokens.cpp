// What happens to tokens between an encoder's products, and frames on their way to it, against plain
// loops: in double precision, or to the last bit where the processor's own code does the same.

#include "check.hpp"

#include "../../../src/image/frames.cu"
#include "../../../src/model/gpu/patches.cu"
#include "../../../src/model/gpu/tokens.cu"

// Some blocks, so that the grid goes over the values more than once, or not at all.
static const Place FEW = {3, 1};

template <class T>
std::vector<double> wide(const std::vector<T> &values) {
    std::vector<double> out;
    for (T value : values) out.push_back(get(value));
    return out;
}

// `most`: f32 adds and multiplies a few numbers up to about 5; bf16 rounds what is written to 8 bits.
template <class T, class Out, class Kernel>
void add_norm(const char *what, u32 rows, u32 width, bool adds, bool scales, double most, Kernel kernel) {
    Numbers numbers{rows * 31 + width};
    auto stream = numbers.some(rows * width, 1), bias = numbers.some(width, 1), scale = numbers.some(width, 1);
    auto weight = numbers.some(width, 1), shift = numbers.some(width, 1);
    auto added = as<T>(numbers.some(rows * width, 1));
    auto sums = wide(stream);
    std::vector<double> normed(rows * width);
    for (u32 row = 0; row < rows; row++) {
        double *x = &sums[row * width], mean = 0, squares = 0;
        for (u32 i = 0; i < width; i++) {
            if (adds) x[i] += (get(added[row * width + i]) + bias[i]) * (scales ? scale[i] : 1);
            mean += x[i] / width;
        }
        for (u32 i = 0; i < width; i++) squares += (x[i] - mean) * (x[i] - mean) / width;
        for (u32 i = 0; i < width; i++)
            normed[row * width + i] = (x[i] - mean) / std::sqrt(squares + 1e-6) * weight[i] + shift[i];
    }
    auto out = poisoned<Out>(rows * width);
    emulated::launch({(rows + 7) / 8, 1}, 256, [&] {
        kernel(stream.data(), adds ? added.data() : nullptr, bias.data(), scales ? scale.data() : nullptr,
            weight.data(), shift.data(), out.data(), rows, width, 1e-6f);
    });
    expect(what, stream, sums, 2e-6);
    expect(what, out, normed, most);
}

template <class T, class Kernel>
void embed(const char *what, u32 others, Kernel kernel) {
    const u32 images = 2, patches = 5, width = 24, tokens = 1 + others + patches;
    Numbers numbers{others + 5};
    auto projected = as<T>(numbers.some(images * patches * width, 1));
    auto bias = numbers.some(width, 1), cls = numbers.some(width, 1), registers = numbers.some(others * width, 1);
    auto positions = numbers.some((1 + patches) * width, 1);
    std::vector<double> wanted;
    for (u32 image = 0; image < images; image++)
        for (u32 token = 0; token < tokens; token++)
            for (u32 i = 0; i < width; i++) {
                u32 patch = token - 1 - others;
                if (token == 0) wanted.push_back(cls[i] + positions[i]);
                else if (token <= others) wanted.push_back(registers[(token - 1) * width + i]);
                else wanted.push_back(get(projected[(image * patches + patch) * width + i]) + double(bias[i]) +
                    positions[(1 + patch) * width + i]);
            }
    auto out = poisoned<float>(wanted.size());
    emulated::launch(FEW, 32, [&] {
        kernel(projected.data(), bias.data(), cls.data(), registers.data(), positions.data(), out.data(),
            wanted.size(), others, patches, width);
    });
    expect(what, out, wanted, 1e-6);
}

template <class T, class Kernel>
void gelu(const char *what, double most, Kernel kernel) {
    const u32 rows = 7, width = 40;
    Numbers numbers{3};
    auto xs = as<T>(numbers.some(rows * width, 2));
    auto bias = numbers.some(width, 1);
    std::vector<double> wanted;
    for (u32 i = 0; i < rows * width; i++) {
        double x = get(xs[i]) + bias[i % width];
        wanted.push_back(x * 0.5 * std::erfc(-x / std::sqrt(2.0)));
    }
    emulated::launch(FEW, 32, [&] { kernel(xs.data(), bias.data(), rows * width, width); });
    expect(what, xs, wanted, most);
}

template <class T, class Kernel>
void swiglu(const char *what, double most, Kernel kernel) {
    const u32 rows = 7, width = 40;
    Numbers numbers{3};
    auto xs = as<T>(numbers.some(rows * 2 * width, 4));
    auto bias = numbers.some(2 * width, 1);
    std::vector<double> wanted;
    for (u32 i = 0; i < rows * width; i++) {
        u32 column = i % width, at = i / width * 2 * width + column;
        double gate = get(xs[at]) + bias[column], value = get(xs[at + width]) + bias[width + column];
        wanted.push_back(gate / (1 + std::exp(-gate)) * value);
    }
    auto out = poisoned<T>(wanted.size());
    emulated::launch(FEW, 32, [&] { kernel(xs.data(), bias.data(), out.data(), rows * width, width); });
    expect(what, out, wanted, most);
}

template <class T, class Kernel>
void turn(const char *what, double most, Kernel kernel) {
    const u32 images = 2, others = 3, patches = 4, tokens = others + patches, heads = 3, half = 16;
    const u32 width = heads * 2 * half, row = 3 * width;
    Numbers numbers{12};
    auto qkv = as<T>(numbers.some(images * tokens * row, 1));
    auto bias = numbers.some(row, 1), angles = numbers.some(patches * half, 3);
    std::vector<float> turns;
    for (u32 patch = 0; patch < patches; patch++) {
        for (u32 i = 0; i < half; i++) turns.push_back(std::cos(angles[patch * half + i]));
        for (u32 i = 0; i < half; i++) turns.push_back(std::sin(angles[patch * half + i]));
    }
    auto wanted = wide(qkv);
    for (u32 token = 0; token < images * tokens; token++)
        for (u32 head = 0; head < 2 * heads; head++)
            for (u32 i = 0; i < half; i++) {
                u32 column = head * 2 * half + i;
                double *one = &wanted[token * row + column], *other = one + half;
                double x = *one + bias[column], y = *other + bias[column + half];
                double angle = 0;
                if (token % tokens >= others) angle = angles[(token % tokens - others) * half + i];
                *one = x * std::cos(angle) - y * std::sin(angle);
                *other = y * std::cos(angle) + x * std::sin(angle);
            }
    emulated::launch(FEW, 32, [&] {
        kernel(qkv.data(), bias.data(), turns.data(), images * tokens * width / 8, tokens, patches, width, half);
    });
    expect(what, qkv, wanted, most);
}

void unit() {
    const u32 images = 2, each = 5, width = 37, apart = 6 * width + 3;
    Numbers numbers{8};
    auto xs = numbers.some(images * apart, 1);
    std::fill(&xs[width], &xs[2 * width], 0.0f);
    std::vector<double> wanted;
    for (u32 row = 0; row < images * each; row++) {
        const float *x = &xs[row / each * apart + row % each * width];
        double squares = 0;
        for (u32 i = 0; i < width; i++) squares += double(x[i]) * x[i];
        for (u32 i = 0; i < width; i++) wanted.push_back(x[i] / std::max(std::sqrt(squares), 1e-12));
    }
    auto out = poisoned<float>(wanted.size());
    emulated::launch({2, 1}, 256, [&] {
        unit_rows(xs.data(), out.data(), images * each, each, apart, width, 1e-12f);
    });
    expect("rows of length one", out, wanted, 1e-6);
}

void cut(bool chosen) {
    const u32 images = 2, height = 9, width = 13, patch = 4, across = 3, each = 6, values = 48;
    Numbers numbers{4};
    auto frames = numbers.some(images * 3 * height * width, 1);
    std::vector<u32> list = {7, 0, 11};
    if (!chosen) for (list.clear(); list.size() < images * each;) list.push_back(list.size());
    std::vector<double> wanted;
    for (u32 number : list)
        for (u32 channel = 0; channel < 3; channel++)
            for (u32 row = 0; row < patch; row++)
                for (u32 column = 0; column < patch; column++) {
                    u32 image = number / each, y = number % each / across * patch + row;
                    u32 x = number % across * patch + column;
                    wanted.push_back(frames[((image * 3 + channel) * height + y) * width + x]);
                }
    auto out = poisoned<float>(list.size() * values);
    emulated::launch(FEW, 64, [&] {
        patches_f32(frames.data(), chosen ? list.data() : nullptr, out.data(), out.size(), height, width, patch);
    });
    expect(chosen ? "chosen patches" : "all patches", out, wanted, 0);
}

// As resize.rs has it: f32, each operation rounded.
void planes(bool resampled) {
    const u32 images = 2, height = 5, width = 7, rows = resampled ? 8 : 5, columns = resampled ? 4 : 7;
    Numbers numbers{6};
    std::vector<unsigned char> frames(images * height * width * 3);
    for (auto &byte : frames) byte = (unsigned char)std::fabs(numbers.next(90));
    Normalization norm = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
    auto near = [](u32 n, u32 from, u32 to) { return n * (from - 1) / to; };
    auto share = [](u32 n, u32 to) { return float(n) / float(to + 1); };
    std::vector<u32> tops, bottoms, lefts, rights;
    std::vector<float> down, right;
    for (u32 y = 0; y < rows; y++)
        tops.push_back(near(y, height, rows)), bottoms.push_back(tops[y] + 1), down.push_back(share(y, rows));
    for (u32 x = 0; x < columns; x++)
        lefts.push_back(near(x, width, columns)), rights.push_back(lefts[x] + 1), right.push_back(share(x, columns));
    std::vector<double> wanted;
    for (u32 image = 0; image < images; image++)
        for (u32 c = 0; c < 3; c++)
            for (u32 y = 0; y < rows; y++)
                for (u32 x = 0; x < columns; x++) {
                    auto at = [&](u32 y, u32 x) { return frames[((image * height + y) * width + x) * 3 + c] / 255.0f; };
                    auto mix = [](float near, float far, float weight) {
                        volatile float a = near * (1.0f - weight), b = far * weight;
                        return a + b;
                    };
                    float value = !resampled ? at(y, x)
                                             : mix(mix(at(tops[y], lefts[x]), at(tops[y], rights[x]), right[x]),
                                                   mix(at(bottoms[y], lefts[x]), at(bottoms[y], rights[x]), right[x]), down[y]);
                    wanted.push_back((value - norm.mean[c]) / norm.deviation[c]);
                }
    auto out = poisoned<float>(wanted.size());
    emulated::launch(FEW, 32, [&] {
        frame_planes(frames.data(), out.data(), images * rows * columns, height, width, rows, columns,
            resampled ? tops.data() : nullptr, bottoms.data(), down.data(), lefts.data(), rights.data(),
            right.data(), norm);
    });
    expect(resampled ? "resampled frames" : "frames", out, wanted, 0);
}

int main() {
    for (u32 width : {8u, 72u, 384u, 1032u}) {  // the last one is wider than a warp keeps
        add_norm<float, float>("add and norm, f32", 11, width, true, false, 5e-6, add_norm_f32);
        add_norm<float, float>("scale, add and norm, f32", 3, width, true, true, 5e-6, add_norm_f32);
        add_norm<float, float>("norm, f32", 9, width, false, false, 5e-6, add_norm_f32);
        add_norm<__nv_bfloat16, __nv_bfloat16>("add and norm, bf16", 5, width, true, true, 4e-2, add_norm_bf16);
        add_norm<__nv_bfloat16, float>("add and last norm, bf16", 5, width, true, false, 5e-6, add_last_norm_bf16);
    }
    for (u32 others : {0u, 4u}) {
        embed<float>("embedding, f32", others, embed_f32);
        embed<__nv_bfloat16>("embedding, bf16", others, embed_bf16);
    }
    gelu<float>("bias and GELU, f32", 2e-6, bias_gelu_f32);
    gelu<__nv_bfloat16>("bias and GELU, bf16", 4e-2, bias_gelu_bf16);
    swiglu<float>("bias and gate, f32", 1e-5, bias_swiglu_f32);
    // values below 64, of which the last of 8 bits is worth a quarter: half of that
    swiglu<__nv_bfloat16>("bias and gate, bf16", 0.126, bias_swiglu_bf16);
    turn<float>("bias and rotary positions, f32", 2e-6, bias_turn_f32);
    turn<__nv_bfloat16>("bias and rotary positions, bf16", 2e-2, bias_turn_bf16);
    unit();
    cut(false), cut(true);
    planes(false), planes(true);
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
