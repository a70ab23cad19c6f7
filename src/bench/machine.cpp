#include "src/bench/machine.h"

#include <cblas.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include "src/bench/commit.h"

namespace midfill {

namespace {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const size_t colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "unknown";
}

// Processes that ran or wanted to over the last minute: above the number of threads it says that
// something else was measured as well.
double load() {
  double value = 0;
  std::ifstream("/proc/loadavg") >> value;
  return value;
}

// The fields of the first line that nvidia-smi prints, by name; without the program, none.
Json ask_nvidia_smi() {
  constexpr const char* kFields =
      "driver_version,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu";
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string first =
      visible ? std::string(visible).substr(0, std::string(visible).find(',')) : "0";
  // The value goes into a command line: a name of a device alone.
  if (first.empty() ||
      first.find_first_not_of("0123456789abcdefABCDEFGPUMI-/") != std::string::npos)
    return Json::object();
  const std::string command = fmt::format(
      "nvidia-smi --id={} --query-gpu={} --format=csv,noheader 2>/dev/null", first, kFields);
  std::string line;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    for (int c = 0; (c = std::fgetc(pipe)) != EOF && c != '\n';) line += static_cast<char>(c);
    pclose(pipe);
  }
  Json found = Json::object();
  std::istringstream names(kFields), values(line);
  std::string name, value;
  while (std::getline(names, name, ',') && std::getline(values, value, ','))
    found[name] = value.substr(std::min(value.size(), value.find_first_not_of(' ')));
  return found;
}

}  // namespace

bool is_emulated(Device& device) {
  return device.is_cuda() && device.cuda().name() == "emulated GPU";
}

Json describe_machine(Device& device, const std::function<void()>& busy) {
  Json about = {{"kind", device.is_cuda() ? "cuda" : "cpu"},
                {"name", device.is_cuda() ? device.cuda().name() : cpu_name()},
                {"emulated", is_emulated(device)}};
  if (device.is_cuda() && !is_emulated(device)) {
    about["multiprocessors"] = device.cuda().multiprocessors();
#ifdef MIDFILL_CUDA_VERSION
    about["cuda"] = MIDFILL_CUDA_VERSION;
#endif
    if (busy) busy();
    about.update(ask_nvidia_smi());
    device.synchronize();
  }
  return {{"commit", kCommit},
          {"device", about},
          {"host",
           {{"cpu", cpu_name()},
            {"threads", device.cpu().threads()},
            {"openblas", openblas_get_corename()},
            {"load", load()}}}};
}

std::string machine_text(const Json& machine) {
  const Json &device = machine.at("device"), &host = machine.at("host");
  std::string text = fmt::format("commit   {}\n", machine.at("commit").get<std::string>());
  const auto kind = device.at("kind").get<std::string>();
  text += fmt::format("device   {}", kind);
  if (kind != "cpu") text += ", " + device.at("name").get<std::string>();
  for (const auto& [key, value] : device.items())
    if (key != "kind" && key != "name" && key != "emulated")
      text +=
          fmt::format(", {} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
  text += fmt::format("\nhost     {}, {} threads, OpenBLAS for {}, load {:.2f}\n",
                      host.at("cpu").get<std::string>(), host.at("threads").get<int>(),
                      host.at("openblas").get<std::string>(), host.at("load").get<double>());
  if (device.at("emulated").get<bool>()) text += "emulated: times mean nothing\n";
  return text;
}

}  // namespace midfill
