// To be preloaded (LD_PRELOAD): makes calls of the C library fail as some file systems make them
// fail. MIDFILL_FAIL is a list of "CALL:ERRNO[:PART]", separated by commas; with PART only where
// the path, or for rename() and link() one of both, contains it; of pthread_create, PART is the
// number of the call, from 1.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

// The error that a call on these paths is to fail with; 0: none.
int error_for(std::string_view call, std::string_view path = "", std::string_view other = "") {
  const char* text = std::getenv("MIDFILL_FAIL");
  std::string_view list = text ? text : "";
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    std::string_view rule = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    const size_t name = rule.find(':');
    if (rule.substr(0, name) != call) continue;
    rule.remove_prefix(name + 1);
    const size_t number = std::min(rule.find(':'), rule.size());
    const std::string_view part = rule.substr(std::min(number + 1, rule.size()));
    if (path.find(part) == path.npos && other.find(part) == other.npos) continue;
    return std::atoi(std::string(rule.substr(0, number)).c_str());
  }
  return 0;
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int flock(int fd, int operation) noexcept {
  if (const int error = error_for("flock")) return errno = error, -1;
  return next<int(int, int)>("flock")(fd, operation);
}

int rename(const char* from, const char* to) noexcept {
  if (const int error = error_for("rename", from, to)) return errno = error, -1;
  return next<int(const char*, const char*)>("rename")(from, to);
}

int link(const char* from, const char* to) noexcept {
  if (const int error = error_for("link", from, to)) return errno = error, -1;
  return next<int(const char*, const char*)>("link")(from, to);
}

int unlinkat(int fd, const char* path, int flags) noexcept {
  if (const int error = error_for("unlinkat", path)) return errno = error, -1;
  return next<int(int, const char*, int)>("unlinkat")(fd, path, flags);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  static std::atomic<int> calls = 0;
  if (const int error = error_for("pthread_create", std::to_string(++calls))) return error;
  using Start = void* (*)(void*);
  return next<int(pthread_t*, const pthread_attr_t*, Start, void*)>("pthread_create")(
      thread, attributes, start, argument);
}

}  // extern "C"
