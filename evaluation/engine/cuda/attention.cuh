// A head's attention by a cluster of eight blocks, with the projections that it needs.

// What the warps of a cluster found, as far as it concerns this block's columns: sums of the values, not normalised, their
// highest scores and norms.
struct Found {
    alignas(16) float sums[ROWS][PARTS][OWN];
    float2 tops_and_norms[ROWS][PARTS];
};

// A block's shared memory for one head: the projections of the cluster's blocks and what the cluster's warps found.
template <int GROUPS>
struct Head : Desk<D, GROUPS> {
    alignas(16) u16 fresh[ROWS][GROUPS][E];
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
// Thread t computes two columns, the `which`-th of 4·GROUPS, for one block at a time; `added` are their biases.
template <int GROUPS>
__device__ inline void share(Head<GROUPS>& here, float2 added) {
    constexpr int TWOS = GROUPS * OWN / 2, AT_ONCE = THREADS / TWOS;
    int which = threadIdx.x % TWOS, rank = blockIdx.x % CLUSTER;
    product(here);
#pragma unroll
    for (int i = threadIdx.x / TWOS; i < CLUSTER * ROWS; i += AT_ONCE) {
        int peer = i % CLUSTER, token = i / CLUSTER;
        if (threadIdx.x >= TWOS * AT_ONCE) break;
        float2 y = added;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) {
            float2 part = *(const float2*)&here.shares[warp][token][2 * which];
            y.x += part.x, y.y += part.y;
        }
        u16* place = &here.fresh[token][which / (OWN / 2)][rank * OWN + which % (OWN / 2) * 2];
        send(place, peer, narrow(y.x, y.y), &here.told);
    }
    wait_for_peers(&here.told);
}

// A block's positions come in eights, of which a warp has EACH: every WARPS-th. What a lane reads of them, 16 bytes each:
// of the keys those of row lane / 4 in two halves, as in `product`; of the values eight columns of two rows of the eight.
__device__ inline int key_row(int i) { return 8 * (threadIdx.x / 32 + WARPS * i) + threadIdx.x % 32 / 4; }
__device__ inline int key_column(int half) {
    Lane lane;
    return 32 * (half ^ lane.odd) + 8 * lane.quarter;
}
__device__ inline int value_row(int i, int half) {
    return 8 * (threadIdx.x / 32 + WARPS * i) + 4 * half + threadIdx.x % 32 / 8;
}
__device__ inline int value_column() { return 8 * (threadIdx.x % 8); }

template <int EACH>
struct Positions {
    uint4 keys[EACH][2], values[EACH][2];

    // The first `count` of a block's positions, as `read` reads them, `across` values from one to the next; zeros after
    // them.
    template <class Read, class Across>
    __device__ void load(const u16* first_key, const u16* first_value, Across across, int count, Read read) {
#pragma unroll
        for (int n = 0; n < 2 * EACH; n++) {
            int i = n / 2, half = n % 2;
            keys[i][half] = values[i][half] = make_uint4(0, 0, 0, 0);
            if (key_row(i) < count)
                keys[i][half] = read((const uint4*)(first_key + key_row(i) * across + key_column(half)));
            if (value_row(i, half) < count)
                values[i][half] = read((const uint4*)(first_value + value_row(i, half) * across + value_column()));
        }
    }
};

// One token's scores → what this warp found, to all blocks. weights[i]: the score of row lane / 4 of its i-th eight.
template <int GROUPS, int EACH>
__device__ inline void weigh(Head<GROUPS>& here, const Positions<EACH>& positions, float* weights, int token) {
    int warp = threadIdx.x / 32, peer = threadIdx.x % 8, within = threadIdx.x % 32 / 8;
    float top = minus_infinity(), norm = 0, sum[8] = {};
#pragma unroll
    for (int i = 0; i < EACH; i++) top = fmaxf(top, weights[i]);
    for (int mask = 4; mask < 32; mask <<= 1) top = fmaxf(top, shuffle_xor(top, mask));
    float lifted = top == minus_infinity() ? 0.f : top;
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
    int part = blockIdx.x % CLUSTER * WARPS + warp;  // the eight columns of this lane are those of block `peer`
    send(&here.found.sums[token][part][0], peer, sum[0], sum[1], sum[2], sum[3], &here.joined);
    send(&here.found.sums[token][part][4], peer, sum[4], sum[5], sum[6], sum[7], &here.joined);
    send(&here.found.tops_and_norms[token][part], peer, top, norm, &here.joined);
}

// Attend, with the queries here.fresh[…][0], to the block's first `count` positions, and with every further token to
// `growth` more, but not to more than `most`. Values of positions that do not count must be finite.
template <int GROUPS, int EACH>
__device__ inline void attend(Head<GROUPS>& here, const Positions<EACH>& positions, int count, int growth, int most) {
    Lane lane;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        const u16* query = here.fresh[ROWS == 1 ? 0 : 2 * pair + lane.token][0];
        float scores[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) {  // as in `product`
            Sums sums = {};
#pragma unroll
            for (int half = 0; half < 2; half++) {
                uint2 q = *(const uint2*)(query + 32 * (half ^ lane.other) + 8 * lane.quarter + 4 * lane.upper);
                uint4 k = positions.keys[i][half];
                multiply(sums, k.x, k.z, k.y, k.w, q.x, q.y);
            }
            scores[i] = (sums.a + sums.d) * 0.125f;  // E ** -0.5
        }
#pragma unroll
        for (int of = 0; of < 2; of++) {
            int token = 2 * pair + of;
            if (token >= ROWS) break;
            float weights[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                float score =
                    shuffle(scores[i], threadIdx.x % 32 - lane.quarter + 2 * of + lane.odd);  // from who holds it
                weights[i] = key_row(i) < min(most, count + growth * token) ? score : minus_infinity();
            }
            weigh(here, positions, weights, token);
        }
    }
}

// Join the parts: warp w has the block's column w of heard[ROWS, D].
template <int GROUPS>
__device__ inline void join(Head<GROUPS>& here, u16* heard) {
    int lane = threadIdx.x % 32, column = threadIdx.x / 32;
    int first = blockIdx.x / CLUSTER * E + blockIdx.x % CLUSTER * OWN;
    wait_for_peers(&here.joined);
#pragma unroll
    for (int token = 0; token < ROWS; token++) {
        float top = minus_infinity(), norm = 0, sum = 0;
        float2 parts[PARTS / 32];
#pragma unroll
        for (int i = 0; i < PARTS / 32; i++) {
            parts[i] = here.found.tops_and_norms[token][lane + 32 * i];
            top = fmaxf(top, parts[i].x);
        }
        for (int mask = 16; mask; mask >>= 1) top = fmaxf(top, shuffle_xor(top, mask));
#pragma unroll
        for (int i = 0; i < PARTS / 32; i++) {
            float weight = fast_exp(parts[i].x - top);
            norm += weight * parts[i].y, sum += weight * here.found.sums[token][lane + 32 * i][column];
        }
        for (int mask = 16; mask; mask >>= 1) norm += shuffle_xor(norm, mask), sum += shuffle_xor(sum, mask);
        if (lane == 0) heard[token * D + first + column] = (u16)narrow(divided(sum, norm), 0.f);
    }
}
