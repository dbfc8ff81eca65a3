// What the kernel bodies need of CUDA C++.
#define MP_SHARED __shared__
#define MP_BARRIER __syncthreads()
#define MP_COUNTER unsigned int
#define MP_ADD(counter, n) atomicAdd(&(counter), n)
#define MP_SET(counter, n) (counter) = (n)
#define MP_GET(counter) (counter)
#define MP_BITS(value) __float_as_uint(value)
#define MP_MAGNITUDE(value) fabsf(static_cast<float>(value))
#define MP_SIMD_SCAN(value) mp_simd_scan(value)
#define MP_MIN(a, b) min(a, b)
typedef unsigned int uint;

__device__ inline uint mp_simd_scan(uint value) {
  const uint lane = threadIdx.x & 31u;
  for (uint step = 1; step < 32; step *= 2) {
    const uint other = __shfl_up_sync(0xffffffffu, value, step);
    if (lane >= step) {
      value += other;
    }
  }
  return value;
}
