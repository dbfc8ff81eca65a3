// What the kernel bodies need of the Metal shading language.
#include <metal_stdlib>
#include <metal_atomic>
#define MP_SHARED threadgroup
#define MP_BARRIER metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup)
#define MP_COUNTER metal::atomic_uint
#define MP_ADD(counter, n) metal::atomic_fetch_add_explicit(&(counter), n, metal::memory_order_relaxed)
#define MP_SET(counter, n) metal::atomic_store_explicit(&(counter), n, metal::memory_order_relaxed)
#define MP_GET(counter) metal::atomic_load_explicit(&(counter), metal::memory_order_relaxed)
#define MP_BITS(value) as_type<uint>(value)
#define MP_MAGNITUDE(value) metal::fabs(static_cast<float>(value))
#define MP_SIMD_SCAN(value) metal::simd_prefix_inclusive_sum(value)
#define MP_MIN(a, b) metal::min(a, b)
