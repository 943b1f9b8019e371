// Low-resolution logits become full-resolution labels or probabilities, without the upsampled logits in between.
//
//   fastscnn_winners_{f16,f32}             logits (N, C, h, w) -> winners (N, h, w) uint8, the arg-max of every sample
//   fastscnn_labels_{f16,f32}              logits, winners -> labels (N, H, W) uint8
//   fastscnn_confidence_{softmax,sigmoid}_{f16,f32}  logits -> confidence (N, h, w) uint8, 255 times the best probability
//   fastscnn_known_{softmax,sigmoid}_{f16,f32}       logits, winners, confidence -> labels, 255 where the best probability
//                                                    is below a bound; sure_from is the least confidence surely above it
//   fastscnn_softmax_{f16,f32}_{f16,f32}   logits -> probabilities (N, C, H, W) float16 or float32 (the second name)
//   fastscnn_sigmoid_{f16,f32}_{f16,f32}   the same, of each class by itself
//
// Logits: contiguous, finite, C from 2 to 255; a class that ties with another loses to the lower. Any ratio of the sizes,
// with half-pixel centres or, where align_corners is not 0, with corners on corners. Nothing need be aligned beyond its
// type; labels are stored by 16 bytes wherever such a group lies inside a row, probabilities by four values where W % 4 == 0.
// Launch: winners and confidence with block (128), grid (h * w / 128, 1, N); labels with block (8, 16), a thread for 16 neighbouring
// pixels, grid ((W + 15) / 128, H / 16, N); probabilities with block (32, 4), a thread for four, grid (W / 128, H / 4, N);
// all rounded up.
//
// Labels take two passes because 64 pixels share a cell of a street's usual factor 8: the first reads every logit once
// (1.2 MB in FP16 at 1024x2048 with 19 classes) and leaves 32 kB in the cache, from which the second fills 2 MB. In one
// pass each thread would look for eight winners of its own: 40 MB of loads instead of 1.2.
// A warp of the second covers 128 x 4 pixels, so that few warps meet a contested cell and many lanes share it.
// Probabilities write 159 MB (FP32) or 80 MB (FP16) and read 1.2 MB, again and again but from the cache.
#include "confidence.cuh"

#define FASTSCNN_WINNERS(name, T)                                                                             \
    extern "C" __global__ void __launch_bounds__(128)                                                         \
    name(const T *logits, unsigned char *winners, int classes, int low_height, int low_width) {               \
        const int sample = blockIdx.x * blockDim.x + threadIdx.x, plane = low_height * low_width;             \
        if (sample >= plane) return;                                                                          \
        const size_t first = static_cast<size_t>(blockIdx.z) * plane;                                         \
        winners[first + sample] = winner_of(logits + first * classes + sample, classes, plane);               \
    }

#define FASTSCNN_LABELS(name, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(128)                                                         \
    name(const T *logits, const unsigned char *winners, unsigned char *labels, int classes, int low_height,   \
         int low_width, int height, int width, int align_corners) {                                           \
        const int y = blockIdx.y * blockDim.y + threadIdx.y, group = blockIdx.x * blockDim.x + threadIdx.x;   \
        if (y >= height) return;                                                                              \
        const Geometry geometry = geometry_of(classes, low_height, low_width, height, width, align_corners);  \
        const size_t first = blockIdx.z * plane_of(geometry);                                                 \
        write_sixteen(logits + first * classes, winners + first, Contested{}, geometry, y, group,             \
                      labels + (static_cast<size_t>(blockIdx.z) * height + y) * width);                       \
    }

#define FASTSCNN_CONFIDENCE(name, probability, T)                                                             \
    extern "C" __global__ void __launch_bounds__(128)                                                         \
    name(const T *logits, unsigned char *confidence, int classes, int low_height, int low_width) {            \
        const int sample = blockIdx.x * blockDim.x + threadIdx.x, plane = low_height * low_width;             \
        if (sample >= plane) return;                                                                          \
        const size_t first = static_cast<size_t>(blockIdx.z) * plane;                                         \
        confidence[first + sample] =                                                                          \
            confidence_of<probability>(logits + first * classes + sample, classes, plane);                    \
    }

#define FASTSCNN_KNOWN(name, probability, T)                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                                         \
    name(const T *logits, const unsigned char *winners, const unsigned char *confidence,                      \
         unsigned char *labels, int classes, int low_height, int low_width, int height, int width,            \
         int align_corners, int sure_from, float below) {                                                     \
        const int y = blockIdx.y * blockDim.y + threadIdx.y, group = blockIdx.x * blockDim.x + threadIdx.x;   \
        if (y >= height) return;                                                                              \
        const Geometry geometry = geometry_of(classes, low_height, low_width, height, width, align_corners);  \
        const size_t first = blockIdx.z * plane_of(geometry);                                                 \
        write_sixteen(logits + first * classes, winners + first,                                              \
                      Doubt<probability>{confidence + first, sure_from, below}, geometry, y, group,           \
                      labels + (static_cast<size_t>(blockIdx.z) * height + y) * width);                       \
    }

#define FASTSCNN_PROBABILITIES(name, probability, T, P)                                                       \
    extern "C" __global__ void __launch_bounds__(128)                                                         \
    name(const T *logits, P *probabilities, int classes, int low_height, int low_width, int height,           \
         int width, int align_corners) {                                                                      \
        const int y = blockIdx.y * blockDim.y + threadIdx.y;                                                  \
        const int x = 4 * (blockIdx.x * blockDim.x + threadIdx.x);                                            \
        if (y >= height || x >= width) return;                                                                \
        const Geometry geometry = geometry_of(classes, low_height, low_width, height, width, align_corners);  \
        const size_t frame = static_cast<size_t>(blockIdx.z) * classes;                                       \
        const size_t plane = static_cast<size_t>(height) * width;                                             \
        write_four<probability>(logits + frame * plane_of(geometry), geometry, y, x,                          \
                                probabilities + frame * plane + static_cast<size_t>(y) * width, plane);       \
    }

FASTSCNN_WINNERS(fastscnn_winners_f16, Half)
FASTSCNN_WINNERS(fastscnn_winners_f32, float)
FASTSCNN_LABELS(fastscnn_labels_f16, Half)
FASTSCNN_LABELS(fastscnn_labels_f32, float)
FASTSCNN_CONFIDENCE(fastscnn_confidence_softmax_f16, Probability::softmax, Half)
FASTSCNN_CONFIDENCE(fastscnn_confidence_softmax_f32, Probability::softmax, float)
FASTSCNN_CONFIDENCE(fastscnn_confidence_sigmoid_f16, Probability::sigmoid, Half)
FASTSCNN_CONFIDENCE(fastscnn_confidence_sigmoid_f32, Probability::sigmoid, float)
FASTSCNN_KNOWN(fastscnn_known_softmax_f16, Probability::softmax, Half)
FASTSCNN_KNOWN(fastscnn_known_softmax_f32, Probability::softmax, float)
FASTSCNN_KNOWN(fastscnn_known_sigmoid_f16, Probability::sigmoid, Half)
FASTSCNN_KNOWN(fastscnn_known_sigmoid_f32, Probability::sigmoid, float)
FASTSCNN_PROBABILITIES(fastscnn_softmax_f16_f16, Probability::softmax, Half, Half)
FASTSCNN_PROBABILITIES(fastscnn_softmax_f16_f32, Probability::softmax, Half, float)
FASTSCNN_PROBABILITIES(fastscnn_softmax_f32_f16, Probability::softmax, float, Half)
FASTSCNN_PROBABILITIES(fastscnn_softmax_f32_f32, Probability::softmax, float, float)
FASTSCNN_PROBABILITIES(fastscnn_sigmoid_f16_f16, Probability::sigmoid, Half, Half)
FASTSCNN_PROBABILITIES(fastscnn_sigmoid_f16_f32, Probability::sigmoid, Half, float)
FASTSCNN_PROBABILITIES(fastscnn_sigmoid_f32_f16, Probability::sigmoid, float, Half)
FASTSCNN_PROBABILITIES(fastscnn_sigmoid_f32_f32, Probability::sigmoid, float, float)
