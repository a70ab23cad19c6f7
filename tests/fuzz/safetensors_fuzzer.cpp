// A safetensors file. First byte 0: the rest is the file. Else the file is made of JSON up to a NUL
// byte, with the size before it, and the data behind it, so that mutations of the JSON reach the
// tensors. What is accepted is read to the last byte, written again and read again.
#include <algorithm>
#include <cstring>

#include "src/checkpoint/safetensors.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

std::string file_of(fuzz::Input& input) {
  if (input.byte() == 0) return std::string(input.rest());
  const std::string_view json = input.until('\0');
  std::string file(8, '\0');
  const uint64_t header_bytes = json.size();
  std::memcpy(file.data(), &header_bytes, sizeof header_bytes);
  return file.append(json).append(input.rest());
}

bool same(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape &&
         std::ranges::equal(a.bytes, b.bytes);
}

// Reads every element as f32; a dtype that cannot be is an Error.
void read_elements(const SafetensorsFile& file) {
  for (const SafetensorsEntry& entry : file.entries()) {
    fuzz::expect(file.find(entry.name) == &entry, "find does not find {}", entry.name);
    uint64_t elements = 1;
    for (const int64_t dim : entry.shape) elements *= static_cast<uint64_t>(dim);
    // A shape with a 0 in it may have any other dims.
    std::vector<float> values(entry.bytes.empty() ? 0 : elements);
    fuzz::works([&] { copy_as_f32(entry, file.path(), values); });
    std::vector<float> too_many(values.size() + 1);
    fuzz::expect(!fuzz::works([&] { copy_as_f32(entry, file.path(), too_many); }),
                 "{} elements are read from {}", too_many.size(), values.size());
  }
}

void write_again(const SafetensorsFile& file) {
  const auto path = fuzz::scratch_path("again.safetensors");
  write_safetensors(path, file.entries(), file.metadata(), AtomicFile::Existing::replace);
  const SafetensorsFile again(path);
  fuzz::expect(again.metadata() == file.metadata() &&
                   std::ranges::equal(again.entries(), file.entries(), same),
               "what write_safetensors wrote is read as something else");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto path = fuzz::scratch_file("model.safetensors", file_of(input));
  fuzz::works([&] {
    const SafetensorsFile file(path);
    read_elements(file);
    fuzz::expect(fuzz::works([&] { write_again(file); }), "what was read cannot be written");
  });
  return 0;
}
