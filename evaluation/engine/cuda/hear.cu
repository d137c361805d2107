// Cross-attention of a batch to the encoder's output itself: half the bytes of its keys and values, and the same ones in
// every layer. The projections are on the other side: a query comes multiplied with its head's key weights, and what is
// found is still to be multiplied with the value weights (DeepSeek-V2, arXiv:2405.04434, section 2.1.2).
//
// A block goes through its tiles (`shares.cuh` says which) one after the other, while further ones come. A warp has a
// WARPS-th of the columns, for the scores as well as for the sums of the positions that they weigh.

constexpr int WARPS = 8, THREADS = 32 * WARPS, PART = 16, MOST_ROWS = 32 * WARPS, MEMORY = 227 << 10;
constexpr int GROUPS = (HEADS + 7) / 8;  // a tensor core multiplies for eight heads
constexpr int COLUMNS = D / WARPS, STEPS = COLUMNS / 16;
constexpr int STRIDE = D + PAD, OF_SCORES = TILE + 4, OF_WEIGHTS = TILE + 8;  // other banks for every position or head
static_assert(D % (16 * WARPS) == 0);

// All of a block's shared memory but the positions.
struct Desk {
    alignas(16) float scores[WARPS][HEADS * OF_SCORES];  // of each warp's columns: [head][position]
    alignas(16) u16 weights[8 * GROUPS * OF_WEIGHTS];
    float factors[8 * GROUPS], tops[HEADS], norms[HEADS];
    u32 living[WARPS];
    int before;                               // how many have finished their pieces of a row
    u16 rows[MOST_ROWS], windows[MOST_ROWS];  // of those that are not done
};

// As many parts of tiles as there is room for: two are read while the others come.
constexpr int FITTING = (MEMORY - (int)sizeof(Desk) - 64) / (PART * STRIDE * 2), SLOTS = FITTING < 7 ? FITTING : 7;
static_assert(SLOTS >= 4);

struct Room {
    alignas(128) u16 parts[SLOTS][PART * STRIDE];
    Desk desk;
    u64 arrived[SLOTS];
};
static_assert(sizeof(Room) <= MEMORY);

struct Arguments {
    u16* out;            // [rows, HEADS, D]
    float* sums;         // [2 * blocks, HEADS, D]: pieces
    float2* tops_norms;  // [2 * blocks, HEADS]
    int* finished;       // [rows]: 0 between launches
};

// Let the n-th part of the block's tiles come; one thread.
__device__ inline void fetch(Room& here, const u16* heard, int first, int n) {
    constexpr int BYTES = PART * STRIDE * 2;
    int tile = first + n / 2, slot = n % SLOTS, part = tile % TILES * 2 + n % 2;
    expect(&here.arrived[slot], BYTES);
    const u16* of_window = heard + (u64)here.desk.windows[tile / TILES] * (TILES * TILE * STRIDE);
    copy_bulk(here.parts[slot], of_window + part * (PART * STRIDE), BYTES, &here.arrived[slot]);
}

// The rows that are not done, in their order, and what they hear; returns how many.
__device__ inline int find_living(Desk& desk, const bool* done, const int* windows, int rows) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = threadIdx.x, window = 0;
    bool lives = false;
    if (row < rows) lives = !done[row], window = windows[row];
    u32 living = ballot(lives);
    if (lane == 0) desk.living[warp] = living;
    sync_block();
    int index = count_bits(living & ((1u << lane) - 1)), count = 0;
    for (int i = 0; i < WARPS; i++) {
        int of_warp = count_bits(desk.living[i]);
        count += of_warp;
        if (i < warp) index += of_warp;
    }
    if (lives) desk.rows[index] = (u16)row, desk.windows[index] = (u16)window;
    sync_block();
    return count;
}

// Scores of this warp's columns, to be added up.
__device__ inline void score(Room& here, const u16* const (&parts)[2], const u32 (&asked)[STEPS][GROUPS][2]) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int place = lane % 16 * STRIDE + warp * COLUMNS + lane / 16 * 8;
    Sums scores[2][GROUPS] = {};
#pragma unroll
    for (int i = 0; i < STEPS; i++)
#pragma unroll
        for (int part = 0; part < 2; part++) {
            uint4 left = load_matrices(parts[part] + place + 16 * i);
#pragma unroll
            for (int n = 0; n < GROUPS; n++)
                multiply(scores[part][n], left.x, left.y, left.z, left.w, asked[i][n][0], asked[i][n][1]);
        }
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        int head = 8 * n + lane % 4 * 2;
        if (head >= HEADS) break;
        float* of_head = here.desk.scores[warp] + head * OF_SCORES + lane / 4;
#pragma unroll
        for (int part = 0; part < 2; part++) {
            Sums& found = scores[part][n];
            of_head[PART * part] = found.a, of_head[PART * part + OF_SCORES] = found.b;
            of_head[PART * part + 8] = found.c, of_head[PART * part + 8 + OF_SCORES] = found.d;
        }
    }
}

// All columns' scores → weights of the positions, with GROUPS heads for each warp and a position for each lane. Of those
// heads are `tops`, and `norms`, which are still to be added up over the lanes.
__device__ inline void weigh(Desk& desk, int first, float (&tops)[GROUPS], float (&norms)[GROUPS]) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        int head = warp * GROUPS + n;
        if (head >= HEADS) break;
        float score = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++) score += desk.scores[i][head * OF_SCORES + lane];
        score *= 0.125f;  // 64 ** -0.5, the width of a head
        if (first + lane >= S) score = minus_infinity();
        float top = score;
        for (int mask = 16; mask; mask >>= 1) top = fmaxf(top, shuffle_xor(top, mask));
        top = fmaxf(top, tops[n]);
        float weight = fast_exp(score - top), factor = fast_exp(tops[n] - top);
        tops[n] = top, norms[n] = norms[n] * factor + weight;
        desk.weights[head * OF_WEIGHTS + lane] = (u16)narrow(weight, 0.f);
        if (lane == 0) desk.factors[head] = factor;
    }
}

// Add this warp's columns of a tile, weighed.
__device__ inline void add(Room& here, const u16* const (&parts)[2], Sums (&sums)[STEPS][GROUPS]) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int place = (lane % 8 + lane / 16 * 8) * STRIDE + warp * COLUMNS + lane / 8 % 2 * 8;
    u32 weights[2][GROUPS][2];
    float2 factors[GROUPS];
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        const u16* of_head = here.desk.weights + (8 * n + lane / 4) * OF_WEIGHTS + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < 4; i++) weights[i / 2][n][i % 2] = *(const u32*)(of_head + 8 * i);
        factors[n] = *(const float2*)(here.desk.factors + 8 * n + lane % 4 * 2);
    }
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
#pragma unroll
        for (int n = 0; n < GROUPS; n++) {
            Sums& s = sums[i][n];
            s.a *= factors[n].x, s.b *= factors[n].y, s.c *= factors[n].x, s.d *= factors[n].y;
        }
#pragma unroll
        for (int part = 0; part < 2; part++) {
            uint4 left = load_matrices_turned(parts[part] + place + 16 * i);
#pragma unroll
            for (int n = 0; n < GROUPS; n++)
                multiply(sums[i][n], left.x, left.y, left.z, left.w, weights[part][n][0], weights[part][n][1]);
        }
    }
}

// Calls `put(head, column, sum)` for what this thread has.
template <class Put>
__device__ inline void for_all(const Sums (&sums)[STEPS][GROUPS], Put put) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        int head = 8 * n + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            int column = warp * COLUMNS + 16 * i + lane / 4;
            if (head < HEADS) put(head, column, sums[i][n].a), put(head, column + 8, sums[i][n].c);
            if (head + 1 < HEADS) put(head + 1, column, sums[i][n].b), put(head + 1, column + 8, sums[i][n].d);
        }
    }
}

// All pieces of a row, in their order → out.
__device__ inline void join(Desk& desk, const Arguments& in, const Pieces& pieces, u16* out) {
    constexpr int FOURS = HEADS * D / 4, EACH = (FOURS + THREADS - 1) / THREADS, AT_ONCE = EACH < 13 ? EACH : 13;
    float* shares = desk.scores[0];  // [piece][head]
    int head = threadIdx.x;
    if (head < HEADS) {
        float top = minus_infinity(), norm = 0;
        for (int block = pieces.from; block <= pieces.to; block++)
            top = fmaxf(top, load_fresh(in.tops_norms + pieces.slot(block) * HEADS + head).x);
        for (int block = pieces.from; block <= pieces.to; block++) {
            float2 found = load_fresh(in.tops_norms + pieces.slot(block) * HEADS + head);
            float share = fast_exp(found.x - top);
            norm += share * found.y;
            shares[(block - pieces.from) * HEADS + head] = share;
        }
        for (int block = pieces.from; block <= pieces.to; block++) shares[(block - pieces.from) * HEADS + head] /= norm;
    }
    sync_block();
    for (int first = threadIdx.x; first < FOURS; first += AT_ONCE * THREADS) {
        float sums[AT_ONCE][4] = {};
        for (int block = pieces.from; block <= pieces.to; block++) {
            const uint4* found = (const uint4*)(in.sums + (u64)pieces.slot(block) * HEADS * D);
            const float* share = shares + (block - pieces.from) * HEADS;
            uint4 four[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) four[i] = load_fresh(found + min(first + i * THREADS, FOURS - 1));
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                float by = share[4 * min(first + i * THREADS, FOURS - 1) / D];
                sums[i][0] += by * as_float(four[i].x), sums[i][1] += by * as_float(four[i].y);
                sums[i][2] += by * as_float(four[i].z), sums[i][3] += by * as_float(four[i].w);
            }
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (first + i * THREADS < FOURS)
                *(uint2*)(out + 4 * (first + i * THREADS)) =
                    make_uint2(narrow(sums[i][0], sums[i][1]), narrow(sums[i][2], sums[i][3]));
    }
}

// What was found of a row goes to `out`, or, where other blocks have a share in it, to the pieces.
__device__ inline void finish(
    Desk& desk, const Arguments& in, const Pieces& pieces, const Sums (&sums)[STEPS][GROUPS],
    const float (&tops)[GROUPS], const float (&norms)[GROUPS]
) {
    int row = desk.rows[pieces.row], head = threadIdx.x;
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        float norm = norms[n];
        for (int mask = 16; mask; mask >>= 1) norm += shuffle_xor(norm, mask);
        int of_warp = threadIdx.x / 32 * GROUPS + n;
        if (threadIdx.x % 32 == 0 && of_warp < HEADS) desk.tops[of_warp] = tops[n], desk.norms[of_warp] = norm;
    }
    sync_block();
    u16* out = in.out + (u64)row * HEADS * D;
    if (pieces.from == pieces.to) {
        for_all(sums, [&](int head, int column, float sum) {
            out[head * D + column] = (u16)narrow(divided(sum, desk.norms[head]), 0.f);
        });
        return;
    }
    int slot = pieces.slot(blockIdx.x);
    float* part = in.sums + (u64)slot * HEADS * D;
    for_all(sums, [&](int head, int column, float sum) { part[head * D + column] = sum; });
    if (head < HEADS) in.tops_norms[slot * HEADS + head] = make_float2(desk.tops[head], desk.norms[head]);
    publish();
    sync_block();
    if (threadIdx.x == 0) desk.before = add_to(in.finished + row, 1);
    sync_block();
    if (desk.before == pieces.to - pieces.from) {
        join(desk, in, pieces, out);
        if (threadIdx.x == 0) in.finished[row] = 0;
        sync_block();  // the next row's scores lie where the shares of the pieces do
    }
}

// asked: [rows, HEADS, D]. heard: [windows, TILES * TILE, STRIDE], of which row i hears windows[i]. rows: at most
// MOST_ROWS; what is done is left out. most: blocks that a row is divided among, or one or two more.
extern "C" __global__ void __launch_bounds__(THREADS, 1) hear(
    const u16* asked, const u16* heard, const int* windows, const bool* done, u16* out, float* sums, float2* tops_norms,
    int* finished, int rows, int blocks, int most
) {
    Room& here = in_shared<Room>();
    Arguments in = {out, sums, tops_norms, finished};
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x < SLOTS) begin_barrier(&here.arrived[threadIdx.x]);
    int living = find_living(here.desk, done, windows, rows);
    Plan plan(blocks, living, most);
    if ((int)blockIdx.x >= plan.blocks) return;
    int first = plan.first(blockIdx.x), count = plan.first(blockIdx.x + 1) - first;
    if (threadIdx.x == 0)
        for (int n = 0; n < min(SLOTS, 2 * count); n++) fetch(here, heard, first, n);
    for (int turn = 0; turn < count;) {
        Pieces pieces(plan, (first + turn) / TILES);
        int last = min(count, (pieces.row + 1) * TILES - first);
        const u16* query = asked + (u64)here.desk.rows[pieces.row] * HEADS * D + warp * COLUMNS + lane % 4 * 2;
        u32 wanted[STEPS][GROUPS][2];
#pragma unroll
        for (int n = 0; n < GROUPS; n++)
#pragma unroll
            for (int i = 0; i < 2 * STEPS; i++) {
                int head = 8 * n + lane / 4;
                wanted[i / 2][n][i % 2] = head < HEADS ? *(const u32*)(query + head * D + 8 * i) : 0;
            }
        Sums found[STEPS][GROUPS] = {};
        float tops[GROUPS], norms[GROUPS];
#pragma unroll
        for (int n = 0; n < GROUPS; n++) tops[n] = minus_infinity(), norms[n] = 0;
        for (; turn < last; turn++) {
            int slots[2] = {2 * turn % SLOTS, (2 * turn + 1) % SLOTS};
            const u16* const parts[2] = {here.parts[slots[0]], here.parts[slots[1]]};
            wait_for(&here.arrived[slots[0]], 2 * turn / SLOTS);
            wait_for(&here.arrived[slots[1]], (2 * turn + 1) / SLOTS);
            score(here, parts, wanted);
            sync_block();  // and nobody reads the tile before this one any more
            if (turn > 0 && threadIdx.x == 0)
                for (int n = 2 * turn - 2 + SLOTS; n < min(2 * turn + SLOTS, 2 * count); n++)
                    fetch(here, heard, first, n);
            weigh(here.desk, (first + turn) % TILES * TILE, tops, norms);
            sync_block();
            add(here, parts, found);
        }
        finish(here.desk, in, pieces, found, tops, norms);
    }
}

// Bytes of shared memory of a block.
EXPORTED int shared_bytes[] = {sizeof(Room)};
