#include "src/infer/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;

std::vector<bool> all(size_t n) {
  return std::vector<bool>(n, true);
}

// Logits of these probabilities, shifted: only differences count.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3.0f);
  return logits;
}

std::vector<double> shares(Sampler sampler, const std::vector<float>& logits, int draws) {
  std::vector<double> counts(logits.size(), 0.0);
  for (int i = 0; i < draws; ++i) counts[sampler.choose(logits, i, 7).id] += 1.0 / draws;
  return counts;
}

// Pearson's statistic of `draws` draws; expected shares of 0 must be met exactly.
double chi_square(const std::vector<double>& found, const std::vector<double>& expected,
                  int draws) {
  double sum = 0.0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (expected[i] == 0.0)
      EXPECT_EQ(found[i], 0.0) << i;
    else
      sum += draws * std::pow(found[i] - expected[i], 2) / expected[i];
  }
  return sum;
}

constexpr int kDraws = 40000;
constexpr double kLimit = 20.5;  // 0.1 % of chi-square with 5 degrees of freedom

TEST(Sampler, GreedyTakesTheLikeliestAndTheSmallestIdOfEquals) {
  Sampler sampler({.temperature = 0.0}, all(4));
  EXPECT_EQ(sampler.choose(std::vector<float>{1, 5, 2, 5}, 0, 0).id, 1);
  EXPECT_EQ(sampler.choose(std::vector<float>{3, 3, 3, 3}, 0, 0).id, 0);
  Sampler limited({.temperature = 0.0}, {false, false, true, true});
  EXPECT_EQ(limited.choose(std::vector<float>{9, 8, 1, 2}, 0, 0).id, 3);
}

TEST(Sampler, LogprobIsTheModelsWhateverIsAllowed) {
  const auto logits = logits_of({0.5, 0.25, 0.25});
  for (double temperature : {0.0, 0.3, 2.0}) {
    Sampler sampler({.temperature = temperature, .top_p = 0.9}, {false, true, false});
    const auto choice = sampler.choose(logits, 0, 0);
    EXPECT_EQ(choice.id, 1);
    EXPECT_NEAR(choice.logprob, std::log(0.25), 1e-6);
  }
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const std::vector<double> p = {0.4, 0.3, 0.15, 0.1, 0.04, 0.01};
  Sampler sampler({.temperature = 1.0}, all(p.size()));
  EXPECT_LT(chi_square(shares(sampler, logits_of(p), kDraws), p, kDraws), kLimit);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const std::vector<double> p = {0.4, 0.3, 0.15, 0.1, 0.04, 0.01};
  for (double temperature : {0.5, 2.0}) {
    std::vector<double> expected;
    double total = 0.0;
    for (double x : p) total += std::pow(x, 1.0 / temperature);
    for (double x : p) expected.push_back(std::pow(x, 1.0 / temperature) / total);
    Sampler sampler({.temperature = temperature}, all(p.size()));
    EXPECT_LT(chi_square(shares(sampler, logits_of(p), kDraws), expected, kDraws), kLimit)
        << temperature;
  }
}

TEST(Sampler, TopPKeepsTheFewestTokensThatReachIt) {
  const std::vector<double> p = {0.05, 0.4, 0.1, 0.3, 0.15};
  const auto kept = [&](double top_p) {
    Sampler sampler({.temperature = 1.0, .top_p = top_p}, all(p.size()));
    std::string ids;
    const auto found = shares(sampler, logits_of(p), 4000);
    for (size_t i = 0; i < found.size(); ++i)
      if (found[i] > 0.0) ids += std::to_string(i);
    return ids;
  };
  EXPECT_EQ(kept(0.001), "1");
  EXPECT_EQ(kept(0.39), "1");
  EXPECT_EQ(kept(0.41), "13");
  EXPECT_EQ(kept(0.69), "13");
  EXPECT_EQ(kept(0.71), "134");
  EXPECT_EQ(kept(0.94), "1234");
  EXPECT_EQ(kept(0.96), "01234");
  EXPECT_EQ(kept(1.0), "01234");

  const std::vector<double> expected = {0.0, 0.4 / 0.7, 0.0, 0.3 / 0.7, 0.0};
  Sampler sampler({.temperature = 1.0, .top_p = 0.6}, all(p.size()));
  EXPECT_LT(chi_square(shares(sampler, logits_of(p), kDraws), expected, kDraws), kLimit);
}

TEST(Sampler, TopPBreaksTiesBySmallestId) {
  Sampler sampler({.temperature = 1.0, .top_p = 0.5}, all(4));
  const auto found = shares(sampler, {1, 1, 1, 1}, 4000);
  EXPECT_GT(found[0], 0.4);
  EXPECT_GT(found[1], 0.4);
  EXPECT_EQ(found[2] + found[3], 0.0);
}

TEST(Sampler, DrawsDependOnTheirKeyAlone) {
  const std::vector<float> logits(50, 0.0f);
  Sampler a({.temperature = 1.0, .seed = 5}, all(50)), b({.temperature = 1.0, .seed = 5}, all(50));
  std::map<std::pair<int, int>, TokenId> forwards;
  for (int s = 0; s < 10; ++s)
    for (int t = 0; t < 10; ++t) forwards[{s, t}] = a.choose(logits, s, t).id;
  for (int t = 9; t >= 0; --t)
    for (int s = 9; s >= 0; --s) EXPECT_EQ(b.choose(logits, s, t).id, (forwards[{s, t}]));

  Sampler other({.temperature = 1.0, .seed = 6}, all(50));
  int same_seed = 0, same_sequence = 0, same_position = 0;
  for (int i = 0; i < 10; ++i) {
    same_seed += other.choose(logits, 0, i).id == forwards[{0, i}];
    same_sequence += forwards[{0, i}] == forwards[{1, i}];
    same_position += forwards[{i, 0}] == forwards[{i, 1}];
  }
  EXPECT_LT(same_seed, 5);
  EXPECT_LT(same_sequence, 5);
  EXPECT_LT(same_position, 5);
}

TEST(Sampler, ExtremeLogitsAndTemperaturesStayValid) {
  Sampler cold({.temperature = 1e-6, .top_p = 0.5}, all(3));
  EXPECT_EQ(cold.choose(std::vector<float>{-3e38f, 10.0f, 9.99f}, 1, 1).id, 1);
  Sampler hot({.temperature = 1e9}, {true, false, true});
  for (int i = 0; i < 100; ++i)
    EXPECT_NE(hot.choose(std::vector<float>{0.0f, 3e38f, -3e38f}, i, 0).id, 1);
}

TEST(Sampler, WrongOptionsAndLogitsAreRefused) {
  const auto made = [](double temperature, double top_p) {
    return error_of([&] { Sampler({.temperature = temperature, .top_p = top_p}, all(2)); });
  };
  EXPECT_EQ(made(-1.0, 1.0), "temperature -1: expected 0 (greedy) or more");
  EXPECT_EQ(made(NAN, 1.0), "temperature nan: expected 0 (greedy) or more");
  EXPECT_EQ(made(1.0, 0.0), "top-p 0: expected above 0, at most 1");
  EXPECT_EQ(made(1.0, 1.1), "top-p 1.1: expected above 0, at most 1");
  EXPECT_EQ(error_of([] {
              Sampler({}, {false, false});
            }),
            "sampling: no token of the vocabulary is allowed");
  Sampler sampler({}, all(2));
  EXPECT_EQ(error_of([&] {
              sampler.choose(std::vector<float>{1.0f, NAN}, 0, 3);
            }),
            "sampling: the logit of token 1 at position 3 is nan");
  EXPECT_EQ(error_of([&] { sampler.choose(std::vector<float>{1.0f}, 0, 0); }),
            "sampling: 1 logits, expected 2");
}

}  // namespace
}  // namespace midfill
