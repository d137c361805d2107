/* Fused loops over raw weights: widen to float32, compute, round once, in blocks that stay in the first-level cache.
 *
 * Every function has a plain numpy twin that defines it, and tests hold both to the same bits. Therefore: no
 * contraction of a*b+c, no reassociation, sums in the order that merger/views.py writes down (LANES running sums per
 * SUM_BLOCK elements, added in order). (One translation unit, a little longer than other files; the loops that were
 * written a second time for AVX-512 are in kernels_wide.h.)
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define BLOCK 1024
#define LANES 32
#define MAX_VECTORS 32

enum { F16 = 0, BF16 = 1, F32 = 2 };

static inline float from_bits(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline uint32_t to_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

static inline float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x0400u) return from_bits(sign | ((magnitude << 13) + 0x38000000u));
    float tiny = (float)magnitude * 5.9604644775390625e-8f; /* 2^-24: subnormal halves are whole multiples */
    return from_bits(sign | to_bits(tiny));
}

static inline uint16_t float_to_half(float value) {
    uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: adding 0.5 rounds to multiples of 2^-24 */
        float shifted = from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (to_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

static void widen(int dtype, const void *raw, size_t n, float *restrict out) {
    size_t i = 0;
    if (dtype == F32) {
        memcpy(out, raw, n * 4);
    } else if (dtype == BF16) {
        const uint16_t *in = raw;
        uint32_t *bits = (uint32_t *)out;
        for (; i < n; i++) bits[i] = (uint32_t)in[i] << 16;
    } else {
        const uint16_t *in = raw;
#if defined(__AVX512F__)
        for (; i + 16 <= n; i += 16)
            _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(in + i))));
#elif defined(__F16C__)
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + i))));
#endif
        for (; i < n; i++) out[i] = half_to_float(in[i]);
    }
}

static void narrow(int dtype, const float *restrict in, size_t n, void *raw) {
    size_t i = 0;
    if (dtype == F32) {
        memcpy(raw, in, n * 4);
    } else if (dtype == BF16) {
        uint16_t *out = raw;
        const uint32_t *bits = (const uint32_t *)in;
        for (; i < n; i++) {
            uint32_t rounded = (bits[i] + 0x7fffu + (bits[i] >> 16 & 1u)) >> 16;
            out[i] = (uint16_t)((bits[i] & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
        }
    } else {
        uint16_t *out = raw;
#if defined(__AVX512F__)
        for (; i + 16 <= n; i += 16)
            _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtps_ph(_mm512_loadu_ps(in + i), 0));
#elif defined(__F16C__)
        for (; i + 8 <= n; i += 8)
            _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), 0));
#endif
        for (; i < n; i++) out[i] = float_to_half(in[i]);
    }
}

static inline size_t width(int dtype) { return dtype == F32 ? 4 : 2; }
static inline const void *at(const void *raw, int dtype, int64_t i) { return (const char *)raw + i * width(dtype); }
static inline size_t step(int64_t i, int64_t n) { return (size_t)(n - i < BLOCK ? n - i : BLOCK); }

void wm_widen(int dtype, const void *raw, int64_t n, float *out) { widen(dtype, raw, (size_t)n, out); }
void wm_narrow(int dtype, const float *in, int64_t n, void *raw) { narrow(dtype, in, (size_t)n, raw); }

/* Infinity has the largest pattern of all numbers, and NaN a larger one. */
int wm_finite(int dtype, const void *raw, int64_t n) {
    if (dtype == F32) {
        const uint32_t *in = raw;
        uint32_t peak = 0;
        for (int64_t i = 0; i < n; i++) {
            uint32_t size = in[i] & 0x7fffffffu;
            peak = size > peak ? size : peak;
        }
        return peak < 0x7f800000u;
    }
    const uint16_t *in = raw;
    uint16_t peak = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t size = in[i] & 0x7fffu;
        peak = size > peak ? size : peak;
    }
    return peak < (dtype == F16 ? 0x7c00u : 0x7f80u);
}

/* Notes whether a block that lies in the first-level cache holds NaN or infinity. `spoilt` may be NULL. */
static inline void inspect(int *spoilt, int dtype, const void *raw, size_t n) {
    if (spoilt) *spoilt |= !wm_finite(dtype, raw, (int64_t)n);
}

#include "kernels_wide.h"

/* Σ cᵢ Xᵢ in the order given; the caller leaves zero coefficients out. */
static void mix(int count, float *const *x, const float *c, size_t n, float *restrict out) {
    const float *restrict first = x[0];
    float factor = c[0];
    for (size_t i = 0; i < n; i++) out[i] = first[i] * factor;
    for (int k = 1; k < count; k++) {
        const float *restrict next = x[k];
        factor = c[k];
        for (size_t i = 0; i < n; i++) out[i] = out[i] + next[i] * factor;
    }
}

void wm_linear(int count, const int *dtypes, const void *const *raws, const float *c, int64_t n, int out_dtype,
               void *out, int *spoilt) {
    float memory[MAX_VECTORS][BLOCK], result[BLOCK], *x[MAX_VECTORS];
    int64_t i = count == 2 ? wide_linear(dtypes[0], raws[0], dtypes[1], raws[1], c, n, out_dtype, out, spoilt) : 0;
    for (int k = 0; k < count; k++) x[k] = memory[k];
    for (; i < n; i += BLOCK) {
        size_t m = step(i, n);
        for (int k = 0; k < count; k++) widen(dtypes[k], at(raws[k], dtypes[k], i), m, x[k]);
        mix(count, x, c, m, result);
        char *place = (char *)out + i * width(out_dtype);
        narrow(out_dtype, result, m, place);
        inspect(spoilt, out_dtype, place, m);
    }
}

/* out[count][count] += Gram matrix of (X₀, X₁ − X₀, …), block sum by block sum. */
void wm_gram(int count, const int *dtypes, const void *const *raws, int64_t n, int64_t sum_block, double *out) {
    static const int tile = 512;
    float single[512];
    double v[MAX_VECTORS][512];
    double lanes[MAX_VECTORS * (MAX_VECTORS + 1) / 2][LANES];
    int pairs = count * (count + 1) / 2;
    for (int64_t begin = 0; begin < n; begin += sum_block) {
        int64_t end = begin + sum_block < n ? begin + sum_block : n;
        memset(lanes, 0, sizeof(double) * LANES * (size_t)pairs);
        int64_t i = begin;
        if (count == 2)
            i += wide_gram(dtypes[0], at(raws[0], dtypes[0], i), dtypes[1], at(raws[1], dtypes[1], i), end - i, lanes);
        for (; i < end; i += tile) {
            int m = (int)(end - i < tile ? end - i : tile), padded = (m + LANES - 1) / LANES * LANES;
            for (int k = 0; k < count; k++) {
                widen(dtypes[k], at(raws[k], dtypes[k], i), (size_t)m, single);
                if (k == 0) for (int j = 0; j < m; j++) v[0][j] = (double)single[j];
                else for (int j = 0; j < m; j++) v[k][j] = (double)single[j] - v[0][j];
                for (int j = m; j < padded; j++) v[k][j] = 0.0;
            }
            int pair = 0;
            for (int p = 0; p < count; p++)
                for (int q = 0; q <= p; q++, pair++) {
                    double sum[LANES];
                    memcpy(sum, lanes[pair], sizeof sum);
                    for (int j = 0; j < padded; j += LANES)
                        for (int l = 0; l < LANES; l++) sum[l] = sum[l] + v[p][j + l] * v[q][j + l];
                    memcpy(lanes[pair], sum, sizeof sum);
                }
        }
        int pair = 0;
        for (int p = 0; p < count; p++)
            for (int q = 0; q <= p; q++, pair++) {
                double total = 0.0;
                for (int l = 0; l < LANES; l++) total = total + lanes[pair][l];
                out[p * count + q] += total;
                if (p != q) out[q * count + p] += total;
            }
    }
}

static void magnitudes(int dx, const void *x, int dy, const void *y, int64_t i, size_t m, int32_t *restrict bits) {
    float a[BLOCK], b[BLOCK];
    widen(dx, at(x, dx, i), m, a);
    widen(dy, at(y, dy, i), m, b);
    for (size_t j = 0; j < m; j++) bits[j] = (int32_t)(to_bits(a[j] - b[j]) & 0x7fffffffu);
}

/* Patterns of |X − Y|: counts those above `high`, stores those in [low, high] with their index, in order.
 * Returns how many were stored, or −1 if they do not fit. */
int64_t wm_collect(int dx, const void *x, int dy, const void *y, int64_t n, int64_t start, int32_t low, int32_t high,
                   int32_t *found, uint32_t *index, int64_t capacity, int64_t *above) {
    int32_t bits[BLOCK];
    int64_t stored = 0, larger = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t m = step(i, n), j;
        if (stored + (int64_t)m + 16 > capacity) return -1;
        const void *first = at(x, dx, i), *second = at(y, dy, i);
        j = (size_t)wide_collect(dx, first, dy, second, (int64_t)m, start + i, low, high, found, index, &stored, &larger);
        magnitudes(dx, x, dy, y, i + (int64_t)j, m - j, bits);
        for (size_t l = 0; l < m - j; l++) {
            larger += bits[l] > high;
            found[stored] = bits[l];
            index[stored] = (uint32_t)(start + i) + (uint32_t)(j + l);
            stored += bits[l] >= low && bits[l] <= high;
        }
    }
    *above += larger;
    return stored;
}

/* A + B mixed by one pair of coefficients where |A − B| is selected, by another elsewhere. A stretch's first `ties`
 * elements are selected from the threshold on, the others above it. Zero coefficients take no part (the sign of zero). */
static void pair_mix(float *a, float *b, float ca, float cb, size_t n, float *restrict out) {
    float *both[2] = {a, b}, c[2] = {ca, cb};
    if (ca == 0.0f) mix(1, &both[1], &c[1], n, out);
    else mix(cb == 0.0f ? 1 : 2, both, c, n, out);
}

void wm_top_blend(int da, const void *raw_a, int db, const void *raw_b, int64_t n, int32_t threshold, int64_t ties,
                  const float *inside, const float *outside, int out_dtype, void *out, int *spoilt) {
    float a[BLOCK], b[BLOCK], in[BLOCK], rest[BLOCK];
    int64_t i = 0;
    if (inside[0] != 0.0f && inside[1] != 0.0f && outside[0] != 0.0f && outside[1] != 0.0f)
        i = wide_blend(da, raw_a, db, raw_b, n, threshold, ties, inside, outside, out_dtype, out, spoilt);
    for (; i < n; i += BLOCK) {
        size_t m = step(i, n);
        widen(da, at(raw_a, da, i), m, a);
        widen(db, at(raw_b, db, i), m, b);
        pair_mix(a, b, inside[0], inside[1], m, in);
        pair_mix(a, b, outside[0], outside[1], m, rest);
        size_t split = ties <= i ? 0 : ties - i < (int64_t)m ? (size_t)(ties - i) : m;
        for (size_t j = 0; j < split; j++)
            rest[j] = (int32_t)(to_bits(a[j] - b[j]) & 0x7fffffffu) >= threshold ? in[j] : rest[j];
        for (size_t j = split; j < m; j++)
            rest[j] = (int32_t)(to_bits(a[j] - b[j]) & 0x7fffffffu) > threshold ? in[j] : rest[j];
        char *place = (char *)out + i * width(out_dtype);
        narrow(out_dtype, rest, m, place);
        inspect(spoilt, out_dtype, place, m);
    }
}

/* S + scale · combine(trimmed δᵢ), δᵢ = Xᵢ − S; combine is Σ wᵢ δᵢ or, with `elect`, the disjoint mean of its sign.
 * The base is the last of `raws`. δᵢ stays where its pattern exceeds thresholds[i], or equals it among the first
 * ties[i] elements of the stretch. Sources of weight zero take no part. */
void wm_delta_merge(int count, const int *dtypes, const void *const *raws, const float *weights,
                    const int32_t *thresholds, const int64_t *ties, int elect, float scale, int64_t n, int out_dtype,
                    void *out, int *spoilt) {
    float base[BLOCK], wide[BLOCK], result[BLOCK], ballot[BLOCK], share[BLOCK];
    float delta[MAX_VECTORS][BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t m = step(i, n);
        widen(dtypes[count], at(raws[count], dtypes[count], i), m, base);
        int first = 1;
        for (int k = 0; k < count; k++) {
            if (weights[k] == 0.0f) continue;
            float *restrict d = delta[k];
            widen(dtypes[k], at(raws[k], dtypes[k], i), m, wide);
            for (size_t j = 0; j < m; j++) d[j] = wide[j] - base[j];
            if (thresholds[k] >= 0) {
                size_t split = ties[k] <= i ? 0 : ties[k] - i < (int64_t)m ? (size_t)(ties[k] - i) : m;
                for (size_t j = 0; j < split; j++)
                    d[j] = (int32_t)(to_bits(d[j]) & 0x7fffffffu) >= thresholds[k] ? d[j] : 0.0f;
                for (size_t j = split; j < m; j++)
                    d[j] = (int32_t)(to_bits(d[j]) & 0x7fffffffu) > thresholds[k] ? d[j] : 0.0f;
            }
            float weight = weights[k];
            if (first) for (size_t j = 0; j < m; j++) ballot[j] = d[j] * weight;
            else for (size_t j = 0; j < m; j++) ballot[j] = ballot[j] + d[j] * weight;
            first = 0;
        }
        if (first) memset(ballot, 0, sizeof ballot);
        const float *combined = ballot;
        if (elect && !first) {
            int begun = 0;
            for (int k = 0; k < count; k++) {
                if (weights[k] == 0.0f) continue;
                const float *restrict d = delta[k];
                float weight = weights[k];
                for (size_t j = 0; j < m; j++) {
                    int agrees = ((d[j] > 0.0f) & (ballot[j] > 0.0f)) | ((d[j] < 0.0f) & (ballot[j] < 0.0f));
                    float part = agrees ? d[j] * weight : 0.0f, counted = agrees ? weight : 0.0f;
                    result[j] = begun ? result[j] + part : part;
                    share[j] = begun ? share[j] + counted : counted;
                }
                begun = 1;
            }
            for (size_t j = 0; j < m; j++) result[j] = share[j] > 0.0f ? result[j] / share[j] : 0.0f;
            combined = result;
        }
        for (size_t j = 0; j < m; j++) result[j] = base[j] + combined[j] * scale;
        char *place = (char *)out + i * width(out_dtype);
        narrow(out_dtype, result, m, place);
        inspect(spoilt, out_dtype, place, m);
    }
}

/* counts[bits >> 15] += 1, or with upper >= 0, counts[bits & 32767] += 1 where bits >> 15 is upper. */
void wm_histogram(int dx, const void *x, int dy, const void *y, int64_t n, int32_t upper, int64_t *counts) {
    int32_t bits[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t m = step(i, n);
        magnitudes(dx, x, dy, y, i, m, bits);
        if (upper < 0) for (size_t j = 0; j < m; j++) counts[bits[j] >> 15]++;
        else for (size_t j = 0; j < m; j++) counts[bits[j] & 0x7fff] += bits[j] >> 15 == upper;
    }
}
