#include "src/train/tensorboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <regex>

#include "kernels/common/check.h"
#include "midfill_proto/event.pb.h"

namespace midfill {

namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table;
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}

// A CRC of data that holds CRCs is weak; TFRecord therefore stores them turned and shifted.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));  // little-endian, as every machine midfill runs on
  return bytes;
}

proto::Event event_at(int64_t step) {
  proto::Event event;
  event.set_wall_time(now_seconds());
  event.set_step(step);
  return event;
}

// TensorBoard reads the files of a directory whose names have "tfevents" in them in the order of
// these names, and a start in one of them makes it forget what it has read by then: so a new file
// must come last, also where the clock ran ahead before, and whatever names other programs chose.
std::string next_name(const std::filesystem::path& directory) {
  std::string last;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.find("tfevents") != std::string::npos) last = std::max(last, name);
  }
  const auto name = [](const std::string& stem, int number) {
    return fmt::format("{}.{:06}.midfill", stem, number);
  };
  const std::string by_clock =
      name(fmt::format("events.out.tfevents.{:010}", static_cast<int64_t>(now_seconds())), 0);
  if (by_clock > last) return by_clock;
  // Ours count on; any other name sorts before itself with something behind it.
  static const std::regex ours(R"((.+)\.(\d{6})\.midfill)");
  std::smatch parts;
  if (std::regex_match(last, parts, ours) && parts[2] != "999999")
    return name(parts[1], std::stoi(parts[2]) + 1);
  return name(last, 0);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const auto table = crc_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const unsigned char byte : bytes) crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF];
  return ~crc;
}

TensorBoard::TensorBoard(const std::filesystem::path& directory, int64_t step) {
  std::error_code failed;
  std::filesystem::create_directory(directory, failed);
  require(!failed, "{}: cannot create: {}", directory.string(), failed.message());
  file_.emplace(directory / next_name(directory));
  proto::Event version = event_at(0);
  version.set_file_version("brain.Event:2");
  write(version.SerializeAsString());
  proto::Event start = event_at(step + 1);  // steps from here on are forgotten
  start.mutable_session_log()->set_status(proto::SessionLog::START);
  write(start.SerializeAsString());
}

void TensorBoard::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  proto::Event event = event_at(step);
  for (const auto& [tag, value] : values) {
    proto::Summary::Value& entry = *event.mutable_summary()->add_value();
    entry.set_tag(tag);
    entry.set_simple_value(static_cast<float>(value));
  }
  write(event.SerializeAsString());
}

void TensorBoard::write(const std::string& event) {
  const std::string length = bytes_of(uint64_t{event.size()});
  file_->append(length + bytes_of(masked_crc(length)) + event + bytes_of(masked_crc(event)));
}

}  // namespace midfill
