// Signals that ask a process to end, or a run to save. docs/training.md has the table of them.
#pragma once

namespace midfill {

// While the object lives, SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGXCPU set a flag that the work
// looks at between its parts, so that it ends with nothing lost; each says so at once in a line on
// standard error. Launchers repeat signals, and send one to a process and to its group: a repeat
// changes nothing, but for a SIGINT that comes a second or more after the first signal: it ends the
// process at once with status 130. What was ignored when the process began (`nohup`, `&` in a
// script) stays ignored. One object at a time.
class StopSignal {
 public:
  enum class Save { no, on_usr2 };

  // `then` ends the line: "SIGTERM received: <then>"; with Save::on_usr2, SIGUSR2 asks for a save
  // between two parts.
  explicit StopSignal(const char* then, Save save = Save::no);
  // Signals do again what they did before; after a request, nothing.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const { return number() != 0; }
  // Whether the request is so old that work under way should be given up rather than finished.
  bool pressing() const;
  const char* name() const;  // "SIGTERM"; "" before a request
  // 128 + the number of the signal, as shells have it for a process that one ended: what a process
  // exits with that stopped before its work was done.
  int exit_status() const { return 128 + number(); }

  // Whether a save was asked for since the last call.
  bool take_save_request() const;

 private:
  int number() const;
};

}  // namespace midfill
