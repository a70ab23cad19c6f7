// SIGINT and SIGTERM ask a run to end after the step it is in; a second one ends the process at
// once with status 130.
#pragma once

namespace midfill {

// The handlers are installed while the object lives; one object at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const { return number() != 0; }
  const char* name() const;  // "SIGINT", "SIGTERM"; "" before a request

 private:
  int number() const;
};

}  // namespace midfill
