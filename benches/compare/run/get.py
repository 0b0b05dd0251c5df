"""Gets the peers, once, into a folder outside the repository: packages of Debian's coming release,
jars of Maven Central, Go modules, packages of npm. Nothing is installed on the system."""

import json
import os
import pathlib
import shutil
import subprocess

from procs import Failed, run

HERE = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 1200
NATS = "v2.15.3"
# Of Debian's coming release.
PACKAGES = ("valkey-server", "rabbitmq-server")


class Places:
    """Where things are: the cache, the programs of this repository, the module."""

    def __init__(self, cache, driver, module):
        self.cache, self.driver, self.module = pathlib.Path(cache), driver, module
        self.log = self.cache / "get.log"


def once(folder, wanted, make):
    """Makes a folder, whole or not at all, and again when another content is wanted."""
    stamp = folder / "wanted"
    if not stamp.exists() or stamp.read_text() != wanted:
        new = folder.with_name(folder.name + ".new")
        for old in (new, folder):
            shutil.rmtree(old, ignore_errors=True)
        new.mkdir(parents=True)
        make(new)
        (new / "wanted").write_text(wanted)
        new.rename(folder)
    return folder


def need(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Failed(f"no {', '.join(missing)} here")


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def debian(places):
    """A folder with packages of Debian's coming release, and all that they need, unpacked. Programs
    run on the C library that lies beside them: this machine's may be older."""
    need("apt-get", "dpkg")

    def unpack(folder):
        mirror = output("apt-get", "indextargets", "--format", "$(REPO_URI)",
                        "Identifier: Packages", "Origin: Debian", "Label: Debian").splitlines()
        if not mirror:
            raise Failed("apt here has no Debian mirror")
        (folder / "apt" / "lists" / "partial").mkdir(parents=True)
        (folder / "apt" / "archives" / "partial").mkdir(parents=True)
        (folder / "apt" / "status").touch()
        (folder / "apt" / "sources.list").write_text(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
            f"{mirror[0]} sid main\n")
        options = ["sourcelist=sources.list", "sourceparts=/dev/null"]
        options = [f"-oDir::Etc::{option}" for option in options] + [
            f"-oDir::Etc={folder / 'apt'}", f"-oDir::State={folder / 'apt'}",
            f"-oDir::State::status={folder / 'apt' / 'status'}", f"-oDir::Cache={folder / 'apt'}",
            f"-oAPT::Sandbox::User={output('id', '-un')}"]
        run(["apt-get", "-qq", *options, "update"], PATIENCE, places.log)
        run(["apt-get", "-qq", "-y", *options, "--no-install-recommends", "--download-only",
             "install", *PACKAGES], PATIENCE, places.log)
        for package in (folder / "apt" / "archives").glob("*.deb"):
            run(["dpkg", "-x", package, folder], PATIENCE, places.log)
        shutil.rmtree(folder / "apt")

        for program in ("usr/bin/valkey-server", "usr/lib/erlang/erts-*/bin/*"):
            for path in sorted(folder.glob(program)):
                wrap(folder, place, path)
        for script in folder.glob("usr/lib/erlang/bin/erl"):
            text = script.read_text()
            script.write_text(text.replace("ROOTDIR=/usr/", f"ROOTDIR={place}/usr/"))

    place = places.cache / "debian"
    return once(place, " ".join(PACKAGES), unpack)


def wrap(folder, place, path):
    """Puts a script in a program's place that runs it on the C library of its own folder, which
    will be `place`."""
    target = path.resolve()
    if not path.is_file() or target.read_bytes()[:4] != b"\x7fELF":
        return
    loader = next(folder.glob("usr/lib*/ld-linux*.so.*"))
    libraries = next(folder.glob("usr/lib/*/libc.so.6")).parent
    if target == path:
        target = path.rename(path.with_name(path.name + ".real"))
    path.unlink(missing_ok=True)
    loader, libraries, target = (
        place / one.relative_to(folder) for one in (loader, libraries, target))
    path.write_text(f'#!/bin/sh\nexec {loader} --argv0 "$0" --library-path {libraries} '
                    f'{target} "$@"\n')
    path.chmod(0o755)


def redis_server(places):
    """The server of EVQ, of streams by hand and of BullMQ."""
    asked = os.environ.get("EVQ_COMPARE_SERVER")
    if asked:
        return asked
    try:
        return debian(places) / "usr" / "bin" / "valkey-server"
    except Failed:
        for program in ("valkey-server", "redis-server"):
            if shutil.which(program):
                return program
        raise


def redis_version(server):
    words = output(server, "--version").split()
    number = next(word[2:] for word in words if word.startswith("v="))
    return f"{words[0]} {number}" if words[0] != "Server" else f"Redis {number}"


def evq_version():
    """That of Cargo.toml."""
    text = (HERE.parent.parent / "Cargo.toml").read_text()
    return next(line for line in text.splitlines() if line.startswith("version")).split('"')[1]


def jars(places):
    """Kafka and the clients of Java, by pom.xml."""
    need("mvn", "java", "javac")
    pom = HERE / "java" / "pom.xml"

    def copy(folder):
        run(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies",
             f"-DoutputDirectory={folder}"], PATIENCE, places.log)

    return once(places.cache / "jars", pom.read_text(), copy)


def jar_version(folder, name):
    found = next(folder.glob(f"{name}-[0-9]*.jar"))
    return found.stem.removeprefix(f"{name}-")


def java(places, folder, program):
    """The words that run a program of ours, compiled now."""
    classes = places.cache / "classes"
    classes.mkdir(exist_ok=True)
    sources = [HERE / "java" / "Job.java", *HERE.glob(f"*/{program}.java")]
    run(["javac", "-cp", f"{folder}/*", "-d", classes, *sources], 120, places.log)
    return ["java", "-Xmx1g", "-XX:+UseSerialGC", "-cp", f"{classes}:{folder}/*", program]


def nats_server(places):
    """A module of Go's proxy, built here."""
    need("go")

    def build(folder):
        run(["nice", "go", "install", f"github.com/nats-io/nats-server/v2@{NATS}"], PATIENCE,
            places.log, env={"GOBIN": str(folder)})

    return once(places.cache / "nats-server", NATS, build) / "nats-server"


def go_program(places, name):
    """A program of ours in Go, built now."""
    program = places.cache / f"{name}-driver"
    run(["go", "build", "-o", program, "."], PATIENCE, places.log, cwd=HERE / name)
    return program


def node_program(places, name):
    """The words that run a program of ours on Node, with its packages of npm; their version."""
    need("node", "npm")
    wanted = (HERE / name / "package-lock.json").read_text()

    def install(folder):
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name / file, folder)
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], PATIENCE, places.log,
            cwd=folder)

    folder = once(places.cache / name, wanted, install)
    for file in (HERE / name).glob("*.mjs"):
        shutil.copy(file, folder)
    installed = json.loads((folder / "node_modules" / name / "package.json").read_text())
    return ["node", folder / "main.mjs"], installed["version"]
