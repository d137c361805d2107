// A Whisper decoder's layer in six kernels, for ROWS consecutive tokens of one text: Radford et al. 2022
// (arXiv:2212.04356), §2.2.
//
// Each kernel lets its weights come into its shared memory and loads the keys and values of earlier positions into its
// registers, and only then waits for the kernel before it, whose start has let it start (programmatic dependent launch).
// Both attentions are one kernel with the projections that they need: a head belongs to a cluster of eight blocks, which
// tell each other their shares of the query through each other's shared memory, attend to an eighth of the positions
// each, and join what they found.
//
// Values are rounded to the weights' dtype where torch rounds them: after norm, linear, GELU, attention and sum.

// out[ROWS, n] = act(norm(x[ROWS, K]) · weight[n, K]ᵀ + bias) + out, OWN·GROUPS columns per block. WIDE: out is float32.
template <int K, int GROUPS, bool NORM, bool GELU, bool ADD, bool WIDE>
__device__ inline void linear(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, void* out, int n
) {
    constexpr int COLUMNS = GROUPS * OWN;
    static_assert(ROWS * COLUMNS <= THREADS, "a thread writes at most one value");
    auto& desk = in_shared<Desk<K, GROUPS>>();
    let_next_begin();
    int first = blockIdx.x * COLUMNS, token = threadIdx.x / COLUMNS, column = threadIdx.x % COLUMNS;
    u64 mine = (u64)token * n + first + column;
    if (threadIdx.x == 0) {
        int bytes = 2 * K * min(COLUMNS, n - first);
        prepare(&desk.arrived, bytes);
        copy_bulk(desk.rows, weight + (u64)first * K, bytes, &desk.arrived);
    }
    Input<K, NORM> input;
    input.load(gains, shifts);
    bool writes = token < ROWS && first + column < n;
    float added = writes && bias ? widen(bias[first + column]).x : 0.f;
    await_previous();
    float before = ADD && writes ? widen(load_fresh((const u16*)out + mine)).x : 0.f;
    input.stage(desk, x);
    product(desk);
    if (!writes) return;
    float y = added;
#pragma unroll
    for (int i = 0; i < WARPS; i++) y += desk.shares[i][token][column];
    y = rounded(y);
    if (GELU) y = rounded(0.5f * y * (1.f + erff(y * 0.7071067811865476f)));
    if (ADD) y += before;
    if (WIDE)
        ((float*)out)[mine] = y;
    else
        ((u16*)out)[mine] = (u16)narrow(y, 0.f);
}

#define KERNEL \
    extern "C" __global__ void __launch_bounds__(THREADS, ROWS > 4 ? 2 : 4)  // blocks with room for registers
#define CLUSTERED extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 2)

// x[ROWS, D] = embedding[tokens] + place[position …]; tokens[ROWS], position: int64. One block.
KERNEL embed(const long long* tokens, const long long* position, const u16* embedding, const u16* place, u16* x) {
    let_next_begin();
    for (int i = threadIdx.x; i < ROWS * D; i += THREADS) {
        int token = i / D, column = i % D;
        float2 a = widen(embedding[(u64)tokens[token] * D + column]),
               b = widen(place[(u64)(position[0] + token) * D + column]);
        x[i] = (u16)narrow(a.x + b.x, 0.f);
    }
}

// heard[ROWS, D] = attention to the text so far; norm, projections and the cache's new positions, from `position` on,
// included. keys, values: [heads, T, E]. A block has an eighth of the positions, seen or not.
CLUSTERED attend_to_text(
    const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, const long long* position,
    u16* keys, u16* values, u16* heard
) {
    constexpr int MOST = T / CLUSTER, EACH = (MOST + 8 * WARPS - 1) / (8 * WARPS);
    auto& here = in_shared<Head<3>>();
    let_next_begin();
    int head = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER, t = threadIdx.x;
    int mine = (int)*(const volatile long long*)position - rank * MOST;  // where in this block the text goes on
    int count = max(0, min(MOST, mine));
    if (t == 0) begin(here, weight);
    arrive_cluster();
    u64 first = (u64)(head * T + rank * MOST) * E;
    Positions<EACH> positions;
    positions.load(keys + first, values + first, E, count, [](const uint4* p) { return *p; });
    Input<D, true> input;
    input.load(gains, shifts);
    int pair = t % (3 * OWN / 2);
    float2 added = widen(*(const u32*)(bias + pair / (OWN / 2) * D + head * E + rank * OWN + pair % (OWN / 2) * 2));
    await_cluster();  // all blocks run, and so do their barriers
    await_previous();
    input.stage(here, x);
    share(here, added);
#pragma unroll
    for (int n = 0; n < 2 * EACH; n++) {  // new positions of this block
        int i = n / 2, half = n % 2, row = key_row(i), token = row - mine;
        if (0 <= token && token < ROWS && row < MOST) {
            positions.keys[i][half] = *(const uint4*)&here.fresh[token][1][key_column(half)];
            *(uint4*)(keys + first + row * E + key_column(half)) = positions.keys[i][half];
        }
        row = value_row(i, half), token = row - mine;
        if (0 <= token && token < ROWS && row < MOST) {
            positions.values[i][half] = *(const uint4*)&here.fresh[token][2][value_column()];
            *(uint4*)(values + first + row * E + value_column()) = positions.values[i][half];
        }
    }
    attend(here, positions, mine + 1, 1, MOST);
    join(here, heard);
}

// heard[ROWS, D] = attention to the window, norm and query included. Position p of a head's keys and values, E columns,
// lies head·across_heads + p·across_positions values on.
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
    positions.load(keys + first, values + first, (u64)across_positions, count, load_once);
    Input<D, true> input;
    input.load(gains, shifts);
    float2 added = widen(*(const u32*)(bias + head * E + rank * OWN + t % (OWN / 2) * 2));
    await_cluster();
    await_previous();
    input.stage(here, x);
    share(here, added);
    attend(here, positions, count, 0, count);
    join(here, heard);
}

// x[ROWS, D] += heard[ROWS, D] · weightᵀ + bias.
KERNEL project_out(const u16* heard, const u16* weight, const u16* bias, u16* x) {
    linear<D, 1, false, false, true, false>(heard, weight, bias, nullptr, nullptr, x, D);
}

// inner[ROWS, F] = GELU(norm(x[ROWS, D]) · weightᵀ + bias).
KERNEL feed_up(const u16* x, const u16* weight, const u16* bias, const u16* gains, const u16* shifts, u16* inner) {
    linear<D, 2, true, true, false, false>(x, weight, bias, gains, shifts, inner, F);
}

// x[ROWS, D] += inner[ROWS, F] · weightᵀ + bias.
KERNEL feed_down(const u16* inner, const u16* weight, const u16* bias, u16* x) {
    linear<F, 1, false, false, true, false>(inner, weight, bias, nullptr, nullptr, x, D);
}

// scores[ROWS, V] = norm(x[ROWS, D]) · weightᵀ, float32.
KERNEL score(const u16* x, const u16* weight, const u16* gains, const u16* shifts, float* scores) {
    linear<D, 4, true, false, false, true>(x, weight, nullptr, gains, shifts, scores, V);
}

// Bytes of shared memory of a block, in the order in which `cuda_step.py` names the kernels.
EXPORTED int shared_bytes[] = {
    0, sizeof(Head<3>), sizeof(Head<1>), sizeof(Desk<D, 1>), sizeof(Desk<D, 2>), sizeof(Desk<F, 1>), sizeof(Desk<D, 4>),
};
