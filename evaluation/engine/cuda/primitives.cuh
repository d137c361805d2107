// What decoder.cu and hear.cu ask of an NVIDIA GPU (compute capability 9.0 or newer), in PTX, so that they are compiled
// without any header.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
#define EXPORTED extern "C" __device__

__device__ inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// ---- half precision ----

__device__ inline float2 widen(u32 two) {
    float2 r;
    if constexpr (BF16) {
        r.x = __uint_as_float(two << 16);
        r.y = __uint_as_float(two & 0xffff0000u);
    } else
        asm("{.reg .b16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}"
            : "=f"(r.x), "=f"(r.y)
            : "r"(two));
    return r;
}

// The first value in the low half, rounded to nearest even.
__device__ inline u32 narrow(float first, float second) {
    u32 r;
    if constexpr (BF16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
    return r;
}

__device__ inline float fast_exp(float x) { return __expf(x); }
__device__ inline float divided(float x, float by) { return __fdividef(x, by); }
__device__ inline float minus_infinity() { return __uint_as_float(0xff800000u); }

// ---- memory ----

// What is read once, and not by its neighbours.
__device__ inline uint4 load_once(const uint4* p) {
    uint4 r;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "l"(p));
    return r;
}

// What another kernel has just written: past this multiprocessor's own cache, which may hold what was there before.
__device__ inline uint4 load_fresh(const uint4* p) {
    uint4 r;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "l"(p)
                 : "memory");
    return r;
}

__device__ inline float2 load_fresh(const float2* p) {
    float2 r;
    asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];" : "=f"(r.x), "=f"(r.y) : "l"(p) : "memory");
    return r;
}

__device__ inline u16 load_fresh(const u16* p) {
    u16 r;
    asm volatile("ld.relaxed.gpu.global.u16 %0, [%1];" : "=h"(r) : "l"(p) : "memory");
    return r;
}

// What this thread has written is there for whoever learns of it afterwards.
__device__ inline void publish() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

// Returns what was there before.
__device__ inline int add_to(int* p, int value) {
    int r;
    asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;" : "=r"(r) : "l"(p), "r"(value) : "memory");
    return r;
}

// ---- launches that overlap (programmatic dependent launch) ----

__device__ inline void let_next_begin() { asm volatile("griddepcontrol.launch_dependents;"); }
__device__ inline void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// ---- within a block ----

// The block's shared memory, one object of it.
template <class T>
__device__ inline T& in_shared() {
    extern __shared__ __align__(128) char memory[];
    return *(T*)memory;
}

__device__ inline float shuffle(float value, int from) { return __shfl_sync(~0u, value, from); }
__device__ inline float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
__device__ inline void sync_block() { __syncthreads(); }
__device__ inline u32 ballot(bool yes) { return __ballot_sync(~0u, yes); }
__device__ inline int count_bits(u32 bits) { return __popc(bits); }
__device__ inline float as_float(u32 bits) { return __uint_as_float(bits); }

// ---- copies on their way, and who waits for them (PTX ISA, mbarrier and cp.async.bulk) ----

__device__ inline void copy_bulk(void* to, const void* from, int bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)
                 ),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

// A barrier that opens again and again: every time `expect` has named a number of bytes and they have come.
__device__ inline void begin_barrier(u64* barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void expect(u64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// `times`: how often it has opened before the time that is waited for.
__device__ inline void wait_for(u64* barrier, int times) {
    asm volatile(
        "{.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;}" ::"r"(shared_address(barrier)),
        "r"(times & 1)
        : "memory"
    );
}

// A barrier that opens once, when so many bytes have come.
__device__ inline void prepare(u64* barrier, int bytes) {
    begin_barrier(barrier);
    expect(barrier, bytes);
}

__device__ inline void wait(u64* barrier) { wait_for(barrier, 0); }

// ---- within a cluster of blocks ----

__device__ inline void arrive_cluster() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }

__device__ inline void await_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// The same place in the shared memory of another block of the cluster.
__device__ inline u32 in_peer(const void* p, int rank) {
    u32 r;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(shared_address(p)), "r"(rank));
    return r;
}

// Values for another block, and for its barrier the news that they have come.
__device__ inline void send(u16* p, int rank, u32 two, u64* barrier) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(in_peer(p, rank)),
        "r"(two), "r"(in_peer(barrier, rank))
        : "memory"
    );
}

__device__ inline void send(float2* p, int rank, float a, float b, u64* barrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
                     in_peer(p, rank)
                 ),
                 "f"(a), "f"(b), "r"(in_peer(barrier, rank))
                 : "memory");
}

__device__ inline void send(float* p, int rank, float a, float b, float c, float d, u64* barrier) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
            in_peer(p, rank)
        ),
        "f"(a), "f"(b), "f"(c), "f"(d), "r"(in_peer(barrier, rank))
        : "memory"
    );
}

__device__ inline void wait_for_peers(u64* barrier) {
    asm volatile(
        "{.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], 0;\n"
        "@!done bra again;}" ::"r"(shared_address(barrier))
        : "memory"
    );
}

// ---- tensor cores ----

struct Sums {
    float a, b, c, d;
};

// Add the product of a 16 × 16 and a 16 × 8 matrix (PTX ISA, mma.m16n8k16).
__device__ inline void multiply(Sums& s, u32 a, u32 b, u32 c, u32 d, u32 low, u32 high) {
    if constexpr (BF16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
            "%1, %2, %3};"
            : "+f"(s.a), "+f"(s.b), "+f"(s.c), "+f"(s.d)
            : "r"(a), "r"(b), "r"(c), "r"(d), "r"(low), "r"(high));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
            "%2, %3};"
            : "+f"(s.a), "+f"(s.b), "+f"(s.c), "+f"(s.d)
            : "r"(a), "r"(b), "r"(c), "r"(d), "r"(low), "r"(high));
}

// Four 8 × 8 matrices from shared memory, each lane giving the address of a row (8i to 8i + 7 of matrix i): values 2t and
// 2t + 1 of row g of each for lane 4g + t.
__device__ inline uint4 load_matrices(const u16* row) {
    uint4 r;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "r"(shared_address(row))
                 : "memory");
    return r;
}

// The same with rows and columns exchanged.
__device__ inline uint4 load_matrices_turned(const u16* row) {
    uint4 r;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "r"(shared_address(row))
                 : "memory");
    return r;
}
