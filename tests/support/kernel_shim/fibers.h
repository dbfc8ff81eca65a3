// Runs the threads of a threadgroup as fibers of one CPU thread, switching at barriers and SIMD operations.
// A barrier that not all threads reach, and a SIMD operation that not all lanes reach, stop the program.
#pragma once
#include "values.h"
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>
#include <ucontext.h>

namespace shim {

enum class State { ready, at_barrier, at_simd, done };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state;
};

constexpr size_t kStack = 64 << 10;
constexpr unsigned kSimd = 32;

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned current, group_position[2], group_size;
inline std::function<void()> body;
inline std::vector<uint32_t> exchange;

inline void wait(State state) {
  const unsigned me = current;
  fibers[me].state = state;
  swapcontext(&fibers[me].context, &scheduler);
}

inline void entry() {
  body();
  wait(State::done);
}

inline bool release(unsigned start, unsigned stop, State held) {
  unsigned waiting = 0;
  for (unsigned i = start; i < stop; i++) {
    waiting += fibers[i].state == held;
  }
  if (waiting < stop - start) {
    return false;
  }
  for (unsigned i = start; i < stop; i++) {
    fibers[i].state = State::ready;
  }
  return true;
}

inline void run_group() {
  for (unsigned i = 0; i < group_size; i++) {
    Fiber &fiber = fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    fiber.state = State::ready;
    makecontext(&fiber.context, entry, 0);
  }
  while (true) {
    unsigned done = 0;
    for (current = 0; current < group_size; current++) {
      if (fibers[current].state == State::ready) {
        swapcontext(&scheduler, &fibers[current].context);
      }
      done += fibers[current].state == State::done;
    }
    if (done == group_size) {
      return;
    }
    bool moved = release(0, group_size, State::at_barrier);
    for (unsigned start = 0; start < group_size; start += kSimd) {
      moved |= release(start, start + kSimd, State::at_simd);
    }
    if (!moved) {
      std::fprintf(stderr, "a barrier or SIMD operation was not reached by all threads\n");
      std::abort();
    }
  }
}

inline void launch(unsigned groups_x, unsigned groups_y, unsigned threads, std::function<void()> kernel) {
  body = std::move(kernel);
  group_size = threads;
  exchange.resize(threads);
  while (fibers.size() < threads) {
    fibers.push_back({{}, std::make_unique<char[]>(kStack), State::done});
  }
  for (group_position[1] = 0; group_position[1] < groups_y; group_position[1]++) {
    for (group_position[0] = 0; group_position[0] < groups_x; group_position[0]++) {
      run_group();
    }
  }
}

inline void barrier() { wait(State::at_barrier); }

// Every lane offers a value; returns what a lane of the same SIMD group offered.
inline uint32_t from_lane(uint32_t value, unsigned lane) {
  exchange[current] = value;
  wait(State::at_simd);
  const uint32_t found = exchange[current / kSimd * kSimd + lane];
  wait(State::at_simd);
  return found;
}

// Every lane offers a value; returns the sum over the lanes up to and including this one.
inline uint32_t sum_up_to_me(uint32_t value) {
  exchange[current] = value;
  wait(State::at_simd);
  uint32_t sum = 0;
  for (unsigned lane = current / kSimd * kSimd; lane <= current; lane++) {
    sum += exchange[lane];
  }
  wait(State::at_simd);
  return sum;
}

}  // namespace shim
