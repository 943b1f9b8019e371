// Where a pixel of the result lies between the samples of the source, along one axis. In whole numbers, so without drift.
#pragma once

#include "portable.cuh"

// A position is a number of samples, times `divisor`. Sizes must keep 2 * size * (samples + 1) below 2^31.
struct Axis {
    int samples;
    int divisor;
    int origin;  // position of pixel 0, one sample further on, so that it is never negative
    int step;    // from pixel to pixel
};

struct Position {
    int cell;       // between samples cell - 1 and cell: 0 before the first sample, `samples` after the last
    int remainder;  // from the sample before, of `divisor`
};

FASTSCNN_FN Axis axis_between(int samples, int size, bool align_corners) {
    if (align_corners) {
        const int intervals = larger(size - 1, 1);
        return Axis{samples, intervals, intervals, samples - 1};
    }
    return Axis{samples, 2 * size, samples + size, 2 * samples};  // (pixel + 0.5) * samples / size - 0.5
}

FASTSCNN_FN Position position_of(const Axis &axis, int pixel) {
    const int position = axis.origin + pixel * axis.step;
    const int cell = position / axis.divisor;
    return Position{cell, position - cell * axis.divisor};
}

FASTSCNN_FN int sample_before(const Position &position) { return larger(position.cell - 1, 0); }

FASTSCNN_FN int sample_after(const Axis &axis, const Position &position) {
    return smaller(position.cell, axis.samples - 1);
}

// Weight of the sample after, in [0, 1), of the pixel that lies `pixels` further on in the same cell.
FASTSCNN_FN float weight_after(const Axis &axis, const Position &position, int pixels = 0) {
    return static_cast<float>(position.remainder + pixels * axis.step) / static_cast<float>(axis.divisor);
}

// How many pixels from this one on lie in the same cell, at most four and at most `limit`.
FASTSCNN_FN int run_length(const Axis &axis, const Position &position, int limit) {
    int count = 1;
    for (int pixel = 1; pixel < 4; ++pixel) count += position.remainder + pixel * axis.step < axis.divisor;
    return smaller(count, limit);
}
