// What the checks of emulated kernels share: numbers that look random, and what is said of a result.

#pragma once

#include "device.hpp"

struct Numbers {
    uint64_t state;

    // Roughly normal: the sum of four uniform values, variance `scale` squared.
    float next(float scale) {
        float sum = 0;
        for (int i = 0; i < 4; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += float(state >> 40) / float(1 << 24) - 0.5f;
        }
        return sum * 1.7320508f * scale;
    }
    std::vector<float> some(size_t count, float scale) {
        std::vector<float> values(count);
        for (float &value : values) value = next(scale);
        return values;
    }
};

inline void set(float &to, float value) { to = value; }
inline void set(__nv_bfloat16 &to, float value) { to = __float2bfloat16(value); }
inline double get(double value) { return value; }
inline double get(float value) { return value; }
inline double get(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class T>
std::vector<T> as(const std::vector<float> &values) {
    std::vector<T> out(values.size());
    for (size_t i = 0; i < values.size(); i++) set(out[i], values[i]);
    return out;
}

// A buffer of NaN: what a kernel leaves out shows.
template <class T>
std::vector<T> poisoned(size_t count) {
    return as<T>(std::vector<float>(count, NAN));
}

inline bool all_right = true;

// The largest gap, which must stay below `most`; NaN is no small gap.
template <class T>
void expect(const char *what, const std::vector<T> &found, const std::vector<double> &wanted, double most) {
    double largest = 0;
    for (size_t i = 0; i < wanted.size(); i++) {
        double gap = std::fabs(get(found[i]) - wanted[i]);
        if (!(gap <= largest)) largest = gap;
    }
    bool right = largest <= most;
    all_right &= right;
    printf("%-44s largest gap %.2e of %.0e allowed%s\n", what, largest, most, right ? "" : "  WRONG");
}
