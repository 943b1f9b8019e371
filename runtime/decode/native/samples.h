/* What one sample tells: its best class, and how sure that is. See steps.h. */

/* 2^x to 2e-7 of it, for -126 <= x <= 128; what is no number stays none. */
TARGET static inline float NAME(power)(float x)
{
    union {
        float value;
        uint32_t bits;
    } nearest, result;
    nearest.value = x + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number, which then stands in the lowest bits */
    const float part = x - (nearest.value - 12582912.0f);
    const float high = 0.05550733581f + part * (0.00967151299f + part * 0.00132647273f);
    result.value = 1.0f + part * (0.69314700365f + part * (0.24022242427f + part * high));
    result.bits += nearest.bits << 23;
    return result.value;
}

/* The best class of `n` samples, at most CHUNK, and its logit; the lower class wins a tie. `plane` counts samples of a class. */
TARGET static inline void NAME(best_of)(const float *RESTRICT logits, ptrdiff_t classes, ptrdiff_t plane, ptrdiff_t n,
                                        float *RESTRICT best, int32_t *RESTRICT winner)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        best[i] = logits[i];
        winner[i] = 0;
    }
    for (ptrdiff_t c = 1; c < classes; c++) {
        const float *RESTRICT value = logits + c * plane;
        for (ptrdiff_t i = 0; i < n; i++) {
            const int above = value[i] > best[i];
            best[i] = above ? value[i] : best[i];
            winner[i] = above ? (int32_t)c : winner[i];
        }
    }
}

/* The probability of the best class of `n` samples, from its logit. */
TARGET static inline void NAME(certainty_of)(const Geometry *g, const float *RESTRICT logits, ptrdiff_t plane, ptrdiff_t n,
                                             const float *RESTRICT best, float *RESTRICT certainty)
{
    if (g->sigmoid) {
        for (ptrdiff_t i = 0; i < n; i++) {
            const float x = -LOG2E * best[i];
            certainty[i] = 1.0f / (1.0f + NAME(power)(x > 128.0f ? 128.0f : x < -126.0f ? -126.0f : x));
        }
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        certainty[i] = 0.0f;
    for (ptrdiff_t c = 0; c < g->classes; c++) {
        const float *RESTRICT value = logits + c * plane;
        for (ptrdiff_t i = 0; i < n; i++) {
            const float x = LOG2E * (value[i] - best[i]);
            certainty[i] += NAME(power)(x < -126.0f ? -126.0f : x);
        }
    }
    for (ptrdiff_t i = 0; i < n; i++)
        certainty[i] = 1.0f / certainty[i];
}

TARGET static int32_t NAME(certainty)(const Geometry *g, const float *logits, float *out)
{
    float best[CHUNK];
    int32_t winner[CHUNK];
    const ptrdiff_t plane = g->y.samples * g->x.samples;
    for (ptrdiff_t start = 0; start < plane; start += CHUNK) {
        const ptrdiff_t n = least(CHUNK, plane - start);
        NAME(best_of)(logits + start, g->classes, plane, n, best, winner);
        NAME(certainty_of)(g, logits + start, plane, n, best, out + start);
    }
    return 0;
}
