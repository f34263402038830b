// What a training step does to all of a network at once: gradients put behind one another and measured,
// AdamW, the average. To the last bit where the CPU's code computes the
// same, and against plain loops in double precision.

#include "check.hpp"

#include "../../../src/autoencoder/ops/gpu/gather.cu"
#include "../../../src/autoencoder/ops/gpu/sums.cu"
#include "../../../src/pretrain/step.cu"

// Some blocks, so that the grid goes over the values more than once, or not at all.
static const Place FEW = {3, 1};
static const unsigned GRAIN = 128;

template <class T>
std::vector<double> wide(const std::vector<T> &values) {
    std::vector<double> out;
    for (T value : values) out.push_back(get(value));
    return out;
}

// One step of a buffer of `grains`; where `factor` is not a number, nothing is to move.
void adamw_step(unsigned grains, double factor) {
    const unsigned count = grains * GRAIN;
    Numbers numbers{grains + 1};
    auto values = numbers.some(count, 1), gradient = numbers.some(count, 0.1f);
    auto moments = numbers.some(2 * count, 0.1f);
    for (unsigned i = count; i < 2 * count; i++) moments[i] = moments[i] * moments[i];
    std::vector<uint8_t> decays(grains);
    for (unsigned grain = 0; grain < grains; grain++) decays[grain] = grain % 3 != 1;
    const Step step = {0.995f, 2e-3f, 0.1f, 0.95f, 0.05f, 0.31f, 1e-8f};
    // as optimizer.rs has it, in f32 and in double precision
    std::vector<double> exact_values, exact_moments(2 * count), close;
    for (unsigned i = 0; i < count; i++) {
        const float keep = decays[i / GRAIN] ? step.keep : 1.0f, g = gradient[i] * float(factor);
        float mean = moments[i], square = moments[count + i], value = values[i];
        const double m = mean + (double(gradient[i]) * factor - mean) * double(step.new1);
        const double s = double(square) * step.beta2 + double(g) * g * step.new2;
        close.push_back(double(value) * keep - step.size * m / (std::sqrt(s) / step.root2 + step.epsilon));
        mean += (g - mean) * step.new1;
        square = square * step.beta2 + g * g * step.new2;
        value = value * keep - step.size * mean / (std::sqrt(square) / step.root2 + step.epsilon);
        exact_values.push_back(value), exact_moments[i] = mean, exact_moments[count + i] = square;
    }
    if (std::isnan(factor)) exact_values = wide(values), exact_moments = wide(moments);
    emulated::launch(FEW, 64, [&] {
        adamw(values.data(), moments.data(), gradient.data(), decays.data(), &factor, count, GRAIN, step);
    });
    expect("AdamW, values", values, exact_values, 0);
    expect("AdamW, moments", moments, exact_moments, 0);
    // a few roundings of numbers up to about 4
    if (!std::isnan(factor)) expect("AdamW, values in double precision", values, close, 1e-6);
}

void averaged(unsigned count) {
    Numbers numbers{count};
    auto averages = numbers.some(count, 1), values = numbers.some(count, 1);
    std::vector<double> wanted;
    for (unsigned i = 0; i < count; i++) {
        const float kept = averages[i] * 0.999f, added = values[i] * 0.001f;
        wanted.push_back(kept + added);
    }
    emulated::launch(FEW, 32, [&] { average(averages.data(), values.data(), count, 0.999f, 0.001f); });
    expect("average", averages, wanted, 0);
}

// Gradients in so many shares, and losses. `bad` is put into one of them, if it is not 0.
void measured(unsigned shares, unsigned count, unsigned passes, double clip, float bad, bool in_loss) {
    Numbers numbers{shares + count + passes};
    auto values = numbers.some(count, 1), losses = numbers.some(passes, 1);
    double sum = 0;
    if (bad != 0) (in_loss ? losses.back() : values[count / 2]) = bad;
    for (float value : values) sum += double(value) * value;
    const double norm = std::sqrt(sum);
    auto parts = poisoned<float>(shares);
    emulated::launch({shares, 1}, 256, [&] { squares(values.data(), parts.data(), count); });
    std::vector<double> out(2 + passes, NAN);
    emulated::launch({1, 1}, 1024, [&] {
        measure(parts.data(), shares, losses.data(), passes, clip, out.data());
    });
    if (bad != 0) {
        const bool stops = std::isnan(out[0]) && (in_loss || !std::isfinite(out[1]));
        all_right &= stops;
        printf("%-44s %s\n", in_loss ? "a bad loss" : "a bad gradient", stops ? "stops the step" : "passes  WRONG");
        return;
    }
    // sums of positive numbers in f32, some tens a thread
    const std::vector<double> relative = {out[0] * (clip > 0 && norm > clip ? norm / clip : 1), out[1] / norm};
    expect("factor and length, over what they should be", relative, {1, 1}, 2e-6);
    expect("losses", std::vector<double>(out.begin() + 2, out.end()), wide(losses), 0);
}

// Ragged tensors, every other one in the midst of an allocation, every third a sum of two; in two
// launches, of `first` tensors and of the rest.
template <class T, class Kernel>
void gathered(const char *what, unsigned first, Kernel kernel) {
    const std::vector<unsigned> counts = {1, 7, 128, 130, 1000, 8, 384, 3};
    Numbers numbers{first};
    std::vector<std::vector<T>> tensors;
    std::vector<Part> all;
    std::vector<double> wanted;
    for (unsigned count : counts) {
        const unsigned offset = all.size() % 2, start = wanted.size();
        tensors.push_back(as<T>(numbers.some(offset + 2 * count, 1)));
        const T *from = tensors.back().data() + offset, *more = all.size() % 3 == 0 ? from + count : nullptr;
        all.push_back({from, more, start, count});
        for (unsigned i = 0; i < count; i++)
            wanted.push_back(float(get(from[i])) + (more ? float(get(more[i])) : 0));
        wanted.resize((wanted.size() + GRAIN - 1) / GRAIN * GRAIN, 0);
    }
    const unsigned end = wanted.size();
    auto buffer = poisoned<float>(end + GRAIN);
    auto put = [&](unsigned from, unsigned to) {
        Parts parts = {};
        std::copy(&all[from], &all[0] + to, parts.all);
        const unsigned behind = to < all.size() ? all[to].start : end;
        emulated::launch(FEW, 32, [&] { kernel(parts, to - from, buffer.data(), behind); });
    };
    if (first > 0) {
        put(0, first);
        all_right &= std::isnan(buffer[all[first].start]);  // not further
    }
    put(first, all.size());
    expect(what, buffer, wanted, 0);
    for (unsigned i = end; i < buffer.size(); i++)
        if (!std::isnan(buffer[i])) all_right = false, printf("%s: wrote behind its end\n", what);
}

int main() {
    for (unsigned grains : {1u, 5u, 40u})
        for (double factor : {1.0, 0.37, double(NAN)}) adamw_step(grains, factor);
    averaged(GRAIN), averaged(41 * GRAIN);
    for (double clip : {0.0, 0.5, 1e9}) {
        measured(1, GRAIN, 1, clip, 0, false);
        measured(3, 200 * GRAIN, 0, clip, 0, false);
        measured(70, 1000 * GRAIN, 16, clip, 0, false);
    }
    for (float bad : {NAN, INFINITY, -INFINITY}) measured(3, 7 * GRAIN, 2, 1, bad, true);
    for (float bad : {NAN, INFINITY, 1e30f}) measured(3, 7 * GRAIN, 2, 1, bad, false);
    for (unsigned first : {0u, 1u, 3u}) {
        gathered<float>("gathered f32", first, gather_f32);
        gathered<__nv_bfloat16>("gathered bf16", first, gather_bf16);
    }
    puts(all_right ? "all right" : "WRONG");
    return !all_right;
}
