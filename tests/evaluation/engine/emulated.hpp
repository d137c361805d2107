// What decoder.cu and hear.cu ask of a GPU, on a processor without one: `primitives.cuh` for a C++ compiler.
//
// Every CUDA thread of a cluster is a coroutine; they run in turn, in an order that is drawn anew for every round, and
// whoever waits gives way. By the seed one warp of every block is always ahead of the others, or none. Copies arrive
// late, after a number of rounds that is drawn too: who reads without having waited reads what was there before. Kernels
// run one after the other. `emulate` returns 0, or 1 where nothing has moved for long.
// (More than 300 lines: it is one small machine, of which no part is of use alone.)

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#define __device__
#define EXPORTED extern "C"
#define __global__
#define __launch_bounds__(...)
#define __cluster_dims__(...)

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
struct uint2 {
    u32 x, y;
};
struct alignas(16) uint4 {
    u32 x, y, z, w;
};
struct float2 {
    float x, y;
};
struct Index {
    int x;
};
static uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
static uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float rsqrtf(float x) { return 1.f / sqrtf(x); }

static Index threadIdx, blockIdx;

namespace emulated {
constexpr int BLOCK = 256, MOST_BLOCKS = 8, STACK = 64 << 10, MEMORY = 227 << 10;

struct Meeting {  // of a number of threads that all have to come before one goes on
    int come = 0, number = 0;
};
struct Warp {
    Meeting meeting;
    float values[32];
    u32 words[32][6];
};
struct Block {
    std::vector<char> memory;
    Meeting all;
    Warp warps[BLOCK / 32];
};
struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;  // not filled: most of its pages are never touched
    int arrived = 0;                // meetings of the cluster that this thread has come to
    bool done = false;
};

struct Barrier {   // an mbarrier: 64 bits, as on the device
    int left;      // bytes still to come
    int expected;  // how often bytes were
};
struct Copy {
    void* to;
    const void* from;
    int bytes;
    Barrier* barrier;
    long due;
    std::vector<char> kept;  // of a value that is sent: it is no longer where it was
};

static std::vector<Block> blocks;
static std::vector<Copy> copies;
static std::vector<Thread> threads;
static Meeting cluster;
static ucontext_t scheduler;
static Thread* current;
static std::function<void()> kernel;
static std::mt19937 dice;
static long rounds, moved;
static int ahead;  // this warp of each block has 64 turns where the others have one; 8: none has

static void give_way() { swapcontext(&current->context, &scheduler); }

static void come(Meeting& meeting, int count) {
    moved = rounds;
    if (++meeting.come == count) meeting.come = 0, meeting.number++;
}

static void meet(Meeting& meeting, int count) {
    int number = meeting.number;
    come(meeting, count);
    while (meeting.number == number) give_way();
}

static Block& mine() { return blocks[blockIdx.x % blocks.size()]; }
static Warp& warp() { return mine().warps[threadIdx.x / 32]; }
static void sync_warp() { meet(warp().meeting, 32); }
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

static float divided(float x, float by) { return x / by; }
static float fast_exp(float x) { return expf(x); }
static float minus_infinity() { return -INFINITY; }
static uint4 load_once(const uint4* p) { return *p; }
static uint4 load_fresh(const uint4* p) { return *p; }
static u16 load_fresh(const u16* p) { return *p; }
static float2 load_fresh(const float2* p) { return *p; }
static void publish() {}
static int add_to(int* p, int value) {
    *p += value;
    return *p - value;
}
static int count_bits(u32 bits) { return __builtin_popcount(bits); }
static float as_float(u32 bits) {
    float r;
    memcpy(&r, &bits, 4);
    return r;
}
static int max(int a, int b) { return a > b ? a : b; }
static int min(int a, int b) { return a < b ? a : b; }
static void let_next_begin() {}
static void await_previous() {}

template <class T>
static T& in_shared() {
    static_assert(sizeof(T) <= emulated::MEMORY);
    return *(T*)emulated::mine().memory.data();
}

static float shuffle(float value, int from) {
    float* values = emulated::warp().values;
    values[threadIdx.x % 32] = value;
    emulated::sync_warp();
    float other = values[from];
    emulated::sync_warp();
    return other;
}
static float shuffle_xor(float value, int mask) { return shuffle(value, threadIdx.x % 32 ^ mask); }
static u32 ballot(bool yes) {
    u32 bits = 0;
    for (int i = 0; i < 32; i++)
        if (shuffle(yes, i) != 0) bits |= 1u << i;
    return bits;
}
static void sync_block() { emulated::meet(emulated::mine().all, emulated::BLOCK); }

static void begin_barrier(u64* word) { *(emulated::Barrier*)word = {0, 0}; }
static void expect(u64* word, int bytes) {
    auto* barrier = (emulated::Barrier*)word;
    barrier->left += bytes, barrier->expected++;
}
static void prepare(u64* word, int bytes) { *(emulated::Barrier*)word = {bytes, 1}; }
static long later() { return emulated::rounds + (long)(emulated::dice() % 40); }
static void copy_bulk(void* to, const void* from, int bytes, u64* word) {
    emulated::copies.push_back({to, from, bytes, (emulated::Barrier*)word, later(), {}});
}
static void wait_for(u64* word, int times) {
    auto* barrier = (volatile emulated::Barrier*)word;
    while (barrier->expected <= times || (barrier->expected == times + 1 && barrier->left)) emulated::give_way();
}
static void wait(u64* word) { wait_for(word, 0); }
static void wait_for_peers(u64* word) { wait(word); }

static void arrive_cluster() {
    emulated::current->arrived++;
    emulated::come(emulated::cluster, (int)emulated::threads.size());
}
static void await_cluster() {
    while (emulated::cluster.number < emulated::current->arrived) emulated::give_way();
}

template <class T>
static T* in_peer(T* p, int rank) {
    return (T*)(emulated::blocks[rank].memory.data() + ((char*)p - emulated::mine().memory.data()));
}
template <class T>
static void send_values(void* p, int rank, std::initializer_list<T> values, u64* barrier) {
    std::vector<char> kept((const char*)values.begin(), (const char*)values.end());
    emulated::copies.push_back(
        {in_peer((char*)p, rank), nullptr, (int)kept.size(), (emulated::Barrier*)in_peer(barrier, rank), later(), kept}
    );
}
static void send(u16* p, int rank, u32 two, u64* barrier) { send_values(p, rank, {two}, barrier); }
static void send(float2* p, int rank, float a, float b, u64* barrier) { send_values(p, rank, {a, b}, barrier); }
static void send(float* p, int rank, float a, float b, float c, float d, u64* barrier) {
    send_values(p, rank, {a, b, c, d}, barrier);
}

struct Sums {
    float a, b, c, d;
};

// Lane 4·g + t: of the left matrix, rows g and g + 8, columns 2t, 2t + 1 (a, b) and 8 more on (c, d); of the right one,
// column g, rows 2t, 2t + 1 (low) and 8 more on (high); of the sums, rows g (a, b) and g + 8 (c, d), columns 2t, 2t + 1.
static void multiply(Sums& s, u32 a, u32 b, u32 c, u32 d, u32 low, u32 high) {
    u32(*words)[6] = emulated::warp().words;
    int lane = threadIdx.x % 32, row = lane / 4, column = 2 * (lane % 4);
    u32 mine[6] = {a, b, c, d, low, high};
    memcpy(words[lane], mine, sizeof mine);
    emulated::sync_warp();
    float* sums[4] = {&s.a, &s.b, &s.c, &s.d};
    for (int i = 0; i < 4; i++)
        for (int t = 0; t < 4; t++)
            for (int half = 0; half < 2; half++) {
                float2 left = widen(words[4 * row + t][i / 2 + 2 * half]),
                       right = widen(words[4 * (column + i % 2) + t][4 + half]);
                *sums[i] += left.x * right.x + left.y * right.y;
            }
    emulated::sync_warp();
}

static const u16* of_lane(const u16* row, int lane) {
    u32(*words)[6] = emulated::warp().words;
    memcpy(words[threadIdx.x % 32], &row, sizeof row);
    emulated::sync_warp();
    memcpy(&row, words[lane], sizeof row);
    emulated::sync_warp();
    return row;
}
static uint4 load_matrices(const u16* row) {
    u32 found[4];
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) found[i] = ((const u32*)of_lane(row, 8 * i + lane / 4))[lane % 4];
    return {found[0], found[1], found[2], found[3]};
}
static uint4 load_matrices_turned(const u16* row) {
    u32 found[4];
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        u32 first = of_lane(row, 8 * i + lane % 4 * 2)[lane / 4],
            second = of_lane(row, 8 * i + lane % 4 * 2 + 1)[lane / 4];
        found[i] = first | second << 16;
    }
    return {found[0], found[1], found[2], found[3]};
}

// ---- running a kernel ----

namespace emulated {
template <class... A, size_t... I>
static void call(void (*function)(A...), void** arguments, std::index_sequence<I...>) {
    function(*(A*)arguments[I]...);
}

template <class... A>
static std::function<void()> bound(void (*function)(A...), void** arguments) {
    return [=] { call(function, arguments, std::index_sequence_for<A...>()); };
}

static void body() {
    kernel();
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
        memcpy(copy.to, copy.from ? copy.from : copy.kept.data(), copy.bytes);
        copy.barrier->left -= copy.bytes;
        moved = rounds;
        copies[i] = copies.back();
        copies.pop_back();
    }
}

static int run_cluster(int first, int count) {
    cluster = {};
    copies.clear();
    rounds = moved = 0;
    blocks = std::vector<Block>(count);
    for (auto& block : blocks) block.memory.assign(MEMORY, (char)0x7f);
    if ((int)threads.size() != count * BLOCK) threads = std::vector<Thread>(count * BLOCK);
    for (auto& thread : threads) {
        if (!thread.stack) thread.stack.reset(new char[STACK]);
        thread.arrived = 0, thread.done = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, body, 0);
    }
    std::vector<int> order(count);
    for (int i = 0; i < count; i++) order[i] = i;
    for (size_t left = threads.size(); left;) {
        if (++rounds - moved > 1000) return 1;
        deliver();
        std::shuffle(order.begin(), order.end(), dice);
        for (int block : order) {
            if (count > 1 && dice() % 3 == 0) continue;  // a multiprocessor that is slow for a moment
            int start = dice() % BLOCK;
            for (int i = 0; i < BLOCK; i++) {
                int thread = (start + i) % BLOCK;
                current = &threads[block * BLOCK + thread];
                if (current->done) continue;
                if (ahead < BLOCK / 32 && thread / 32 != ahead && rounds % 64) continue;
                threadIdx.x = thread, blockIdx.x = first + block;
                swapcontext(&scheduler, &current->context);
                if (current->done) left--, moved = rounds;
            }
        }
    }
    return copies.empty() ? 0 : 1;
}

static int run(std::function<void()> bound, int count, int together, int seed) {
    kernel = bound;
    dice.seed(seed);
    ahead = seed % 9;
    for (int first = 0; first < count; first += together)
        if (run_cluster(first, together)) return 1;
    return 0;
}
}  // namespace emulated

// `emulate_NAME(arguments, blocks, blocks that form a cluster, seed)` runs a kernel.
#define EMULATE(NAME)                                                                    \
    extern "C" int emulate_##NAME(void** arguments, int count, int together, int seed) { \
        return emulated::run(emulated::bound(NAME, arguments), count, together, seed);   \
    }
