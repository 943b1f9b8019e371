/* Probabilities: interpolated along rows, then between them, exponentiated, summed up and written once. See steps.h. */

/* `n` samples of a row, every class less the best one's logit (soft-max) or its opposite (sigmoid), as powers of two:
 * both commute with interpolation, and keep exponents of a soft-max at or below zero. */
TARGET static inline void NAME(shifted)(const Geometry *g, const float *row, ptrdiff_t n, float *RESTRICT best, float *RESTRICT low)
{
    const ptrdiff_t plane = g->y.samples * g->x.samples;
    for (ptrdiff_t i = 0; i < n; i++)
        best[i] = g->sigmoid ? 0.0f : row[i];
    for (ptrdiff_t c = 1; c < g->classes && !g->sigmoid; c++) {
        const float *RESTRICT value = row + c * plane;
        for (ptrdiff_t i = 0; i < n; i++)
            best[i] = value[i] > best[i] ? value[i] : best[i];
    }
    const float scale = g->sigmoid ? -LOG2E : LOG2E;
    for (ptrdiff_t c = 0; c < g->classes; c++) {
        const float *RESTRICT value = row + c * plane;
        for (ptrdiff_t i = 0; i < n; i++)
            low[c * n + i] = scale * (value[i] - best[i]);
    }
}

/* Samples from `left` on → result positions x0 to x1, which lie in cells k0 to k1. */
TARGET static inline void NAME(widened)(const Geometry *g, const float *RESTRICT low, ptrdiff_t left, ptrdiff_t x0, ptrdiff_t x1,
                                        ptrdiff_t k0, ptrdiff_t k1, float *RESTRICT wide)
{
    for (ptrdiff_t k = k0; k <= k1; k++) {
        const ptrdiff_t a = most(g->x.starts[k], x0), n = least(g->x.starts[k + 1], x1) - a;
        const float *RESTRICT across = g->x.weights + a;
        const float start = low[before(k) - left], slope = low[after(&g->x, k) - left] - start;
        float *RESTRICT to = wide + a - x0;
        if (n == 8)
            for (ptrdiff_t i = 0; i < 8; i++)
                to[i] = start + across[i] * slope;
        else
            for (ptrdiff_t i = 0; i < n; i++)
                to[i] = start + across[i] * slope;
    }
}

/* One row's powers of all classes, (C, block), and their sums; whether some sum is so small that its terms may have vanished. */
TARGET static inline int NAME(powers_of)(const float *RESTRICT near, const float *RESTRICT step, float weight, ptrdiff_t classes,
                                         ptrdiff_t block, ptrdiff_t n, float *RESTRICT powers, float *RESTRICT sums)
{
    for (ptrdiff_t i = 0; i < n; i++)
        sums[i] = 0.0f;
    for (ptrdiff_t c = 0; c < classes; c++) {
        const float *RESTRICT a = near + c * block, *RESTRICT b = step + c * block;
        float *RESTRICT to = powers + c * block;
        for (ptrdiff_t i = 0; i < n; i++) {
            const float x = a[i] + weight * b[i];
            to[i] = NAME(power)(x < LOWEST ? LOWEST : x);
            sums[i] += to[i];
        }
    }
    int low = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        low |= sums[i] < TOO_LOW;
    return low;
}

/* The same for a row in which neighbours are of so opposite opinion that every class lies low between them. */
TARGET static void NAME(safe_powers_of)(const float *near, const float *step, float weight, ptrdiff_t classes, ptrdiff_t block,
                                        ptrdiff_t n, float *powers, float *sums)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        float top = near[i] + weight * step[i];
        for (ptrdiff_t c = 1; c < classes; c++) {
            const float x = near[c * block + i] + weight * step[c * block + i];
            top = x > top ? x : top;
        }
        sums[i] = 0.0f;
        for (ptrdiff_t c = 0; c < classes; c++) {
            const float x = near[c * block + i] + weight * step[c * block + i] - top;
            powers[c * block + i] = NAME(power)(x < LOWEST ? LOWEST : x);
            sums[i] += powers[c * block + i];
        }
    }
}

TARGET static inline void NAME(sigmoids_of)(const float *RESTRICT near, const float *RESTRICT step, float weight, ptrdiff_t n,
                                            float *RESTRICT to)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const float x = near[i] + weight * step[i];
        to[i] = 1.0f / (1.0f + NAME(power)(x > 128.0f ? 128.0f : x < LOWEST ? LOWEST : x));
    }
}

/* Every class's powers times `scale`, into its plane of the result; past the caches where each row is made of whole lines. */
TARGET static inline void NAME(written)(const float *RESTRICT powers, const float *RESTRICT scale, ptrdiff_t classes, ptrdiff_t block,
                                        ptrdiff_t n, ptrdiff_t plane, int stream, float *RESTRICT out)
{
    for (ptrdiff_t c = 0; c < classes; c++) {
        const float *RESTRICT from = powers + c * block;
        float *RESTRICT to = out + c * plane;
#if defined(STREAM)
        if (stream) {
            for (ptrdiff_t i = 0; i < n; i += LANES)
                STREAM(to + i, from + i, scale + i);
            continue;
        }
#endif
        for (ptrdiff_t i = 0; i < n; i++)
            to[i] = from[i] * scale[i];
    }
    (void)stream;
}

TARGET static int32_t NAME(probabilities)(const Geometry *g, const float *logits, float *out, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t classes = g->classes, width = g->x.size, plane = g->y.size * width;
    /* Columns at a time, in blocks of about one width: what belongs to them stays in the caches. */
    const ptrdiff_t widest = most(16, CACHED / (3 * classes)), blocks = (width + widest - 1) / widest;
    const ptrdiff_t block = ((width + blocks - 1) / blocks + 15) / 16 * 16;
    const ptrdiff_t samples = g->x.samples;
    void *memory;
    float *near = room((size_t)(4 * classes * block + block + samples + classes * samples), &memory);
    if (!near)
        return 1;
    float *far = near + classes * block, *step = far + classes * block, *powers = step + classes * block;
    float *sums = powers + classes * block, *best = sums + block, *low = best + samples;
    const int stream = g->stream && width % 16 == 0 && (uintptr_t)out % 64 == 0;
    for (ptrdiff_t x0 = 0, k0 = 0; x0 < width; x0 += block) {
        const ptrdiff_t x1 = least(x0 + block, width), n = x1 - x0;
        while (g->x.starts[k0 + 1] <= x0)
            k0++;
        ptrdiff_t k1 = k0;
        while (g->x.starts[k1 + 1] < x1)
            k1++;
        const ptrdiff_t left = before(k0), right = after(&g->x, k1) + 1;
        ptrdiff_t held = -1; /* the row of samples that is in `far` */
        for (ptrdiff_t row = first; row < last; row++) {
            if (g->y.starts[row] == g->y.starts[row + 1])
                continue;
            const ptrdiff_t rows[2] = {before(row), after(&g->y, row)};
            if (held == rows[0]) {
                float *other = near;
                near = far, far = other;
            }
            for (int i = held == rows[0]; i < 2; i++) {
                NAME(shifted)(g, logits + rows[i] * g->x.samples + left, right - left, best, low);
                for (ptrdiff_t c = 0; c < classes; c++)
                    NAME(widened)(g, low + c * (right - left), left, x0, x1, k0, k1, (i ? far : near) + c * block);
            }
            held = rows[1];
            for (ptrdiff_t c = 0; c < classes; c++)
                for (ptrdiff_t i = 0; i < n; i++)
                    step[c * block + i] = far[c * block + i] - near[c * block + i];
            for (ptrdiff_t y = g->y.starts[row]; y < g->y.starts[row + 1]; y++) {
                const float weight = g->y.weights[y];
                if (g->sigmoid) {
                    for (ptrdiff_t c = 0; c < classes; c++)
                        NAME(sigmoids_of)(near + c * block, step + c * block, weight, n, powers + c * block);
                    for (ptrdiff_t i = 0; i < n; i++)
                        sums[i] = 1.0f;
                } else {
                    if (NAME(powers_of)(near, step, weight, classes, block, n, powers, sums))
                        NAME(safe_powers_of)(near, step, weight, classes, block, n, powers, sums);
                    for (ptrdiff_t i = 0; i < n; i++)
                        sums[i] = 1.0f / sums[i];
                }
                NAME(written)(powers, sums, classes, block, n, plane, stream, out + y * width + x0);
            }
        }
    }
#if X86
    _mm_sfence(); /* what went past the caches is there for all before this thread says that it is done */
#endif
    free(memory);
    return 0;
}
