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
// Every part of the code stands once and inline: called, it would keep the worker's state in memory; written out for each
// product, it would not stay in the instruction cache.
// Values are rounded to half precision where torch rounds them: after norm, linear, GELU, attention and sum.

constexpr int E = 64, THREADS = 32 * WARPS;
constexpr int PITCH = 2 * D + 16;        // bytes from row to row: eight rows of a tile lie in different banks
constexpr int SLOT = 2 * PITCH;          // bytes: two rows of D half-precision weights, or keys and values of SPOTS positions
constexpr int SPOTS = D / E;             // encoder positions of one head per slot
constexpr int STRIPES = (S + SPOTS - 1) / SPOTS, SPLITS = GRID / H;
constexpr int LISTENED = (STRIPES / SPLITS + WARPS) / WARPS;  // most stripes that one warp listens to
constexpr int STEPS = D / 16;            // of the tensor cores along a row of D
constexpr int QUARTERS = F / D;          // an item of the narrowing product is a part of D columns of two rows
constexpr int GROUP = 8;                 // copies that the loader's lanes begin at once
constexpr int HELD = 4;                  // groups of four positions of a text that a warp looks at at once
constexpr int TRIPLES = 22;              // 64 values and a log-sum-exp, three to a message
constexpr int WIDEST = (F / 2 + GRID - 1) / GRID, NARROWEST = (D / 2 + GRID - 1) / GRID;  // pairs of rows of a block
constexpr int AT_ONCE = QUARTERS * (NARROWEST < 8 ? NARROWEST : 8);                       // most slots of a tile
constexpr float LOWEST = -1e30f;
static_assert(F % D == 0 && WARPS % 4 == 0 && D == E * H && SPLITS > 0 && T % 4 == 0, "shape of the model");
static_assert(D / 2 >= GRID && D / 8 <= THREADS && STRIPES / SPLITS < SLOTS, "shape of the grid");
static_assert(AHEAD > 0 && AHEAD + GROUP <= SLOTS && AT_ONCE <= SLOTS && AT_ONCE <= 32 && SLOTS >= 8, "slots");

// The products of a layer, in order; the output head is one more, as the first of a layer after the last.
enum Kind { TO_QKV, FROM_SEEN, TO_ASKED, FROM_HEARD, TO_HIDDEN, FROM_HIDDEN, KINDS };
enum Finish { SEND, GELU, ADD, SCORE };  // what is done with a product: sent, sent after GELU, added to the stream, written

// Addresses: of the model, and of a layer weight and bias of each product, then gain and bias of the norm before it.
enum Head { EMBED, PLACES, TOKEN, POSITION, SELF, CROSS, SCORES, EXCHANGE, EPOCH, HEADS };
constexpr int NORMS = 2 * KINDS, ROWS = 2 * KINDS + 6, TABLE = HEADS + (L + 1) * ROWS;

// Tags: of what the products of a layer send, 1 … 6 in their order; of what its attentions send.
enum Tag { SEEN = 7, HEARD = 8, TAGS = 8 };

// This block's part of a product: pairs of rows, items (a pair's rows, or a quarter of them), where they go and how.
struct Plan {
    int from, count, quarters, x, how, rows;
    u64 to;
};

struct Shared {
    u64 full[SLOTS], empty[SLOTS];
    u64 table[TABLE];
    Plan plans[KINDS + 1];
    alignas(16) u16 x[2 * D + F];      // the residual stream; its norm, or what an attention found; the hidden layer
    alignas(16) u16 gain[D], bias[D];  // of the coming layer norm
    alignas(16) u16 offsets[2][2 * WIDEST];  // biases of this block's rows, of two products in turn
    alignas(16) u16 own[3 * E];        // query, key, value of the head that this block attends with
    alignas(16) float parts[WARPS][E], tops[WARPS], norms[WARPS], found[3 * TRIPLES];
    alignas(16) float dots[2][16][WARPS + 4];  // of a tile's rows, by warp; of two tiles in turn
    float logs[H * SPLITS], scores[T];
    float2 sums[WARPS];                // of the residual stream and its squares
};

// Asked for where it is needed: an address that is kept in an object would no longer be known as shared memory's.
__device__ __forceinline__ Shared& shared() { return *(Shared*)(block_memory() + SLOTS * SLOT); }

// This block's share of n things.
struct Share {
    int from, count;
    __device__ __forceinline__ Share(u32 n) : from(n * blockIdx.x / GRID), count(n * (blockIdx.x + 1) / GRID - from) {}
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

    // Keys and values [H, S, 64] of this block's stretch, SPOTS positions a slot.
    __device__ __forceinline__ void stripes(const char* keys) {
        Stretch stretch;
        each(stretch.count, [&](int i, char* target, u64* full) {
            int spot = (stretch.from + i) * SPOTS, bytes = 2 * E * (S - spot < SPOTS ? S - spot : SPOTS);
            const char* source = keys + ((long long)stretch.head * S + spot) * 2 * E;
            expect(full, 2 * bytes);
            copy_bulk(target, source, bytes, full);
            copy_bulk(target + 2 * D, source + (long long)S * D * 2, bytes, full);
        });
    }

    // Pairs of rows of a weight, or quarters of them.
    __device__ __forceinline__ void rows(const Plan& plan, const char* weight) {
        each(plan.count * plan.quarters, [&](int i, char* target, u64* full) {
            int pair = plan.quarters == 1 ? i : i / QUARTERS, quarter = plan.quarters == 1 ? 0 : i % QUARTERS;
            int row = 2 * (plan.from + pair), pitch = 2 * D * plan.quarters;
            const char* source = weight + (long long)row * pitch + quarter * 2 * D;
            bool both = plan.rows - row > 1;
            expect(full, both ? 4 * D : 2 * D);
            copy_bulk(target, source, 2 * D, full);
            if (both) copy_bulk(target + PITCH, source + pitch, 2 * D, full);
        });
    }

    __device__ __forceinline__ void run() {
        #pragma unroll 1
        for (int i = 0; i <= KINDS * L; i++) {
            int layer = i / KINDS, kind = i % KINDS;
            if (kind == FROM_HEARD) stripes((const char*)shared().table[CROSS] + (long long)layer * 4 * S * D);
            rows(shared().plans[i == KINDS * L ? KINDS : kind],
                 (const char*)shared().table[HEADS + layer * ROWS + 2 * kind]);
        }
    }
};

// ---- the workers ---------------------------------------------------------------------------------------------------

struct Worker {
    Exchange exchange;
    u32 epoch;
    int position, warp, lane, thread, sequence = 0, tiles = 0, turn = 0;

    __device__ __forceinline__ u32 tag(int layer, int which) const { return epoch + layer * TAGS + which; }

    // ---- receiving ----

    // Read 2·n messages of two values each, their tags as awaited, into shared memory; then all workers go on.
    __device__ __forceinline__ void receive(const u64* from, int n, u32 awaited, u16* to) {
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

    // Four values by two messages.
    __device__ __forceinline__ static uint2 await_two(const u64* from, u32 awaited) {
        uint4 got;
        while ((got = look((const uint4*)from)).y != awaited || got.w != awaited) pause();
        return make_uint2(got.x, got.z);
    }

    // Eight values by four messages, looked for at the same time.
    __device__ __forceinline__ static uint4 await_four(const u64* from, u32 awaited) {
        uint4 low, high;
        do {
            low = look((const uint4*)from);
            high = look((const uint4*)from + 1);
        } while (low.y != awaited || low.w != awaited || high.y != awaited || high.w != awaited ? (pause(), true) : false);
        return make_uint4(low.x, low.z, high.x, high.z);
    }

    // ---- layer norm ----

    // Ask for gain and bias of a layer norm; they are there after the next `receive_normed`.
    __device__ __forceinline__ void fetch_norm(u64 gain, u64 bias) {
        for (int i = thread; i < D / 8; i += THREADS) {
            copy16(shared().gain + 8 * i, (const u16*)gain + 8 * i);
            copy16(shared().bias + 8 * i, (const u16*)bias + 8 * i);
        }
    }

    // x as its messages tell it, or the token's embedding; y = norm(x). A thread has eight values.
    __device__ __forceinline__ void receive_normed(bool first, u32 awaited) {
        float v[8] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}, sum = 0.f, square = 0.f;
        bool mine = thread < D / 8;
        if (mine) {
            uint4 words = first ? embedding() : await_four(exchange.x + 4 * thread, awaited);
            *(uint4*)(shared().x + 8 * thread) = words;
            spread(words, v);
            #pragma unroll
            for (int k = 0; k < 8; k++) sum += v[k], square += v[k] * v[k];
        }
        float2 both = warp_sum(sum, square);
        if (lane == 0) shared().sums[warp] = both;
        sync_copies();
        sync_workers();
        both = make_float2(0.f, 0.f);
        #pragma unroll
        for (int i = 0; i < (D / 8 + 31) / 32; i++) both.x += shared().sums[i].x, both.y += shared().sums[i].y;
        float mean = both.x / D, scale = rsqrtf(both.y / D - mean * mean + 1e-5f);
        if (mine) {
            float gain[8], bias[8];
            spread(*(const uint4*)(shared().gain + 8 * thread), gain);
            spread(*(const uint4*)(shared().bias + 8 * thread), bias);
            #pragma unroll
            for (int k = 0; k < 8; k++) v[k] = (v[k] - mean) * scale * gain[k] + bias[k];
            *(uint4*)(shared().x + D + 8 * thread) =
                make_uint4(narrow(v[0], v[1]), narrow(v[2], v[3]), narrow(v[4], v[5]), narrow(v[6], v[7]));
        }
        sync_workers();
    }

    __device__ __forceinline__ uint4 embedding() const {
        long long token = *(const long long*)shared().table[TOKEN];
        float a[8], b[8];
        spread(((const uint4*)shared().table[EMBED])[token * (D / 8) + thread], a);
        spread(((const uint4*)shared().table[PLACES])[position * (D / 8) + thread], b);
        return make_uint4(narrow(a[0] + b[0], a[1] + b[1]), narrow(a[2] + b[2], a[3] + b[3]),
                          narrow(a[4] + b[4], a[5] + b[5]), narrow(a[6] + b[6], a[7] + b[7]));
    }

    // ---- products ----

    // Ask for the biases of this block's rows of the coming product; they are there after the next meeting.
    __device__ __forceinline__ void fetch_bias(const Plan& plan, u64 bias) {
        turn ^= 1;
        if (bias && thread < plan.count)
            copy4(shared().offsets[turn] + 2 * thread, (const u32*)bias + plan.from + thread);
    }

    // Wait for what was copied under a sequence number. The slot's last use was met by all workers since.
    __device__ __forceinline__ void come(int number) { wait(&shared().full[number % SLOTS], number / SLOTS & 1); }

    // This block's rows of a weight times values in shared memory, plus bias; then `finish`. Tiles of 16 rows by tensor
    // cores, of which every warp takes its steps along the rows.
    __device__ __forceinline__ void product(const Plan& plan, u32 sent) {
        int quarters = plan.quarters;
        #pragma unroll 1
        for (int tile = 0; tile < plan.count; tile += 8) {
            int pairs = plan.count - tile < 8 ? plan.count - tile : 8;
            if (lane < pairs * quarters) come(sequence + lane);
            sync_warp();
            int row = lane % 16, pair = row / 2 < pairs ? row / 2 : pairs - 1;
            Sums even = {0.f, 0.f, 0.f, 0.f}, odd = even;
            #pragma unroll 1
            for (int quarter = 0; quarter < quarters; quarter++) {
                const char* w = block_memory() + (sequence + pair * quarters + quarter) % SLOTS * SLOT + row % 2 * PITCH
                                + lane / 16 * 16 + 32 * warp;
                const u16* x = shared().x + plan.x + quarter * D + 2 * (lane % 4) + 16 * warp;
                constexpr int MINE = (STEPS + WARPS - 1) / WARPS;
                auto there = [&](int i) { return STEPS % WARPS == 0 || i * WARPS + warp < STEPS; };
                Tile loaded[MINE];
                u32 low[MINE], high[MINE];
                #pragma unroll
                for (int i = 0; i < MINE; i++) {
                    if (!there(i)) break;
                    loaded[i] = load_tile(w + 32 * i * WARPS);
                    low[i] = lane < 4 ? *(const u32*)(x + 16 * i * WARPS) : 0;
                    high[i] = lane < 4 ? *(const u32*)(x + 16 * i * WARPS + 8) : 0;
                }
                #pragma unroll
                for (int i = 0; i < MINE; i++) {
                    if (!there(i)) break;
                    multiply(i % 2 ? odd : even, loaded[i], low[i], high[i]);
                }
            }
            tiles ^= 1;
            if (lane % 4 == 0) {
                shared().dots[tiles][lane / 4][warp] = even.a + odd.a;
                shared().dots[tiles][lane / 4 + 8][warp] = even.c + odd.c;
            }
            sync_workers();
            if (warp == WARPS - 1 && lane < pairs * quarters) arrive(&shared().empty[(sequence + lane) % SLOTS]);
            sequence += pairs * quarters;
            if (warp == 0) finish(plan, tile, 2 * pairs, sent);
        }
    }

    // A row of a tile by each of the first lanes: what the warps found, bias, and what comes next.
    __device__ __forceinline__ void finish(const Plan& plan, int tile, int rows, u32 sent) {
        int row = lane < rows ? lane : 0, how = plan.how, place = 2 * (plan.from + tile) + row;
        float y = 0.f;
        #pragma unroll
        for (int i = 0; i < WARPS / 4; i++) {
            float4 found = *(const float4*)(shared().dots[tiles][row] + 4 * i);
            y += (found.x + found.y) + (found.z + found.w);
        }
        if (how == SCORE) {
            if (lane < rows && place < V) ((float*)plan.to)[place] = narrowed(y);
            return;
        }
        y = narrowed(y + widen(shared().offsets[turn][2 * tile + row]).x);
        if (how == GELU) y = .5f * y * (1.f + erff(y * .7071067811865476f));
        if (how == ADD) y += widen(shared().x[place]).x;
        float other = shuffle_xor(y, 1);
        if (lane < rows && lane % 2 == 0) send((u64*)plan.to + place / 2, narrow(y, other), sent);
    }

    // ---- attention ----
    // Eight lanes hold a position's 64 values, so a warp looks at four positions at a time.

    __device__ __forceinline__ void query(float* q) const {
        spread(*(const uint4*)(shared().own + lane % 8 * 8), q);
        #pragma unroll
        for (int k = 0; k < 8; k++) q[k] = narrowed(q[k] * .125f);  // 64^−½
    }

    __device__ __forceinline__ float score(const float* q, uint4 key) const {
        float k[8], sum = 0.f;
        spread(key, k);
        #pragma unroll
        for (int i = 0; i < 8; i++) sum += q[i] * k[i];
        #pragma unroll
        for (int mask = 4; mask; mask >>= 1) sum += shuffle_xor(sum, mask);
        return sum;
    }

    // The highest score of all workers.
    __device__ __forceinline__ float highest(float top) {
        top = fmaxf(top, shuffle_xor(top, 8));
        top = fmaxf(top, shuffle_xor(top, 16));
        if (lane == 0) shared().tops[warp] = top;
        sync_workers();
        #pragma unroll
        for (int i = 0; i < WARPS; i++) top = fmaxf(top, shared().tops[i]);
        return top;
    }

    // Add what this lane has found of a value, eight of its numbers, and of the norm.
    __device__ __forceinline__ static void weigh(float weight, uint4 value, float* sums, float& norm) {
        float v[8];
        spread(value, v);
        norm += weight;
        #pragma unroll
        for (int k = 0; k < 8; k++) sums[k] += weight * v[k];
    }

    // Join what all workers have found: the first warp returns values 2·lane and 2·lane + 1, normalised, and log Σ exp.
    __device__ __forceinline__ float3 join(const float* sums, float norm, float top) {
        float all[8];
        #pragma unroll
        for (int k = 0; k < 8; k++) {
            all[k] = sums[k] + shuffle_xor(sums[k], 8);
            all[k] += shuffle_xor(all[k], 16);
        }
        norm += shuffle_xor(norm, 8);
        norm += shuffle_xor(norm, 16);
        if (lane < 8) {
            #pragma unroll
            for (int k = 0; k < 8; k++) shared().parts[warp][8 * lane + k] = all[k];
        }
        if (lane == 0) shared().norms[warp] = norm;
        sync_workers();
        float3 result = make_float3(0.f, 0.f, 0.f);
        if (warp == 0) {
            float total = 0.f;
            #pragma unroll
            for (int i = 0; i < WARPS; i++) {
                total += shared().norms[i];
                result.x += shared().parts[i][2 * lane];
                result.y += shared().parts[i][2 * lane + 1];
            }
            result.x = divided(result.x, total), result.y = divided(result.y, total), result.z = top + fast_log(total);
        }
        return result;
    }

    // One head of the self-attention over the positions so far, by the blocks that have one.
    __device__ __forceinline__ void see(int layer) {
        int head = (blockIdx.x * H + GRID - 1) / GRID;
        if (head >= H || head * GRID / H != blockIdx.x) return;
        u16* keys = (u16*)shared().table[SELF] + ((long long)(2 * layer) * H + head) * T * E;
        u16* values = keys + (long long)H * T * E;
        uint4 k[HELD], v[HELD];
        auto at = [&](int i) { return 4 * (i * WARPS + warp) + lane / 8; };
        auto fetch = [&](uint4* to, const u16* base, int first) {  // what earlier steps have written
            #pragma unroll
            for (int j = 0; j < HELD; j++)
                if (at(first + j) < position) to[j] = *(const uint4*)(base + at(first + j) * E + lane % 8 * 8);
        };
        fetch(k, keys, 0);
        fetch(v, values, 0);
        if (thread < 3 * E / 4) {
            int part = thread / (E / 4), place = 4 * (thread % (E / 4));
            uint2 words = await_two(exchange.qkv + (part * D + head * E + place) / 2, tag(layer, 1 + TO_QKV));
            *(uint2*)(shared().own + part * E + place) = words;
        }
        sync_workers();
        if (thread < E / 8) {
            *(uint4*)(keys + position * E + 8 * thread) = *(const uint4*)(shared().own + E + 8 * thread);
            *(uint4*)(values + position * E + 8 * thread) = *(const uint4*)(shared().own + 2 * E + 8 * thread);
        }
        float q[8], sums[8] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}, norm = 0.f, top = LOWEST;
        query(q);
        auto own = [&](int part) { return *(const uint4*)(shared().own + part * E + lane % 8 * 8); };
        #pragma unroll 1
        for (int first = 0; 4 * first * WARPS <= position; first += HELD) {
            if (first) fetch(k, keys, first);
            #pragma unroll
            for (int j = 0; j < HELD; j++) {
                int t = at(first + j);
                if (4 * (first + j) * WARPS > position) break;
                float one = score(q, t == position ? own(1) : k[j]);
                if (t <= position) top = fmaxf(top, one), shared().scores[t] = one;
            }
        }
        top = highest(top);
        #pragma unroll 1
        for (int first = 0; 4 * first * WARPS <= position; first += HELD) {
            if (first) fetch(v, values, first);
            #pragma unroll
            for (int j = 0; j < HELD; j++) {
                int t = at(first + j);
                if (t <= position) weigh(fast_exp(shared().scores[t] - top), t == position ? own(2) : v[j], sums, norm);
            }
        }
        float3 joined = join(sums, norm, top);
        if (warp == 0) send(exchange.seen + head * E / 2 + lane, narrow(joined.x, joined.y), tag(layer, SEEN));
    }

    // This block's stretch of one head of the cross-attention.
    __device__ __forceinline__ void hear(int layer) {
        Stretch stretch;
        if (stretch.count == 0) return;
        if (thread < E / 4) {
            uint2 words = await_two(exchange.asked + (stretch.head * E + 4 * thread) / 2, tag(layer, 1 + TO_ASKED));
            *(uint2*)(shared().own + 4 * thread) = words;
        }
        sync_workers();
        constexpr int N = (SPOTS + 3) / 4;
        float q[8], scores[LISTENED][N], sums[8] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}, norm = 0.f, top = LOWEST;
        query(q);
        auto heard = [&](int item, int i) {  // whether this lane's position is one of the clip's, in this stripe
            int spot = 4 * i + lane / 8;
            return spot < SPOTS && (stretch.from + item) * SPOTS + spot < S;
        };
        auto line = [&](int item, int i, int from) {
            return *(const uint4*)(block_memory() + (sequence + item) % SLOTS * SLOT + from + 64 * E / 8 * i + 16 * lane);
        };
        #pragma unroll
        for (int j = 0; j < LISTENED; j++) {
            int item = j * WARPS + warp;
            if (item >= stretch.count) break;
            come(sequence + item);
            #pragma unroll
            for (int i = 0; i < N; i++) {
                bool valid = heard(item, i);
                scores[j][i] = score(q, valid ? line(item, i, 0) : make_uint4(0, 0, 0, 0));
                if (valid) top = fmaxf(top, scores[j][i]);
            }
        }
        top = highest(top);
        #pragma unroll
        for (int j = 0; j < LISTENED; j++) {
            int item = j * WARPS + warp;
            if (item >= stretch.count) break;
            #pragma unroll
            for (int i = 0; i < N; i++)
                if (heard(item, i)) weigh(fast_exp(scores[j][i] - top), line(item, i, 2 * D), sums, norm);
        }
        float3 joined = join(sums, norm, top);
        for (int i = thread; i < stretch.count; i += THREADS) arrive(&shared().empty[(sequence + i) % SLOTS]);
        sequence += stretch.count;
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
    __device__ __forceinline__ void mix(u32 awaited) {
        constexpr int TASKS = H * TRIPLES, ROUNDS = (TASKS + THREADS - 1) / THREADS;
        uint4 got[ROUNDS][SPLITS];
        auto from = [&](int task, int i) { return exchange.heard + (task / TRIPLES * SPLITS + i) * TRIPLES + task % TRIPLES; };
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            #pragma unroll
            for (int i = 0; i < SPLITS; i++) got[r][i].w = r * THREADS + thread < TASKS ? ~awaited : awaited;
        }
        for (bool missing = true; missing;) {
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                #pragma unroll
                for (int i = 0; i < SPLITS; i++)
                    if (got[r][i].w != awaited) got[r][i] = look_whole(from(r * THREADS + thread, i));
            }
            missing = false;
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) missing |= got[r][i].w != awaited;
            }
            if (missing) pause();
        }
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int task = r * THREADS + thread;
            if (task < TASKS && task % TRIPLES == TRIPLES - 1) {
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) shared().logs[task / TRIPLES * SPLITS + i] = as_float(got[r][i].y);
            }
        }
        sync_copies();
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
                    if (e < E) (shared().x + D)[task / TRIPLES * E + e] = (u16)narrow(divided(sums[k], total), 0.f);
                }
            }
        }
        sync_workers();
    }

    // ---- the whole step ----

    __device__ __forceinline__ void run() {
        #pragma unroll 1
        for (int i = 0; i <= KINDS * L; i++) {
            int layer = i / KINDS, kind = i % KINDS;
            const u64* row = shared().table + HEADS + layer * ROWS;
            const Plan& plan = shared().plans[i == KINDS * L ? KINDS : kind];
            fetch_bias(plan, row[2 * kind + 1]);
            if (kind == TO_QKV || kind == TO_ASKED || kind == TO_HIDDEN) {
                fetch_norm(row[NORMS + kind], row[NORMS + kind + 1]);
                receive_normed(i == 0, kind == TO_QKV ? tag(layer - 1, 1 + FROM_HIDDEN) : tag(layer, kind));
            } else if (kind == FROM_HEARD) {
                hear(layer);
                mix(tag(layer, HEARD));
            } else {
                bool seen = kind == FROM_SEEN;
                if (seen) see(layer);
                receive(seen ? exchange.seen : exchange.hidden, (seen ? D : F) / 4, tag(layer, seen ? SEEN : 1 + TO_HIDDEN),
                        shared().x + plan.x);
            }
            product(plan, tag(layer, 1 + kind));
        }
    }
};

// What this block does in every kind of product, worked out once.
__device__ __forceinline__ Plan make_plan(int kind) {
    Exchange exchange(shared().table[EXCHANGE]);
    int rows = kind == KINDS ? V : kind == TO_QKV ? 3 * D : kind == TO_HIDDEN ? F : D;
    Share share((rows + 1) / 2);
    u64* to = kind == KINDS ? (u64*)shared().table[SCORES] : kind == TO_QKV ? exchange.qkv
              : kind == TO_ASKED ? exchange.asked : kind == TO_HIDDEN ? exchange.hidden : exchange.x;
    int how = kind == KINDS ? SCORE : kind == TO_HIDDEN ? GELU : kind == TO_QKV || kind == TO_ASKED ? SEND : ADD;
    bool narrowing = kind == FROM_HIDDEN;
    return {share.from, share.count, narrowing ? QUARTERS : 1, narrowing ? 2 * D : D, how, rows, (u64)to};
}

extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) decode_token(const u64* table) {
    Shared& s = shared();
    int thread = threadIdx.x, lane = thread % 32;
    for (int i = thread; i < TABLE; i += THREADS + 32) s.table[i] = table[i];
    if (thread == 0) {
        for (int i = 0; i < SLOTS; i++) prepare(&s.full[i], 1), prepare(&s.empty[i], 1);
        order_barriers();
    }
    sync_block();
    if (thread <= KINDS) s.plans[thread] = make_plan(thread);
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
    if (blockIdx.x == 0 && thread == 0) *epoch += L * TAGS;
}
