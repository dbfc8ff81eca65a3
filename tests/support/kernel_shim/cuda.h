// As much of CUDA C++ as the kernels use.
#ifdef SHIM_THREADS
#include "threads.h"
#else
#include "fibers.h"
#endif

struct Position {
  unsigned x, y;
};
#define threadIdx (Position{shim::current, 0})
#define blockIdx (Position{shim::group_position[0], shim::group_position[1]})
#define __device__
#define __shared__ static

inline void __syncthreads() { shim::barrier(); }
inline unsigned atomicAdd(unsigned *counter, unsigned n) {
  return __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}
inline unsigned __float_as_uint(float value) { return shim::float_bits(value); }
inline unsigned __shfl_up_sync(unsigned, unsigned value, unsigned delta) {
  const unsigned lane = shim::current % 32;
  return shim::from_lane(value, lane >= delta ? lane - delta : lane);
}
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
