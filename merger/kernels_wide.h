/* The loops that large merges spend their time in, 16 elements per step in AVX-512 registers: included by kernels.c.
 *
 * Each does as many whole steps as there are and says how many elements that was; the plain loops of kernels.c do the
 * rest, and everything where there is no AVX-512. Same operations in the same order: same bits. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define WIDE 16
#define INLINE static inline __attribute__((always_inline))

INLINE __m512 wide_load(int dtype, const void *raw, int64_t i) {
    if (dtype == F32) return _mm512_loadu_ps((const float *)raw + i);
    __m256i halves = _mm256_loadu_si256((const __m256i *)((const uint16_t *)raw + i));
    if (dtype == F16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* Rounds and stores; the largest pattern without its sign so far is kept in `peak` (32-bit lanes). */
INLINE void wide_store(int dtype, void *raw, int64_t i, __m512 value, __m512i *peak) {
    const __m512i positive = _mm512_set1_epi32(0x7fffffff);
    __m512i bits = _mm512_castps_si512(value);
    if (dtype == F32) {
        _mm512_storeu_ps((float *)raw + i, value);
        *peak = _mm512_max_epu32(*peak, _mm512_and_si512(bits, positive));
        return;
    }
    __m256i halves;
    if (dtype == F16) {
        halves = _mm512_cvtps_ph(value, 0);
    } else {
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i rounded = _mm512_srli_epi32(
            _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
        __mmask16 nan = _mm512_cmpgt_epu32_mask(_mm512_and_si512(bits, positive), _mm512_set1_epi32(0x7f800000));
        halves = _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0)));
    }
    _mm256_storeu_si256((__m256i *)((uint16_t *)raw + i), halves);
    __m256i low = _mm256_max_epu16(_mm512_castsi512_si256(*peak), _mm256_and_si256(halves, _mm256_set1_epi16(0x7fff)));
    *peak = _mm512_castsi256_si512(low);
}

INLINE int wide_spoilt(int dtype, __m512i peak) {
    if (dtype == F32) return _mm512_reduce_max_epu32(peak) >= 0x7f800000u;
    const __m256i exponent = _mm256_set1_epi16(dtype == F16 ? 0x7c00 : 0x7f80);
    return _mm256_cmpge_epu16_mask(_mm512_castsi512_si256(peak), exponent) != 0;
}

INLINE __m512 wide_mix(__m512 a, __m512 b, __m512 ca, __m512 cb) {
    return _mm512_add_ps(_mm512_mul_ps(a, ca), _mm512_mul_ps(b, cb));
}

INLINE __m512i wide_magnitude(__m512 a, __m512 b) {
    return _mm512_and_si512(_mm512_castps_si512(_mm512_sub_ps(a, b)), _mm512_set1_epi32(0x7fffffff));
}

INLINE int64_t wide_linear_of(int da, const void *a, int db, const void *b, const float *c, int64_t n, int dtype,
                              void *out, int *spoilt) {
    const __m512 ca = _mm512_set1_ps(c[0]), cb = _mm512_set1_ps(c[1]);
    __m512i peak = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        wide_store(dtype, out, i, wide_mix(wide_load(da, a, i), wide_load(db, b, i), ca, cb), &peak);
    if (spoilt) *spoilt |= wide_spoilt(dtype, peak);
    return i;
}

static int64_t wide_linear(int da, const void *a, int db, const void *b, const float *c, int64_t n, int dtype,
                           void *out, int *spoilt) {
    if (da == F16 && db == F16 && dtype == F16) return wide_linear_of(F16, a, F16, b, c, n, F16, out, spoilt);
    return wide_linear_of(da, a, db, b, c, n, dtype, out, spoilt);
}

INLINE int64_t wide_blend_of(int da, const void *raw_a, int db, const void *raw_b, int64_t n, int32_t threshold,
                             int64_t ties, const float *in, const float *rest, int dtype, void *out, int *spoilt) {
    const __m512 in_a = _mm512_set1_ps(in[0]), in_b = _mm512_set1_ps(in[1]);
    const __m512 rest_a = _mm512_set1_ps(rest[0]), rest_b = _mm512_set1_ps(rest[1]);
    const __m512i limit = _mm512_set1_epi32(threshold);
    __m512i peak = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        __m512 a = wide_load(da, raw_a, i), b = wide_load(db, raw_b, i);
        __m512i size = wide_magnitude(a, b);
        int64_t left = ties - i;
        __mmask16 tied = left <= 0 ? 0 : left >= WIDE ? 0xffff : (__mmask16)((1u << left) - 1u);
        __mmask16 chosen = _mm512_cmpgt_epi32_mask(size, limit) | (tied & _mm512_cmpeq_epi32_mask(size, limit));
        __m512 mixed = _mm512_mask_blend_ps(chosen, wide_mix(a, b, rest_a, rest_b), wide_mix(a, b, in_a, in_b));
        wide_store(dtype, out, i, mixed, &peak);
    }
    if (spoilt) *spoilt |= wide_spoilt(dtype, peak);
    return i;
}

static int64_t wide_blend(int da, const void *a, int db, const void *b, int64_t n, int32_t threshold, int64_t ties,
                          const float *in, const float *rest, int dtype, void *out, int *spoilt) {
    if (da == F16 && db == F16 && dtype == F16)
        return wide_blend_of(F16, a, F16, b, n, threshold, ties, in, rest, F16, out, spoilt);
    return wide_blend_of(da, a, db, b, n, threshold, ties, in, rest, dtype, out, spoilt);
}

INLINE int64_t wide_collect_of(int dx, const void *x, int dy, const void *y, int64_t n, int64_t start, int32_t low,
                               int32_t high, int32_t *found, uint32_t *index, int64_t *stored, int64_t *above) {
    const __m512i floor = _mm512_set1_epi32(low), ceiling = _mm512_set1_epi32(high);
    __m512i position = _mm512_add_epi32(_mm512_set1_epi32((int)start),
                                        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        __m512i size = wide_magnitude(wide_load(dx, x, i), wide_load(dy, y, i));
        __mmask16 larger = _mm512_cmpgt_epi32_mask(size, ceiling);
        __mmask16 inside = _mm512_cmpge_epi32_mask(size, floor) & ~larger;
        *above += __builtin_popcount(larger);
        _mm512_storeu_si512(found + *stored, _mm512_maskz_compress_epi32(inside, size));
        _mm512_storeu_si512(index + *stored, _mm512_maskz_compress_epi32(inside, position));
        *stored += __builtin_popcount(inside);
        position = _mm512_add_epi32(position, _mm512_set1_epi32(WIDE));
    }
    return i;
}

static int64_t wide_collect(int dx, const void *x, int dy, const void *y, int64_t n, int64_t start, int32_t low,
                            int32_t high, int32_t *found, uint32_t *index, int64_t *stored, int64_t *above) {
    if (dx == F16 && dy == F16)
        return wide_collect_of(F16, x, F16, y, n, start, low, high, found, index, stored, above);
    return wide_collect_of(dx, x, dy, y, n, start, low, high, found, index, stored, above);
}

/* Adds Σ A², Σ A(B − A), Σ (B − A)² of whole groups of 32 elements to 32 running sums each. */
INLINE int64_t wide_gram_of(int da, const void *a, int db, const void *b, int64_t n, double (*lanes)[LANES]) {
    __m512d sums[3][4];
    for (int p = 0; p < 3; p++)
        for (int q = 0; q < 4; q++) sums[p][q] = _mm512_loadu_pd(lanes[p] + 8 * q);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m512 wide_a = wide_load(da, a, i + 16 * half), wide_b = wide_load(db, b, i + 16 * half);
            __m512d u[2] = {_mm512_cvtps_pd(_mm512_castps512_ps256(wide_a)),
                            _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(wide_a), 1)))};
            __m512d v[2] = {_mm512_cvtps_pd(_mm512_castps512_ps256(wide_b)),
                            _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(wide_b), 1)))};
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                __m512d d = _mm512_sub_pd(v[k], u[k]);
                int q = 2 * half + k;
                sums[0][q] = _mm512_add_pd(sums[0][q], _mm512_mul_pd(u[k], u[k]));
                sums[1][q] = _mm512_add_pd(sums[1][q], _mm512_mul_pd(d, u[k]));
                sums[2][q] = _mm512_add_pd(sums[2][q], _mm512_mul_pd(d, d));
            }
        }
    }
    for (int p = 0; p < 3; p++)
        for (int q = 0; q < 4; q++) _mm512_storeu_pd(lanes[p] + 8 * q, sums[p][q]);
    return i;
}

static int64_t wide_gram(int da, const void *a, int db, const void *b, int64_t n, double (*lanes)[LANES]) {
    if (da == F16 && db == F16) return wide_gram_of(F16, a, F16, b, n, lanes);
    return wide_gram_of(da, a, db, b, n, lanes);
}
#else
#define wide_linear(...) 0
#define wide_blend(...) 0
#define wide_collect(...) 0
#define wide_gram(...) 0
#endif
