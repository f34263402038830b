// What a training step does to the branches of a block besides products and attention, forwards and
// backwards, against plain loops in double precision.

#include "check.hpp"

#include "../../../src/autoencoder/ops/gpu/hidden.cu"
#include "../../../src/autoencoder/ops/gpu/residual.cu"
#include "../../../src/autoencoder/ops/gpu/sums.cu"

typedef std::vector<double> Doubles;

// What dropout multiplies the value at a place by, as the CPU counts (src/autoencoder/ops/dropout.rs).
static double left(const Drop &drop, size_t place) {
    uint32_t bits = (uint32_t(place) * drop.factor) ^ drop.offset;
    bits = (bits ^ bits >> 16) * 0x7feb352du;
    bits = (bits ^ bits >> 15) * 0x846ca68bu;
    return (bits ^ bits >> 16) < drop.below ? 0 : drop.scale;
}

static Drop dropping(bool drops) {
    if (!drops) return {0, 1, 0, 1};
    return {1u << 30, 0x9abcdef1u, 0x12345678u, 1 / 0.75f};
}

template <class T>
static Doubles wide(const std::vector<T> &values) {
    Doubles out;
    for (T value : values) out.push_back(get(value));
    return out;
}

static double largest(const Doubles &values) {
    double most = 1e-3;
    for (double value : values) most = std::max(most, std::fabs(value));
    return most;
}

// Adds up [count, columns] by the kernel.
template <class T, class Kernel>
static std::vector<T> added_up(const std::vector<float> &parts, unsigned count, unsigned columns, Kernel kernel) {
    auto out = poisoned<T>(columns);
    emulated::launch({(columns + 31) / 32, 1}, 1024, [&] { kernel(parts.data(), out.data(), count, columns); });
    return out;
}

// `rounding`: of a value, as a share of the largest. Statistics and sums are f32's.
template <class T, class Forward, class Backward, class Sum>
void check_norm(const char *type, unsigned rows, unsigned width, bool drops, bool goes_on, double rounding,
              Forward forward, Backward backward, Sum sum) {
    Numbers numbers{rows * 31 + width};
    Drop drop = dropping(drops);
    auto some = [&](size_t count, float scale) { return as<T>(numbers.some(count, scale)); };
    auto xs = some(rows * width, 1), product = some(rows * width, 1), bias = some(width, 1);
    auto weight = some(width, 1), shift = some(width, 1), of_normed = some(rows * width, 1);
    auto of_sum = some(rows * width, 1);
    const unsigned band = rows > 40 ? 16 : 8, blocks = (rows + band - 1) / band;
    auto stored = poisoned<T>(rows * width), normed = stored, out = stored, branch = stored;
    auto parts = poisoned<float>(blocks * 3 * width);
    emulated::launch({(rows + 7) / 8, 1}, 256, [&] {
        forward(xs.data(), product.data(), bias.data(), weight.data(), shift.data(), stored.data(), normed.data(),
            rows, width, 1e-6f, drop);
    });
    emulated::launch({blocks, 1}, 256, [&] {
        backward(stored.data(), weight.data(), of_normed.data(), goes_on ? of_sum.data() : nullptr, out.data(),
            drops ? branch.data() : nullptr, parts.data(), rows, width, band, 1e-6f, drop);
    });
    Doubles wanted_sum, wanted_norm(rows * width), of_x(rows * width), of_branch(rows * width), of_all(3 * width);
    for (unsigned row = 0; row < rows; row++) {
        double mean = 0, squares = 0, h = 0, product_h = 0;
        for (unsigned i = 0; i < width; i++) {
            size_t at = size_t(row) * width + i;
            wanted_sum.push_back(get(xs[at]) + (get(product[at]) + get(bias[i])) * left(drop, at));
            mean += get(stored[at]) / width;
        }
        for (unsigned i = 0; i < width; i++) squares += std::pow(get(stored[row * width + i]) - mean, 2) / width;
        double scale = 1 / std::sqrt(squares + 1e-6);
        auto y = [&](unsigned i) { return (get(stored[row * width + i]) - mean) * scale; };
        for (unsigned i = 0; i < width; i++) {
            h += get(of_normed[row * width + i]) * get(weight[i]) / width;
            product_h += get(of_normed[row * width + i]) * get(weight[i]) * y(i) / width;
        }
        for (unsigned i = 0; i < width; i++) {
            size_t at = size_t(row) * width + i;
            double g = get(of_normed[at]);
            wanted_norm[at] = y(i) * get(weight[i]) + get(shift[i]);
            of_x[at] = scale * (g * get(weight[i]) - h - y(i) * product_h) + (goes_on ? get(of_sum[at]) : 0);
            of_branch[at] = of_x[at] * left(drop, at);
            of_all[i] += g * y(i);
            of_all[width + i] += g;
            of_all[2 * width + i] += of_branch[at];
        }
    }
    char what[64];
    snprintf(what, sizeof what, "%s, %u x %u%s%s", type, rows, width, drops ? ", dropout" : "",
        goes_on ? ", goes on" : "");
    expect(what, stored, wanted_sum, rounding * largest(wanted_sum));
    expect(what, normed, wanted_norm, rounding * largest(wanted_norm));
    expect(what, out, of_x, rounding * largest(of_x));
    if (drops) expect(what, branch, of_branch, rounding * largest(of_branch));
    expect(what, added_up<T>(parts, blocks, 3 * width, sum), of_all, rounding * largest(of_all));
}

template <class T, class Forward, class Backward, class Sum>
void check_gelu(const char *type, unsigned rows, unsigned columns, bool drops, double rounding, Forward forward,
               Backward backward, Sum sum) {
    Numbers numbers{rows * 37 + columns};
    Drop drop = dropping(drops);
    auto product = as<T>(numbers.some(rows * columns, 2)), bias = as<T>(numbers.some(columns, 1));
    auto gradient = as<T>(numbers.some(rows * columns, 1));
    auto out = poisoned<T>(rows * columns), of_product = out;
    const unsigned band = 32, bands = (rows + band - 1) / band;
    auto parts = poisoned<float>(bands * columns);
    emulated::launch({3, 1}, 64, [&] {
        forward(product.data(), bias.data(), out.data(), rows * columns, columns, drop);
    });
    emulated::launch({(columns + 63) / 64, bands}, 256, [&] {
        backward(product.data(), bias.data(), gradient.data(), of_product.data(), parts.data(), rows, columns, band,
            drop);
    });
    Doubles wanted, of_x, of_bias(columns);
    for (size_t at = 0; at < size_t(rows) * columns; at++) {
        double x = get(product[at]) + get(bias[at % columns]), below = 0.5 + 0.5 * std::erf(x / std::sqrt(2.0));
        wanted.push_back(x * below * left(drop, at));
        double density = std::exp(-x * x / 2) / std::sqrt(2 * 3.14159265358979324);
        of_x.push_back((below + x * density) * get(gradient[at]) * left(drop, at));
        of_bias[at % columns] += of_x.back();
    }
    char what[64];
    snprintf(what, sizeof what, "%s GELU, %u x %u%s", type, rows, columns, drops ? ", dropout" : "");
    expect(what, out, wanted, rounding * largest(wanted));
    expect(what, of_product, of_x, rounding * largest(of_x));
    expect(what, added_up<T>(parts, bands, columns, sum), of_bias, rounding * largest(of_bias));
}

int main() {
    // f32 up to the order of sums; bf16 up to what is written, which has 8 bits
    const double f32 = 1e-6, bf16s = 4e-3;
    for (bool drops : {false, true})
        for (bool goes_on : {false, true})
            for (auto [rows, width] : {std::pair{1u, 8u}, {70u, 48u}, {21u, 256u}, {9u, 384u}, {3u, 1024u}}) {
                auto both = [&, rows = rows, width = width](auto backward, auto backward_bf16) {
                    check_norm<float>("f32", rows, width, drops, goes_on, f32, residual_f32, backward, sum_parts_f32);
                    check_norm<bf16>(
                        "bf16", rows, width, drops, goes_on, bf16s, residual_bf16, backward_bf16, sum_parts_bf16);
                };
                if (width <= 256) both(residual_backward_256_f32, residual_backward_256_bf16);
                else if (width <= 512) both(residual_backward_512_f32, residual_backward_512_bf16);
                else both(residual_backward_1024_f32, residual_backward_1024_bf16);
            }
    for (bool drops : {false, true})
        for (auto [rows, columns] : {std::pair{1u, 8u}, {70u, 72u}, {33u, 256u}}) {
            check_gelu<float>("f32", rows, columns, drops, f32, hidden_f32, hidden_backward_f32,
                sum_parts_f32);
            check_gelu<bf16>("bf16", rows, columns, drops, bf16s, hidden_bf16,
                hidden_backward_bf16, sum_parts_bf16);
        }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
