// Bilinear resize of camera pixels in OpenCV's arithmetic, so that the network sees on a GPU what it sees on a CPU.
#pragma once

#include "axis.cuh"

// cv2.INTER_LINEAR of uint8 weighs in 1/2048, drops 4 bits after the columns and 16 after the rows, then rounds quarters.
struct Weights {
    int before, after;  // of 2048
};

// OpenCV subtracts the sample from a position in float32, so the weight has no finer steps than the position.
FASTSCNN_FN Weights weights_of(const Axis &axis, const Position &position) {
    const int before = position.cell - 1;
    const float after =
        static_cast<float>(before * axis.divisor + position.remainder) / static_cast<float>(axis.divisor) - before;
    return Weights{static_cast<int>(rintf((1.0f - after) * 2048.0f)), static_cast<int>(rintf(after * 2048.0f))};
}

FASTSCNN_FN int weighted(int before, int after, const Weights &weights) {
    return before * weights.before + after * weights.after;
}

struct Pixel {
    unsigned char channel[3];  // B, G, R
};

// A source's pixels at (row, column); `pixels.cuh` has those of other formats.
struct Bgr {
    const unsigned char *bytes;  // (height, width, 3)
    size_t pitch;                // bytes from row to row

    FASTSCNN_FN Pixel at(int y, int x) const {
        const unsigned char *pixel = bytes + y * pitch + 3 * x;
        return Pixel{{pixel[0], pixel[1], pixel[2]}};
    }
};

template <typename Source>
struct Frame {
    Source source;
    Axis rows, columns;
};

template <typename Source>
FASTSCNN_FN Frame<Source> frame_of(const Source &source, int source_height, int source_width, int height, int width) {
    return Frame<Source>{source, axis_between(source_height, height, false), axis_between(source_width, width, false)};
}

struct FrameRow {
    int upper, lower;
    Weights down;
};

template <typename Source>
FASTSCNN_FN FrameRow frame_row(const Frame<Source> &frame, int y) {
    const Position row = position_of(frame.rows, y);
    return FrameRow{sample_before(row), sample_after(frame.rows, row), weights_of(frame.rows, row)};
}

template <typename Source>
FASTSCNN_FN Pixel resized_pixel(const Frame<Source> &frame, const FrameRow &row, int x) {
    const Position column = position_of(frame.columns, x);
    const int left = sample_before(column), right = sample_after(frame.columns, column);
    const Weights across = weights_of(frame.columns, column);
    const Pixel upper_left = frame.source.at(row.upper, left), upper_right = frame.source.at(row.upper, right);
    const Pixel lower_left = frame.source.at(row.lower, left), lower_right = frame.source.at(row.lower, right);
    Pixel pixel;
    for (int channel = 0; channel < 3; ++channel) {
        const int upper = weighted(upper_left.channel[channel], upper_right.channel[channel], across);
        const int lower = weighted(lower_left.channel[channel], lower_right.channel[channel], across);
        const int quarters = ((row.down.before * (upper >> 4)) >> 16) + ((row.down.after * (lower >> 4)) >> 16);
        pixel.channel[channel] = static_cast<unsigned char>((quarters + 2) >> 2);
    }
    return pixel;
}

// Pixels x to x + 3 of a row, as far as there are so many, into the (width, 3) BGR row of an engine that takes uint8.
template <typename Source>
FASTSCNN_FN void write_pixels(const Frame<Source> &frame, const FrameRow &row, int x, int width, unsigned char *out) {
    unsigned char bytes[12];  // in registers, as every index is known when the loops are unrolled
    for (int pixel = 0; pixel < 4; ++pixel) {
        const Pixel resized = resized_pixel(frame, row, smaller(x + pixel, width - 1));
        for (int channel = 0; channel < 3; ++channel) bytes[3 * pixel + channel] = resized.channel[channel];
    }
    out += 3 * static_cast<size_t>(x);
    if (x + 4 <= width && aligned_for<unsigned>(out)) {
        for (int word = 0; word < 12; word += 4)
            reinterpret_cast<unsigned *>(out + word)[0] =
                bytes[word] | bytes[word + 1] << 8 | bytes[word + 2] << 16 | static_cast<unsigned>(bytes[word + 3]) << 24;
    } else {
        for (int byte = 0; byte < 12; ++byte)
            if (byte < 3 * (width - x)) out[byte] = bytes[byte];
    }
}

struct Normalisation {  // a channel's value is level * scale + offset; R, G, B
    float scale[3], offset[3];
};

// The same four pixels, normalised, into the three planes R, G, B that begin at `out`'s row.
template <typename Source, typename T>
FASTSCNN_FN void write_normalised(const Frame<Source> &frame, const FrameRow &row, int x, int width,
                                  const Normalisation &normalisation, T *out, size_t plane) {
    Four<T> values[3];
    for (int pixel = 0; pixel < 4; ++pixel) {
        const Pixel resized = resized_pixel(frame, row, smaller(x + pixel, width - 1));
        for (int channel = 0; channel < 3; ++channel)
            values[channel].value[pixel] = from_float<T>(fmaf(
                resized.channel[2 - channel], normalisation.scale[channel], normalisation.offset[channel]));
    }
    for (int channel = 0; channel < 3; ++channel) {
        T *target = out + channel * plane + x;
        if (x + 4 <= width && aligned_for<Four<T>>(target))
            *reinterpret_cast<Four<T> *>(target) = values[channel];
        else
            for (int pixel = 0; pixel < 4; ++pixel)
                if (x + pixel < width) target[pixel] = values[channel].value[pixel];
    }
}
