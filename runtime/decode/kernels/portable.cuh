// What the kernels need beyond C: from CUDA on a GPU, from plain C++ on a CPU, so that tests run the very same functions.
// No header of the CUDA toolkit is included: NVRTC, which often comes without them, compiles this as nvcc does.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FASTSCNN_FN __host__ __device__ __forceinline__
#else
#include <math.h>
#include <stddef.h>
#define FASTSCNN_FN inline
#endif

struct Half {
    unsigned short bits;  // IEEE 754 binary16
};

template <typename T>
struct alignas(4 * sizeof(T)) Four {  // neighbours in memory, moved by one instruction
    T value[4];
};

template <typename T>
FASTSCNN_FN bool aligned_for(const void *address) {
    return reinterpret_cast<size_t>(address) % alignof(T) == 0;
}

FASTSCNN_FN int smaller(int a, int b) { return a < b ? a : b; }
FASTSCNN_FN int larger(int a, int b) { return a > b ? a : b; }

FASTSCNN_FN float to_float(float value) { return value; }

FASTSCNN_FN float to_float(Half half) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half.bits));
    return value;
#else
    const int exponent = half.bits >> 10 & 31, mantissa = half.bits & 1023;
    float value = exponent ? ldexpf(static_cast<float>(1024 + mantissa), exponent - 25)
                           : ldexpf(static_cast<float>(mantissa), -24);
    if (exponent == 31) value = mantissa ? NAN : INFINITY;
    return half.bits & 0x8000 ? -value : value;
#endif
}

template <typename T>
FASTSCNN_FN T from_float(float value);

template <>
FASTSCNN_FN float from_float<float>(float value) {
    return value;
}

template <>
FASTSCNN_FN Half from_float<Half>(float value) {  // to the nearest, to even between two
    Half half;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
#else
    const float size = fabsf(value);
    int unit = 0;  // exponent of the last place
    frexpf(size, &unit);
    unit = size > 0.0f ? larger(unit - 11, -24) : -24;
    half.bits = static_cast<unsigned short>(signbit(value) ? 0x8000 : 0);
    if (!(size < 65520.0f))
        half.bits |= isnan(value) ? 0x7e00 : 0x7c00;
    else  // a mantissa that rounds up to 2048 carries into the exponent, as it must
        half.bits |= static_cast<unsigned short>(((unit + 24) << 10) + static_cast<int>(rintf(ldexpf(size, -unit))));
#endif
    return half;
}

FASTSCNN_FN float exponential(float value) {
#ifdef __CUDA_ARCH__
    return __expf(value);  // its relative error grows with |value|, but below zero exp(value) falls faster: 1e-7 absolute
#else
    return expf(value);
#endif
}
