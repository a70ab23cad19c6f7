"""`midfill data merge` and `midfill data check` as programs: tables, JSON, exit status, nothing left behind."""

import json
import os
import struct
import subprocess
import tempfile
from pathlib import Path

BINARY = os.environ["MIDFILL_BINARY"]


def midfill(*arguments):
    return subprocess.run([BINARY, "data", *arguments], capture_output=True, text=True)


def write(prefix, documents, index=None, code=8):
    """A dataset by the table of docs/data-format.md; `index`: the document index, where it is not whole."""
    sizes = [len(d) for d in documents]
    index = list(range(len(documents) + 1)) if index is None else index
    form = {8: "H", 4: "i"}[code]
    width = struct.calcsize(form)
    starts = [width * sum(sizes[:i]) for i in range(len(sizes))]
    Path(f"{prefix}.bin").write_bytes(b"".join(struct.pack(f"<{len(d)}{form}", *d) for d in documents))
    Path(f"{prefix}.idx").write_bytes(struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, code, len(sizes), len(index))
                                      + struct.pack(f"<{len(sizes)}i", *sizes) + struct.pack(f"<{len(sizes)}q", *starts)
                                      + struct.pack(f"<{len(index)}q", *index))


with tempfile.TemporaryDirectory() as directory:
    a, b, short, bad, out = (str(Path(directory, name)) for name in ("a", "b", "short", "bad", "out"))
    write(a, [[5, 6, 0], [7, 0]])
    write(b, [[8, 9, 70000, 0]], code=4)
    write(short, [[5, 0], [6, 0], [7, 0]], index=[0, 1])
    write(bad, [[5, 6], [7, 0]])

    done = midfill("merge", "--input", a, b, a, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"token_type": "i32", "documents": 5, "sequences": 5, "tokens": 14}, done.stdout
    expected = str(Path(directory, "expected"))
    write(expected, [[5, 6, 0], [7, 0], [8, 9, 70000, 0], [5, 6, 0], [7, 0]], code=4)
    for kind in (".bin", ".idx"):
        assert Path(out + kind).read_bytes() == Path(expected + kind).read_bytes(), kind
    again = midfill("merge", "--input", a, "--out", out)
    assert again.returncode == 1 and "already exists" in again.stderr and again.stderr.count("\n") == 1, again.stderr
    missing = midfill("merge", "--input", a, out + "x", "--out", out + "y")
    assert missing.returncode == 1 and missing.stderr.count("\n") == 1, missing.stderr
    assert not list(Path(directory).glob("outy*"))
    # A whole index of a short one.
    assert midfill("merge", "--input", short, "--out", out + "whole").returncode == 0
    whole = json.loads(midfill("check", out + "whole", "--json").stdout)["datasets"][0]
    assert whole["documents"] == 3 and not any("merge_file_" in note for note in whole["notes"]), whole

    good = midfill("check", a, out, short)
    assert good.returncode == 0 and good.stdout.count(" ok\n") == 3 and "merge_file_" in good.stdout, good.stdout
    Path(bad + ".bin").write_bytes(b"\5\0")
    wrong = midfill("check", a, bad)
    assert wrong.returncode == 1 and "WRONG" in wrong.stdout and "2 bytes, expected 8" in wrong.stdout, wrong.stdout
    report = json.loads(midfill("check", a, bad, "--json").stdout)
    assert report["ok"] is False and [d["ok"] for d in report["datasets"]] == [True, False], report
    assert report["datasets"][1]["problems"][0]["kind"] == "bin_size", report
    absent = midfill("check", str(Path(directory, "absent")))
    assert absent.returncode == 1 and "absent.idx: cannot open" in absent.stdout, absent.stdout
print("passed")
