// A Whisper decoder's layer for one token in six kernels: Radford et al. 2022 (arXiv:2212.04356), §2.2.
//
// Each kernel lets its weights (and the keys and values of earlier positions) come into its shared memory, and only then
// waits for the kernel before it, whose start has let it start (programmatic dependent launch). Both attentions are one kernel
// with the projections that they need: a head belongs to a cluster of eight blocks, which tell each other their shares
// of the query through each other's shared memory, attend to an eighth of the positions each, and join what they found.
//
// Values are rounded to the weights' dtype where torch rounds them: after norm, linear, GELU, attention and sum.
// `cuda_step.py` declares the constants before this text: D (width), F (feed-forward), S and T (positions of the encoder
// and of the decoder), V (vocabulary), BF16. Addresses hold 16-bit values unless said otherwise.

constexpr int WARPS = 8, THREADS = 32 * WARPS, E = 64, CLUSTER = 8, OWN = E / CLUSTER;  // OWN columns of a head per block
constexpr int PARTS = CLUSTER * WARPS;  // every warp of a cluster attends to some positions


// ---- products ----

// A block's shared memory for a product: GROUPS times OWN rows of weights, its input, and what each warp has found.
template <int K, int GROUPS>
struct Desk {
    alignas(128) u16 rows[GROUPS][OWN * K];
    alignas(16) u16 x[K];
    alignas(16) float shares[WARPS][GROUPS * OWN];
    float2 moments[WARPS];
    u64 arrived;
};

// Which 16 bytes of each 64 a lane reads: of weights, those of row lane / 4; of x, those for the column lane / 4 of the
// right matrix. See `product`.
struct Lane {
    int row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4, odd = row % 2, upper = row % 2, other = row / 2 % 2;
};

// Wait for the weights, and multiply: shares[warp][row] for all rows, after which the block is in step.
//
// A tensor core multiplies 16 rows of 16 columns by 16 rows of 8 columns. Here its upper eight rows are the lower eight
// again, further on in their columns, and each row meets its own columns of x in one of the eight columns on the right.
// So a lane reads 16 bytes at once, and odd rows are a piece of 64 bytes ahead, where other banks are. In which order
// columns are multiplied does not matter, as long as it is the same one for weights and x.
template <int K, int GROUPS>
__device__ inline void product(Desk<K, GROUPS>& desk) {
    constexpr int PIECES = K / 32, EACH = (PIECES + WARPS - 1) / WARPS, CHAINS = GROUPS == 1 ? 2 : 1;
    Lane lane;
    int warp = threadIdx.x / 32;
    Sums sums[GROUPS][CHAINS] = {};
    wait(&desk.arrived);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int of_rows = warp * EACH + (i + lane.odd) % EACH, of_x = warp * EACH + (i + lane.other) % EACH;
        uint2 v = make_uint2(0, 0);
        if (PIECES % WARPS == 0 || of_x < PIECES) v = *(const uint2*)(desk.x + 32 * of_x + 8 * lane.quarter + 4 * lane.upper);
        if (PIECES % WARPS != 0 && of_rows >= PIECES) of_rows = 0;  // met by zeros
#pragma unroll
        for (int n = 0; n < GROUPS; n++) {
            uint4 w = *(const uint4*)(desk.rows[n] + lane.row * K + 32 * of_rows + 8 * lane.quarter);
            multiply(sums[n][i % CHAINS], w.x, w.z, w.y, w.w, v.x, v.y);
        }
    }
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        float y = sums[n][0].a + sums[n][0].d;
        if (CHAINS == 2) y += sums[n][CHAINS - 1].a + sums[n][CHAINS - 1].d;
        if (lane.quarter == lane.odd) desk.shares[warp][OWN * n + lane.row] = y;
    }
    sync_block();
}

// x[K] → shared memory. With NORM, its layer norm: gain and shift are loaded before the wait.
template <int K, bool NORM>
struct Input {
    static constexpr int CHUNKS = K / 8, EACH = (CHUNKS + THREADS - 1) / THREADS;
    static_assert(!NORM || EACH == 1, "a thread norms at most eight values");
    uint4 gain, shift;

    __device__ void load(const u16* gains, const u16* shifts) {
        if (NORM && threadIdx.x < CHUNKS) {
            gain = ((const uint4*)gains)[threadIdx.x];
            shift = ((const uint4*)shifts)[threadIdx.x];
        }
    }

    template <class Desk> __device__ void stage(Desk& desk, const u16* x) const {
        uint4* to = (uint4*)desk.x;
        int t = threadIdx.x;
        if constexpr (!NORM) {
#pragma unroll
            for (int i = 0; i < EACH; i++)
                if (t + THREADS * i < CHUNKS) to[t + THREADS * i] = load_fresh((const uint4*)x + t + THREADS * i);
        } else {
            uint4 mine = make_uint4(0, 0, 0, 0);
            if (t < CHUNKS) mine = load_fresh((const uint4*)x + t);
            u32 words[4] = {mine.x, mine.y, mine.z, mine.w}, gains[4] = {gain.x, gain.y, gain.z, gain.w},
                shifts[4] = {shift.x, shift.y, shift.z, shift.w}, normed[4];
            float sum = 0, square = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 v = widen(words[i]);
                sum += v.x + v.y, square += v.x * v.x + v.y * v.y;
            }
            for (int mask = 16; mask; mask >>= 1) sum += shuffle_xor(sum, mask), square += shuffle_xor(square, mask);
            if (t % 32 == 0) desk.moments[t / 32] = make_float2(sum, square);
            sync_block();
            sum = square = 0;
#pragma unroll
            for (int i = 0; i < WARPS; i++) sum += desk.moments[i].x, square += desk.moments[i].y;
            float mean = sum * (1.f / K), scale = rsqrtf(square * (1.f / K) - mean * mean + 1e-5f);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 v = widen(words[i]), g = widen(gains[i]), s = widen(shifts[i]);
                normed[i] = narrow((v.x - mean) * scale * g.x + s.x, (v.y - mean) * scale * g.y + s.y);
            }
            if (t < CHUNKS) to[t] = make_uint4(normed[0], normed[1], normed[2], normed[3]);
        }
        sync_block();
    }
};

__device__ inline float rounded(float x) { return widen(narrow(x, 0.f)).x; }

// out[n] = act(norm(x[K]) · weight[n, K]ᵀ + bias) + out, OWN·GROUPS outputs per block. WIDE: out is float32.
template <int K, int GROUPS, bool NORM, bool GELU, bool ADD, bool WIDE>
__device__ inline void linear(const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, void* out, int n) {
    auto& desk = in_shared<Desk<K, GROUPS>>();
    let_next_begin();
    int first = blockIdx.x * GROUPS * OWN, mine = first + threadIdx.x;
    if (threadIdx.x == 0) {
        int bytes = 2 * K * min(GROUPS * OWN, n - first);
        prepare(&desk.arrived, bytes);
        copy_bulk(desk.rows, weight + (u64)first * K, bytes, &desk.arrived);
    }
    Input<K, NORM> input;
    input.load(gains, shifts);
    bool writes = threadIdx.x < GROUPS * OWN && mine < n;
    float added = writes && bias ? widen(bias[mine]).x : 0.f;
    await_previous();
    float before = ADD && writes ? widen(load_fresh((const u16*)out + mine)).x : 0.f;
    input.stage(desk, x);
    product(desk);
    if (!writes) return;
    float y = added;
#pragma unroll
    for (int i = 0; i < WARPS; i++) y += desk.shares[i][threadIdx.x];
    y = rounded(y);
    if (GELU) y = rounded(0.5f * y * (1.f + erff(y * 0.7071067811865476f)));
    if (ADD) y += before;
    if (WIDE)
        ((float*)out)[mine] = y;
    else
        ((u16*)out)[mine] = (u16)narrow(y, 0.f);
}

// ---- attention ----

// What the warps of a cluster found, as far as it concerns this block's columns: sums of the values, not normalised, their
// highest scores and norms.
struct Found {
    alignas(16) float sums[PARTS][OWN];
    float2 tops_and_norms[PARTS];
};

// A block's shared memory for one head: the projections of the cluster's blocks and what the cluster's warps found.
template <int GROUPS>
struct Head : Desk<D, GROUPS> {
    alignas(16) u16 fresh[GROUPS][E];
    Found found;
    u64 told, joined;  // barriers: for `fresh` and `found` of all blocks
};

// Let the rows of GROUPS projections, OWN columns of this head of each, come; one thread.
template <int GROUPS>
__device__ inline void begin(Head<GROUPS>& here, const u16* weight) {
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER;
    prepare(&here.told, sizeof here.fresh);
    prepare(&here.joined, sizeof here.found);
    prepare(&here.arrived, sizeof here.rows);
    for (int i = 0; i < GROUPS; i++)
        copy_bulk(here.rows[i], weight + (u64)(i * D + head * E + rank * OWN) * D, sizeof here.rows[i], &here.arrived);
}

// This block's columns of the projections go to all blocks of the cluster; returns when theirs are in here.fresh.
// Thread t computes two columns, the `which`-th of 4·GROUPS, for one block.
template <int GROUPS>
__device__ inline void share(Head<GROUPS>& here, float2 added) {
    constexpr int PAIRS = GROUPS * OWN / 2;
    int which = threadIdx.x % PAIRS, peer = threadIdx.x / PAIRS, rank = blockIdx.x % CLUSTER;
    product(here);
    if (peer < CLUSTER) {
        float2 y = added;
#pragma unroll
        for (int i = 0; i < WARPS; i++) {
            float2 part = *(const float2*)&here.shares[i][2 * which];
            y.x += part.x, y.y += part.y;
        }
        u16* place = &here.fresh[which / (OWN / 2)][rank * OWN + which % (OWN / 2) * 2];
        send(place, peer, narrow(y.x, y.y), &here.told);
    }
    wait_for_peers(&here.told);
}

// A block's positions come in eights, of which a warp has EACH: every WARPS-th. What a lane reads of them, 16 bytes each:
// of the keys those of row lane / 4 in two halves, as in `product`; of the values eight columns of two rows of the eight.
template <int EACH>
struct Positions {
    uint4 keys[EACH][2], values[EACH][2];
};

__device__ inline int key_row(int i) { return 8 * (threadIdx.x / 32 + WARPS * i) + threadIdx.x % 32 / 4; }
__device__ inline int key_column(int half) {
    Lane lane;
    return 32 * (half ^ lane.odd) + 8 * lane.quarter;
}
__device__ inline int value_row(int i, int half) { return 8 * (threadIdx.x / 32 + WARPS * i) + 4 * half + threadIdx.x % 32 / 8; }
__device__ inline int value_column() { return 8 * (threadIdx.x % 8); }

// Attend to the first `count` positions for the query here.fresh[0]: what each warp found goes to all blocks. Values
// beyond `count` must be finite.
template <int GROUPS, int EACH>
__device__ inline void attend(Head<GROUPS>& here, const Positions<EACH>& positions, int count) {
    Lane lane;
    int warp = threadIdx.x / 32, column = threadIdx.x % 8, within = threadIdx.x % 32 / 8;
    uint2 q[2];
#pragma unroll
    for (int half = 0; half < 2; half++)
        q[half] = *(const uint2*)(here.fresh[0] + 32 * (half ^ lane.other) + 8 * lane.quarter + 4 * lane.upper);
    float weights[EACH], top = minus_infinity(), norm = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {  // scores of position lane.row of the i-th eight, as in `product`
        Sums sums = {};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint4 k = positions.keys[i][half];
            multiply(sums, k.x, k.z, k.y, k.w, q[half].x, q[half].y);
        }
        float score = shuffle(sums.a + sums.d, threadIdx.x % 32 - lane.quarter + lane.odd) * 0.125f;  // E ** -0.5
        weights[i] = key_row(i) < count ? score : minus_infinity();
        top = fmaxf(top, weights[i]);
    }
    for (int mask = 4; mask < 32; mask <<= 1) top = fmaxf(top, shuffle_xor(top, mask));
    float lifted = top == minus_infinity() ? 0.f : top, sum[8] = {};
#pragma unroll
    for (int i = 0; i < EACH; i++) norm += weights[i] = fast_exp(weights[i] - lifted);
#pragma unroll
    for (int i = 0; i < 2 * EACH; i++) {
        float weight = shuffle(weights[i / 2], 4 * (i % 2 * 4 + within));  // a lane of that row
        uint4 v = positions.values[i / 2][i % 2];
        u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int n = 0; n < 4; n++) {
            float2 two = widen(words[n]);
            sum[2 * n] += weight * two.x, sum[2 * n + 1] += weight * two.y;
        }
    }
    for (int mask = 4; mask < 32; mask <<= 1) norm += shuffle_xor(norm, mask);
#pragma unroll
    for (int n = 0; n < 8; n++) {
        sum[n] += shuffle_xor(sum[n], 8);
        sum[n] += shuffle_xor(sum[n], 16);
    }
    if (within) return;
    int part = blockIdx.x % CLUSTER * WARPS + warp, peer = column;  // these eight columns are those of this block
    send(&here.found.sums[part][0], peer, sum[0], sum[1], sum[2], sum[3], &here.joined);
    send(&here.found.sums[part][4], peer, sum[4], sum[5], sum[6], sum[7], &here.joined);
    send(&here.found.tops_and_norms[part], peer, top, norm, &here.joined);
}

// Join the parts: warp w has the block's column w of heard[D].
template <int GROUPS>
__device__ inline void join(Head<GROUPS>& here, u16* heard) {
    int lane = threadIdx.x % 32, column = threadIdx.x / 32;
    float top = minus_infinity(), norm = 0, sum = 0;
    float2 parts[PARTS / 32];
    wait_for_peers(&here.joined);
#pragma unroll
    for (int i = 0; i < PARTS / 32; i++) parts[i] = here.found.tops_and_norms[lane + 32 * i], top = fmaxf(top, parts[i].x);
    for (int mask = 16; mask; mask >>= 1) top = fmaxf(top, shuffle_xor(top, mask));
#pragma unroll
    for (int i = 0; i < PARTS / 32; i++) {
        float weight = fast_exp(parts[i].x - top);
        norm += weight * parts[i].y, sum += weight * here.found.sums[lane + 32 * i][column];
    }
    for (int mask = 16; mask; mask >>= 1) norm += shuffle_xor(norm, mask), sum += shuffle_xor(sum, mask);
    int first = blockIdx.x / CLUSTER * E + blockIdx.x % CLUSTER * OWN;
    if (lane == 0) heard[first + column] = (u16)narrow(divided(sum, norm), 0.f);
}

// ---- the kernels ----

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 4)  // so many blocks have room for their registers
#define CLUSTERED extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 2)

// x[D] = embedding[token] + place[position]; token, position: int64. One block.
KERNEL embed(const long long* token, const long long* position, const u16* embedding, const u16* place, u16* x) {
    let_next_begin();
    for (int i = threadIdx.x; i < D; i += THREADS) {
        float2 a = widen(embedding[(u64)token[0] * D + i]), b = widen(place[(u64)position[0] * D + i]);
        x[i] = (u16)narrow(a.x + b.x, 0.f);
    }
}

// heard[D] = attention to the text so far; norm, projections and the cache's new position included. keys, values:
// [heads, T, E]. A block has an eighth of the positions, seen or not.
CLUSTERED attend_to_text(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, const long long* position,
    u16* keys, u16* values, u16* heard
) {
    constexpr int MOST = T / CLUSTER, EACH = (MOST + 8 * WARPS - 1) / (8 * WARPS);
    auto& here = in_shared<Head<3>>();
    let_next_begin();
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER, t = threadIdx.x;
    int now = (int)position[0], mine = now - rank * MOST, count = max(0, min(MOST, mine));  // positions before `now`
    if (t == 0) begin(here, weight);
    arrive_cluster();
    u64 first = (u64)(head * T + rank * MOST) * E;
    Positions<EACH> positions;
#pragma unroll
    for (int n = 0; n < 2 * EACH; n++) {
        int i = n / 2, half = n % 2;
        positions.keys[i][half] = positions.values[i][half] = make_uint4(0, 0, 0, 0);
        if (key_row(i) < count)
            positions.keys[i][half] = *(const uint4*)(keys + first + key_row(i) * E + key_column(half));
        if (value_row(i, half) < count)
            positions.values[i][half] = *(const uint4*)(values + first + value_row(i, half) * E + value_column());
    }
    Input<D, true> input;
    input.load(gains, shifts);
    int pair = t % (3 * OWN / 2);
    float2 added = widen(*(const u32*)(bias + pair / (OWN / 2) * D + head * E + rank * OWN + pair % (OWN / 2) * 2));
    await_cluster();  // all blocks run, and so do their barriers
    await_previous();
    input.stage(here, x);
    share(here, added);
    if (0 <= mine && mine < MOST) {  // the new position is one of this block's
#pragma unroll
        for (int n = 0; n < 2 * EACH; n++) {
            int i = n / 2, half = n % 2;
            if (key_row(i) == mine) {
                positions.keys[i][half] = *(const uint4*)&here.fresh[1][key_column(half)];
                *(uint4*)(keys + first + mine * E + key_column(half)) = positions.keys[i][half];
            }
            if (value_row(i, half) == mine) {
                positions.values[i][half] = *(const uint4*)&here.fresh[2][value_column()];
                *(uint4*)(values + first + mine * E + value_column()) = positions.values[i][half];
            }
        }
        count++;
    }
    attend(here, positions, count);
    join(here, heard);
}

// heard[D] = attention to the window, norm and query included. Position p of a head's keys and values, E columns, lies
// head·across_heads + p·across_positions values on.
CLUSTERED attend_to_sound(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, const u16* keys,
    const u16* values, u16* heard, int across_heads, int across_positions
) {
    constexpr int MOST = (S + CLUSTER - 1) / CLUSTER, EACH = (MOST + 8 * WARPS - 1) / (8 * WARPS);
    auto& here = in_shared<Head<1>>();
    let_next_begin();
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER, t = threadIdx.x, count = min(MOST, S - rank * MOST);
    if (t == 0) begin(here, weight);
    arrive_cluster();
    u64 first = (u64)head * across_heads + (u64)rank * MOST * across_positions;
    Positions<EACH> positions;
#pragma unroll
    for (int n = 0; n < 2 * EACH; n++) {
        int i = n / 2, half = n % 2;
        positions.keys[i][half] = positions.values[i][half] = make_uint4(0, 0, 0, 0);
        if (key_row(i) < count)
            positions.keys[i][half] = load_once((const uint4*)(keys + first + (u64)key_row(i) * across_positions + key_column(half)));
        if (value_row(i, half) < count)
            positions.values[i][half] = load_once((const uint4*)(values + first + (u64)value_row(i, half) * across_positions + value_column()));
    }
    Input<D, true> input;
    input.load(gains, shifts);
    float2 added = widen(*(const u32*)(bias + head * E + rank * OWN + t % (OWN / 2) * 2));
    await_cluster();
    await_previous();
    input.stage(here, x);
    share(here, added);
    attend(here, positions, count);
    join(here, heard);
}

// x[D] += heard[D] · weightᵀ + bias.
KERNEL project_out(const u16* heard, const u16* weight, const u16* bias, u16* x) {
    linear<D, 1, false, false, true, false>(heard, weight, bias, nullptr, nullptr, x, D);
}

// inner[F] = GELU(norm(x[D]) · weightᵀ + bias).
KERNEL feed_up(const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, u16* inner) {
    linear<D, 2, true, true, false, false>(x, weight, bias, gains, shifts, inner, F);
}

// x[D] += inner[F] · weightᵀ + bias.
KERNEL feed_down(const u16* inner, const u16* weight, const u16* bias, u16* x) {
    linear<F, 1, false, false, true, false>(inner, weight, bias, nullptr, nullptr, x, D);
}

// scores[V] = norm(x[D]) · weightᵀ, float32.
KERNEL score(const u16* x, const u16* weight, const u16* gains, const u16* shifts, float* scores) {
    linear<D, 4, true, false, false, true>(x, weight, nullptr, gains, shifts, scores, V);
}

// Bytes of shared memory of a block, in the order in which `cuda_step.py` names the kernels.
EXPORTED int shared_bytes[] = {
    0, sizeof(Head<3>), sizeof(Head<1>), sizeof(Desk<D, 1>), sizeof(Desk<D, 2>), sizeof(Desk<F, 1>), sizeof(Desk<D, 4>),
};
