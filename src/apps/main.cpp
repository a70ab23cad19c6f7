// midfill: the list of subcommands, and the one place where errors become a line and an exit
// status.
#include <cstdio>
#include <exception>

#include "src/apps/apps.h"

int main(int argc, char** argv) {
  CLI::App app("midfill: train fill-in-the-middle language models from scratch", "midfill");
  app.require_subcommand(1);
  midfill::Run run;

  try {
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
    app.parse(argc, argv);
    return run();
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "midfill: %s\n", error.what());
    return 1;
  }
}
