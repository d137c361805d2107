// A block's rows of weights times ROWS vectors, with the norm before it.
//
// `cuda_step.py` declares before this text: D (width), F (feed-forward), S and T (positions of the encoder and of the
// decoder), V (vocabulary), ROWS, BF16. Addresses hold 16-bit values unless said otherwise.

constexpr int WARPS = 8, THREADS = 32 * WARPS, E = 64, CLUSTER = 8,
              OWN = E / CLUSTER;        // OWN columns of a head per block
constexpr int PARTS = CLUSTER * WARPS;  // every warp of a cluster attends to some positions

// A block's shared memory for a product: GROUPS times OWN rows of weights, its input, and what each warp has found.
template <int K, int GROUPS>
struct Desk {
    alignas(128) u16 rows[GROUPS][OWN * K];
    alignas(16) u16 x[ROWS][K];
    alignas(16) float shares[WARPS][ROWS][GROUPS * OWN];
    float2 moments[WARPS][ROWS];
    u64 arrived;
};

// Which 16 bytes of each 64 a lane reads of weights: those of row lane / 4. And for which column of the right matrix it
// reads x: column lane / 4 is for the `upper` half of the left rows that are `other` (odd or even), and for one token of
// two. See `product`.
struct Lane {
    int row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4, odd = row % 2;
    int upper = row % 2, other = row / 2 % 2, token = row / 4;

    // The token of a pair whose result for `row` this lane holds, if `holds`.
    int of = quarter / 2;
    bool holds = quarter % 2 == odd;
};
constexpr int PAIRS = (ROWS + 1) / 2;  // of tokens; one alone is its own neighbour

// Wait for the weights, and multiply: shares[warp][token][row] for all rows, after which the block is in step.
//
// A tensor core multiplies 16 rows of 16 columns by 16 rows of 8 columns. Here its upper eight rows are the lower eight
// again, further on in their columns, and each row meets its own columns of x in one of the four columns on the right
// that a token has. So a lane reads 16 bytes at once, and odd rows are a piece of 64 bytes ahead, where other banks are.
// In which order columns are multiplied does not matter, as long as it is the same one for weights and x.
template <int K, int GROUPS>
__device__ inline void product(Desk<K, GROUPS>& desk) {
    constexpr int PIECES = K / 32, EACH = (PIECES + WARPS - 1) / WARPS, CHAINS = GROUPS * PAIRS == 1 ? 2 : 1;
    Lane lane;
    int warp = threadIdx.x / 32;
    Sums sums[GROUPS][PAIRS][CHAINS] = {};
    wait(&desk.arrived);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int of_rows = warp * EACH + (i + lane.odd) % EACH, of_x = warp * EACH + (i + lane.other) % EACH;
        if (PIECES % WARPS != 0 && of_rows >= PIECES) of_rows = 0;  // met by zeros
        uint2 v[PAIRS];
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++) {
            v[pair] = make_uint2(0, 0);
            if (PIECES % WARPS == 0 || of_x < PIECES)
                v[pair] = *(const uint2*)(desk.x[ROWS == 1 ? 0 : 2 * pair + lane.token] + 32 * of_x + 8 * lane.quarter +
                                          4 * lane.upper);
        }
#pragma unroll
        for (int n = 0; n < GROUPS; n++) {
            uint4 w = *(const uint4*)(desk.rows[n] + lane.row * K + 32 * of_rows + 8 * lane.quarter);
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++)
                multiply(sums[n][pair][i % CHAINS], w.x, w.z, w.y, w.w, v[pair].x, v[pair].y);
        }
    }
#pragma unroll
    for (int n = 0; n < GROUPS; n++)
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++) {
            float y = sums[n][pair][0].a + sums[n][pair][0].d;
            if (CHAINS == 2) y += sums[n][pair][CHAINS - 1].a + sums[n][pair][CHAINS - 1].d;
            int token = 2 * pair + lane.of;
            if (lane.holds && token < ROWS) desk.shares[warp][token][OWN * n + lane.row] = y;
        }
    sync_block();
}

// x[ROWS][K] → shared memory. With NORM, its layer norm: gain and shift are loaded before the wait.
template <int K, bool NORM>
struct Input {
    static constexpr int CHUNKS = K / 8;
    static_assert(!NORM || CHUNKS <= THREADS, "a thread norms at most eight values of a token");
    uint4 gain, shift;

    __device__ void load(const u16* gains, const u16* shifts) {
        if (NORM && threadIdx.x < CHUNKS) {
            gain = ((const uint4*)gains)[threadIdx.x];
            shift = ((const uint4*)shifts)[threadIdx.x];
        }
    }

    template <class Desk>
    __device__ void stage(Desk& desk, const u16* x) const {
        int t = threadIdx.x;
        if constexpr (NORM)
            stage_normed(desk, x);
        else
#pragma unroll
            for (int i = 0; i < (ROWS * CHUNKS + THREADS - 1) / THREADS; i++)
                if (t + THREADS * i < ROWS * CHUNKS)
                    ((uint4*)desk.x)[t + THREADS * i] = load_fresh((const uint4*)x + t + THREADS * i);
        sync_block();
    }

    template <class Desk>
    __device__ void stage_normed(Desk& desk, const u16* x) const {
        int t = threadIdx.x;
        uint4 mine[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            mine[r] = t < CHUNKS ? load_fresh((const uint4*)x + r * CHUNKS + t) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            u32 words[4] = {mine[r].x, mine[r].y, mine[r].z, mine[r].w};
            float sum = 0, square = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 v = widen(words[i]);
                sum += v.x + v.y, square += v.x * v.x + v.y * v.y;
            }
            for (int mask = 16; mask; mask >>= 1) sum += shuffle_xor(sum, mask), square += shuffle_xor(square, mask);
            if (t % 32 == 0) desk.moments[t / 32][r] = make_float2(sum, square);
        }
        sync_block();
        u32 gains[4] = {gain.x, gain.y, gain.z, gain.w}, shifts[4] = {shift.x, shift.y, shift.z, shift.w};
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            u32 words[4] = {mine[r].x, mine[r].y, mine[r].z, mine[r].w}, normed[4];
            float sum = 0, square = 0;
#pragma unroll
            for (int i = 0; i < WARPS; i++) sum += desk.moments[i][r].x, square += desk.moments[i][r].y;
            float mean = sum * (1.f / K), variance = fmaxf(square * (1.f / K) - mean * mean, 0.f);
            float scale = rsqrtf(variance + 1e-5f);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 v = widen(words[i]), g = widen(gains[i]), s = widen(shifts[i]);
                normed[i] = narrow((v.x - mean) * scale * g.x + s.x, (v.y - mean) * scale * g.y + s.y);
            }
            if (t < CHUNKS) ((uint4*)desk.x[r])[t] = make_uint4(normed[0], normed[1], normed[2], normed[3]);
        }
    }
};

__device__ inline float rounded(float x) { return widen(narrow(x, 0.f)).x; }
