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
//   GRID blocks, WARPS workers' warps, SLOTS copies on their way, BF16 or float16.
// Values are rounded to half precision where torch rounds them: after norm, linear, GELU, attention and sum.

constexpr int E = 64, THREADS = 32 * WARPS;
constexpr int SLOT = 4 * D;              // bytes: two rows of D half-precision weights, or keys and values of SPOTS positions
constexpr int SPOTS = D / E;             // encoder positions of one head per slot
constexpr int STRIPES = (S + SPOTS - 1) / SPOTS, SPLITS = GRID / H;
constexpr int CHUNKS = (D + 255) / 256;  // a lane holds columns 256·i + 8·lane … + 7 of a vector of D
constexpr int QUARTERS = F / D;          // an item of the narrowing product is a part of D columns of two rows
constexpr int TRIPLES = 22;              // 64 values and a log-sum-exp, three to a message
constexpr int SCRATCH = WARPS > 16 ? WARPS : 16;
constexpr float LOWEST = -1e30f;
static_assert(F % D == 0 && WARPS % QUARTERS == 0 && D % E == 0 && D / E == H && SPLITS > 0 && T % 4 == 0 && SLOTS >= 32, "shape");

enum Head { EMBED, PLACES, HEAD_W, LAST_G, LAST_B, TOKEN, POSITION, SELF, CROSS, SCORES, EXCHANGE, EPOCH, HEADS };
enum Row { ATTN_G, ATTN_B, QKV_W, QKV_B, OUT_W, OUT_B, CROSS_G, CROSS_B, ASK_W, ASK_B, HEARD_W, HEARD_B, MLP_G, MLP_B,
           UP_W, UP_B, DOWN_W, DOWN_B, ROWS };
enum Phase { QKV, SEEN, OUT, ASKED, HEARD, MIXED, HIDDEN, DOWN, PHASES };

struct Shared {
    u64 full[SLOTS], empty[SLOTS];
    u64 table[HEADS + L * ROWS];
    alignas(16) u16 x[D];           // the residual stream
    alignas(16) u16 y[D];           // what an attention found
    alignas(16) u16 hidden[F];
    alignas(16) u16 gain[D], bias[D];  // of the coming layer norm
    alignas(16) u16 own[3 * E];     // query, key, value of the head that this block attends with
    float parts[SCRATCH][E], tops[SCRATCH], norms[SCRATCH], found[3 * TRIPLES];
    float logs[H * SPLITS];
    float2 quarters[(D / 2 + GRID - 1) / GRID][QUARTERS];
};

// This block's share of n things.
struct Share {
    int from, count;
    __device__ __forceinline__ Share(int n) : from((int)((long long)n * blockIdx.x / GRID)),
                              count((int)((long long)n * (blockIdx.x + 1) / GRID) - from) {}
};

// Where messages lie: words of two values and a tag; for what was heard, three floats and a tag.
struct Exchange {
    u64 *x, *qkv, *seen, *asked, *hidden;
    uint4* heard;
    __device__ __forceinline__ Exchange(u64 base) {
        x = (u64*)base;
        qkv = x + D / 2;
        seen = qkv + 3 * D / 2;
        asked = seen + D / 2;
        hidden = asked + D / 2;
        heard = (uint4*)(hidden + F / 2);
    }
};

// Whether a column of chunk i exists.
__device__ __forceinline__ bool inside(int i, int column) { return 256 * (i + 1) <= D || column < D; }

__device__ __forceinline__ float narrowed(float value) { return widen(narrow(value, 0.f)).x; }

__device__ __forceinline__ float2 warp_sum(float a, float b) {
    #pragma unroll
    for (int mask = 16; mask; mask >>= 1) a += shuffle_xor(a, mask), b += shuffle_xor(b, mask);
    return make_float2(a, b);
}

// ---- the loader ----------------------------------------------------------------------------------------------------

struct Loader {
    Shared& s;
    char* ring;
    int lane, sequence = 0;

    // Wait until the slot of this sequence number is free; its address.
    __device__ __forceinline__ char* claim(int number) {
        wait(&s.empty[number % SLOTS], (number / SLOTS & 1) ^ 1);
        return ring + number % SLOTS * SLOT;
    }

    // `copy(item, slot, its barrier)` for so many items, 32 at a time: a lane must not wait for a slot's next but one
    // use, whose parity is that of the present one.
    template <class Copy> __device__ __forceinline__ void each(int count, Copy copy) {
        #pragma unroll 1
        for (int first = 0; first < count; first += 32) {
            int i = first + lane, number = sequence + i;
            if (i < count) copy(i, claim(number), &s.full[number % SLOTS]);
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

    // Keys and values [S, H, 64] of this block's head, SPOTS positions a slot.
    __device__ __forceinline__ void stripes(const char* keys, const char* values) {
        if (blockIdx.x >= H * SPLITS) return;
        int head = blockIdx.x / SPLITS, split = blockIdx.x % SPLITS;
        int from = STRIPES * split / SPLITS, count = STRIPES * (split + 1) / SPLITS - from;
        #pragma unroll 1
        for (int i = 0; i < count; i++, sequence++) {
            char* target = claim(sequence);
            for (int line = lane / 8; line < SPOTS; line += 4) {
                int spot = (from + i) * SPOTS + line;
                long long place = ((long long)(spot < S ? spot : S - 1) * H + head) * 2 * E + lane % 8 * 16;
                copy16(target + line * 2 * E + lane % 8 * 16, keys + place);
                copy16(target + (SPOTS + line) * 2 * E + lane % 8 * 16, values + place);
            }
            arrive_with_copies(&s.full[sequence % SLOTS]);
            sync_warp();
            if (lane == 0) arrive(&s.full[sequence % SLOTS]);
        }
        order_copies();
    }

    __device__ __forceinline__ void run() {
        #pragma unroll 1
        for (int layer = 0; layer < L; layer++) {
            const u64* row = s.table + HEADS + layer * ROWS;
            const char* keys = (const char*)s.table[CROSS] + (long long)layer * 2 * S * D * 2;
            rows(3 * D, row[QKV_W]);
            rows(D, row[OUT_W]);
            rows(D, row[ASK_W]);
            stripes(keys, keys + (long long)S * D * 2);
            rows(D, row[HEARD_W]);
            rows(F, row[UP_W]);
            quarters(row[DOWN_W]);
        }
        rows(V, s.table[HEAD_W]);
    }
};

// ---- the workers ---------------------------------------------------------------------------------------------------

// D values in a warp's registers; columns beyond D are 0.
struct Vector {
    float v[CHUNKS * 8];

    __device__ __forceinline__ void load(const u16* source, int lane) {
        #pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int column = 256 * i + 8 * lane;
            uint4 w = inside(i, column) ? *(const uint4*)(source + column) : make_uint4(0, 0, 0, 0);
            spread(w, v + 8 * i);
        }
    }

    __device__ __forceinline__ static void spread(uint4 w, float* target) {
        u32 words[4] = {w.x, w.y, w.z, w.w};
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            float2 two = widen(words[k]);
            target[2 * k] = two.x, target[2 * k + 1] = two.y;
        }
    }

    __device__ __forceinline__ float dot(const char* row, int lane) const {
        float sums[2] = {0.f, 0.f};
        #pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int column = 256 * i + 8 * lane;
            if (inside(i, column)) {
                float w[8];
                spread(*(const uint4*)(row + 2 * column), w);
                #pragma unroll
                for (int k = 0; k < 8; k++) sums[k & 1] += v[8 * i + k] * w[k];
            }
        }
        return sums[0] + sums[1];
    }
};

struct Worker {
    Shared& s;
    const char* ring;
    Exchange exchange;
    u32 epoch;
    int position, warp, lane, thread, sequence = 0;

    __device__ __forceinline__ u32 tag(int layer, int phase) const { return epoch + layer * PHASES + phase + 1; }

    // ---- receiving ----

    // Read 2·n messages of two values each, their tags as awaited, into shared memory; then all workers go on.
    template <int N> __device__ __forceinline__ void receive(const u64* from, u32 awaited, u16* to) {
        constexpr int ROUNDS = (N + THREADS - 1) / THREADS;
        uint4 got[ROUNDS];
        bool missing = true;
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) got[r].y = ~awaited;
        while (missing) {
            missing = false;
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                int i = r * THREADS + thread;
                if (i < N && (got[r].y != awaited || got[r].w != awaited)) {
                    got[r] = look((const uint4*)from + i);
                    missing |= got[r].y != awaited || got[r].w != awaited;
                }
            }
            if (missing) pause();
        }
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = r * THREADS + thread;
            if (i < N) *(uint2*)(to + 4 * i) = make_uint2(got[r].x, got[r].z);
        }
        sync_copies();
        sync_workers();
    }

    // ---- products ----

    // Ask for gain and bias of a layer norm; they are there after the next `receive`.
    __device__ __forceinline__ void fetch_norm(u64 gain, u64 bias) {
        for (int i = thread; i < D / 8; i += THREADS) {
            copy16(s.gain + 8 * i, (const u16*)gain + 8 * i);
            copy16(s.bias + 8 * i, (const u16*)bias + 8 * i);
        }
    }

    // The layer norm of the residual stream.
    __device__ __forceinline__ void load_normed(Vector& x) const {
        x.load(s.x, lane);
        float sum = 0.f, square = 0.f;
        #pragma unroll
        for (int k = 0; k < CHUNKS * 8; k++) sum += x.v[k], square += x.v[k] * x.v[k];
        float2 both = warp_sum(sum, square);
        float mean = both.x / D, scale = rsqrtf(both.y / D - mean * mean + 1e-5f);
        #pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int column = 256 * i + 8 * lane;
            if (!inside(i, column)) continue;
            float g[8], b[8];
            Vector::spread(*(const uint4*)(s.gain + column), g);
            Vector::spread(*(const uint4*)(s.bias + column), b);
            #pragma unroll
            for (int k = 0; k < 8; k++) x.v[8 * i + k] = narrowed((x.v[8 * i + k] - mean) * scale * g[k] + b[k]);
        }
    }

    // Rows [n, D] times what `load` puts into x, two rows an item; `finish(round, pair, dots)` runs on the first lane.
    template <class Load, class Finish> __device__ __forceinline__ void product(int n, Load load, Finish finish) {
        Share share((n + 1) / 2);
        if (warp < share.count) {
            Vector x;
            load(x);
            #pragma unroll 1
            for (int i = warp; i < share.count; i += WARPS) {
                float2 dots = item(sequence + i, x);
                if (lane == 0) finish(i / WARPS, share.from + i, dots);
            }
        }
        sequence += share.count;
    }

    // Two rows of weights times x, once they have come; then their slot is free.
    __device__ __forceinline__ float2 item(int number, const Vector& x) {
        const char* w = ring + number % SLOTS * SLOT;
        wait(&s.full[number % SLOTS], number / SLOTS & 1);
        float2 dots = warp_sum(x.dot(w, lane), x.dot(w + 2 * D, lane));
        if (lane == 0) arrive(&s.empty[number % SLOTS]);
        return dots;
    }

    // Biases of this warp's items of a product of n rows.
    template <int N> struct Biases {
        static constexpr int ROUNDS = ((N / 2 + GRID - 1) / GRID + WARPS - 1) / WARPS;
        u32 words[ROUNDS];
        __device__ __forceinline__ void load(u64 bias, int warp) {
            Share share(N / 2);
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                int i = r * WARPS + warp;
                words[r] = i < share.count ? ((const u32*)bias)[share.from + i] : 0;
            }
        }
        __device__ __forceinline__ float2 added(int round, float2 dots) const {
            u32 word = words[0];
            #pragma unroll
            for (int r = 1; r < ROUNDS; r++) word = round == r ? words[r] : word;  // an index would put them into memory
            float2 b = widen(word);
            return make_float2(narrowed(dots.x + b.x), narrowed(dots.y + b.y));
        }
    };

    // norm(x) @ weight[N, D]ᵀ + bias of a normed x, sent as messages.
    template <int N, bool GELU>
    __device__ __forceinline__ void widen_to(u64 gain, u64 offset, u64 bias, const u64* from, u32 awaited, u64* to, u32 sent) {
        Biases<N> biases;
        biases.load(bias, warp);
        fetch_norm(gain, offset);
        if (from)
            receive<D / 4>(from, awaited, s.x);
        else
            sync_copies(), sync_workers();
        product(N, [&](Vector& x) { load_normed(x); }, [&](int round, int pair, float2 dots) {
            float2 y = biases.added(round, dots);
            if (GELU) {
                y.x = .5f * y.x * (1.f + erff(y.x * .7071067811865476f));
                y.y = .5f * y.y * (1.f + erff(y.y * .7071067811865476f));
            }
            send(to + pair, narrow(y.x, y.y), sent);
        });
    }

    // x += y @ weight[D, D]ᵀ + bias, y being in shared memory; sent as messages.
    __device__ __forceinline__ void add_product(const Biases<D>& biases, u32 sent) {
        product(D, [&](Vector& y) { y.load(s.y, lane); },
                [&](int round, int pair, float2 dots) { send_sum(pair, biases.added(round, dots), sent); });
    }

    __device__ __forceinline__ void send_sum(int pair, float2 y, u32 sent) {
        float2 old = widen(*(const u32*)(s.x + 2 * pair));
        send(exchange.x + pair, narrow(old.x + y.x, old.y + y.y), sent);
    }

    // x += hidden @ weight[D, F]ᵀ + bias; a warp always works on the same quarter of the columns.
    __device__ __forceinline__ void narrow_down(u64 bias, u32 awaited, u32 sent) {
        Share share(D / 2);
        u32 own_bias = thread < share.count ? ((const u32*)bias)[share.from + thread] : 0;
        int count = share.count * QUARTERS;
        receive<F / 4>(exchange.hidden, awaited, s.hidden);
        if (warp < count) {
            Vector x;
            x.load(s.hidden + warp % QUARTERS * D, lane);
            #pragma unroll 1
            for (int i = warp; i < count; i += WARPS) {
                float2 dots = item(sequence + i, x);
                if (lane == 0) s.quarters[i / QUARTERS][i % QUARTERS] = dots;
            }
        }
        sequence += count;
        sync_workers();
        if (thread < share.count) {
            float2 y = make_float2(0.f, 0.f), b = widen(own_bias);
            #pragma unroll
            for (int q = 0; q < QUARTERS; q++) {
                float2 part = s.quarters[thread][q];
                y.x += part.x, y.y += part.y;
            }
            send_sum(share.from + thread, make_float2(narrowed(y.x + b.x), narrowed(y.y + b.y)), sent);
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
        Vector::spread(key, k);
        #pragma unroll
        for (int i = 0; i < 8; i++) sum += q[i] * k[i];
        #pragma unroll
        for (int mask = 4; mask; mask >>= 1) sum += shuffle_xor(sum, mask);
        return sum;
    }

    // Attend to N groups of four positions, of which this lane's group sees those with valid[i].
    template <int N, class Key, class Value>
    __device__ __forceinline__ void attend(Found& found, const float* q, const bool* valid, Key key, Value value) {
        float scores[N], top = found.top;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            scores[i] = score(q, key(i));
            if (!valid[i]) scores[i] = LOWEST;
            top = fmaxf(top, scores[i]);
        }
        float shrink = fast_exp(found.top - top);
        found.norm *= shrink;
        #pragma unroll
        for (int k = 0; k < 8; k++) found.sums[k] *= shrink;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            float weight = valid[i] ? fast_exp(scores[i] - top) : 0.f, v[8];
            Vector::spread(value(i), v);
            found.norm += weight;
            #pragma unroll
            for (int k = 0; k < 8; k++) found.sums[k] += weight * v[k];
        }
        found.top = top;
    }

    // Join what all warps have found: the first warp returns values 2·lane and 2·lane + 1, normalised, and log Σ exp.
    __device__ __forceinline__ float3 join(Found& found) {
        float top = found.top;
        #pragma unroll
        for (int mask = 8; mask < 32; mask <<= 1) top = fmaxf(top, shuffle_xor(top, mask));
        float scale = fast_exp(found.top - top);
        float norm = found.norm * scale;
        #pragma unroll
        for (int mask = 8; mask < 32; mask <<= 1) norm += shuffle_xor(norm, mask);
        #pragma unroll
        for (int k = 0; k < 8; k++) {
            float sum = found.sums[k] * scale;
            #pragma unroll
            for (int mask = 8; mask < 32; mask <<= 1) sum += shuffle_xor(sum, mask);
            if (lane < 8) s.parts[warp][8 * lane + k] = sum;
        }
        if (lane == 0) s.tops[warp] = top, s.norms[warp] = norm;
        sync_workers();
        float3 result = make_float3(0.f, 0.f, 0.f);
        if (warp == 0) {
            float highest = LOWEST, total = 0.f;
            #pragma unroll
            for (int i = 0; i < WARPS; i++) highest = fmaxf(highest, s.tops[i]);
            #pragma unroll
            for (int i = 0; i < WARPS; i++) {
                float weight = fast_exp(s.tops[i] - highest);
                total += weight * s.norms[i];
                result.x += weight * s.parts[i][2 * lane];
                result.y += weight * s.parts[i][2 * lane + 1];
            }
            result.x /= total, result.y /= total, result.z = highest + logf(total);
        }
        return result;
    }

    __device__ __forceinline__ void query(float* q) const {
        Vector::spread(*(const uint4*)(s.own + lane % 8 * 8), q);
        #pragma unroll
        for (int k = 0; k < 8; k++) q[k] = narrowed(q[k] * .125f);  // 64^−½
    }

    // One head of the self-attention over the positions so far, by the blocks that have one.
    __device__ __forceinline__ void see(int layer) {
        int head = (blockIdx.x * H + GRID - 1) / GRID;
        if (head >= H || head * GRID / H != blockIdx.x) return;
        constexpr int N = (T / 4 + WARPS - 1) / WARPS;
        u16* keys = (u16*)s.table[SELF] + ((long long)(2 * layer) * H + head) * T * E;
        u16* values = keys + (long long)H * T * E;
        uint4 k[N], v[N];
        bool valid[N];
        #pragma unroll
        for (int i = 0; i < N; i++) {
            int t = 4 * (i * WARPS + warp) + lane / 8;
            valid[i] = t <= position;
            k[i] = v[i] = make_uint4(0, 0, 0, 0);
            if (t < position) {
                k[i] = *(const uint4*)(keys + t * E + lane % 8 * 8);
                v[i] = *(const uint4*)(values + t * E + lane % 8 * 8);
            }
        }
        if (thread < 3 * E / 4) {
            uint4 got;
            int part = thread / (E / 4), place = thread % (E / 4);
            const uint4* from = (const uint4*)(exchange.qkv + (part * D + head * E) / 2) + place;
            u32 awaited = tag(layer, QKV);
            while ((got = look(from)).y != awaited || got.w != awaited) pause();
            *(uint2*)(s.own + part * E + 4 * place) = make_uint2(got.x, got.z);
        }
        sync_workers();
        if (thread < E / 8) {
            *(uint4*)(keys + position * E + 8 * thread) = *(const uint4*)(s.own + E + 8 * thread);
            *(uint4*)(values + position * E + 8 * thread) = *(const uint4*)(s.own + 2 * E + 8 * thread);
        }
        float q[8];
        query(q);
        #pragma unroll
        for (int i = 0; i < N; i++) {
            if (4 * (i * WARPS + warp) + lane / 8 == position) {
                k[i] = *(const uint4*)(s.own + E + lane % 8 * 8);
                v[i] = *(const uint4*)(s.own + 2 * E + lane % 8 * 8);
            }
        }
        Found found;
        attend<N>(found, q, valid, [&](int i) { return k[i]; }, [&](int i) { return v[i]; });
        float3 joined = join(found);
        if (warp == 0) send(exchange.seen + head * E / 2 + lane, narrow(joined.x, joined.y), tag(layer, SEEN));
    }

    // This block's stretch of one head of the cross-attention.
    __device__ __forceinline__ void hear(int layer) {
        if (blockIdx.x >= H * SPLITS) return;
        int head = blockIdx.x / SPLITS, split = blockIdx.x % SPLITS;
        int from = STRIPES * split / SPLITS, count = STRIPES * (split + 1) / SPLITS - from;
        if (thread < E / 4) {
            uint4 got;
            const uint4* source = (const uint4*)(exchange.asked + head * E / 2) + thread;
            u32 awaited = tag(layer, ASKED);
            while ((got = look(source)).y != awaited || got.w != awaited) pause();
            *(uint2*)(s.own + 4 * thread) = make_uint2(got.x, got.z);
        }
        sync_workers();
        float q[8];
        query(q);
        Found found;
        constexpr int N = (SPOTS + 3) / 4;
        #pragma unroll 1
        for (int item = warp; item < count; item += WARPS) {
            int number = sequence + item;
            const char* keys = ring + number % SLOTS * SLOT;
            const char* values = keys + SPOTS * 2 * E;
            bool valid[N];
            #pragma unroll
            for (int i = 0; i < N; i++) {
                int line = 4 * i + lane / 8;
                valid[i] = line < SPOTS && (from + item) * SPOTS + line < S;
            }
            wait(&s.full[number % SLOTS], number / SLOTS & 1);
            auto at = [&](const char* base, int i) {
                int line = 4 * i + lane / 8;
                return *(const uint4*)(base + (line < SPOTS ? line : 0) * 2 * E + lane % 8 * 16);
            };
            attend<N>(found, q, valid, [&](int i) { return at(keys, i); }, [&](int i) { return at(values, i); });
            sync_warp();
            if (lane == 0) arrive(&s.empty[number % SLOTS]);
        }
        sequence += count;
        float3 joined = join(found);
        if (warp == 0) {
            s.found[2 * lane] = joined.x, s.found[2 * lane + 1] = joined.y;
            if (lane == 0) s.found[E] = joined.z, s.found[E + 1] = 0.f;
            sync_warp();
            uint4* to = exchange.heard + (head * SPLITS + split) * TRIPLES + lane;
            const float* f = s.found + 3 * lane;
            if (lane < TRIPLES) send(to, f[0], f[1], f[2], tag(layer, HEARD));
        }
    }

    // Join the stretches of all heads into y: a thread takes three values of a head.
    __device__ __forceinline__ void mix(int layer) {
        constexpr int TASKS = H * TRIPLES, ROUNDS = (TASKS + THREADS - 1) / THREADS;
        uint4 got[ROUNDS][SPLITS];
        u32 awaited = tag(layer, HEARD);
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++)
            #pragma unroll
            for (int i = 0; i < SPLITS; i++) got[r][i].w = ~awaited;
        bool missing = true;
        while (missing) {
            missing = false;
            #pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                int task = r * THREADS + thread;
                if (task >= TASKS) continue;
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) {
                    if (got[r][i].w != awaited) {
                        got[r][i] = look_whole(exchange.heard + (task / TRIPLES * SPLITS + i) * TRIPLES + task % TRIPLES);
                        missing |= got[r][i].w != awaited;
                    }
                }
            }
            if (missing) pause();
        }
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int task = r * THREADS + thread;
            if (task < TASKS && task % TRIPLES == TRIPLES - 1)
                #pragma unroll
                for (int i = 0; i < SPLITS; i++) s.logs[task / TRIPLES * SPLITS + i] = as_float(got[r][i].y);
        }
        sync_workers();
        #pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int task = r * THREADS + thread;
            if (task >= TASKS) continue;
            const float* logs = s.logs + task / TRIPLES * SPLITS;
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
                if (e < E) s.y[task / TRIPLES * E + e] = (u16)narrow(sums[k] / total, 0.f);
            }
        }
        sync_workers();
    }

    // ---- the whole step ----

    __device__ __forceinline__ void embed() {
        long long token = *(const long long*)s.table[TOKEN];
        for (int i = thread; i < D / 2; i += THREADS) {
            float2 one = widen(((const u32*)s.table[EMBED])[token * (D / 2) + i]);
            float2 other = widen(((const u32*)s.table[PLACES])[position * (D / 2) + i]);
            *(u32*)(s.x + 2 * i) = narrow(one.x + other.x, one.y + other.y);
        }
        sync_workers();
    }

    __device__ __forceinline__ void run() {
        embed();
        #pragma unroll 1
        for (int layer = 0; layer < L; layer++) {
            const u64* row = s.table + HEADS + layer * ROWS;
            widen_to<3 * D, false>(row[ATTN_G], row[ATTN_B], row[QKV_B], layer ? exchange.x : nullptr,
                                   tag(layer - 1, DOWN), exchange.qkv, tag(layer, QKV));
            Biases<D> biases;
            see(layer);
            biases.load(row[OUT_B], warp);
            receive<D / 4>(exchange.seen, tag(layer, SEEN), s.y);
            add_product(biases, tag(layer, OUT));
            widen_to<D, false>(row[CROSS_G], row[CROSS_B], row[ASK_B], exchange.x, tag(layer, OUT), exchange.asked,
                               tag(layer, ASKED));
            hear(layer);
            biases.load(row[HEARD_B], warp);
            mix(layer);
            add_product(biases, tag(layer, MIXED));
            widen_to<F, true>(row[MLP_G], row[MLP_B], row[UP_B], exchange.x, tag(layer, MIXED), exchange.hidden,
                              tag(layer, HIDDEN));
            narrow_down(row[DOWN_B], tag(layer, HIDDEN), tag(layer, DOWN));
        }
        fetch_norm(s.table[LAST_G], s.table[LAST_B]);
        receive<D / 4>(exchange.x, tag(L - 1, DOWN), s.x);
        float* scores = (float*)s.table[SCORES];
        product(V, [&](Vector& x) { load_normed(x); }, [&](int, int pair, float2 dots) {
            scores[2 * pair] = narrowed(dots.x);
            if (2 * pair + 1 < V) scores[2 * pair + 1] = narrowed(dots.y);
        });
    }
};

extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) decode_token(const u64* table) {
    char* memory = block_memory();
    Shared& s = *(Shared*)(memory + SLOTS * SLOT);
    int thread = threadIdx.x, lane = thread % 32;
    for (int i = thread; i < HEADS + L * ROWS; i += THREADS + 32) s.table[i] = table[i];
    if (thread == 0)
        for (int i = 0; i < SLOTS; i++) prepare(&s.full[i], 1), prepare(&s.empty[i], 1);
    sync_block();
    if (thread >= THREADS) {
        Loader loader{s, memory, lane};
        loader.run();
        return;
    }
    volatile u32* epoch = (u32*)s.table[EPOCH];
    int position = (int)*(const long long*)s.table[POSITION];
    Worker worker{s, memory, Exchange(s.table[EXCHANGE]), *epoch, position, thread / 32, lane, thread};
    worker.run();
    // Every block has read the epoch by now: none gets this far without the others' results.
    if (blockIdx.x == 0 && thread == 0) *epoch += L * PHASES;
}
