#include "src/data/build_state.h"

#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <set>
#include <system_error>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace {

namespace fs = std::filesystem;

constexpr int kFormat = 2;  // of what the directory holds, and of how files are read
constexpr uint64_t kMaxFilesBytes = uint64_t{16} << 30;

// Everything a build may leave, temporary files of AtomicFile aside.
const std::set<std::string> kNames = {"lock",       "command.json", "files",
                                      "state.json", "train.bin",    "train.idx",
                                      "valid.bin",  "valid.idx",    "bad_lines.jsonl"};

bool is_ours(const std::string& name) {
  return kNames.contains(name.substr(0, name.find(".tmp.")));
}

Json to_json(const SplitCounts& split) {
  return {{"documents", split.documents}, {"tokens", split.tokens}, {"bytes", split.bytes}};
}

Json to_json(const BuildMark& mark) {
  return {{"file", mark.at.file},
          {"offset", mark.at.offset},
          {"lines", mark.lines},
          {"train", to_json(mark.train)},
          {"valid", to_json(mark.valid)},
          {"empty", mark.read.empty},
          {"bad_lines", mark.read.bad_lines},
          {"binary_files", mark.read.binary_files},
          {"report_bytes", mark.report_bytes}};
}

int64_t count_at(const Json& json, const char* key) {
  const auto at = json.find(key);
  require(at != json.end() && at->is_number_integer() && *at >= 0, "\"{}\": expected a count", key);
  return at->get<int64_t>();
}

SplitCounts split_from(const Json& json) {
  return {count_at(json, "documents"), count_at(json, "tokens"), count_at(json, "bytes")};
}

BuildMark mark_from(const Json& json) {
  BuildMark mark;
  mark.at = {count_at(json, "file"), static_cast<uint64_t>(count_at(json, "offset"))};
  mark.lines = count_at(json, "lines");
  mark.train = split_from(json.at("train"));
  mark.valid = split_from(json.at("valid"));
  mark.read = {count_at(json, "empty"), count_at(json, "bad_lines"),
               count_at(json, "binary_files")};
  mark.report_bytes = count_at(json, "report_bytes");
  return mark;
}

}  // namespace

namespace {

// The directory, which then holds nothing that no build has made.
fs::path made(const fs::path& path) {
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) fail_errno(path, "create");
  require(fs::is_directory(path), "{}: expected a directory for the build to work in, found a file",
          path.string());
  for (const auto& entry : fs::directory_iterator(path))
    require(is_ours(entry.path().filename()),
            "{}: holds {}, which no build has made; give --out another name or move it away",
            path.string(), entry.path().filename().string());
  return path;
}

}  // namespace

fs::path staging_path(const std::string& prefix) {
  return prefix + ".building";
}

StagingDirectory::StagingDirectory(const std::string& prefix)
    : path_(made(staging_path(prefix))), lock_(path_ / "lock") {
  require(lock_.state() != FileLock::State::taken, "{}: another build works on this output now",
          path_.string());
}

StagingDirectory::~StagingDirectory() {
  if (!used()) remove_all();
}

bool StagingDirectory::used() const {
  std::error_code ignored;
  return fs::exists(path_ / "command.json", ignored);
}

void StagingDirectory::differs(const std::string& what) const {
  fail(
      "{}: holds an unfinished build of another command: {}; run that command again to finish it, "
      "or delete the directory to begin anew",
      path_.string(), what);
}

void StagingDirectory::write_files(const std::vector<InputFileInfo>& files) {
  AtomicFile out(path_ / "files", AtomicFile::Existing::replace);
  for (const auto& file : files) {
    out.write(fmt::format("{} {} {}", file.bytes, file.modified_ns, file.path));
    out.write(std::string_view("\0", 1));
  }
  out.commit();
}

std::vector<InputFileInfo> StagingDirectory::read_files() const {
  const fs::path path = path_ / "files";
  const std::string text = read_file(path, kMaxFilesBytes);
  std::vector<InputFileInfo> files;
  for (size_t begin = 0; begin < text.size();) {
    InputFileInfo file;
    const char* end = text.data() + text.size();
    const auto bytes = std::from_chars(text.data() + begin, end, file.bytes);
    const bool space = bytes.ec == std::errc() && bytes.ptr != end && *bytes.ptr == ' ';
    const auto modified = std::from_chars(space ? bytes.ptr + 1 : end, end, file.modified_ns);
    const size_t last = text.find('\0', begin);
    require(space && modified.ec == std::errc() && modified.ptr != end && *modified.ptr == ' ' &&
                last != std::string::npos,
            "{}: damaged at byte {}; delete {} to begin anew", path.string(), begin,
            path_.string());
    file.path.assign(modified.ptr + 1, text.data() + last);
    files.push_back(std::move(file));
    begin = last + 1;
  }
  return files;
}

void StagingDirectory::begin(const Json& command, const std::vector<InputFileInfo>& files) {
  write_files(files);
  Json whole = {{"format", kFormat}};
  whole.update(command);
  write_file(path_ / "command.json", whole.dump(1) + "\n");
}

void StagingDirectory::save(const BuildState& state) {
  const Json json = {{"complete", state.complete},
                     {"now", to_json(state.now)},
                     {"file_begin", to_json(state.file_begin)}};
  write_file(path_ / "state.json", json.dump(1) + "\n");
}

BuildState StagingDirectory::read_state() const {
  const fs::path path = path_ / "state.json";
  BuildState state;
  if (!fs::exists(path)) return state;  // killed before the first one
  try {
    const Json json = parse_json(read_file(path), path.string());
    state.now = mark_from(json.at("now"));
    state.file_begin = mark_from(json.at("file_begin"));
    state.complete = json.at("complete").get<bool>();
  } catch (const std::exception& error) {
    fail("{}: damaged: {}; delete {} to begin anew", path.string(), error.what(), path_.string());
  }
  return state;
}

BuildState StagingDirectory::resume(const Json& command, const std::vector<InputFileInfo>& files,
                                    std::string& note) {
  const fs::path path = path_ / "command.json";
  const Json before = parse_json(read_file(path), path.string());
  require(before.is_object() && before.value("format", 0) == kFormat,
          "{}: made by another version of midfill; delete {} to begin anew", path.string(),
          path_.string());
  for (const auto& [key, value] : command.items()) {
    const auto at = before.find(key);
    const Json had = at == before.end() ? Json() : *at;
    if (had != value) differs(fmt::format("{} was {}, is {}", key, had.dump(), value.dump()));
  }

  const auto had = read_files();
  BuildState state = read_state();
  const auto finished = static_cast<size_t>(state.now.at.file);
  require(finished <= had.size(), "{}: damaged: file {} of {}; delete {} to begin anew",
          (path_ / "state.json").string(), finished, had.size(), path_.string());
  for (size_t i = 0; i < finished; ++i) {
    if (i >= files.size() || files[i].path != had[i].path)
      differs(
          fmt::format("it has read {}, which is not the input at this place now", had[i].name()));
    if (!files[i].is_as(had[i]))
      differs(fmt::format("it has read {}, which has changed since", had[i].name()));
  }
  // Ahead files may have changed or be gone, but not come.
  size_t changed = 0;
  size_t at = finished;
  for (size_t i = finished; i < files.size(); ++i, ++at) {
    while (at < had.size() && had[at].path != files[i].path) ++at;
    if (at == had.size()) differs(fmt::format("{} was no input of it", files[i].name()));
    changed += !had[at].is_as(files[i]);
  }
  const size_t gone = had.size() - files.size();
  if (changed + gone == 0) return state;
  if (files.size() == finished) {
    if (state.now.at.offset > 0) state.now = state.file_begin;
  } else if (!files[finished].is_as(had[finished])) {
    state.now = state.file_begin;
  }
  note = fmt::format("of the input files ahead {} changed and {} are gone since", changed, gone);
  // In this order: a state that lies within a file belongs to the file as it was.
  save(state);
  write_files(files);
  return state;
}

void StagingDirectory::remove_all() {
  std::error_code ignored;
  const auto remove_but = [&](const std::set<std::string>& kept) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(path_, ignored)) paths.push_back(entry.path());
    for (const auto& path : paths)
      if (!kept.contains(path.filename()) && is_ours(path.filename())) fs::remove(path, ignored);
  };
  // Once the command is gone the directory holds no build, whatever else is there still.
  remove_but({"lock", "state.json", "files", "command.json"});
  fs::remove(path_ / "command.json", ignored);
  remove_but({"lock"});
  remove_but({});
  fs::remove(path_, ignored);
}

}  // namespace midfill
