// Shared by both dialects. Every threadgroup has 256 threads in one row, eight SIMD groups of 32.

// Inclusive prefix sum of `value` over the threads of a group, and the sum of all; all threads must take part.
// Needs `MP_SHARED uint totals[8]` and `tid` in scope.
#define MP_GROUP_SCAN(value, inclusive, total)      \
  uint inclusive = MP_SIMD_SCAN(value);             \
  uint total = 0;                                   \
  MP_BARRIER;                                       \
  if ((tid & 31u) == 31u) {                      \
    totals[tid >> 5] = inclusive;                \
  }                                                 \
  MP_BARRIER;                                       \
  for (uint simd = 0; simd < 8; simd++) {           \
    if (simd < (tid >> 5)) {                     \
      inclusive += totals[simd];                    \
    }                                               \
    total += totals[simd];                          \
  }
