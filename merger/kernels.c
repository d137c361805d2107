/* Fused loops over raw weights: widen to float32, compute, round once, in blocks that stay in the first-level cache.
 *
 * Every function has a plain numpy twin that defines it, and tests hold both to the same bits. Therefore: no
 * contraction of a*b+c, no reassociation, sums in the order that merger/views.py writes down (LANES running sums per
 * SUM_BLOCK elements, added in order).
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

int wm_finite(int dtype, const void *raw, int64_t n) {
    if (dtype == F32) {
        const uint32_t *in = raw;
        uint32_t found = 0;
        for (int64_t i = 0; i < n; i++) found |= (in[i] & 0x7f800000u) == 0x7f800000u;
        return !found;
    }
    const uint16_t *in = raw, exponent = dtype == F16 ? 0x7c00u : 0x7f80u;
    uint16_t found = 0;
    for (int64_t i = 0; i < n; i++) found |= (uint16_t)((in[i] & exponent) == exponent);
    return !found;
}

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
               void *out) {
    float memory[MAX_VECTORS][BLOCK], result[BLOCK], *x[MAX_VECTORS];
    for (int k = 0; k < count; k++) x[k] = memory[k];
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t m = step(i, n);
        for (int k = 0; k < count; k++) widen(dtypes[k], at(raws[k], dtypes[k], i), m, x[k]);
        mix(count, x, c, m, result);
        narrow(out_dtype, result, m, (char *)out + i * width(out_dtype));
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
        for (int64_t i = begin; i < end; i += tile) {
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
        size_t m = step(i, n), j = 0;
        if (stored + (int64_t)m + 16 > capacity) return -1;
        magnitudes(dx, x, dy, y, i, m, bits);
        int32_t count = 0;
        for (size_t l = 0; l < m; l++) count += bits[l] > high;
        larger += count;
        uint32_t first = (uint32_t)(start + i);
#if defined(__AVX512F__)
        __m512i floor = _mm512_set1_epi32(low), ceiling = _mm512_set1_epi32(high);
        __m512i position = _mm512_add_epi32(_mm512_set1_epi32((int)first),
                                            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        for (; j + 16 <= m; j += 16) {
            __m512i value = _mm512_loadu_si512(bits + j);
            __mmask16 inside = _mm512_cmple_epi32_mask(floor, value) & _mm512_cmple_epi32_mask(value, ceiling);
            _mm512_storeu_si512(found + stored, _mm512_maskz_compress_epi32(inside, value));
            _mm512_storeu_si512(index + stored, _mm512_maskz_compress_epi32(inside, position));
            stored += __builtin_popcount(inside);
            position = _mm512_add_epi32(position, _mm512_set1_epi32(16));
        }
#endif
        for (; j < m; j++) {
            found[stored] = bits[j];
            index[stored] = first + (uint32_t)j;
            stored += bits[j] >= low && bits[j] <= high;
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
                  const float *inside, const float *outside, int out_dtype, void *out) {
    float a[BLOCK], b[BLOCK], in[BLOCK], rest[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
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
        narrow(out_dtype, rest, m, (char *)out + i * width(out_dtype));
    }
}

/* S + scale · combine(trimmed δᵢ), δᵢ = Xᵢ − S; combine is Σ wᵢ δᵢ or, with `elect`, the disjoint mean of its sign.
 * The base is the last of `raws`. δᵢ stays where its pattern exceeds thresholds[i], or equals it among the first
 * ties[i] elements of the stretch. Sources of weight zero take no part. */
void wm_delta_merge(int count, const int *dtypes, const void *const *raws, const float *weights,
                    const int32_t *thresholds, const int64_t *ties, int elect, float scale, int64_t n, int out_dtype,
                    void *out) {
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
        narrow(out_dtype, result, m, (char *)out + i * width(out_dtype));
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

/* SHA-256 (FIPS 180-4) of `count` pieces of `length` bytes each (a multiple of 64), 32 bytes per piece into `out`.
 * The processor's SHA instructions wait for one another; two pieces side by side fill the gaps and take hardly longer
 * than one. Returns 0 where there are no such instructions. */
#if defined(__SHA__) && defined(__SSE4_1__)
static const uint32_t ROUND_CONSTANTS[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

typedef struct { __m128i abef, cdgh; } Sha;

/* One block of each of two messages. */
static inline void sha_block(Sha *state, const uint8_t *first, const uint8_t *second) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    const uint8_t *data[2] = {first, second};
    __m128i w[2][4], abef[2], cdgh[2];
    for (int s = 0; s < 2; s++) {
        abef[s] = state[s].abef;
        cdgh[s] = state[s].cdgh;
        for (int i = 0; i < 4; i++)
            w[s][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data[s] + 16 * i)), big_endian);
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        __m128i constant = _mm_load_si128((const __m128i *)(ROUND_CONSTANTS + 4 * r));
#pragma GCC unroll 2
        for (int s = 0; s < 2; s++) {
            __m128i *a = &w[s][r & 3], *b = &w[s][(r + 1) & 3], *c = &w[s][(r + 2) & 3], *d = &w[s][(r + 3) & 3];
            __m128i sum = _mm_add_epi32(*a, constant);
            cdgh[s] = _mm_sha256rnds2_epu32(cdgh[s], abef[s], sum);
            abef[s] = _mm_sha256rnds2_epu32(abef[s], cdgh[s], _mm_shuffle_epi32(sum, 0x0e));
            if (r < 12)
                *a = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*a, *b), _mm_alignr_epi8(*d, *c, 4)), *d);
        }
    }
    for (int s = 0; s < 2; s++) {
        state[s].abef = _mm_add_epi32(state[s].abef, abef[s]);
        state[s].cdgh = _mm_add_epi32(state[s].cdgh, cdgh[s]);
    }
}

int wm_sha256_pieces(const uint8_t *data, int64_t count, int64_t length, uint8_t *out) {
    uint8_t padding[64] = {0x80};
    for (int i = 0; i < 8; i++) padding[63 - i] = (uint8_t)((uint64_t)length * 8 >> (8 * i));
    for (int64_t piece = 0; piece < count; piece += 2) {
        const uint8_t *first = data + piece * length, *second = piece + 1 < count ? first + length : first;
        Sha state[2];
        for (int s = 0; s < 2; s++) {
            state[s].abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
            state[s].cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
        }
        for (int64_t at = 0; at < length; at += 64) sha_block(state, first + at, second + at);
        sha_block(state, padding, padding);
        for (int s = 0; s < 2 && piece + s < count; s++) {
            uint32_t ef[8];
            _mm_storeu_si128((__m128i *)ef, state[s].abef);
            _mm_storeu_si128((__m128i *)(ef + 4), state[s].cdgh);
            const uint32_t words[8] = {ef[3], ef[2], ef[7], ef[6], ef[1], ef[0], ef[5], ef[4]};
            for (int i = 0; i < 8; i++)
                for (int b = 0; b < 4; b++) out[(piece + s) * 32 + 4 * i + b] = (uint8_t)(words[i] >> (24 - 8 * b));
        }
    }
    return 1;
}
#else
int wm_sha256_pieces(const uint8_t *data, int64_t count, int64_t length, uint8_t *out) {
    (void)data, (void)count, (void)length, (void)out;
    return 0;
}
#endif
