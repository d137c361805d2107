// What decoder.cu asks of an NVIDIA GPU (compute capability 9.0 or newer), in PTX: it is compiled without any header.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

__device__ inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// ---- half precision ----

__device__ inline float2 widen(u32 two) {
    float2 r;
    if constexpr (BF16) {
        r.x = __uint_as_float(two << 16);
        r.y = __uint_as_float(two & 0xffff0000u);
    } else
        asm("{.reg .b16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}"
            : "=f"(r.x), "=f"(r.y) : "r"(two));
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

__device__ inline float as_float(u32 bits) { return __uint_as_float(bits); }
__device__ inline float fast_exp(float x) { return __expf(x); }
__device__ inline float fast_log(float x) { return __logf(x); }
__device__ inline float divided(float x, float by) { return __fdividef(x, by); }

// ---- within a block ----

__device__ inline char* block_memory() {
    extern __shared__ __align__(128) char memory[];
    return memory;
}

__device__ inline float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
__device__ inline void sync_warp() { __syncwarp(); }
__device__ inline void sync_block() { __syncthreads(); }
__device__ inline void sync_workers() {
    __syncwarp();  // lanes that waited for different messages come back together
    asm volatile("barrier.sync 1, %0;" ::"n"(32 * WARPS) : "memory");
}

// ---- messages between blocks ----

// Two words of {values, tag}: each 8 bytes are written at once.
__device__ inline uint4 look(const uint4* p) {
    u64 a, b;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(p) : "memory");
    return make_uint4((u32)a, (u32)(a >> 32), (u32)b, (u32)(b >> 32));
}

// Sixteen bytes that were written at once.
__device__ inline uint4 look_whole(const uint4* p) {
    u64 a, b;
    asm volatile("{.reg .b128 w; ld.relaxed.gpu.global.b128 w, [%2]; mov.b128 {%0, %1}, w;}"
                 : "=l"(a), "=l"(b) : "l"(p) : "memory");
    return make_uint4((u32)a, (u32)(a >> 32), (u32)b, (u32)(b >> 32));
}

__device__ inline void send(u64* p, u32 values, u32 tag) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"((u64)tag << 32 | values) : "memory");
}

__device__ inline void send(uint4* p, float a, float b, float c, u32 tag) {
    u64 low = (u64)__float_as_uint(b) << 32 | __float_as_uint(a), high = (u64)tag << 32 | __float_as_uint(c);
    asm volatile("{.reg .b128 w; mov.b128 w, {%1, %2}; st.relaxed.gpu.global.b128 [%0], w;}"
                 ::"l"(p), "l"(low), "l"(high) : "memory");
}

__device__ inline void pause() {}

// ---- copies on their way, and who waits for them (PTX ISA, mbarrier and cp.async) ----

__device__ inline void prepare(u64* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Barriers are prepared before a copy signals one.
__device__ inline void order_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void wait(u64* barrier, int parity) {
    asm volatile(
        "{.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;}" ::"r"(shared_address(barrier)), "r"(parity) : "memory");
}

__device__ inline void arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrive, and let the barrier wait for so many bytes of copy_bulk too.
__device__ inline void expect(u64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

__device__ inline void copy_bulk(void* to, const void* from, int bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

__device__ inline void copy16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

__device__ inline void copy4(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// This thread's copy16 and copy4 so far are done.
__device__ inline void sync_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// ---- tensor cores: a tile of 16 rows and 16 columns times a vector ----

struct Tile {
    u32 a, b, c, d;
};
struct Sums {  // `a` and `c` of lane 4·i hold rows i and i + 8; the rest belongs to columns that a vector does not have
    float a, b, c, d;
};

// Every lane names 8 columns of a row: row lane % 16, columns from 8·(lane / 16) on.
__device__ inline Tile load_tile(const void* row) {
    Tile t;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(t.a), "=r"(t.b), "=r"(t.c), "=r"(t.d) : "r"(shared_address(row)) : "memory");
    return t;
}

// Add the tile's product with a vector, of which lanes 0 to 3 hold two values of either half, and the others zeros.
__device__ inline void multiply(Sums& s, Tile t, u32 low, u32 high) {
    if constexpr (BF16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(s.a), "+f"(s.b), "+f"(s.c), "+f"(s.d) : "r"(t.a), "r"(t.b), "r"(t.c), "r"(t.d), "r"(low), "r"(high));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(s.a), "+f"(s.b), "+f"(s.c), "+f"(s.d) : "r"(t.a), "r"(t.b), "r"(t.c), "r"(t.d), "r"(low), "r"(high));
}
