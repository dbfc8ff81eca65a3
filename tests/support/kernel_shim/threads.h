// Runs the threads of a threadgroup as real threads, so that a sanitizer sees what they share. Only a barrier of the
// whole group puts memory in order: the sanitizer is told to take no notice of the ones that SIMD operations wait at.
// Groups run one after the other, for they share the memory of one.
#pragma once
#include <pthread.h>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>
#include "values.h"

#ifdef __SANITIZE_THREAD__
extern "C" void AnnotateIgnoreSyncBegin(const char *file, int line);
extern "C" void AnnotateIgnoreSyncEnd(const char *file, int line);
extern "C" void AnnotateIgnoreReadsBegin(const char *file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char *file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char *file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char *file, int line);
#define SHIM_SANITIZER(call) Annotate##call(__FILE__, __LINE__)
#else
#define SHIM_SANITIZER(call) (void)0
#endif

namespace shim {

constexpr unsigned kSimd = 32, kMost = 1024;

inline thread_local unsigned current, group_position[2];
inline pthread_barrier_t whole_group, simd_groups[kMost / kSimd];
inline uint32_t exchange[kMost];

// While one is alive, the sanitizer takes no notice of what this thread does.
struct Unseen {
  Unseen() {
    SHIM_SANITIZER(IgnoreSyncBegin);
    SHIM_SANITIZER(IgnoreReadsBegin);
    SHIM_SANITIZER(IgnoreWritesBegin);
  }
  ~Unseen() {
    SHIM_SANITIZER(IgnoreWritesEnd);
    SHIM_SANITIZER(IgnoreReadsEnd);
    SHIM_SANITIZER(IgnoreSyncEnd);
  }
};

inline void barrier() { pthread_barrier_wait(&whole_group); }

template <typename Read>
uint32_t exchanged(uint32_t value, Read read) {
  const Unseen unseen;
  pthread_barrier_t *simd = &simd_groups[current / kSimd];
  exchange[current] = value;
  pthread_barrier_wait(simd);
  const uint32_t found = read(&exchange[current / kSimd * kSimd]);
  pthread_barrier_wait(simd);
  return found;
}

// Every lane offers a value; returns what a lane of the same SIMD group offered.
inline uint32_t from_lane(uint32_t value, unsigned lane) {
  return exchanged(value, [lane](const uint32_t *offered) { return offered[lane]; });
}

// Every lane offers a value; returns the sum over the lanes up to and including this one.
inline uint32_t sum_up_to_me(uint32_t value) {
  return exchanged(value, [](const uint32_t *offered) {
    uint32_t sum = 0;
    for (unsigned lane = 0; lane <= current % kSimd; lane++) {
      sum += offered[lane];
    }
    return sum;
  });
}

inline void launch(unsigned groups_x, unsigned groups_y, unsigned threads, std::function<void()> kernel) {
  pthread_barrier_init(&whole_group, nullptr, threads);
  for (unsigned start = 0; start < threads; start += kSimd) {
    pthread_barrier_init(&simd_groups[start / kSimd], nullptr, kSimd);
  }
  std::vector<std::thread> team;
  for (unsigned thread_index = 0; thread_index < threads; thread_index++) {
    team.emplace_back([=, &kernel] {
      current = thread_index;
      for (group_position[1] = 0; group_position[1] < groups_y; group_position[1]++) {
        for (group_position[0] = 0; group_position[0] < groups_x; group_position[0]++) {
          kernel();
          barrier();
        }
      }
    });
  }
  for (std::thread &one : team) {
    one.join();
  }
}

}  // namespace shim
