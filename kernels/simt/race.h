// Which accesses of a block's threads are ordered by its barriers, and which race. Vector clocks as
// in FastTrack (Flanagan and Freund, PLDI 2009), per byte, with the full set of readers kept.
// Different blocks of a launch are never ordered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/simt/place.h"
#include "kernels/simt/runtime.h"

namespace midfill::simt::race {

// What is known of one byte. Numbers of blocks count on over all launches, so that what is older
// than the launch (global memory) or the block (shared memory) needs no clearing. 0 means never.
struct Cell {
  uint32_t write_block, write_epoch;
  Place write_place;
  uint16_t writer;
  bool in_flight;                               // written by a copy that has not landed
  bool foreign_reads : 1, foreign_atomics : 1;  // by blocks other than the last to do so
  uint32_t read_block, atomic_block;
  uint32_t list;  // of the reads and atomics of that block
};

enum class Memory { shared, global };

// The clocks that met at a barrier.
struct Meeting {
  std::vector<uint32_t> clock;
  std::shared_ptr<const std::vector<uint32_t>> last, result;
};

class Checker {
 public:
  void begin_launch() { launch_ = block_ + 1; }
  void begin_block(int threads);

  // `thread` comes to a meeting, and later leaves it knowing of all who came before.
  void arrive(Meeting& meeting, int thread);
  void leave(Meeting& meeting, int thread);

  // Records an access to the bytes of `cells`. Returns what is wrong with it.
  std::optional<std::string> access(Cell* cells, size_t bytes, Memory memory, int thread,
                                    Access access, Place place);
  // A copy to shared memory is issued, and lands.
  std::optional<std::string> issue_copy(Cell* cells, size_t bytes, int thread, Place place);
  void land_copy(Cell* cells, size_t bytes, int thread);

 private:
  using Clock = std::vector<uint32_t>;
  // Sets of reads and atomics are lists that share their tails, so all bytes with the same history
  // share one list.
  struct Node {
    uint32_t parent, epoch;
    uint16_t thread;
    Access access;
    bool atomics;  // here or further on
    Place place;
  };
  struct Conflict {
    const char* verb;
    std::string who;
    Place place;
  };

  bool ordered(int thread, uint32_t epoch, int before) const;
  std::optional<Conflict> conflict(const Cell& cell, uint32_t since, int thread,
                                   Access access) const;
  void record(Cell& cell, int thread, Access access, Place place);
  uint32_t extended(uint32_t list, int thread, Access access, Place place);

  uint32_t block_ = 0, launch_ = 1;  // numbers: of this block, of the first of the launch
  std::vector<uint32_t> epochs_;     // of each thread
  std::vector<std::shared_ptr<const Clock>> known_;  // by each thread, of all others
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> extensions_;
};

}  // namespace midfill::simt::race
