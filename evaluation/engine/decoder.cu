// One token through Whisper's decoder in one kernel: every multiprocessor holds one block until the logits are written.
//
// A step at batch 1 should cost what reading its weights costs. With a kernel per product, nothing is read while one waits
// for another. Here the two are apart: in each block one warp (the loader) copies this block's share of all weights, in
// the order of their use and as far ahead as shared memory holds; the others (workers) multiply what has come and exchange
// activations with the other blocks.
//
// Exchange: what a block writes for others lies in global memory beside the number of the step and phase that it belongs
// to (its tag), in words that are written at once. Who needs it reads until the tag is the awaited one: one trip, where a
// barrier and then a read would take three. A block overwrites a buffer only after it has read results of every block that
// were written after that block had read the buffer: each block has a share of every product (checked in persistent.py).
//
// Compiled at run time for one shape of model. persistent.py puts these constants before it, and then primitives.cuh:
//   D width, H heads (of 64), F hidden width, L layers, V vocabulary, S encoder positions, T decoder positions,
//   GRID blocks, WARPS workers' warps, SLOTS copies in shared memory, of which AHEAD may still be on their way, BF16 or
//   float16.
// The code of a layer is small and shared by its products, since all of it has to stay in the instruction cache.
// Values are rounded to half precision where torch rounds them: after norm, linear, GELU, attention and sum.

constexpr int E = 64, THREADS = 32 * WARPS;
constexpr int SLOT = 4 * D;              // bytes: two rows of D half-precision weights, or keys and values of SPOTS positions
constexpr int SPOTS = D / E;             // encoder positions of one head per slot
constexpr int STRIPES = (S + SPOTS - 1) / SPOTS, SPLITS = GRID / H;
constexpr int CHUNKS = (D + 255) / 256;  // a lane multiplies columns 256·i + 8·lane … + 7 of a vector of D
constexpr int QUARTERS = F / D;          // an item of the narrowing product is a part of D columns of two rows
constexpr int GROUP = 8;                 // copies that the loader's lanes begin at once
constexpr int TRIPLES = 22;              // 64 values and a log-sum-exp, three to a message
constexpr float LOWEST = -1e30f;
static_assert(F % D == 0 && WARPS % QUARTERS == 0 && D == E * H && SPLITS > 0 && T % 4 == 0, "shape of the model");
static_assert((F / 2 + GRID - 1) / GRID <= 2 * WARPS, "a warp keeps the biases of two items");
static_assert(D / 2 >= GRID && AHEAD > 0 && AHEAD + GROUP <= SLOTS, "shape of the grid");

enum Head { EMBED, PLACES, HEAD_W, LAST_G, LAST_B, TOKEN, POSITION, SELF, CROSS, SCORES, EXCHANGE, EPOCH, HEADS };
enum Row { ATTN_G, ATTN_B, QKV_W, QKV_B, OUT_W, OUT_B, CROSS_G, CROSS_B, ASK_W, ASK_B, HEARD_W, HEARD_B, MLP_G, MLP_B,
           UP_W, UP_B, DOWN_W, DOWN_B, ROWS };
enum Phase { QKV, SEEN, OUT, ASKED, HEARD, MIXED, HIDDEN, DOWN, PHASES };
enum Finish { SEND, GELU, ADD, SCORE };  // what is done with a product: sent, sent after GELU, added to the stream, written

struct Shared {
    u64 full[SLOTS], empty[SLOTS];
    u64 table[HEADS + L * ROWS];
    alignas(16) u16 x[2 * D + F];      // the residual stream; its norm, or what an attention found; the hidden layer
    alignas(16) u16 gain[D], bias[D];  // of the coming layer norm
    alignas(16) u16 own[3 * E];        // query, key, value of the head that this block attends with
    float parts[WARPS][E], tops[WARPS], norms[WARPS], found[3 * TRIPLES];
    float logs[H * SPLITS];
    float2 quarters[(D / 2 + GRID - 1) / GRID][QUARTERS];
};

// Asked for where it is needed: an address that is kept in an object would no longer be known as shared memory's.
__device__ __forceinline__ Shared& shared() { return *(Shared*)(block_memory() + SLOTS * SLOT); }

// This block's share of n things.
struct Share {
    int from, count;
    __device__ Share(int n) : from((int)((long long)n * blockIdx.x / GRID)),
                              count((int)((long long)n * (blockIdx.x + 1) / GRID) - from) {}
};

// The stripes of the cross-attention that this block listens to.
struct Stretch {
    int head, split, from, count;
    __device__ Stretch() : head(blockIdx.x / SPLITS), split(blockIdx.x % SPLITS), from(STRIPES * split / SPLITS),
                           count(head < H ? STRIPES * (split + 1) / SPLITS - from : 0) {}
};

// Where messages lie: words of two values and a tag; for what was heard, three floats and a tag.
struct Exchange {
    u64 *x, *qkv, *seen, *asked, *hidden;
    uint4* heard;
    __device__ Exchange(u64 base) {
        x = (u64*)base;
        qkv = x + D / 2;
        seen = qkv + 3 * D / 2;
        asked = seen + D / 2;
        hidden = asked + D / 2;
        heard = (uint4*)(hidden + F / 2);
    }
};

__device__ inline float narrowed(float value) { return widen(narrow(value, 0.f)).x; }

// Eight values of half precision.
__device__ __forceinline__ void spread(uint4 w, float* target) {
    u32 words[4] = {w.x, w.y, w.z, w.w};
    #pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 two = widen(words[k]);
        target[2 * k] = two.x, target[2 * k + 1] = two.y;
    }
}

__device__ __forceinline__ float2 warp_sum(float a, float b) {
    #pragma unroll
    for (int mask = 16; mask; mask >>= 1) a += shuffle_xor(a, mask), b += shuffle_xor(b, mask);
    return make_float2(a, b);
}

// ---- the loader ----------------------------------------------------------------------------------------------------

struct Loader {
    int lane, sequence = 0;

    // `copy(item, slot, its barrier)` for so many items, as soon as their slots are free and not too much is on its way.
    // A few at a time: a lane must not wait for a use of a slot that is not the present one or the next, since a barrier
    // knows only whether their number is even.
    template <class Copy> __device__ __forceinline__ void each(int count, Copy copy) {
        #pragma unroll 1
        for (int first = 0; first < count; first += GROUP) {
            int i = first + lane, number = sequence + i, before = number - AHEAD, slot = number % SLOTS;
            if (lane < GROUP && i < count) {
                if (before >= 0) wait(&shared().full[before % SLOTS], before / SLOTS & 1);
                wait(&shared().empty[slot], (number / SLOTS & 1) ^ 1);
                copy(i, block_memory() + slot * SLOT, &shared().full[slot]);
            }
            sync_warp();
        }
        sequence += count;
    }

    // Pairs of rows of a weight [n, D].
    __device__ __forceinline__ void rows(int n, u64 weight) {
        Share share((n + 1) / 2);
        each(share.count, [&](int i, char* target, u64* full) {
            int row = 2 * (share.from + i), bytes = 2 * D * (n - row > 1 ? 2 : 1);
            expect(full, bytes);
            copy_bulk(target, (const char*)weight + (long long)row * 2 * D, bytes, full);
        });
    }

    // Quarters of pairs of rows of a weight [D, F].
    __device__ __forceinline__ void quarters(u64 weight) {
        Share share(D / 2);
        each(share.count * QUARTERS, [&](int i, char* target, u64* full) {
            int row = 2 * (share.from + i / QUARTERS);
            const char* source = (const char*)weight + (long long)row * 2 * F + i % QUARTERS * 2 * D;
            expect(full, 4 * D);
            copy_bulk(target, source, 2 * D, full);
            copy_bulk(target + 2 * D, source + 2 * F, 2 * D, full);
        });
    }

    // Keys and values [H, S, 64] of this block's stretch, SPOTS positions a slot.
    __device__ __forceinline__ void stripes(const char* keys, const char* values) {
        Stretch stretch;
        each(stretch.count, [&](int i, char* target, u64* full) {
            int spot = (stretch.from + i) * SPOTS, bytes = 2 * E * (S - spot < SPOTS ? S - spot : SPOTS);
            long long place = ((long long)stretch.head * S + spot) * 2 * E;
            expect(full, 2 * bytes);
            copy_bulk(target, keys + place, bytes, full);
            copy_bulk(target + 2 * D, values + place, bytes, full);
        });
    }

    __device__ __forceinline__ void run() {
        #pragma unroll 1
        for (int layer = 0; layer < L; layer++) {
            const u64* row = shared().table + HEADS + layer * ROWS;
            const char* keys = (const char*)shared().table[CROSS] + (long long)layer * 2 * S * D * 2;
            rows(3 * D, row[QKV_W]);
            rows(D, row[OUT_W]);
            rows(D, row[ASK_W]);
            stripes(keys, keys + (long long)S * D * 2);
            rows(D, row[HEARD_W]);
            rows(F, row[UP_W]);
            quarters(row[DOWN_W]);
        }
        rows(V, shared().table[HEAD_W]);
    }
};

// ---- the workers ---------------------------------------------------------------------------------------------------

struct Worker {
    Exchange exchange;
    u32 epoch;
    int position, warp, lane, thread, sequence = 0;

    __device__ u32 tag(int layer, int phase) const { return epoch + layer * PHASES + phase + 1; }

    // ---- receiving ----

    // Read 2·n messages of two values each, their tags as awaited, into shared memory; then all workers go on.
    __device__ __noinline__ void receive(const u64* from, int n, u32 awaited, u16* to) {
        constexpr int ROUNDS = (F / 4 + THREADS - 1) / THREADS;
        uint4 got[ROUNDS];
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) got[r].y = ~awaited;
        bool missing = true;
        while (missing) {
            missing = false;
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                int i = r * THREADS + thread;
                if (i < n && (got[r].y != awaited || got[r].w != awaited)) {
                    got[r] = look((const uint4*)from + i);
                    missing = true;
                }
            }
            if (missing) {
                missing = false;
                #pragma unroll
                for (int r = 0; r < ROUNDS; r++)
                    missing |= r * THREADS + thread < n && (got[r].y != awaited || got[r].w != awaited);
                if (missing) pause();
            }
        }
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = r * THREADS + thread;
            if (i < n) *(uint2*)(to + 4 * i) = make_uint2(got[r].x, got[r].z);
        }
        sync_copies();
        sync_workers();
    }

    // The same for a few messages, in shared memory after the next meeting.
    __device__ __forceinline__ void receive_one(const u64* from, u32 awaited, u16* to) {
        uint4 got;
        while ((got = look((const uint4*)from)).y != awaited || got.w != awaited) pause();
        *(uint2*)to = make_uint2(got.x, got.z);
    }

    // ---- layer norm ----

    // Ask for gain and bias of a layer norm; they are there after the next `receive`.
    __device__ __forceinline__ void fetch_norm(u64 gain, u64 bias) {
        for (int i = thread; i < D / 8; i += THREADS) {
            copy16(shared().gain + 8 * i, (const u16*)gain + 8 * i);
            copy16(shared().bias + 8 * i, (const u16*)bias + 8 * i);
        }
    }

    // y = norm(x): every warp sums all of x, a thread writes two values.
    __device__ __noinline__ void normalise() {
        float sum = 0.f, square = 0.f;
        #pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int column = 256 * i + 8 * lane;
            if (256 * (i + 1) <= D || column < D) {
                float v[8];
                spread(*(const uint4*)(shared().x + column), v);
                #pragma unroll
                for (int k = 0; k < 8; k++) sum += v[k], square += v[k] * v[k];
            }
        }
        float2 both = warp_sum(sum, square);
        float mean = both.x / D, scale = rsqrtf(both.y / D - mean * mean + 1e-5f);
        for (int i = thread; i < D / 2; i += THREADS) {
            float2 x = widen(((const u32*)shared().x)[i]), g = widen(((const u32*)shared().gain)[i]), b = widen(((const u32*)shared().bias)[i]);
            ((u32*)(shared().x + D))[i] = narrow((x.x - mean) * scale * g.x + b.x, (x.y - mean) * scale * g.y + b.y);
        }
        sync_workers();
    }

    // ---- products ----

    // What was copied under a sequence number, once it has come. A warp may be here before another one has taken what
    // the slot held before, and then the parity of `full` alone would say yes: so wait for that too.
    __device__ __forceinline__ const char* come(int number) {
        int slot = number % SLOTS, use = number / SLOTS;
        wait(&shared().empty[slot], (use & 1) ^ 1);
        wait(&shared().full[slot], use & 1);
        return block_memory() + slot * SLOT;
    }

    // Two rows of D weights times D values from shared().x[from] on; then their slot is free.
    __device__ __noinline__ float2 item(int number, int from) {
        const u16* x = shared().x + from;
        const u16* w = (const u16*)come(number);
        float2 a = make_float2(0.f, 0.f), b = a;
        #pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int column = 256 * i + 8 * lane;
            if (256 * (i + 1) <= D || column < D) {
                float v[8], one[8], other[8];
                spread(*(const uint4*)(x + column), v);
                spread(*(const uint4*)(w + column), one);
                spread(*(const uint4*)(w + D + column), other);
                #pragma unroll
                for (int k = 0; k < 8; k += 2) {
                    a.x += v[k] * one[k], a.y += v[k + 1] * one[k + 1];
                    b.x += v[k] * other[k], b.y += v[k + 1] * other[k + 1];
                }
            }
        }
        float2 dots = warp_sum(a.x + a.y, b.x + b.y);
        if (lane == 0) arrive(&shared().empty[number % SLOTS]);
        return dots;
    }

    // The bias of a pair of rows of this warp, asked for before what it is added to is there.
    __device__ __forceinline__ u32 pair_bias(int n, u64 bias, int round) const {
        Share share(n / 2);
        int i = round * WARPS + warp;
        return i < share.count ? ((const u32*)bias)[share.from + i] : 0;
    }

    // Rows [n, D] times y, plus bias; what then happens to two values is `how`. `first` and `second` are
    // the biases of this warp's pairs.
    __device__ __noinline__ void product(int n, u32 first, u32 second, int how, u64* to, u32 sent) {
        Share share((n + 1) / 2);
        #pragma unroll 1
        for (int i = warp; i < share.count; i += WARPS) {
            float2 dots = item(sequence + i, D);
            if (lane == 0) finish(share.from + i, dots, widen(i < WARPS ? first : second), how, to, sent);
        }
        sequence += share.count;
    }

    __device__ __forceinline__ void finish(int pair, float2 dots, float2 bias, int how, u64* to, u32 sent) {
        if (how == SCORE) {
            float* scores = (float*)to + 2 * pair;
            scores[0] = narrowed(dots.x);
            if (2 * pair + 1 < V) scores[1] = narrowed(dots.y);
            return;
        }
        float2 y = make_float2(narrowed(dots.x + bias.x), narrowed(dots.y + bias.y));
        if (how == GELU) {
            y.x = .5f * y.x * (1.f + erff(y.x * .7071067811865476f));
            y.y = .5f * y.y * (1.f + erff(y.y * .7071067811865476f));
        } else if (how == ADD) {
            float2 old = widen(*(const u32*)(shared().x + 2 * pair));
            y.x += old.x, y.y += old.y;
        }
        send(to + pair, narrow(y.x, y.y), sent);
    }

    // x += hidden @ weight[D, F]ᵀ + bias; a warp always works on the same quarter of the columns.
    __device__ __forceinline__ void narrow_down(u32 bias, u32 sent) {
        Share share(D / 2);
        int count = share.count * QUARTERS;
        #pragma unroll 1
        for (int i = warp; i < count; i += WARPS) {
            float2 dots = item(sequence + i, 2 * D + warp % QUARTERS * D);
            if (lane == 0) shared().quarters[i / QUARTERS][i % QUARTERS] = dots;
        }
        sequence += count;
        sync_workers();
        if (thread < share.count) {
            float2 y = make_float2(0.f, 0.f);
            #pragma unroll
            for (int q = 0; q < QUARTERS; q++) y.x += shared().quarters[thread][q].x, y.y += shared().quarters[thread][q].y;
            finish(share.from + thread, y, widen(bias), ADD, exchange.x, sent);
        }
    }

    // ---- attention ----

    // What a warp has found so far: eight lanes hold a position's 64 values, four positions at a time.
    struct Found {
        float sums[8], top = LOWEST, norm = 0.f;
        __device__ __forceinline__ Found() {
            #pragma unroll
            for (int k = 0; k < 8; k++) sums[k] = 0.f;
        }
    };

    __device__ __forceinline__ float score(const float* q, uint4 key) const {
        float k[8], sum = 0.f;
        spread(key, k);
        #pragma unroll
        for (int i = 0; i < 8; i++) sum += q[i] * k[i];
        #pragma unroll
        for (int mask = 4; mask; mask >>= 1) sum += shuffle_xor(sum, mask);
        return sum;
    }

    // Attend to N groups of four positions, of which this lane's group sees those with valid(i).
    template <int N, class Valid, class Key, class Value>
    __device__ __forceinline__ void attend(Found& found, const float* q, Valid valid, Key key, Value value) {
        float scores[N], top = found.top;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            scores[i] = score(q, key(i));
            if (!valid(i)) scores[i] = LOWEST;
            top = fmaxf(top, scores[i]);
        }
        float shrink = fast_exp(found.top - top);
        found.norm *= shrink;
        #pragma unroll
        for (int k = 0; k < 8; k++) found.sums[k] *= shrink;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            float weight = valid(i) ? fast_exp(scores[i] - top) : 0.f, v[8];
            spread(value(i), v);
            found.norm += weight;
            #pragma unroll
            for (int k = 0; k < 8; k++) found.sums[k] += weight * v[k];
        }
        found.top = top;
    }

    // Join what all warps have found: the first warp returns values 2·lane and 2·lane + 1, normalised, and log Σ exp.
    __device__ __noinline__ float3 join(Found found) {
        float top = found.top;
        #pragma unroll
        for (int mask = 8; mask < 32; mask <<= 1) top = fmaxf(top, shuffle_xor(top, mask));
        float scale = fast_exp(found.top - top), norm = found.norm * scale;
        #pragma unroll
        for (int mask = 8; mask < 32; mask <<= 1) norm += shuffle_xor(norm, mask);
        #pragma unroll
        for (int k = 0; k < 8; k++) {
            float sum = found.sums[k] * scale;
            #pragma unroll
            for (int mask = 8; mask < 32; mask <<= 1) sum += shuffle_xor(sum, mask);
            if (lane < 8) shared().parts[warp][8 * lane + k] = sum;
        }
        if (lane == 0) shared().tops[warp] = top, shared().norms[warp] = norm;
        sync_workers();
        float3 result = make_float3(0.f, 0.f, 0.f);
        if (warp == 0) {
            float highest = LOWEST, total = 0.f;
            #pragma unroll
            for (int i = 0; i < WARPS; i++) highest = fmaxf(highest, shared().tops[i]);
            #pragma unroll 4
            for (int i = 0; i < WARPS; i++) {
                float weight = fast_exp(shared().tops[i] - highest);
                total += weight * shared().norms[i];
                result.x += weight * shared().parts[i][2 * lane];
                result.y += weight * shared().parts[i][2 * lane + 1];
            }
            result.x /= total, result.y /= total, result.z = highest + logf(total);
        }
        return result;
    }

    __device__ __forceinline__ void query(float* q) const {
        spread(*(const uint4*)(shared().own + lane % 8 * 8), q);
        #pragma unroll
        for (int k = 0; k < 8; k++) q[k] = narrowed(q[k] * .125f);  // 64^−½
    }

    // One head of the self-attention over the positions so far, by the blocks that have one.
    __device__ __noinline__ void see(int layer) {
        int head = (blockIdx.x * H + GRID - 1) / GRID;
        if (head >= H || head * GRID / H != blockIdx.x) return;
        constexpr int N = (T / 4 + WARPS - 1) / WARPS;
        u16* keys = (u16*)shared().table[SELF] + ((long long)(2 * layer) * H + head) * T * E;
        u16* values = keys + (long long)H * T * E;
        uint4 k[N], v[N];
        auto at = [&](int i) { return 4 * (i * WARPS + warp) + lane / 8; };
        #pragma unroll
        for (int i = 0; i < N; i++) {  // what earlier steps have written, before this step's query is there
            k[i] = v[i] = make_uint4(0, 0, 0, 0);
            if (at(i) < position) {
                k[i] = *(const uint4*)(keys + at(i) * E + lane % 8 * 8);
                v[i] = *(const uint4*)(values + at(i) * E + lane % 8 * 8);
            }
        }
        if (thread < 3 * E / 4) {
            int part = thread / (E / 4), place = 4 * (thread % (E / 4));
            receive_one(exchange.qkv + (part * D + head * E + place) / 2, tag(layer, QKV), shared().own + part * E + place);
        }
        sync_workers();
        if (thread < E / 8) {
            *(uint4*)(keys + position * E + 8 * thread) = *(const uint4*)(shared().own + E + 8 * thread);
            *(uint4*)(values + position * E + 8 * thread) = *(const uint4*)(shared().own + 2 * E + 8 * thread);
        }
        float q[8];
        query(q);
        #pragma unroll
        for (int i = 0; i < N; i++) {
            if (at(i) == position) {
                k[i] = *(const uint4*)(shared().own + E + lane % 8 * 8);
                v[i] = *(const uint4*)(shared().own + 2 * E + lane % 8 * 8);
            }
        }
        Found found;
        attend<N>(found, q, [&](int i) { return at(i) <= position; }, [&](int i) { return k[i]; },
                  [&](int i) { return v[i]; });
        float3 joined = join(found);
        if (warp == 0) send(exchange.seen + head * E / 2 + lane, narrow(joined.x, joined.y), tag(layer, SEEN));
    }

    // This block's stretch of one head of the cross-attention.
    __device__ __noinline__ void hear(int layer) {
        Stretch stretch;
        if (stretch.count == 0) return;
        if (thread < E / 4)
            receive_one(exchange.asked + (stretch.head * E + 4 * thread) / 2, tag(layer, ASKED), shared().own + 4 * thread);
        sync_workers();
        float q[8];
        query(q);
        Found found;
        #pragma unroll 1
        for (int item = warp; item < stretch.count; item += WARPS) {
            int number = sequence + item, left = S - (stretch.from + item) * SPOTS;
            const char *keys = come(number), *values = keys + 2 * D;
            auto at = [&](const char* base, int i) {
                int line = 4 * i + lane / 8;
                return *(const uint4*)(base + (line < SPOTS ? line : 0) * 2 * E + lane % 8 * 16);
            };
            auto valid = [&](int i) { return 4 * i + lane / 8 < (left < SPOTS ? left : SPOTS); };
            attend<(SPOTS + 3) / 4>(found, q, valid, [&](int i) { return at(keys, i); },
                                    [&](int i) { return valid(i) ? at(values, i) : make_uint4(0, 0, 0, 0); });
            sync_warp();
            if (lane == 0) arrive(&shared().empty[number % SLOTS]);
        }
        sequence += stretch.count;
        float3 joined = join(found);
        if (warp == 0) {
            shared().found[2 * lane] = joined.x, shared().found[2 * lane + 1] = joined.y;
            if (lane == 0) shared().found[E] = joined.z, shared().found[E + 1] = 0.f;
            sync_warp();
            uint4* to = exchange.heard + (stretch.head * SPLITS + stretch.split) * TRIPLES + lane;
            const float* f = shared().found + 3 * lane;
            if (lane < TRIPLES) send(to, f[0], f[1], f[2], tag(layer, HEARD));
        }
    }

    // Join the stretches of all heads into y: a thread takes three values of a head.
    __device__ __noinline__ void mix(u32 awaited) {
        constexpr int TASKS = H * TRIPLES, ROUNDS = (TASKS + THREADS - 1) / THREADS;
        uint4 got[ROUNDS][SPLITS];
        auto from = [&](int task, int i) { return exchange.heard + (task / TRIPLES * SPLITS + i) * TRIPLES + task % TRIPLES; };
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int task = r * THREADS + thread;
            bool missing = task < TASKS;
            #pragma unroll
            for (int i = 0; i < SPLITS; i++) got[r][i].w = ~awaited;
            while (missing) {
                #pragma unroll
                for (int i = 0; i < SPLITS; i++)
                    if (got[r][i].w != awaited) got[r][i] = look_whole(from(task, i));
                missing = false;
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) missing |= got[r][i].w != awaited;
                if (missing) pause();
            }
            if (task < TASKS && task % TRIPLES == TRIPLES - 1) {
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) shared().logs[task / TRIPLES * SPLITS + i] = as_float(got[r][i].y);
            }
        }
        sync_workers();
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int task = r * THREADS + thread;
            if (task < TASKS) {
                const float* logs = shared().logs + task / TRIPLES * SPLITS;
                float top = LOWEST, total = 0.f, sums[3] = {0.f, 0.f, 0.f};
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) top = fmaxf(top, logs[i]);
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) {
                    float weight = fast_exp(logs[i] - top);
                    total += weight;
                    sums[0] += weight * as_float(got[r][i].x);
                    sums[1] += weight * as_float(got[r][i].y);
                    sums[2] += weight * as_float(got[r][i].z);
                }
                #pragma unroll
                for (int k = 0; k < 3; k++) {
                    int e = 3 * (task % TRIPLES) + k;
                    if (e < E) (shared().x + D)[task / TRIPLES * E + e] = (u16)narrow(sums[k] / total, 0.f);
                }
            }
        }
        sync_workers();
    }

    // ---- the whole step ----

    __device__ __forceinline__ void embed() {
        long long token = *(const long long*)shared().table[TOKEN];
        for (int i = thread; i < D / 2; i += THREADS) {
            float2 one = widen(((const u32*)shared().table[EMBED])[token * (D / 2) + i]);
            float2 other = widen(((const u32*)shared().table[PLACES])[position * (D / 2) + i]);
            *(u32*)(shared().x + 2 * i) = narrow(one.x + other.x, one.y + other.y);
        }
        sync_copies();
        sync_workers();
    }

    // norm(x) @ weight[n, D]ᵀ + bias, x being told by phase `awaited`.
    __device__ __noinline__ void project(int n, u64 gain, u64 offset, u64 bias, u32 awaited, int how, u64* to, u32 sent) {
        fetch_norm(gain, offset);
        u32 first = bias ? pair_bias(n, bias, 0) : 0, second = bias ? pair_bias(n, bias, 1) : 0;
        if (awaited)
            receive(exchange.x, D / 4, awaited, shared().x);
        else
            embed();
        normalise();
        product(n, first, second, how, to, sent);
    }

    __device__ __forceinline__ void run() {
        #pragma unroll 1
        for (int layer = 0; layer < L; layer++) {
            const u64* row = shared().table + HEADS + layer * ROWS;
            project(3 * D, row[ATTN_G], row[ATTN_B], row[QKV_B], layer ? tag(layer - 1, DOWN) : 0, SEND, exchange.qkv,
                    tag(layer, QKV));
            see(layer);
            u32 bias = pair_bias(D, row[OUT_B], 0);
            receive(exchange.seen, D / 4, tag(layer, SEEN), (shared().x + D));
            product(D, bias, 0, ADD, exchange.x, tag(layer, OUT));
            project(D, row[CROSS_G], row[CROSS_B], row[ASK_B], tag(layer, OUT), SEND, exchange.asked, tag(layer, ASKED));
            hear(layer);
            bias = pair_bias(D, row[HEARD_B], 0);
            mix(tag(layer, HEARD));
            product(D, bias, 0, ADD, exchange.x, tag(layer, MIXED));
            project(F, row[MLP_G], row[MLP_B], row[UP_B], tag(layer, MIXED), GELU, exchange.hidden, tag(layer, HIDDEN));
            Share share(D / 2);
            bias = thread < share.count ? ((const u32*)row[DOWN_B])[share.from + thread] : 0;
            receive(exchange.hidden, F / 4, tag(layer, HIDDEN), (shared().x + 2 * D));
            narrow_down(bias, tag(layer, DOWN));
        }
        project(V, shared().table[LAST_G], shared().table[LAST_B], 0, tag(L - 1, DOWN), SCORE, (u64*)shared().table[SCORES], 0);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) decode_token(const u64* table) {
    Shared& s = shared();
    int thread = threadIdx.x, lane = thread % 32;
    for (int i = thread; i < HEADS + L * ROWS; i += THREADS + 32) s.table[i] = table[i];
    if (thread == 0) {
        for (int i = 0; i < SLOTS; i++) prepare(&s.full[i], 1), prepare(&s.empty[i], 1);
        order_barriers();
    }
    sync_block();
    if (thread >= THREADS) {
        Loader loader{lane};
        loader.run();
        return;
    }
    volatile u32* epoch = (u32*)s.table[EPOCH];
    int position = (int)*(const long long*)s.table[POSITION];
    Worker worker{Exchange(s.table[EXCHANGE]), *epoch, position, thread / 32, lane, thread};
    worker.run();
    // Every block has read the epoch by now: none gets this far without the others' results.
    if (blockIdx.x == 0 && thread == 0) *epoch += L * PHASES;
}
