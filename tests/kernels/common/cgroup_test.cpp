#include "kernels/common/cgroup.h"

#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;

// A file system of control groups as the kernel shows it.
struct Cgroup : testing::Test {
  test::TemporaryDirectory directory;
  CgroupPlaces places{directory / "membership", directory / "mount"};

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((places.mount / file).parent_path());
    test::write_text(places.mount / file, text);
  }
  void belong(const std::string& text) const { test::write_text(places.membership, text); }
  void expect_memory(uint64_t bytes, const std::string& file) const {
    const auto memory = cgroup_memory(places);
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->bytes, bytes);
    EXPECT_EQ(memory->file, places.mount / file);
  }
};

TEST_F(Cgroup, NothingIsBoundWhereThereAreNone) {
  EXPECT_FALSE(cgroup_memory(places));
  EXPECT_FALSE(cgroup_processors(places));
  belong("0::/\n");
  EXPECT_FALSE(cgroup_memory(places));
  write("memory.max", "max\n");
  write("cpu.max", "max 100000\n");
  EXPECT_FALSE(cgroup_memory(places));
  EXPECT_FALSE(cgroup_processors(places));
}

TEST_F(Cgroup, OfAGroupAndThoseAboveItTheTightestCounts) {
  belong("0::/slurm/job_7/step_0\n");
  write("slurm/job_7/step_0/memory.max", "4000000000\n");
  write("slurm/job_7/memory.max", "3000000000\n");
  write("slurm/memory.max", "max\n");
  write("slurm/job_7/step_0/cpu.max", "400000 100000\n");
  write("slurm/cpu.max", "150000 100000\n");
  write("slurm/job_8/memory.max", "1\n");  // another's
  expect_memory(3000000000, "slurm/job_7/memory.max");
  EXPECT_EQ(cgroup_processors(places), 1.5);
}

// In a container the path is that of the host; the group at the root of the mount is its own.
TEST_F(Cgroup, TheGroupOfAContainer) {
  belong("0::/docker/0123abcd\n");
  write("memory.max", "2147483648\n");
  write("cpu.max", "50000 100000\n");
  expect_memory(2147483648, "memory.max");
  EXPECT_EQ(cgroup_processors(places), 0.5);
}

TEST_F(Cgroup, Version1) {
  belong("5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n");
  write("memory/job/memory.limit_in_bytes", "1073741824\n");
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");  // none
  write("cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  write("cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  expect_memory(1073741824, "memory/job/memory.limit_in_bytes");
  EXPECT_EQ(cgroup_processors(places), 2.5);
}

TEST_F(Cgroup, WhatIsNoNumberIsNoLimit) {
  belong("no colon\n0::/a\n");
  write("a/memory.max", "");
  write("memory.max", "12x\n");
  write("a/cpu.max", "150000\n");
  write("cpu.max", "0 0\n");
  EXPECT_FALSE(cgroup_memory(places));
  EXPECT_FALSE(cgroup_processors(places));
}

}  // namespace
}  // namespace midfill
