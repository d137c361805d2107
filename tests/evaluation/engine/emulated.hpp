// What decoder.cu asks of a GPU, on a processor without one: `primitives.cuh` for a C++ compiler.
//
// Every CUDA thread is a coroutine; they run in turn, in an order that is drawn anew for every round, and whoever waits
// gives way. Copies arrive late, after a number of rounds that is drawn too: who reads without having waited reads
// what was there before. `emulate` returns 0, or 1 where nothing has moved for too long.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __noinline__
#define __global__
#define __launch_bounds__(...)

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
struct uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct Index { int x; };
static uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
static uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static float rsqrtf(float x) { return 1.f / sqrtf(x); }

static Index threadIdx, blockIdx;

namespace emulated {
constexpr int BLOCK_THREADS = 32 * (WARPS + 1), STACK = 64 << 10;

struct Meeting {  // of a number of threads that all have to come before one goes on
    int come = 0, number = 0;
};
struct Warp {
    Meeting meeting;
    float values[32];
    const void* rows[32];
    u32 vectors[32][2];
};
struct Block {
    std::vector<char> memory;
    Meeting all, workers;
    Warp warps[WARPS + 1];
};
struct Copy {
    void* to;
    const void* from;
    int bytes;
    u64* barrier;
    long due;
};
struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;  // not filled: most of its pages are never touched
    std::vector<Copy> copies;  // copy16 that have not been waited for
    bool done = false;
};

static std::vector<Block> blocks;
static std::vector<Thread> threads;
static std::vector<Copy> copies;
static ucontext_t scheduler;
static Thread* current;
static std::mt19937 dice;
static long rounds, moved;
static const u64* argument;

static void give_way() { swapcontext(&current->context, &scheduler); }

static void meet(Meeting& meeting, int count) {
    int number = meeting.number;
    moved = rounds;
    if (++meeting.come == count) {
        meeting.come = 0;
        meeting.number++;
    } else
        while (meeting.number == number) give_way();
}

struct Barrier {  // an mbarrier: 64 bits, as on the device
    int16_t phase, arrivals, pending;
    int16_t unused;
};
static std::vector<std::pair<u64*, int>> expected;  // bytes still to come, by barrier

static int& bytes_of(u64* barrier) {
    for (auto& [known, bytes] : expected)
        if (known == barrier) return bytes;
    expected.push_back({barrier, 0});
    return expected.back().second;
}

static void settle(u64* word) {
    auto* barrier = (Barrier*)word;
    if (barrier->pending == 0 && bytes_of(word) == 0) barrier->phase++, barrier->pending = barrier->arrivals;
    moved = rounds;
}
}  // namespace emulated

// ---- what primitives.cuh has ----

static float2 widen(u32 two) {
    if constexpr (BF16) {
        u32 bits[2] = {two << 16, two & 0xffff0000u};
        float2 r;
        memcpy(&r, bits, 8);
        return r;
    }
    _Float16 halves[2];
    memcpy(halves, &two, 4);
    return {(float)halves[0], (float)halves[1]};
}

static u32 narrow(float first, float second) {
    u32 r;
    if constexpr (BF16) {
        float values[2] = {first, second};
        u32 bits[2];
        memcpy(bits, values, 8);
        for (u32& b : bits) b += 0x7fff + (b >> 16 & 1);
        r = bits[0] >> 16 | (bits[1] & 0xffff0000u);
    } else {
        _Float16 halves[2] = {(_Float16)first, (_Float16)second};
        memcpy(&r, halves, 4);
    }
    return r;
}

static float as_float(u32 bits) {
    float r;
    memcpy(&r, &bits, 4);
    return r;
}
static float fast_exp(float x) { return expf(x); }
static float fast_log(float x) { return logf(x); }
static float divided(float x, float by) { return x / by; }

static emulated::Block& this_block() { return emulated::blocks[blockIdx.x]; }
static char* block_memory() { return this_block().memory.data(); }
static void sync_warp() { emulated::meet(this_block().warps[threadIdx.x / 32].meeting, 32); }
static void sync_block() { emulated::meet(this_block().all, emulated::BLOCK_THREADS); }
static void sync_workers() { emulated::meet(this_block().workers, 32 * WARPS); }

static float shuffle_xor(float value, int mask) {
    float* values = this_block().warps[threadIdx.x / 32].values;
    int lane = threadIdx.x % 32;
    values[lane] = value;
    sync_warp();
    float other = values[lane ^ mask];
    sync_warp();
    return other;
}

static uint4 look(const uint4* p) { return *p; }
static uint4 look_whole(const uint4* p) { return *p; }
static void pause() { emulated::give_way(); }

static void send(u64* p, u32 values, u32 tag) {
    *p = (u64)tag << 32 | values;
    emulated::moved = emulated::rounds;
}

static void send(uint4* p, float a, float b, float c, u32 tag) {
    float values[3] = {a, b, c};
    memcpy(p, values, 12);
    p->w = tag;
    emulated::moved = emulated::rounds;
}

static void prepare(u64* word, int arrivals) {
    *(emulated::Barrier*)word = {0, (int16_t)arrivals, (int16_t)arrivals, 0};
}

static void wait(u64* word, int parity) {
    while ((((volatile emulated::Barrier*)word)->phase & 1) == parity) emulated::give_way();
}

static void arrive(u64* word) {
    ((emulated::Barrier*)word)->pending--;
    emulated::settle(word);
}

static void expect(u64* word, int bytes) {
    emulated::bytes_of(word) += bytes;
    arrive(word);
}

static void copy_bulk(void* to, const void* from, int bytes, u64* barrier) {
    emulated::copies.push_back({to, from, bytes, barrier, emulated::rounds + (long)(emulated::dice() % 40)});
}

static void copy16(void* to, const void* from) { emulated::current->copies.push_back({to, from, 16, nullptr, 0}); }

static void copy4(void* to, const void* from) { emulated::current->copies.push_back({to, from, 4, nullptr, 0}); }

static void sync_copies() {
    for (auto& copy : emulated::current->copies) memcpy(copy.to, copy.from, copy.bytes);
    emulated::current->copies.clear();
}

static void order_barriers() {}

struct Tile {
    u32 a, b, c, d;
};
struct Sums {
    float a, b, c, d;
};

static Tile load_tile(const void* row) {
    const void** rows = this_block().warps[threadIdx.x / 32].rows;
    int lane = threadIdx.x % 32;
    rows[lane] = row;
    sync_warp();
    u32 words[4];
    for (int i = 0; i < 4; i++) words[i] = ((const u32*)rows[8 * i + lane / 4])[lane % 4];
    sync_warp();
    return {words[0], words[1], words[2], words[3]};
}

static float of_two(u32 a, u32 b) { return widen(a).x * widen(b).x + widen(a).y * widen(b).y; }

static void multiply(Sums& sums, Tile tile, u32 low, u32 high) {
    u32(*vectors)[2] = this_block().warps[threadIdx.x / 32].vectors;
    int lane = threadIdx.x % 32;
    vectors[lane][0] = low, vectors[lane][1] = high;
    sync_warp();
    // A lane has a fourth of the columns of its rows: four neighbours add up.
    float top = of_two(tile.a, vectors[lane % 4][0]) + of_two(tile.c, vectors[lane % 4][1]);
    float bottom = of_two(tile.b, vectors[lane % 4][0]) + of_two(tile.d, vectors[lane % 4][1]);
    sync_warp();
    for (int mask = 1; mask < 4; mask <<= 1) top += shuffle_xor(top, mask), bottom += shuffle_xor(bottom, mask);
    sums.a += top, sums.c += bottom;
}

extern "C" void decode_token(const u64* table);

namespace emulated {
static void body() {
    decode_token(argument);
    current->done = true;
    give_way();
}

static void deliver() {
    for (size_t i = 0; i < copies.size();) {
        Copy copy = copies[i];
        if (copy.due > rounds) {
            i++;
            continue;
        }
        memcpy(copy.to, copy.from, copy.bytes);
        bytes_of(copy.barrier) -= copy.bytes;
        settle(copy.barrier);
        copies[i] = copies.back();
        copies.pop_back();
    }
}
}  // namespace emulated

// Run one step with the addresses in `table`, `bytes` of memory for a block, the order drawn from `seed`.
extern "C" int emulate(const u64* table, int bytes, int seed) {
    using namespace emulated;
    dice.seed(seed);
    argument = table;
    rounds = moved = 0;
    copies.clear();
    expected.clear();
    blocks = std::vector<Block>(GRID);
    for (auto& block : blocks) block.memory.assign(bytes, (char)0x7f);
    threads = std::vector<Thread>(GRID * BLOCK_THREADS);
    for (auto& thread : threads) {
        thread.stack.reset(new char[STACK]);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, body, 0);
    }
    std::vector<int> order(GRID);
    for (int i = 0; i < GRID; i++) order[i] = i;
    for (size_t left = threads.size(); left;) {
        rounds++;
        if (rounds - moved > 1000) return 1;
        deliver();
        std::shuffle(order.begin(), order.end(), dice);
        for (int block : order) {
            if (dice() % 3 == 0) continue;  // a multiprocessor that is slow for a moment
            int first = dice() % BLOCK_THREADS;
            for (int i = 0; i < BLOCK_THREADS; i++) {
                int thread = (first + i) % BLOCK_THREADS;
                current = &threads[block * BLOCK_THREADS + thread];
                if (current->done) continue;
                threadIdx.x = thread, blockIdx.x = block;
                swapcontext(&scheduler, &current->context);
                if (current->done) left--, moved = rounds;
            }
        }
    }
    return 0;
}
