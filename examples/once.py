"""Counts events per key in the same Redis, each event once, however workers die or stall."""
import redis


def finish_once(client, partition, group, epoch, id, write):
    """Acknowledges the event and runs `write` in one transaction. False if that was not done,
    or if the outcome is unknown: then the event comes again under a new epoch, unless it is finished."""
    lease = ("GROUP", group, "EPOCH", epoch)
    with client.pipeline() as pipe:
        try:
            pipe.watch("evq:{default:%d}:groups" % partition)
            # EVQFENCED: another worker has the partition, and this event.
            pipe.execute_command("EVQ.EXTEND", partition, *lease)
            pipe.multi()
            pipe.execute_command("EVQ.ACK", partition, id, *lease)
            write(pipe)
            pipe.execute()
            return True
        except (redis.WatchError, redis.ConnectionError, redis.TimeoutError):
            # redis-py raises WatchError for a lost connection, too. The EXEC may still be on its
            # way, so never repeat it under this epoch. EVQ.RELEASE fences it.
            client.execute_command("EVQ.RELEASE", partition, *lease)
            return False


def count(client, group):
    """Counts one event of any partition; whether it did."""
    reply = client.execute_command("EVQ.CONSUME", "*", "GROUP", group)
    if not reply:
        return False
    partition, epoch, [(id, fields)] = reply
    key = fields[fields.index(b"key") + 1]
    return finish_once(
        client, partition, group, epoch, id,
        lambda pipe: pipe.hincrby("counts", key, 1))
