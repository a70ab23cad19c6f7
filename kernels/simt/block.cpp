#include "kernels/simt/block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>

#include "kernels/common/check.h"
#include "kernels/simt/memory.h"
#include "kernels/simt/tsan.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace midfill::simt {

Block& running_block() {
  static Block block;
  return block;
}

// --- Threads

void Block::run(const Launch& launch, Rng& rng) {
  launch_ = launch;
  rng_ = &rng;
  const dim3& b = launch.block;
  count_ = static_cast<int>(b.x * b.y * b.z);
  done_ = 0;
  error_.clear();
  threads_.resize(count_);
  can_run_.fill(0);
  for (int i = 0; i < count_; ++i) {
    const auto n = static_cast<unsigned>(i);
    Thread& thread = threads_[i];
    thread.fiber = nullptr;
    thread.state = State::can_run;
    thread.index = {n % b.x, n / b.x % b.y, n / b.x / b.y};
    thread.copies.clear();
    thread.groups = 0;
    can_run_[i / 64] |= uint64_t{1} << i % 64;
  }
  for (Barrier& barrier : barriers_) barrier = Barrier{};
  collectives_.assign((count_ + kWarp - 1) / kWarp, {});
  shared.begin_block(launch.shared_bytes);
  banks.begin_block();
  if (tsan::active) checker.begin_block(count_);

  enter(next());
  host_.switch_to(*threads_[current_].fiber);
  current_ = -1;
  if (error_.empty() && shared.overrun())
    error_ = "a write outside of every shared variable, found when the block had ended";
  if (!error_.empty()) {
    idle_.clear();
    fibers_.clear();
    fail("{}; block ({}, {}, {})", error_, blockIdx.x, blockIdx.y, blockIdx.z);
  }
  banks.end_block();
}

// A fiber runs one thread after another, and sleeps between them when there is none to start.
void Block::fiber_main() {
  Block& block = running_block();
  for (;;) block.run_current();
}

void Block::run_current() {
  Thread& self = threads_[current_];
  try {
    launch_.thread(launch_.context);
    if (!self.copies.empty())
      fail("{}: a copy is still in flight when thread {} ends: no wait for it",
           describe(self.copies.front().site), current_);
  } catch (const std::exception& e) {
    error_ = e.what();
  }
  if (!error_.empty()) end();
  self.state = State::done;
  ++done_;
  Fiber& fiber = *self.fiber;
  const int following = next();
  if (following < 0 && done_ < count_) {
    error_ = "deadlock: " + waiting_threads();
    end();
  }
  if (following >= 0 && !threads_[following].fiber) {
    threads_[following].fiber = &fiber;
    enter(following);
    return;
  }
  idle_.push_back(&fiber);
  if (following >= 0) enter(following);
  fiber.switch_to(following < 0 ? host_ : *threads_[following].fiber);
}

void Block::enter(int thread) {
  Thread& t = threads_[thread];
  if (!t.fiber) {
    if (idle_.empty()) {
      fibers_.push_back(std::make_unique<Fiber>(&Block::fiber_main));
      idle_.push_back(fibers_.back().get());
    }
    t.fiber = idle_.back();
    idle_.pop_back();
  }
  can_run_[thread / 64] &= ~(uint64_t{1} << thread % 64);
  current_ = thread;
  threadIdx = t.index;
}

int Block::next() {
  const int words = (count_ + 63) / 64;
  auto lowest_from = [&](int first) {
    uint64_t mask = ~uint64_t{0} << first % 64;
    for (int w = first / 64; w < words; ++w, mask = ~uint64_t{0})
      if (can_run_[w] & mask) return w * 64 + std::countr_zero(can_run_[w] & mask);
    return -1;
  };
  if (launch_.schedule == Schedule::descending) {
    for (int w = words - 1; w >= 0; --w)
      if (can_run_[w]) return w * 64 + 63 - std::countl_zero(can_run_[w]);
    return -1;
  }
  if (launch_.schedule == Schedule::random) {
    const int found = lowest_from(static_cast<int>(rng_->below(count_)));
    if (found >= 0) return found;
  }
  return lowest_from(0);
}

void Block::give_way() {
  const int self = current_, following = next();
  if (following < 0) fail("deadlock: {}", waiting_threads());
  enter(following);
  if (following != self) threads_[self].fiber->switch_to(*threads_[following].fiber);
}

void Block::wait(const char* at, Site site) {
  Thread& self = threads_[current_];
  self.state = State::waits;
  self.waits_at = at;
  self.site = site;
  give_way();
}

void Block::wake(int thread) {
  threads_[thread].state = State::can_run;
  can_run_[thread / 64] |= uint64_t{1} << thread % 64;
}

void Block::abandon(const std::string& what) {
  error_ = what;
  end();
}

void Block::end() {
  threads_[current_].fiber->switch_to(host_);
  std::terminate();  // the host never comes back
}

std::string Block::waiting_threads() const {
  auto describe_state = [](const Thread& t) {
    return t.state == State::done ? std::string("have ended")
                                  : fmt::format("wait in {} ({})", t.waits_at, describe(t.site));
  };
  std::string text;
  for (int first = 0; first < count_;) {
    int last = first;
    const std::string state = describe_state(threads_[first]);
    while (last + 1 < count_ && describe_state(threads_[last + 1]) == state) ++last;
    text += fmt::format("{}threads {}-{} {}", text.empty() ? "" : ", ", first, last, state);
    first = last + 1;
  }
  return text;
}

// --- Where threads meet

void Block::barrier(int id, int count, bool waits, bool block_wide, Site site) {
  const char* what = block_wide ? "__syncthreads" : "a named barrier";
  if (id < 0 || id >= static_cast<int>(barriers_.size()))
    fail("{}: expected a barrier from 0 to 15, found {}", describe(site), id);
  if (!block_wide && (count <= 0 || count % kWarp != 0))
    fail("{}: barrier {}: expected a multiple of 32 threads, found {}", describe(site), id, count);
  const int expected = block_wide ? count_ : count;
  Barrier& barrier = barriers_[id];
  if (barrier.arrived.none()) {
    barrier.expected = expected;
    barrier.site = site;
  } else if (barrier.expected != expected) {
    fail("{}: barrier {} expects {} threads here and {} at {}", describe(site), id, expected,
         barrier.expected, describe(barrier.site));
  } else if (block_wide && !same_place(barrier.site, site)) {
    fail("{}: thread {} is at this __syncthreads while others wait in that of {}", describe(site),
         current_, describe(barrier.site));
  } else if (barrier.arrived[current_]) {
    fail("{}: thread {} comes to barrier {} twice before it opens", describe(site), current_, id);
  }
  barrier.arrived.set(current_);
  if (waits) barrier.waiting.set(current_);
  if (tsan::active) checker.arrive(barrier.meeting, current_);
  if (static_cast<int>(barrier.arrived.count()) == expected) {
    for (int i = 0; i < count_; ++i) {
      const int warp = i / kWarp * kWarp;
      if (barrier.arrived[i] != barrier.arrived[warp])
        fail("{}: barrier {} was met by some lanes of warp {} only", describe(site), id,
             warp / kWarp);
      if (!barrier.waiting[i]) continue;
      if (tsan::active) checker.leave(barrier.meeting, i);
      wake(i);
    }
    barrier = Barrier{};
    if (waits) give_way();
  } else if (waits) {
    wait(what, site);
  }
}

void Block::collective(unsigned mask, const char* what, void* operands,
                       void (*compute)(void* const*, unsigned, const Site&), bool ordered,
                       Site site) {
  const int warp = current_ / kWarp, at = current_ % kWarp;
  const int lanes = std::min(kWarp, count_ - warp * kWarp);
  if (lanes < kWarp) mask &= (1u << lanes) - 1;
  if (!(mask >> at & 1))
    fail("{}: {}: lane {} is not in its own mask {:#010x}", describe(site), what, at, mask);
  auto& pending = collectives_[warp];
  auto c = pending.end();
  for (auto p = pending.begin(); p != pending.end(); ++p) {
    const bool same = p->mask == mask;
    const bool wait_for_each_other = (p->mask >> at & 1) && (p->arrived & mask) != 0;
    if (same ? p->compute != compute || !same_place(p->site, site) : wait_for_each_other)
      fail(
          "{}: lane {} is in {} with mask {:#010x} while others of its warp wait in {} ({}) with "
          "mask {:#010x}",
          describe(site), at, what, mask, p->what, describe(p->site), p->mask);
    if (same) c = p;
  }
  if (c == pending.end())
    c = pending.insert(c, {.mask = mask,
                           .arrived = 0,
                           .compute = compute,
                           .what = what,
                           .site = site,
                           .operands = {},
                           .meeting = {}});
  c->arrived |= 1u << at;
  c->operands[at] = operands;
  if (ordered && tsan::active) checker.arrive(c->meeting, current_);
  if (c->arrived != mask) return wait(what, site);
  Collective complete = std::move(*c);
  pending.erase(c);
  compute(complete.operands.data(), mask, site);
  for (int i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    if (ordered && tsan::active) checker.leave(complete.meeting, warp * kWarp + i);
    wake(warp * kWarp + i);
  }
  give_way();
}

// --- Copies

void Block::copy(void* to, const void* from, int bytes, int source_bytes, Site site) {
  const auto addresses = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || source_bytes < 0 || source_bytes > bytes)
    fail("{}: cp.async of {} bytes, {} of them from the source", describe(site), bytes,
         source_bytes);
  if (addresses % bytes != 0)
    fail("{}: cp.async of {} bytes at an address that is not a multiple of {}", describe(site),
         bytes, bytes);
  if (!shared.in_variable(to, bytes))
    fail("{}: cp.async to an address outside of every shared variable", describe(site));
  if (source_bytes > 0 && find_global(from, source_bytes).where == Where::outside)
    fail("{}: cp.async from an address outside of a global buffer", describe(site));
  if (tsan::active) {
    const Place place = place_of(site);
    if (source_bytes > 0) access(current_, from, source_bytes, Access::read, place);
    race::Cell* cells = shared_cells(to);
    if (auto wrong = checker.issue_copy(cells, bytes, current_, place)) fail("{}", *wrong);
  }
  std::memset(to, 0xff, bytes);
  Thread& self = threads_[current_];
  self.copies.push_back({to, from, bytes, source_bytes, self.groups, site});
}

void Block::copy_wait(int groups_in_flight) {
  Thread& self = threads_[current_];
  auto landed = self.copies.begin();
  for (; landed != self.copies.end() && landed->group < self.groups - groups_in_flight; ++landed) {
    if (tsan::active) {
      if (landed->source_bytes > 0)
        access(current_, landed->from, landed->source_bytes, Access::read, place_of(landed->site));
      checker.land_copy(shared_cells(landed->to), landed->bytes, current_);
    }
    std::memcpy(landed->to, landed->from, landed->source_bytes);
    std::memset(static_cast<char*>(landed->to) + landed->source_bytes, 0,
                landed->bytes - landed->source_bytes);
  }
  self.copies.erase(self.copies.begin(), landed);
}

}  // namespace midfill::simt
