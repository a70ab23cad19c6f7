#!/usr/bin/env python3
"""The work of `midfill bench tokenizer` and `midfill bench loader` with Hugging Face tokenizers and a FIM loader in Python,
so that all stand in one table.

  bench_hf_loader.py --tokenizer F --input PATH... [--data PREFIX] [OPTION...]

Both programs run in turn on the same machine, --runs times each (medians). Without --data there is no loader, without
--input no tokenizer.

tokenizer: Hugging Face's `tokenizers` in Rust encodes the same documents in batches (encode_batch_fast where there is one),
special tokens as text, with RAYON_NUM_THREADS and TOKENIZERS_PARALLELISM set to 1 thread and to --threads. Only the calls
of it are timed, not the lists of ids that Python would make of the result. The ids of both programs must be the same for
all documents, or this ends with an error.

loader: what loaders derived from Megatron do, written here from a description: .bin and .idx through numpy's memory map,
documents and samples shuffled by RandomState, samples of n_ctx + 1 tokens split at EODs, a coin for each segment, its
tokens decoded, cut at two uniform characters, three calls of the tokenizer, PSM or SPM 2, truncated or padded. One process,
one thread; rates are per core, by CPU time, of both programs. Before it is timed, its samples must spell the text of the
dataset. Its unit "token" cuts ids instead and encodes nothing.

Example:
  scripts/bench_hf_loader.py --tokenizer 20B_tokenizer.json --input corpus --data data/code_train --threads 2
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
MODES = {"joint": 0.5, "psm": 0.0, "spm2": 1.0}  # probability of SPM 2
CASES = ["plain", "context/char/joint", "context/char/psm", "context/char/spm2", "context/token/joint"]
BATCH_SAMPLES = 32


class Refusal(Exception):
    """One line for the user."""


# ---------------------------------------------------------------------------------------------------------------- documents


def list_files(inputs):
    """As midfill lists them: directories recursively, sorted by the bytes of the path."""
    files = set()
    for name in inputs:
        if os.path.isdir(name):
            for folder, _, names in os.walk(name):
                files.update(path for path in (os.path.join(folder, n) for n in names) if os.path.isfile(path))
        elif os.path.isfile(name):
            files.add(name)
        else:
            raise Refusal(f"{name}: no such file or directory")
    return sorted(files, key=os.fsencode)


def documents_of(inputs, max_mb):
    """(bytes, text) of each document, as midfill's reader gives them out, until there are so many MB (0: all)."""
    most, found, total = max_mb * 1e6 or float("inf"), [], 0
    for data in each_document(list_files(inputs)):
        total += len(data)
        if total <= most or not found:
            found.append(data)
        if total >= most:
            break
    return [(len(data), data.decode("utf-8", errors="replace")) for data in found]


def each_document(files):
    for path in files:
        if path.endswith((".jsonl", ".jsonl.gz")):
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as lines:
                for line in lines:
                    if line.strip() and (text := json.loads(line)["text"]):
                        yield text.encode()
        elif path.endswith(".jsonl.zst"):
            raise Refusal(f"{path}: Python has no zstd here; expected .jsonl, .jsonl.gz or text files")
        else:
            data = pathlib.Path(path).read_bytes()
            if data and b"\0" not in data[:8192]:
                yield data


def load_tokenizer(path):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True  # text that spells a special token is text
    return tokenizer


# ------------------------------------------------------------------------------------------------- workers: one run, one process


def work_encode(tokenizer, inputs, max_mb):
    """One pass over the documents; crc32 of all ids as midfill computes it."""
    tokenizer = load_tokenizer(tokenizer)
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    documents = documents_of(inputs, max_mb)
    batches, size = [[]], 0
    for length, text in documents:
        if size + length > 4e6 and batches[-1]:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += length
    encode(batches[0][:64], add_special_tokens=False)  # warm-up
    seconds, tokens, crc = 0.0, 0, 0
    for batch in batches:
        begin = time.perf_counter()
        encodings = encode(batch, add_special_tokens=False)
        seconds += time.perf_counter() - begin
        for encoding in encodings:
            ids = encoding.ids
            tokens += len(ids)
            crc = zlib.crc32(struct.pack(f"<{len(ids)}i", *ids), crc)
    total = sum(length for length, _ in documents)
    return {"documents": len(documents), "bytes": total, "tokens": tokens, "ids_crc32": f"{crc:08x}",
            "mb_per_s": total * 1e-6 / seconds, "tokens_per_s": tokens / seconds}


class IndexedDataset:
    """PREFIX.bin and PREFIX.idx through memory maps."""

    def __init__(self, prefix):
        import numpy as np
        with open(prefix + ".idx", "rb") as file:
            head = file.read(34)
        types = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
        if head[:9] != b"MMIDIDX\0\0" or head[17] not in types:
            raise Refusal(f"{prefix}.idx: expected an index of Megatron")
        kind, sequences = types[head[17]], struct.unpack("<Q", head[18:26])[0]
        index = np.memmap(prefix + ".idx", mode="r")
        self.sizes = np.frombuffer(index[34:34 + 4 * sequences].tobytes(), np.int32)
        self.starts = np.frombuffer(index[34 + 4 * sequences:34 + 12 * sequences].tobytes(), np.int64) // np.dtype(kind).itemsize
        self.tokens = np.memmap(prefix + ".bin", dtype=kind, mode="r")

    def get(self, sequence, begin=0, end=None):
        start = self.starts[sequence]
        return self.tokens[start + begin:start + (self.sizes[sequence] if end is None else end)]


class PythonFimLoader:
    """Samples of n_ctx + 1 tokens with FIM at context level, the way it is usually done in Python."""

    def __init__(self, prefix, tokenizer, n_ctx, rate, unit, spm_rate, seed=1234):
        import numpy as np
        self.np, self.data, self.tokenizer = np, IndexedDataset(prefix), load_tokenizer(tokenizer)
        self.n, self.rate, self.unit, self.spm_rate = n_ctx + 1, rate, unit, spm_rate
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        self.eod = vocabulary["<|endoftext|>"]
        self.pad = vocabulary.get("<|padding|>", self.eod)
        after = max(vocabulary.values()) + 1
        self.suf, self.pre, self.mid = (vocabulary.get(f"<|{name}|>", after + i) for i, name in enumerate(("SUF", "PRE", "MID")))
        self.rng = np.random.RandomState(seed)
        self.order = self.rng.permutation(len(self.data.sizes))
        self.ends = np.cumsum(self.data.sizes[self.order], dtype=np.int64)
        self.samples = self.rng.permutation(int(self.ends[-1] - 1) // n_ctx)
        self.at = 0

    def tokens_of(self, k):
        """Sample k of the documents laid end to end in their order; neighbours share a token."""
        np, begin = self.np, int(k) * (self.n - 1)
        end, pieces = begin + self.n, []
        d = int(np.searchsorted(self.ends, begin, side="right"))
        while begin < end:
            start = int(self.ends[d]) - int(self.data.sizes[self.order[d]])
            upto = min(end, int(self.ends[d]))
            pieces.append(self.data.get(self.order[d], begin - start, upto - start))
            begin, d = upto, d + 1
        return np.concatenate(pieces).astype(np.int64)

    def split(self, segment):
        """Prefix, middle and suffix of a segment, as ids."""
        np = self.np
        if self.unit == "token":
            a, b = sorted(self.rng.randint(0, len(segment) + 1, size=2))
            return segment[:a], segment[a:b], segment[b:]
        text = self.tokenizer.decode(segment.tolist(), skip_special_tokens=False)
        a, b = sorted(self.rng.randint(0, len(text) + 1, size=2))
        return tuple(np.array(self.tokenizer.encode(part, add_special_tokens=False).ids, np.int64)
                     for part in (text[:a], text[a:b], text[b:]))

    def transform(self, segment):
        if len(segment) == 0 or not self.rng.binomial(1, self.rate):
            return segment
        prefix, middle, suffix = self.split(segment)
        if self.rng.binomial(1, self.spm_rate):
            parts = ([self.pre, self.suf], suffix, [self.mid], prefix, middle)
        else:
            parts = ([self.pre], prefix, [self.suf], suffix, [self.mid], middle)
        return self.np.concatenate(parts)

    def sample(self, k):
        np, tokens = self.np, self.tokens_of(k)
        if self.rate > 0:
            out, at = [], 0
            for eod in np.flatnonzero(tokens == self.eod):
                out += [self.transform(tokens[at:eod]), [self.eod]]
                at = eod + 1
            tokens = np.concatenate(out + [self.transform(tokens[at:])]).astype(np.int64)[:self.n]
        weights = np.ones(self.n, np.float32)
        if len(tokens) < self.n:
            weights[len(tokens):] = 0
            tokens = np.concatenate([tokens, np.full(self.n - len(tokens), self.pad)])
        return tokens, weights

    def batch(self):
        np, rows = self.np, []
        for _ in range(BATCH_SAMPLES):
            rows.append(self.sample(self.samples[self.at % len(self.samples)]))
            self.at += 1
        tokens = np.stack([tokens for tokens, _ in rows]).astype(np.int32)
        return tokens[:, :-1].copy(), tokens[:, 1:].copy(), np.stack([weights for _, weights in rows])[:, 1:].copy()

    def check(self, samples):
        """Segments whose parts do not spell the text that they were made of."""
        wrong = 0
        for k in self.samples[:samples]:
            tokens, at = self.tokens_of(k), 0
            for end in [*self.np.flatnonzero(tokens == self.eod), len(tokens)]:
                segment, at = tokens[at:end], end + 1
                text = self.tokenizer.decode(segment.tolist(), skip_special_tokens=False)
                parts = self.np.concatenate(self.split(segment)).astype(self.np.int64) if len(segment) else segment
                if self.tokenizer.decode(parts.tolist(), skip_special_tokens=False) != text:
                    wrong += 1
        return wrong


def work_load(case, tokenizer, data, ctx, rate, seconds):
    _, unit, mode = ("context", "char", "joint") if case == "plain" else case.split("/")
    loader = PythonFimLoader(data, tokenizer, ctx, 0.0 if case == "plain" else rate, unit, MODES[mode])
    if case != "plain" and (wrong := loader.check(16)):
        raise Refusal(f"{case}: {wrong} segments of the Python loader do not spell their text")
    loader.batch()  # warm-up
    tokens, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds or tokens == 0:
        tokens += loader.batch()[0].size
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"tokens_per_s": tokens / wall, "tokens_per_s_core": tokens / cpu}


def run_worker(work, arguments, threads):
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
           "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, "--worker"], input=json.dumps([work, arguments]), env=env, text=True,
                          capture_output=True)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{work} ended with {done.returncode}")
    return json.loads(done.stdout)


# ------------------------------------------------------------------------------------------------------------------ midfill


def find_midfill(named):
    candidates = [named] if named else [os.environ.get("MIDFILL_BINARY"), HERE.parent / "bin" / "midfill",
                                        *(HERE.parent / "build" / preset / "midfill" for preset in ("cuda", "cpu", "simt"))]
    for path in candidates:
        if path and pathlib.Path(path).is_file():
            return str(path)
    raise Refusal("no midfill program; expected --midfill PATH")


def run_midfill(program, *arguments):
    done = subprocess.run([program, "bench", *map(str, arguments), "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip().removeprefix("midfill: "))
    return json.loads(done.stdout)


# ----------------------------------------------------------------------------------------------------------------- measuring


def check_same(ours, theirs):
    """The same documents, and the same ids for all of them."""
    for key in ("documents", "bytes", "tokens", "ids_crc32"):
        if ours[key] != theirs[key]:
            raise Refusal(f"the programs differ: {key} is {ours[key]} with midfill, {theirs[key]} with Hugging Face")


def spread(values):
    ordered = sorted(values)
    at = [ordered[int(share * (len(ordered) - 1) + 0.5)] for share in (0.2, 0.8)]
    return {"median": statistics.median(values), "p20": at[0], "p80": at[1], "runs": len(values)}


def measure_tokenizer(options, program):
    counts = sorted({1, options.threads})
    ours, theirs, about = {n: [] for n in counts}, {n: [] for n in counts}, None
    for _ in range(options.runs):
        report = run_midfill(program, "tokenizer", "--tokenizer", options.tokenizer, "--input", *options.input, "--max-mb", options.max_mb,
                             "--threads", options.threads, "--runs", 1)
        about = report
        for result in report["results"]:
            if result["work"] == "encode" and result["threads"] in counts:
                ours[result["threads"]].append(result)
        for n in counts:
            theirs[n].append(run_worker("encode", [options.tokenizer, options.input, options.max_mb], n))
            check_same(report, theirs[n][-1])
    rows = []
    for n in counts:
        for key, unit, scale in (("mb_per_s", "MB/s", 1), ("tokens_per_s", "million tokens/s", 1e-6)):
            rows.append({"work": "encode", "threads": n, "unit": unit, "midfill": spread([r[key] * scale for r in ours[n]]),
                         "other": spread([r[key] * scale for r in theirs[n]])})
    return rows, about


def measure_loader(options, program):
    cases = options.case or CASES
    ours, theirs, about = {c: [] for c in cases}, {c: [] for c in cases}, None
    with tempfile.TemporaryDirectory(prefix="bench-hf-loader-") as folder:
        config = pathlib.Path(folder) / "config.json"
        config.write_text(json.dumps({"model": {"n_ctx": options.ctx}, "fim": {"rate": options.rate},
                                      "data": {"tokenizer": options.tokenizer, "train": options.data},
                                      "train": {"batch_tokens": BATCH_SAMPLES * options.ctx}}))
        for _ in range(options.runs):
            about = run_midfill(program, "loader", *cases, "--config", config, "--threads", 1, "--runs", 1)
            for result in about["results"]:
                ours[result["case"]].append(result)
            for case in cases:
                theirs[case].append(run_worker("load", [case, options.tokenizer, options.data, options.ctx, options.rate,
                                                        options.seconds], 1))
    rows = [{"work": f"loader, {case}", "threads": 1, "unit": "million tokens/s per core",
             "midfill": spread([r["tokens_per_s_core"] * 1e-6 for r in ours[case]]),
             "other": spread([r["tokens_per_s_core"] * 1e-6 for r in theirs[case]])} for case in cases]
    return rows, about


def digits(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def table_of(report):
    lines = ["| work | threads | unit | midfill | p20–p80 | Python | p20–p80 | ratio |", "|---|---|---|---|---|---|---|---|"]
    for row in report["results"]:
        cells = [row["work"], str(row["threads"]), row["unit"]]
        for program in ("midfill", "other"):
            found = row[program]
            cells += [digits(found["median"]), f"{digits(found['p20'])}–{digits(found['p80'])}"]
        lines.append("| " + " | ".join([*cells, f"**{digits(row['ratio'])}**"]) + " |")
    return "\n".join(lines)


def head_of(report):
    host = report["host"]
    lines = [f"midfill {report['commit']}; Python {report['python']}, tokenizers {report['tokenizers']}, numpy {report['numpy']}",
             f"{host['cpu']}, load {host['load']:.2f}; medians of {report['runs']} runs of each program in turn"]
    if "documents" in report:
        lines.append(f"text: {report['documents']} documents, {report['bytes'] * 1e-6:.1f} MB, {report['tokens'] * 1e-6:.2f} million tokens; "
                     f"the ids are the same in both programs (crc32 {report['ids_crc32']})")
    if "n_ctx" in report:
        lines.append(f"loader: n_ctx {report['n_ctx']}, rate {report['rate']}; the samples of the Python loader spell their text")
    return "\n".join(lines)


def measure(options):
    import numpy
    import tokenizers
    program = find_midfill(options.midfill)
    rows, report = [], {"bench": "hf_loader", "python": sys.version.split()[0], "tokenizers": tokenizers.__version__,
                        "numpy": numpy.__version__, "runs": options.runs}
    about = None
    if options.input:
        rows, about = measure_tokenizer(options, program)
        report.update({key: about[key] for key in ("documents", "bytes", "tokens", "ids_crc32")})
    if options.data:
        more, about = measure_loader(options, program)
        rows += more
        report.update(n_ctx=options.ctx, rate=options.rate)
    for row in rows:
        row["ratio"] = row["midfill"]["median"] / row["other"]["median"]
    report.update({key: about[key] for key in ("commit", "device", "host")}, results=rows)
    return report


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, metavar="F", help="a tokenizer.json")
    parser.add_argument("--input", nargs="+", metavar="PATH", help="files and directories with documents")
    parser.add_argument("--data", metavar="PREFIX", help="a dataset made with the tokenizer")
    parser.add_argument("--case", nargs="+", choices=CASES, help="of the loader, only these")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="the larger number of threads of the tokenizer")
    parser.add_argument("--runs", type=int, default=5, help="of each program")
    parser.add_argument("--max-mb", type=int, default=0, help="only the first documents, so many MB; 0: all")
    parser.add_argument("--ctx", type=int, default=2048, help="n_ctx of the samples")
    parser.add_argument("--rate", type=float, default=0.9, help="FIM rate")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run of the Python loader")
    parser.add_argument("--json", metavar="FILE", help="also write the report; - for standard output in place of the table")
    parser.add_argument("--midfill", metavar="PATH", help="the program")
    options = parser.parse_args()
    if not options.input and not options.data:
        raise Refusal("expected --input, --data or both")
    if options.runs < 1 or options.threads < 1 or options.ctx < 1 or not 0 < options.rate <= 1:
        raise Refusal("expected --runs, --threads and --ctx of at least 1 and a --rate above 0, at most 1")
    return options


def main():
    try:
        if sys.argv[1:] == ["--worker"]:
            work, arguments = json.load(sys.stdin)
            print(json.dumps({"encode": work_encode, "load": work_load}[work](*arguments)))
            return 0
        options = parse_arguments()
        report = measure(options)
        if options.json and options.json != "-":
            pathlib.Path(options.json).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
        print(json.dumps(report, indent=1) if options.json == "-" else head_of(report) + "\n\n" + table_of(report))
    except (Refusal, OSError) as error:
        print(f"bench_hf_loader.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
