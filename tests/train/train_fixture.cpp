#include "tests/train/train_fixture.h"

#include <map>
#include <set>

#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/run_facts.h"
#include "tests/data/data_test_support.h"

namespace midfill::test {

namespace fs = std::filesystem;

TrainFixture::TrainFixture() {
  const Tokenizer& tokenizer = small_tokenizer();
  write_text(dir_ / "tokenizer.json", tokenizer.to_json());
  dataset_of(dir_ / "train", tokenizer, random_documents(tokenizer, 1, 60, 300));
  dataset_of(dir_ / "valid", tokenizer, random_documents(tokenizer, 2, 12, 300));
  const Json config = {
      {"model", {{"n_layers", 1}, {"d_model", 32}, {"n_heads", 2}, {"d_ff", 64}, {"n_ctx", 32}}},
      {"data",
       {{"tokenizer", dir_ / "tokenizer.json"},
        {"train", dir_ / "train"},
        {"valid", dir_ / "valid"}}},
      {"optim", {{"lr", 0.01}, {"warmup", 0.2}}},
      {"train", {{"steps", 12}, {"batch_tokens", 256}, {"micro_batch", 3}, {"threads", 1}}},
      {"eval", {{"every", 5}, {"samples", 4}}},
      {"checkpoint", {{"every", 1}, {"keep_last", 1000}}},
      {"log", {{"peak_tflops", 1.0}}}};
  write_text(config_path(), config.dump());
}

TrainRequest TrainFixture::request(const std::string& run,
                                   std::vector<std::string> overrides) const {
  TrainRequest request;
  request.config = config_path();
  request.overrides = std::move(overrides);
  request.run = dir_ / run;
  return request;
}

TrainRequest TrainFixture::resume(const std::string& run) const {
  TrainRequest request;
  request.run = dir_ / run;
  request.resume = true;
  return request;
}

std::vector<Json> metrics_of(const fs::path& run) {
  const std::string text = read_text(run / "metrics.jsonl");
  EXPECT_TRUE(text.empty() || text.back() == '\n') << "the last line is cut off";
  std::vector<Json> records;
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    records.push_back(parse_json(std::string_view(text).substr(begin, end - begin), "metrics"));
  return records;
}

std::vector<Json> trajectory_of(const fs::path& run) {
  std::vector<Json> out;
  int64_t steps = 0, evaluated = -1;
  for (Json record : metrics_of(run)) {
    const auto step = record["step"].get<int64_t>();
    if (record.contains("eval")) {
      EXPECT_GT(step, evaluated) << run << ": an evaluation stands twice";
      EXPECT_EQ(step, steps) << run;
      evaluated = step;
    } else {
      EXPECT_EQ(step, ++steps) << run << ": a step is missing or stands twice";
    }
    for (const char* of_the_clock : {"tokens_per_s", "mfu", "mfu_full", "data_wait"})
      record.erase(of_the_clock);
    out.push_back(std::move(record));
  }
  return out;
}

std::map<std::string, std::string> files_of(const fs::path& checkpoint) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(checkpoint))
    files[entry.path().filename()] = read_text(entry.path());
  return files;
}

void copy_as_of(const fs::path& run, const fs::path& copy, int64_t step) {
  fs::copy(run, copy, fs::copy_options::recursive);
  std::vector<fs::path> later;
  for (const auto& entry : fs::directory_iterator(copy)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step_") && std::stoll(name.substr(5)) > step)
      later.push_back(entry.path());
  }
  for (const fs::path& checkpoint : later) fs::remove_all(checkpoint);
  RunFacts facts = read_run_facts(copy);
  facts.saved = step > 0 ? step : -1;
  write_run_facts(copy, facts);
}

fs::path newest_checkpoint(const fs::path& run) {
  const auto found = find_checkpoint(run);
  EXPECT_TRUE(found.has_value()) << run;
  return found ? found->path : fs::path();
}

void expect_same_run(const fs::path& a, const fs::path& b) {
  const auto x = files_of(newest_checkpoint(a)), y = files_of(newest_checkpoint(b));
  EXPECT_GE(x.size(), 4u);
  EXPECT_EQ(x.size(), y.size());
  for (const auto& [name, bytes] : x)
    EXPECT_TRUE(y.contains(name) && y.at(name) == bytes) << name << " differs";
  EXPECT_EQ(trajectory_of(a), trajectory_of(b));
}

TokenId rare_token(const SampleStream& stream, int steps, int samples_per_step) {
  std::map<TokenId, std::set<int>> steps_of;
  Sample sample;
  for (int i = 0; i < steps * samples_per_step; ++i) {
    stream.get(i, sample);
    for (size_t t = 0; t + 1 < sample.tokens.size(); ++t)
      steps_of[sample.tokens[t]].insert(i / samples_per_step);
  }
  for (const auto& [token, found] : steps_of)
    if (std::ssize(found) >= 3 && std::ssize(found) <= steps / 2) return token;
  ADD_FAILURE() << "no such token";
  return 0;
}

}  // namespace midfill::test
