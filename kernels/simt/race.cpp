#include "kernels/simt/race.h"

#include <fmt/format.h>

#include <algorithm>

namespace midfill::simt::race {
namespace {

constexpr uint32_t kEpochMask = 0xfffff;  // of epochs in the keys of extensions_

const char* verb(Access access) {
  switch (access) {
    case Access::read:
      return "reads";
    case Access::write:
      return "writes";
    case Access::atomic:
      return "updates";
  }
  return "?";
}

const char* name(Memory memory) {
  return memory == Memory::shared ? "shared memory" : "global memory";
}

bool conflicting(Access a, Access b) {
  return a == Access::write || b == Access::write || a != b;
}

}  // namespace

void Checker::begin_block(int threads) {
  ++block_;
  epochs_.assign(threads, 1);
  known_.assign(threads, std::make_shared<const Clock>(threads, 0));
  nodes_.assign(1, Node{});
  extensions_.clear();
}

bool Checker::ordered(int thread, uint32_t epoch, int before) const {
  return thread == before || (*known_[before])[thread] >= epoch;
}

void Checker::arrive(Meeting& meeting, int thread) {
  const auto& known = known_[thread];
  if (meeting.clock.empty()) {
    meeting.clock = *known;
  } else if (known != meeting.last) {
    for (size_t i = 0; i < known->size(); ++i)
      meeting.clock[i] = std::max(meeting.clock[i], (*known)[i]);
  }
  meeting.last = known;
  meeting.clock[thread] = epochs_[thread]++;
  if ((epochs_[thread] & kEpochMask) == 0) extensions_.clear();  // its keys would come again
}

void Checker::leave(Meeting& meeting, int thread) {
  if (!meeting.result) meeting.result = std::make_shared<const Clock>(std::move(meeting.clock));
  known_[thread] = meeting.result;
}

std::optional<std::string> Checker::access(Cell* cells, size_t bytes, Memory memory, int thread,
                                           Access access, Place place) {
  const uint32_t since = memory == Memory::shared ? block_ : launch_;
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cells[i];
    if (cell.write_block < since && cell.read_block < since && cell.atomic_block < since)
      cell = Cell{};
    if (cell.read_block != block_ && cell.atomic_block != block_) cell.list = 0;
    if (memory == Memory::shared) {
      if (cell.in_flight)
        return fmt::format(
            "{}: thread {} {} shared memory while the copy that thread {} issued at {} is in "
            "flight",
            describe(place), thread, verb(access), cell.writer, describe(cell.write_place));
      if (access != Access::write && cell.write_block == 0)
        return fmt::format("{}: thread {} {} shared memory that was never written", describe(place),
                           thread, verb(access));
    }
    if (const auto other = conflict(cell, since, thread, access))
      return fmt::format("{}: thread {} {} {} that {} {}{}{}", describe(place), thread,
                         verb(access), name(memory), other->who, other->verb,
                         other->place == Place::unknown ? "" : " at " + describe(other->place),
                         ", with no barrier between");
    record(cell, thread, access, place);
  }
  return std::nullopt;
}

std::optional<Checker::Conflict> Checker::conflict(const Cell& cell, uint32_t since, int thread,
                                                   Access access) const {
  auto other_block = [&](uint32_t block) { return block >= since && block != block_; };
  if (cell.write_block >= since) {
    if (cell.write_block != block_)
      return Conflict{"writes", fmt::format("thread {} of another block", cell.writer),
                      cell.write_place};
    if (!ordered(cell.writer, cell.write_epoch, thread))
      return Conflict{"writes", fmt::format("thread {}", cell.writer), cell.write_place};
  }
  if (access != Access::read && (cell.foreign_reads || other_block(cell.read_block)))
    return Conflict{"reads", "another block", Place::unknown};
  if (access != Access::atomic && (cell.foreign_atomics || other_block(cell.atomic_block)))
    return Conflict{"updates", "another block", Place::unknown};
  if (access == Access::read && !nodes_[cell.list].atomics) return std::nullopt;
  for (uint32_t n = cell.list; n != 0; n = nodes_[n].parent) {
    const Node& node = nodes_[n];
    if (conflicting(access, node.access) && !ordered(node.thread, node.epoch, thread))
      return Conflict{verb(node.access), fmt::format("thread {}", node.thread), node.place};
  }
  return std::nullopt;
}

void Checker::record(Cell& cell, int thread, Access access, Place place) {
  if (access == Access::write) {
    cell = {.write_block = block_,
            .write_epoch = epochs_[thread],
            .write_place = place,
            .writer = static_cast<uint16_t>(thread),
            .in_flight = false,
            .foreign_reads = false,
            .foreign_atomics = false,
            .read_block = 0,
            .atomic_block = 0,
            .list = 0};
    return;
  }
  if (access == Access::read) {
    if (cell.read_block != 0 && cell.read_block != block_) cell.foreign_reads = true;
    cell.read_block = block_;
  } else {
    if (cell.atomic_block != 0 && cell.atomic_block != block_) cell.foreign_atomics = true;
    cell.atomic_block = block_;
  }
  cell.list = extended(cell.list, thread, access, place);
}

uint32_t Checker::extended(uint32_t list, int thread, Access access, Place place) {
  const uint32_t epoch = epochs_[thread];
  auto same = [&](const Node& n) {
    return n.thread == thread && n.epoch == epoch && n.access == access;
  };
  if (list != 0 && same(nodes_[list])) return list;
  const uint64_t key =
      uint64_t{list} << 32 | uint64_t(thread) << 22 | uint64_t(access) << 20 | (epoch & kEpochMask);
  const auto [known, fresh] = extensions_.try_emplace(key, 0);
  if (!fresh) return known->second;
  // What is ordered before and conflicts with nothing that the new access does not conflict with
  // may be forgotten; here all or nothing.
  bool forget = true;
  for (uint32_t n = list; n != 0; n = nodes_[n].parent) {
    const Node& node = nodes_[n];
    if (same(node)) return known->second = list;
    forget = forget && node.access == access && ordered(node.thread, node.epoch, thread);
  }
  const uint32_t parent = forget ? 0 : list;
  nodes_.push_back({parent, epoch, static_cast<uint16_t>(thread), access,
                    access == Access::atomic || nodes_[parent].atomics, place});
  return known->second = static_cast<uint32_t>(nodes_.size() - 1);
}

std::optional<std::string> Checker::issue_copy(Cell* cells, size_t bytes, int thread, Place place) {
  auto wrong = access(cells, bytes, Memory::shared, thread, Access::write, place);
  if (!wrong)
    for (size_t i = 0; i < bytes; ++i) cells[i].in_flight = true;
  return wrong;
}

void Checker::land_copy(Cell* cells, size_t bytes, int thread) {
  for (size_t i = 0; i < bytes; ++i) {
    cells[i].in_flight = false;
    cells[i].write_epoch = epochs_[thread];
  }
}

}  // namespace midfill::simt::race
