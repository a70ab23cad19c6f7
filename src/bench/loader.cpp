#include "src/bench/loader.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>

#include "kernels/common/check.h"
#include "kernels/common/thread_count.h"
#include "src/bench/machine.h"
#include "src/bench/table.h"
#include "src/bench/team.h"
#include "src/bench/timing.h"
#include "src/data/loader.h"
#include "src/data/sample_stream.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

namespace {

struct Usage {
  std::chrono::steady_clock::time_point wall = std::chrono::steady_clock::now();
  double cpu_s = 0;
  int64_t disk_bytes = 0;
  Usage() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    cpu_s = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    disk_bytes = int64_t{512} * usage.ru_inblock;
  }
  double seconds_since(const Usage& before) const {
    return std::chrono::duration<double>(wall - before.wall).count();
  }
};

// What the timed runs of a case went through.
struct Measured {
  std::vector<Team::Pass> passes;  // each over as many steps
  int64_t tokens_a_pass = 0, samples = 0, disk_bytes = 0;
  BatchStats stats;
};

void add(BatchStats& sum, const BatchStats& stats) {
  sum.dropped += stats.dropped;
  sum.padded += stats.padded;
  sum.reverted += stats.reverted;
  for (int kind = 0; kind < kSegmentKinds; ++kind) sum.segments[kind] += stats.segments[kind];
}

Measured take_batches(const SampleStream& stream, int64_t batch_samples, int threads,
                      const LoaderBench& options) {
  Loader loader(stream, batch_samples, /*first_step=*/0, threads, options.config.data.ahead);
  int64_t steps = 0;
  for (const Usage start; steps == 0 || Usage().seconds_since(start) * 1e3 < options.run_ms;
       ++steps)
    loader.next();
  Measured measured;
  for (int run = 0; run < options.runs; ++run) {
    const Usage before;
    for (int64_t step = 0; step < steps; ++step) {
      const SampleBatch& batch = loader.next();
      add(measured.stats, batch.stats);
      measured.samples += batch.rows;
      if (run == 0) measured.tokens_a_pass += batch.rows * batch.n_ctx;
    }
    const Usage after;
    measured.passes.push_back(
        {.wall_s = after.seconds_since(before), .cpu_s = after.cpu_s - before.cpu_s});
    measured.disk_bytes += after.disk_bytes - before.disk_bytes;
  }
  return measured;
}

// Bytes of text that a token of the stream stands for, over its first samples.
double bytes_per_token(const SampleStream& plain, const Tokenizer& tokenizer) {
  constexpr int64_t kSamples = 64;
  Sample sample;
  double bytes = 0, tokens = 0;
  for (int64_t i = 0; i < kSamples; ++i) {
    plain.get(i, sample);
    tokens += static_cast<double>(sample.tokens.size());
    for (const TokenId id : sample.tokens)
      if (!tokenizer.is_special(id)) bytes += static_cast<double>(tokenizer.bytes_of(id).size());
  }
  return bytes / tokens;
}

// 10^9 bytes, read and written, a second.
double copy_gb_per_s(int threads) {
  constexpr size_t kBytes = size_t{48} << 20;  // of each thread: past the caches
  constexpr int kPasses = 5;
  struct Memory {
    std::unique_ptr<char[]> from = std::make_unique<char[]>(kBytes);
    std::unique_ptr<char[]> to = std::make_unique<char[]>(kBytes);
  };
  Team team(threads);
  std::vector<Memory> memory(threads);
  const auto copy = [&](int i) { std::memcpy(memory[i].to.get(), memory[i].from.get(), kBytes); };
  team.run([&](int i) { memory[i] = Memory(), std::memset(memory[i].from.get(), i + 1, kBytes); });
  team.run(copy);
  std::vector<double> seconds;
  for (int pass = 0; pass < kPasses; ++pass) seconds.push_back(team.run(copy).wall_s);
  return 2e-9 * static_cast<double>(kBytes) * threads / percentile(seconds, 0.5);
}

// As data build stores an id.
int stored_bytes(const Tokenizer& tokenizer) {
  return tokenizer.vocab_size() < 65500 ? 2 : 4;
}

Json result_of(const LoaderCase& c, int threads, const Measured& measured, double text_bytes,
               double floor_ns) {
  Json result = {{"case", c.name}, {"rate", c.fim.rate}, {"threads", threads}};
  const auto tokens = static_cast<double>(measured.tokens_a_pass);
  result.update(rates_of(measured.passes, tokens, tokens * text_bytes));
  result["tokens_per_s_core"] = 1e9 / result["cpu_ns_per_token"].get<double>();
  result["above_floor"] = result["ns_per_token"].get<double>() / floor_ns;
  const BatchStats& stats = measured.stats;
  const auto a_sample = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(measured.samples);
  };
  result["dropped"] = a_sample(stats.dropped);
  result["padded"] = a_sample(stats.padded);
  result["reverted"] = a_sample(stats.reverted);
  int64_t segments = 0;
  for (const int64_t count : stats.segments) segments += count;
  const int64_t plain = stats.segments[static_cast<size_t>(SegmentKind::ar)];
  result["transformed"] =
      static_cast<double>(segments - plain) / static_cast<double>(std::max<int64_t>(1, segments));
  result["disk_bytes"] = measured.disk_bytes;
  return result;
}

}  // namespace

std::vector<LoaderCase> loader_cases(const FimConfig& fim, const std::vector<std::string>& names) {
  constexpr std::pair<const char*, FimLevel> kLevels[] = {{"context", FimLevel::context},
                                                          {"document", FimLevel::document}};
  constexpr std::pair<const char*, FimUnit> kUnits[] = {
      {"char", FimUnit::character}, {"line", FimUnit::line}, {"token", FimUnit::token}};
  struct Mode {
    const char* name;
    double psm, spm1, spm2;
  };
  constexpr Mode kModes[] = {
      {"joint", 0.5, 0, 0.5}, {"psm", 1, 0, 0}, {"spm1", 0, 1, 0}, {"spm2", 0, 0, 1}};

  std::vector<LoaderCase> all = {{"plain", {.rate = 0}}}, found;
  for (const auto& [level_name, level] : kLevels)
    for (const auto& [unit_name, unit] : kUnits)
      for (const Mode& mode : kModes)
        all.push_back({fmt::format("{}/{}/{}", level_name, unit_name, mode.name),
                       {.rate = fim.rate > 0 ? fim.rate : 0.9,
                        .level = level,
                        .unit = unit,
                        .psm = mode.psm,
                        .spm1 = mode.spm1,
                        .spm2 = mode.spm2}});
  const auto begins = [](const std::string& name, const LoaderCase& c) {
    return c.name == name || c.name.starts_with(name + "/");
  };
  for (const std::string& name : names)
    require(std::ranges::any_of(all, [&](const LoaderCase& c) { return begins(name, c); }),
            "unknown case {}, expected plain or level/unit/mode with context or document, char, "
            "line or token, joint, psm, spm1 or spm2, or a beginning of that",
            name);
  for (const LoaderCase& c : all) {
    const bool usual = c.name == "plain" || c.name.ends_with("/joint") || begins("context/char", c);
    if (names.empty() ? usual : std::ranges::any_of(names, [&](const std::string& name) {
          return begins(name, c);
        }))
      found.push_back(c);
  }
  return found;
}

Json run_loader_bench(const LoaderBench& options) {
  const std::vector<LoaderCase> cases = loader_cases(options.config.fim, options.cases);
  const Tokenizer tokenizer = Tokenizer::load(options.config.data.tokenizer, options.config.data.eod);
  const std::vector<int> counts = thread_counts(thread_count(options.threads));
  const int64_t n_ctx = options.config.model.n_ctx;
  const int64_t batch_samples = options.config.train.batch_tokens / n_ctx;
  const auto open = [&](const FimConfig& fim) {
    Config config = options.config;
    config.fim = fim;
    return open_training_stream(config, tokenizer);
  };

  const double text_bytes = bytes_per_token(*open({.rate = 0}), tokenizer);
  const int touched = stored_bytes(tokenizer) + 2 * static_cast<int>(sizeof(int32_t)) +
                      static_cast<int>(sizeof(float));
  Json report = {{"bench", "loader"},
                 {"program", "midfill"},
                 {"n_ctx", n_ctx},
                 {"batch_samples", batch_samples},
                 {"seed", options.config.seed},
                 {"bytes_per_token", text_bytes}};
  Json& floor = report["floor"] = {{"bytes_per_token", touched}, {"by_threads", Json::array()}};
  std::vector<double> floor_ns;
  for (const int threads : counts) {
    const double gb_per_s = copy_gb_per_s(threads);
    floor_ns.push_back(touched / gb_per_s);
    floor["by_threads"].push_back({{"threads", threads},
                                   {"copy_gb_per_s", gb_per_s},
                                   {"ns_per_token", floor_ns.back()},
                                   {"tokens_per_s", 1e9 / floor_ns.back()}});
  }
  Json& results = report["results"] = Json::array();
  for (const LoaderCase& c : cases) {
    const auto stream = open(c.fim);
    for (size_t i = 0; i < counts.size(); ++i)
      results.push_back(result_of(c, counts[i],
                                  take_batches(*stream, batch_samples, counts[i], options),
                                  text_bytes, floor_ns[i]));
  }
  Device device("cpu", counts.back());
  report.update(describe_machine(device));
  return report;
}

std::string loader_bench_text(const Json& report) {
  std::string text = machine_text(report);
  text += fmt::format("data     samples of {} tokens, {} a step, {:.2f} bytes of text a token\n",
                      report.at("n_ctx").get<int64_t>(), report.at("batch_samples").get<int64_t>(),
                      report.at("bytes_per_token").get<double>());
  for (const Json& floor : report.at("floor").at("by_threads"))
    text +=
        fmt::format("floor    {} bytes a token at {:.1f} GB/s of copying, {} thread(s): {} ns\n",
                    report.at("floor").at("bytes_per_token").get<int>(),
                    floor.at("copy_gb_per_s").get<double>(), floor.at("threads").get<int>(),
                    three_digits(floor.at("ns_per_token").get<double>()));
  int64_t disk_bytes = 0;
  for (const Json& result : report.at("results"))
    disk_bytes += result.at("disk_bytes").get<int64_t>();
  text += disk_bytes == 0
              ? "cache    warm: nothing was read from disk\n\n"
              : fmt::format("cache    cold: {:.1f} MB were read from disk; run it again\n\n",
                            1e-6 * static_cast<double>(disk_bytes));
  Table table({"case", "threads", "million tokens/s", "p20–p80", "MB/s of text", "ns/token",
               "x floor", "CPU ns/token", "dropped", "padded", "reverted", "transformed"});
  for (const Json& result : report.at("results")) {
    const auto number = [&](const char* key) { return result.at(key).get<double>(); };
    const auto millions = [&](const char* key) { return three_digits(1e-6 * number(key)); };
    table.add({result.at("case").get<std::string>(), result.at("threads").dump(),
               millions("tokens_per_s"),
               millions("tokens_per_s_p20") + "–" + millions("tokens_per_s_p80"),
               three_digits(number("mb_per_s")), three_digits(number("ns_per_token")),
               three_digits(number("above_floor")), three_digits(number("cpu_ns_per_token")),
               three_digits(number("dropped")), three_digits(number("padded")),
               three_digits(number("reverted")), fmt::format("{:.3f}", number("transformed"))});
  }
  return text + table.text();
}

}  // namespace midfill
