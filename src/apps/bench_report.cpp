#include "src/apps/bench_report.h"

#include <fmt/format.h>

#include <optional>

#include "src/io/file.h"
#include "src/io/new_folders.h"

namespace midfill {

void add_json_option(CLI::App& app, std::string& json, const std::string& place) {
  app.add_option("--json", json,
                 fmt::format("Also write the figures to FILE; alone or with -, one object on "
                             "standard output in place of the {}",
                             place))
      ->type_name("FILE")
      ->expected(0, 1)
      ->default_str("-");
}

int print_bench_report(const std::string& json, int indent, const std::function<Json()>& make,
                       const std::function<std::string(const Json&)>& text) {
  const bool only_json = json == "-";
  std::optional<NewFolders> folders;
  std::optional<AtomicFile> file;
  if (!json.empty() && !only_json) {
    folders.emplace(json);
    file.emplace(json, AtomicFile::Existing::replace);
  }
  const Json report = make();
  fmt::print("{}", only_json ? report.dump(indent) + "\n" : text(report));
  if (!file) return 0;
  file->write(report.dump(1) + "\n");
  file->commit();
  return 0;
}

}  // namespace midfill
