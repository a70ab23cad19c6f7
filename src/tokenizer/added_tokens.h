// Tokens that are matched in the text as a whole, before the pre-tokenizer: special tokens, runs of
// spaces.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  // only where no word character stands beside it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // matched after normalisation, else in the raw text
  bool special = false;
};

// Leftmost-longest matching of one set of added tokens, with the rules of Hugging Face.
class AddedTokenMatcher {
 public:
  // One part of a text: a token, or (id -1) text between tokens.
  struct Part {
    TokenId id;
    std::string_view text;
  };

  void add(const AddedToken& token, std::string_view pattern);

  // True where split() finds no token in any text.
  bool matches_nothing(bool match_special) const {
    return tokens_.empty() || (!match_special && all_special_);
  }

  // Replaces `parts` by the parts of well-formed `text`. With `match_special` off, the text of a
  // special token stays text (and hides other tokens inside it). Time is linear in the text times
  // the longest pattern.
  void split(std::string_view text, bool match_special, std::vector<Part>& parts) const;

 private:
  struct Node {
    int token = -1;  // index of the token that ends here
    std::vector<std::pair<unsigned char, int>> children;
  };
  static int child(const Node& node, unsigned char byte);
  size_t candidate(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_{1};
  std::array<int, 256> first_{};  // the root's children; 0: none
  int first_bytes_ = 0;           // how many there are,
  char first_byte_ = '\0';        // and the latest
  bool all_special_ = true;
};

}  // namespace midfill
