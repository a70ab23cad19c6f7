// midfill tokenizer train | encode | decode | info
#include "src/tokenizer/tokenizer.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "kernels/common/check.h"
#include "src/apps/apps.h"
#include "src/apps/input_reports.h"
#include "src/apps/standard_streams.h"
#include "src/apps/tokenizer_argument.h"
#include "src/apps/validators.h"
#include "src/data/count_pieces.h"
#include "src/io/file.h"
#include "src/io/json.h"
#include "src/io/new_folders.h"
#include "src/tokenizer/bpe_trainer.h"

namespace midfill {

namespace {

struct TrainOptions {
  std::vector<std::string> inputs, include, exclude;
  std::string out, text_key = "text";
  int vocab_size = 0, threads = 0;
  bool no_space_runs = false, strict = false, force = false;
};

int train(const TrainOptions& options) {
  const std::filesystem::path out = options.out;
  require(options.force || !std::filesystem::exists(out),
          "{}: already exists; --force overwrites it", options.out);
  check_folders(out);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  PieceCounts counts(!options.no_space_runs);
  const auto say = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  CountOptions how{
      .inputs = options.inputs, .include = options.include, .exclude = options.exclude};
  how.threads = options.threads;
  how.documents.text_key = options.text_key;
  how.reports = shown_reports(options.strict, say);
  const CountedDocuments counted = count_pieces(how, counts);
  say(
      fmt::format("counted {} documents of {} files, {:.1f} MB, {} distinct pieces in {:.1f} s "
                  "(skipped: {} bad lines, {} binary files)",
                  counted.documents, counted.files, static_cast<double>(counted.bytes) / 1e6,
                  counts.counts().size(), seconds(), counted.bad_lines, counted.binary_files));
  const std::string json =
      train_bpe(counts, {.vocab_size = options.vocab_size, .space_runs = !options.no_space_runs});
  const Tokenizer tokenizer = Tokenizer::from_json(json, options.out);
  const NewFolders folders(out);
  write_file(out, json,
             options.force ? AtomicFile::Existing::replace : AtomicFile::Existing::refuse);
  std::fprintf(stderr, "learnt in %.1f s\n", seconds());
  std::cout << options.out << ": " << tokenizer.summary() << "\n";
  return 0;
}

std::string read_stdin() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  check_standard_input();
  return text;
}

// Calls `convert(object)` for each line of standard input that is not blank, and prints the JSON
// object that it returns.
template <typename Convert>
void each_json_line(Convert&& convert) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (number == 1) line = std::string(without_byte_order_mark(line));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("standard input: line {}", number);
    const Json object = parse_json(line, where);
    require(object.is_object(), "{}: expected a JSON object", where);
    std::cout << convert(object, where).dump(-1, ' ', false, Json::error_handler_t::replace)
              << '\n';
  }
  check_standard_input();
}

struct CodeOptions {
  TokenizerArgument tokenizer;
  bool jsonl = false, no_special = false;
};

int encode(const CodeOptions& options) {
  const Tokenizer tokenizer = options.tokenizer.load();
  const EncodeOptions how{.match_special = !options.no_special};
  if (options.jsonl) {
    each_json_line([&](const Json& object, const std::string& where) {
      const auto text = object.find("text");
      require(text != object.end() && text->is_string(), "{}: expected a string \"text\"", where);
      return Json{{"ids", tokenizer.encode(text->get_ref<const std::string&>(), how)}};
    });
    return 0;
  }
  std::string line;
  for (const TokenId id : tokenizer.encode(read_stdin(), how))
    line += fmt::format("{}{}", line.empty() ? "" : " ", id);
  std::cout << line << '\n';
  return 0;
}

int decode(const CodeOptions& options) {
  const Tokenizer tokenizer = options.tokenizer.load();
  if (options.jsonl) {
    each_json_line([&](const Json& object, const std::string& where) {
      const auto ids = object.find("ids");
      require(ids != object.end() && ids->is_array(), "{}: expected an array \"ids\"", where);
      std::vector<TokenId> tokens;
      for (const Json& id : *ids) {
        require(id.is_number_integer() && id >= 0 && id < tokenizer.vocab_size(),
                "{}: {} among the ids, expected integers from 0 to {}", where, id.dump(),
                tokenizer.vocab_size() - 1);
        tokens.push_back(id.get<TokenId>());
      }
      return Json{{"text", tokenizer.decode(tokens)}};
    });
    return 0;
  }
  for (std::string word; std::cin >> word;) {
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    require(error == std::errc() && end == word.data() + word.size(),
            "standard input: \"{}\", expected ids with blanks between", word);
    std::cout << tokenizer.bytes_of(id);
  }
  check_standard_input();
  return 0;
}

void add_tokenizer_option(CLI::App& command, TokenizerArgument& argument) {
  add_tokenizer_argument(command, argument, "a tokenizer.json")->required();
}

}  // namespace

void add_tokenizer(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("tokenizer", "Train and use byte-level BPE tokenizers");
  group.require_subcommand(1);

  const auto t = std::make_shared<TrainOptions>();
  CLI::App& learn = *group.add_subcommand("train", "Learn a tokenizer from text");
  learn.add_option("--input", t->inputs, kInputHelp)->required()->type_name("PATH...");
  learn
      .add_option("--vocab-size", t->vocab_size,
                  "number of ids, special tokens and sentinels included")
      ->required()
      ->check(whole_number(1, INT32_MAX));
  learn.add_option("--out", t->out, "the tokenizer.json to write")
      ->required()
      ->check(not_empty())
      ->type_name("FILE");
  learn.add_option("--include", t->include, "only files that match, such as '*.py'")
      ->type_name("GLOB...");
  learn.add_option("--exclude", t->exclude, "no files that match, such as '*/test/*'")
      ->type_name("GLOB...");
  learn.add_option("--text-key", t->text_key, kTextKeyHelp)->capture_default_str();
  learn
      .add_option("--threads", t->threads,
                  "threads that count; the result is the same for any number; "
                  "default: one per core")
      ->check(whole_number(0, kMostThreads));
  learn.add_flag("--strict", t->strict,
                 "stop at the first line that is no JSON object with a text, instead of skipping "
                 "and counting it; and at a binary file that was named itself or by a glob");
  learn.add_flag("--no-space-runs", t->no_space_runs, "no tokens for runs of 2 to 24 spaces");
  learn.add_flag("--force", t->force, "overwrite --out");
  learn.footer(
      "Example:\n  midfill tokenizer train --input /usr/include /usr/lib/python3.11 "
      "--include '*.h' '*.py' \\\n      --vocab-size 4096 --out tokenizer.json");
  learn.callback([&run, t] { run = [t] { return train(*t); }; });

  const auto e = std::make_shared<CodeOptions>();
  CLI::App& to_ids = *group.add_subcommand("encode", "Text on standard input -> ids");
  add_tokenizer_option(to_ids, e->tokenizer);
  to_ids.add_flag("--jsonl", e->jsonl, "{\"text\": ...} lines -> {\"ids\": [...]} lines");
  to_ids.add_flag("--no-special", e->no_special,
                  "text that spells a special token stays text, as in a dataset");
  to_ids.footer(
      "Example:\n  printf 'def f(x):\\n    return x' | midfill tokenizer encode "
      "--tokenizer tokenizer.json");
  to_ids.callback([&run, e] { run = [e] { return encode(*e); }; });

  const auto d = std::make_shared<CodeOptions>();
  CLI::App& to_text = *group.add_subcommand("decode", "Ids on standard input -> text");
  add_tokenizer_option(to_text, d->tokenizer);
  to_text.add_flag("--jsonl", d->jsonl, "{\"ids\": [...]} lines -> {\"text\": ...} lines");
  to_text.footer(
      "Example:\n  echo 1545 269 9 89 2262 | midfill tokenizer decode --tokenizer "
      "tokenizer.json");
  to_text.callback([&run, d] { run = [d] { return decode(*d); }; });

  const auto i = std::make_shared<CodeOptions>();
  CLI::App& info = *group.add_subcommand("info", "Sizes and special tokens of a tokenizer");
  add_tokenizer_option(info, i->tokenizer);
  info.footer("Example:\n  midfill tokenizer info --tokenizer tokenizer.json");
  info.callback([&run, i] {
    run = [i] {
      std::cout << i->tokenizer.load().summary() << "\n";
      return 0;
    };
  });
}

}  // namespace midfill
