#!/bin/sh
# Runs the compiler command that its arguments are (CMAKE_CUDA_COMPILER_LAUNCHER) and keeps what `ptxas -v` says of
# registers, spills and shared memory in OBJECT.ptxas, where tests/cuda/budget_test.py reads it; the rest of the
# compiler's messages go on to standard error.
object= expect=
for argument; do
  [ -n "$expect" ] && object=$argument
  expect=
  [ "$argument" = -o ] && expect=1
done
if [ -z "$object" ]; then
  exec "$@"
fi
"$@" 2>"$object.ptxas"
status=$?
grep -v -e '^ptxas info' -e 'bytes stack frame,' "$object.ptxas" >&2
[ $status -eq 0 ] || rm -f "$object.ptxas"
exit $status
