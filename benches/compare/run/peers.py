"""The peers: how each is started, with which settings, and which programs do its job.

Settings are those that the peer's own documentation recommends for speed; docs/compare.md lists
them. Levels are `none`, where nothing is synced to the disk, and `second`, a sync every second.
"""

import os
import pathlib
import shutil
import time

import get
from procs import Failed, Process, free_port, free_ports, listens, run, until


class Server:
    """What is running for one peer."""

    def __init__(self, process, address, folder, values=None):
        self.process, self.address, self.folder = process, address, folder
        self.data, self.values, self.others = folder / "data", values or {}, []

    @property
    def pid(self):
        return self.process.popen.pid

    def stop(self):
        self.process.stop()
        for other in self.others:
            other.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Peer:
    # Events of a warm-up.
    warm = 20000
    # Producers and workers have to be told of a new partition.
    told = False
    levels = ("none", "second")
    # After so long without a sign of life a worker is dead, where the server has to know.
    lease_ms = 45_000
    # Its name where the title says too much.
    short = ""
    env = {}
    driver = []

    def __init__(self, places):
        self.places = places

    def prepare(self):
        """Gets what is missing. Raises Failed."""

    def version(self):
        return ""

    def start(self, folder, level):
        raise NotImplementedError

    def folder(self, folder):
        """A new folder for a server, with one for its data."""
        folder = pathlib.Path(folder)
        (folder / "data").mkdir(parents=True)
        return folder


class OnRedis(Peer):
    """EVQ, streams by hand and BullMQ, on the same server."""

    modules = ()

    def prepare(self):
        self.server = get.redis_server(self.places)

    def version(self):
        return get.redis_version(self.server)

    def start(self, folder, level):
        folder, port = self.folder(folder), free_port()
        words = [self.server, "--port", port, "--bind", "127.0.0.1", "--save", "",
                 "--dir", folder / "data", "--appendonly", "yes" if level == "second" else "no",
                 "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]
        for module in self.modules:
            words += ["--loadmodule", module]
        process = Process(words, folder / "server.log")
        until(lambda: listens(port), 20, "the server", process)
        return Server(process, f"127.0.0.1:{port}", folder)


class Evq(OnRedis):
    name, title, warm = "evq", "EVQ, EVQ.MTRIGGER of 100", 100000
    # Only producers that are not paced have batches.
    short = "EVQ"

    def prepare(self):
        super().prepare()
        self.driver = [self.places.driver, "evq"]
        self.modules = [self.places.module]

    def version(self):
        return f"{get.evq_version()} on {super().version()}"


class EvqPipelined(Evq):
    """Producers that do not batch. Only throughput differs."""

    name, title = "evq-trigger", "EVQ, EVQ.TRIGGER pipelined"
    only = ("throughput",)

    def start(self, folder, level):
        server = super().start(folder, level)
        server.values["pipelined"] = 1
        return server


class Streams(OnRedis):
    name, title, warm, told = "streams", "Redis Streams by hand", 100000, True

    def prepare(self):
        super().prepare()
        self.driver = [self.places.driver, "streams"]


class BullMq(OnRedis):
    name, title, warm, told = "bullmq", "BullMQ", 8000, True

    def prepare(self):
        super().prepare()
        self.driver, self.number = get.node_program(self.places, "bullmq")

    def version(self):
        return f"{self.number} on {super().version()}"


class Kafka(Peer):
    name, title, warm = "kafka", "Kafka", 200000
    # The log of a topic is synced by the kernel, or every so many milliseconds.
    properties = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=1
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms={lease}
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
log.retention.hours=168
num.network.threads=3
num.io.threads=8
{flush}
"""

    def prepare(self):
        self.jars = get.jars(self.places)
        self.driver = get.java(self.places, self.jars, "Kafka")

    def version(self):
        return get.jar_version(self.jars, "kafka_2.13")

    def start(self, folder, level):
        folder = self.folder(folder)
        port, controller = free_ports(2)
        flush = "log.flush.interval.ms=1000" if level == "second" else ""
        config = folder / "server.properties"
        config.write_text(self.properties.format(
            port=port, controller=controller, data=folder / "data", flush=flush, lease=self.lease_ms))
        log, classes = folder / "server.log", ["-cp", f"{self.jars}/*"]
        run(["java", *classes, "kafka.tools.StorageTool", "format", "--standalone",
             "-t", "Y29tcGFyZS1ldnEtMTIzNA", "-c", config], 60, log)
        process = Process(["java", "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC",
                           "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                           *classes, "kafka.Kafka", config], log)
        until(lambda: listens(port), 60, "Kafka", process)
        time.sleep(1)
        return Server(process, f"127.0.0.1:{port}", folder)


class Nats(Peer):
    name, title, warm, told = "nats", "NATS JetStream", 50000, True
    # A stream in memory, or in files with a sync every second.
    config = """
listen: 127.0.0.1:{port}
jetstream {{
    store_dir: "{data}", sync_interval: "1s", max_memory_store: 8GB, max_file_store: 64GB
}}
"""

    def prepare(self):
        self.server = get.nats_server(self.places)
        self.driver = [get.go_program(self.places, "nats")]

    def version(self):
        return get.output(self.server, "--version").split()[-1].lstrip("v")

    def start(self, folder, level):
        folder, port = self.folder(folder), free_port()
        config = folder / "nats.conf"
        config.write_text(self.config.format(port=port, data=folder / "data"))
        process = Process([self.server, "-c", config], folder / "server.log")
        until(lambda: listens(port), 20, "NATS", process)
        values = {"storage": "memory" if level == "none" else "file"}
        return Server(process, f"127.0.0.1:{port}", folder, values)


class NatsStrict(Nats):
    name, title, warm = "nats-strict", "NATS JetStream, order kept through redelivery", 8000

    def start(self, folder, level):
        server = super().start(folder, level)
        server.values["strict"] = 1
        return server


class Rabbit(Peer):
    """RabbitMQ, with both ways to use it."""

    # Schedulers that do not spin while they wait: the documentation's advice where CPU is shared.
    flags = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
    program = ""

    def prepare(self):
        self.root = get.debian(self.places)
        self.jars = get.jars(self.places)
        self.driver = get.java(self.places, self.jars, self.program)
        self.home = next(self.root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
        self.epmd = next(self.root.glob("usr/lib/erlang/erts-*/bin/epmd"))

    def version(self):
        return self.home.name.removeprefix("rabbitmq_server-")

    def start(self, folder, level):
        folder = self.folder(folder)
        amqp, stream, names, own = free_ports(4)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\nstream.listeners.tcp.1 = 127.0.0.1:{stream}\n")
        (folder / "plugins").write_text("[rabbitmq_stream,rabbitmq_consistent_hash_exchange].\n")
        env = {
            "HOME": str(folder), "PATH": f"{self.root}/usr/lib/erlang/bin:{os.environ['PATH']}",
            "ERL_EPMD_PORT": str(names), "RABBITMQ_NODENAME": f"{self.name}@localhost",
            "RABBITMQ_DIST_PORT": str(own), "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self.flags,
        }
        log = folder / "server.log"
        epmd = Process([self.epmd, "-port", names, "-address", "127.0.0.1"], log)
        process = Process([self.home / "sbin" / "rabbitmq-server"], log, env=env)
        until(lambda: listens(amqp) and listens(stream), 90, "RabbitMQ", process)
        time.sleep(1)
        port = stream if self.program == "Streams" else amqp
        server = Server(process, f"127.0.0.1:{port}", folder, {"amqp": amqp})
        server.others.append(epmd)
        return server


class RabbitStreams(Rabbit):
    name, title, program = "rabbitmq-streams", "RabbitMQ, super stream", "Streams"
    # A confirmed event is in the kernel's cache. There is no setting for a sync.
    levels, warm, told = ("none",), 100000, True


class RabbitQueues(Rabbit):
    name, title, program = "rabbitmq-queues", "RabbitMQ, quorum queues", "Queues"
    # Synced before each confirm, in batches. There is no setting for less.
    levels, warm, told = ("second",), 20000, True


ALL = [Evq, EvqPipelined, Streams, Kafka, Nats, NatsStrict, RabbitStreams, RabbitQueues, BullMq]
