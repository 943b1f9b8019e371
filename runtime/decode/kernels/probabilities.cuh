// Soft-max over the classes of the upsampled logits, or each class's sigmoid.
// For the soft-max each sample's largest logit is subtracted first: that commutes with the interpolation, leaves the result
// unchanged and keeps exponents below zero without looking for every pixel's maximum.
#pragma once

#include "cell.cuh"

// A sum of exponentials below it has lost what it is a sum of: half way between samples that are sure of different classes.
#define FASTSCNN_VANISHING 1e-30f

template <typename T>
FASTSCNN_FN Corners<float> peaks_of(const T *logits, int classes, size_t plane, const Run &run) {
    Corners<float> peaks = corners_of(logits, run);
#pragma unroll 2  // left alone, compilers take four, and registers for half as many threads
    for (int index = 1; index < classes; ++index) {
        const Corners<float> corners = corners_of(logits + index * plane, run);
        peaks.upper_left = fmaxf(peaks.upper_left, corners.upper_left);
        peaks.upper_right = fmaxf(peaks.upper_right, corners.upper_right);
        peaks.lower_left = fmaxf(peaks.lower_left, corners.lower_left);
        peaks.lower_right = fmaxf(peaks.lower_right, corners.lower_right);
    }
    return peaks;
}

template <typename T>
FASTSCNN_FN Line shifted_line(const T *plane, const Corners<float> &peaks, const Run &run) {
    const Corners<float> corners = corners_of(plane, run);
    return line_between(Corners<float>{corners.upper_left - peaks.upper_left, corners.upper_right - peaks.upper_right,
                                       corners.lower_left - peaks.lower_left, corners.lower_right - peaks.lower_right},
                        run.down);
}

template <typename T>
FASTSCNN_FN void sum_exponentials(const T *logits, int classes, size_t plane, const Corners<float> &peaks,
                                  const Run &run, const float (&top)[4], float (&sum)[4]) {
    for (int pixel = 0; pixel < 4; ++pixel) sum[pixel] = 0.0f;
#pragma unroll 2
    for (int index = 0; index < classes; ++index) {
        const Line line = shifted_line(logits + index * plane, peaks, run);
        for (int pixel = 0; pixel < 4; ++pixel)
            sum[pixel] += exponential(value_at(line, run.across[pixel]) - top[pixel]);
    }
}

template <typename T>
FASTSCNN_FN void find_tops(const T *logits, int classes, size_t plane, const Corners<float> &peaks, const Run &run,
                           float (&top)[4]) {
    for (int pixel = 0; pixel < 4; ++pixel) top[pixel] = -3e38f;
#pragma unroll 2
    for (int index = 0; index < classes; ++index) {
        const Line line = shifted_line(logits + index * plane, peaks, run);
        for (int pixel = 0; pixel < 4; ++pixel) top[pixel] = fmaxf(top[pixel], value_at(line, run.across[pixel]));
    }
}

// Where the pixels of a run go in the plane of one class, and in those of the classes after it.
template <typename P>
struct Target {
    P *out;
    size_t plane;
    int count;
    bool together;  // all four, by one instruction
};

template <typename P>
FASTSCNN_FN Target<P> target_of(P *out, size_t plane, const Run &run) {
    return Target<P>{out, plane, run.count, run.count == 4 && aligned_for<Four<P>>(out) && plane % 4 == 0};
}

template <typename P>
FASTSCNN_FN void store_next(Target<P> &target, const Four<P> &values) {
    if (target.together)
        *reinterpret_cast<Four<P> *>(target.out) = values;
    else
        for (int pixel = 0; pixel < 4; ++pixel)
            if (pixel < target.count) target.out[pixel] = values.value[pixel];
    target.out += target.plane;
}

template <typename T, typename P>
FASTSCNN_FN void write_softmax(const T *logits, int classes, size_t plane, const Run &run, Target<P> target) {
    const Corners<float> peaks = peaks_of(logits, classes, plane, run);
    float top[4] = {0.0f, 0.0f, 0.0f, 0.0f}, share[4];
    sum_exponentials(logits, classes, plane, peaks, run, top, share);
    if (fminf(fminf(share[0], share[1]), fminf(share[2], share[3])) < FASTSCNN_VANISHING) {
        find_tops(logits, classes, plane, peaks, run, top);
        sum_exponentials(logits, classes, plane, peaks, run, top, share);
    }
    for (int pixel = 0; pixel < 4; ++pixel) share[pixel] = 1.0f / share[pixel];

#pragma unroll 1  // its four exponentials and stores are independent already; twice as many spill
    for (int index = 0; index < classes; ++index) {
        const Line line = shifted_line(logits + index * plane, peaks, run);
        Four<P> values;
        for (int pixel = 0; pixel < 4; ++pixel)
            values.value[pixel] = from_float<P>(
                exponential(value_at(line, run.across[pixel]) - top[pixel]) * share[pixel]);
        store_next(target, values);
    }
}

// What `exponential` loses on large values a sigmoid does not show, as it takes s * (1 - s) of the relative error; an infinite
// one gives 0.
template <typename T, typename P>
FASTSCNN_FN void write_sigmoids(const T *logits, int classes, size_t plane, const Run &run, Target<P> target) {
#pragma unroll 1
    for (int index = 0; index < classes; ++index) {
        const Line line = line_between(corners_of(logits + index * plane, run), run.down);
        Four<P> values;
        for (int pixel = 0; pixel < 4; ++pixel)
            values.value[pixel] = from_float<P>(1.0f / (1.0f + exponential(-value_at(line, run.across[pixel]))));
        store_next(target, values);
    }
}

enum class Probability { softmax, sigmoid };

// Pixels x to x + 3 of a row, as far as there are so many; `out` is the row's start in the plane of class 0.
template <Probability probability, typename T, typename P>
FASTSCNN_FN void write_four(const T *logits, const Geometry &geometry, int y, int x, P *out, size_t out_plane) {
    const size_t plane = plane_of(geometry);
    const Row row = row_of(geometry, y);
    const int end = smaller(x + 4, geometry.width);
    while (x < end) {
        Run run = run_at(geometry, row, x, end - x);
        weigh_across(geometry, run);
        const Target<P> target = target_of(out + x, out_plane, run);
        if constexpr (probability == Probability::softmax)
            write_softmax(logits, geometry.classes, plane, run, target);
        else
            write_sigmoids(logits, geometry.classes, plane, run, target);
        x += run.count;
    }
}
