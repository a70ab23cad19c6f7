#include "src/bench/datasheet.h"

namespace midfill {

DataSheet data_sheet(std::string_view device_name) {
  // The first name that is part of the device's counts.
  static constexpr struct {
    std::string_view name;
    DataSheet sheet;
  } kSheets[] = {{"H200", {4800, 989.4, 66.9}},         {"H100 PCIe", {2000, 756, 51.2}},
                 {"H100 NVL", {3938, 835, 60}},         {"H100", {3350, 989.4, 66.9}},
                 {"A100 80GB PCIe", {1935, 312, 19.5}}, {"A100-SXM4-80GB", {2039, 312, 19.5}},
                 {"A100", {1555, 312, 19.5}},           {"L40S", {864, 362, 91.6}},
                 {"RTX 4090", {1008, 165.2, 82.6}}};
  for (const auto& [name, sheet] : kSheets)
    if (device_name.find(name) != std::string_view::npos) return sheet;
  return {};
}

}  // namespace midfill
