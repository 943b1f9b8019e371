// Pixels of other formats than BGR, in OpenCV's arithmetic: what a camera gives need not pass through the CPU.
#pragma once

#include "resize.cuh"

// Bytes of a pixel beside each other: RGB, BGRA, RGBA, or one for all, grey.
struct Packed {
    const unsigned char *bytes;
    size_t pitch;
    int size, blue, green, red;  // bytes of a pixel, and where each colour is in it

    FASTSCNN_FN Pixel at(int y, int x) const {
        const unsigned char *pixel = bytes + y * pitch + size * x;
        return Pixel{{pixel[blue], pixel[green], pixel[red]}};
    }
};

// Where two neighbours, or four, share their colour differences: YUYV, UYVY, NV12, NV21, I420.
struct Yuv {
    const unsigned char *bytes;
    size_t pitch;
    int luma_step, luma;       // bytes from pixel to pixel, and to the first
    int chroma, chroma_pitch;  // bytes to the colour differences, and from row to row of them
    int chroma_step, shift;    // bytes from pair to pair; rows that share them, as a power of two
    int u, v;                  // bytes to the first of each

    // BT.601 in limited range, in 1/2^20.
    FASTSCNN_FN Pixel at(int y, int x) const {
        const unsigned char *pair = bytes + chroma + static_cast<size_t>(y >> shift) * chroma_pitch + (x >> 1) * chroma_step;
        const int level = larger(bytes[y * pitch + luma_step * x + luma] - 16, 0) * 1220542 + (1 << 19);
        const int blue_difference = pair[u] - 128, red_difference = pair[v] - 128;
        return Pixel{{limited(level + 2116026 * blue_difference),
                      limited(level - 409993 * blue_difference - 852492 * red_difference),
                      limited(level + 1673527 * red_difference)}};
    }

    static FASTSCNN_FN unsigned char limited(int value) {
        return static_cast<unsigned char>(smaller(larger(value, 0) >> 20, 255));
    }
};
