#include "src/data/sample.h"

namespace midfill {

std::string_view name_of(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::ar:
      return "ar";
    case SegmentKind::psm:
      return "psm";
    case SegmentKind::spm1:
      return "spm1";
    case SegmentKind::spm2:
      return "spm2";
  }
  return "?";
}

}  // namespace midfill
