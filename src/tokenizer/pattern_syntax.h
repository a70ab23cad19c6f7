// Oniguruma's patterns, which tokenizer files hold, written again for PCRE2.
// Source: Oniguruma 6.9 doc/RE (syntax Ruby, UTF-8); pcre2pattern(3).
#pragma once

#include <string>
#include <string_view>

namespace midfill {

// The pattern that PCRE2 (options UTF and UCP) matches where Oniguruma matches `pattern`:
//   \s \S             Unicode's white space (PCRE2's has one character more)
//   ^ $               at every line, as in Ruby; $ not behind a newline that ends the text
//   \p{Han}           the script itself (PCRE2 would take what else is written with it)
//   [a[bc]], [a&&[^b]]   classes in classes
// `origin` names the place in errors. Throws Error for what the two read differently in other ways,
// or what no tokenizer needs (\w, \b, \h, named groups, options for the rest of a pattern).
std::string oniguruma_to_pcre2(std::string_view pattern, std::string_view origin);

}  // namespace midfill
