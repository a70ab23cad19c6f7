// The subcommands. Each adds itself to the command line and sets `run`, which main calls inside its
// one try block.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace midfill {

// What a subcommand does once its options are parsed; the result is the exit status.
using Run = std::function<int()>;

void add_tokenizer(CLI::App& app, Run& run);
void add_data(CLI::App& app, Run& run);
void add_data_check(CLI::App& data, Run& run);  // add_data calls these three
void add_data_merge(CLI::App& data, Run& run);
void add_data_show(CLI::App& data, Run& run);
void add_train(CLI::App& app, Run& run);
void add_eval(CLI::App& app, Run& run);
void add_score(CLI::App& app, Run& run);
void add_infill(CLI::App& app, Run& run);
void add_generate(CLI::App& app, Run& run);
void add_export(CLI::App& app, Run& run);
void add_import(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_bench_kernels(CLI::App& bench, Run& run);    // add_bench calls it
void add_bench_loader(CLI::App& bench, Run& run);     // and it
void add_bench_step(CLI::App& bench, Run& run);       // and it
void add_bench_tokenizer(CLI::App& bench, Run& run);  // and it

}  // namespace midfill
