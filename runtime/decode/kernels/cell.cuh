// Bilinear interpolation of logits inside a cell: the pixels between four neighbouring samples.
// fmaf is written out wherever a product is added, so that no compiler rounds otherwise than another.
#pragma once

#include "axis.cuh"

struct Geometry {
    int classes;
    Axis rows, columns;  // samples of the logits
    int height, width;   // of the result
};

FASTSCNN_FN Geometry geometry_of(int classes, int low_height, int low_width, int height, int width, int align_corners) {
    return Geometry{classes, axis_between(low_height, height, align_corners != 0),
                    axis_between(low_width, width, align_corners != 0), height, width};
}

FASTSCNN_FN size_t plane_of(const Geometry &geometry) {
    return static_cast<size_t>(geometry.rows.samples) * geometry.columns.samples;
}

struct Row {
    int upper, lower;  // offsets of the two rows of samples in a plane
    float down;        // weight of the lower
};

FASTSCNN_FN Row row_of(const Geometry &geometry, int y) {
    const Position position = position_of(geometry.rows, y);
    const int width = geometry.columns.samples;
    return Row{sample_before(position) * width, sample_after(geometry.rows, position) * width,
               weight_after(geometry.rows, position)};
}

// Up to four neighbouring pixels of a row that lie in one cell.
struct Run {
    int count;
    Position start;
    int upper_left, upper_right, lower_left, lower_right;  // offsets of the corners in a plane
    float down;       // weight of the lower corners
    float across[4];  // of the right ones, once they are wanted: four divisions, which most cells of a label map can do without
};

FASTSCNN_FN Run run_at(const Geometry &geometry, const Row &row, int x, int limit) {
    const Position position = position_of(geometry.columns, x);
    const int left = sample_before(position), right = sample_after(geometry.columns, position);
    return Run{run_length(geometry.columns, position, limit), position,
               row.upper + left, row.upper + right, row.lower + left, row.lower + right, row.down, {}};
}

// Pixels beyond the run's count repeat the last, so that loops over four need no end of their own.
FASTSCNN_FN void weigh_across(const Geometry &geometry, Run &run) {
    for (int pixel = 0; pixel < 4; ++pixel)
        run.across[pixel] = weight_after(geometry.columns, run.start, smaller(pixel, run.count - 1));
}

template <typename T>
struct Corners {
    T upper_left, upper_right, lower_left, lower_right;
};

template <typename T>
FASTSCNN_FN Corners<float> corners_of(const T *plane, const Run &run) {
    return Corners<float>{to_float(plane[run.upper_left]), to_float(plane[run.upper_right]),
                          to_float(plane[run.lower_left]), to_float(plane[run.lower_right])};
}

struct Line {
    float start, slope;  // of one class along a row of pixels in the cell
};

FASTSCNN_FN Line line_between(const Corners<float> &corners, float down) {
    const float start = fmaf(down, corners.lower_left - corners.upper_left, corners.upper_left);
    const float end = fmaf(down, corners.lower_right - corners.upper_right, corners.upper_right);
    return Line{start, end - start};
}

FASTSCNN_FN float value_at(const Line &line, float across) { return fmaf(across, line.slope, line.start); }
