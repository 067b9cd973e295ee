#!/usr/bin/env python3
"""Plants a mistake of each kind in each implementation, and prints what notices before it runs.

    python3 examples/peers/mistakes.py [--only python,node,java,go,rust]

A checker notices if it fails or warns. For Python that is mypy --strict, for Node.js node --check,
for Java javac -Xlint:all, for Go the compiler and go vet, and for Rust cargo check, on the sources
of proxyherd itself. What is not installed is skipped.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from herds import PEERS, ROOT, find_java, find_program

# Kind of mistake: file, and the texts that are replaced. None: it cannot be written there.
MISTAKES = {
    "name of a field misspelled": {
        "herd.py": [("self.herd.reports.items()", "self.herd.report.items()")],
        "herd.mjs": [("new Map(this.#herd.reports)", "new Map(this.#herd.report)")],
        "Herd.java": [("herd.links.forEach", "herd.link.forEach")],
        "herd.go": [("len(l.herd.reports)", "len(l.herd.report)")],
        "src/replication/store.rs": [("lock(&self.feed).entries()", "lock(&self.feeds).entries()")],
    },
    "value of another type": {
        "herd.py": [("lines.pop(0).decode()", "lines.pop(0)")],
        "herd.mjs": [("const seconds = Number(wholeSeconds)", "const seconds = wholeSeconds")],
        "Herd.java": [("var sender = lines.next();", "var sender = lines.next().getBytes();")],
        "herd.go": [("sender := string(line)", "sender := line")],
        "src/replication/store.rs": [("shard.find(hash, client)?", "shard.find(client, hash)?")],
    },
    "missing value used as if it were there": {
        "herd.py": [("if report := self.reports.get(match[1]):", "if True:"),
                    ("return report[1]", "return self.reports.get(match[1])[1]")],
        "herd.mjs": [("return report && report.line", "return report.line")],
        "Herd.java": [("if (report != null && isAtMost", "if (isAtMost")],
        "herd.go": [("if report != nil && isAtMost", "if isAtMost")],
        "src/replication/store.rs": [("shard.find(hash, client)?", "shard.find(hash, client)")],
    },
    "failure of a write ignored, or not awaited": {
        "herd.py": [("await asyncio.sleep(retry)", "asyncio.sleep(retry)")],
        "herd.mjs": [("    socket.on('error', () => socket.destroy())\n    socket.on('close'",
                      "    socket.on('close'")],
        "Herd.java": [("void serveClient(Socket socket) throws IOException",
                       "void serveClient(Socket socket)")],
        "herd.go": [("if writer.Flush() != nil {\n\t\t\treturn\n\t\t}", "writer.Flush()")],
        "src/clients/session.rs": [("self.send().await?;", "self.send();")],
    },
    "data of several threads without a lock": {
        "herd.py": None,
        "herd.mjs": None,
        "Herd.java": [("ConcurrentHashMap<String, Report> reports = new ConcurrentHashMap",
                       "HashMap<String, Report> reports = new HashMap")],
        "herd.go": [("\th.mutex.Lock()\n", ""), ("\t\th.mutex.Unlock()\n", ""),
                    ("\th.mutex.Unlock()\n", "")],
        "src/replication/store.rs": [("feed: Mutex<Feed>", "feed: std::cell::RefCell<Feed>"),
                                     ("Mutex::new(Feed::new())", "Feed::new().into()"),
                                     ("lock(&self.feed)", "self.feed.borrow_mut()")],
    },
    "value used after it was given away": {
        "herd.py": [("lines, self.pending = self.pending, {}", "lines = self.pending")],
        "herd.mjs": [("      this.pending = new Map(this.#herd.reports)",
                      "      this.pending = this.#herd.reports")],
        "Herd.java": [("var taken = pending;\n                pending = new LinkedHashMap<>();",
                       "var taken = pending;")],
        "herd.go": [("\ttaken := l.pending\n\tl.pending = next\n", "\ttaken := l.pending\n")],
        "src/replication/shard.rs": [("self.index.insert_unique(hash, slot, rehash);",
                                      "self.index.insert_unique(hash, slot, rehash);\n"
                                      "        let _ = record.number;")],
    },
}  # fmt: skip


class Checker:
    def __init__(self, key, name, files, commands, absent=""):
        self.key, self.name, self.files = key, name, files
        self.commands, self.absent = commands, absent

    def notices(self, folder, environment):
        for command in self.commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, env=environment
            )
            if done.returncode or "warning" in done.stderr:
                return done.stdout + done.stderr
        return ""


def checkers():
    javac = find_java()
    javac = [str(Path(javac.command[0]).with_name("javac"))] if javac.command else None
    go, node = find_program("go"), find_program("node")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "herd.py"]
    has_mypy = subprocess.run([*mypy[:3], "--version"], capture_output=True).returncode == 0
    rust = ["cargo", "check", "--quiet", "--locked", "--lib"]
    return [
        Checker("python", "Python, mypy", "herd.py", [mypy], "" if has_mypy else "mypy"),
        Checker(
            "node", "Node.js", "herd.mjs", [[node, "--check", "herd.mjs"]],
            "" if node else "node",
        ),
        Checker(
            "java", "Java", "Herd.java", [[*(javac or []), "-Xlint:all", "-d", "out", "Herd.java"]],
            "" if javac else "a JDK",
        ),
        Checker(
            "go", "Go", "herd.go", [[go, "build", "-o", "out", "herd.go"], [go, "vet", "herd.go"]],
            "" if go else "go",
        ),
        Checker("rust", "Rust", "src", [rust], "" if shutil.which("cargo") else "cargo"),
    ]  # fmt: skip


def copy(checker, folder):
    """Copies the sources of one language, and returns the environment for its checker."""
    environment = dict(os.environ)
    if checker.files == "src":
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in tracked.stdout.split("\0"):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # The dependencies are built already.
        environment.setdefault("CARGO_TARGET_DIR", str(ROOT / "target"))
    else:
        shutil.copy2(PEERS / checker.files, folder)
    return environment


def plant(folder, file, changes):
    """Replaces texts, and returns the original."""
    path = folder / file
    original = text = path.read_text()
    for old, new in changes:
        if old not in text:
            raise SystemExit(f"{file} has no {old!r}; change the list of mistakes")
        text = text.replace(old, new)
    path.write_text(text)
    return original


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="languages, as in python,go")
    only = parser.parse_args().only
    found = []
    for checker in checkers():
        if only and checker.key not in only.split(","):
            continue
        if checker.absent:
            print(f"skipped: {checker.name}: there is no {checker.absent}", file=sys.stderr)
        else:
            found.append(checker)
    results = {}
    for checker in found:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            environment = copy(checker, folder)
            if complaint := checker.notices(folder, environment):
                raise SystemExit(f"{checker.name} without a mistake: {complaint}")
            for kind, files in MISTAKES.items():
                file = next(file for file in files if file.startswith(checker.files))
                if files[file] is None:
                    results[kind, checker.name] = "cannot occur"
                    continue
                original = plant(folder, file, files[file])
                complaint = checker.notices(folder, environment)
                results[kind, checker.name] = "noticed" if complaint else "no"
                (folder / file).write_text(original)
    print("| mistake |", " | ".join(checker.name for checker in found), "|")
    print("|---|" + "---|" * len(found))
    for kind in MISTAKES:
        print(f"| {kind} |", " | ".join(results[kind, c.name] for c in found), "|")


if __name__ == "__main__":
    main()
