#include "src/bench/tokenizer.h"

#include <fmt/format.h>
#include <zlib.h>

#include <atomic>
#include <bit>

#include "kernels/common/check.h"
#include "kernels/common/thread_count.h"
#include "src/bench/machine.h"
#include "src/bench/table.h"
#include "src/bench/team.h"
#include "src/data/documents.h"
#include "src/io/inputs.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

namespace {

using Ids = std::vector<TokenId>;

std::vector<std::string> read_documents(const TokenizerBench& options) {
  DocumentReader reader(list_inputs(options.inputs, options.include, options.exclude),
                        {.text_key = options.text_key});
  const uint64_t most = options.max_bytes > 0 ? options.max_bytes : UINT64_MAX;
  std::vector<std::string> documents;
  uint64_t bytes = 0;
  for (std::string text; bytes < most && reader.next(text);) {
    bytes += text.size();
    if (bytes <= most || documents.empty()) documents.push_back(text);
  }
  require(!documents.empty(), "bench tokenizer: the inputs hold no document");
  return documents;
}

// One pass over the documents: each goes to the thread that is free.
template <typename Work>
Team::Pass pass_over(Team& team, size_t documents, Work&& work) {
  std::atomic<size_t> next = 0;
  return team.run([&](int) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < documents;) work(i);
  });
}

template <typename Work>
std::vector<Team::Pass> passes_over(Team& team, int runs, size_t documents, Work&& work) {
  pass_over(team, documents, work);  // warm-up
  std::vector<Team::Pass> passes;
  for (int run = 0; run < runs; ++run) passes.push_back(pass_over(team, documents, work));
  return passes;
}

std::string hex_crc32(const std::vector<Ids>& ids) {
  static_assert(std::endian::native == std::endian::little);
  uLong crc = crc32(0, nullptr, 0);
  for (const Ids& document : ids)
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(document.data()),
                  document.size() * sizeof(TokenId));
  return fmt::format("{:08x}", crc);
}

}  // namespace

Json run_tokenizer_bench(const TokenizerBench& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  const std::vector<std::string> documents = read_documents(options);
  const int threads = thread_count(options.threads);
  const auto encode = [&](size_t i, Ids& ids) {
    ids.clear();
    tokenizer.encode_to(documents[i], ids, {.match_special = false});
  };

  std::vector<Ids> ids(documents.size());
  {
    Team team(threads);
    pass_over(team, documents.size(), [&](size_t i) {
      encode(i, ids[i]);
      ids[i].shrink_to_fit();
    });
  }
  double bytes = 0, tokens = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    bytes += static_cast<double>(documents[i].size());
    tokens += static_cast<double>(ids[i].size());
  }

  Json report = {{"bench", "tokenizer"},
                 {"program", "midfill"},
                 {"tokenizer", options.tokenizer},
                 {"inputs", options.inputs},
                 {"documents", documents.size()},
                 {"bytes", static_cast<int64_t>(bytes)},
                 {"tokens", static_cast<int64_t>(tokens)},
                 {"bytes_per_token", bytes / tokens},
                 {"ids_crc32", hex_crc32(ids)}};
  Json& results = report["results"] = Json::array();
  const auto measure = [&](const char* name, auto&& work) {
    double one_thread = 0;
    for (const int n : thread_counts(threads)) {
      Team team(n);
      const auto passes = passes_over(team, options.runs, documents.size(), work);
      Json result = {{"work", name}, {"threads", n}};
      result.update(rates_of(passes, tokens, bytes));
      if (n == 1) one_thread = result["tokens_per_s"];
      result["speedup"] = result["tokens_per_s"].get<double>() / one_thread;
      results.push_back(std::move(result));
    }
  };
  measure("encode", [&](size_t i) {
    thread_local Ids out;
    encode(i, out);
  });
  measure("decode", [&](size_t i) {
    const std::string text = tokenizer.decode(ids[i]);
    require(text.size() > 0 || ids[i].empty(), "bench tokenizer: document {} decodes to nothing",
            i);
  });
  Device device("cpu", threads);
  report.update(describe_machine(device));
  return report;
}

std::string tokenizer_bench_text(const Json& report) {
  std::string text = machine_text(report);
  text += fmt::format(
      "text     {} documents, {:.1f} MB, {:.1f} million tokens, {:.3f} bytes/token; "
      "in memory\n\n",
      report.at("documents").get<int64_t>(), 1e-6 * report.at("bytes").get<double>(),
      1e-6 * report.at("tokens").get<double>(), report.at("bytes_per_token").get<double>());
  Table table({"work", "threads", "MB/s", "p20–p80", "million tokens/s", "CPU ns/byte", "speedup"});
  for (const Json& result : report.at("results")) {
    const auto number = [&](const char* key) { return result.at(key).get<double>(); };
    table.add({result.at("work").get<std::string>(), result.at("threads").dump(),
               three_digits(number("mb_per_s")),
               three_digits(number("mb_per_s_p20")) + "–" + three_digits(number("mb_per_s_p80")),
               three_digits(1e-6 * number("tokens_per_s")), three_digits(number("cpu_ns_per_byte")),
               three_digits(number("speedup"))});
  }
  return text + table.text();
}

}  // namespace midfill
