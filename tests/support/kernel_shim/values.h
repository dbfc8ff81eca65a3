// Numbers as the kernels see them.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace shim {

// bfloat16: the upper half of a float32, rounded to nearest even.
struct Bfloat {
  uint16_t bits;
  Bfloat() = default;
  explicit Bfloat(float value) {
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    bits = (wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16;
  }
  explicit operator float() const {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
};

inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

}  // namespace shim

using half_type = _Float16;
using bfloat_type = shim::Bfloat;
