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
    float shares[WARPS][GROUPS * OWN];
    float2 moments[WARPS];
    u64 arrived;
};

// Let the weights of group i come from `groups[i]`: GROUPS calls of `fetch` after one of `expect_rows`, by one thread.
template <int K, int GROUPS>
__device__ inline void expect_rows(Desk<K, GROUPS>& desk, int rows = GROUPS * OWN, int more_bytes = 0) {
    prepare(&desk.arrived);
    expect(&desk.arrived, 2 * K * rows + more_bytes);
}

template <int K, int GROUPS>
__device__ inline void fetch(Desk<K, GROUPS>& desk, int group, const u16* first, int rows = OWN) {
    copy_bulk(desk.rows[group], first, 2 * K * rows, &desk.arrived);
}

// A warp's share of the product of eight rows with x: of row g in lane 4·g + (g % 2).
//
// A tensor core multiplies 16 rows of 16 columns by 16 rows of 8 columns. Its upper eight rows are the same eight rows of
// weights, further on in their columns; each row meets its own columns of x in one of the eight columns on the right.
// So lanes read 16 bytes each, and odd rows begin with the other half of 128 bytes, where other banks are. In which order
// columns are multiplied does not matter, as long as it is the same one for weights and x.
template <int K>
__device__ inline float times(const u16* rows, const u16* x) {
    int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4;
    int upper = row % 2, other = row / 2 % 2;  // of the right matrix, whose column this lane has
    Sums sums[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < (K / 64 + WARPS - 1) / WARPS; i++) {
        int piece = warp + WARPS * i;
        if (piece >= K / 64) break;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint4 w = *(const uint4*)(rows + row * K + 64 * piece + 32 * (half ^ row % 2) + 8 * quarter);
            uint2 v = *(const uint2*)(x + 64 * piece + 32 * (half ^ other) + 8 * quarter + 4 * upper);
            multiply(sums[half], w.x, w.z, w.y, w.w, v.x, v.y);
        }
    }
    return sums[0].a + sums[0].d + sums[1].a + sums[1].d;
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
            float mean = sum / K, scale = rsqrtf(square / K - mean * mean + 1e-5f);
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

// What the rows give for x, as thread t has it for row t % (GROUPS·OWN): summed up, not rounded.
template <int K, int GROUPS>
__device__ inline float product(Desk<K, GROUPS>& desk) {
    int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4;
    wait(&desk.arrived, 0);
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        float y = times<K>(desk.rows[i], desk.x);
        if (threadIdx.x % 4 == row % 2) desk.shares[warp][OWN * i + row] = y;
    }
    sync_block();
    float y = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) y += desk.shares[i][threadIdx.x % (GROUPS * OWN)];
    return y;
}

// out[n] = act(norm(x[K]) · weight[n, K]ᵀ + bias) + out, OWN·GROUPS outputs per block. WIDE: out is float32.
template <int K, int GROUPS, bool NORM, bool GELU, bool ADD, bool WIDE>
__device__ inline void linear(const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, void* out, int n) {
    auto& desk = in_shared<Desk<K, GROUPS>>();
    let_next_begin();
    int first = blockIdx.x * GROUPS * OWN, mine = first + threadIdx.x;
    if (threadIdx.x == 0) {
        int rows = min(GROUPS * OWN, n - first);
        expect_rows(desk, rows);
        fetch(desk, 0, weight + (u64)first * K, rows);
    }
    Input<K, NORM> input;
    input.load(gains, shifts);
    bool writes = threadIdx.x < GROUPS * OWN && mine < n;
    float added = writes && bias ? widen(bias[mine]).x : 0.f;
    await_previous();
    float before = ADD && writes ? widen(load_fresh((const u16*)out + mine)).x : 0.f;
    input.stage(desk, x);
    float y = product(desk) + added;
    if (!writes) return;
    y = rounded(y);
    if (GELU) y = rounded(0.5f * y * (1.f + erff(y * 0.7071067811865476f)));
    if (ADD) y += before;
    if (WIDE)
        ((float*)out)[mine] = y;
    else
        ((u16*)out)[mine] = (u16)narrow(y, 0.f);
}

// ---- attention ----

struct Eight {
    float of[8];
};

__device__ inline Eight eight(uint4 v) {
    float2 a = widen(v.x), b = widen(v.y), c = widen(v.z), d = widen(v.w);
    return {a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y};
}

// What the warps of a cluster found, as far as it concerns this block's columns; every warp writes its part everywhere.
struct Found {
    float sums[PARTS][OWN], tops[PARTS], norms[PARTS];
};

// A block's shared memory for one head: the projections of the cluster's blocks, and what their warps found.
template <int GROUPS>
struct Head : Desk<D, GROUPS> {
    alignas(16) u16 fresh[GROUPS][E];
    alignas(16) Found found;
};

// A warp's positions: lane 8·j + c holds 8 columns, from 8·c on, of keys and values j, j + 4·WARPS, …; `seen` says which
// of them count. Writes the unnormalised sum of the values, its norm and the highest score to all blocks of the cluster.
template <int COUNT>
__device__ inline void attend(const u16* query, const uint4* keys, const uint4* values, const bool* seen, int rank, Found& found) {
    int column = threadIdx.x % 8, part = rank * WARPS + threadIdx.x / 32;
    Eight q = eight(*(const uint4*)(query + 8 * column));
    float scores[COUNT], top = minus_infinity();
#pragma unroll
    for (int i = 0; i < 8; i++) q.of[i] = rounded(q.of[i] * 0.125f);  // E ** -0.5
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        Eight k = eight(keys[i]);
        float s = 0;
#pragma unroll
        for (int n = 0; n < 8; n++) s += q.of[n] * k.of[n];
        for (int mask = 1; mask < 8; mask <<= 1) s += shuffle_xor(s, mask);
        scores[i] = seen[i] ? s : minus_infinity();
        top = fmaxf(top, scores[i]);
    }
    for (int mask = 8; mask < 32; mask <<= 1) top = fmaxf(top, shuffle_xor(top, mask));
    float lifted = top == minus_infinity() ? 0.f : top, norm = 0;
    Eight sum = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        float weight = fast_exp(scores[i] - lifted);
        Eight v = eight(values[i]);
        norm += weight;
#pragma unroll
        for (int n = 0; n < 8; n++) sum.of[n] += seen[i] ? weight * v.of[n] : 0.f;
    }
    for (int mask = 8; mask < 32; mask <<= 1) {
        norm += shuffle_xor(norm, mask);
#pragma unroll
        for (int n = 0; n < 8; n++) sum.of[n] += shuffle_xor(sum.of[n], mask);
    }
    if (threadIdx.x % 32 >= CLUSTER) return;
    int peer = column;  // the columns that this lane holds are those of this block
    store_in_peer(&found.sums[part][0], peer, sum.of[0], sum.of[1], sum.of[2], sum.of[3]);
    store_in_peer(&found.sums[part][4], peer, sum.of[4], sum.of[5], sum.of[6], sum.of[7]);
    store_in_peer(&found.tops[part], peer, top);
    store_in_peer(&found.norms[part], peer, norm);
}

// Join the parts: warp w has the block's column w. out: where the block's columns begin.
__device__ inline void join(const Found& found, u16* out) {
    int lane = threadIdx.x % 32, column = threadIdx.x / 32;
    float top = minus_infinity(), norm = 0, sum = 0;
#pragma unroll
    for (int i = 0; i < PARTS / 32; i++) top = fmaxf(top, found.tops[lane + 32 * i]);
    for (int mask = 16; mask; mask >>= 1) top = fmaxf(top, shuffle_xor(top, mask));
#pragma unroll
    for (int i = 0; i < PARTS / 32; i++) {
        float weight = fast_exp(found.tops[lane + 32 * i] - top);
        norm += weight * found.norms[lane + 32 * i], sum += weight * found.sums[lane + 32 * i][column];
    }
    for (int mask = 16; mask; mask >>= 1) norm += shuffle_xor(norm, mask), sum += shuffle_xor(sum, mask);
    if (lane == 0) out[column] = (u16)narrow(sum / norm, 0.f);
}

// A block's share of GROUPS projections, each of a head's E columns, goes to all blocks of the cluster: fresh[GROUPS][E].
template <int GROUPS>
__device__ inline void share(Head<GROUPS>& here, float added, int rank) {
    float y = product<D, GROUPS>(here) + added;
    int which = threadIdx.x % (GROUPS * OWN), peer = threadIdx.x / (GROUPS * OWN);
    if (peer < CLUSTER) store_in_peer(&here.fresh[which / OWN][rank * OWN + which % OWN], peer, (u16)narrow(y, 0.f));
    arrive_cluster();
    await_cluster();
}

// ---- the kernels ----

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
#define CLUSTERED extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, RESIDENT)
constexpr int RESIDENT = 4;  // blocks for which a multiprocessor shall have registers

// x[D] = embedding[token] + place[position]; token, position: int64. One block.
KERNEL embed(const long long* token, const long long* position, const u16* embedding, const u16* place, u16* x) {
    let_next_begin();
    for (int i = threadIdx.x; i < D; i += THREADS) {
        float2 a = widen(embedding[(u64)token[0] * D + i]), b = widen(place[(u64)position[0] * D + i]);
        x[i] = (u16)narrow(a.x + b.x, 0.f);
    }
}

// heard[D] = attention to the text so far; norm, projections and the cache's new position included. keys, values: [heads, T, E].
CLUSTERED attend_to_text(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, const long long* position,
    u16* keys, u16* values, u16* heard
) {
    constexpr int COUNT = (T / CLUSTER + 4 * WARPS - 1) / (4 * WARPS);
    auto& here = in_shared<Head<3>>();
    let_next_begin();
    arrive_cluster();  // all blocks run before one writes to another
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER, column = threadIdx.x % 8, row = threadIdx.x / 8;
    if (threadIdx.x == 0) {
        expect_rows(here);
        for (int i = 0; i < 3; i++) fetch(here, i, weight + (u64)(i * D + head * E + rank * OWN) * D);
    }
    Input<D, true> input;
    input.load(gains, shifts);
    int which = threadIdx.x % (3 * OWN);
    float added = widen(bias[which / OWN * D + head * E + rank * OWN + which % OWN]).x;
    int now = (int)position[0];
    uint4 k[COUNT], v[COUNT];
    bool seen[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int at = (row + 4 * WARPS * i) * CLUSTER + rank;
        u64 place = (u64)(head * T + at) * E + 8 * column;
        seen[i] = at <= now;
        k[i] = v[i] = make_uint4(0, 0, 0, 0);
        if (at < now) k[i] = *(const uint4*)(keys + place), v[i] = *(const uint4*)(values + place);
    }
    await_previous();
    input.stage(here, x);
    await_cluster();
    share(here, added, rank);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int at = (row + 4 * WARPS * i) * CLUSTER + rank;
        if (at != now) continue;
        u64 place = (u64)(head * T + at) * E + 8 * column;
        k[i] = *(const uint4*)&here.fresh[1][8 * column], v[i] = *(const uint4*)&here.fresh[2][8 * column];
        *(uint4*)(keys + place) = k[i], *(uint4*)(values + place) = v[i];
    }
    attend<COUNT>(here.fresh[0], k, v, seen, rank, here.found);
    arrive_cluster();
    await_cluster();
    join(here.found, heard + head * E + rank * OWN);
}

// A block's share of a head's window: its keys and values.
constexpr int SHARE = (S + CLUSTER - 1) / CLUSTER;
struct Window : Head<1> {
    alignas(128) u16 keys[SHARE][E], values[SHARE][E];
};

// heard[D] = attention to the window, norm and query included. Position p of a head's keys and values, E columns, lies
// head·across_heads + p·across_positions values on.
CLUSTERED attend_to_sound(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, const u16* keys,
    const u16* values, u16* heard, int across_heads, int across_positions
) {
    constexpr int COUNT = (SHARE + 4 * WARPS - 1) / (4 * WARPS);
    auto& here = in_shared<Window>();
    let_next_begin();
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER, column = threadIdx.x % 8, row = threadIdx.x / 8;
    int positions = min(SHARE, S - rank * SHARE);
    if (threadIdx.x == 0) {
        expect_rows(here, OWN, 4 * E * positions);
        fetch(here, 0, weight + (u64)(head * E + rank * OWN) * D);
    }
    arrive_cluster();
    Input<D, true> input;
    input.load(gains, shifts);
    float added = widen(bias[head * E + rank * OWN + threadIdx.x % OWN]).x;
    sync_block();  // the barrier is prepared
    if (threadIdx.x < positions) {
        u64 place = (u64)head * across_heads + (u64)(rank * SHARE + threadIdx.x) * across_positions;
        copy_bulk(here.keys[threadIdx.x], keys + place, 2 * E, &here.arrived);
        copy_bulk(here.values[threadIdx.x], values + place, 2 * E, &here.arrived);
    }
    await_previous();
    input.stage(here, x);
    await_cluster();
    share(here, added, rank);
    uint4 k[COUNT], v[COUNT];
    bool seen[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int mine = row + 4 * WARPS * i;
        seen[i] = mine < positions;
        k[i] = v[i] = make_uint4(0, 0, 0, 0);
        if (seen[i]) k[i] = *(const uint4*)&here.keys[mine][8 * column], v[i] = *(const uint4*)&here.values[mine][8 * column];
    }
    attend<COUNT>(here.fresh[0], k, v, seen, rank, here.found);
    arrive_cluster();
    await_cluster();
    join(here.found, heard + head * E + rank * OWN);
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
    0, sizeof(Head<3>), sizeof(Window), sizeof(Desk<D, 1>), sizeof(Desk<D, 2>), sizeof(Desk<F, 1>), sizeof(Desk<D, 4>),
};
