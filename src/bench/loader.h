// `midfill bench loader`: how fast a dataset becomes batches, by what FIM does to it.
#pragma once

#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/io/json.h"

namespace midfill {

// What is done to the samples. The order of samples, n_ctx and the batches are the configuration's.
struct LoaderCase {
  std::string name;  // "plain", or level/unit/mode: "context/char/joint"
  FimConfig fim;
};

struct LoaderBench {
  Config config;  // data but its threads, model.n_ctx, train.batch_tokens, seed, fim.rate count
  std::vector<std::string> cases;  // names or their beginnings ("context/char"); none: the usual
  int threads = 0;                 // 1, 2, 4, ... up to so many; 0: all
  int runs = 5;                    // after one of warm-up
  double run_ms = 200;             // a run takes so many steps as this time allows
};

// "plain" is rate 0. The others have the rate of the configuration (0.9 where that is 0), each of
// the levels context and document, the units char, line and token, and the modes psm, spm1, spm2
// and joint, which is psm and spm2 at equal weights. Without names: plain, every level and unit in
// joint, and every mode at context/char. Throws Error for a name that begins none of them.
std::vector<LoaderCase> loader_cases(const FimConfig& fim, const std::vector<std::string>& names);

// Takes batches from the training stream of the configuration through its loader, one step after
// another. One object: "n_ctx", "batch_samples", "bytes_per_token" (of text), "floor", "results",
// then the machine. A result is a case at a number of threads: the rates of rates_of(), whose bytes
// are of text and whose CPU time is the whole process's; "tokens_per_s_core" by that time;
// "dropped", "padded" and "reverted" of a sample; "transformed", the share of segments; and
// "above_floor", how many times longer than the floor it takes. The floor is the time in which this
// machine copies as many bytes as a token of the best of loaders touches: it is read from the
// dataset, and id, target and weight are written. "disk_bytes": what the runs read from disk, 0
// where the page cache was warm.
Json run_loader_bench(const LoaderBench& options);

// A table of the results under the machine and the floor.
std::string loader_bench_text(const Json& report);

}  // namespace midfill
