/* Labels: constant fills, and a closer look at cells whose corners disagree or are not all sure. See steps.h. */

/* A row of samples, with its ends repeated: the winners, and whether each is surely above the bound. */
TARGET static void NAME(decided)(const Geometry *g, const float *row, float below, uint8_t *winners, uint8_t *sure)
{
    float best[CHUNK], certainty[CHUNK];
    int32_t winner[CHUNK];
    const ptrdiff_t width = g->x.samples, plane = g->y.samples * width;
    for (ptrdiff_t start = 0; start < width; start += CHUNK) {
        const ptrdiff_t n = least(CHUNK, width - start);
        NAME(best_of)(row + start, g->classes, plane, n, best, winner);
        for (ptrdiff_t i = 0; i < n; i++)
            winners[1 + start + i] = (uint8_t)winner[i];
        if (below > 0.0f) {
            NAME(certainty_of)(g, row + start, plane, n, best, certainty);
            for (ptrdiff_t i = 0; i < n; i++)
                sure[1 + start + i] = certainty[i] >= below * SURELY;
        }
    }
    winners[0] = winners[1], winners[width + 1] = winners[width];
    if (below > 0.0f)
        sure[0] = sure[1], sure[width + 1] = sure[width];
}

/* The four corners of a cell, of one class after the other. */
typedef struct {
    float top_left, top_right, bottom_left, bottom_right;
} NAME(Corners);

TARGET static inline NAME(Corners) NAME(corners)(const float *logits, ptrdiff_t top_left, ptrdiff_t right, ptrdiff_t down)
{
    const float *at = logits + top_left;
    const NAME(Corners) found = {at[0], at[right], at[down], at[down + right]};
    return found;
}

/* Those of all classes as powers of two; of a soft-max less each corner's highest, as in `shifted` of probabilities.h. */
TARGET static void NAME(all_corners)(const Geometry *g, const float *logits, ptrdiff_t top_left, ptrdiff_t right, ptrdiff_t down,
                                     NAME(Corners) * all)
{
    const ptrdiff_t plane = g->y.samples * g->x.samples;
    NAME(Corners) best = {0.0f, 0.0f, 0.0f, 0.0f};
    for (ptrdiff_t c = 0; c < g->classes; c++) {
        const NAME(Corners) one = all[c] = NAME(corners)(logits + c * plane, top_left, right, down);
        if (g->sigmoid)
            continue;
        best.top_left = c == 0 || one.top_left > best.top_left ? one.top_left : best.top_left;
        best.top_right = c == 0 || one.top_right > best.top_right ? one.top_right : best.top_right;
        best.bottom_left = c == 0 || one.bottom_left > best.bottom_left ? one.bottom_left : best.bottom_left;
        best.bottom_right = c == 0 || one.bottom_right > best.bottom_right ? one.bottom_right : best.bottom_right;
    }
    for (ptrdiff_t c = 0; c < g->classes; c++) {
        all[c].top_left = LOG2E * (all[c].top_left - best.top_left);
        all[c].top_right = LOG2E * (all[c].top_right - best.top_right);
        all[c].bottom_left = LOG2E * (all[c].bottom_left - best.bottom_left);
        all[c].bottom_right = LOG2E * (all[c].bottom_right - best.bottom_right);
    }
}

/* Where the positions of a part of a cell lie in it, one row after the other: at most ROWS by SLOTS. */
typedef struct {
    float down[ROWS * SLOTS], across[ROWS * SLOTS];
    ptrdiff_t rows, columns;
} NAME(Places);

TARGET static void NAME(places)(const float *down, ptrdiff_t rows, const float *across, ptrdiff_t columns, NAME(Places) * places)
{
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++) {
            places->down[y * columns + x] = down[y];
            places->across[y * columns + x] = across[x];
        }
    places->rows = rows, places->columns = columns;
}

/* The value of a class at one of them. */
TARGET static inline float NAME(value_at)(const NAME(Corners) * one, float down, float across)
{
    const float left = one->bottom_left - one->top_left, top = one->top_right - one->top_left;
    const float both = one->bottom_right - one->bottom_left - top;
    return one->top_left + down * left + across * (top + down * both);
}

/* The arg-max of `count` classes at `n` places. */
TARGET static inline void NAME(settled)(const NAME(Corners) * corners, const int32_t *classes, ptrdiff_t count,
                                        const NAME(Places) * places, ptrdiff_t n, uint8_t *RESTRICT labels)
{
    float best[ROWS * SLOTS];
    int32_t winner[ROWS * SLOTS];
    for (ptrdiff_t i = 0; i < n; i++) {
        best[i] = NAME(value_at)(corners, places->down[i], places->across[i]);
        winner[i] = classes[0];
    }
    for (ptrdiff_t j = 1; j < count; j++) {
        const NAME(Corners) one = corners[j];
        const int32_t class = classes[j];
        for (ptrdiff_t i = 0; i < n; i++) {
            const float value = NAME(value_at)(&one, places->down[i], places->across[i]);
            const int above = value > best[i];
            best[i] = above ? value : best[i];
            winner[i] = above ? class : winner[i];
        }
    }
    for (ptrdiff_t i = 0; i < n; i++)
        labels[i] = (uint8_t)winner[i];
}

/* UNKNOWN where the best of all classes stays below a probability; corners less their best, as powers of two. */
TARGET static inline void NAME(forgotten)(const Geometry *g, const NAME(Corners) * corners, const NAME(Places) * places,
                                          float below, ptrdiff_t n, uint8_t *RESTRICT labels)
{
    float top[ROWS * SLOTS], sum[ROWS * SLOTS];
    for (ptrdiff_t i = 0; i < n; i++)
        top[i] = sum[i] = 0.0f;
    for (ptrdiff_t c = 0; c < g->classes; c++) {
        const NAME(Corners) one = corners[c];
        for (ptrdiff_t i = 0; i < n; i++) {
            const float x = NAME(value_at)(&one, places->down[i], places->across[i]);
            const float power = NAME(power)(x > 126.0f ? 126.0f : x < LOWEST ? LOWEST : x);
            top[i] = power > top[i] ? power : top[i];
            sum[i] += power;
        }
    }
    for (ptrdiff_t i = 0; i < n && !g->sigmoid; i++) {
        if (!(sum[i] < TOO_LOW))
            continue;
        float highest = -INFINITY; /* between neighbours of opposite opinion every class lies low */
        for (ptrdiff_t c = 0; c < g->classes; c++) {
            const float value = NAME(value_at)(corners + c, places->down[i], places->across[i]);
            highest = value > highest ? value : highest;
        }
        top[i] = 1.0f, sum[i] = 0.0f;
        for (ptrdiff_t c = 0; c < g->classes; c++) {
            const float x = NAME(value_at)(corners + c, places->down[i], places->across[i]) - highest;
            sum[i] += NAME(power)(x < LOWEST ? LOWEST : x);
        }
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        const float share = top[i] / (g->sigmoid ? 1.0f + top[i] : sum[i]);
        labels[i] = share < below ? UNKNOWN : labels[i];
    }
}

/* A cell whose corners disagree, or are not all sure: its result positions one by one. */
TARGET static void NAME(look_closer)(const Geometry *g, const float *logits, ptrdiff_t row, ptrdiff_t column, const uint8_t *near,
                                     const uint8_t *far, int mixed, float below, NAME(Corners) * all, NAME(Corners) * some,
                                     int32_t *classes, NAME(Places) * places, uint8_t *out)
{
    const ptrdiff_t width = g->x.samples, plane = g->y.samples * width;
    const ptrdiff_t left = before(column), right = after(&g->x, column) - left;
    const ptrdiff_t top = before(row), down = (after(&g->y, row) - top) * width;
    const ptrdiff_t first = top * width + left;
    const ptrdiff_t x0 = g->x.starts[column], x1 = g->x.starts[column + 1];
    ptrdiff_t count = 0;
    if (mixed) {
        /* A class that stays below the lowest corner of another wins nowhere; that of a winner is high, and near at hand. */
        const uint8_t winners[4] = {near[column], near[column + 1], far[column], far[column + 1]};
        float bound = 0.0f;
        for (int i = 0; i < 4; i++) {
            const NAME(Corners) one = NAME(corners)(logits + winners[i] * plane, first, right, down);
            const float upper = one.top_left < one.top_right ? one.top_left : one.top_right;
            const float lower = one.bottom_left < one.bottom_right ? one.bottom_left : one.bottom_right;
            const float low = upper < lower ? upper : lower;
            bound = i == 0 || low > bound ? low : bound;
        }
        for (ptrdiff_t c = 0; c < g->classes; c++) {
            const NAME(Corners) one = NAME(corners)(logits + c * plane, first, right, down);
            const float upper = one.top_left > one.top_right ? one.top_left : one.top_right;
            const float lower = one.bottom_left > one.bottom_right ? one.bottom_left : one.bottom_right;
            some[count] = one;
            classes[count] = (int32_t)c;
            count += (upper > lower ? upper : lower) >= bound;
        }
    }
    if (below > 0.0f)
        NAME(all_corners)(g, logits, first, right, down, all);
    const ptrdiff_t size = g->x.size, y0 = g->y.starts[row], y1 = g->y.starts[row + 1];
    for (ptrdiff_t y = y0; y < y1; y += ROWS)
        for (ptrdiff_t x = x0; x < x1; x += SLOTS) {
            const ptrdiff_t rows = least(ROWS, y1 - y), columns = least(SLOTS, x1 - x), n = rows * columns;
            /* In a row most cells are alike. */
            if (y1 - y0 > ROWS || places->rows != rows || places->columns != columns ||
                memcmp(places->across, g->x.weights + x, (size_t)columns * sizeof(float)) != 0)
                NAME(places)(g->y.weights + y, rows, g->x.weights + x, columns, places);
            uint8_t labels[ROWS * SLOTS], *to = out + y * size + x;
            if (!count)
                for (ptrdiff_t i = 0; i < rows; i++)
                    memcpy(labels + i * columns, to + i * size, (size_t)columns);
            else if (n == 64) /* the usual factor, for which the compiler makes straight code */
                NAME(settled)(some, classes, count, places, 64, labels);
            else
                NAME(settled)(some, classes, count, places, n, labels);
            if (below > 0.0f && n == 64)
                NAME(forgotten)(g, all, places, below, 64, labels);
            else if (below > 0.0f)
                NAME(forgotten)(g, all, places, below, n, labels);
            if (columns == 8)
                for (ptrdiff_t i = 0; i < rows; i++)
                    memcpy(to + i * size, labels + i * 8, 8);
            else
                for (ptrdiff_t i = 0; i < rows; i++)
                    memcpy(to + i * size, labels + i * columns, (size_t)columns);
        }
}

TARGET static int32_t NAME(labels)(const Geometry *g, const float *logits, float below, uint8_t *out, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t width = g->x.samples, padded = width + 2, classes = g->classes;
    const size_t corners = (size_t)classes * sizeof(NAME(Corners));
    uint8_t *memory = malloc(2 * corners + (size_t)classes * sizeof(int32_t) + 5 * (size_t)padded);
    if (!memory)
        return 1;
    NAME(Corners) *all = (NAME(Corners) *)memory, *some = all + classes;
    int32_t *possible = (int32_t *)(some + classes);
    uint8_t *near = (uint8_t *)(possible + classes), *far = near + padded, *near_sure = far + padded, *far_sure = near_sure + padded;
    uint8_t *look = far_sure + padded; /* at this cell: 1 corners disagree, 2 not all are sure */
    ptrdiff_t held = -1;               /* the row that is in `far` */
    NAME(Places) places;
    for (ptrdiff_t row = first; row < last; row++) {
        const ptrdiff_t y0 = g->y.starts[row], y1 = g->y.starts[row + 1];
        if (y0 == y1)
            continue;
        if (held == before(row)) {
            uint8_t *winners = near, *sure = near_sure;
            near = far, far = winners, near_sure = far_sure, far_sure = sure;
        } else {
            NAME(decided)(g, logits + before(row) * width, below, near, near_sure);
        }
        held = after(&g->y, row);
        places.rows = 0; /* of another row */
        NAME(decided)(g, logits + held * width, below, far, far_sure);
        for (ptrdiff_t k = 0; k <= width; k++)
            look[k] = ((near[k] ^ near[k + 1]) | (near[k] ^ far[k]) | (near[k] ^ far[k + 1])) != 0;
        if (below > 0.0f)
            for (ptrdiff_t k = 0; k <= width; k++)
                look[k] |= (near_sure[k] & near_sure[k + 1] & far_sure[k] & far_sure[k + 1]) ? 0 : 2;
        /* Constant fills, of neighbours that are alike together; what is looked at closer is written once more. */
        uint8_t *line = out + y0 * g->x.size;
        for (ptrdiff_t k = 0, next; k <= width; k = next) {
            for (next = k + 1; next <= width && near[next] == near[k]; next++)
                ;
            memset(line + g->x.starts[k], near[k], (size_t)(g->x.starts[next] - g->x.starts[k]));
        }
        for (ptrdiff_t y = y0 + 1; y < y1; y++)
            memcpy(out + y * g->x.size, line, (size_t)g->x.size);
        for (ptrdiff_t k = 0; k <= width; k++)
            if (look[k] && g->x.starts[k] < g->x.starts[k + 1])
                NAME(look_closer)(g, logits, row, k, near, far, look[k] & 1, below, all, some, possible, &places, out);
    }
    free(memory);
    return 0;
}
