// What runtime.h and simt.h promise of correct kernels, in every schedule; and limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/common/check.h"
#include "kernels/simt/simt.h"

namespace midfill::simt {
namespace {

using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;

class Simt : public testing::Test {
 protected:
  void TearDown() override { options() = Options{}; }
  // The text of the Error that `f` throws, "" if it throws none.
  template <typename F>
  static std::string error_of(F f) {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  template <typename F>
  static void in_all_schedules(F f) {
    for (const Schedule schedule : {Schedule::ascending, Schedule::descending, Schedule::random})
      for (uint64_t seed = 1; seed <= (schedule == Schedule::random ? 3 : 1); ++seed) {
        options() = {schedule, seed, false};
        f();
      }
  }
};

TEST_F(Simt, EveryThreadOfEveryBlockRunsOnceAndKnowsItsPlace) {
  in_all_schedules([] {
    std::vector<std::tuple<int, int, int, int, int, int>> seen;
    launch(dim3(3, 2, 2), dim3(5, 7, 3), 0, [&] {
      EXPECT_EQ(blockDim.x * 10000 + blockDim.y * 100 + blockDim.z, 50703u);
      EXPECT_EQ(gridDim.x * 10000 + gridDim.y * 100 + gridDim.z, 30202u);
      EXPECT_EQ(thread_index(), (threadIdx.z * 7 + threadIdx.y) * 5 + threadIdx.x);
      EXPECT_EQ(lane(), thread_index() % 32);
      seen.emplace_back(blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    });
    const std::set<std::tuple<int, int, int, int, int, int>> different(seen.begin(), seen.end());
    EXPECT_EQ(seen.size(), 3u * 2 * 2 * 5 * 7 * 3);
    EXPECT_EQ(different.size(), seen.size());
    EXPECT_EQ(*different.rbegin(), std::make_tuple(2, 1, 1, 4, 6, 2));
  });
}

// The order in which 3 blocks of 3 threads run, before and after a barrier, as digits.
std::vector<int> trace(const Options& o) {
  options() = o;
  std::vector<int> order;
  launch(3, 3, 0, [&] {
    const int me = static_cast<int>(blockIdx.x * 10 + threadIdx.x);
    order.push_back(me);
    __syncthreads();
    order.push_back(100 + me);
  });
  return order;
}

TEST_F(Simt, SchedulesAreWhatTheySay) {
  EXPECT_THAT(
      trace({Schedule::ascending, 1, false}),
      ElementsAre(0, 1, 2, 100, 101, 102, 10, 11, 12, 110, 111, 112, 20, 21, 22, 120, 121, 122));
  EXPECT_THAT(
      trace({Schedule::descending, 1, false}),
      ElementsAre(22, 21, 20, 122, 121, 120, 12, 11, 10, 112, 111, 110, 2, 1, 0, 102, 101, 100));
}

TEST_F(Simt, RandomScheduleDependsOnTheSeedAlone) {
  std::set<std::vector<int>> traces;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto order = trace({Schedule::random, seed, false});
    EXPECT_EQ(trace({Schedule::random, seed, false}), order);
    traces.insert(order);
  }
  EXPECT_GE(traces.size(), 18u);
}

TEST_F(Simt, EnvironmentChoosesTheSchedule) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // in a new process, where options() are unread
  auto in_environment = [](const char* text) {
    setenv("MIDFILL_SIMT", text, 1);
    try {
      const Options& o = options();
      std::exit(static_cast<int>(o.schedule) * 50 + static_cast<int>(o.seed));
    } catch (const Error& e) {
      fprintf(stderr, "%s\n", e.what());
      std::exit(250);
    }
  };
  EXPECT_EXIT(in_environment("ascending"), testing::ExitedWithCode(1), "");
  EXPECT_EXIT(in_environment("descending"), testing::ExitedWithCode(51), "");
  EXPECT_EXIT(in_environment("random:42"), testing::ExitedWithCode(142), "");
  for (const char* wrong : {"random:", "random:1x", "up", ""})
    EXPECT_EXIT(in_environment(wrong), testing::ExitedWithCode(250),
                "MIDFILL_SIMT: expected ascending, descending or random:<seed>, found");
}

TEST_F(Simt, LaunchesKeepTheLimitsOfTheGpu) {
  auto launched = [](dim3 grid, dim3 block, size_t shared) {
    return error_of([&] { launch(grid, block, shared, [] {}); });
  };
  EXPECT_EQ(launched(1, 1024, kMaxSharedBytes), "");
  EXPECT_EQ(launched(dim3(1, 3, 2), dim3(2, 8, 64), 0), "");
  EXPECT_THAT(
      launched(1, 1025, 0),
      ContainsRegex("^runtime_test.cu:[0-9]+: launch: expected 1 to 1024 threads in block.x, "
                    "found 1025"));
  EXPECT_THAT(launched(1, dim3(1, 1025), 0), HasSubstr("1 to 1024 threads in block.y"));
  EXPECT_THAT(launched(1, dim3(1, 1, 65), 0), HasSubstr("1 to 64 threads in block.z, found 65"));
  EXPECT_THAT(launched(1, dim3(32, 33), 0), HasSubstr("1 to 1024 threads in a block, found 1056"));
  EXPECT_THAT(launched(0, 32, 0), HasSubstr("blocks in grid.x, found 0"));
  EXPECT_THAT(launched(dim3(1, 65536), 32, 0), HasSubstr("1 to 65535 blocks in grid.y"));
  EXPECT_THAT(launched(dim3(1, 1, 65536), 32, 0), HasSubstr("1 to 65535 blocks in grid.z"));
  EXPECT_THAT(launched(1, 32, kMaxSharedBytes + 1),
              HasSubstr("at most 232448 bytes of shared memory, found 232449"));
}

TEST_F(Simt, SharedMemoryKeepsTheLimitsOfTheGpu) {
  auto with_dynamic = [](size_t bytes) {
    return error_of([&] {
      launch(1, 1, bytes, [] {
        SIMT_SHARED(char, large, [48 * 1024]);
        large[0] = 1;
      });
    });
  };
  EXPECT_EQ(with_dynamic(179 * 1024), "");
  EXPECT_THAT(with_dynamic(179 * 1024 + 1),
              HasSubstr("at most 232448 bytes, found 49152 static and 183297 dynamic"));
  EXPECT_THAT(error_of([] {
                launch(1, 1, 0, [] {
                  SIMT_SHARED(char, too_large, [48 * 1024 + 1]);
                  too_large[0] = 1;
                });
              }),
              HasSubstr("static shared memory: expected at most 49152 bytes, found 49153"));
}

template <int i>
int* variable_of() {
  SIMT_SHARED(int, variable, );
  return &variable;
}

TEST_F(Simt, SharedMemoryIsOneVariablePerPlaceAndInstancePoisonedInEveryBlock) {
  in_all_schedules([] {
    launch(3, 64, 100, [] {
      SIMT_SHARED(float, tile, [4][8]);
      SIMT_SHARED(double2, wide, );
      float* dynamic = dynamic_shared<float>();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(dynamic) % 1024, 0u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(&wide) % 16, 0u);
      EXPECT_NE(variable_of<0>(), variable_of<1>());
      EXPECT_EQ(variable_of<0>(), variable_of<0>());
      const auto address = reinterpret_cast<uintptr_t>(&tile[0][0]);
      EXPECT_EQ(__shfl_sync(kFullMask, address, 0), address);
      EXPECT_EQ(shared_address(&tile[1][0], Site::current()),
                shared_address(tile, Site::current()) + 32);
      if (threadIdx.x < 32) {
        float* const element = &tile[0][0] + threadIdx.x;
        if (threadIdx.x < 25) dynamic[threadIdx.x] = 1.0f;
        *element = 1.0f;
      }
      __syncthreads();
      EXPECT_EQ(tile[3][threadIdx.x % 8] + dynamic[threadIdx.x % 25], 2.0f);
    });
  });
}

// Race mode forbids to read what the test is about.
__attribute__((no_sanitize("thread"))) float peek(const float* p) {
  return *p;
}
TEST_F(Simt, MemoryIsNaNUntilWritten) {
  int checked = 0;
  launch(2, 32, 64, [&] {
    SIMT_SHARED(float, fresh, [32]);
    EXPECT_TRUE(std::isnan(peek(&fresh[threadIdx.x])));
    EXPECT_TRUE(std::isnan(peek(dynamic_shared<float>() + threadIdx.x % 16)));
    __syncthreads();
    fresh[threadIdx.x] = 1.0f;
    if (threadIdx.x < 16) dynamic_shared<float>()[threadIdx.x] = 1.0f;
    ++checked;
  });
  EXPECT_EQ(checked, 64);
  auto* buffer = static_cast<float*>(allocate(40));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer) % 256, 0u);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(std::isnan(buffer[i]));
  EXPECT_THAT(error_of([&] { release(buffer + 1); }), HasSubstr("did not allocate"));
  release(buffer);
  release(nullptr);
}

TEST_F(Simt, ShufflesFollowTheirDefinitions) {
  in_all_schedules([] {
    launch(1, 96, 0, [] {
      const int lane = static_cast<int>(threadIdx.x % 32);
      for (const int width : {2, 8, 32}) {
        const int first = lane / width * width, last = first + width - 1;
        for (const int by : {0, 1, 3, 7, 16, 31}) {
          EXPECT_EQ(__shfl_up_sync(kFullMask, lane, by, width),
                    lane - by < first ? lane : lane - by);
          EXPECT_EQ(__shfl_down_sync(kFullMask, lane, by, width),
                    lane + by > last ? lane : lane + by);
          EXPECT_EQ(__shfl_sync(kFullMask, lane, by, width), first + by % width);
          EXPECT_EQ(__shfl_xor_sync(kFullMask, lane, by, width),
                    (lane ^ by) > last ? lane : lane ^ by);
        }
      }
      const double wide = lane + 0.5;
      EXPECT_EQ(__shfl_xor_sync(kFullMask, wide, 31), 31.5 - lane);
    });
  });
}

TEST_F(Simt, VotesAndPartsOfAWarp) {
  in_all_schedules([] {
    launch(1, 40, 0, [] {
      const int lane = static_cast<int>(threadIdx.x % 32);
      const bool whole = threadIdx.x < 32;
      EXPECT_EQ(__ballot_sync(kFullMask, lane % 3 == 0), whole ? 0x49249249u : 0x49u);
      EXPECT_TRUE(__any_sync(kFullMask, lane == 5));
      EXPECT_FALSE(__any_sync(kFullMask, lane == 32));
      EXPECT_FALSE(__all_sync(kFullMask, lane != 5));
      EXPECT_TRUE(__all_sync(kFullMask, lane < 32));
      // Both branches at once.
      if (lane % 2 == 0)
        EXPECT_EQ(__ballot_sync(0x55555555u, 1), whole ? 0x55555555u : 0x55u);
      else
        EXPECT_EQ(__shfl_xor_sync(0xaaaaaaaau, lane, 2), lane ^ 2);
      __syncwarp();
    });
  });
}

template <typename T>
struct Results {
  T sum = 0, most = 0, least = 100, last = 0, once = 0;
};
template <typename T>
void check_atomics() {
  auto* r = new (allocate(sizeof(Results<T>))) Results<T>;
  int first = 0;
  launch(3, 33, 0, [&] {
    const T mine = static_cast<T>(threadIdx.x);
    atomicAdd(&r->sum, mine);
    atomicMax(&r->most, mine);
    atomicMin(&r->least, mine + 1);
    atomicExch(&r->last, mine);
    first += atomicCAS(&r->once, T{0}, T{7}) == T{0};
  });
  EXPECT_EQ(r->sum, T{3 * 32 * 33 / 2});
  EXPECT_EQ(r->most, T{32});
  EXPECT_EQ(r->least, T{1});
  EXPECT_LE(r->last, T{32});
  EXPECT_EQ(r->once, T{7});
  EXPECT_EQ(first, 1);
  release(r);
}
TEST_F(Simt, AtomicsUpdateOnceEach) {
  in_all_schedules([] {
    check_atomics<int>();
    check_atomics<unsigned>();
    check_atomics<unsigned long long>();
    check_atomics<float>();
  });
}

TEST_F(Simt, NamedBarriersOfPartsOfABlock) {
  in_all_schedules([] {
    std::vector<int> rounds(4, 0);
    launch(1, 128, 0, [&] {
      const int warp = static_cast<int>(threadIdx.x / 32);
      // Warps 0 and 1 meet three times at barrier 5, warps 2 and 3 twice at barrier 15.
      for (int i = 0; i < (warp < 2 ? 3 : 2); ++i) {
        if (threadIdx.x % 32 == 0) ++rounds[warp];
        barrier_sync(warp < 2 ? 5 : 15, 64);
        EXPECT_EQ(rounds[warp], rounds[warp ^ 1]);
        barrier_sync(warp < 2 ? 6 : 14, 64);
      }
      __syncthreads();
      EXPECT_EQ(rounds[0] + rounds[3], 5);
    });
  });
  auto at = [](int id, int threads) {
    return error_of([&] { launch(1, 64, 0, [&] { barrier_sync(id, threads); }); });
  };
  EXPECT_THAT(at(16, 64), HasSubstr("expected a barrier from 0 to 15, found 16"));
  EXPECT_THAT(at(-1, 64), HasSubstr("found -1"));
  EXPECT_THAT(at(1, 48), HasSubstr("expected a multiple of 32 threads, found 48"));
  EXPECT_THAT(at(1, 96), ContainsRegex("deadlock: threads 0-63 wait in a named barrier"));
}

TEST_F(Simt, CopiesLandGroupByGroup) {
  auto* source = static_cast<float*>(allocate(16 * sizeof(float)));
  for (int i = 0; i < 16; ++i) source[i] = static_cast<float>(i);
  launch(1, 1, 0, [&] {
    SIMT_SHARED(float4, tile, [4]);
    const auto* row = &tile[0].x;
    copy_async(&tile[0], source, 16, 16);
    copy_async_commit();
    copy_async(&tile[1], source + 4, 16, 8);  // and zeros
    copy_async_commit();
    copy_async_commit();  // an empty group counts
    copy_async(&tile[2], source, 16, 0);
    copy_async(&tile[3].x, source + 12, 4, 4);
    copy_async_wait(3);  // nothing has to be there
    EXPECT_TRUE(std::isnan(peek(row)));
    copy_async_wait(2);
    EXPECT_EQ(row[3], 3.0f);
    EXPECT_TRUE(std::isnan(peek(row + 4)));
    copy_async_wait(0);  // not yet the group that is not committed
    EXPECT_EQ(row[5] + row[6] + row[7], 5.0f);
    EXPECT_TRUE(std::isnan(peek(row + 8)));
    EXPECT_TRUE(std::isnan(peek(row + 12)));
    copy_async_commit();
    copy_async_wait(0);
    EXPECT_EQ(row[8] + row[11], 0.0f);
    EXPECT_EQ(row[12], 12.0f);
  });
  const float* end = source + 16;
  EXPECT_THAT(error_of([&] {
                launch(1, 1, 0, [&] {
                  SIMT_SHARED(float, x, );
                  copy_async(&x, end, 4, 4);
                });
              }),
              ContainsRegex("runtime_test.cu:.* cp.async from an address outside of a global"));
  EXPECT_THAT(error_of([&] {
                launch(1, 1, 0, [&] {
                  SIMT_SHARED(float, x, [4]);
                  copy_async(x, source, 12, 12);
                });
              }),
              HasSubstr("cp.async of 12 bytes"));
  release(source);
}

TEST_F(Simt, ErrorsEndTheLaunchAndTheNextOneWorks) {
  EXPECT_THAT(error_of([] {
                launch(dim3(4, 5), 64, 0, [] {
                  __syncthreads();
                  if (blockIdx.y == 2 && threadIdx.x == 40) fail("forty");
                  __syncthreads();
                });
              }),
              ContainsRegex("^forty; block .0, 2, 0., in the launch of runtime_test.cu:[0-9]+$"));
  EXPECT_THAT(error_of([] { launch(1, 1, 0, [] { __trap(); }); }),
              ContainsRegex("^runtime_test.cu:[0-9]+: __trap; block"));
  EXPECT_THAT(error_of([] { launch(1, 1, 0, [] { launch(1, 1, 0, [] {}); }); }),
              HasSubstr("a kernel is running already"));
  int ran = 0;
  launch(2, 1024, 0, [&] {
    __syncthreads();
    ++ran;
  });
  EXPECT_EQ(ran, 2048);
}

TEST_F(Simt, Bfloat16RoundsToNearestEven) {
  auto bits = [](float f) { return __bfloat16_as_ushort(__float2bfloat16(f)); };
  EXPECT_EQ(bits(1.0f), 0x3f80);
  EXPECT_EQ(bits(-0.0f), 0x8000);
  EXPECT_EQ(bits(INFINITY), 0x7f80);
  EXPECT_EQ(bits(3.4e38f), 0x7f80);
  EXPECT_EQ(bits(NAN), 0x7fff);
  EXPECT_EQ(bits(-NAN), 0x7fff);
  EXPECT_EQ(bits(__uint_as_float(0x3f808000)), 0x3f80);  // ties to even
  EXPECT_EQ(bits(__uint_as_float(0x3f818000)), 0x3f82);
  EXPECT_EQ(bits(__uint_as_float(0x3f808001)), 0x3f81);
  EXPECT_EQ(bits(__uint_as_float(0x00008001)), 0x0001);  // subnormals
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const auto value = __ushort_as_bfloat16(static_cast<uint16_t>(b));
    const float f = __bfloat162float(value);
    EXPECT_EQ(__float_as_uint(f), b << 16);
    if (f == f) {
      EXPECT_EQ(bits(f), b);
    }
  }
  const float2 pair = __bfloat1622float2(__floats2bfloat162_rn(2.0f, -3.0f));
  EXPECT_EQ(pair.x, 2.0f);
  EXPECT_EQ(pair.y, -3.0f);
}

// --- Bank conflicts

struct Row {
  const void* address;
};
void read_rows(Row* const* lanes, unsigned, const Site& site) {
  const void* rows[kWarp];
  for (int i = 0; i < kWarp; ++i) rows[i] = lanes[i]->address;
  matrix_access(rows, 4, Access::read, site);
}
// Reads 8 x 4 rows of a tile whose rows lie `stride` bytes apart.
BankUse matrix_reads(int stride) {
  options().count_banks = true;
  launch(1, kWarp, 32 * 256, [&] {
    char* tile = dynamic_shared<char>();
    for (int i = 0; i < 256; ++i) tile[threadIdx.x * 256 + i] = 0;
    __syncthreads();
    Row row{tile + static_cast<int>(threadIdx.x) * stride};
    warp_collective<read_rows>(kFullMask, "ldmatrix", row, Site::current());
  });
  BankUse reads{};
  for (const BankUse& use : bank_use())
    if (use.needed == 4 && use.accesses == 4) reads = use;
  return reads;
}

TEST_F(Simt, BankConflictsOfMatrixReads) {
  EXPECT_EQ(matrix_reads(16).passes, 4);  // dense
  EXPECT_EQ(matrix_reads(32).passes, 4 * 2);
  EXPECT_EQ(matrix_reads(128).passes, 4 * 8);   // all in the same banks
  EXPECT_EQ(matrix_reads(128 + 16).passes, 4);  // padded
  EXPECT_EQ(matrix_reads(0).passes, 4);         // one row for all
  EXPECT_THAT(matrix_reads(16).where, ContainsRegex("^runtime_test.cu:[0-9]+$"));
  options().count_banks = false;
  launch(1, 1, 0, [] {});
  EXPECT_TRUE(bank_use().empty());
}

#if defined(__SANITIZE_THREAD__)
// Passes of the one read of float at index(lane), and those it needs.
template <typename T, typename F>
std::pair<int64_t, int64_t> reads(F index) {
  options().count_banks = true;
  T sum{};
  int line = 0;
  launch(1, kWarp, 64 * 1024, [&] {
    T* row = dynamic_shared<T>();
    for (int i = static_cast<int>(threadIdx.x); i < 1024; i += kWarp) row[i] = T{};
    __syncthreads();
    // clang-format off
    line = __LINE__; sum = row[index(static_cast<int>(threadIdx.x))];
    // clang-format on
  });
  (void)sum;
  for (const BankUse& use : bank_use())
    if (use.where == "runtime_test.cu:" + std::to_string(line)) return {use.passes, use.needed};
  return {0, 0};
}
using Passes = std::pair<int64_t, int64_t>;

TEST_F(Simt, BankConflictsOfPlainReads) {
  EXPECT_EQ(reads<float>([](int lane) { return lane; }), (Passes{1, 1}));
  EXPECT_EQ(reads<float>([](int) { return 7; }), (Passes{1, 1}));
  EXPECT_EQ(reads<float>([](int lane) { return 2 * lane; }), (Passes{2, 1}));
  EXPECT_EQ(reads<float>([](int lane) { return 32 * lane; }), (Passes{32, 1}));
  EXPECT_EQ(reads<float>([](int lane) { return 31 * lane; }), (Passes{1, 1}));
  EXPECT_EQ(reads<uint16_t>([](int lane) { return lane; }), (Passes{1, 1}));
  EXPECT_EQ(reads<double>([](int lane) { return lane; }), (Passes{2, 2}));
  EXPECT_EQ(reads<double>([](int lane) { return 16 * lane; }), (Passes{32, 2}));
}
#endif

}  // namespace
}  // namespace midfill::simt
