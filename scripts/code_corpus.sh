#!/usr/bin/env bash
# Makes a corpus of source code, about 200 MB in some twenty languages, from packages of this machine's distribution
# (Debian 12): what docs/performance.md measures the tokenizer and the loader on.
#   scripts/code_corpus.sh DIRECTORY
# The directory must not exist. Needs python3 and 1 GB of disk while it runs, no root. Prints the bytes and the version of
# each package, and writes them to DIRECTORY/README; of a package it takes source files of at most 1 MiB, in order of their
# names, until they reach the package's share.
set -euo pipefail
export LC_ALL=C

[[ $# -eq 1 ]] || { echo "usage: code_corpus.sh DIRECTORY" >&2; exit 2; }
out=$1
[[ ! -e $out ]] || { echo "code_corpus.sh: $out exists" >&2; exit 1; }
headers=$(apt-cache search --names-only '^linux-headers-6\.1\.0-[0-9]+-common$' | sort -V | tail -1 | cut -d' ' -f1)

# Package and its share in MB.
shares=(${headers:+"$headers 28"} "golang-1.19-src 40" "rust-src 28" "libboost1.74-dev 24" "libeigen3-dev 6"
        "openjdk-17-source 20" "libpython3.11-stdlib 6" "python3-django 6" "python3-sympy 8" "node-typescript 5"
        "node-babel7 5" "webpack 4" "npm 3" "mediawiki 14" "perl-modules-5.36 8" "ruby-activerecord 2" "libruby3.1 5"
        "erlang-src 6" "emacs-el 6" "sbcl-source 5" "octave-common 3")
endings='c h cc cpp hpp hxx ipp go rs java py pyi js mjs ts jsx tsx php pl pm rb erl hrl el lisp m ml mli scala sh css sql s S'

temporary=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
mkdir "$temporary/corpus"
record=$temporary/README
for entry in "${shares[@]}"; do
  read -r package share <<<"$entry"
  (cd "$temporary" && apt-get download -qq -o APT::Sandbox::User=root "$package" </dev/null)
  archive=$(find "$temporary" -maxdepth 1 -name '*.deb')
  dpkg-deb -x "$archive" "$temporary/tree"
  find "$temporary/tree" -name 'src.zip' -type f -execdir python3 -m zipfile -e {} java \;
  find "$temporary/tree" -name '*.gz' -type f -exec gzip -dqf {} + || true
  printf '%s %s: ' "$package" "$(dpkg-deb -f "$archive" Version)" | tee -a "$record"
  python3 - "$temporary/tree" "$temporary/corpus/$package" "$share" $endings <<'PYTHON' | tee -a "$record"
import pathlib, shutil, sys
tree, out, share, endings = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3]) * 1e6, sys.argv[4:]
files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and path.suffix[1:] in endings)
bytes_taken = taken = 0
for path in files:
    size = path.stat().st_size
    if bytes_taken >= share or not 0 < size <= 1 << 20:
        continue
    copy = out / path.relative_to(tree)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    bytes_taken, taken = bytes_taken + size, taken + 1
print(f"{taken} files, {bytes_taken} bytes")
PYTHON
  rm -rf "$temporary/tree" "$archive"
done
find "$temporary/corpus" -type f -printf '%s\n' |
  awk '{ total += $1 } END { printf "total: %d files, %d bytes\n", NR, total }' | tee -a "$record"
mv "$record" "$temporary/corpus/README"
chmod 755 "$temporary/corpus"
mv "$temporary/corpus" "$out"
