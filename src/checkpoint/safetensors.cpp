#include "src/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>

#include "src/checkpoint/f16.h"
#include "src/io/json.h"

namespace midfill {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kAlignment = 8;

struct Dtype {
  std::string_view name;
  uint64_t bytes;
};
constexpr Dtype kDtypes[] = {{"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                             {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},
                             {"I32", 4},     {"U32", 4}, {"F32", 4}, {"F64", 8},     {"I64", 8},
                             {"U64", 8},     {"C64", 8}};

// Bytes of a tensor; nothing where the dtype is unknown or the size does not fit 64 bits.
std::optional<uint64_t> bytes_of(std::string_view dtype, const std::vector<int64_t>& shape) {
  const auto* known = std::ranges::find(kDtypes, dtype, &Dtype::name);
  if (known == std::end(kDtypes)) return std::nullopt;
  uint64_t bytes = known->bytes;
  for (int64_t dim : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) return std::nullopt;
  }
  return bytes;
}

// "model.safetensors: tensor "x"", the start of a message.
std::string where(const std::filesystem::path& path, std::string_view name) {
  return fmt::format("{}: tensor {}", path.string(), in_quotes(name));
}

struct Range {
  uint64_t begin, end;
  std::string_view name;
};

// One tensor of the header: `value` is {"dtype", "shape", "data_offsets"}.
SafetensorsEntry parse_entry(const std::filesystem::path& path, const std::string& name,
                             const Json& value, Range& range) {
  const std::string at = where(path, name);
  require(value.is_object(), "{}: expected an object, found {}", at, value.type_name());
  for (const auto& [key, unused] : value.items())
    require(key == "dtype" || key == "shape" || key == "data_offsets",
            "{}: unknown key {}, expected dtype, shape and data_offsets", at, in_quotes(key));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    require(value.contains(key), "{}: no {}", at, key);

  SafetensorsEntry entry{.name = name, .dtype = {}, .shape = {}, .bytes = {}};
  const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  require(dtype.is_string(), "{}: dtype is a {}, expected a string", at, dtype.type_name());
  entry.dtype = dtype.get<std::string>();
  require(std::ranges::find(kDtypes, entry.dtype, &Dtype::name) != std::end(kDtypes),
          "{}: unknown dtype {}", at, in_quotes(entry.dtype));

  require(shape.is_array(), "{}: shape is a {}, expected an array", at, shape.type_name());
  for (const Json& dim : shape) {
    require(dim.is_number_unsigned() && dim.get<uint64_t>() <= INT64_MAX,
            "{}: shape holds {}, expected whole numbers from 0", at, dim.dump().substr(0, 40));
    entry.shape.push_back(dim.get<int64_t>());
  }
  require(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
              offsets[1].is_number_unsigned(),
          "{}: data_offsets is {}, expected two whole numbers", at, offsets.dump().substr(0, 60));
  range = {offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>(), {}};
  require(range.begin <= range.end, "{}: data_offsets run backwards, from {} to {}", at,
          range.begin, range.end);

  const auto bytes = bytes_of(entry.dtype, entry.shape);
  require(bytes.has_value(), "{}: shape {} of {} overflows 64 bits", at, shape_text(entry.shape),
          entry.dtype);
  require(*bytes == range.end - range.begin,
          "{}: data_offsets span {} bytes, expected {} for shape {} of {}", at,
          range.end - range.begin, *bytes, shape_text(entry.shape), entry.dtype);
  return entry;
}

// The tensors must tile the data: no hole, no overlap, nothing after the last.
void check_tiling(const std::filesystem::path& path, std::vector<Range> ranges,
                  uint64_t data_bytes) {
  std::ranges::sort(
      ranges, [](auto& a, auto& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  uint64_t end = 0;
  for (const Range& range : ranges) {
    require(range.begin == end, "{}: starts at byte {} of the data, expected {} ({})",
            where(path, range.name), range.begin, end, range.begin < end ? "overlap" : "hole");
    require(range.end <= data_bytes, "{}: ends at byte {} of the data, but the file has only {}",
            where(path, range.name), range.end, data_bytes);
    end = range.end;
  }
  require(end == data_bytes, "{}: {} bytes of data, expected {} from the header", path.string(),
          data_bytes, end);
}

template <typename From, typename Convert>
void convert(const SafetensorsEntry& entry, std::span<float> out, Convert to_f32) {
  for (size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, entry.bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = to_f32(value);
  }
}

}  // namespace

SafetensorsEntry SafetensorsEntry::of(std::string name, const Tensor& tensor,
                                      std::vector<int64_t> shape) {
  const auto bytes = bytes_of("F32", shape);
  require(bytes && *bytes <= static_cast<uint64_t>(tensor.bytes()), "{}: {} is more than {}",
          in_quotes(name), shape_text(shape), tensor.shape_text());
  return {std::move(name), "F32", std::move(shape),
          std::as_bytes(std::span(tensor.as<float>(), *bytes / sizeof(float)))};
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const auto bytes = file_.bytes();
  require(bytes.size() >= 8, "{}: {} bytes, expected at least 8 for the header's size",
          path.string(), bytes.size());
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), 8);
  require(header_bytes <= kMaxHeaderBytes, "{}: header of {} bytes, expected at most {}",
          path.string(), header_bytes, kMaxHeaderBytes);
  require(header_bytes <= bytes.size() - 8, "{}: header of {} bytes in a file of {}", path.string(),
          header_bytes, bytes.size());

  std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  require(text.starts_with('{'), "{}: header does not start with '{{'", path.string());
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  require(text.ends_with('}'), "{}: header does not end with '}}' and spaces", path.string());
  const Json header = parse_json(text, path.string() + " (header)", 4);

  const auto data = bytes.subspan(8 + header_bytes);
  std::vector<Range> ranges;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (value.is_null()) continue;  // as absent: what serde writes for none
      require(value.is_object(), "{}: __metadata__ is a {}, expected an object", path.string(),
              value.type_name());
      for (const auto& [key, text_value] : value.items()) {
        require(text_value.is_string(), "{}: __metadata__ {} is a {}, expected a string",
                path.string(), in_quotes(key), text_value.type_name());
        metadata_[key] = text_value.get<std::string>();
      }
      continue;
    }
    Range range;
    entries_.push_back(parse_entry(path, name, value, range));
    ranges.push_back(range);
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    ranges[i].name = entries_[i].name;
    index_[entries_[i].name] = i;
  }
  check_tiling(path, ranges, data.size());
  for (size_t i = 0; i < entries_.size(); ++i)
    entries_[i].bytes = data.subspan(ranges[i].begin, ranges[i].end - ranges[i].begin);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

void copy_as_f32(const SafetensorsEntry& entry, const std::filesystem::path& file,
                 std::span<float> out) {
  const auto bytes = bytes_of(entry.dtype, {static_cast<int64_t>(out.size())});
  require(bytes && *bytes == entry.bytes.size(), "{}: {} bytes of {}, expected {} elements",
          where(file, entry.name), entry.bytes.size(), entry.dtype, out.size());
  if (entry.dtype == "F32")
    std::memcpy(out.data(), entry.bytes.data(), entry.bytes.size());
  else if (entry.dtype == "BF16")
    convert<uint16_t>(entry, out,
                      [](uint16_t v) { return std::bit_cast<float>(uint32_t{v} << 16); });
  else if (entry.dtype == "F16")
    convert<uint16_t>(entry, out, [](uint16_t v) { return static_cast<float>(F16(v)); });
  else if (entry.dtype == "F64")
    convert<double>(entry, out, [](double v) { return static_cast<float>(v); });
  else
    fail("{}: dtype {}, expected F32, F64, F16 or BF16", where(file, entry.name), entry.dtype);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<SafetensorsEntry>& entries,
                       const std::map<std::string, std::string>& metadata,
                       AtomicFile::Existing existing) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto bytes = bytes_of(entry.dtype, entry.shape);
    require(bytes && *bytes == entry.bytes.size(), "{}: {} bytes for shape {} of {}",
            where(path, entry.name), entry.bytes.size(), shape_text(entry.shape), entry.dtype);
    require(!header.contains(entry.name), "{}: given twice", where(path, entry.name));
    header[entry.name] = {{"dtype", entry.dtype},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.bytes.size()}}};
    offset += entry.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  require(text.size() <= kMaxHeaderBytes, "{}: header of {} bytes, expected at most {}",
          path.string(), text.size(), kMaxHeaderBytes);

  AtomicFile file(path, existing);
  const uint64_t header_bytes = text.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(text);
  for (const SafetensorsEntry& entry : entries) file.write(entry.bytes.data(), entry.bytes.size());
  file.commit();
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return one_line(fmt::format("({})", fmt::join(shape, ", ")));
}

}  // namespace midfill
