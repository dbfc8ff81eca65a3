// As much of the Metal shading language as the kernels use.
#ifdef SHIM_THREADS
#include "threads.h"
#else
#include "fibers.h"
#endif

using uint = uint32_t;

namespace metal {
struct atomic_uint {
  uint value;
};
enum memory_order { memory_order_relaxed };
enum class mem_flags { mem_threadgroup };

inline uint atomic_fetch_add_explicit(atomic_uint *counter, uint n, memory_order) {
  return __atomic_fetch_add(&counter->value, n, __ATOMIC_RELAXED);
}
// Not atomic here: what sets or reads a counter while others add to it is a mistake that a sanitizer should see.
inline void atomic_store_explicit(atomic_uint *counter, uint n, memory_order) { counter->value = n; }
inline uint atomic_load_explicit(atomic_uint *counter, memory_order) { return counter->value; }
inline void threadgroup_barrier(mem_flags) { shim::barrier(); }
inline uint simd_prefix_inclusive_sum(uint value) { return shim::sum_up_to_me(value); }
inline float fabs(float value) { return std::fabs(value); }
inline uint min(uint a, uint b) { return a < b ? a : b; }
}  // namespace metal

template <typename To>
To as_type(float value) {
  return shim::float_bits(value);
}

struct Position {
  unsigned x, y;
};
#define thread_position_in_threadgroup (Position{shim::current, 0})
#define threadgroup_position_in_grid (Position{shim::group_position[0], shim::group_position[1]})
#define threadgroup static
// Words that Metal reserves: a body that uses one as a name would not compile there.
#pragma GCC poison thread device constant kernel vertex fragment sampler patch
