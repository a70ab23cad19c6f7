#include "src/tokenizer/added_tokens.h"

#include <algorithm>

#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

bool word_at(std::string_view text, size_t at) {
  return at < text.size() && unicode::is_word(unicode::next(text, at));
}

bool word_before(std::string_view text, size_t at) {
  return at > 0 && word_at(text, unicode::previous(text, at));
}

bool space_at(std::string_view text, size_t at) {
  return unicode::class_of(unicode::next(text, at)) == unicode::Class::space;
}

}  // namespace

int AddedTokenMatcher::child(const Node& node, unsigned char byte) {
  for (const auto& [label, index] : node.children)
    if (label == byte) return index;
  return 0;
}

void AddedTokenMatcher::add(const AddedToken& token, std::string_view pattern) {
  int node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    int next = child(nodes_[static_cast<size_t>(node)], byte);
    if (next == 0) {
      next = static_cast<int>(nodes_.size());
      nodes_[static_cast<size_t>(node)].children.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    if (node == 0 && first_[byte] == 0) {
      first_[byte] = next;
      first_byte_ = c;
      ++first_bytes_;
    }
    node = next;
  }
  // Of two tokens with one pattern the first counts.
  Node& end = nodes_[static_cast<size_t>(node)];
  if (end.token >= 0) return;
  end.token = static_cast<int>(tokens_.size());
  tokens_.push_back(token);
  all_special_ = all_special_ && token.special;
}

// The next place from `at` on where a token may begin.
size_t AddedTokenMatcher::candidate(std::string_view text, size_t at) const {
  if (first_bytes_ == 1) return std::min(text.find(first_byte_, at), text.size());
  while (at < text.size() && first_[static_cast<unsigned char>(text[at])] == 0) ++at;
  return at;
}

void AddedTokenMatcher::split(std::string_view text, bool match_special,
                              std::vector<Part>& parts) const {
  parts.clear();
  size_t done = 0;
  for (size_t at = 0; (at = candidate(text, at)) < text.size();) {
    int node = first_[static_cast<unsigned char>(text[at])];
    int longest = -1;
    size_t stop = at;
    for (size_t i = at + 1;; ++i) {
      const Node& reached = nodes_[static_cast<size_t>(node)];
      if (reached.token >= 0) {
        longest = reached.token;
        stop = i;
      }
      if (i == text.size()) break;
      node = child(reached, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
    }
    if (longest < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(longest)];
    size_t start = at;
    at = stop;  // a match that the rules below discard is passed over all the same
    if (token.special && !match_special) continue;
    if (token.single_word && (word_before(text, start) || word_at(text, stop))) continue;
    if (token.lstrip) {
      while (start > done) {
        const size_t before = unicode::previous(text, start);
        if (!space_at(text, before)) break;
        start = before;
      }
      start = std::max(start, done);
    }
    if (token.rstrip) {
      while (stop < text.size() && space_at(text, stop)) unicode::next(text, stop);
    }
    if (done < start) parts.push_back({-1, text.substr(done, start - done)});
    // Of two that take the same white space, one after and one before it, the second may have none.
    if (start < stop) parts.push_back({token.id, text.substr(start, stop - start)});
    done = stop;
  }
  if (done < text.size()) parts.push_back({-1, text.substr(done)});
}

}  // namespace midfill
