#include "tests/support/op_device.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#ifdef MIDFILL_TEST_SCHEDULES
#include "kernels/simt/runtime.h"
#endif

namespace midfill::test {

bool on_cuda() {
  const char* device = std::getenv("MIDFILL_TEST_DEVICE");
  return device != nullptr && std::string_view(device) == "cuda";
}

std::vector<int64_t> supported_widths(std::initializer_list<int64_t> widths) {
  std::vector<int64_t> supported;
  for (int64_t width : widths)
    if (!on_cuda() || width % 8 == 0) supported.push_back(width);
  return supported;
}

void for_each_way(const std::function<void(int threads)>& body) {
  if (!on_cuda()) {
    for (int threads : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << threads << " threads");
      body(threads);
    }
    return;
  }
#ifdef MIDFILL_TEST_SCHEDULES
  using simt::Schedule;
  const simt::Options before = simt::options();
  for (const Schedule schedule : {Schedule::ascending, Schedule::descending, Schedule::random}) {
    SCOPED_TRACE(testing::Message() << "schedule " << static_cast<int>(schedule));
    simt::options().schedule = schedule;
    body(2);
  }
  simt::options() = before;
#else
  for (int time : {1, 2}) {
    SCOPED_TRACE(testing::Message() << "time " << time);
    body(2);
  }
#endif
}

namespace {

struct Distance {
  double largest = 0, l2 = 0;
  bool finite = true;
};

Distance distance(const std::vector<float>& a, const std::vector<float>& b) {
  Distance d;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(double{a[i]} - double{b[i]});
    if (!std::isfinite(error)) d.finite = false;
    d.largest = std::max(d.largest, error);
    d.l2 += error * error;
  }
  d.l2 = std::sqrt(d.l2);
  return d;
}

}  // namespace

testing::AssertionResult within_twice_rounding(const std::vector<Bf16Output>& outputs) {
  for (const Bf16Output& o : outputs) {
    if (o.exact.empty() || o.found.size() != o.exact.size())
      return testing::AssertionFailure()
             << o.name << ": " << o.found.size() << " elements, expected " << o.exact.size();
    const Distance found = distance(o.found, o.exact), allowed = distance(o.rounded, o.exact);
    // Sums in f32 differ by their order where rounding happens to change nothing.
    const Distance size = distance(o.exact, std::vector<float>(o.exact.size(), 0.0f));
    constexpr double kOrder = 1e-6;
    if (!found.finite || !(found.largest <= 2 * allowed.largest + kOrder * size.largest) ||
        !(found.l2 <= 2 * allowed.l2 + kOrder * size.l2))
      return testing::AssertionFailure()
             << o.name << ": error " << found.largest << " (L2 " << found.l2
             << ") where rounding to bf16 makes " << allowed.largest << " (L2 " << allowed.l2
             << (found.finite ? ")" : "), not all finite");
  }
  return testing::AssertionSuccess();
}

}  // namespace midfill::test
