#!/usr/bin/env python3
"""Runs clang-tidy with the checks of .clang-tidy over src/. Fails on a finding and on a file that clang cannot parse.

    scripts/tidy.py [JOBS]     JOBS: processes at a time (1)

Most of the time of one run goes to torch's headers, so files are checked together: a unit is a generated file that
includes many .cpp files. Names in their anonymous namespaces may collide. clang says which file collides with an earlier
one, and that file waits for the next unit. A group whose files, headers and checks have not changed is skipped.
Left out: kernels (*_kernel.cpp with their *-inl.h), which Highway compiles once for every instruction set.
"""
import concurrent.futures, hashlib, os, pathlib, re, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
OUT = ROOT / "build/tidy"
PCH = OUT / "torch.pch"
HEADER = ROOT / "scripts/tidy-torch.h"
CHECKS = ROOT / ".clang-tidy"
# -D__malloc__(...): GCC's omp.h gives this attribute arguments that clang does not know.
FLAGS = ["-std=c++20", f"-I{SRC}", "-isystem", str(OUT / "include"), "-D__malloc__(...)=", "-DFMT_SHARED", '-DLT2_VERSION="0"', "-w"]
TORCH_FLAGS = ["-isystem", "/usr/include/torch/csrc/api/include", "-DUSE_C10D_GLOO", "-DUSE_DISTRIBUTED"]
# Names that many files define for themselves and no header has: each file gets its own, so that they fit in one unit.
OWN_NAMES = ["shape_of", "kOutputNormEps"]
# What one process works through, one unit after the other: the longest first.
GROUPS = ["ops mixers model train", "checkpoint folders infer distributed measure check cli", "base config data tokenizer", "template report"]


def run(*command):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)


def write_unit(path, files):
    lines = []
    for i, file in enumerate(files):
        lines += [f"#define {name} {name}_{i}" for name in OWN_NAMES]
        lines += [f'#include "{file}"']
        lines += [f"#undef {name}" for name in OWN_NAMES]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def files_with_errors(unit, files, flags):
    """Those of `files`, in order, whose part of the unit clang cannot parse, and what it said."""
    done = run("clang++-14", *flags, "-ferror-limit=0", "-fno-caret-diagnostics", "-fsyntax-only", write_unit(unit, files))
    bad, noted, includer = set(), set(), None
    for line in done.stdout.splitlines():
        if match := re.match(rf"In file included from {re.escape(str(unit))}:(\d+):", line):
            includer = files[int(match[1]) // (2 * len(OWN_NAMES) + 1)]
        elif match := re.match(r"(/[^:]+):\d+:\d+: (?:fatal )?(error|note):", line):
            where = pathlib.Path(match[1])
            if where in files:
                (bad if match[2] == "error" else noted).add(where)
            elif match[2] == "error" and SRC in where.parents and includer:
                bad.add(includer)
    if done.returncode != 0:
        bad = bad or noted or set(files)
    return [file for file in files if file in bad], done.stdout


def split(name, files, flags):
    """Units of files that clang can parse together, and a message for every file that it cannot parse alone."""
    units, messages = [], []
    while files:
        unit, waiting = OUT / f"{name}{len(units)}.cpp", []
        while files:
            bad, said = files_with_errors(unit, files, flags)
            if not bad:
                break
            if bad[0] == files[0]:  # nothing stands before it: it cannot be parsed, or it breaks what comes after it
                wrong, said = files_with_errors(unit, files[:1], flags)
                if wrong:
                    messages.append(f"{said}tidy: clang cannot parse {files[0].relative_to(ROOT)}")
                    files, bad = files[1:], bad[1:]
                else:
                    bad = files[1:]
            waiting += bad
            files = [file for file in files if file not in bad]
        if files:
            units.append((unit, files))
        files = sorted(waiting)
    return units, messages


class Group:
    """Rooms whose files are checked together; its stamp under build/tidy/ holds the hash of what passed."""

    def __init__(self, rooms, plain):
        self.rooms, self.torch = rooms, rooms[0] not in plain
        self.files = sorted(f for room in rooms for f in (SRC / room).rglob("*.cpp") if not f.name.endswith("_kernel.cpp"))
        inputs = [*sorted(SRC.rglob("*.h")), *self.files, pathlib.Path(__file__), HEADER, CHECKS]
        self.key = hashlib.sha256(b"\0".join(str(f).encode() + b"\0" + f.read_bytes() for f in inputs)).hexdigest()
        self.stamp = OUT / f"{rooms[0]}.passed"
        self.changed = not self.stamp.exists() or self.stamp.read_text() != self.key

    def check(self):
        flags = [*FLAGS, *TORCH_FLAGS, "-include-pch", str(PCH)] if self.torch else FLAGS
        units, messages = split(self.rooms[0], self.files, flags)
        for unit, files in units:
            done = run("clang-tidy-14", "--quiet", f"--config-file={CHECKS}", write_unit(unit, files), "--", *flags)
            if done.returncode != 0:
                messages.append(done.stdout)
        if not messages:
            self.stamp.write_text(self.key)
        print("\n".join([*messages, f"tidy: {' '.join(self.rooms)}: {len(self.files)} files in {len(units)} units"]), flush=True)
        return not messages


def main():
    (OUT / "include").mkdir(parents=True, exist_ok=True)
    omp = OUT / "include/omp.h"
    omp.unlink(missing_ok=True)
    omp.symlink_to(run("g++", "-print-file-name=include/omp.h").stdout.strip())
    named, there = sorted(" ".join(GROUPS).split()), sorted(p.name for p in SRC.iterdir() if p.is_dir())
    if named != there:
        sys.exit(f"tidy: GROUPS in scripts/tidy.py names the rooms {named}, src/ holds {there}")
    plain = re.findall(r"^lt2_room\((\w+) +PLAIN", (ROOT / "CMakeLists.txt").read_text(), re.M)
    changed = [group for group in (Group(rooms.split(), plain) for rooms in GROUPS) if group.changed]
    if any(group.torch for group in changed):
        made = run("clang++-14", *FLAGS, *TORCH_FLAGS, "-x", "c++-header", str(HEADER), "-o", str(PCH))
        if made.returncode != 0:
            sys.exit(f"{made.stdout}tidy: clang cannot parse {HEADER.relative_to(ROOT)}")
    with concurrent.futures.ThreadPoolExecutor(int(sys.argv[1]) if len(sys.argv) > 1 else 1) as pool:
        failed = list(pool.map(Group.check, changed)).count(False)
    print(f"tidy: {len(GROUPS)} groups, {len(GROUPS) - len(changed)} unchanged, {failed} failed")
    sys.exit(1 if failed else 0)


main()
