// How sure the network is: the probability of the best class, at the samples; and labels that say where it is below a bound.
#pragma once

#include "labels.cuh"
#include "probabilities.cuh"

FASTSCNN_FN float certainty_of(float best, float sum, Probability probability) {
    return probability == Probability::sigmoid ? 1.0f / (1.0f + exponential(-best)) : 1.0f / sum;
}

// At one sample, 0 to 255 for 0 to 1.
template <Probability probability, typename T>
FASTSCNN_FN unsigned char confidence_of(const T *logits, int classes, size_t plane) {
    float best = to_float(logits[0]), sum = 0.0f;
    for (int index = 1; index < classes; ++index) best = fmaxf(best, to_float(logits[index * plane]));
    if (probability == Probability::softmax)
        for (int index = 0; index < classes; ++index) sum += exponential(to_float(logits[index * plane]) - best);
    return static_cast<unsigned char>(rintf(255.0f * certainty_of(best, sum, probability)));
}

// The logarithm of a soft-max is concave along either axis, so a class that wins at all corners of a cell is nowhere in it less
// sure than at some corner: only cells of which one corner is not sure are looked at.
template <Probability probability>
struct Doubt {
    const unsigned char *confidence;  // of the samples
    int sure_from;                    // the least of it that is above the bound whatever its rounding
    float below;

    FASTSCNN_FN bool sure(const Run &run) const {
        return smaller(smaller(confidence[run.upper_left], confidence[run.upper_right]),
                       smaller(confidence[run.lower_left], confidence[run.lower_right])) >= sure_from;
    }

    template <typename T>
    FASTSCNN_FN unsigned labels(const T *logits, int classes, size_t plane, const Run &run) const {
        float best[4], sum[4];
        unsigned label[4];
        find_best(logits, classes, plane, run, best, label);
        unsigned labels = label[0] | label[1] << 8 | label[2] << 16 | label[3] << 24;  // one register while it sums
        for (int pixel = 0; pixel < 4; ++pixel) sum[pixel] = 0.0f;
        if (probability == Probability::softmax) {
#pragma unroll 1  // or registers spill on some
            for (int index = 0; index < classes; ++index) {
                const Line line = line_between(corners_of(logits + index * plane, run), run.down);
                for (int pixel = 0; pixel < 4; ++pixel)
                    sum[pixel] += exponential(value_at(line, run.across[pixel]) - best[pixel]);
            }
        }
        for (int pixel = 0; pixel < 4; ++pixel) {
            if (certainty_of(best[pixel], sum[pixel], probability) < below) labels |= 255u << 8 * pixel;
        }
        return labels;
    }
};
