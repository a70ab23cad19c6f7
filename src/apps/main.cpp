// midfill: the list of subcommands, and the one place where errors become a line and an exit
// status.
#include <fmt/format.h>

#include <exception>
#include <new>

#include "kernels/common/check.h"
#include "src/apps/apps.h"
#include "src/apps/standard_streams.h"
#include "src/bench/commit.h"

namespace {

int run_command(int argc, char** argv) {
  CLI::App app("midfill: train fill-in-the-middle language models from scratch", "midfill");
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       fmt::format("midfill {}, commit {}", MIDFILL_VERSION, midfill::kCommit));
  midfill::Run run;
  midfill::add_bench(app, run);
  midfill::add_data(app, run);
  midfill::add_eval(app, run);
  midfill::add_export(app, run);
  midfill::add_generate(app, run);
  midfill::add_import(app, run);
  midfill::add_infill(app, run);
  midfill::add_score(app, run);
  midfill::add_tokenizer(app, run);
  midfill::add_train(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_asked_for) {
    return app.exit(help_asked_for);
  } catch (const CLI::ParseError& error) {
    midfill::fail("{} (--help lists the options)", error.what());
  }
  return run();
}

}  // namespace

int main(int argc, char** argv) {
  midfill::guard_standard_streams();
  try {
    const int status = run_command(argc, argv);
    midfill::flush_standard_output();
    return status;
  } catch (const std::bad_alloc&) {
    midfill::print_out_of_memory();
  } catch (const std::exception& error) {
    midfill::print_error(error.what());
  }
  return 1;
}
