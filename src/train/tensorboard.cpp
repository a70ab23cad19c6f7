#include "src/train/tensorboard.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstring>

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

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const auto table = crc_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const unsigned char byte : bytes) crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF];
  return ~crc;
}

TensorBoard::TensorBoard(const std::filesystem::path& directory, int64_t step) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  require(!failed, "{}: cannot create: {}", directory.string(), failed.message());
  int64_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++files;
  // TensorBoard reads the files of a directory in the order of their names.
  file_.emplace(directory / fmt::format("events.out.tfevents.{:010}.{:06}.midfill",
                                        static_cast<int64_t>(now_seconds()), files));
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
