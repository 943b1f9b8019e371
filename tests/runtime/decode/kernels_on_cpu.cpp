// The real kernels as plain C++: every thread of every block in turn, launched by name as a driver does.
// None of them waits for another thread, so one after the other computes what all at once would; and in either order, unless
// one writes where another does.
#include <cstring>
#include <utility>

struct Index {
    unsigned x, y, z;
};
static Index blockIdx, blockDim, threadIdx;
#define __global__
#define __launch_bounds__(threads)

#include "kernels.cu"

template <typename... P, size_t... I>
static void call(void (*kernel)(P...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P *>(arguments[I])...);
}

static Index index_of(size_t place, const unsigned *size) {
    return {unsigned(place % size[0]), unsigned(place / size[0] % size[1]), unsigned(place / size[0] / size[1])};
}

template <typename... P>
static void run(void (*kernel)(P...), const unsigned *grid, const unsigned *block, bool backwards, void **arguments) {
    blockDim = {block[0], block[1], block[2]};
    const size_t threads = size_t(block[0]) * block[1] * block[2], all = threads * grid[0] * grid[1] * grid[2];
    for (size_t step = 0; step < all; ++step) {
        const size_t place = backwards ? all - 1 - step : step;
        blockIdx = index_of(place / threads, grid);
        threadIdx = index_of(place % threads, block);
        call(kernel, arguments, std::index_sequence_for<P...>{});
    }
}

// Gives 0 for a name that there is not.
extern "C" int launch(const char *name, const unsigned *grid, const unsigned *block, int backwards, void **arguments) {
#define TRY(kernel) \
    if (!std::strcmp(name, #kernel)) return run(kernel, grid, block, backwards != 0, arguments), 1;
    TRY(fastscnn_frame_u8)
    TRY(fastscnn_frame_f32)
    TRY(fastscnn_frame_f16)
    TRY(fastscnn_packed_u8)
    TRY(fastscnn_packed_f32)
    TRY(fastscnn_packed_f16)
    TRY(fastscnn_yuv_u8)
    TRY(fastscnn_yuv_f32)
    TRY(fastscnn_yuv_f16)
    TRY(fastscnn_confidence_softmax_f16)
    TRY(fastscnn_confidence_softmax_f32)
    TRY(fastscnn_confidence_sigmoid_f16)
    TRY(fastscnn_confidence_sigmoid_f32)
    TRY(fastscnn_known_softmax_f16)
    TRY(fastscnn_known_softmax_f32)
    TRY(fastscnn_known_sigmoid_f16)
    TRY(fastscnn_known_sigmoid_f32)
    TRY(fastscnn_winners_f16)
    TRY(fastscnn_winners_f32)
    TRY(fastscnn_labels_f16)
    TRY(fastscnn_labels_f32)
    TRY(fastscnn_softmax_f16_f16)
    TRY(fastscnn_softmax_f16_f32)
    TRY(fastscnn_softmax_f32_f16)
    TRY(fastscnn_softmax_f32_f32)
    TRY(fastscnn_sigmoid_f16_f16)
    TRY(fastscnn_sigmoid_f16_f32)
    TRY(fastscnn_sigmoid_f32_f16)
    TRY(fastscnn_sigmoid_f32_f32)
    return 0;
}

extern "C" void halves_to_floats(const unsigned short *halves, float *floats, int count) {
    for (int index = 0; index < count; ++index) floats[index] = to_float(Half{halves[index]});
}

extern "C" void floats_to_halves(const float *floats, unsigned short *halves, int count) {
    for (int index = 0; index < count; ++index) halves[index] = from_float<Half>(floats[index]).bits;
}
