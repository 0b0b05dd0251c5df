"""Counts events per key in the same Redis, each event once, however workers die or stall."""
import redis


def finish_once(client, partition, group, epoch, id, write):
    """Acknowledges the event and runs `write` in one transaction, or raises and does neither."""
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch("evq:{default:%d}:groups" % partition)
                # EVQFENCED: another worker has the partition, and this event.
                pipe.execute_command(
                    "EVQ.EXTEND", partition, "GROUP", group, "EPOCH", epoch)
                pipe.multi()
                pipe.execute_command(
                    "EVQ.ACK", partition, id, "GROUP", group, "EPOCH", epoch)
                write(pipe)
                return pipe.execute()
            except redis.WatchError:
                continue  # somebody moved on in this partition; see whether it is still ours


def count(client, group):
    """Counts one event of any partition."""
    reply = client.execute_command("EVQ.CONSUME", "*", "GROUP", group)
    if reply:
        partition, epoch, [(id, fields)] = reply
        key = fields[fields.index(b"key") + 1]
        finish_once(
            client, partition, group, epoch, id,
            lambda pipe: pipe.hincrby("counts", key, 1))
