// The real kernels as plain C++: every thread of every block in turn, launched by name as a driver does.
// None of them waits for another thread, so one after the other computes what all at once would.
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

template <typename... P>
static void run(void (*kernel)(P...), const unsigned *grid, const unsigned *block, void **arguments) {
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block[2]; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                            call(kernel, arguments, std::index_sequence_for<P...>{});
}

// Gives 0 for a name that there is not.
extern "C" int launch(const char *name, const unsigned *grid, const unsigned *block, void **arguments) {
#define TRY(kernel) \
    if (!std::strcmp(name, #kernel)) return run(kernel, grid, block, arguments), 1;
    TRY(fastscnn_frame_u8)
    TRY(fastscnn_frame_f32)
    TRY(fastscnn_frame_f16)
    TRY(fastscnn_winners_f16)
    TRY(fastscnn_winners_f32)
    TRY(fastscnn_labels_f16)
    TRY(fastscnn_labels_f32)
    TRY(fastscnn_probabilities_f16_f16)
    TRY(fastscnn_probabilities_f16_f32)
    TRY(fastscnn_probabilities_f32_f16)
    TRY(fastscnn_probabilities_f32_f32)
    return 0;
}

extern "C" void halves_to_floats(const unsigned short *halves, float *floats, int count) {
    for (int index = 0; index < count; ++index) floats[index] = to_float(Half{halves[index]});
}

extern "C" void floats_to_halves(const float *floats, unsigned short *halves, int count) {
    for (int index = 0; index < count; ++index) halves[index] = from_float<Half>(floats[index]).bits;
}
