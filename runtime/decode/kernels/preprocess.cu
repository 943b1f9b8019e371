// A camera frame becomes the engine's input.
//
//   fastscnn_frame_u8   (H, W, 3) uint8 BGR of the engine's size
//   fastscnn_frame_f32  (3, H, W) float32 normalised RGB, value = level * scale + offset
//   fastscnn_frame_f16  the same in float16
//
// and as many called packed and yuv, from other formats than BGR; see pixels.cuh.
//
// Source: (source_height, source_width, 3) uint8 BGR, `pitch` bytes from row to row, any alignment. Resized bilinearly and
// rounded to uint8 first. The levels are those of cv2.INTER_LINEAR; where 2 * source * size of an axis passes 2^24, or where
// OpenCV hands the work to code of another maker, single ones may differ by 1. A frame of the engine's size stays as it is.
// Output: contiguous, aligned to its type. Four pixels are stored at once where W % 4 == 0 and it begins at a multiple of 4
// (u8), 16 (f32) or 8 (f16) bytes. Launch: block (32, 4), a thread for four neighbours, grid (W / 128, H / 4) rounded up.
// Moves, at 1024x2048 from a frame of that size: 6.3 MB in; 6.3 (u8), 25 (f32) or 12.6 MB (f16) out. What several pixels
// need comes from the cache.
#include "pixels.cuh"

#define FASTSCNN_PIXEL int y = blockIdx.y * blockDim.y + threadIdx.y, x = 4 * (blockIdx.x * blockDim.x + threadIdx.x)

template <typename Source>
FASTSCNN_FN void write_bytes(const Source &source, unsigned char *out, int source_height, int source_width, int height,
                             int width, int y, int x) {
    if (y >= height || x >= width) return;
    const Frame<Source> frame = frame_of(source, source_height, source_width, height, width);
    write_pixels(frame, frame_row(frame, y), x, width, out + 3 * static_cast<size_t>(width) * y);
}

template <typename Source, typename T>
FASTSCNN_FN void write_frame(const Source &source, T *out, int source_height, int source_width, int height, int width,
                             int y, int x, const Normalisation &normalisation) {
    if (y >= height || x >= width) return;
    const Frame<Source> frame = frame_of(source, source_height, source_width, height, width);
    const size_t plane = static_cast<size_t>(height) * width;
    write_normalised(frame, frame_row(frame, y), x, width, normalisation, out + static_cast<size_t>(width) * y, plane);
}

#define FASTSCNN_SIZES int pitch, int source_height, int source_width, int height, int width
#define FASTSCNN_NORMALISATION \
    float scale_r, float scale_g, float scale_b, float offset_r, float offset_g, float offset_b
#define FASTSCNN_BGR_OF Bgr{source, static_cast<size_t>(pitch)}
#define FASTSCNN_PACKED int size, int blue, int green, int red
#define FASTSCNN_PACKED_OF Packed{source, static_cast<size_t>(pitch), size, blue, green, red}
#define FASTSCNN_YUV \
    int luma_step, int luma, int chroma, int chroma_pitch, int chroma_step, int shift, int u, int v
#define FASTSCNN_YUV_OF \
    Yuv{source, static_cast<size_t>(pitch), luma_step, luma, chroma, chroma_pitch, chroma_step, shift, u, v}

#define FASTSCNN_BYTES(name, of, ...)                                                      \
    extern "C" __global__ void __launch_bounds__(128)                                      \
    name(const unsigned char *source, unsigned char *out, __VA_ARGS__) {                   \
        FASTSCNN_PIXEL;                                                                    \
        write_bytes(of, out, source_height, source_width, height, width, y, x);            \
    }

#define FASTSCNN_FRAME(name, T, of, ...)                                                   \
    extern "C" __global__ void __launch_bounds__(128)                                      \
    name(const unsigned char *source, T *out, __VA_ARGS__) {                               \
        FASTSCNN_PIXEL;                                                                    \
        write_frame(of, out, source_height, source_width, height, width, y, x,             \
                    Normalisation{{scale_r, scale_g, scale_b}, {offset_r, offset_g, offset_b}}); \
    }

FASTSCNN_BYTES(fastscnn_frame_u8, FASTSCNN_BGR_OF, FASTSCNN_SIZES)
FASTSCNN_FRAME(fastscnn_frame_f32, float, FASTSCNN_BGR_OF, FASTSCNN_SIZES, FASTSCNN_NORMALISATION)
FASTSCNN_FRAME(fastscnn_frame_f16, Half, FASTSCNN_BGR_OF, FASTSCNN_SIZES, FASTSCNN_NORMALISATION)
FASTSCNN_BYTES(fastscnn_packed_u8, FASTSCNN_PACKED_OF, FASTSCNN_SIZES, FASTSCNN_PACKED)
FASTSCNN_FRAME(fastscnn_packed_f32, float, FASTSCNN_PACKED_OF, FASTSCNN_SIZES, FASTSCNN_PACKED, FASTSCNN_NORMALISATION)
FASTSCNN_FRAME(fastscnn_packed_f16, Half, FASTSCNN_PACKED_OF, FASTSCNN_SIZES, FASTSCNN_PACKED, FASTSCNN_NORMALISATION)
FASTSCNN_BYTES(fastscnn_yuv_u8, FASTSCNN_YUV_OF, FASTSCNN_SIZES, FASTSCNN_YUV)
FASTSCNN_FRAME(fastscnn_yuv_f32, float, FASTSCNN_YUV_OF, FASTSCNN_SIZES, FASTSCNN_YUV, FASTSCNN_NORMALISATION)
FASTSCNN_FRAME(fastscnn_yuv_f16, Half, FASTSCNN_YUV_OF, FASTSCNN_SIZES, FASTSCNN_YUV, FASTSCNN_NORMALISATION)
