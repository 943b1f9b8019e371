/* Low-resolution logits -> labels, probabilities and certainty at full resolution; the reference is ../in_numpy.py.
 *
 * Called through ctypes: no header and no symbol of Python, so any Python 3 loads it, and its lock is free meanwhile.
 * Everything is written straight into the result, band by band, with no more memory beside it than a core's own caches.
 * steps.h holds the work; it is compiled for each instruction set, and the caller names the one to use. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif
#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#else
#define X86 0
#endif

enum { INTERFACE = 1 }; /* what follows, as the Python side knows it */

/* Cell k of an axis lies between samples k - 1 and k, clamped; its result positions are starts[k] to starts[k + 1]. */
typedef struct {
    ptrdiff_t samples;    /* of the logits */
    ptrdiff_t size;       /* of the result */
    const int32_t *starts; /* (samples + 2,) */
    const float *weights; /* (size,) of the far sample */
} Axis;

typedef struct {
    Axis y, x;
    ptrdiff_t classes;
    int32_t sigmoid; /* else soft-max */
    int32_t level;   /* instruction set: 0 what the compiler took, 1 AVX2, 2 AVX-512 */
    int32_t stream;  /* write past the caches */
} Geometry;

#define LOG2E 1.44269504088896341f
#define UNKNOWN 255
#define SURELY 1.00001f /* by more than rounding */
#define CHUNK 64        /* samples at a time */
#define ROWS 8          /* of a cell's result positions at a time, */
#define SLOTS 16        /* and columns */
#define CACHED 21504    /* numbers that a core's own caches hold well */
#define LOWEST -120.0f  /* exponents: below, shares would be numbers that processors are slow with */
#define TOO_LOW 1e-27f  /* sums of powers of which a part may have been below LOWEST */

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t before(ptrdiff_t cell) { return most(cell - 1, 0); }
static ptrdiff_t after(const Axis *axis, ptrdiff_t cell) { return least(cell, axis->samples - 1); }

/* Memory for `floats` numbers from an address that vectors like; `*block` is to be freed. */
static float *room(size_t floats, void **block)
{
    *block = malloc(floats * sizeof(float) + 64);
    return *block ? (float *)(((uintptr_t)*block + 63) & ~(uintptr_t)63) : NULL;
}

#define NAME(name) name##_plain
#define TARGET
#if X86
#define LANES 4
#define STREAM(to, from, scale) _mm_stream_ps(to, _mm_mul_ps(_mm_loadu_ps(from), _mm_loadu_ps(scale)))
#endif
#include "steps.h"

#if X86
#undef NAME
#undef TARGET
#undef LANES
#undef STREAM
#define NAME(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define STREAM(to, from, scale) _mm256_stream_ps(to, _mm256_mul_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(scale)))
#include "steps.h"

#undef NAME
#undef TARGET
#undef LANES
#undef STREAM
#define NAME(name) name##_avx512
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define LANES 16
#define STREAM(to, from, scale) _mm512_stream_ps(to, _mm512_mul_ps(_mm512_loadu_ps(from), _mm512_loadu_ps(scale)))
#include "steps.h"

#define CALL(g, name, ...)                                                                        \
    ((g)->level == 2 ? name##_avx512(__VA_ARGS__) : (g)->level == 1 ? name##_avx2(__VA_ARGS__)    \
                                                                    : name##_plain(__VA_ARGS__))
#else
#define CALL(g, name, ...) name##_plain(__VA_ARGS__)
#endif

PUBLIC int32_t fastscnn_interface(void) { return INTERFACE; }

/* The best instruction set of this processor, as `level` counts them. */
PUBLIC int32_t fastscnn_level(void)
{
#if X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
#endif
    return 0;
}

/* (C, h, w) -> (H, W), those rows that lie in cells `first` to `last`. All give 0, or 1 where there is no memory. */
PUBLIC int32_t fastscnn_labels(const Geometry *g, const float *logits, float below, uint8_t *out, ptrdiff_t first,
                               ptrdiff_t last)
{
    return CALL(g, labels, g, logits, below, out, first, last);
}

/* (C, h, w) -> (C, H, W), likewise. */
PUBLIC int32_t fastscnn_probabilities(const Geometry *g, const float *logits, float *out, ptrdiff_t first,
                                      ptrdiff_t last)
{
    return CALL(g, probabilities, g, logits, out, first, last);
}

/* (C, h, w) -> (h, w): the probability of each sample's best class. */
PUBLIC int32_t fastscnn_certainty(const Geometry *g, const float *logits, float *out)
{
    return CALL(g, certainty, g, logits, out);
}
