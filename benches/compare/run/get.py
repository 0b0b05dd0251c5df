"""Gets the peers, once, into a folder outside the repository: packages of Debian's coming release, jars
of Maven Central, Go modules, packages of npm. Nothing is installed on the system."""

import os
import pathlib
import shutil
import subprocess

from procs import Failed, run

HERE = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 1200
NATS = "v2.15.2"


class Places:
    """Where things are: the cache, the programs of this repository, the module."""

    def __init__(self, cache, driver, module):
        self.cache, self.driver, self.module = pathlib.Path(cache), driver, module
        self.log = self.cache / "get.log"


def once(folder, make):
    """Makes a folder whole or not at all."""
    if not folder.exists():
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        make(new)
        new.rename(folder)
    return folder


def need(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Failed(f"no {', '.join(missing)} here")


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def redis_server(places):
    """The server of EVQ, of streams by hand and of BullMQ."""
    asked = os.environ.get("EVQ_COMPARE_SERVER")
    if asked:
        return asked
    for program in ("valkey-server", "redis-server"):
        if shutil.which(program):
            return program
    raise Failed("no valkey-server or redis-server")


def redis_version(server):
    words = output(server, "--version").split()
    number = next(word[2:] for word in words if word.startswith("v="))
    return f"{words[0]} {number}"


def jars(places):
    """Kafka and the clients of Java, by pom.xml."""
    need("mvn", "java", "javac")
    pom = HERE / "java" / "pom.xml"

    def copy(folder):
        run(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies",
             f"-DoutputDirectory={folder}"], PATIENCE, places.log)

    return once(places.cache / "jars", copy)


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

    return once(places.cache / f"nats-{NATS}", build) / "nats-server"


def go_program(places, name):
    """A program of ours in Go, built now."""
    program = places.cache / f"{name}-driver"
    run(["go", "build", "-o", program, "."], PATIENCE, places.log, cwd=HERE / name)
    return program
