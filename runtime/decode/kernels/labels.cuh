// Labels without upsampling: a class that wins at all four corners of a cell wins everywhere between them.
#pragma once

#include "cell.cuh"

// Arg-max over the classes at one sample; the lowest class wins a tie.
template <typename T>
FASTSCNN_FN unsigned char winner_of(const T *logits, int classes, size_t plane) {
    float best = to_float(logits[0]);
    int winner = 0;
    for (int index = 1; index < classes; ++index) {
        const float value = to_float(logits[index * plane]);
        if (value > best) {
            best = value;
            winner = index;
        }
    }
    return static_cast<unsigned char>(winner);
}

// The best class of each pixel of a run, and its logit.
template <typename T>
FASTSCNN_FN void find_best(const T *logits, int classes, size_t plane, const Run &run, float (&best)[4],
                           unsigned (&label)[4]) {
    const Line first = line_between(corners_of(logits, run), run.down);
    for (int pixel = 0; pixel < 4; ++pixel) {
        best[pixel] = value_at(first, run.across[pixel]);
        label[pixel] = 0;
    }
#pragma unroll 2  // as in probabilities.cuh: more takes registers, and spills on some
    for (int index = 1; index < classes; ++index) {
        const Line line = line_between(corners_of(logits + index * plane, run), run.down);
        for (int pixel = 0; pixel < 4; ++pixel) {
            const float value = value_at(line, run.across[pixel]);
            if (value > best[pixel]) {
                best[pixel] = value;
                label[pixel] = index;
            }
        }
    }
}

// Labels of a run whose corners disagree, a byte each.
template <typename T>
FASTSCNN_FN unsigned contested_labels(const T *logits, int classes, size_t plane, const Run &run) {
    float best[4];
    unsigned label[4];
    find_best(logits, classes, plane, run, best, label);
    return label[0] | label[1] << 8 | label[2] << 16 | label[3] << 24;
}

// Decides on cells whose corners disagree, and on no others.
struct Contested {
    FASTSCNN_FN bool sure(const Run &) const { return true; }

    template <typename T>
    FASTSCNN_FN unsigned labels(const T *logits, int classes, size_t plane, const Run &run) const {
        return contested_labels(logits, classes, plane, run);
    }
};

// Labels of pixels x to x + 3 of a row, a byte each; those outside the result hold anything.
template <typename T, typename Judge>
FASTSCNN_FN unsigned four_labels(const T *logits, const unsigned char *winners, const Judge &judge,
                                 const Geometry &geometry, const Row &row, int x) {
    unsigned labels = 0;
    const int end = smaller(x + 4, geometry.width);
    for (int start = larger(x, 0); start < end;) {
        Run run = run_at(geometry, row, start, x + 4 - start);
        const unsigned winner = winners[run.upper_left];
        unsigned here = winner * 0x01010101u;
        if ((winners[run.upper_right] ^ winner) | (winners[run.lower_left] ^ winner) |
                (winners[run.lower_right] ^ winner) ||
            !judge.sure(run)) {
            weigh_across(geometry, run);
            here = judge.labels(logits, geometry.classes, plane_of(geometry), run);
        }
        const int shift = 8 * (start - x);
        labels = (labels & ((1u << shift) - 1)) | here << shift;
        start += run.count;
    }
    return labels;
}

// The group-th 16 bytes of a row of labels, counted from the last multiple of 16 at or before its start.
template <typename T, typename Judge>
FASTSCNN_FN void write_sixteen(const T *logits, const unsigned char *winners, const Judge &judge,
                               const Geometry &geometry, int y, int group, unsigned char *out) {
    const int x = 16 * group - static_cast<int>(reinterpret_cast<size_t>(out) % 16);
    const Row row = row_of(geometry, y);
    Four<unsigned> labels = {};
#pragma unroll 1  // one copy of the loop over classes; the words move up, since an index would put them into memory
    for (int word = 0; word < 4; ++word)
        labels = {labels.value[1], labels.value[2], labels.value[3],
                  four_labels(logits, winners, judge, geometry, row, x + 4 * word)};
    if (x >= 0 && x + 16 <= geometry.width) {
        *reinterpret_cast<Four<unsigned> *>(out + x) = labels;
        return;
    }
#pragma unroll
    for (int byte = 0; byte < 16; ++byte)
        if (x + byte >= 0 && x + byte < geometry.width)
            out[x + byte] = static_cast<unsigned char>(labels.value[byte / 4] >> 8 * (byte % 4));
}
